"""The base model of an adapter: where it is, whether it is the right one, and the pooler that BERT's heads go through.

PEFT keeps a name and no fingerprint. So a name that leads somewhere else is refused unless the user vouches for it,
and the shapes are checked in any case; a folder that `deepprompt export` wrote has the fingerprint.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from torch import Tensor

from pipeline.backbone import BackboneInfo, describe
from pipeline.backbone.source import BUILT_IN
from pipeline.errors import InputError
from pipeline.registry.peft.names import CONFIG
from pipeline.registry.peft.read import Adapter


def find_base(adapter: Adapter, given: str | None, *, same: bool = False) -> BackboneInfo:
    """The adapter's base model, described.

    Args:
        given: where the user says it is; None for where the adapter says.
        same: the user vouches for its being the same, whatever its name.

    Raises:
        InputError: it cannot be found, or is another one as far as can be known.
    """
    told, where = adapter.config.base_model_name_or_path, str(adapter.folder / CONFIG)
    own = adapter.beside.manifest.backbone if adapter.beside is not None else None
    if own is not None:
        revision = None if own.revision == "local" else own.revision
        info = describe(given or own.name, revision, where="--backbone" if given else where)
        if info.fingerprint != own.fingerprint:
            found, expected = f"{info.name} ({info.fingerprint[:12]}…)", f"{own.name} ({own.fingerprint[:12]}…)"
            raise InputError("this is another backbone than the adapter's", where=where, found=found, expected=expected)
        return info
    if not told and not given:
        what = "the adapter does not say what its base model is"
        raise InputError(what, where=where, hint="say it: --backbone, a folder, a hub id or a built-in name")
    info = describe(given or str(told), adapter.config.revision if given is None else None, where="--backbone")
    if given is None or not told or same or PurePath(told).name == PurePath(given).name:
        return info
    here = told in BUILT_IN or Path(told).is_dir()  # nothing is fetched only to be compared
    if not here or describe(told).fingerprint != info.fingerprint:
        what = "the adapter names another base model"
        hint = "if it is the same under another name: --same-base"
        raise InputError(what, where="--backbone", found=given, expected=told, hint=hint)
    return info


def base_pooler(info: BackboneInfo) -> tuple[Tensor, Tensor]:
    """The pooler of a BERT, [M, M] and [M]: PEFT's sentence heads stand behind it, and leave it in the base model.

    Raises:
        InputError: its checkpoint has none; PEFT would have drawn one at random and not kept it.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, report = AutoModel.from_pretrained(info.folder, trust_remote_code=False, output_loading_info=True)
    finally:
        logging.set_verbosity(level)
    lost = [name for name in report["missing_keys"] if "pooler" in name]
    pooler = getattr(model, "pooler", None)
    if lost or pooler is None:
        what = "the head reads the base model's pooler, and its weights have none: it was drawn at random and is lost"
        hint = "train with modules_to_save=['pooler'], or TOKEN_CLS"
        raise InputError(what, where=info.name, found=", ".join(lost) or "no pooler", hint=hint)
    dense = pooler.dense
    return dense.weight.detach().float().cpu().clone(), dense.bias.detach().float().cpu().clone()
