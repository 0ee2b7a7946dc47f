"""The set of champions without a server: what is taken in, what is refused, what stays."""

from __future__ import annotations

import asyncio
import json

import pytest

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from tests.once import empty_registry
from tests.registry.made import INTENT, SLOTS, backbone_of, make_artifact, make_shared
from workflows.serve import champions as module
from workflows.serve.app import _compute, _read
from workflows.serve.batching import LEAST_WAIT, Pace
from workflows.serve.champions import Champions, Keeper
from workflows.serve.http import make_app
from workflows.serve.limits import Limits, Refusal, check_rows


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return empty_registry(tmp_path_factory.mktemp("champions"))


@pytest.fixture
def registry(database, request):
    return PromptRegistry(database, prefix=request.node.name)


def add(registry, folder, task=INTENT, family="bert", seed=0, alias="champion"):
    make_artifact(folder, backbone_of(family), seed=seed, **task)
    return registry.register(folder, alias=alias).version


def test_only_changes_are_taken_in(registry, tmp_path):
    keeper = Keeper(registry)
    assert not keeper.refresh() and not keeper.current.served
    add(registry, tmp_path / "a")
    make_shared(tmp_path / "s", backbone_of("bert"))
    registry.register(tmp_path / "s")
    assert keeper.refresh() and not keeper.refresh()
    before = keeper.current
    assert list(before.served) == ["intent"]  # a shared prompt answers nothing
    add(registry, tmp_path / "b", seed=2, alias="challenger")
    assert keeper.refresh() and list(keeper.current.served) == ["intent", "intent@challenger"]
    assert list(before.served) == ["intent"]  # the old set is what it was: rows that it read are answered by it


def test_a_registry_that_does_not_answer_changes_nothing(registry, tmp_path, monkeypatch):
    add(registry, tmp_path / "a")
    keeper = Keeper(registry)
    keeper.refresh()
    before = keeper.current

    def down(_):
        raise InputError("MLflow refuses")

    monkeypatch.setattr(module, "aliases", down)
    with pytest.raises(InputError, match="refuses"):
        keeper.refresh()
    assert keeper.current is before


def test_a_refused_version_is_tried_again(registry, tmp_path, monkeypatch):
    version = add(registry, tmp_path / "a")
    manifest = registry.get(f"intent@v{version}") / "manifest.json"
    sound = manifest.read_text(encoding="utf-8")
    manifest.write_text("{}", encoding="utf-8")
    keeper = Keeper(registry)
    keeper.refresh()
    assert list(keeper.current.refused) == ["intent"] and not keeper.current.served
    with pytest.raises(Refusal) as told:
        check_rows([{"task": "intent", "text": "a"}], keeper.current, Limits())
    assert told.value.status == 503 and told.value.retry_after
    manifest.write_text(sound, encoding="utf-8")
    assert not keeper.refresh()  # not at every look
    monkeypatch.setattr(keeper, "_retry", 0.0)
    assert keeper.refresh() and not keeper.current.refused


def test_two_backbones_while_one_replaces_the_other(registry, tmp_path):
    """A request may hold rows of both; each is answered on its own, under its own number."""
    add(registry, tmp_path / "a")
    add(registry, tmp_path / "b", SLOTS, family="gpt2")
    add(registry, tmp_path / "c", {**INTENT, "name": "third"}, family="llama")
    keeper = Keeper(registry)
    keeper.refresh()
    assert len(keeper.current.served) == 2 and "backbones" in next(iter(keeper.current.refused.values()))
    both = sorted(keeper.current.served)
    rows = [{"task": name, "text": "my phone is late"} for name in (*both, *both)]
    answers = _compute(_read(rows, keeper.current))
    assert [answer["task"] for answer in answers] == [*both, *both]
    for row, answer in zip(rows, answers, strict=True):
        (alone,) = keeper.current.served[row["task"]].predictor.predict([row])
        assert answer.get("tags") == alone.get("tags")
        assert answer.get("score") == pytest.approx(alone.get("score"), abs=1e-5)
    with pytest.raises(InputError, match="row 3"):
        _read([*rows[:2], {"task": both[0], "text": " "}], keeper.current)


class Empty:
    """A service that has nothing to answer with."""

    limits = Limits()
    token_sha256 = None
    champions = Champions()

    class metrics:  # noqa: N801
        class requests:  # noqa: N801
            labels = staticmethod(lambda *_: Empty.metrics.requests)
            inc = staticmethod(lambda: None)
            observe = staticmethod(lambda _: None)

        seconds = requests

    async def predict(self, rows):
        check_rows(rows, self.champions, self.limits)
        raise AssertionError("it cannot come to this")


def asked(app, method, path, body=b""):
    """Status and JSON of one request to an ASGI application."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])


def test_not_ready_without_champions():
    app = make_app(Empty())
    assert asked(app, "GET", "/healthz")[0] == 200
    for reply in (
        asked(app, "GET", "/readyz"),
        asked(app, "POST", "/v1/predict", b'{"rows": [{"task": "a", "text": "b"}]}'),
    ):
        status, told, headers = reply
        assert status == 503 and "no champion can answer yet" in told["errors"][0]["message"]
        assert headers[b"retry-after"] == b"5"


def test_what_the_server_cannot_help_is_no_traceback():
    service = Empty()
    service.predict = lambda rows: 1 / 0
    status, told, _ = asked(make_app(service), "POST", "/v1/predict", b'{"rows": [{"task": "a"}]}')
    assert status == 500 and told["errors"][0]["what"] == "the server failed"


def test_the_pace_follows_the_load():
    pace = Pace(most=64, target=0.25)
    pace.learn(1, 0.01)
    assert pace.wait == LEAST_WAIT  # alone: no waiting
    pace.learn(8, 0.02)
    assert LEAST_WAIT < pace.wait <= 0.02
    pace.learn(64, 1.0)
    assert pace.rows == 32  # too slow: fewer at once
    pace.learn(32, 0.05)
    assert pace.rows == 64  # full and quick: more again
    for _ in range(20):
        pace.learn(64, 10.0)
    assert pace.rows == 4
