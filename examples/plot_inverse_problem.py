"""
==================================================
An inverse problem: a mixture density network
==================================================

Bishop (1994) trains networks on a problem with several right answers. A number x between 0 and 1
gives t = x + 0.3 sin(2 pi x) plus noise, and x is to be predicted from t. The curve folds back, so
for t around 0.5 there are three values of x. A network trained with squared error predicts their
mean, where there are hardly any data. Bishop's *mixture density network* instead models the
distribution of x given t as a mixture of normal densities. A mixture of experts whose experts and
gate are neural networks is such a model, trained by EM.
"""

# %%
# The data
# --------
# In the inverse problem the input `X` is t and the target `y` is x. We train on 1000 rows and
# compare models on 2000 others.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import make_inverse_sine

X, y, truth = make_inverse_sine(3000, random_state=0, return_truth=True)
X_train, y_train, X_test, y_test = X[:1000], y[:1000], X[1000:], y[1000:]

# %%
# One network
# -----------
# A single network predicts one number. To compare densities, we put a normal distribution around
# its prediction, with the standard deviation of its out-of-fold residuals.

NETWORK = {"hidden_layer_sizes": (10,), "activation": "tanh", "alpha": 1e-3}

network = MLPRegressor(**NETWORK, solver="lbfgs", max_iter=500, random_state=0)
single = make_pipeline(StandardScaler(), network)
residuals = y_train - cross_val_predict(single, X_train, y_train, cv=5)
sigma = np.sqrt(np.mean(residuals**2))
single.fit(X_train, y_train)
z = (y_test - single.predict(X_test)) / sigma
density_single = np.mean(-0.5 * z**2 - np.log(sigma * np.sqrt(2 * np.pi)))

# %%
# A mixture of three networks
# ---------------------------
# The experts and the gate are Pipelines with small networks. Every EM iteration continues training
# from their current weights, with responsibilities as sample weights: 20 steps of L-BFGS, which
# need less time here than the default solver. Networks with ten units do not memorise 1000 rows, so
# we can do without cross-fitting, which takes five times as long.

STEPS = {"solver": "lbfgs", "max_iter": 20}

mixture = MixtureOfExpertsRegressor(
    make_pipeline(StandardScaler(), MLPRegressor(**NETWORK, **STEPS)),
    n_experts=3,
    gate=make_pipeline(StandardScaler(), MLPClassifier(**NETWORK, **STEPS)),
    cross_fit=False,
    tol=1e-4,
    random_state=0,
).fit(X_train, y_train)

linear = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X_train, y_train)

# %%
# The true density of x given t is known here. It is uniform on one to three intervals, so a mixture
# of three normal densities can only approximate it.

length = np.diff(truth.intervals[1000:], axis=2).sum(axis=(1, 2))
print("Mean log-density of 2000 test rows")
print(f"  one network, normal errors:    {density_single:.2f}")
print(f"  three linear experts:          {linear.log_density(X_test, y_test).mean():.2f}")
print(f"  three networks, network gate:  {mixture.log_density(X_test, y_test).mean():.2f}")
print(f"  the true density:              {np.mean(-np.log(length)):.2f}")

# %%
# The fitted densities
# --------------------
# Left: the opacity of an expert's line is its gate probability. Each expert follows one branch and
# fades where that branch ends. The single network (dashed) cuts across the middle. Right: the
# density of the mixture has three separate ridges around t = 0.5.

grid_t, grid_x = np.linspace(0, 1, 201), np.linspace(-0.1, 1.1, 241)
distribution = mixture.predict_distribution(grid_t[:, None])
density = np.array([distribution.pdf(value) for value in grid_x])
gate = mixture.gate_proba(grid_t[:, None])
curves = mixture.predict_experts(grid_t[:, None])

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
axes[0].scatter(X_train, y_train, s=4, color="0.75", label="data")
for k in range(mixture.n_experts):
    axes[0].scatter(grid_t, curves[:, k], s=12, color=f"C{k}", alpha=gate[:, k], linewidths=0)
    axes[0].plot([], [], color=f"C{k}", linewidth=3, label=f"expert {k}")
axes[0].plot(grid_t, single.predict(grid_t[:, None]), "k--", label="one network")
axes[0].set(xlabel="t, the input", ylabel="x, the target", title="Experts and a single network")
axes[0].legend(loc="upper left", fontsize="small")
image = axes[1].pcolormesh(grid_t, grid_x, np.sqrt(density), cmap="Greys", rasterized=True)
axes[1].plot(truth.forward(grid_x[20:-20]), grid_x[20:-20], color="C3", linewidth=1)
axes[1].set(xlabel="t, the input", title="Square root of the density; true curve in red")
axes[1].set(xlim=(0, 1), ylim=(-0.1, 1.1))
figure.colorbar(image, ax=axes[1])

plt.show()
