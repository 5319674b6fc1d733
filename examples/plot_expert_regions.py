"""
==============================
Where each expert is in charge
==============================

The gate of a mixture of experts divides the input space: at each point it gives the probability of
each expert. :class:`~mixexp.inspection.ExpertRegionsDisplay` draws this division over two
features, or over one feature together with the experts' curves.
"""

# %%
# Regions over two features
# -------------------------
# The data are simulated from three linear experts and a softmax gate.

import matplotlib.pyplot as plt

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_ethanol, make_softmax_mixture
from mixexp.inspection import ExpertRegionsDisplay

X, y = make_softmax_mixture(n_samples=500, n_experts=3, random_state=0)
model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y)
display.ax_.set_title("Three experts of a regression")

# %%
# Colours are strong where the gate is certain and fade towards the lines where two experts are
# equally probable. Since `y` is given, each row has the colour of the expert that explains it best:
# a row whose colour differs from its region would be sent to the wrong expert.

# %%
# Classes
# -------
# In classification, markers show the classes. A region is not a class: each of the four experts is
# a classifier with its own decision boundaries. Expert 3 has no region here: given x alone
# another one is always more probable. Given the class as well, a few rows are its own.

X, y = make_softmax_mixture(
    n_samples=400, n_experts=4, task="classification", n_classes=3, sharpness=3, random_state=2
)
model = MixtureOfExpertsClassifier(n_experts=4, tol=1e-4, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y)
display.ax_.set_title("Four experts of a classification")

# %%
# One feature
# -----------
# An ethanol engine emits the same amount of nitrogen oxides with a lean and with a rich fuel
# mixture. The regression function (dashed) runs between these two branches, where there are no
# measurements, while each expert follows one branch. Column names come from a data frame (pandas).

X, y = load_ethanol(return_X_y=True, as_frame=True)
model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
display = ExpertRegionsDisplay.from_estimator(model, X, y, features="nox")
display.ax_.set_title("Two branches of one relation")

# %%
# More than two features
# ----------------------
# The other features are held at their medians, or at the values of a given row. Displays draw on
# existing axes, and every element can be styled.

X, y = make_softmax_mixture(n_samples=800, n_features=4, n_experts=3, random_state=3)
model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained")
for ax, at, title in [(axes[0], None, "others at medians"), (axes[1], X[0], "others as in row 0")]:
    display = ExpertRegionsDisplay.from_estimator(
        model, X, features=(0, 2), at=at, ax=ax, scatter_kwargs={"s": 8}
    )
    ax.set_title(title)

plt.show()
