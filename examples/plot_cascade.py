"""
===========================
A small model answers first
===========================

Most rows are easy. A cascade lets a cheap model, the draft, answer them, and asks a costly one only
where the draft is unsure: here, a mixture of forests. Where "unsure" begins is calibrated in `fit`:
with 95 % confidence, at most a given share of the draft's answers differ from the costly model's.
"""

# %%
# Two readers of digits
# ---------------------
# Handwritten digits of 8 by 8 pixels. The draft is a linear classifier that sees means of 2 by 2
# pixels only. The full model is a mixture of two forests, of all pixels. With a given penalty of
# the gate it has fewer errors here than with one that sets itself.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mixexp import CascadeClassifier, MixtureOfExpertsClassifier
from mixexp.gates import SoftmaxGate
from mixexp.routing import TopK


def coarse(X):
    """Return pictures of 4 by 4 pixels from pictures of 8 by 8."""
    return X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)


X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
draft = make_pipeline(FunctionTransformer(coarse), LinearDiscriminantAnalysis())
forest = RandomForestClassifier(50, random_state=0)
gate = SoftmaxGate(alpha=0.3)
full = MixtureOfExpertsClassifier(forest, n_experts=2, gate=gate, routing=TopK(2), random_state=0)
cascade = CascadeClassifier(draft, full, max_disagreement=0.02, cv=3, random_state=0)
cascade.fit(X_train, y_train)

by_draft, by_full = cascade.draft_.predict(X_test), cascade.full_.predict(X_test)
answers, accepted = cascade.predict(X_test, return_accepted=True)
for name, given in {"draft": by_draft, "full model": by_full, "cascade": answers}.items():
    print(f"{name:11s} {np.mean(given != y_test):.1%} errors")
print(f"{np.mean(~accepted):.0%} of the digits reach the full model")
print(
    f"{np.mean((by_draft != by_full)[accepted]):.1%} of the draft's answers differ from its answers"
)

# %%
# The picture
# -----------
# Left: errors on new digits for every threshold that could have been chosen. A cascade that picks
# rows by chance would be on the grey line. The curve falls much faster, as the draft knows where it
# is weak; the calibrated threshold (dot) is on its flat part. Right: the digits of which the draft
# is surest, and those where the models differ and it is least sure.

top = np.sort(cascade.draft_.predict_proba(X_test), axis=1)
order = np.argsort(top[:, -1] - top[:, -2])  # least sure first
wrong_draft, wrong_full = (by_draft != y_test)[order], (by_full != y_test)[order]
n = len(order)
asked = np.arange(n + 1) / n
errors = np.append(0, wrong_full.cumsum()) + wrong_draft.sum() - np.append(0, wrong_draft.cumsum())

figure = plt.figure(figsize=(11, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
ax = left.subplots()
ax.plot(asked, errors / n, color="C0", linewidth=2, label="least sure first")
ax.plot([0, 1], errors[[0, -1]] / n, color="0.6", linestyle="--", label="rows at random")
here = np.mean(~accepted), np.mean(answers != y_test)
ax.plot(*here, "o", color="C3", markersize=10, label="as calibrated")
ax.annotate("draft alone", (0, errors[0] / n), (12, -4), textcoords="offset points")
ax.annotate("full model alone", (1, errors[-1] / n), (-95, -16), textcoords="offset points")
ax.set(xlabel="share of rows that reach the full model", ylabel="share of errors", ylim=(0, None))
ax.legend(loc="upper right")

panels = right.subplots(2, 5)
differ = order[by_draft[order] != by_full[order]]
for row, digits, title in [(panels[0], order[-5:], "surest"), (panels[1], differ[:5], "differ")]:
    row[0].set_ylabel(title, fontsize="large")
    for ax, i in zip(row, digits, strict=True):
        ax.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"draft: {by_draft[i]}\nfull: {by_full[i]}", fontsize="medium")

plt.show()
