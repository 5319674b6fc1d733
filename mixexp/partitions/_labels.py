"""Helpers shared by the starts."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from mixexp._threads import single_thread
from mixexp._warn import silence, silenced
from mixexp.protocols import Rows

__all__ = ["check_one_per_expert", "fitted_kmeans", "one_hot", "weights_of"]


def one_hot(codes: np.ndarray, n_experts: int) -> np.ndarray:
    """Return indicator responsibilities (K, n) of expert numbers."""
    return np.equal(codes, np.arange(n_experts)[:, None]).astype(float)


def weights_of(rows: Rows) -> np.ndarray:
    """Return the weights of rows, by default ones."""
    return np.ones(rows.n_rows) if rows.weight is None else rows.weight


def check_one_per_expert(owner: str, name: str, n_entries: int, n_experts: int) -> None:
    """Raise a ValueError unless a parameter has one entry per expert."""
    if n_entries != n_experts:
        raise ValueError(
            f"{owner}: {name} has {n_entries} entries and n_experts={n_experts}. Give one for each "
            f"expert, or set n_experts={n_entries}."
        )


def fitted_kmeans(
    points: np.ndarray, n_clusters: int, weight: np.ndarray | None, rng: np.random.Generator
) -> KMeans:
    """Return k-means of points (n, p), run once on one thread.

    Starts may already run in threads, in each of which OpenMP would use all cores. The warning
    about fewer distinct points than clusters is silenced, as the user of a start cannot act on it.
    """
    model = KMeans(n_clusters, n_init=1, random_state=int(rng.integers(2**31)))
    fewer = silence(ConvergenceWarning, "Number of distinct clusters")
    with single_thread(), silenced(fewer):
        return model.fit(points, sample_weight=weight)
