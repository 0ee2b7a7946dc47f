"""Artifacts on disk, the MLflow registry that keeps them, and the predictor that answers with them."""

from pipeline.registry.artifact import Artifact, Member, check_backbone, load_artifact, save_artifact
from pipeline.registry.manifest import (
    RESERVED_NAMES,
    SHARED_PROMPT,
    BackboneIdentity,
    Facts,
    Manifest,
    Parent,
    TaskIdentity,
)
from pipeline.registry.predictor import Predictor, open_backbone

__all__ = [
    "RESERVED_NAMES",
    "SHARED_PROMPT",
    "Artifact",
    "BackboneIdentity",
    "Facts",
    "Manifest",
    "Member",
    "Parent",
    "Predictor",
    "TaskIdentity",
    "check_backbone",
    "load_artifact",
    "open_backbone",
    "save_artifact",
]
