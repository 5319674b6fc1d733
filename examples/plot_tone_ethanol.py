"""
===================================
Does x say which line a row is on?
===================================

In a mixture of regressions every row follows one of several lines, and chance decides which: the
gate is a constant. In a mixture of experts x has a say. Two classic tables of the literature on
mixtures of regressions are fitted in both ways, and BIC compares them.
"""

# %%
# Three questions to two tables
# -----------------------------
# A trained musician tuned a tone while its overtones were stretched (Cohen 1980): sometimes to the
# octave, whatever the stretch, sometimes to the overtones. And an engine burnt ethanol (Brinkman
# 1981); its nitrogen oxides (NOx) are largest at a ratio of fuel to air (equivalence) near 0.9,
# and smaller on both sides. Fitted in one direction, the ratio has two branches at each NOx; in
# the other, NOx first rises and then falls.

import matplotlib.pyplot as plt
import pandas as pd

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import load_ethanol, load_tone
from mixexp.gates import ConstantGate, SoftmaxGate
from mixexp.inspection import ExpertRegionsDisplay

tone, ethanol = load_tone(as_frame=True).frame, load_ethanol(as_frame=True).frame
questions = {
    "tone: tuned": (tone[["stretch_ratio"]], tone["tuned"]),
    "ethanol: equivalence": (ethanol[["nox"]], ethanol["equivalence"]),
    "ethanol: NOx": (ethanol[["equivalence"]], ethanol["nox"]),
}
GATES = {"constant": ConstantGate(), "softmax": SoftmaxGate()}

# %%
# Both gates
# ----------
# A smaller BIC is better. The softmax gate has one more parameter, the slope of its logit. The
# strength of its penalty, which the data set, counts as up to one more.

models, bic = {}, pd.DataFrame(index=questions, columns=GATES, dtype=float)
for question, (X, y) in questions.items():
    for name, gate in GATES.items():
        model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)
        if name == "softmax":  # the same numbers for the same lines
            model.align_experts(models[question, "constant"], X, y)
        models[question, name] = model
        bic.loc[question, name] = model.bic(X, y)
print(bic.round(1))

for question, gate in [("tone: tuned", "constant"), ("ethanol: NOx", "softmax")]:
    print(f"\n{question}, {gate} gate")
    for expert in models[question, gate].experts_:
        print(f"  {expert.intercept_:7.3f} {expert.coef_[0]:+.3f} x")

# %%
# The picture
# -----------
# The strip above each panel is the gate: the probability of each line at x. In the first two
# columns x has little to say about the line: BIC does not pay for the slope of the softmax gate,
# and the dashed mean runs where nothing was measured. In the last column a constant gate has both
# lines everywhere, and is wrong. The softmax gate changes over near 1, at once, and the mean
# follows the rows: there, the experts are the parts of one curve.

LABELS = {
    "stretch_ratio": "stretching ratio",
    "tuned": "tuned tone / fundamental",
    "nox": "NOx, µg/J",
    "equivalence": "equivalence ratio",
}
figure, axes = plt.subplots(2, 3, figsize=(11.5, 7.5), layout="constrained")
for row, gate in zip(axes, GATES, strict=True):
    for ax, (question, (X, y)) in zip(row, questions.items(), strict=True):
        display = ExpertRegionsDisplay.from_estimator(
            models[question, gate], X, y, features=0, ax=ax, scatter_kwargs={"s": 16}
        )
        ax.set(xlabel=LABELS[X.columns[0]], ylabel=LABELS[y.name])
        ax.set_title(f"{gate} gate, BIC {bic.loc[question, gate]:.0f}")
        if ax is not row[-1]:  # one legend a row is enough
            display.legend_.remove()

plt.show()
