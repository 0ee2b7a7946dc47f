"""The frozen backbone: where it comes from, how it loads, where prompts enter it, how it is sharded."""

from pipeline.backbone.attention import PromptStates
from pipeline.backbone.dtypes import resolve_dtype
from pipeline.backbone.frozen import Backbone
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.load import load_backbone, load_tokenizer
from pipeline.backbone.sharding import ShardingChoice, choose_sharding
from pipeline.backbone.source import describe
from pipeline.backbone.vocabulary import Vocabulary, check_vocabulary

__all__ = [
    "Backbone",
    "BackboneInfo",
    "PromptStates",
    "ShardingChoice",
    "Vocabulary",
    "check_vocabulary",
    "choose_sharding",
    "describe",
    "load_backbone",
    "load_tokenizer",
    "resolve_dtype",
]
