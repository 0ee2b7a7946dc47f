"""Figures as results files keep them."""

from __future__ import annotations

from typing import Any


def rounded(value: Any, places: int) -> Any:
    """Every float in it to so many places."""
    if isinstance(value, dict):
        return {key: rounded(one, places) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one, places) for one in value]
    return round(value, places) if isinstance(value, float) else value
