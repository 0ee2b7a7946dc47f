"""A mistake keeps all that helps, wherever it is told."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import InputError

MISTAKE = InputError("unknown task", where="row 1", found="intnt", expected="intent", nearest="intent", hint="see list")


def test_told_of_another_place_it_is_the_same_mistake():
    told = MISTAKE.at("row 7")
    assert told.message == MISTAKE.message.replace("row 1", "row 7") and "did you mean 'intent'" in told.message
    assert pickle.loads(pickle.dumps(told)).message == told.message


def test_a_row_among_rows_of_several_backbones_is_told_by_its_number():
    pytest.importorskip("ray.serve", reason="serving is not installed")
    from workflows.serve.app import _read
    from workflows.serve.champions import Champions, Served

    class Reads:
        def read(self, rows):
            return list(rows)

    class Refuses:
        def read(self, rows):
            raise MISTAKE

    served = {name: Served(name, "champion", 1, None, one()) for name, one in (("a", Reads), ("b", Refuses))}
    with pytest.raises(InputError) as caught:
        _read([{"task": "a"}, {"task": "b"}], Champions(served))
    assert caught.value.message == MISTAKE.at("row 2").message
