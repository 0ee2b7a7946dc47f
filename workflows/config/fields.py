"""The base of every config section, and the types of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError, core_schema


class Settings(BaseModel):
    """A section: unknown keys, other types and later changes are refused."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


S = TypeVar("S", bound=Settings)


def put_over(settings: S, own: Settings) -> S:
    """`settings` with what was given in `own` in its place, section by section."""
    given: dict[str, Any] = {}
    for key in own.model_fields_set:
        before, now = getattr(settings, key), getattr(own, key)
        both = isinstance(before, Settings) and isinstance(now, Settings)
        given[key] = put_over(before, now) if both else now
    return settings.model_copy(update=given)


def refuse(expected: str, hint: str = "") -> PydanticCustomError:
    """A value that does not fit: what would have fitted, and what to do."""
    return PydanticCustomError("refused", "expected {expected}", {"expected": expected, "hint": hint})


def auto_or_count(least: int) -> BeforeValidator:
    """Accepts `auto` and whole numbers from `least`. One validator: the mistake is told once, not once per type."""

    def check(value: Any) -> Any:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            return value
        raise refuse(f"auto or a whole number, at least {least}")

    return BeforeValidator(check)


def _all_or_names(value: Any) -> Any:
    if value == "all":
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise refuse("all, or a list of at least one task name")


Attention = Literal["encoder", "decoder", "cross"]


@dataclass(frozen=True)
class _OrAuto:
    """Accepts `auto` too. No union: a mistake inside a list would be told once per type, without its place."""

    type: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_wrap_validator_function(
            lambda value, check: value if value == "auto" else check(value),
            handler.generate_schema(self.type),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )


def _one_or_more(value: Any) -> Any:
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list | tuple) and words and all(isinstance(word, str) and word.strip() for word in words):
        return tuple(words)
    raise refuse("a word, or a list of at least one word")


def _auto_or_attentions(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, list | tuple) and value and all(one in get_args(Attention) for one in value):
        return tuple(dict.fromkeys(value))
    raise refuse(f"auto, or a list of at least one of {', '.join(get_args(Attention))}")


def _auto_or_layers(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, list | tuple) and value and all(type(layer) is int and layer >= 0 for layer in value):
        return tuple(value)
    raise refuse("auto, or a list of at least one layer, each a whole number from 0")


Text = Annotated[str, Field(min_length=1)]
Words = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Workers = Annotated[Literal["auto"] | int, auto_or_count(1)]
TaskNames = Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_all_or_names)]
Layers = Annotated[Literal["auto"] | tuple[int, ...], BeforeValidator(_auto_or_layers)]
Attentions = Annotated[Literal["auto"] | tuple[Attention, ...], BeforeValidator(_auto_or_attentions)]
# A YAML list arrives as a list and is kept as a tuple; strictness holds for its items.
Lengths = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]
Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]
Rates = Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)]
AutoLengths = Annotated[Literal["auto"] | tuple[int, ...], _OrAuto(Lengths)]
AutoRate = Annotated[Literal["auto"] | float, _OrAuto(Rate)]
AutoRates = Annotated[Literal["auto"] | tuple[float, ...], _OrAuto(Rates)]
AutoCount = Annotated[Literal["auto"] | int, auto_or_count(1)]
