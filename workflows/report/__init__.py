"""The report of a run: one HTML file to send."""

from workflows.report.origin import record_run
from workflows.report.write import REPORT, write_report

__all__ = ["REPORT", "record_run", "write_report"]
