"""
===================================
Six kernel machines faster than one
===================================

The time to fit a Gaussian process grows with the cube of the rows: six of them, each on a sixth of
the rows, take a thirty-sixth of it. A mixture with hard routing makes use of that. A quick mixture
of linear experts finds the partition, and then each process is fitted once, to the rows that are
routed to it.
"""

# %%
# A patched surface
# -----------------
# Six patches, each with waves of its own on a level of its own, and noise.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from mixexp import MixtureOfExpertsRegressor
from mixexp.routing import Switch

CENTRES = np.array([[-0.7, -0.5], [0.1, -0.6], [0.8, -0.4], [-0.6, 0.5], [0.0, 0.4], [0.7, 0.6]])
LEVELS = np.array([0.0, 3.0, 1.0, 4.0, 1.5, 5.0])
LENGTHS = np.array([0.1, 0.2, 0.15, 0.3, 0.08, 0.15])


def surface(X):
    """Return the values of the surface."""
    patch = np.linalg.norm(X[:, None] - CENTRES, axis=2).argmin(axis=1)
    angle = np.pi * patch / len(CENTRES)
    along = X[:, 0] * np.cos(angle) + X[:, 1] * np.sin(angle)
    return LEVELS[patch] + 0.5 * np.sin(along / LENGTHS[patch])


rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (1600, 2))
y = surface(X) + 0.1 * rng.standard_normal(len(X))

# %%
# One process, and six
# --------------------
# All choose their length scale and their noise by likelihood. The time of the six includes the
# search for the partition, so the ratio is not as small as 1/36.

kernel = RBF(0.2, (0.05, 2.0)) + WhiteKernel(0.05, (1e-3, 1.0))
process = GaussianProcessRegressor(kernel, normalize_y=True)
routed = MixtureOfExpertsRegressor(process, n_experts=6, routing=Switch(), random_state=0)
side = np.linspace(-1, 1, 120)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
truth = surface(grid)

seconds, predicted, rmse = {}, {}, {}
for name, model in {"one process": process, "six, routed": routed}.items():
    start = time.perf_counter()
    model.fit(X, y)
    seconds[name] = time.perf_counter() - start
    predicted[name] = model.predict(grid)
    rmse[name] = np.sqrt(np.mean((predicted[name] - truth) ** 2))
    print(f"{name}: RMSE {rmse[name]:.2f}")
ratio = seconds["six, routed"] / seconds["one process"]
print(f"time to fit, six ÷ one: {ratio:.2f}")

scales = [expert.kernel_.k1.length_scale for expert in routed.experts_]
print(f"length scale of the one process: {process.kernel_.k1.length_scale:.2f}")
print(f"length scales of the six:        {np.sort(scales).round(2)}")

# %%
# The picture
# -----------
# One process has one length scale for everything: it rounds the cliffs off, and to follow them it
# must take a short scale, which lets noise through where the surface is smooth. The six jump where
# the gate changes over, and each has a scale of its own. What remains are a few grid points at the
# borders, where rows went to the neighbour.

figure, axes = plt.subplots(1, 3, figsize=(11, 4.1), sharex=True, sharey=True, layout="constrained")
for ax, (name, values) in zip(axes, {"truth": truth, **predicted}.items(), strict=True):
    image = ax.pcolormesh(
        side, side, values.reshape(len(side), -1), vmin=truth.min(), vmax=truth.max()
    )
    ax.set(aspect="equal", xlabel="first column", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.set_title(name if name == "truth" else f"{name}: RMSE {rmse[name]:.2f}")
    if name == "six, routed":
        ax.set_title(f"{ax.get_title()}, {ratio:.0%} of the time")
axes[0].set_ylabel("second column")
figure.colorbar(image, ax=axes, label="y", shrink=0.85)

plt.show()
