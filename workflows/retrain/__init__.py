"""Training again, only what needs it, and only better: decide, lease, adapt, gate."""

from workflows.retrain.retrain import retrain
from workflows.retrain.summary import RetrainRow, RetrainSummary

__all__ = ["RetrainRow", "RetrainSummary", "retrain"]
