"""Every task type over HTTP: answered as the library answers, described as it is answered, refused where it must be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.registry import Predictor, load_artifact
from pipeline.tasks import TASK_TYPES
from pipeline.tasks.types.base import text_reading
from tests.registry.made import backbone_of
from tests.serve.typed import ROWS, TYPED
from workflows.serve.shapes import Answer

ASKED = [{"task": name, **row} for name, row in ROWS.items()]
ASKED += [{"task": "find@challenger", **ROWS["find"]}, {"task": "pick", **ROWS["pick"], "choices": ["now", "a card"]}]
OTHERS = [
    {"task": "intent", "text": "lost"},
    {"task": "same", "text_a": "the card was late", "text_b": "a card is late"},
    {"task": "slots", "text": "my laptop is broken today"},
]


def of_library(server, row):
    """The answer of the same version, without who gave it."""
    task, _, alias = row["task"].partition("@")
    artifact = load_artifact(server.registry.get(f"{task}@{alias or 'champion'}"))
    (answer,) = Predictor(backbone_of("bert"), {task: artifact}).predict([{**row, "task": task}])
    return {key: value for key, value in answer.items() if key != "task"}


def assert_alike(answer, expected):
    assert set(answer) == {"task", "alias", "version", *expected}
    for field, value in expected.items():
        exact = isinstance(value, str | int | None) or field in ("labels", "tokens", "tags", "spans")
        assert answer[field] == (value if exact else pytest.approx(value, abs=1e-5)), field


def test_every_type_answers_as_the_library(server):
    """All in one request, each in one of its own, many at once."""
    rows = ASKED + OTHERS
    with ThreadPoolExecutor(len(rows)) as pool:
        apart = [answers[0] for answers in pool.map(server.predict, rows)]
    for row, one, other in zip(rows, server.predict(*rows), apart, strict=True):
        expected = of_library(server, row)
        assert_alike(one, expected)
        assert_alike(other, expected)


def test_what_is_told_is_what_the_schema_says(server):
    """Every answer has only fields that the model knows, of the kinds it says, and keeps them unchanged."""
    rows = ASKED + OTHERS
    for answer in server.predict(*rows):
        assert Answer.model_validate(answer, strict=True).model_dump(exclude_unset=True) == answer
    schemas = server.ask("/openapi.json").json["components"]["schemas"]
    said = schemas["Answer"]["properties"]
    written = {"text"}  # by backbones that write; this server's reads
    assert {key for answer in server.predict(*rows) for key in answer} | written == set(said)
    assert {one["type"] for one in said["label"]["anyOf"]} == {"string", "integer", "null"}
    assert {one["type"] for one in said["scores"]["anyOf"]} == {"object", "array", "null"}
    assert "threshold" in said["labels"]["description"]
    (example,) = schemas["Asked"]["examples"]
    assert [row["task"] for row in example["rows"]] == list(TASK_TYPES)
    for kind in TASK_TYPES.values():
        assert all(field in schemas["Asked"]["description"] for field in [kind.name, *kind.inputs])


def test_an_answer_of_each_kind_was_seen(server):
    """Else the tests above would say little: labels above and below the threshold, an answer and none."""
    told = dict(zip([row["task"] for row in ASKED[:7]], server.predict(*ASKED[:7]), strict=True))
    assert 0 < len(told["topics"]["labels"]) < len(TYPED["topics"]["labels"])
    assert -1 < told["stars"]["score"] < 4
    assert len(told["pick"]["scores"]) == 3 and told["pick"]["choice"] in ROWS["pick"]["choices"]
    assert len(told["roles"]["tags"]) == 6 and told["roles"]["spans"]
    found, silent = told["find"], told["find@challenger"]
    assert found["answer"] == ROWS["find"]["context"][found["start"] : found["end"]] != ""
    assert (silent["answer"], silent["start"], silent["end"]) == ("", None, None)
    assert silent["score"] == silent["no_answer"]


def test_a_text_is_an_answer():
    told = TASK_TYPES["generation"].tell(text_reading("a phone was lost", {}), ("text",), "bleu", None)
    plain = Answer(task="tell", alias="champion", version=1, **told).model_dump(exclude_none=True)
    assert plain == {"task": "tell", "alias": "champion", "version": 1, "text": "a phone was lost"}


def test_what_the_page_needs_is_listed(server):
    tasks = {one["task"]: one for one in server.ask("/v1/tasks").json["tasks"]}
    for name, made in TYPED.items():
        told = tasks[name]["champion"]
        assert told["fields"] == list(TASK_TYPES[made["type"]].inputs)
        assert (told["labels"], told["threshold"]) == (list(made["labels"]), made.get("threshold"))


@pytest.mark.parametrize(
    ("row", "status", "said"),
    [
        ({"task": "pick", "question": "when", "choices": ["now"]}, 422, "leaves no choice"),
        ({"task": "pick", "question": "when", "choices": "now"}, 422, "not a list"),
        ({"task": "pick", "question": "when " * 30, "choices": ["a", "b", "c"]}, 413, "found 453 characters"),
        ({"task": "pick", "question": "w" * 90, "choices": '["a", "b", "c", "d", "e"]'}, 413, "too long"),
        ({"task": "roles", "text": "the order"}, 422, "no field 'predicate'"),
        ({"task": "roles", "text": "the order", "predicate": 2}, 422, "not a word of the sentence"),
        ({"task": "find", "question": "when"}, 422, "no field 'context'"),
        ({"task": "find", "question": " ", "context": "now"}, 422, "'question' is empty"),
        ({"task": "alike", "text_a": "now"}, 422, "no field 'text_b'"),
    ],
)
def test_unsound_rows_are_refused(server, row, status, said):
    reply = server.ask("/v1/predict", {"rows": [OTHERS[0], row]})
    assert reply.status == status, reply.body
    (told,) = reply.json["errors"]
    assert told["where"] == "row 2" and said in told["message"]
