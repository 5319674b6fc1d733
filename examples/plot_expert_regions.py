"""
==============================
Where each expert is in charge
==============================

A mixture of experts divides the input space: the gate says, for each point, how probable it is
that an expert is the right one there. :class:`~mixexp.inspection.ExpertRegionsDisplay` draws that
division over two features, and over one feature the curves of the experts with it.
"""

# %%
# Regions over two features
# -------------------------
# Simulated data with three linear experts: which expert produced a row depends on where it lies.

import matplotlib.pyplot as plt

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_ethanol, make_softmax_mixture
from mixexp.inspection import ExpertRegionsDisplay

X, y = make_softmax_mixture(n_samples=500, n_experts=3, random_state=0)
model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y)
display.ax_.set_title("Three experts of a regression")

# %%
# A colour is strong where the gate is sure, and fades towards the lines where two experts are
# equally probable. With `y`, a row has the colour of the expert that explains it best. Rows of one
# colour in the region of another are those that the gate would send to the wrong expert.

# %%
# Classes
# -------
# With class labels, markers tell the classes. A region is not a class: experts 0 to 3 are
# classifiers, each with class borders of its own.

X, y = make_softmax_mixture(
    n_samples=400, n_experts=4, task="classification", n_classes=3, sharpness=3, random_state=2
)
model = MixtureOfExpertsClassifier(n_experts=4, tol=1e-4, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y)
display.ax_.set_title("Four experts of a classification")

# %%
# One feature
# -----------
# An engine that burns ethanol gives the same nitrogen oxides with a lean and with a rich mixture
# of fuel. The regression function, dashed, runs between the two branches, where no measurement
# is. The experts, strong where the gate trusts them, follow one branch each.

X, y = load_ethanol(return_X_y=True, as_frame=True)
model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y, features="nox")
display.ax_.set_title("Two branches of one relation")

# %%
# More than two features
# ----------------------
# Features that do not vary are held at their medians, or at a row of your choice. Axes can be
# given, and every part restyled.

X, y = make_softmax_mixture(n_samples=800, n_features=4, n_experts=3, random_state=3)
model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for ax, at, title in [(axes[0], None, "others at medians"), (axes[1], X[0], "others as in row 0")]:
    display = ExpertRegionsDisplay.from_estimator(
        model, X, features=(0, 2), at=at, ax=ax, scatter_kwargs={"s": 8}
    )
    ax.set_title(title)

plt.show()
