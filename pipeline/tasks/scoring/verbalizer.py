"""Verbalizers: labels answered by words of the vocabulary, in place of a trained linear head.

A label is worth the mean log-probability of its words' tokens, the mean again over its words where it has several (as
OpenPrompt's ManualVerbalizer averages them; Ding et al. 2022). A masked model reads a word of m tokens at m masks side
by side, all at once (PET with several masks, Schick & Schütze 2021b, section 3, without filling them one by one); a
decoder and an encoder-decoder read it after the text, each token after the ones before it. The mean over tokens keeps
long words from losing for their length (GPT-3's rule for answers of several tokens, Brown et al. 2020, section 2.4).

Which tokens are read where is worked out once per task, as plain numbers: the head itself has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.errors import InputError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Words = Mapping[str, Sequence[str]]
"""Label → its words."""


@dataclass(frozen=True)
class Verbalizer:
    """Which tokens say which label, and where they are read.

    A row stands in S sequences, one per number of masks or per beginning of words. A sequence is read at the place of
    its answer and at each of the tokens put in behind it: Q places in all.

    Args:
        added: [S] the tokens that each sequence has behind the place of its answer; of an encoder-decoder behind its
            decoder's start.
        picks: of each token of each word: place among the Q, token, label, and its share of the label's score.
        labels: C.
    """

    added: tuple[tuple[int, ...], ...]
    picks: tuple[tuple[int, int, int, float], ...]
    labels: int

    @property
    def places(self) -> int:
        """Q."""
        return sum(len(one) + 1 for one in self.added)

    @property
    def at(self) -> list[tuple[int, int]]:
        """[Q] the places: sequence, and token in it."""
        return [(n, token) for n, one in enumerate(self.added) for token in range(len(one) + 1)]

    @property
    def longest(self) -> int:
        """The most tokens that a sequence is longer than the filled template."""
        return max(map(len, self.added))

    def scores(self, tokens: Tensor) -> Tensor:
        """A score for each label.

        Args:
            tokens: [U, Q, V] the language model's scores where the rows are read.

        Returns:
            [U, C] fp32, mean log-probabilities.
        """
        place, token, label, share = zip(*self.picks, strict=True)
        device = tokens.device
        at = torch.tensor(place, device=device)
        said = tokens[:, at, torch.tensor(token, device=device)].float()  # [U, E]
        logs = said - tokens.float().logsumexp(-1)[:, at]
        empty = logs.new_zeros(len(tokens), self.labels)
        return empty.index_add(1, torch.tensor(label, device=device), logs * torch.tensor(share, device=device))

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Verbalizer:
        """From what `plain` gave."""
        added = tuple(tuple(one) for one in plain["added"])
        return cls(added, tuple((int(q), int(t), int(c), float(s)) for q, t, c, s in plain["picks"]), plain["labels"])


def make_verbalizer(
    words: Words | None,
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    masked: bool,
    gap: str | None = " ",
    lead: Sequence[int] = (),
    where: str | None = None,
) -> Verbalizer:
    """A task's verbalizer.

    Args:
        words: by default a label is its own word, `not_entailment` read as "not entailment".
        masked: whether words are read at masks; else one token after the other.
        gap: what stands before a word; None where a text begins with it. lead: tokens before every word.

    Raises:
        InputError: see `_tokens_of`.
    """
    tokens = _tokens_of(words, labels, tokenizer, gap, where)
    mask: Any = tokenizer.mask_token_id
    if masked:
        sizes = sorted({len(word) for own in tokens for word in own})
        added = tuple((mask,) * (size - 1) for size in sizes)
    else:  # what a word's token has before it, one sequence for all that is the beginning of another
        begins = sorted({word[:-1] for own in tokens for word in own}, key=lambda one: (-len(one), one))
        longest: list[tuple[int, ...]] = []
        for one in begins:
            if not any(other[: len(one)] == one for other in longest):
                longest.append(one)
        added = tuple((*lead, *one) for one in longest)
    starts = [sum(len(one) + 1 for one in added[:n]) for n in range(len(added))]
    picks = []
    for label, own in enumerate(tokens):
        for word in own:
            if masked:
                start = starts[sizes.index(len(word))]
            else:
                start = starts[next(n for n, one in enumerate(longest) if one[: len(word) - 1] == word[:-1])] + len(
                    lead
                )
            share = 1.0 / (len(own) * len(word))
            picks += [(start + place, token, label, share) for place, token in enumerate(word)]
    return Verbalizer(added, tuple(picks), len(labels))


def _tokens_of(
    words: Words | None, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, gap: str | None, where: str | None
) -> list[list[tuple[int, ...]]]:
    """Each label's words as tokens.

    Raises:
        InputError: words for a label that is none; a label without words; a word that is blank or unknown to the
            tokenizer; two words with the same tokens.
    """
    given = {label: [label.replace("_", " ").replace("-", " ")] for label in labels} if words is None else words
    for label in given:
        if label not in labels:
            what = "words are given for a label that the task does not have"
            raise InputError(what, where=where, found=label, expected=list(labels), nearest=nearest(label, labels))
    tokens: list[list[tuple[int, ...]]] = []
    whose: dict[tuple[int, ...], tuple[str, str]] = {}
    for label in labels:
        if not given.get(label):
            raise InputError(f"the label {label!r} has no words", where=where, expected="words for each label")
        own = []
        for word in given[label]:
            found = continuation(tokenizer, gap, word.strip())
            if not found or tokenizer.unk_token_id in found:
                what = f"the tokenizer does not know the word of label {label!r}"
                raise InputError(what, where=where, found=repr(word), expected="a word that it has tokens for")
            if found in whose:
                other, said = whose[found]
                what = f"words of labels {other!r} and {label!r} are the same tokens"
                if other == label:
                    what = f"two words of label {label!r} are the same tokens"
                raise InputError(what, where=where, found=f"{said!r} and {word!r}", expected="words that differ")
            whose[found] = label, word
            own.append(found)
        tokens.append(own)
    return tokens


def continuation(tokenizer: PreTrainedTokenizerBase, gap: str | None, word: str) -> tuple[int, ...]:
    """The tokens of a word as it goes on after some text, or, without a gap, as a text begins."""
    if gap is None:
        return tuple(tokenizer(word, add_special_tokens=False)["input_ids"])
    before = tokenizer(":", add_special_tokens=False)["input_ids"]
    both = tokenizer(f":{gap}{word}", add_special_tokens=False)["input_ids"]
    if both[: len(before)] == before:
        return tuple(both[len(before) :])
    return tuple(tokenizer(word, add_special_tokens=False)["input_ids"])
