"""Artifacts on disk, the MLflow registry that keeps them, and the predictor that answers with them."""

from pipeline.registry.artifact import Artifact, Member, check_backbone, copy_artifact, load_artifact, save_artifact
from pipeline.registry.connection import tracking_uri
from pipeline.registry.identity import BackboneIdentity, TaskIdentity
from pipeline.registry.manifest import RESERVED_NAMES, SHARED_PROMPT, Facts, Manifest, Origin, Parent
from pipeline.registry.predictor import Predictor, ReadRow, open_backbone
from pipeline.registry.runs.tracking import LoggedRun, RunRecord, TaskRecord, attach, log_run
from pipeline.registry.versions.audit import Promotion
from pipeline.registry.versions.diff import Diff
from pipeline.registry.versions.entries import Ancestor, Listed, Registered, Shown
from pipeline.registry.versions.moves import UNSPECIFIED
from pipeline.registry.versions.store import PromptRegistry

__all__ = [
    "RESERVED_NAMES",
    "SHARED_PROMPT",
    "UNSPECIFIED",
    "Ancestor",
    "Artifact",
    "BackboneIdentity",
    "Diff",
    "Facts",
    "Listed",
    "LoggedRun",
    "Manifest",
    "Member",
    "Origin",
    "Parent",
    "Predictor",
    "Promotion",
    "PromptRegistry",
    "ReadRow",
    "Registered",
    "RunRecord",
    "Shown",
    "TaskIdentity",
    "TaskRecord",
    "attach",
    "check_backbone",
    "copy_artifact",
    "load_artifact",
    "log_run",
    "open_backbone",
    "save_artifact",
    "tracking_uri",
]
