"""Saved estimators say which version of mixexp wrote them."""

from __future__ import annotations

from typing import Any

from mixexp import __version__
from mixexp._warn import warn

__all__ = ["Versioned"]


class Versioned:
    """Adds the version to the state of an estimator, and compares it when that is loaded.

    scikit-learn does so for its own classes only. A fitted estimator keeps the version that fitted
    it, whichever saves it again.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {"_mixexp_version": __version__, **state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        version = state.get("_mixexp_version")
        if version != __version__:
            writer = "a version that it does not name" if version is None else version
            warn(
                f"This {type(self).__name__} was saved by mixexp {writer} and is loaded by "
                f"{__version__}; predictions may differ. Fit it again, or install that version."
            )
        super().__setstate__(state)  # type: ignore[misc]
