"""Artifacts of every method side by side: each row is answered over HTTP as its artifact answers it alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.registry import Predictor, load_artifact
from tests.registry.peft.adapters import peft_logits
from tests.serve.methods import SIZE, WRITERS, make_all, open_model
from tests.serve.servers import wait_for
from tests.serve.test_types import assert_alike

TEXTS = ["my order is late", "refund", "my laptop was broken and I want a refund now . " * 8]
"""The last is longer than the backbones read."""


@pytest.fixture(scope="module", params=SIZE)
def methods(request, server, tmp_path_factory):
    """The backbone, its artifacts, champions of the room's server while these tests last, and PEFT's own model."""
    backbone = open_model(request.param)
    made, theirs = make_all(tmp_path_factory.mktemp(request.param), backbone)
    for one in made.values():
        server.registry.register(one.folder)
    wait_for(lambda: set(made) <= served(server))
    yield backbone, made, theirs
    for name in made:
        server.withdraw(name)
    wait_for(lambda: not set(made) & served(server))


def served(server):
    return {one["task"] for one in server.ask("/v1/tasks").json["tasks"]}


def rows_of(made):
    """Rows of all tasks in turn."""
    return [{"task": name, "input" if name in WRITERS else "text": text} for text in TEXTS for name in made]


def alone(backbone, row, artifact):
    """The answer of a predictor that knows no other artifact, without who gave it."""
    (answer,) = Predictor(backbone, {row["task"]: artifact}).predict([row])
    return {key: value for key, value in answer.items() if key != "task"}


def test_every_method_is_answered_in_one_request_as_alone(methods, server):
    """What a network made as by the network itself: baked equals trained, to the end of the wire."""
    backbone, made, _ = methods
    for row, answer in zip(rows_of(made), server.predict(*rows_of(made)), strict=True):
        assert_alike(answer, alone(backbone, row, made[row["task"]].before))
        assert_alike(answer, alone(backbone, row, load_artifact(made[row["task"]].folder)))


def test_many_callers_of_all_methods_share_batches(methods, server):
    """Each row in a request of its own, beside the tiny BERT's that the rest of the room asks."""

    def batches():
        lines = server.ask("/metrics").body.decode().splitlines()
        figures = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        return [figures[f"deepprompt_batch_tasks_{part}"] for part in ("sum", "count")]

    backbone, made, _ = methods
    rows, (tasks, count) = rows_of(made), batches()
    with ThreadPoolExecutor(len(rows) + 4) as pool:
        others = [pool.submit(server.predict, {"task": "intent", "text": "lost"}) for _ in range(4)]
        answers = [one for (one,) in pool.map(server.predict, rows)]
    for row, answer in zip(rows, answers, strict=True):
        assert_alike(answer, alone(backbone, row, load_artifact(made[row["task"]].folder)))
    assert {other.result()[0]["task"] for other in others} == {"intent"}
    more = batches()
    assert more[0] - tasks > more[1] - count, "no batch held rows of two tasks"


def test_an_imported_adapter_answers_as_in_peft(methods, server):
    """Its rows' positions are shifted in a batch where the others' are not."""
    backbone, made, theirs = methods
    rows = [{"task": name, "text": text} for text in TEXTS[:2] for name in ("peft", "deep")]
    told = [answer["scores"] for answer in server.predict(*rows)][::2]
    logits = peft_logits(theirs, backbone.tokenizer(TEXTS[:2])["input_ids"])
    for scores, row, own in zip(told, rows[::2], logits, strict=True):
        assert list(scores.values()) == pytest.approx(own.softmax(0).tolist(), abs=1e-5)
        artifact = load_artifact(made["peft"].folder)
        manifest = artifact.manifest.model_copy(update={"positions": "own"})
        other = alone(backbone, row, replace(artifact, manifest=manifest))["scores"]
        assert scores != pytest.approx(other, abs=1e-3), "the shift says nothing on these rows"
