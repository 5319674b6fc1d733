"""
===========================
A gate of your own: sectors
===========================

A gate is an object with a few short methods. This one divides the compass into sectors and keeps a
table, the probability of each expert in each sector: borders that no softmax gate can draw from two
coordinates. The page "Write your own gate" explains the methods one by one.
"""

# %%
# The gate
# --------
# `start` returns the part that is trained, with all experts equally likely; `log_prob` gives
# log g_k(x); `statistics` adds up responsibilities by sector; `update` is the M-step, the share of
# each expert, with a pseudo-count that keeps probabilities away from zero.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate
from mixexp.inspection import ExpertRegionsDisplay
from mixexp.protocols import Sums, evolve


class SectorGate(BaseEstimator):
    """Gate probabilities by the direction of the first two columns.

    Parameters
    ----------
    n_sectors : int
        Number of sectors, of equal angle.
    pseudo_count : float
        Rows of each expert that are added to every sector.
    """

    monotone = True

    def __init__(self, n_sectors=36, pseudo_count=0.5):
        self.n_sectors = n_sectors
        self.pseudo_count = pseudo_count

    def _sectors(self, block):
        angle = np.arctan2(block.X[:, 1], block.X[:, 0]) / (2 * np.pi)
        return np.floor(angle * self.n_sectors).astype(int) % self.n_sectors

    def start(self, rows, n_experts, columns):
        """Return the part with equal probabilities."""
        return evolve(self, table_=np.full((n_experts, self.n_sectors), 1 / n_experts))

    def log_prob(self, block):
        """Return log-probabilities, (n_experts, n_rows)."""
        return np.log(self.table_)[:, self._sectors(block)]

    def statistics(self, block, resp):
        """Return the mass of each expert in each sector."""
        sectors = self._sectors(block)
        return Sums(mass=np.stack([np.bincount(sectors, r, self.n_sectors) for r in resp]))

    def log_prior(self):
        """Return the logarithm of the prior that the pseudo-counts stand for."""
        return self.pseudo_count * np.sum(np.log(self.table_))

    def update(self, statistics, rows):
        """Return the next part."""
        mass = statistics["mass"] + self.pseudo_count
        return evolve(self, table_=mass / mass.sum(axis=0))


# %%
# Wind
# ----
# Simulated air at a measuring station. In two sectors there is a town on the way, and the air
# brings dust, less of it the stronger the wind. Elsewhere the strength of the wind hardly matters.

TOWNS = [(20, 80), (170, 250)]  # degrees, counted from the east

rng = np.random.default_rng(0)
east, north = rng.normal(0, 4, (2, 900))
angle = np.degrees(np.arctan2(north, east)) % 360
speed = np.hypot(east, north)
town = np.any([(low < angle) & (angle < high) for low, high in TOWNS], axis=0)
dust = np.where(town, 60 - 3 * speed, 10 + 0.5 * speed) + 4 * rng.standard_normal(900)
X = np.column_stack([east, north, speed])

# %%
# Two gates
# ---------
# Both see the two coordinates, and experts see the speed. The names of the experts are made equal,
# for the colours.

models = {}
for name, gate in {"SectorGate": SectorGate(), "SoftmaxGate": SoftmaxGate()}.items():
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=gate, gate_features=[0, 1], expert_features=[2], random_state=0
    )
    models[name] = model.fit(X, dust)
    print(f"{name:11s} R² {model.score(X, dust):.2f}")
models["SoftmaxGate"].align_experts(models["SectorGate"], X, dust)
for expert in models["SectorGate"].experts_:
    print(f"dust = {expert.intercept_:.1f} {expert.coef_[0]:+.2f} · speed, in µg/m³")

# %%
# The picture
# -----------
# A dot is an hour of wind, in the colour of the expert that explains it. All that two experts can
# get from a softmax gate is a border across the plane; as that does not fit, it hardly decides
# anything. The sectors find both towns, from the dust alone.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
for ax, name in zip(axes, ["SoftmaxGate", "SectorGate"], strict=True):
    display = ExpertRegionsDisplay.from_estimator(
        models[name],
        X,
        dust,
        features=[0, 1],
        feature_names=["east", "north", "speed"],
        ax=ax,
        scatter_kwargs={"s": 12},
    )
    ax.set(aspect="equal", title=name, xlabel="wind to the east, m/s", ylabel="")
    if name == "SoftmaxGate":  # one legend is enough
        display.legend_.remove()
axes[0].set_ylabel("wind to the north, m/s")

plt.show()
