"""Mixtures of experts for scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

from mixexp._cascade.classifier import CascadeClassifier
from mixexp._cascade.regressor import CascadeRegressor
from mixexp._estimators.classifier import MixtureOfExpertsClassifier
from mixexp._estimators.regressor import MixtureOfExpertsRegressor

__all__ = [
    "CascadeClassifier",
    "CascadeRegressor",
    "MixtureOfExpertsClassifier",
    "MixtureOfExpertsRegressor",
    "__version__",
    "bases",
    "callbacks",
    "datasets",
    "describe_experts",
    "distribution",
    "experts",
    "families",
    "gates",
    "inference",
    "inspection",
    "metrics",
    "partitions",
    "persistence",
    "protocols",
    "report",
    "routing",
    "routing_report",
    "selection",
]


def __getattr__(name: str) -> Any:
    """Import a public submodule, or the one with a function, when it is first asked for."""
    if name in ("describe_experts", "report", "routing_report"):
        return getattr(importlib.import_module("mixexp.inspection"), name)
    if name in __all__:
        return importlib.import_module(f"mixexp.{name}")
    raise AttributeError(f"module 'mixexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
