"""The number of experts: candidates compared by several criteria, a test, and a picture."""

from mixexp.selection._bootstrap import BootstrapTest, bootstrap_lrt
from mixexp.selection._display import SelectionDisplay
from mixexp.selection._result import ExpertSelection
from mixexp.selection._select import select_n_experts

__all__ = [
    "BootstrapTest",
    "ExpertSelection",
    "SelectionDisplay",
    "bootstrap_lrt",
    "select_n_experts",
]


def __dir__() -> list[str]:
    return __all__
