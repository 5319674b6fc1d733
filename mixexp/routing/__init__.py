"""Routing and pooling: the experts that a row reaches, and the pooling of their outputs."""

from mixexp.routing._assigners import Even, Overlap, Queue
from mixexp.routing._base import BaseRouter
from mixexp.routing._expert_choice import ExpertChoice
from mixexp.routing._pooling import POOLINGS, argmax_pooling, weighted_pooling
from mixexp.routing._routed_gate import RoutedGate
from mixexp.routing._switch import Switch
from mixexp.routing._threshold import Threshold
from mixexp.routing._top_k import TopK
from mixexp.routing._top_p import TopP

__all__ = [
    "BaseRouter",
    "ExpertChoice",
    "Switch",
    "Threshold",
    "TopK",
    "TopP",
    "argmax_pooling",
    "weighted_pooling",
]

#: Every router; the shared tests run over this list.
ROUTERS = [TopK, TopP, Switch, ExpertChoice, Threshold]


def __dir__() -> list[str]:
    return __all__
