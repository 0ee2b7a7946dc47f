"""One frozen backbone, many prompts, one batch: the one forward pass, and writing with it token after token."""

from __future__ import annotations

from pipeline.model.forward import PromptedModel, bank_on
from pipeline.model.writing import write

__all__ = ["PromptedModel", "bank_on", "write"]
