"""Which experts are fitted again, and on which rows."""

from __future__ import annotations

import numpy as np

from mixexp._rows.sketch import row_hashes
from mixexp.experts._training import Trainer
from mixexp.protocols import Rows

__all__ = ["due", "first_of_kind", "moved_share", "sampled_rows"]

#: Rows of each expert that its dispersion is taken from if predictions are costly: its standard
#: error is then 4 %.
SAMPLE = 256

#: An expert with more than this share of its weight on other rows than those it was fitted to has
#: another region: it is fitted again, however often it was. At most `MOST_REGIONS` times.
OTHER_REGION, MOST_REGIONS = 0.5, 2


def due(n_fits: np.ndarray, most: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return a mask (K,) of the experts to fit again at weights (K, n) other than before.

    Those that have not been fitted `most` times, and those that were given another region.
    """
    moved = moved_share(before, after) > OTHER_REGION
    mask: np.ndarray = n_fits < most + MOST_REGIONS * moved
    return mask


def moved_share(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the share (K,) of each expert's weight that is on other rows than before.

    1 − Σ min / max(Σ before, Σ after), with sums over rows: between 0 for the same weights (K, n)
    and 1 for weights on different rows.
    """
    larger = np.maximum(before.sum(axis=1), after.sum(axis=1))
    common = np.minimum(before, after).sum(axis=1)
    share: np.ndarray = 1.0 - np.divide(common, larger, out=np.ones_like(common), where=larger > 0)
    return share


def first_of_kind(trainer: Trainer) -> np.ndarray:
    """Return for each expert the first one with the same candidates and columns, (K,)."""
    candidates, columns = trainer.candidates, trainer.columns
    first = np.arange(len(candidates))
    for k in range(len(candidates)):
        same = [
            c is candidates[k] and np.array_equal(f, columns[k])
            for c, f in zip(candidates, columns, strict=True)
        ]
        first[k] = same.index(True)
    return first


def sampled_rows(resp: np.ndarray, rows: Rows, seed: int) -> np.ndarray:
    """Return a mask (n,) of rows: `SAMPLE` of each expert's, by a hash of their content."""
    order = np.argsort(row_hashes(rows.X, rows.y, seed), kind="stable")
    mask = np.zeros(rows.n_rows, dtype=bool)
    for share in resp:
        mask[order[share[order] > 0][:SAMPLE]] = True
    return mask
