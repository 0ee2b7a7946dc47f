"""Rows of many tasks and ensembles answer in one batch, each as it would alone and as in training."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.errors import InputError, InputErrors
from pipeline.prompts import COMBINATIONS
from pipeline.registry import Artifact, Member, Predictor, save_artifact
from pipeline.registry.rows import RowReader
from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from tests.registry.made import INTENT, SAME, SLOTS, backbone_of, facts_of, make_artifact, make_shared
from tests.tiny import FAMILIES

ROWS = [
    {"task": "slots", "text": "my laptop is broken today"},
    {"task": "intent", "text": "cancel my order now please"},
    {"task": "same", "text_a": "the card was late", "text_b": "a card is late"},
    {"task": "slots", "tokens": ["refund", "the", "phone", "to", "Paris", "today", "please"]},
    {"task": "intent", "text": "lost"},
    {"task": "same", "text_a": "a", "text_b": "is not my order lost please refund the card now"},
    {"task": "intent", "text": "the laptop is not late and my phone was not broken"},
]


@cache
def artifact_of(family, name, **changes) -> Artifact:
    task = {"intent": INTENT, "same": SAME, "slots": SLOTS}[name]
    seed = {"intent": 1, "same": 2, "slots": 3}[name]
    return make_artifact(Path(mkdtemp()) / name, backbone_of(family), **{"seed": seed, **task, **changes})


def predictor_of(family="bert", names=("intent", "same", "slots"), **changes):
    return Predictor(backbone_of(family), {name: artifact_of(family, name) for name in names}, **changes)


def numbers(answer):
    return torch.tensor(list(answer["scores"].values()))


def assert_equal_answers(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys() and one["task"] == other["task"]
        if "scores" in one:
            assert torch.allclose(numbers(one), numbers(other), atol=1e-5)
            assert one["label"] == other["label"]
        else:
            assert (one["tags"], one["spans"]) == (other["tags"], other["spans"])


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_mixed_equals_alone(family):
    """Three tasks, six members, six prompt lengths in one batch."""
    mixed = predictor_of(family).predict(ROWS)
    alone = [predictor_of(family, names=(row["task"],)).predict([row])[0] for row in ROWS]
    assert_equal_answers(mixed, alone)
    assert len({round(answer["score"], 4) for answer in mixed if "score" in answer}) > 3  # rows do differ


@pytest.mark.parametrize("rows_per_batch", [1, 2, 3, 100])
def test_order_and_batches_change_nothing(rows_per_batch):
    expected = predictor_of().predict(ROWS)
    reversed_rows = predictor_of(rows_per_batch=rows_per_batch).predict(ROWS[::-1])
    assert_equal_answers(reversed_rows[::-1], expected)


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_an_ensemble_is_its_members_combined(combine):
    """The members' own answers, combined outside."""
    backbone, ensemble = backbone_of("bert"), artifact_of("bert", "same", lengths=(2, 6, 4), combine=combine)
    row = ROWS[5]
    alone = []
    for n, length in enumerate(ensemble.manifest.lengths):
        manifest = ensemble.manifest.model_copy(update={"combine": None, "lengths": (length,)})
        member = Predictor(backbone, {"same": Artifact(manifest, ensemble.members[n : n + 1])})
        alone.append(numbers(member.predict([row])[0]))
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    combined = COMBINATIONS[combine](torch.stack(alone)[:, None])[0]
    together = Predictor(backbone, {"same": ensemble}).predict([row])[0]
    assert torch.allclose(numbers(together), combined, atol=1e-5)


@pytest.mark.parametrize("name", ["intent", "slots"])
def test_an_ensemble_of_one_prompt_twice_is_the_prompt(name):
    single = artifact_of("bert", name, lengths=(4,), combine=None)
    manifest = single.manifest.model_copy(update={"combine": "mean", "lengths": (4, 4), "first_layers": (0, 0)})
    twice = Artifact(manifest, single.members * 2)
    rows = [row for row in ROWS if row["task"] == name]
    answers = [Predictor(backbone_of("bert"), {name: artifact}).predict(rows) for artifact in (single, twice)]
    assert_equal_answers(*answers)


def test_a_member_that_votes_twice_counts_as_two():
    """Computed once: the artifact holds it once."""
    rows = [row for row in ROWS if row["task"] == "intent"]
    two = artifact_of("bert", "intent", lengths=(4, 2), combine="mean")
    a, b = two.members
    weighted = Artifact(two.manifest.model_copy(update={"votes": (2, 1)}), (a, b))
    changes = {"lengths": (4, 4, 2), "first_layers": (0, 0, 0)}
    repeated = Artifact(two.manifest.model_copy(update=changes), (a, a, b))
    answers = [Predictor(backbone_of("bert"), {"intent": one}).predict(rows) for one in (weighted, repeated)]
    assert_equal_answers(*answers)


