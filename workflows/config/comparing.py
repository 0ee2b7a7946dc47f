"""How methods are compared: the section on which, on what budget, at which learning rates."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from workflows.config.fields import AutoRates, Count, Rate, Rates, Settings, Text, refuse

SHARED = "shared"
"""The config's own method, from the run's shared prompt instead of a fresh start."""
FINETUNED: Rates = (5e-5, 3e-4)
"""Fine-tuning's usual learning rates, of which dev chooses: 5e-5 is the field's (Devlin et al. 2019), small backbones
want more, and a ceiling should not be too low. What the methods usually have is in `usual`."""


def comparable() -> tuple[str, ...]:
    """The names of all methods that can be compared."""
    from pipeline.prompts import METHODS

    return *METHODS, SHARED, "finetune"


def _names(value: Any) -> Any:
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise refuse("a list of at least one method")


class CompareSettings(Settings):
    """Methods trained side by side on the same rows, under one budget."""

    methods: Annotated[tuple[str, ...], BeforeValidator(_names)] = (
        *("deep", "prefix", "prompt_tuning", "p_tuning", "head", "finetune"),
    )
    """The methods of `prompt.method`; shared: the config's own, from the run's shared prompt; finetune: the whole
    backbone, on a copy. By default head only where all tasks have linear heads."""
    steps: Count | None = None
    """Training steps of each candidate; adapt.steps where neither steps nor seconds is given."""
    seconds: Rate | None = None
    """Instead of steps: the time that each candidate trains, after which it is scored."""
    seeds: Count = 3
    """Candidates per method and learning rate."""
    length: Count | None = None
    """Prompt places; prompt.length if not given."""
    learning_rates: dict[Text, Rates] = Field(default_factory=dict)
    """Method: its learning rates, of which dev chooses; a method that is not named has its usual one."""

    def rates(self, method: str, own: str, adapted: AutoRates) -> AutoRates:
        """A method's learning rates. own: the config's method, which goes by those of `adapt`."""
        if method in self.learning_rates:
            return self.learning_rates[method]
        if method == "finetune":
            return FINETUNED
        return adapted if method in (own, SHARED) else "auto"
