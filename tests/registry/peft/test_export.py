"""Artifacts as PEFT loads them: the README's own code, run as it stands, gives the logits that we give."""

from __future__ import annotations

import json
import re

import pytest
import torch

from pipeline.errors import InputError
from pipeline.registry import Member, Predictor, load_artifact, save_artifact
from pipeline.registry.peft import Wanted, export_adapter, import_adapter, read_adapter
from pipeline.tasks import TASK_TYPES, collate
from tests.registry.made import INTENT, SAME, SLOTS, facts_of, make_artifact, make_shared
from tests.registry.peft.adapters import (
    DECODERS,
    FAMILIES,
    backbone_at,
    base_of,
    byte_level_base,
    imported,
    peft_model,
)

TEXTS = ["my order is late", "refund", "please cancel the phone order now"]


def made(folder, family, *, method="prefix", lengths=(4,), base=None, **changes):
    """An artifact of random numbers on a tiny backbone, deep or an input prompt in front."""
    backbone = backbone_at(base or base_of(family))
    changes = {"lengths": lengths, **changes}
    if method == "prefix":
        return make_artifact(folder, backbone, **{**INTENT, "method": method, **changes})
    info, draw = backbone.info, torch.Generator().manual_seed(5)
    facts = facts_of(
        backbone, method=method, **{"layout": "front", **{k: changes[k] for k in changes if k != "lengths"}}
    )
    count = len(facts.task.labels)
    prompt, weight, bias = (
        torch.randn(*s, generator=draw) for s in ((lengths[0], info.embedding), (count, info.width), (count,))
    )
    return save_artifact(folder, [Member(prompt, weight, bias)], facts)


def run_readme(folder, **given):
    """Runs the code that the README prints, on these rows or on its own; everything that it names."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, value in given.items():
        code, found = re.subn(rf"(?m)^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", code)
        assert found == 1, f"the code gives no {name} that a reader could put rows of their own in"
    space: dict[str, object] = {}
    exec(code, space)
    return space


def by_the_readme(folder, texts, others=None):
    """The scores and the tokens of these texts, by the README's code."""
    space = run_readme(folder, texts=texts, **({} if others is None else {"others": others}))
    return space["scores"], space["rows"]


@torch.no_grad()
def ours(artifact, family, rows, base=None):
    """Our logits of rows as users give them: [A, C], and the token where each answer is read."""
    predictor = Predictor(backbone_at(base or base_of(family)), {artifact.manifest.name: artifact})
    encoded = [row.encoded for row in predictor.read(rows)]
    index = [0] * len(rows)
    batch = collate(encoded, example=index and list(range(len(rows))), prompt=index, head=index, pad_token_id=0)
    return predictor._group.model(batch).logits[0], batch.answer


FORMS = [(m, p) for m in ("prefix", "prompt_tuning") for p in ("mean", "first", "last")] + [("p_tuning", "mean")]


