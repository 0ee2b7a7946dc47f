"""Families that are built otherwise train, are cached and are kept as the others: one shared layer (ALBERT), a narrower
output than the layers (OPT 350M), a decoder that heads do not read (T5)."""

from __future__ import annotations

import pytest
import torch

from pipeline.registry import Member, Predictor, load_artifact, save_artifact
from pipeline.tasks import DataSource, TaskSpec, load_task
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.once import demo_folder
from tests.registry.made import facts_of
from tests.training.adaptation.test_cohort import assert_same

CANDIDATES = [
    Candidate("scratch", 3, 0, 1e-2, 0),
    Candidate("shared", 5, 2, 3e-3, 1),
    Candidate("scratch", 0, 2, 1e-2, 2),
]
SETTINGS = SearchSettings(steps=4, rows=6, warmup=0.25, evaluate_every=2, patience=0, seed=3)


@pytest.mark.parametrize("family", ["albert", "opt-post", "t5"])
def test_trained_with_a_cached_trunk_saved_and_loaded_it_answers_alike(family, backbone, prepared, tmp_path):
    model, task = backbone(family), prepared("intent", family, 24)
    info, pooling = model.info, "last" if model.info.causal else "mean"
    shared = torch.randn(*info.prompt_shape(4, 0, True), generator=torch.Generator().manual_seed(1))
    found = []
    for trunks in (None, Trunks(model, tmp_path / "trunk", 10**7)):
        search = Search(task, CANDIDATES, Start(shared, {}, "vocabulary"), SETTINGS)
        found.append(Cohort(model, [search], CohortSettings(pooling), LocalWorld(tmp_path), trunks).run()[0])
    for plain, cached, candidate in zip(*found, CANDIDATES, strict=True):
        assert_same(plain, cached)
        assert plain.prompt.shape == info.prompt_shape(candidate.length, candidate.first_layer, True)
        assert plain.prompt.shape[0] == info.entrances - candidate.first_layer
    assert len(list((tmp_path / "trunk").glob("*.trunk"))) == 2, "train and dev at layer 2"

    standing = {"sites": info.standing} if info.decodes else {}
    facts = facts_of(model, name="intent", labels=tuple(task.labels), combine="mean", pooling=pooling, **standing)
    members = [Member(one.prompt, one.weight, one.bias) for one in found[0]]
    artifact = save_artifact(tmp_path / "artifact", members, facts)
    assert artifact.manifest.first_layers == (0, 2, 2)
    spec = TaskSpec(name="intent", type="classification", data=DataSource(path=str(demo_folder("intent", 24))))
    texts = load_task(spec, tmp_path).splits["dev"]["text"]
    answers = Predictor(model, {"intent": load_artifact(tmp_path / "artifact")}).predict([{"text": t} for t in texts])
    together = answer_together(model, task, "dev", found[0], pooling=pooling).probabilities.mean(0)  # [A, C]
    assert [answer["label"] for answer in answers] == [task.labels[n] for n in together.argmax(1).tolist()]
