"""Soft prompts: the bank that holds them, their encoders, where they stand, how they start and answer together."""

from pipeline.prompts.arranging import arrange
from pipeline.prompts.bank import PromptBank
from pipeline.prompts.encoders import ENCODERS, Encoder, Factored, encoder_parameters, make_encoder, ones_near, paces
from pipeline.prompts.ensemble import COMBINATIONS, majority_vote, mean_vote
from pipeline.prompts.initialise import INITIALISERS, normal, resize, vocabulary
from pipeline.prompts.layout import PLACES, Layout, parse_layout
from pipeline.prompts.methods import DEEP, METHODS, Method, Recipe
from pipeline.prompts.nesting import nested_places

__all__ = [
    "COMBINATIONS",
    "DEEP",
    "ENCODERS",
    "INITIALISERS",
    "METHODS",
    "PLACES",
    "Encoder",
    "Factored",
    "Layout",
    "Method",
    "PromptBank",
    "Recipe",
    "arrange",
    "encoder_parameters",
    "majority_vote",
    "make_encoder",
    "mean_vote",
    "nested_places",
    "normal",
    "ones_near",
    "paces",
    "parse_layout",
    "resize",
    "vocabulary",
]