@pytest.mark.parametrize(("method", "pooling"), FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_is_answered_alike(family, method, pooling, tmp_path):
    artifact = made(tmp_path / "a", family, method=method, pooling=pooling)
    done = export_adapter(artifact, tmp_path / "b")
    assert (done.task_type, done.reading, done.positions) == ("TOKEN_CLS", pooling, "own")
    scores, _ = by_the_readme(tmp_path / "b", TEXTS)
    expected, _ = ours(artifact, family, [{"text": text} for text in TEXTS])
    assert torch.allclose(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_and_pairs_are_answered_alike(family, tmp_path):
    tags = made(tmp_path / "a", family, **{**SLOTS, "lengths": (5,), "combine": None})
    export_adapter(tags, tmp_path / "b")
    words = [text.split() for text in TEXTS]
    scores, _ = by_the_readme(tmp_path / "b", words)
    expected, answer = ours(tags, family, [{"tokens": own} for own in words])
    assert torch.allclose(scores[answer], expected, atol=1e-5, rtol=1e-5)
    pair = made(tmp_path / "c", family, **{**SAME, "lengths": (3,), "combine": None})
    export_adapter(pair, tmp_path / "d")
    scores, _ = by_the_readme(tmp_path / "d", TEXTS, TEXTS[::-1])
    rows = [{"text_a": a, "text_b": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    assert torch.allclose(scores, ours(pair, family, rows)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_questions_are_answered_alike(family, tmp_path):
    artifact = made(tmp_path / "a", family, type="qa", labels=("start", "end"), name="qa")
    export_adapter(artifact, tmp_path / "b")
    rows = [
        {"question": "is my order late", "context": "the order was lost"},
        {"question": "now", "context": "not now"},
    ]
    expected, answer = ours(artifact, family, rows)
    scores, _ = by_the_readme(tmp_path / "b", [row["question"] for row in rows], [row["context"] for row in rows])
    assert torch.allclose(scores[answer], expected, atol=1e-5, rtol=1e-5)


NUMBERS = {"labels": ("-3.0", "4.0")}
TAGS = {"labels": ("B-A", "B-V", "I-A", "O"), "task": {"metric": "span_f1"}}
TYPES = {
    "multilabel": {"labels": ("late", "lost", "now"), "threshold": 0.45, "task": {"metric": "micro_f1"}},
    "regression": {**NUMBERS, "task": {"metric": "spearman"}},
    "pair_regression": {**NUMBERS, "task": {"metric": "pearson"}},
    "choice": {"labels": ("right",)},
    "srl": TAGS,
    "token": TAGS,
    "classification": {},
    "pair": {"labels": ("no", "yes")},
    "qa": {"labels": ("start", "end"), "threshold": 0.0, "task": {"metric": "f1"}},
}
SENTENCES = [*(text.split() for text in TEXTS), ["order", "the", "order"]]
ASKED = {
    "multilabel": {"texts": ("text", TEXTS)},
    "regression": {"texts": ("text", TEXTS)},
    "pair_regression": {"texts": ("text_a", TEXTS), "others": ("text_b", TEXTS[::-1])},
    "choice": {
        "questions": ("question", ["what is late", "what was lost today"]),
        "choices": ("choices", [["the order", "a phone"], ["my card", "your laptop is not", "the phone now"]]),
    },
    "srl": {"sentences": ("tokens", SENTENCES), "predicates": ("predicate", [2, 0, 5, 2])},
    "token": {"texts": ("tokens", SENTENCES)},
    "classification": {"texts": ("text", TEXTS)},
    "pair": {"texts": ("text_a", TEXTS), "others": ("text_b", TEXTS[::-1])},
    "qa": {"texts": ("question", TEXTS), "others": ("context", TEXTS[::-1])},
}
"""Type → what the README's code calls its rows → our column, and rows."""


def rows_of(kind, space):
    """The rows as the predictor takes them."""
    columns = {column: space[name] for name, (column, _) in ASKED[kind].items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def assert_scores(artifact, family, space, base=None):
    """The code's scores are our logits for the rows that it was run on."""
    kind = artifact.manifest.task.type
    expected, answer = ours(artifact, family, rows_of(kind, space), base)
    assert space["rows"]["input_ids"].shape == answer.shape
    scores = space["scores"] if TASK_TYPES[kind].pooled else space["scores"][answer]
    assert scores.shape == expected.shape and torch.allclose(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["multilabel", "regression", "pair_regression", "choice", "srl"])
@pytest.mark.parametrize(
    ("family", "method"), [("bert", "prefix"), ("gpt2", "prefix"), ("roberta", "prompt_tuning"), ("llama", "p_tuning")]
)
def test_other_types_are_answered_alike(family, method, kind, tmp_path):
    """Numbers, sets of labels, choices and roles; and what the README says of the scores gives our answers."""
    artifact = made(tmp_path / "a", family, method=method, name="task", type=kind, **TYPES[kind])
    export_adapter(artifact, tmp_path / "b")
    space = run_readme(tmp_path / "b", **{name: rows for name, (_, rows) in ASKED[kind].items()})
    assert_scores(artifact, family, space)
    told = Predictor(backbone_at(base_of(family)), {"task": artifact}).predict(rows_of(kind, space))
    readme, scores = (tmp_path / "b" / "README.md").read_text(encoding="utf-8"), space["scores"]
    assert "cuts rows that are longer than the model reads; the code below takes rows as they are" in readme
    if kind == "multilabel":
        assert "where `scores.sigmoid()` is 0.45 or more" in readme
        sets = [[label for label, p in zip(space["labels"], row, strict=True) if p >= 0.45] for row in scores.sigmoid()]
        assert sets == [answer["labels"] for answer in told] and 0 < sum(map(len, sets)) < 9
    elif kind == "choice":
        assert "their softmax says which is right" in readme
        found = [own[:, 0].softmax(0).tolist() for own in scores.split([len(own) for own in space["choices"]])]
        assert found == [pytest.approx(answer["scores"], abs=1e-5) for answer in told]
    elif kind == "srl":
        assert "first token of the second text; the markers answer nothing" in readme
    else:
        assert "their mean under `scores.softmax(-1)`" in readme
        found = scores.softmax(-1) @ torch.tensor([float(pole) for pole in space["labels"]])
        assert found.tolist() == pytest.approx([answer["score"] for answer in told], abs=1e-5)


@pytest.mark.parametrize("kind", TYPES)
def test_the_readme_runs_as_it_stands(kind, tmp_path):
    artifact = made(tmp_path / "a", "bert", name="task", type=kind, **TYPES[kind])
    export_adapter(artifact, tmp_path / "b")
    assert_scores(artifact, "bert", run_readme(tmp_path / "b"))


def test_choices_go_back_into_the_class_for_sentences(tmp_path):
    """A decoder's last token and no bias: PEFT's class of one output computes the very scores."""
    artifact = made(tmp_path / "a", "llama", name="task", type="choice", pooling="last", **TYPES["choice"])
    assert export_adapter(artifact, tmp_path / "b").task_type == "SEQ_CLS"
    assert_scores(artifact, "llama", run_readme(tmp_path / "b"))


@pytest.mark.parametrize("kind", ["token", "srl"])
def test_words_are_read_as_in_running_text(kind, tmp_path):
    """GPT-2's own tokenizer would read words in a list as if glued together, and so would code that left it at that."""
    base = byte_level_base()
    artifact = made(tmp_path / "a", "gpt2", base=base, name="task", type=kind, **TYPES[kind])
    export_adapter(artifact, tmp_path / "b")
    space = run_readme(tmp_path / "b", **{name: rows for name, (_, rows) in ASKED[kind].items()})
    assert_scores(artifact, "gpt2", space, base)


@pytest.mark.parametrize("method", ["prefix", "prompt_tuning"])
def test_minilm_tells_two_texts_apart(method, tmp_path):
    """A real tokenizer's segments, of roles: the predicate's and the sentence's."""
    from pipeline.backbone.source import find

    base = find("minilm")[0]
    artifact = made(tmp_path / "a", "minilm", method=method, base=base, name="task", type="srl", **TYPES["srl"])
    export_adapter(artifact, tmp_path / "b")
    space = run_readme(tmp_path / "b", **{name: rows for name, (_, rows) in ASKED["srl"].items()})
    assert space["rows"]["token_type_ids"].any()
    assert_scores(artifact, "minilm", space, base)


def test_minilm_through_peft(tmp_path):
    from pipeline.backbone import load_backbone

    backbone = load_backbone("minilm")
    artifact = make_artifact(tmp_path / "a", backbone, **{**INTENT, "lengths": (16,)})
    export_adapter(artifact, tmp_path / "b")
    scores, _ = by_the_readme(tmp_path / "b", TEXTS)
    answers = Predictor(backbone, {"intent": artifact}).predict([{"text": text} for text in TEXTS])
    for own, answer in zip(scores.softmax(-1), answers, strict=True):
        assert list(answer["scores"].values()) == pytest.approx(own.tolist(), abs=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt_tuning", "p_tuning"])
def test_there_and_back_nothing_is_lost(method, tmp_path):
    artifact = made(tmp_path / "a", "bert", method=method, pooling="mean")
    export_adapter(artifact, tmp_path / "b")
    back = import_adapter(read_adapter(tmp_path / "b"), tmp_path / "c", Wanted())
    (one,), (other,) = artifact.members, back.members
    assert torch.equal(one.prompt, other.prompt) and torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)
    changed = {"parents", "origin", "fingerprint", "files"}
    plain, again = (manifest.model_dump(exclude=changed) for manifest in (artifact.manifest, back.manifest))
    assert {**plain, "parents": ()} == {**again, "parents": ()}
    assert [parent.fingerprint for parent in back.manifest.parents] == [artifact.manifest.fingerprint]
    assert set(back.manifest.origin.files) >= {"deepprompt.json", "head.safetensors"}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_imported_prefix_goes_back_as_it_came(family, tmp_path):
    """Into the class for sentences, with its layer and its shifted positions: PEFT answers as it did."""
    model = peft_model(base_of(family), "SEQ_CLS", "prefix")
    model.save_pretrained(tmp_path / "theirs")
    artifact = imported(tmp_path / "theirs", tmp_path / "ours")
    done = export_adapter(artifact, tmp_path / "back")
    assert (done.task_type, done.reading, done.positions) == ("SEQ_CLS", "sequence", "shifted")
    scores, rows = by_the_readme(tmp_path / "back", TEXTS)
    assert torch.allclose(scores, model(**rows).logits, atol=1e-5, rtol=1e-5)
    again = import_adapter(read_adapter(tmp_path / "back"), tmp_path / "again", Wanted())
    assert again.manifest.positions == "shifted" and again.manifest.bent == (family not in DECODERS)


def test_one_of_an_ensemble(tmp_path):
    artifact = made(tmp_path / "a", "bert", lengths=(2, 6), combine="mean")
    with pytest.raises(InputError, match=r"ensemble of 2 members.*--member 1 to --member 2"):
        export_adapter(artifact, tmp_path / "b")
    with pytest.raises(InputError, match="no such member; found 3"):
        export_adapter(artifact, tmp_path / "b", member=3)
    assert export_adapter(artifact, tmp_path / "b", member=2).places == 6
    back = import_adapter(read_adapter(tmp_path / "b"), tmp_path / "c", Wanted())
    assert torch.equal(back.members[0].prompt, load_artifact(tmp_path / "a").members[1].prompt)
    assert (back.manifest.combine, back.manifest.metrics) == (None, {})  # the ensemble's figures are not its member's


REFUSED = {
    "lower layers without a prompt": ({"first_layer": 1}, "PEFT's prefixes stand in every layer.*layer 1 on"),
    "a template": ({"method": "p_tuning", "layout": "{2} text {2}"}, "in front of a row and nowhere else"),
    "after the first token": ({"method": "prompt_tuning", "layout": "after_first"}, "in front of a row"),
    "a head alone": ({"lengths": (0,)}, "a head without a prompt"),
    "two texts side by side": (
        {**SAME, "lengths": (4,), "combine": None, "pooling": "pair"},
        "reads both texts of a pair",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_in_peft_is_refused_by_name(case, tmp_path):
    changes, said = REFUSED[case]
    artifact = made(tmp_path / "a", "bert", **changes)
    with pytest.raises(InputError, match=said):
        export_adapter(artifact, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_other_refusals_write_nothing(tmp_path):
    with pytest.raises(InputError, match="a shared prompt has no head"):
        export_adapter(make_shared(tmp_path / "s", backbone_at(base_of("bert"))), tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    artifact = made(tmp_path / "a", "bert")
    with pytest.raises(InputError, match="there is something already"):
        export_adapter(artifact, tmp_path / "full")
    identity = artifact.manifest.backbone.model_copy(update={"family": "bloom"})
    other = type(artifact)(artifact.manifest.model_copy(update={"backbone": identity}), artifact.members)
    with pytest.raises(InputError, match=r"family 'bloom' do not travel.*bert, camembert"):
        export_adapter(other, tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "a", "full"}


def test_the_config_is_one_that_peft_writes(tmp_path):
    """Nothing that PEFT would not know, and the sizes of its own file for the same adapter."""
    peft_model(base_of("llama"), "TOKEN_CLS", "prefix").save_pretrained(tmp_path / "theirs")
    export_adapter(made(tmp_path / "a", "llama"), tmp_path / "b")
    theirs, our = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("theirs", "b"))
    assert our.keys() <= theirs.keys()
    same = ("peft_type", "task_type", "num_layers", "num_attention_heads", "token_dim", "num_virtual_tokens")
    assert {key: our[key] for key in same} == {key: theirs[key] for key in same}
