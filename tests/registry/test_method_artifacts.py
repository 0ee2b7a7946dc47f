"""Artifacts of input prompts: kept, checked and answering beside deep ones; earlier formats are still read."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import InputError
from pipeline.registry import Member, Predictor, load_artifact, save_artifact
from tests.registry.made import backbone_of, facts_of, make_artifact, rewrite_manifest

LAYOUTS = {"prompt_tuning": "after_first", "p_tuning": "{2} text {2} label"}
ROWS = [{"text": "my order is late"}, {"text": "refund"}, {"text": "please cancel the phone order now"}]


def make_input(folder, backbone, method, lengths=(4,), name="intent", **changes):
    facts = facts_of(backbone, name=name, method=method, layout=LAYOUTS[method], **changes)
    draw, info = torch.Generator().manual_seed(3), backbone.info
    members = [
        Member(
            torch.randn(p, info.embedding, generator=draw), torch.randn(3, info.width, generator=draw), torch.zeros(3)
        )
        for p in lengths
    ]
    return save_artifact(folder, members, facts)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("method", LAYOUTS)
def test_loaded_equals_saved(method, family, tmp_path):
    saved = make_input(tmp_path / "a", backbone_of(family), method, (4, 0, 6), combine="mean")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.manifest == saved.manifest and loaded.manifest.lengths == (4, 0, 6)
    assert loaded.manifest.heads is None and loaded.manifest.embedding == backbone_of(family).info.embedding
    for one, other in zip(saved.members, loaded.members, strict=True):
        assert torch.equal(one.prompt, other.prompt)


def test_tasks_of_all_methods_are_answered_in_one_batch_as_each_alone(tmp_path):
    backbone = backbone_of("bert")
    artifacts = {
        "deep": make_artifact(tmp_path / "deep", backbone, name="deep", lengths=(3, 5), combine="mean"),
        "head": make_artifact(tmp_path / "head", backbone, name="head", lengths=(0,), first_layer=2, method="head"),
        **{m: make_input(tmp_path / m, backbone, m, (4, 2), name=m, combine="vote") for m in LAYOUTS},
    }
    rows = [{"task": name, **row} for row in ROWS for name in artifacts]
    for row, answer in zip(rows, Predictor(backbone, artifacts).predict(rows), strict=True):
        (alone,) = Predictor(backbone, {row["task"]: artifacts[row["task"]]}).predict([row])
        assert answer["scores"] == pytest.approx(alone["scores"], abs=1e-5)


def test_a_file_of_format_2_is_read(tmp_path):
    made = make_artifact(tmp_path / "a", backbone_of("bert"), lengths=(4, 6), combine="mean")

    def older(plain):
        for key in ("layout", "embedding"):
            del plain[key]
        plain["format_version"] = 2

    rewrite_manifest(tmp_path / "a", older)
    old = load_artifact(tmp_path / "a")
    assert (old.manifest.method, old.manifest.layout, old.manifest.lengths) == ("deep", None, (4, 6))
    assert all(torch.equal(a.prompt, b.prompt) for a, b in zip(made.members, old.members, strict=True))


WRONG = {
    "layout": ({"layout": None}, "does not fit the method"),
    "deep with a layout": ({"method": "deep"}, "does not fit the method"),
    "no layout at all": ({"layout": "nowhere"}, "unknown place"),
    "template": ({"layout": "{0} text"}, "not a number of soft tokens"),
    "method": ({"method": "shallow"}, "method"),
    "length": ({"lengths": [5]}, "another shape"),
    "width": ({"embedding": None}, "is not told"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_manifest_that_does_not_fit_is_refused(case, tmp_path):
    make_input(tmp_path / "a", backbone_of("bert"), "prompt_tuning")
    change, said = WRONG[case]
    rewrite_manifest(tmp_path / "a", lambda plain: plain.update(change))
    with pytest.raises(InputError, match=said):
        load_artifact(tmp_path / "a")
