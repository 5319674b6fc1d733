"""How well a hierarchy of gates finds a planted tree of boxes.

`make_box_tree` plants a tree of eight boxes with a line in each; noise is 0.1. A mixture of eight
experts with a gate of three levels of two children is fitted to 3000 rows, and its predictions are
compared with the means that the rows were drawn from: of these rows, which says whether the tree is
recovered, and of 3000 others. The error is a root mean square, in standard deviations of y.

With a sharp border, a row on its wrong side has an error of about 1: misplaced rows are counted
beside it, by the share with an error above 0.3. Rows say where a border is only up to the gap
between them, so that others near it may be misplaced by any method: "from the planted boxes" is the
error of a fit that starts at the truth. The median over seeds has the target, as some trees have
neighbouring boxes with lines that are hardly different.
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
#: Of the rows of the fit, at the gate's default.
TARGET = 0.02
#: Errors beyond this, in standard deviations of y, are of rows on the wrong side of a border.
MISPLACED = 0.3


def errors_of(alpha, n_features, seed, planted=False):
    """The errors of training rows and of others, and the share of others that are misplaced."""
    X, y, truth = make_box_tree(2 * N_ROWS, n_features, random_state=seed, return_truth=True)
    gate = HierarchicalGate((2, 2, 2), alpha=alpha)
    model = MixtureOfExpertsRegressor(n_experts=8, gate=gate, random_state=0)
    if planted:
        model.set_params(init=np.clip(truth.gate_proba[:N_ROWS], 1e-9, 1.0))
    model.fit(X[:N_ROWS], y[:N_ROWS])
    errors = (model.predict(X) - truth.mean) / y.std()
    known, others = np.split(errors, 2)
    both = [np.sqrt(np.mean(each**2)) for each in (known, others)]
    return *both, np.mean(np.abs(others) > MISPLACED)


def main():
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--features", type=int, default=2)
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results = []
    for alpha, planted in ((0.3, False), ("auto", False), ("auto", True)):
        found = np.array(
            [errors_of(alpha, options.features, seed, planted) for seed in range(options.seeds)]
        )
        begun = f"alpha={alpha}" + (", from the planted boxes" if planted else "")
        size = f"{options.features} features"
        for what, values, target in zip(
            ("error", "error of other rows", "misplaced other rows"),
            found.T,
            (TARGET if alpha == "auto" and not planted else None, None, None),
            strict=True,
        ):
            print(f"{what} at {begun}: {np.round(values, 3).tolist()}", flush=True)
            results.append(Result("tree", f"{what} at {begun}", size, values.tolist(), target))
    publish(results, options.json)


if __name__ == "__main__":
    main()
