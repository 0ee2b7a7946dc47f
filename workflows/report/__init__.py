"""The report of a run: one HTML file to send."""

from workflows.report.write import REPORT, write_report

__all__ = ["REPORT", "write_report"]
