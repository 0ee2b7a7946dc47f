"""A small random backbone on disk of every family that `pipeline.backbone.families` names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from tests.tiny import FAMILIES as TINY
from tests.tiny import _tokenizer, tiny_backbone

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
TWO_STACKS = {"d_model": 32, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}
CONFIGS = {
    "electra": {**SHAPE, "embedding_size": 16, "max_position_embeddings": 64},
    "roberta": {**SHAPE, "max_position_embeddings": 66, "pad_token_id": 0},
    "modernbert": {**SHAPE, "max_position_embeddings": 64, "pad_token_id": 0, "local_attention": 8},
    "qwen3": {**SHAPE, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64},
    "albert": {**SHAPE, "embedding_size": 16, "max_position_embeddings": 64},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
    "gpt_neox": {**SHAPE, "max_position_embeddings": 64},
    "opt": {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0},
    "opt-post": {
        **SHAPE,
        "ffn_dim": 48,
        "word_embed_proj_dim": 16,  # as OPT 350M: norms after the layers, narrower embeddings and output
        "do_layer_norm_before": False,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    },
    "t5": {**TWO_STACKS, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4},
    "bart": {
        **TWO_STACKS,
        "encoder_layers": 3,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 64,
        "forced_eos_token_id": None,
    },
}
ENCODER_DECODERS = ("t5", "bart")
EVERY = (*TINY, *CONFIGS)


@cache
def family_backbone(family: str) -> Path:
    """A folder with a random model of the family; made once per test process."""
    from transformers import AutoConfig, AutoModel

    if family in TINY:
        return tiny_backbone(family)
    folder = Path(mkdtemp(prefix=f"tiny-{family}-"))
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    config = AutoConfig.for_model(family.partition("-")[0], vocab_size=len(tokenizer), **CONFIGS[family])
    model = AutoModel.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    return folder


LANGUAGE_MODELS = {
    "bert": SHAPE,
    "roberta": CONFIGS["roberta"],
    "electra": CONFIGS["electra"],
    "modernbert": CONFIGS["modernbert"],
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4},
    "llama": {**SHAPE, "num_key_value_heads": 2},
    "cohere": {**SHAPE, "num_key_value_heads": 2, "logit_scale": 0.25, "pad_token_id": 0},
    **{
        family: CONFIGS[family]
        for family in ("albert", "distilbert", "gpt_neox", "opt", "opt-post", "qwen3", "t5", "bart")
    },
}
"""Families whose language models put different things behind the last layer."""


@cache
def language_model(family: str, **changes) -> Path:
    """A folder with a random language model of the family, its head included; made once per test process."""
    from transformers import AutoConfig

    folder = Path(mkdtemp(prefix=f"tiny-lm-{family}-"))
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    settings = {"vocab_size": len(tokenizer), **LANGUAGE_MODELS[family], **changes}
    config = AutoConfig.for_model(family.partition("-")[0], **settings)
    model = language_models(config).from_config(config)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.15)  # biases and norms, too: each has its say
    model.save_pretrained(folder)
    return folder


def language_models(config):
    """transformers' own class of language models for a config."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    from pipeline.backbone.source import is_causal

    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    return AutoModelForCausalLM if is_causal(config) else AutoModelForMaskedLM
