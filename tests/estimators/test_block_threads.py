"""Fits and predictions do not depend on the number of threads: not a bit."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import softmax_gated
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators import assembly, new_rows
from mixexp._rows import in_order as in_order_module
from mixexp._rows import passes
from mixexp._rows import rows as rows_module
from mixexp.gates import ConstantGate, EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import TopK

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")

N_ROWS = 450


@pytest.fixture
def begun(monkeypatch):
    """Have `n_jobs` mean threads on any machine and for few rows; collect the threads begun."""
    begun = []
    begin = in_order_module._begin_thread

    def watched(*state):
        begun.append(threading.current_thread().name)
        begin(*state)

    monkeypatch.setattr(in_order_module, "_begin_thread", watched)
    for module in (assembly, new_rows):
        monkeypatch.setattr(module, "allowed_threads", lambda n_jobs: n_jobs)
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 64)
    monkeypatch.setattr(passes, "BLOCKS_PER_THREAD", 1)
    monkeypatch.setattr(new_rows, "PREDICTION_ROWS", 64)
    return begun


def numbers(family):
    rng = np.random.default_rng(3)
    X, y, _, _ = softmax_gated(rng, N_ROWS, 3, 3)
    if family in ("poisson", "negative_binomial", "zeros"):
        y = rng.poisson(np.exp(np.clip(y / 4, -3, 3))).astype(float)
    elif family == "binomial":
        y = rng.binomial(5, 1 / (1 + np.exp(-y)))
        y = np.column_stack([y, 5 - y]).astype(float)
    elif family == "gamma":
        y = np.exp(np.clip(y / 4, -3, 3)) * rng.gamma(5.0, 0.2, N_ROWS)
    return X, y


def regressor(**options):
    usual = {"n_experts": 3, "n_init": 1, "max_iter": 3, "tol": 0.0, "random_state": 0}
    return MixtureOfExpertsRegressor(**usual | {"gate": SoftmaxGate(alpha=0.3)} | options)


def look(model, X, y, begun, **of_fit):
    """Return the fit and its predictions as bytes, for three numbers of threads."""
    found = []
    for n_jobs in (1, 2, 3):
        begun.clear()
        fitted = clone(model).set_params(n_jobs=n_jobs).fit(X, y, **of_fit)
        in_fit = len(begun)
        answers = [fitted.predict(X), fitted.gate_proba(X), fitted.log_density(X, y)]
        assert (in_fit > 0) == (len(begun) > in_fit) == (n_jobs > 1)
        answers += [fitted.lower_bounds_, fitted.usage_, *(e.coef_ for e in fitted.experts_)]
        found.append([np.asarray(each).tobytes() for each in answers])
    assert not [t for t in threading.enumerate() if t.name.startswith("mixexp-blocks")]
    return found


MODELS = {
    "gaussian": regressor(),
    "several starts": regressor(n_init=2),
    "penalties": regressor(gate=SoftmaxGate(), n_experts=2),
    "student_t": regressor(family="student_t"),
    "laplace": regressor(family="laplace"),
    "poisson": regressor(family="poisson"),
    "gamma": regressor(family="gamma"),
    "negative_binomial": regressor(family="negative_binomial"),
    "zeros": regressor(family="poisson", zero_expert=True),
    "binomial": regressor(family="binomial"),
    "constant": regressor(gate=ConstantGate()),
    "balanced": regressor(gate=SoftmaxGate(usage_prior=5.0)),
    "full": regressor(gate=GaussianGate()),
    "tied": regressor(gate=GaussianGate(covariance_type="tied")),
    "diag": regressor(gate=GaussianGate(covariance_type="diag")),
    "tree": regressor(gate=HierarchicalGate(), n_experts=4),
    "noise": regressor(noise_expert=True),
    "top-2": regressor(routing=TopK(2)),
    "hard": regressor(assignment="hard"),
    "stochastic": regressor(assignment="stochastic"),
    "own columns": regressor(gate_features=[0], expert_features=[[0, 1], [1, 2], [0, 2]]),
}


@pytest.mark.parametrize("name", MODELS)
def test_fits_have_the_same_bits(begun, untouched, name):
    one, *more = look(MODELS[name], *numbers(name), begun)
    assert more == [one, one]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_have_the_same_bits(begun, n_classes):
    X, y = numbers("gaussian")
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model = MixtureOfExpertsClassifier(
        LogisticRegression(), n_experts=3, n_init=1, max_iter=3, tol=0.0, random_state=0
    )
    one, *more = look(model, X, labels, begun)
    assert more == [one, one]


@pytest.mark.parametrize("kind", ["sparse", "weights", "groups", "missing", "labels"])
def test_kinds_of_input_have_the_same_bits(begun, rng, kind):
    X, y = numbers("gaussian")
    of_fit = {}
    if kind == "sparse":
        X = sp.csr_matrix(np.where(np.abs(X) > 0.5, X, 0.0))
    elif kind == "weights":
        of_fit["sample_weight"] = rng.integers(4, size=N_ROWS).astype(float)
    elif kind == "groups":
        of_fit["groups"] = np.arange(N_ROWS) // 3
        X = np.repeat(X[::3], 3, axis=0)[:N_ROWS]
    elif kind == "missing":
        X[rng.random(N_ROWS) < 0.1, 2] = np.nan  # the gate takes it, linear experts do not
    else:
        of_fit["expert_labels"] = np.where(rng.random(N_ROWS) < 0.1, 1, -1)
    model = regressor(expert_features=[0, 1] if kind == "missing" else None)
    one, *more = look(model, X, y, begun, **of_fit)
    assert more == [one, one]


@pytest.mark.parametrize("memory", [0.02, 0.05])
def test_what_blocks_keep_does_not_change_the_bits(begun, memory):
    with config_context(working_memory=memory):
        one, *more = look(regressor(), *numbers("gaussian"), begun)
    assert more == [one, one]


@pytest.mark.parametrize(
    "options",
    [
        {"expert": DecisionTreeRegressor(max_depth=2, random_state=0)},
        {"gate": EstimatorGate(GaussianNB())},
        {"shared_expert": Ridge()},
        {"routing": TopK(2), "expert": DecisionTreeRegressor(max_depth=2, random_state=0)},
    ],
    ids=["experts", "gate", "shared", "routed experts"],
)
def test_estimators_predict_one_block_after_another(begun, options):
    X, y = numbers("gaussian")
    model = regressor(n_jobs=2, **options).fit(X, y)
    model.predict(X)
    assert not begun


class Failing(SoftmaxGate):
    """A gate that fails in a block of its fit, or of a prediction."""

    def __init__(self, alpha=1e-3, error=ValueError):
        super().__init__(alpha)
        self.error = error

    def log_prob(self, block):
        if (
            block.n_rows
            and block.start >= 192
            and threading.current_thread().name.startswith("mix")
        ):
            raise self.error(f"rows from {block.start}")
        return super().log_prob(block)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_a_block_is_the_callers(begun, untouched, error):
    X, y = numbers("gaussian")
    with pytest.raises(error, match="rows from 192"):
        regressor(gate=Failing(error=error), n_jobs=2).fit(X, y)
    assert begun
    assert not [t for t in threading.enumerate() if t.name.startswith("mixexp-blocks")]