def test_members_of_different_depth_answer_in_one_batch():
    deep, upper = artifact_of("bert", "intent"), artifact_of("bert", "intent", first_layer=2, seed=3)
    changes = {"combine": "mean", "lengths": (4, 4), "first_layers": (0, 2)}
    both = Artifact(deep.manifest.model_copy(update=changes), deep.members + upper.members)
    rows = [row for row in ROWS if row["task"] == "intent"]
    alone = [Predictor(backbone_of("bert"), {"intent": one}).predict(rows) for one in (deep, upper)]
    for together, *each in zip(Predictor(backbone_of("bert"), {"intent": both}).predict(rows), *alone, strict=True):
        for label, score in together["scores"].items():
            assert score == pytest.approx(sum(one["scores"][label] for one in each) / 2, abs=1e-5)


def test_prompts_that_pool_otherwise_still_answer_together():
    """Another first layer, another pooling: banks of their own, one list of answers."""
    upper = artifact_of("bert", "intent", first_layer=1, pooling="first")
    together = Predictor(backbone_of("bert"), {"intent": artifact_of("bert", "intent"), "upper": upper})
    rows = [{**row, "task": task} for row in ROWS if row["task"] == "intent" for task in ("upper", "intent")]
    alone = [Predictor(backbone_of("bert"), {"upper": upper}).predict([row])[0] for row in rows[::2]]
    assert_equal_answers(together.predict(rows)[::2], alone)
    assert_equal_answers(together.predict(rows)[1::2], predictor_of(names=("intent",)).predict(rows[1::2]))


