"""Small random backbones of each family on disk, with a tokenizer, in transformers format."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

FAMILIES = ("bert", "gpt2", "llama")
"""An encoder, a decoder with learned positions, a decoder with rotary positions and grouped key/value heads."""

WORDS = [
    "the",
    "a",
    "my",
    "your",
    "order",
    "phone",
    "laptop",
    "card",
    "is",
    "was",
    "not",
    "broken",
    "late",
    "lost",
    "please",
    "cancel",
    "refund",
    "now",
    "soon",
    "today",
    "Paris",
]


@cache
def tiny_backbone(family: str) -> Path:
    """A folder with a random model of the family: 3 layers, width 32, 4 query heads; made once per test process."""
    folder = Path(mkdtemp(prefix=f"tiny-{family}-"))
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    model = _model(family, len(tokenizer))
    # Larger than the usual 0.02, so that hidden states differ enough for a mistake to show.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'-:#$")
    pieces = [*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def _model(family: str, vocabulary: int):
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    if family == "bert":
        return BertModel(
            BertConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=64,
            ),
            add_pooling_layer=False,
        )
    if family == "gpt2":
        return GPT2Model(GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=3, n_head=4, n_positions=64))
    return LlamaModel(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=48,
            max_position_embeddings=64,
        )
    )


def states_of(prompts, index, lengths, first_layer=0):
    """`PromptStates` of prompts stacked as [L, K, 2, H, P, D], standing in the layers from `first_layer` up."""
    from pipeline.backbone import PromptStates

    layers = dict(enumerate(prompts.unbind(0), start=first_layer))
    return PromptStates(layers, torch.as_tensor(index), [int(length) for length in lengths])
