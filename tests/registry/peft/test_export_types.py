"""Every type that travels: the README's own code, run as it stands, gives the logits that we give."""

from __future__ import annotations

import pytest
import torch

from pipeline.registry import Predictor
from pipeline.registry.peft import export_adapter
from pipeline.tasks import TASK_TYPES
from tests.registry.peft.adapters import backbone_at, base_of, byte_level_base
from tests.registry.peft.readme import TEXTS, made, ours, run_readme

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
