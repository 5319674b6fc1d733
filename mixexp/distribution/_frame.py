"""Distributions as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mixexp.distribution._mixture import MixtureDistribution

__all__ = ["summary"]


def summary(law: MixtureDistribution, levels: np.ndarray, index: Any) -> Any:
    """Return a data frame of moments, modes and quantiles."""
    import pandas as pd

    if index is not None and len(index) != len(law):
        raise ValueError(
            f"MixtureDistribution: index has {len(index)} labels for {len(law)} rows. Give one for "
            "each row, or None to number them."
        )
    columns = {"mean": law.mean(), "std": law.std(), "mode": law.mode()}
    names = [f"q{level:g}" for level in levels]
    columns |= dict(zip(names, law.quantile(levels), strict=True))
    if law.means.ndim == 2:
        return pd.DataFrame(columns, index=index)
    frames = [
        pd.DataFrame({name: values[:, output] for name, values in columns.items()}, index=index)
        for output in range(law.means.shape[2])
    ]
    return pd.concat(frames, axis=1, keys=range(len(frames)), names=["output", None])
