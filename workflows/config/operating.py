"""How prompts are kept fresh: the sections on the gate before `champion` moves, and on retraining."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from workflows.config.fields import Count, Fraction, Settings, refuse

CONDITIONS = ("changed", "stale", "degraded", "always")
"""When a task is trained again."""
OVERLAPS = ("forbid", "queue", "replace")
"""What a retraining does while another one of the same config is going on."""
Bound = Annotated[float, Field(ge=0)]


def _conditions(value: Any) -> Any:
    given = [value] if isinstance(value, str) else value
    if isinstance(given, list | tuple) and given and all(one in CONDITIONS for one in given):
        return tuple(dict.fromkeys(given))
    raise refuse(f"one or several of {', '.join(CONDITIONS)}")


class BoundSettings(Settings):
    """What a new prompt must reach to become the champion."""

    min_gain: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """It must beat the champion by this much, in the task's metric."""
    max_loss: Bound = 0.02
    """It must not be worse by more than this: surely not (the interval's lower end) to be promoted; one that is gets
    rejected."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the interval around the gain."""


class GateSettings(BoundSettings):
    """The gate: champion and challenger answer the same rows before `champion` moves."""

    split: Literal["dev", "test"] = "dev"
    """The rows. Choices are made on dev; a gate on test makes the test score of the winner a maximum of two."""
    resamples: Count = 2000
    """Draws of the bootstrap."""
    incomparable: Literal["challenger", "promote", "reject"] = "challenger"
    """What becomes of a new prompt whose champion cannot answer the rows: it has another backbone or other labels."""


class RetrainSettings(Settings):
    """Training again, only what needs it."""

    conditions: Annotated[tuple[str, ...], BeforeValidator(_conditions)] = ("changed",)
    """When a task is trained again: changed (data, backbone, code or config), stale, degraded, always."""
    max_age: Count = 30
    """Days after which a champion is stale."""
    max_drop: Fraction = 0.02
    """A champion is degraded when its score on the present dev rows is below its recorded one by more than this."""
    overlap: Literal["forbid", "queue", "replace"] = "forbid"
    """While another retraining of this config is going on: refuse, wait for it, or stop it and take its place."""
    lease_seconds: Annotated[float, Field(ge=1)] = 120.0
    """A retraining that gives no sign of life for so long is dead, and the next one takes over."""
