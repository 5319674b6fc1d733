"""Inference: standard errors, tests, intervals and the bootstrap."""

from mixexp.inference._bootstrap import BootstrapEstimates, bootstrap
from mixexp.inference._estimates import ParameterEstimates, WaldTest
from mixexp.inference._summary import Summary, summarize

__all__ = [
    "BootstrapEstimates",
    "ParameterEstimates",
    "Summary",
    "WaldTest",
    "bootstrap",
    "summarize",
]


def __dir__() -> list[str]:
    return __all__
