"""Methods side by side: the same tasks, rows, batches and budget for each, and one table at the end."""

from workflows.compare.run import compare
from workflows.compare.table import Comparison, Row

__all__ = ["Comparison", "Row", "compare"]
