"""
==================================================
Two kinds of shop: counts with exposure and groups
==================================================

Each of 80 shops sold some number of an article in each of 12 months, on a different number of open
days. There are two kinds of shop: in one sales grow, in the other they fall, and small shops are
mostly of the first kind. Three things are asked of a mixture here: the target is a *count*, it was
observed for a known *exposure*, and all months of a shop belong to one expert: they are a *group*.
"""

# %%
# The data
# --------
# Simulated, so that the kind of each shop is known.

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
# The experts see the month and the gate sees the area, which must be, and is, the same in all rows
# of a shop. ``family="poisson"`` has a log link: the logarithm of the number of open days is the
# ``offset``, so that an expert models the sales of a day.

model = MixtureOfExpertsRegressor(
    n_experts=2, family="poisson", expert_features=[0], gate_features=[1], random_state=0
)
model.fit(X, sold, groups=shop, offset=np.log(days))

print("                    level    change a month")
for expert in model.experts_:
    print(f"expert:             {expert.intercept_:.2f}    {expert.coef_[0]:+.3f}")
print("truth, growing:     -1.20    +0.060")
print("truth, falling:     -0.20    -0.080")

# %%
# Which shop is of which kind
# ---------------------------
# Rows of a shop share one responsibility, to which all its months contribute. Without groups each
# month has one of its own, and one month alone says little.


def right_share(responsibilities, growing):
    """Return the share of shops whose likelier kind, by the mean over months, is the true one."""
    by_shop = responsibilities[:, growing].reshape(N_SHOPS, N_MONTHS).mean(axis=1)
    return np.mean((by_shop > 0.5) == grows)


growing = int(np.argmax([expert.coef_[0] for expert in model.experts_]))
resp = model.responsibilities(X, sold, groups=shop, offset=np.log(days))
print(f"shops of the right kind, months grouped: {right_share(resp, growing):.0%}")

alone = MixtureOfExpertsRegressor(**model.get_params()).fit(X, sold, offset=np.log(days))
growing_alone = int(np.argmax([expert.coef_[0] for expert in alone.experts_]))
resp_alone = alone.responsibilities(X, sold, offset=np.log(days))
print(f"shops of the right kind, months alone:   {right_share(resp_alone, growing_alone):.0%}")

# %%
# The picture
# -----------
# Left, the sales of a day of every shop, in the colour of its likelier expert, and the experts'
# curves. Right, what the gate says from the area alone (line), and what is known after the sales
# were seen (dots, in the colour of the truth). A ring marks shops whose likelier kind
# is wrong.

by_shop = resp[::N_MONTHS, growing]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for s in range(N_SHOPS):
    own = shop == s
    colour = "C0" if by_shop[s] > 0.5 else "C1"
    left.plot(month[own], sold[own] / days[own], color=colour, alpha=0.15)
months = np.column_stack([np.arange(N_MONTHS), np.full(N_MONTHS, 200.0)])
curves = model.predict_experts(months)
left.plot(curves[:, growing], color="C0", linewidth=3, label="growing")
left.plot(curves[:, 1 - growing], color="C1", linewidth=3, label="falling")
left.set(xlabel="month", ylabel="sold a day", title="Sales and the experts' curves")
left.legend()

wrong = (by_shop > 0.5) != grows
areas = np.column_stack([np.zeros(101), np.linspace(50, 350, 101)])
right.plot(areas[:, 1], model.gate_proba(areas)[:, growing], color="0.4", label="gate")
for kind, colour in [(grows, "C0"), (~grows, "C1")]:
    right.scatter(area[kind], by_shop[kind], s=18, color=colour)
right.scatter(area[wrong], by_shop[wrong], s=90, facecolors="none", edgecolors="k")
right.set(xlabel="area", ylabel="probability of the growing kind", title="Shops, one dot each")
right.legend(loc="center left")

plt.show()
