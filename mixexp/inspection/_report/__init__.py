"""A fitted mixture on one HTML page: `report`."""

from mixexp.inspection._report._report import Report, report

__all__ = ["Report", "report"]
