"""Which families of models take prompts: said once, checked on a family's own code before anything of it is loaded."""

from __future__ import annotations

import sys
from typing import Any

from pipeline.errors import InputError, nearest

FAMILIES = {
    "encoder": ("albert", "bert", "distilbert", "electra", "modernbert", "roberta"),
    "decoder": ("gpt2", "gpt_neox", "llama", "opt", "qwen3"),
    "encoder-decoder": ("bart", "t5"),
}
"""The families that every test of the backbone runs on, by kind. Another one works if its attention goes through
transformers' `AttentionInterface`, which `describe` sees by running it without weights."""

SEAM_TABLE = "ALL_ATTENTION_FUNCTIONS"
"""What a family's code looks an attention up in, if it does."""


def check_family(config: Any, where: str) -> None:
    """Raises InputError unless the family's code asks transformers' `AttentionInterface` for its attention.

    Needs the config alone: no weight is read and no model is built.
    """
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    try:
        model = MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise refusal(config.model_type, "transformers has no model of it", where) from error
    model = model[0] if isinstance(model, tuple) else model
    if not hasattr(sys.modules[model.__module__], SEAM_TABLE):
        raise refusal(
            config.model_type,
            "its code computes attention by itself, where no prompt can be put beside the keys",
            where,
        )
    if getattr(config, "inner_group_num", 1) != 1:
        raise refusal(config.model_type, "several of its layers share one place in the stack (inner_group_num)", where)


def refusal(family: str, why: str, where: str) -> InputError:
    """The one way a family is refused: by name, with the reason, and with what is nearest."""
    kind = _kind_of(family)
    close = nearest(family, [one for own in FAMILIES.values() for one in own])
    there = FAMILIES[kind] if kind is not None else tuple(one for own in FAMILIES.values() for one in own)
    return InputError(
        f"the family {family!r} does not take prompts: {why}",
        where=where,
        found=family,
        expected=f"{'a model' if kind is None else _articled(kind)} such as {', '.join(there)}",
        nearest=close,
    )


def _kind_of(family: str) -> str | None:
    """What a family is, by transformers' own tables; None where they do not say."""
    from transformers.models.auto import modeling_auto as auto

    for names, kind in (
        (auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, "encoder-decoder"),
        (auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "encoder"),
        (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "decoder"),
    ):
        if family in names:
            return kind
    return None


def _articled(kind: str) -> str:
    return f"a{'n' if kind[0] in 'aeiou' else ''} {kind}"