def test_what_answers_look_like():
    slots, intent, *_ = predictor_of("minilm").predict(ROWS)
    assert set(intent) == {"task", "label", "score", "scores"} and tuple(intent["scores"]) == INTENT["labels"]
    assert intent["score"] == max(intent["scores"].values()) == intent["scores"][intent["label"]]
    assert sum(intent["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert slots["tokens"] == ROWS[0]["text"].split() and len(slots["tags"]) == len(slots["tokens"])
    assert set(slots["tags"]) <= set(SLOTS["labels"])
    for span in slots["spans"]:
        assert span["label"] == "x" and span["text"] == " ".join(slots["tokens"][span["start"] : span["end"]])
        assert slots["tags"][span["start"] : span["end"]] != ["O"]
    covered = sum(span["end"] - span["start"] for span in slots["spans"])
    assert covered == sum(tag != "O" for tag in slots["tags"])


def test_text_is_split_as_tokens_are_given():
    predictor = predictor_of(names=("slots",))
    words = ROWS[3]["tokens"]
    assert predictor.predict([{"text": "  ".join(words)}]) == predictor.predict([{"tokens": words}])


def byte_level():
    """A tokenizer in the manner of GPT-2: a word in a list needs the blank before it that running text has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(["deliver the order to the site", "the order was late"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"])


@pytest.mark.parametrize("tokenizer", ["word pieces", "bytes"])
@pytest.mark.parametrize(("demo", "type"), [("intent", "classification"), ("same_issue", "pair"), ("slots", "token")])
def test_rows_are_encoded_as_in_training(tmp_path, demo, type, tokenizer):
    backbone = backbone_of("minilm")
    tokens = backbone.tokenizer if tokenizer == "word pieces" else byte_level()
    task = load_task(TaskSpec(demo, type, DataSource(demo=demo, rows=8), max_tokens=12), tmp_path)
    split = prepare_task(task, tokens, context=backbone.info.context, cache_dir=tmp_path).encoded["test"]
    labels = {"labels": task.labels, "task": {"max_tokens": 12}}
    artifact = make_artifact(tmp_path / "a", backbone, name=demo, type=type, **labels)
    reader = RowReader(demo, artifact, tokens, backbone.info)
    rows = [task.splits["test"][n] for n in range(20)]
    encoded = reader.encode([reader.read(row) for row in rows], range(20))
    for (served,), (trained,) in zip(encoded, split.take(range(20)), strict=True):
        assert served.keys() == trained.keys()
        assert all(served[key] == trained[key] for key in served if key != "labels")


def test_words_beyond_the_limit_are_outside_every_span():
    artifact = artifact_of("bert", "slots", lengths=(3,), combine=None)
    (answer,) = Predictor(backbone_of("bert"), {"slots": artifact}).predict([{"tokens": ["phone"] * 90}])
    assert len(answer["tags"]) == 90 and set(answer["tags"][62:]) == {"O"}


def test_a_row_longer_than_the_task_accepts(tmp_path):
    artifact = make_artifact(
        tmp_path / "a", backbone_of("bert"), **INTENT, task={"too_long": "refuse", "max_tokens": 6}
    )
    predictor = Predictor(backbone_of("bert"), {"intent": artifact})
    assert len(predictor.predict([{"text": "cancel my order now"}])) == 1
    with pytest.raises(InputError, match=r"row 2, task 'intent': .*longer than allowed; found 7; expected at most 6"):
        predictor.predict([{"text": "my order"}, {"text": "cancel my order now please"}])


@pytest.mark.parametrize("changes", [{"positions": "shifted"}, {"method": "prompt_tuning", "layout": "front"}])
def test_a_long_row_leaves_room_for_a_prompt_that_takes_positions(changes, tmp_path):
    """Whatever the task says of lengths: else it would fail together with the rows of others in its batch."""
    backbone = backbone_of("bert")
    deep = "layout" not in changes
    shape = backbone.info.prompt_shape(9, 0, deep)
    member = Member(torch.randn(shape), torch.randn(3, backbone.info.width), torch.randn(3))
    artifact = save_artifact(tmp_path / "a", [member], facts_of(backbone, **changes))
    assert artifact.manifest.task.max_tokens is None
    predictor = Predictor(backbone, {"intent": artifact, "same": artifact_of("bert", "same")})
    long, other = {"task": "intent", "text": "phone " * 90}, ROWS[2]
    (read,) = predictor.read([long])
    assert len(read.encoded[0]["input_ids"]) == backbone.info.context - 9
    mixed = predictor.predict([long, other])
    assert_equal_answers(mixed, [*predictor.predict([long]), *predictor.predict([other])])


def test_fields_may_have_the_names_of_the_data(tmp_path):
    artifact = make_artifact(
        tmp_path / "a", backbone_of("bert"), **SAME, task={"columns": {"text_a": "question", "text_b": "passage"}}
    )
    predictor = Predictor(backbone_of("bert"), {"same": artifact})
    theirs = {"question": "is it lost", "passage": "my card is lost", "label": "yes"}
    ours = {"text_a": "is it lost", "text_b": "my card is lost"}
    assert predictor.predict([theirs]) == predictor.predict([ours])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"task": "intnt", "text": "a"},
            "unknown task; found intnt; expected intent, same, slots; did you mean 'intent'?",
        ),
        ({"task": 3, "text": "a"}, "unknown task; found 3"),
        ({"text": "a"}, "the row names no task"),
        ({"task": "intent"}, "no field 'text'; found no field; expected text"),
        ({"task": "intent", "txt": "a"}, "no field 'text'; found txt; expected text"),
        ({"task": "intent", "text": " "}, "'text' is empty"),
        ({"task": "intent", "text": 3}, "'text' is not text; found 3"),
        ({"task": "intent", "text": "\ud800"}, "half a surrogate pair"),
        ({"task": "same", "text_a": "a"}, "no field 'text_b'"),
        ({"task": "slots", "tokens": "a b"}, "'tokens' is not a list"),
        ({"task": "slots", "tokens": []}, "'tokens' is empty"),
        ({"task": "slots", "tokens": ["a", 3]}, "not a word; found 3 at word 2"),
        ({"task": "slots", "text": "\t"}, "'text' is empty"),
        ({"task": "slots", "text": 3}, "'text' is not text"),
        ("cancel my order", "the row is not an object"),
    ],
)
def test_unsound_rows_are_named_before_anything_is_computed(row, said, monkeypatch):
    predictor = predictor_of()
    monkeypatch.setattr(type(predictor.backbone), "forward", lambda *_: pytest.fail("computed"))
    with pytest.raises(InputError) as told:
        predictor.predict([ROWS[0], row])
    assert told.value.where == "row 2" and said in told.value.message


def test_many_unsound_rows_are_told_together():
    with pytest.raises(InputErrors) as told:
        predictor_of().predict([{"task": "intent"}] * 30)
    assert len(told.value.problems) == 11 and "20 more rows" in told.value.message


def test_no_rows_no_answers():
    assert predictor_of().predict([]) == []


def test_artifacts_that_cannot_answer_here(tmp_path):
    with pytest.raises(InputError, match="a shared prompt answers nothing"):
        Predictor(backbone_of("bert"), {"x": make_shared(tmp_path / "s", backbone_of("bert"))})
    with pytest.raises(InputError, match="made for another backbone"):
        Predictor(backbone_of("gpt2"), {"intent": artifact_of("bert", "intent")})
