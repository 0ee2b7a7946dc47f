"""Reading a transformers model from its folder, the attention seam in place."""

from __future__ import annotations

import os

from torch import nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.dtypes import DTYPES
from pipeline.backbone.info import BackboneInfo
from pipeline.errors import InputError

KERNELS_KEPT = "64"
"""oneDNN, torch's kernels on a processor, compiles one for every shape of matrices and keeps 1024 of them, about half a
megabyte each. The passes of a search differ in shape: its kernels would take more memory than all its prompts."""


def read_weights(info: BackboneInfo, dtype: str) -> nn.Module:
    """The transformers model of a folder with the seam in place; under ZeRO-3 only this rank's shard stays.

    Raises:
        InputError: the checkpoint lacks weights of the model, which transformers would draw at random.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # read once, when the first kernel is made
        os.environ.setdefault(cache, KERNELS_KEPT)
    register_seam()
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # a missing pooler is expected: heads of ours replace it
    logging.disable_progress_bar()
    try:
        model, told = AutoModel.from_pretrained(
            info.folder,
            dtype=DTYPES[dtype],
            attn_implementation=SEAM,
            trust_remote_code=False,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    lacking = sorted(name for name in told["missing_keys"] if not name.startswith("pooler."))
    if lacking:
        raise InputError(
            f"the checkpoint lacks {len(lacking)} of the weights of a whole {info.family!r}: {', '.join(lacking[:3])}"
            + (", …" if len(lacking) > 3 else ""),
            where="backbone.model",
            found=str(info.folder),
            hint="save it again from the whole model: an encoder-decoder with both halves",
        )
    if getattr(model, "pooler", None) is not None:
        # Heads read hidden states. A checkpoint without a pooler would have got a random one, another in each process.
        model.pooler = None
    return model
