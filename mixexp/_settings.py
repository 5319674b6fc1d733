"""What a fitted mixture remembers of its parameters, which may be set anew before the next fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixexp._fitting import name_of

__all__ = ["Settings", "remember", "settings_of"]


@dataclass(frozen=True)
class Settings:
    """The parameters that predictions need, as they were in the fit.

    Attributes
    ----------
    pooling : str or callable
    expert : str or None
        What messages call the template; None for the default one.
    sparse : bool
        Whether all experts take sparse input.
    """

    pooling: Any
    expert: str | None
    sparse: bool


def remember(model: Any) -> None:
    """Have a mixture keep its parameters as they are: those of the fit that is going on."""
    expert = None if model.expert is None else name_of(model.expert)
    model._settings = Settings(model.pooling, expert, model._accepts_sparse())


def settings_of(model: Any) -> Settings:
    """Return what a mixture was fitted with."""
    if "_settings" not in vars(model):  # saved by a version that did not keep it
        remember(model)
    settings: Settings = model._settings
    return settings
