"""Tokenizers for rows that come as words."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def split_words_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer that gives a word in a list the pieces it has in running text.

    Byte-level tokenizers (GPT-2's, RoBERTa's) and some of Llama's mark a word's beginning by the blank before it. Words
    in a list have no blanks, so without care all but the first would be read as if glued to the word before. Where the
    two readings differ, a copy that puts the blank before every word is returned; the tokenizer given is not changed.
    """
    words = ["the", "dog", "ran"]
    text = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    listed = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    if text == listed:
        return tokenizer
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if not _put_blanks(state.get("pre_tokenizer")):
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    changed._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    return changed


def _put_blanks(part: Any) -> bool:
    """Sets the blank before every word in a pre-tokenizer's description; False if it has no such setting."""
    if not isinstance(part, dict):
        return False
    if part.get("type") == "ByteLevel":
        part["add_prefix_space"] = True
        return True
    if part.get("type") == "Metaspace":
        part["prepend_scheme"] = "always"
        return True
    changed = [_put_blanks(inner) for inner in part.get("pretokenizers", [])]
    return any(changed)
