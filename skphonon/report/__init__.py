"""A fit as a page that explains itself."""

from skphonon.report.page import Report

__all__ = ["Report"]
