"""
==========================================
A training that is interrupted and goes on
==========================================

A long fit may end too early: somebody presses Ctrl-C, a machine is switched off. With a
``Checkpoint`` it goes on from a file, and ends with the same numbers, to the last bit, as if
nothing had happened. This example interrupts a fit twice, draws what the mixture had learnt by
then, and compares the end with that of a fit that was left alone. It takes a few seconds.
"""

# %%
# The problem
# -----------
# For each input t there are up to three separate answers x (Bishop's inverse problem), and three
# lines are to share them. The start is a bad one: every expert gets a bit of every row, and EM
# runs without acceleration. So it takes a while until the experts differ, and there is something
# to watch.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax

from mixexp import MixtureOfExpertsRegressor
from mixexp.callbacks import Callback, Checkpoint
from mixexp.datasets import make_inverse_sine
from mixexp.gates import SoftmaxGate

X, y = make_inverse_sine(1500, noise=0.04, random_state=0)
start = softmax(-((y[:, None] - np.array([0.0, 0.5, 1.0])) ** 2), axis=1)


def new_mixture():
    """Return the mixture of all fits below, unfitted."""
    gate = SoftmaxGate(alpha=0.3)  # a given penalty: all there is to learn is in the iterations
    return MixtureOfExpertsRegressor(
        n_experts=3, gate=gate, init=start, acceleration=None, random_state=0
    )


# %%
# Two interrupts
# --------------
# A callback of our own keeps the bound of each iteration and the mixture as it then is, and stands
# for whoever presses Ctrl-C. ``Checkpoint`` comes with mixexp: on an interrupt it writes the last
# complete iteration. Each fit begins with a new mixture, as a new process would.


class Watch(Callback):
    """Collects bounds, keeps the last mixture, and interrupts the fit after an iteration."""

    def __init__(self, stop_after):
        self.stop_after = stop_after
        self.bounds = {}

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "iteration":
            return
        self.bounds[context.iteration] = context.lower_bound
        if context.iteration == self.stop_after:
            self.mixture = context.fitted_estimator()
            raise KeyboardInterrupt


watches, resume_from = [], None
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "inverse_sine.checkpoint"
    for stop_after in (13, 17, None):
        watch = Watch(stop_after)
        watches.append(watch)
        resumed = new_mixture().set_callbacks(watch, Checkpoint(path))
        try:
            resumed.fit(X, y, resume_from=resume_from)
        except KeyboardInterrupt:
            print(f"interrupted after iteration {stop_after}: {path.stat().st_size / 1024:.0f} KiB")
        resume_from = path

# %%
# The fit that was left alone
# ---------------------------
# It has the same bits everywhere.

alone = new_mixture().fit(X, y)
same = np.array_equal(alone.lower_bounds_, resumed.lower_bounds_)
same &= np.array_equal(alone.predict(X), resumed.predict(X))
print(f"the resumed fit has the same bits as an uninterrupted one: {same}")

# %%
# What was learnt when
# --------------------
# Above: the experts at each interrupt and at the end; a line is as opaque as its expert's gate
# probability. Below: the bound. Each colour is one process; the black dots, those of the fit that
# was left alone, lie on all of them.

mixtures = [watches[0].mixture, watches[1].mixture, resumed]
titles = ["first interrupt, iteration 13", "second interrupt, iteration 17"]
titles.append(f"the end, iteration {resumed.n_iter_}")
grid = np.linspace(X.min(), X.max(), 400)[:, None]

figure = plt.figure(figsize=(11, 7), layout="constrained")
axes = figure.subplot_mosaic([[0, 1, 2], ["bound"] * 3], height_ratios=[1.25, 1])
for i, mixture in enumerate(mixtures):
    gate, lines = mixture.gate_proba(grid), mixture.predict_experts(grid)
    axes[i].scatter(X, y, s=3, color="0.82", linewidths=0)
    for k, color in enumerate(["C3", "C4", "C9"]):
        axes[i].scatter(grid, lines[:, k], s=14, color=color, alpha=gate[:, k], linewidths=0)
    axes[i].set(title=titles[i], xlabel="t, the input", xlim=(0, 1), ylim=(-0.1, 1.1))
    axes[i].title.set_color(f"C{i}")
axes[0].set_ylabel("x, the target")

for i, watch in enumerate(watches):
    steps, bounds = np.array(list(watch.bounds)), np.array(list(watch.bounds.values()))
    line = {"color": f"C{i}", "linewidth": 6, "alpha": 0.6, "solid_capstyle": "round"}
    axes["bound"].plot(steps, bounds, label=f"process {i + 1}", **line)
    axes["bound"].axvline(steps[-1], color=f"C{i}", linestyle=":")
every = np.arange(1, alone.n_iter_ + 1)
axes["bound"].plot(every, alone.lower_bounds_, "k.", markersize=3, label="left alone")
axes["bound"].set(xlabel="EM iteration", ylabel="lower bound, nats per row")
axes["bound"].legend(loc="upper left")

plt.show()
