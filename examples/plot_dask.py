"""
======================================
A fit on Dask arrays, worker by worker
======================================

`fit` takes Dask arrays and data frames as it takes arrays. Partitions stay on the workers: each
EM iteration sends the parameters to them, and the sums of their blocks come back, added in a tree.
`predict` and its relatives answer with a lazy Dask array.

The example starts two workers on this machine; it needs `pip install mixexp[dask]`, and says so if
that is missing. It takes ten to twenty seconds.
"""

# %%
# Rows that this process never sees
# ---------------------------------
# Positions on a map and a price, in 24 partitions that workers make. Prices fall with the distance
# from one of three centres; where a centre's district ends is not given.

from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import GaussianGate

N_PARTITIONS, SIZE = 24, 10_000
CENTRES = np.array([[-2.0, -1.0], [2.0, -1.0], [0.0, 2.0]])
SLOPES = np.array([[1.5, 0.5], [-1.0, 1.0], [0.0, -2.0]])


def positions(seed, size=SIZE):
    """Positions and prices of one partition."""
    rng = np.random.default_rng(seed)
    district = rng.integers(3, size=size)
    X = CENTRES[district] + 0.7 * rng.standard_normal((size, 2))
    price = 10 + 3 * district + np.sum((X - CENTRES[district]) * SLOPES[district], axis=1)
    return np.column_stack([X, price + 0.3 * rng.standard_normal(size)])


def partitioned():
    """All rows as one Dask array."""
    import dask
    import dask.array as da

    made = dask.delayed(positions)
    return da.concatenate(
        [da.from_delayed(made(seed), (SIZE, 3), float) for seed in range(N_PARTITIONS)]
    )


# %%
# The fit
# -------
# With a client, workers check and keep their partitions for the fit. What comes here: a sketch of
# 8 192 rows that starts run on, the first rows, and sums of a few hundred numbers each iteration.


def fitted():
    """Fit on a cluster of two workers; return the model, and means over the map's squares."""
    from dask.distributed import Client, LocalCluster

    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**workers) as cluster, Client(cluster):
        rows = partitioned()
        X, y = rows[:, :2], rows[:, 2]
        model = MixtureOfExpertsRegressor(n_experts=3, gate=GaussianGate(), random_state=0)
        model.fit(X, y)
        print(f"{X.shape[0]} rows in {X.numblocks[0]} partitions, {model.n_iter_} iterations")
        density = model.log_density(X, y)
        print("lazy:", density)
        print(f"log-density of a row: {density.mean().compute():.3f}")
        sure = model.gate_proba(X).max(axis=1)
        print(f"rows whose expert is sure to 99 %: {(sure > 0.99).mean().compute():.3f}")
    return model


# %%
# What was found
# --------------
# Left: the probabilities of the three experts mixed as colours, the centres, and rows of a single
# partition. Right: what the mixture predicts over the map.


def draw(model):
    """Draw districts and prices."""
    grid = np.linspace(-4.5, 4.5, 240)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    colours = np.array([[0.12, 0.47, 0.71], [1.0, 0.5, 0.05], [0.17, 0.63, 0.17]])
    shares = (model.gate_proba(points) @ colours).reshape(240, 240, 3)
    prices = model.predict(points).reshape(240, 240)
    some = positions(0, 600)
    box = {"extent": (-4.5, 4.5, -4.5, 4.5), "origin": "lower"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    axes[0].imshow(0.35 + 0.65 * shares, **box)
    axes[0].scatter(some[:, 0], some[:, 1], s=3, color="0.15", linewidths=0)
    axes[0].scatter(*CENTRES.T, marker="+", s=160, color="k", linewidths=2)
    axes[0].set(title="Whose district; rows of one partition", xlabel="east", ylabel="north")
    axes[0].set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5))
    image = axes[1].imshow(prices, cmap="viridis", **box)
    axes[1].contour(grid, grid, prices, levels=12, colors="w", linewidths=0.5)
    axes[1].set(title="Predicted price", xlabel="east")
    figure.colorbar(image, ax=axes[1])
    plt.show()


if __name__ == "__main__":  # workers import this file too
    if find_spec("distributed") is None:
        print("Dask is not installed: pip install mixexp[dask]")
    else:
        draw(fitted())
