"""
===========================
A stream that does not stay
===========================

Rows arrive in batches and are not kept, and what they follow changes. `partial_fit` learns from
each batch; ``online_forget`` says on about how many recent rows the estimates rest. This example
follows a machine through wear and repair, with and without forgetting.
"""

# %%
# A machine with two modes
# ------------------------
# A machine warms up slowly with its load, above half load much faster. From row 20 000 on it wears:
# above half load it gets hotter and hotter. After 45 000 rows it is repaired, and is as new.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor

N, BATCH, WEAR, REPAIR = 64_000, 1000, 20_000, 45_000
SLOPE, MORE = 30, 30  # °C per full load: as new, and what wear adds in the end
rng = np.random.default_rng(0)
row = np.arange(N)
worn = np.where(row < REPAIR, np.maximum(row - WEAR, 0) / (REPAIR - WEAR), 0)
load = rng.uniform(0, 1, N)
slope = np.where(load > 0.5, SLOPE + MORE * worn, 10)
y = 20 + np.where(load > 0.5, 10, 0) + slope * (load - 0.5) + rng.standard_normal(N)
X = load[:, None]

# %%
# Learning batch by batch
# -----------------------
# Each batch is predicted before it is learnt from, so that errors are those of new rows. The noise
# alone makes an error of 1 °C.

models = {
    "online_forget=4000": MixtureOfExpertsRegressor(
        n_experts=2, online_forget=4000, random_state=0
    ),
    "online_forget=None": MixtureOfExpertsRegressor(n_experts=2, random_state=0),
}
ends = row[BATCH::BATCH]
errors = {name: [] for name in models}
slopes = {name: [] for name in models}
for name, model in models.items():
    model.partial_fit(X[:BATCH], y[:BATCH])
    for start in ends:
        batch = slice(start, start + BATCH)
        errors[name].append(np.sqrt(np.mean((model.predict(X[batch]) - y[batch]) ** 2)))
        upper = model.gate_proba([[1.0]]).argmax()  # the expert at full load
        slopes[name].append(model.experts_[upper].coef_[0])
        model.partial_fit(X[batch], y[batch])
    print(
        f"{name}: mean error {np.mean(errors[name]):.2f} °C, at the end {errors[name][-1]:.2f} °C"
    )

# %%
# The picture
# -----------
# Above, the slope of the upper expert. With forgetting it trails the truth by a few thousand rows,
# and has forgotten the wear 8000 rows after the repair. Without, each new row counts less than
# those before it: the wear is seen too late, and remembered too long. Where nothing changes,
# forgetting costs next to nothing here, though its estimates rest on fewer rows.

figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
above.plot(row, SLOPE + MORE * worn, "k--", linewidth=1, label="truth")
for name, color in zip(models, ["C0", "C3"], strict=True):
    above.plot(ends, slopes[name], color=color, linewidth=2, label=name)
    below.plot(ends, errors[name], color=color, linewidth=2)
for ax in (above, below):
    ax.axvspan(WEAR, REPAIR, color="0.93", zorder=0)
above.set_ylabel("slope, °C per full load")
above.legend(loc="upper left")
below.set(xlabel="row", ylabel="error of new rows (RMSE), °C", xlim=(0, N), ylim=(0, None))
below.text((WEAR + REPAIR) / 2, 0.2, "wear", ha="center", color="0.4")

plt.show()
