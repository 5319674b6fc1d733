"""
=========================================
Counts with more spread, and more zeros
=========================================

Real counts rarely have the variance of a Poisson law. Some causes of that are in x, and experts of
their own find them. Others are not: rates differ between rows for reasons that nobody recorded, and
some rows are 0 because nothing could happen there.
"""

# %%
# The data
# --------
# Anglers report how many fish they caught. A quarter of them did not fish, which was not asked, and
# skill, which was not asked either, makes the rates of the others differ.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor

rng = np.random.default_rng(0)
hours = rng.uniform(0, 4, (4000, 1))
rate = np.exp(np.where(hours[:, 0] < 2, 2.0 - 0.8 * hours[:, 0], 0.4 * hours[:, 0] - 0.4))
skill = rng.gamma(2.0, 0.5, 4000)
caught = np.where(rng.random(4000) < 0.25, 0, rng.poisson(rate * skill))
train, test = slice(2000), slice(2000, None)

# %%
# Four models
# -----------
# All have two experts and a softmax gate. The negative binomial family has a dispersion α for each
# expert, here 1 / 2; ``zero_expert`` has a share of the rows, here a quarter.

models = {}
for family in ("poisson", "negative_binomial"):
    for zeros in (False, True):
        model = MixtureOfExpertsRegressor(
            n_experts=2, family=family, zero_expert=zeros, random_state=0
        )
        name = family.replace("_", " ") + (", zero expert" if zeros else "")
        models[name] = model.fit(hours[train], caught[train])

held_out = {
    name: model.log_density(hours[test], caught[test]).mean() for name, model in models.items()
}
for name, density in held_out.items():
    print(f"{name:32s} {density:.3f} nats per row")

best = models["negative binomial, zero expert"]
print(f"share of zeros {best.gate_.zero_share_:.2f}, dispersions {best.dispersions_.round(2)}")

# %%
# What the laws expect
# --------------------
# The mean probability of each count against how often it occurs. Without a zero expert (dotted)
# the Poisson mixture falls short of the zeros, and spends the rest on ones. The negative binomial
# mixture with one (solid orange) follows the bars from the first to the last.

counts = np.arange(15)
seen = np.array([np.mean(caught[test] == count) for count in counts])
fig, ax = plt.subplots(layout="constrained")
ax.bar(counts, seen, color="0.85", label="held-out rows")
for name, model in models.items():
    colour = "C0" if name.startswith("poisson") else "C1"
    style = "o-" if name.endswith("zero expert") else "o:"
    law = model.predict_distribution(hours[test])
    expected = [law.pdf(count).mean() for count in counts]
    ax.plot(counts, expected, style, color=colour, markersize=4, label=name)
ax.set(xlabel="fish", ylabel="probability")
ax.legend()
plt.show()
