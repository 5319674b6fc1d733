"""How well a hierarchy of gates finds a planted tree of boxes.

`make_box_tree` plants a tree of eight boxes with a line in each; noise is 0.1. A mixture of eight
experts with a gate of three levels of two children is fitted to 3000 rows, and its predictions of
3000 others are compared with the means that they were drawn from. The error is a root mean square,
in standard deviations of y.

With a sharp border, a row on its wrong side has an error of about 1: misplaced rows are counted
beside it, by the share with an error above 0.3. The median over seeds has the target, as some
trees have neighbouring boxes with lines that are hardly different, or end in another optimum.
"""

import argparse
import warnings

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _results import Result, add_json, publish
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import make_box_tree
from mixexp.gates import HierarchicalGate

N_ROWS = 3000
#: Targets by the penalty of the gate.
TARGETS = {0.3: 0.08, "auto": 0.02}
#: Errors beyond this, in standard deviations of y, are of rows on the wrong side of a border.
MISPLACED = 0.3


def errors_of(alpha, n_features, seed):
    """The error, and the share of misplaced rows."""
    X, y, truth = make_box_tree(2 * N_ROWS, n_features, random_state=seed, return_truth=True)
    gate = HierarchicalGate((2, 2, 2), alpha=alpha)
    model = MixtureOfExpertsRegressor(n_experts=8, gate=gate, random_state=0)
    model.fit(X[:N_ROWS], y[:N_ROWS])
    errors = (model.predict(X[N_ROWS:]) - truth.mean[N_ROWS:]) / y.std()
    return np.sqrt(np.mean(errors**2)), np.mean(np.abs(errors) > MISPLACED)


def main():
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--features", type=int, default=2)
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results = []
    for alpha, target in TARGETS.items():
        found = np.array(
            [errors_of(alpha, options.features, seed) for seed in range(options.seeds)]
        )
        print(f"alpha={alpha}: errors {np.round(found[:, 0], 3).tolist()}", flush=True)
        what, size = f"error at alpha={alpha}", f"{options.features} features"
        results.append(Result("tree", what, size, found[:, 0].tolist(), target))
        share = found[:, 1].tolist()
        results.append(Result("tree", f"misplaced rows at alpha={alpha}", size, share))
    publish(results, options.json)


if __name__ == "__main__":
    main()
