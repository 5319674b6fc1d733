"""Inference: standard errors, tests and intervals of coefficients."""

from mixexp.inference._estimates import ParameterEstimates, WaldTest
from mixexp.inference._summary import Summary, summarize

__all__ = ["ParameterEstimates", "Summary", "WaldTest", "summarize"]


def __dir__() -> list[str]:
    return __all__
