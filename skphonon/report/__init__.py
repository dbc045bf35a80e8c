"""A fit as a page that explains itself."""

from skphonon.report._answers import Answer
from skphonon.report.page import Report

__all__ = ["Answer", "Report"]
