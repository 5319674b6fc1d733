"""
==================================================
Two kinds of shop: counts with exposure and groups
==================================================

We have the monthly sales of an article in 80 shops over a year. Sales grow in some shops and fall
in others, and most of the growing shops are small. The mixture has to handle three things: the
target is a *count*; its *exposure*, the number of open days, differs between months; and all
months of a shop form a *group*, which belongs to one expert.
"""

# %%
# The data
# --------
# The data are simulated, so that we know which shops grow.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor

N_SHOPS, N_MONTHS = 80, 12
rng = np.random.default_rng(0)
area = rng.uniform(50, 350, N_SHOPS)
grows = rng.random(N_SHOPS) < 1 / (1 + np.exp((area - 200) / 40))
shop = np.repeat(np.arange(N_SHOPS), N_MONTHS)
month = np.tile(np.arange(N_MONTHS), N_SHOPS)
days = rng.integers(4, 27, len(shop))
rate = np.where(grows[shop], np.exp(-1.2 + 0.06 * month), np.exp(-0.2 - 0.08 * month))
sold = rng.poisson(rate * days)
X = np.column_stack([month, area[shop]])

# %%
# The model
# ---------
# The experts use the month. The gate uses the area, which has to be constant within a group.
# ``family="poisson"`` has a log link, so with the logarithm of the open days as ``offset`` an
# expert models sales per day.

model = MixtureOfExpertsRegressor(
    n_experts=2, family="poisson", expert_features=[0], gate_features=[1], random_state=0
)
model.fit(X, sold, groups=shop, offset=np.log(days))

print("                    intercept  slope per month")
for expert in model.experts_:
    print(f"expert:             {expert.intercept_:.2f}      {expert.coef_[0]:+.3f}")
print("truth, growing:     -1.20      +0.060")
print("truth, falling:     -0.20      -0.080")

# %%
# Which shops are growing?
# ------------------------
# With groups, all months of a shop share one responsibility. Without groups each month is treated
# separately, and a single month says little about a trend.


def right_share(responsibilities, growing):
    """Return the share of shops that are assigned correctly by their mean responsibility."""
    by_shop = responsibilities[:, growing].reshape(N_SHOPS, N_MONTHS).mean(axis=1)
    return np.mean((by_shop > 0.5) == grows)


growing = int(np.argmax([expert.coef_[0] for expert in model.experts_]))
resp = model.responsibilities(X, sold, groups=shop, offset=np.log(days))
print(f"correctly assigned, with groups:    {right_share(resp, growing):.0%}")

ungrouped = MixtureOfExpertsRegressor(**model.get_params()).fit(X, sold, offset=np.log(days))
growing_ungrouped = int(np.argmax([expert.coef_[0] for expert in ungrouped.experts_]))
resp_ungrouped = ungrouped.responsibilities(X, sold, offset=np.log(days))
print(f"correctly assigned, without groups: {right_share(resp_ungrouped, growing_ungrouped):.0%}")

# %%
# The picture
# -----------
# Left: sales per day of every shop, in the colour of its more probable expert, and the experts'
# curves. Right: gate probability given the area alone (line) and responsibility given the sales
# (dots, in the colour of the truth). Rings mark shops that are assigned incorrectly.

by_shop = resp[::N_MONTHS, growing]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for s in range(N_SHOPS):
    rows = shop == s
    colour = "C0" if by_shop[s] > 0.5 else "C1"
    left.plot(month[rows], sold[rows] / days[rows], color=colour, alpha=0.15)
months = np.column_stack([np.arange(N_MONTHS), np.full(N_MONTHS, 200.0)])
curves = model.predict_experts(months)
left.plot(curves[:, growing], color="C0", linewidth=3, label="growing")
left.plot(curves[:, 1 - growing], color="C1", linewidth=3, label="falling")
left.set(xlabel="month", ylabel="sales per day", title="Sales and the experts' curves")
left.legend(loc="upper right")

wrong = (by_shop > 0.5) != grows
areas = np.column_stack([np.zeros(101), np.linspace(50, 350, 101)])
right.plot(areas[:, 1], model.gate_proba(areas)[:, growing], color="0.4", label="gate")
for group, colour, name in [(grows, "C0", "growing"), (~grows, "C1", "falling")]:
    right.scatter(area[group], by_shop[group], s=18, color=colour, label=f"in truth {name}")
right.scatter(
    area[wrong], by_shop[wrong], s=90, facecolors="none", edgecolors="k", label="assigned wrongly"
)
right.set(xlabel="area", ylabel="probability of growth", title="Gate and responsibilities of shops")
right.set_ylim(-0.05, 1.4)  # room for the legend
right.set_yticks(np.linspace(0, 1, 6))
right.legend(loc="upper right", ncols=2, fontsize="small")

plt.show()
