"""What is asked over HTTP is answered as the predictor answers; what cannot be is refused with its place."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pipeline.errors import InputError
from pipeline.registry import Predictor, load_artifact
from tests.registry.made import backbone_of
from tests.serve.servers import TOKEN, start
from workflows.serve.http import content_policy

ROWS = [
    {"task": "slots", "text": "my laptop is broken today"},
    {"task": "intent", "text": "cancel my order now please"},
    {"task": "same", "text_a": "the card was late", "text_b": "a card is late"},
    {"task": "intent@challenger", "text": "cancel my order now please"},
    {"task": "slots", "tokens": ["refund", "the", "phone", "to", "Paris"]},
    {"task": "intent@champion", "text": "lost"},
]


def of_predictor(server, row):
    """What the library answers with the same version."""
    task, _, alias = row["task"].partition("@")
    predictor = Predictor(
        backbone_of("bert"), {task: load_artifact(server.registry.get(f"{task}@{alias or 'champion'}"))}
    )
    return predictor.predict([{**row, "task": task}])[0]


def assert_same(answer, expected):
    assert answer["task"] == expected["task"]
    if "scores" in expected:
        assert answer["label"] == expected["label"]
        assert answer["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    else:
        assert (answer["tags"], answer["spans"]) == (expected["tags"], expected["spans"])


def test_mixed_equals_separate(server):
    """One request of many tasks, many requests at once, and the library all agree."""
    together = server.predict(*ROWS)
    with ThreadPoolExecutor(len(ROWS)) as pool:
        apart = [answers[0] for answers in pool.map(server.predict, ROWS)]
    for row, one, other in zip(ROWS, together, apart, strict=True):
        expected = of_predictor(server, row)
        assert_same(one, expected)
        assert_same(other, expected)
    assert [one["alias"] for one in together] == ["champion"] * 3 + ["challenger"] + ["champion"] * 2
    assert together[1]["version"] != together[3]["version"]
    assert together[1]["scores"] != pytest.approx(together[3]["scores"], abs=1e-3)


def test_the_task_may_be_named_once(server):
    reply = server.ask("/v1/predict", {"task": "intent", "rows": [{"text": "lost"}, ROWS[2]]})
    assert [one["task"] for one in reply.json["answers"]] == ["intent", "same"]


def test_what_can_be_asked_is_listed(server):
    told = server.ask("/v1/tasks").json
    tasks = {one["task"]: one for one in told["tasks"]}
    assert {"intent", "markup", "same", "slots"} <= set(tasks) and "shared-prompt" not in tasks
    assert tasks["same"]["champion"]["fields"] == ["text_a", "text_b"] and tasks["same"]["challenger"] is None
    assert tasks["intent"]["challenger"]["version"] == 2


@pytest.mark.parametrize(
    ("rows", "status", "where", "said"),
    [
        ([{"task": "intnt", "text": "a"}], 404, "row 1", "did you mean 'intent'?"),
        ([ROWS[0], {"task": "same@challenger", "text": "a"}], 404, "row 2", "no such alias here"),
        ([{"text": "a"}], 422, "row 1", "the row names no task"),
        ([{"task": 3, "text": "a"}], 422, "row 1", "the task is not text"),
        ([ROWS[1], {"task": "intent", "txt": "a"}], 422, "row 2", "no field 'text'"),
        ([ROWS[1], {"task": "slots", "tokens": ["a", 3]}], 422, "row 2", "not a word"),
        ([ROWS[1], "text"], 422, "row 2", "valid dictionary"),
        ([], 422, "rows", "at least 1 item"),
        ([ROWS[1]] * 81, 413, "rows", "too many rows in one request; found 81; expected at most 80"),
        ([ROWS[1], {"task": "intent", "text": "a " * 300}], 413, "row 2", "found 600 characters"),
        ([ROWS[1], {"task": "slots", "tokens": ["word"] * 200}], 413, "row 2", "too long"),
    ],
)
def test_a_refusal_says_where_and_why(server, rows, status, where, said):
    reply = server.ask("/v1/predict", {"rows": rows})
    assert reply.status == status, reply.body
    told = reply.json["errors"][0]
    assert told["where"] == where and said in told["message"]


def test_every_unsound_row_is_told(server):
    reply = server.ask("/v1/predict", {"rows": [{"task": "intent"}, ROWS[0], {"task": "same"}]})
    assert reply.status == 422
    assert [one["where"] for one in reply.json["errors"]] == ["row 1", "row 3"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b'{"rows": [', "application/json", 422, "not JSON"),
        (b'{"row": []}', "application/json", 422, "field required"),
        (b'{"rows": [{}], "x": 1}', "application/json", 422, "extra inputs"),
        (b"[]", "application/json", 422, "valid dictionary"),
        (b'{"rows": "\xff"}', "application/json", 422, "byte 10: the body is not UTF-8"),
        (b'{"rows": []}', "text/plain", 415, "not declared as JSON"),
        (
            b'{"rows": [{"task": "intent", "text": ' + b"[" * 600 + b"]" * 600 + b"}]}",
            "application/json",
            422,
            "not text",
        ),
        (b" " * 300_000, "application/json", 413, "too large"),
    ],
)
def test_a_body_that_is_no_request(server, body, kind, status, said):
    reply = server.ask("/v1/predict", body, Content_Type=kind)
    assert reply.status == status, reply.body
    assert said.lower() in reply.json["errors"][0]["message"].lower()


def test_other_paths_and_methods(server):
    assert (server.ask("/v1/tasks", {}).status, server.ask("/v1/task").status) == (405, 404)
    assert server.ask("/v1/predict").status == 405
    assert server.ask("/docs").status == 404  # FastAPI's own page would load its code from elsewhere
    assert "errors" in server.ask("/v1/task").json


def test_health_readiness_and_schema(server):
    assert server.ask("/healthz").json == {"status": "ok"}
    assert server.ask("/readyz").json["status"] == "ready" and server.ask("/readyz").json["served"] >= 5
    schema = server.ask("/openapi.json").json
    assert {"/v1/predict", "/v1/tasks", "/healthz", "/readyz", "/metrics"} == set(schema["paths"])
    assert {"200", "404", "413", "422", "429", "503"} <= set(schema["paths"]["/v1/predict"]["post"]["responses"])


def test_metrics(server):
    def figures():
        lines = server.ask("/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    before = figures()
    server.predict(ROWS[2], ROWS[2])
    server.ask("/v1/predict", {"rows": [{"task": "nobody", "text": "a"}]})
    after = figures()

    def more(name):
        return after[name] - before.get(name, 0)

    assert more('deepprompt_rows_total{alias="champion",task="same"}') == 2
    assert more('deepprompt_requests_total{path="/v1/predict",status="404"}') == 1
    assert after['deepprompt_version{alias="challenger",task="intent"}'] == 2
    assert after["deepprompt_registry_up"] == 1 and after["deepprompt_served"] >= 5
    assert after["deepprompt_queue_rows"] == 0


def test_the_page_loads_nothing_from_elsewhere(server):
    reply = server.ask("/")
    page = reply.body.decode()
    assert reply.headers["content-security-policy"] == content_policy(page)
    assert "'unsafe-inline'" not in content_policy(page).partition("script-src")[2].partition(";")[0]
    assert not [word for word in ("src=", "href=", "@import", "url(") if word in page.replace('href="data:,"', "")]
    assert "access-control-allow-origin" not in {name.lower() for name in reply.headers}


def test_many_rows_at_once_share_batches(server):
    """Forty callers of three tasks: far fewer forward passes than rows."""

    def batches():
        lines = server.ask("/metrics").body.decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith("deepprompt_batch_rows_count"))

    before = batches()
    with ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda n: server.predict(ROWS[n % 3])[0], range(120)))
    assert batches() - before < 100 and {one["task"] for one in replies} == {"slots", "intent", "same"}


def test_too_many_rows_waiting(server):
    reply = server.ask("/v1/predict", {"rows": [ROWS[1]] * 65})
    assert reply.status == 429 and reply.headers["retry-after"] == "1"
    assert "too many rows wait" in reply.json["errors"][0]["message"]
    assert len(server.predict(*[ROWS[1]] * 64)) == 64  # and nothing is left in the queue's count


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/predict", "/metrics"])
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer open sesam", "Bearer open sesame2", "Basic open sesame"])
def test_without_the_token_nothing_is_told(server, path, given):
    body = {"rows": [ROWS[1]]} if path == "/v1/predict" else None
    reply = server.ask(path, body, Authorization=given)
    assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
    assert set(reply.json) == {"errors"} and "token" in reply.json["errors"][0]["message"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json"])
def test_what_needs_no_token(server, path):
    assert server.ask(path, Authorization="").status == 200


def test_the_port_is_taken(server, tmp_path):
    with pytest.raises(InputError, match="the port is taken"), start(server, tmp_path / "log"):
        pass


def test_nothing_listens_beyond_loopback(server):
    """Ray's own ports, the proxy's and the replica's for other deployments included."""
    places = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            listening = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
            places |= {one.laddr.ip for one in listening}
    assert places and places <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_body_without_length_is_bounded_too(server):
    def endless():
        for _ in range(300):
            yield b" " * 1000

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{server.url}/v1/predict", endless(), headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request, timeout=30)
    assert told.value.code == 413 and "too large" in json.load(told.value)["errors"][0]["message"]
