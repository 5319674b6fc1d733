"""
==============================================
Sparse routing: one expert a row, not all of 8
==============================================

In a dense mixture every expert predicts every row, and the gate mixes the predictions, though for
most rows it trusts one expert alone. With a router a row reaches only the experts that matter to
it. This example compares a dense mixture of 8 support vector machines with two that are routed: in
accuracy, and in the time that the experts take.
"""

# %%
# The data
# --------
# Eight sectors of the plane, like slices of a cake. In each, y has a level of its own, a slope, and
# a wave that no linear model can follow.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.svm import SVR

from mixexp import MixtureOfExpertsRegressor, routing_report
from mixexp.gates import SoftmaxGate
from mixexp.inspection import ExpertRegionsDisplay, RoutingLoadDisplay
from mixexp.routing import Switch, TopK

N_SECTORS = 8


def make_rows(n, seed):
    """Return features (n, 2) in the unit disc and targets (n,)."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(0, 1, n))
    X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    sector = (angle // (2 * np.pi / N_SECTORS)).astype(int)
    level = np.array([3.0, -3.0, 1.0, 5.0, -1.0, -5.0, 4.0, 0.0])[sector]
    wave = np.sin(4 * X[:, 0] + sector) * np.cos(4 * X[:, 1])
    return X, level + 2 * np.where(sector % 2, X[:, 0], -X[:, 1]) + wave + 0.2 * rng.normal(size=n)


X, y = make_rows(1600, seed=0)
X_new, y_new = make_rows(3000, seed=1)

# %%
# One gate, three routings
# ------------------------
# A mixture of linear experts, which is cheap to fit, finds the sectors. The three mixtures take its
# gate over, so that they differ in nothing but the routing. Its penalty is given: one that sets
# itself would make borders so sharp here that all routings agree.

gate = SoftmaxGate(alpha=0.3)
cheap = MixtureOfExpertsRegressor(n_experts=N_SECTORS, gate=gate, random_state=0).fit(X, y)
routers = {"dense": None, "TopK(2)": TopK(2), "Switch": Switch(1.0)}
models, reports = {}, {}
print(f"linear experts: R² {cheap.score(X_new, y_new):.3f}")
print("\n           R²     experts a row   seconds")
for name, router in routers.items():
    model = MixtureOfExpertsRegressor(
        SVR(C=10.0, gamma=2.0), n_experts=N_SECTORS, routing=router, warm_up=cheap, random_state=0
    )
    models[name] = model.fit(X, y)
    reports[name] = report = routing_report(model, X_new, y_new)
    score = model.score(X_new, y_new)
    print(f"{name:8s}  {score:.3f}   {report.experts_per_row:.0f}   {report.seconds_active:.3f}")

# %%
# The gate learnt with experts to which the wave is noise, and its penalty keeps borders soft. Near
# them the dense mixture and TopK(2) blend the levels of two sectors. Switch decides for one. So
# does `to_hard`, which makes a slim predictor with one expert a row of any mixture.

print(f"dense, to_hard(): R² {models['dense'].to_hard().score(X_new, y_new):.3f}")

# %%
# The report of one of them
# -------------------------
# Every expert was called on the rows that reach it, and on all rows.

print(reports["Switch"])

# %%
# The picture
# -----------
# Left, the sectors as the gate sees them. In the middle, what each mixture gains over the linear
# experts, and what it costs. Right, how many rows reach each expert; hatched, the share of training
# rows whose first choice was full.

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(14, 4.2), layout="constrained", width_ratios=[1.1, 0.9, 1.2]
)
ExpertRegionsDisplay.from_estimator(models["Switch"], X[:400], ax=left)
left.set(title="the experts' sectors", aspect="equal")

for name, model in models.items():
    work = reports[name].seconds_active / reports["dense"].seconds_active
    middle.scatter(work, model.score(X_new, y_new), s=90, color="C0", zorder=3)
    place = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
    middle.annotate(name, (work, model.score(X_new, y_new)), **place)
middle.axhline(cheap.score(X_new, y_new), color="0.4", linestyle="--", label="linear experts")
middle.set(title="accuracy and cost", xlabel="time of the experts, dense = 1", ylabel="R²")
middle.margins(0.2)
middle.legend(loc="upper right")

RoutingLoadDisplay.from_estimator(models["Switch"], X_new, ax=right)
right.set_title("loads under Switch")

plt.show()
