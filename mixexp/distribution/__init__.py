"""Predictive distributions of mixtures of experts."""

from mixexp.distribution._classes import ClassDistribution
from mixexp.distribution._mixture import MixtureDistribution

__all__ = ["ClassDistribution", "MixtureDistribution"]


def __dir__() -> list[str]:
    return __all__
