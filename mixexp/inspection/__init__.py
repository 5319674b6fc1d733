"""Displays and reports. Importing this package does not import matplotlib."""

from mixexp.inspection._expert_regions import ExpertRegionsDisplay

__all__ = ["ExpertRegionsDisplay"]
