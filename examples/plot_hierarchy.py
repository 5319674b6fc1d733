"""
=====================================
A tree of gates, read level by level
=====================================

A hierarchical mixture of experts (Jordan & Jacobs 1994) decides in steps: the gate at the root of
a tree sends a row to one part of the experts, the next gate to a part of these, and so on. Here
data come from such a tree, :class:`~mixexp.gates.HierarchicalGate` finds it again, and what was
found is read as text, as regions and as a picture.
"""

# %%
# The data
# --------
# A border cuts the plane in two, and another border cuts each of the halves. Borders are soft: near
# one, a row may come from either side. In each of the four parts another linear function of the
# two features gives y.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate
from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay

NAMES = ["width", "height"]

#: Log-odds of the second child of every node: intercept, and slopes of width and height.
BORDERS = {(): [-1.0, 5.0, 2.0], (0,): [2.0, 0.0, 5.0], (1,): [-2.0, -3.0, 5.0]}

#: Intercept and slopes of every expert.
LINES = {
    (0, 0): [0.0, 2.0, 0.0],
    (0, 1): [3.0, 0.0, -2.0],
    (1, 0): [-3.0, 1.0, 2.0],
    (1, 1): [1.0, -2.0, 1.0],
}


def make_rows(n, seed):
    """Return features, targets, and the leaf that each row comes from."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    terms = np.column_stack([np.ones(n), X])
    paths = [()] * n
    for _ in range(2):
        log_odds = np.sum(terms * [BORDERS[path] for path in paths], axis=1)
        second = rng.random(n) < 1 / (1 + np.exp(-log_odds))
        paths = [(*path, int(side)) for path, side in zip(paths, second, strict=True)]
    y = np.sum(terms * [LINES[path] for path in paths], axis=1) + 0.3 * rng.standard_normal(n)
    return X, y, paths


X, y, paths = make_rows(1200, seed=0)

# %%
# The tree as text
# ----------------
# A node of two children has one score, the log-odds of the second child: where it is positive, that
# child is the more likely one.

gate = HierarchicalGate(branching=(2, 2))
model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
print(model.gate_.to_text(NAMES))

# %%
# The border at the root and those below it are close to the true ones. Which child comes first is
# a matter of chance: if two children change places, so does the sign of their log-odds. Nearly all
# rows of a true leaf belong to one expert.

experts = model.responsibilities(X, y).argmax(axis=1)
print("rows of each true leaf that experts 0 to 3 take:")
for leaf in LINES:
    own = [path == leaf for path in paths]
    print(f"  {leaf}: {np.bincount(experts[own], minlength=4)}")

# %%
# Regions at every level
# ----------------------
# At level 1 the regions are those of the root's children, at level 2 those of their children, which
# are the experts here. Each half is cut on its own side only, so that a border of the second level
# ends at the first one.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
for ax, level in zip(axes, [1, 2], strict=True):
    ax.set(xlabel=NAMES[0], ylabel=NAMES[1], title=f"level {level}")
    ExpertRegionsDisplay.from_estimator(model, X, y, level=level, ax=ax, scatter_kwargs={"s": 8})

# %%
# The same numbers, for any rows:

print(model.gate_proba([[1.0, -1.0]], level=1).round(2))
print(model.gate_proba([[1.0, -1.0]]).round(2))

# %%
# The tree as a picture
# ---------------------
# An edge is as wide as the share of rows that take it. On it stands when: where a weighted sum of
# features lies above or below a border, in units of the feature that counts most.

display = GateTreeDisplay.from_estimator(model, feature_names=NAMES)
display.ax_.set_title("Four experts under three gates")

plt.show()
