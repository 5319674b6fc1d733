"""How well `describe_experts` names planted borders.

Simulated tables of 1000 rows and 4 columns, uniform on [-1, 1]. Columns 0 and 1 are cut into
regions along their axes, and each region has its own line in columns 2 and 3 (noise 0.1). A mixture
is fitted from default starts, and its experts are described. Figures: the smallest fidelity of its
experts; how many rows lie between a planted border and the nearest one that the rules name for its
column; and whether a rule names one of the two columns without borders. Rules can be no better than
the gate: its share of rows with the wrong expert is printed beside them.

The target, fidelities of at least 0.9, is printed, not enforced.
"""

import argparse
import warnings

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import confusion_matrix
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsRegressor, describe_experts
from mixexp.gates import EstimatorGate, HierarchicalGate, SoftmaxGate

N_ROWS, N_FEATURES, NOISE = 1000, 4, 0.1
TARGET = 0.9


def slices(X):
    return np.digitize(X[:, 0], [-0.4, 0.3])


def quadrants(X):
    return 2 * (X[:, 0] > 0.2) + (X[:, 1] > -0.3)


def boxes(X):
    return np.where(X[:, 0] <= -0.1, 0, np.where(X[:, 1] <= 0.2, 1, 2))


#: Regions, planted borders by column, and the gate.
PLANTS = {
    "slices, softmax": (slices, {0: (-0.4, 0.3)}, SoftmaxGate()),
    "quadrants, softmax": (quadrants, {0: (0.2,), 1: (-0.3,)}, SoftmaxGate()),
    "quadrants, hierarchy": (quadrants, {0: (0.2,), 1: (-0.3,)}, HierarchicalGate((2, 2))),
    "boxes, softmax": (boxes, {0: (-0.1,), 1: (0.2,)}, SoftmaxGate()),
    "boxes, tree": (
        boxes,
        {0: (-0.1,), 1: (0.2,)},
        EstimatorGate(DecisionTreeClassifier(min_samples_leaf=20, random_state=0)),
    ),
}


def simulated(regions, seed):
    """Rows, targets and labels of regions."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (N_ROWS, N_FEATURES))
    labels = regions(X)
    intercepts = 4.0 * np.arange(labels.max() + 1)
    slopes = rng.normal(0, 2, (labels.max() + 1, 2))
    y = intercepts[labels] + np.sum(slopes[labels] * X[:, 2:], axis=1)
    return X, y + NOISE * rng.standard_normal(N_ROWS), labels


def named_borders(found):
    """The numbers that rules name, by column."""
    borders = {f"x{j}": [] for j in range(N_FEATURES)}
    for expert in found.experts:
        for rule in expert.region.rules if expert.region else []:
            for condition in rule.conditions:
                values, own = condition.distinct, borders[condition.column.name]
                if condition.first > 0:
                    own.append(values[condition.first - 1 : condition.first + 1].mean())
                if condition.last < len(values) - 1:
                    own.append(values[condition.last : condition.last + 2].mean())
    return borders


def measured(plant, seed):
    """Smallest fidelity, rows between borders, columns named in error, wrong rows of the gate."""
    regions, planted, gate = PLANTS[plant]
    X, y, labels = simulated(regions, seed)
    model = MixtureOfExpertsRegressor(n_experts=labels.max() + 1, gate=gate, random_state=seed)
    found = describe_experts(model.fit(X, y), X)
    fidelity = min(expert.region.fidelity for expert in found.experts if expert.region)
    borders = named_borders(found)
    rows = [
        min(
            (np.sum((X[:, j] > min(b, c)) & (X[:, j] <= max(b, c))) for b in borders[f"x{j}"]),
            default=N_ROWS,
        )
        for j, cuts in planted.items()
        for c in cuts
    ]
    others = any(borders[f"x{j}"] for j in range(2, N_FEATURES))
    table = confusion_matrix(labels, model.gate_proba(X).argmax(axis=1))
    wrong = 1 - table[linear_sum_assignment(-table)].sum() / N_ROWS
    return fidelity, max(rows), others, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        "| plant, gate | fidelity, least | median | target | rows from a border, median "
        "| largest | names other columns | wrong rows of the gate, median |"
    )
    print("|" + "---|" * 8)
    for plant in PLANTS:
        results = [measured(plant, seed) for seed in range(options.seeds)]
        fidelity, rows, others, wrong = map(np.array, zip(*results, strict=True))
        met = f"{np.sum(fidelity >= TARGET)} of {len(fidelity)}"
        print(
            f"| {plant} | {fidelity.min():.3f} | {np.median(fidelity):.3f} | {met} "
            f"| {np.median(rows):.0f} | {rows.max()} | {others.sum()} "
            f"| {np.median(wrong):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
