"""Routing and pooling: the experts that a row reaches, and the pooling of their outputs."""

from mixexp.routing._dense import Dense
from mixexp.routing._pooling import POOLINGS, argmax_pooling, weighted_pooling

__all__ = [
    "argmax_pooling",
    "weighted_pooling",
]


def __dir__() -> list[str]:
    return __all__
