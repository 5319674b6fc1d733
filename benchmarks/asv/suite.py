"""Times and peak memory of fits and predictions, in the form of airspeed velocity (asv).

Point `benchmark_dir` of an asv configuration to it. Sizes are small, as asv repeats; ratios
to other programs are in the scripts of the folder above.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.tree import DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import TopK


def lines(n, d=10, k=4):
    """Return X, numbers, and classes, of k lines between planes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    z = (X @ rng.standard_normal((d, k))).argmax(axis=1)
    y = np.einsum("nd,nd->n", X, rng.standard_normal((k, d))[z]) + 0.3 * rng.standard_normal(n)
    return X, y, np.digitize(y, np.quantile(y, [0.33, 0.67]))


class _OneThread:
    """BLAS has one thread from `setup` to `teardown`; convergence is not what is measured."""

    n_rows = 20_000

    def setup(self, *params):
        self.limits = threadpool_limits(1)
        self.filters = warnings.catch_warnings()
        self.filters.__enter__()
        warnings.simplefilter("ignore", ConvergenceWarning)
        self.X, self.y, self.classes = lines(self.n_rows)
        self.prepare(*params)

    def prepare(self, *params):
        """Make what is timed."""

    def teardown(self, *params):
        self.filters.__exit__(None, None, None)
        self.limits.restore_original_limits()


class Iterations(_OneThread):
    """Twenty EM iterations from given regions, by gate."""

    gates = {"softmax": SoftmaxGate(), "tree": HierarchicalGate(), "gaussian": GaussianGate()}
    params = list(gates)
    param_names = ["gate"]

    def prepare(self, gate):
        self.model = MixtureOfExpertsRegressor(
            gate=self.gates[gate],
            init=np.arange(self.n_rows) % 4,
            max_iter=20,
            tol=0.0,
            random_state=0,
        )

    def time_fit(self, gate):
        self.model.fit(self.X, self.y)

    def peakmem_fit(self, gate):
        self.model.fit(self.X, self.y)


class DefaultFits(_OneThread):
    """Fits with everything at its default."""

    n_rows = 2_000

    def time_numbers(self):
        MixtureOfExpertsRegressor(random_state=0).fit(self.X, self.y)

    def time_classes(self):
        MixtureOfExpertsClassifier(random_state=0).fit(self.X, self.classes)

    def time_trees(self):
        expert = DecisionTreeRegressor(max_depth=4, random_state=0)
        MixtureOfExpertsRegressor(expert, max_iter=5, random_state=0).fit(self.X, self.y)


class Predictions(_OneThread):
    """Answers for rows, dense and routed."""

    params = [None, 2]
    param_names = ["experts per row"]

    def prepare(self, k):
        options = {"init": np.arange(self.n_rows) % 4, "max_iter": 3, "random_state": 0}
        options["routing"] = None if k is None else TopK(k)
        self.regressor = MixtureOfExpertsRegressor(**options).fit(self.X, self.y)
        self.classifier = MixtureOfExpertsClassifier(**options).fit(self.X, self.classes)

    def time_predict(self, k):
        self.regressor.predict(self.X)

    def time_predict_one_row(self, k):
        self.regressor.predict(self.X[:1])

    def time_predict_proba(self, k):
        self.classifier.predict_proba(self.X)

    def time_log_density(self, k):
        self.regressor.log_density(self.X, self.y)

    def peakmem_predict_proba(self, k):
        self.classifier.predict_proba(self.X)
