"""Several processes at once, on a database and on a server: nothing is lost, and everybody knows who was first."""

from __future__ import annotations

import json
import threading

import pytest

from pipeline.registry import Promotion, PromptRegistry
from tests.forks import start
from tests.registry.made import INTENT, backbone_of, make_artifact
from tests.registry.promoters import promote

PEOPLE, EACH = 3, 2


@pytest.fixture(scope="module")
def raced(opened, served, tmp_path_factory):
    """uri → what each promoter told; the registries had versions 1 to 4 of intent, 1 the champion."""
    folder = tmp_path_factory.mktemp("raced")
    for seed in range(1, 6):
        make_artifact(folder / f"a{seed}", backbone_of("bert"), seed=seed, **INTENT)
    registries = [opened.registry.uri, served.uri]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in served.environment.items():
            patch.setenv(name, value)
        for uri in registries:
            for seed in range(1, 5):
                PromptRegistry(uri, "raced").register(folder / f"a{seed}", alias="champion" if seed == 1 else None)
        shared = {"everybody": PEOPLE, "folder": str(folder), "fresh": f"sqlite:///{folder}/fresh/mlflow.db"}
        shared |= {"registries": registries, "artifact": str(folder / "a5"), "each": EACH}
        started = [start(promote, {**shared, "me": me}) for me in range(PEOPLE)]
        for process in started:
            process.join(400)
        # The first time a new database was opened by all at once its tables came out wrong for all but one.
        assert [process.exitcode for process in started] == [0] * PEOPLE
        told = [json.loads((folder / f"told-{me}.json").read_text()) for me in range(PEOPLE)]
        yield {uri: [one[uri] for one in told] for uri in registries}


@pytest.fixture(params=["sqlite", "server"])
def place(request, raced, opened, served, monkeypatch):
    """One of the registries, and what was told of it."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    uri = opened.registry.uri if request.param == "sqlite" else served.uri
    return PromptRegistry(uri, "raced"), raced[uri]


def test_every_decision_is_in_the_history_and_follows_the_one_before(place):
    registry, told = place
    history = registry.history("intent")
    mine = [Promotion(**move) for one in told for move in one["mine"]]
    assert len(mine) == PEOPLE * EACH and all(move in history for move in mine)
    assert len(history) == 1 + 1 + PEOPLE * EACH
    oldest_first = history[::-1]
    assert [move.previous for move in oldest_first] == [None, *(move.version for move in oldest_first[:-1])]
    assert registry.aliases()["intent"] == history[0].version


def test_of_those_who_expect_the_same_one_is_first_and_the_others_are_told(place):
    registry, told = place
    (first,) = [move for move in registry.history("intent") if move.reason == "the race"]
    assert first.previous == 1
    losers = [one["lost"] for one in told if one["lost"] is not None]
    assert len(losers) == PEOPLE - 1 and told[first.version - 2]["lost"] is None
    for message in losers:
        assert "intent@champion: champion was moved meanwhile" in message and "expected version 1" in message
        assert "made it version" in message


def test_the_same_artifact_registered_by_all_is_one_version(place):
    registry, told = place
    assert [one["same"] for one in told] == [5] * PEOPLE
    assert next(one for one in registry.list() if one.task == "intent").versions == 5


def test_threads_of_one_process_neither_lose_a_decision_nor_the_processs_settings(registry, make):
    import mlflow

    for seed in (1, 2):
        registry.register(make(seed=seed), alias="champion" if seed == 1 else None)
    mlflow.set_tracking_uri("http://somewhere.invalid")
    try:
        failed: list[BaseException] = []

        def promote():
            try:
                own = PromptRegistry(registry.uri, registry.prefix)
                for version in (2, 1):
                    own.promote("intent", version)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=promote) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed and mlflow.get_tracking_uri() == "http://somewhere.invalid"
    finally:
        mlflow.set_tracking_uri(None)
    assert len(registry.history("intent")) == 1 + 4 * 2
