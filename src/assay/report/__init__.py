"""A run or an evaluation as one HTML page. Needs no torch."""

from assay.report.command import ReportOptions, report_command
from assay.report.found import Found, find
from assay.report.page import report_page

__all__ = ["Found", "ReportOptions", "find", "report_command", "report_page"]
