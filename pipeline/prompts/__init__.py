"""Soft prompts: the bank that holds them, the ways they start, the ways they answer together."""

from pipeline.prompts.bank import PromptBank
from pipeline.prompts.ensemble import COMBINATIONS, majority_vote, mean_vote
from pipeline.prompts.initialise import INITIALISERS, normal, resize, vocabulary

__all__ = [
    "COMBINATIONS",
    "INITIALISERS",
    "PromptBank",
    "majority_vote",
    "mean_vote",
    "normal",
    "resize",
    "vocabulary",
]
