"""
=====================================
A tree of gates, read level by level
=====================================

A hierarchical mixture of experts (Jordan & Jacobs 1994) decides in steps: the gate at the root of
a tree sends a row to one of several subsets of the experts, the next gate to a subset of these,
and so on. This example simulates data from such a tree, recovers it with
:class:`~mixexp.gates.HierarchicalGate`, and shows it as text, as regions and as a diagram.
"""

# %%
# The data
# --------
# A boundary divides the plane, and each half is divided again. Boundaries are soft: near one, a row
# may come from either side. In each of the four parts y is a different linear function of the two
# features.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate
from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay

NAMES = ["width", "height"]

#: Log-odds of the second child of every node: intercept, and slopes of width and height.
BOUNDARIES = {(): [-1.0, 5.0, 2.0], (0,): [2.0, 0.0, 5.0], (1,): [-2.0, -3.0, 5.0]}

#: Intercept and slopes of every expert.
LINES = {
    (0, 0): [0.0, 2.0, 0.0],
    (0, 1): [3.0, 0.0, -2.0],
    (1, 0): [-3.0, 1.0, 2.0],
    (1, 1): [1.0, -2.0, 1.0],
}


def make_rows(n, seed):
    """Return features, targets, and the true leaf of each row."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    terms = np.column_stack([np.ones(n), X])
    paths = [()] * n
    for _ in range(2):
        log_odds = np.sum(terms * [BOUNDARIES[path] for path in paths], axis=1)
        second = rng.random(n) < 1 / (1 + np.exp(-log_odds))
        paths = [(*path, int(side)) for path, side in zip(paths, second, strict=True)]
    y = np.sum(terms * [LINES[path] for path in paths], axis=1) + 0.3 * rng.standard_normal(n)
    return X, y, paths


X, y, paths = make_rows(1200, seed=0)

# %%
# The tree as text
# ----------------
# A node with two children has one score, the log-odds of its second child, which is the more
# probable one where the score is positive.

gate = HierarchicalGate(branching=(2, 2))
model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
print(model.gate_.to_text(NAMES))

# %%
# All three boundaries are close to the true ones. The order of two children is arbitrary: swapping
# them changes the sign of their log-odds. Nearly all rows of a true leaf belong to one expert.

experts = model.responsibilities(X, y).argmax(axis=1)
print("rows of each true leaf assigned to experts 0 to 3:")
for leaf in LINES:
    in_leaf = [path == leaf for path in paths]
    print(f"  {leaf}: {np.bincount(experts[in_leaf], minlength=4)}")

# %%
# Regions at every level
# ----------------------
# Level 1 shows the children of the root, level 2 their children, which here are the experts. Each
# node divides its own region only, so boundaries of the second level end at the first one.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
for ax, level in zip(axes, [1, 2], strict=True):
    ax.set(xlabel=NAMES[0], ylabel=NAMES[1], title=f"level {level}")
    ExpertRegionsDisplay.from_estimator(model, X, y, level=level, ax=ax, scatter_kwargs={"s": 8})

# %%
# `gate_proba` returns the same probabilities for any rows:

print(model.gate_proba([[1.0, -1.0]], level=1).round(2))
print(model.gate_proba([[1.0, -1.0]]).round(2))

# %%
# The tree as a diagram
# ---------------------
# The width of an edge is the share of rows that take it. Its text is the condition: a weighted sum
# of features lies above or below a threshold, in units of the most important feature.

display = GateTreeDisplay.from_estimator(model, feature_names=NAMES)
display.ax_.set_title("Four experts under three gates")

plt.show()
