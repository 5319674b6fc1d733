"""Callbacks: what watches a fit, stops it, or saves where it is; see docs/checkpoints.md."""

from mixexp.callbacks._base import Callback, Context
from mixexp.callbacks._checkpoint import Checkpoint
from mixexp.callbacks._early_stopping import EarlyStopping

__all__ = ["Callback", "Checkpoint", "Context", "EarlyStopping"]


def __dir__() -> list[str]:
    return __all__
