"""A promotion is picked up while requests come in: none fails, and each answer is the one of the version it names."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pipeline.registry import Predictor, load_artifact
from tests.registry.made import INTENT, SAME, SLOTS, backbone_of
from tests.serve.servers import wait_for

ROW = {"text": "cancel my order now please"}


def expected_of(server, task, version):
    folder = server.registry.get(f"{task}@v{version}")
    return Predictor(backbone_of("bert"), {task: load_artifact(folder)}).predict([{**ROW, "task": task}])[0]["scores"]


def test_promotions_under_load_drop_nothing(server):
    task = {**INTENT, "name": "swapped"}
    versions = [server.add(task, 21, "champion")]
    wait_for(lambda: server.ask("/v1/predict", {"rows": [{**ROW, "task": "swapped"}]}).status == 200)
    row, other = {**ROW, "task": "swapped"}, {**ROW, "task": "intent"}
    with ExitStack() as stack:
        asking = [stack.enter_context(server.asking(one)) for one in (row, row, other, row)]
        for seed in (22, 23, 24):
            versions.append(server.add(task, seed, "champion"))
            new = versions[-1]
            wait_for(lambda new=new: asking[0].replies and asking[0].replies[-1].json["answers"][0]["version"] == new)
    replies = [reply for one in asking for reply in one.replies]
    assert {reply.status for reply in replies} == {200}
    scores = {version: expected_of(server, "swapped", version) for version in versions}
    for one in (asking[0], asking[1], asking[3]):
        answers = [reply.json["answers"][0] for reply in one.replies]
        seen = [answer["version"] for answer in answers]
        assert seen == sorted(seen) and set(seen) == set(versions)  # the old one never comes back
        for answer in answers:
            assert answer["scores"] == pytest.approx(scores[answer["version"]], abs=1e-5)


def test_what_cannot_be_loaded_replaces_nothing(server):
    """A version whose files were changed is refused; the one before it goes on answering."""
    task = {**SAME, "name": "spoilt"}
    first = server.add(task, 31, "champion")
    ask = {"task": "spoilt", "text_a": "a", "text_b": "my card"}
    wait_for(lambda: server.ask("/v1/predict", {"rows": [ask]}).status == 200)
    second = server.add(task, 32, None)
    prompt = server.registry.get(f"spoilt@v{second}") / "prompt.safetensors"
    prompt.write_bytes(prompt.read_bytes()[:-4] + b"\0\0\0\0")
    server.registry.promote("spoilt", second)
    wait_for(lambda: "spoilt" in server.ask("/v1/tasks").json["refused"])
    assert "changed after it was written" in server.ask("/v1/tasks").json["refused"]["spoilt"]
    assert server.predict(ask)[0]["version"] == first
    server.registry.promote("spoilt", first)
    wait_for(lambda: not server.ask("/v1/tasks").json["refused"])


def test_a_first_champion_is_served_and_a_withdrawn_one_is_not(server):
    version = server.add({**SLOTS, "name": "late"}, 41, None)
    ask = {"rows": [{"task": "late", "text": "my phone"}]}
    assert server.ask("/v1/predict", ask).status == 404
    server.registry.promote("late", version)
    wait_for(lambda: server.ask("/v1/predict", ask).status == 200)
    server.withdraw("late")
    wait_for(lambda: server.ask("/v1/predict", ask).status == 404)
