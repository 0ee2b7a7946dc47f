"""What a cell of a row may hold, how it is read, and how it is kept.

A reader takes the column's name in the data and the value found there, and gives the canonical value or the mistake.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import InputError


@dataclass(frozen=True)
class Cell:
    """A kind of cell: how it is read, and its type on disk."""

    read: Callable[[str, Any], Any]
    kept_as: pa.DataType


def _text(column: str, value: Any) -> str | InputError:
    if not isinstance(value, str):
        return InputError(f"{column!r} is not text", found=repr(value), expected="text")
    if not value.strip():
        return InputError(f"{column!r} is empty", found=repr(value), expected="text")
    return _unicode(column, value)


def _unicode(column: str, value: str) -> str | InputError:
    # JSON can escape half of a surrogate pair, which no UTF-8 file and no tokenizer can hold.
    try:
        value.encode()
    except UnicodeEncodeError:
        return InputError(f"{column!r} holds half a surrogate pair", found=ascii(value), expected="valid Unicode")
    return value


def _label(column: str, value: Any) -> str | InputError:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return InputError(f"{column!r} has no label", found="null" if value is None else repr(value))
    if not isinstance(value, str):
        return InputError(
            f"{column!r} is not a label", found=repr(value), expected="text, a whole number, true or false"
        )
    return _unicode(column, value)


def _from_json(value: Any, opening: str) -> Any:
    """A CSV cell holds a list or an object as JSON."""
    if isinstance(value, str) and value.lstrip().startswith(opening):
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            return json.loads(value)
    return value


def _list(column: str, value: Any) -> list[Any] | InputError:
    value = _from_json(value, "[")
    if not isinstance(value, list):
        return InputError(
            f"{column!r} is not a list", found=repr(value), expected="a list (in CSV, a JSON list in the cell)"
        )
    return value


def _filled(column: str, value: Any, least: str) -> list[Any] | InputError:
    read = _list(column, value)
    return read if isinstance(read, InputError) or read else InputError(f"{column!r} is empty", expected=least)


def _words(column: str, value: Any) -> list[str] | InputError:
    words = _filled(column, value, "at least one word")
    if isinstance(words, InputError):
        return words
    for position, word in enumerate(words):
        if not isinstance(word, str) or not word:
            found = f"{word!r} at word {position + 1}"
            return InputError(f"{column!r} holds something that is not a word", found=found)
        read = _unicode(column, word)
        if isinstance(read, InputError):
            return read
    return words


def _tags(column: str, value: Any) -> list[str] | InputError:
    tags = _filled(column, value, "at least one word")
    if isinstance(tags, InputError):
        return tags
    read = [tag if type(tag) is str and tag.isascii() and tag.strip() else _label(column, tag) for tag in tags]
    for position, tag in enumerate(read):
        if isinstance(tag, InputError):
            return InputError(tag.what, found=f"{tag.found} at word {position + 1}", expected=tag.expected)
    return [tag for tag in read if isinstance(tag, str)]


def _labels(column: str, value: Any) -> list[str] | InputError:
    given = _list(column, value)  # none at all is an answer too
    if isinstance(given, InputError):
        return given
    read = [_label(column, label) for label in given]
    for label in read:
        if isinstance(label, InputError):
            return label
    return sorted({label for label in read if isinstance(label, str)})


def _choices(column: str, value: Any) -> list[str] | InputError:
    choices = _filled(column, value, "at least two choices")
    if isinstance(choices, InputError):
        return choices
    if len(choices) < 2:
        return InputError(f"{column!r} leaves no choice", found=repr(choices), expected="at least two choices")
    for place, choice in enumerate(choices):
        read = _text(column, choice)
        if isinstance(read, InputError):
            return InputError(read.what, found=f"{read.found} at choice {place}", expected=read.expected)
    return choices


def _texts(column: str, value: Any) -> list[str] | InputError:
    texts = [value] if isinstance(value, str) and not value.lstrip().startswith("[") else value
    texts = _filled(column, texts, "at least one text")
    for place, text in enumerate([] if isinstance(texts, InputError) else texts):
        read = _text(column, text)
        if isinstance(read, InputError):
            return InputError(read.what, found=f"{read.found} at place {place}", expected=read.expected)
    return texts


def _index(column: str, value: Any) -> int | InputError:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return InputError(f"{column!r} is not a place", found=repr(value), expected="a whole number, counted from 0")
    return value


def _number(column: str, value: Any) -> float | InputError:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return InputError(f"{column!r} is not a number", found=repr(value), expected="a finite number")
    return float(value)


def _answers(column: str, value: Any) -> dict[str, list[Any]] | InputError:
    value = _from_json(value, "{")
    expected = '{"text": [text, …], "answer_start": [its first character, …]}, both empty where there is no answer'
    if not isinstance(value, dict) or not {"text", "answer_start"} <= value.keys():
        return InputError(f"{column!r} does not hold answers", found=repr(value), expected=expected)
    texts, starts = value["text"], value["answer_start"]
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return InputError(f"{column!r}: text and answer_start do not fit", found=repr(value), expected=expected)
    for text, start in zip(texts, starts, strict=True):
        for read in (_text(f"{column}.text", text), _index(f"{column}.answer_start", start)):
            if isinstance(read, InputError):
                return read
    return {"text": list(texts), "answer_start": [int(start) for start in starts]}


_MANY = pa.list_(pa.string())
TEXT, LABEL = Cell(_text, pa.string()), Cell(_label, pa.string())
WORDS, TAGS, LABEL_SET, CHOICES, TEXTS = (Cell(read, _MANY) for read in (_words, _tags, _labels, _choices, _texts))
INDEX, NUMBER = Cell(_index, pa.int64()), Cell(_number, pa.float64())
ANSWERS = Cell(_answers, pa.struct([("text", _MANY), ("answer_start", pa.list_(pa.int64()))]))
