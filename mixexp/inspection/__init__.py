"""Displays and reports. Importing this package does not import matplotlib."""

from mixexp.inspection._expert_regions import ExpertRegionsDisplay
from mixexp.inspection._gate_tree_display import GateTreeDisplay

__all__ = ["ExpertRegionsDisplay", "GateTreeDisplay"]


def __dir__() -> list[str]:
    return __all__
