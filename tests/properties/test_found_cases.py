"""Faults that drawn cases found, each by its smallest case."""

import numpy as np
import pytest
from _draws import build, first_options
from _looks import faults_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._probabilities import sound_proba
from mixexp.gates import SoftmaxGate
from mixexp.routing import ExpertChoice, TopK


@pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")
@pytest.mark.parametrize("unit", [2.0**60, 2.0**500])
@pytest.mark.parametrize("fallback", [False, True])
def test_coefficients_of_variation_do_not_depend_on_units(rng, unit, fallback):
    X = rng.normal(size=(40, 1))
    y = np.exp(X[:, 0]) * rng.gamma(9.0, 1 / 9.0, 40)
    routing = TopK(1, renormalise=False, fallback="mean") if fallback else None
    expert = None if fallback else DecisionTreeRegressor(max_depth=1)
    model = MixtureOfExpertsRegressor(
        expert, 2, family="gamma", routing=routing, init=np.arange(40) % 2, max_iter=3
    ).set_params(gate=SoftmaxGate(alpha=0.3))
    model.set_params(cross_fit="auto" if fallback else False)  # folds go by content
    small = model.fit(X, y).dispersions_
    law = model.predict_distribution(X).std()
    assert_allclose(model.fit(X, unit * y).dispersions_, small, rtol=1e-6)
    assert_allclose(model.predict_distribution(X).std(), unit * law, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_experts_may_lose_all_rows_to_noise(rng, family):
    X, y = rng.normal(size=(30, 2)), np.full(30, 2.0)  # noise of one count explains it for certain
    model = MixtureOfExpertsRegressor(
        n_experts=1,
        family=family,
        noise_expert=True,
        assignment="hard",
        routing=ExpertChoice(0.8),
        random_state=0,
    )
    assert np.isfinite(model.fit(X, y).predict(X)).all()


def test_joint_steps_of_a_shared_expert_with_tiny_dispersions():
    tiny = {"scale": "tiny", "target": "tiny", "n": 56, "d": 4, "seed": 5544}
    chosen = {**first_options("numbers"), **tiny, "n_experts": 2, "shared": True}
    assert faults_of(build(chosen)) == []  # 1 / dispersion² overflows


class _InFloat32:
    """As GaussianNB of float32 rows: exponentials of rounded logarithms in the thousands."""

    classes_ = np.arange(2)

    def predict_proba(self, X):
        return np.float32([[0.7, 0.3018]] * len(X))


def test_probabilities_of_single_precision_are_off_by_its_rounding():
    rows = np.zeros((3, 1))
    assert_allclose(sound_proba(_InFloat32(), rows).sum(axis=1), 1.0, rtol=1e-12)
    double = _InFloat32()
    double.predict_proba = lambda X: np.array([[0.7, 0.3018]] * len(X))
    with pytest.raises(ValueError, match="sum to 1 in every row"):
        sound_proba(double, rows)
    double.predict_proba = lambda X: np.array([[0.7, 0.30016]] * len(X))
    assert_allclose(sound_proba(double, rows).sum(axis=1), 1.0, rtol=1e-12)


#: Options of cases that had a fault, beside the first value of each.
FOUND = {
    "naive Bayes far from its rows": {
        **{"kind": "classes", "n_experts": 4, "columns": "constant", "gate": "classifier"},
        **{"n": 64, "d": 2, "seed": 24569},
    },
    "naive Bayes of float32 far from its rows": {
        **{"n_experts": 4, "columns": "constant", "dtype": "float32", "gate": "classifier"},
        **{"assignment": "hard", "n": 76, "d": 3, "seed": 11765},
    },
    "naive Bayes without a variance": {
        **{"columns": "offset", "scale": "huge", "gate": "classifier", "n": 20, "seed": 46017}
    },
    "penalties of shared coefficients that are rounding": {
        **{"n_experts": 2, "columns": "one far row", "scale": "huge", "weights": "tiny"},
        **{"experts": "penalised", "init": "tree", "assignment": "stochastic", "shared": True},
        **{"expert_basis": "quantile", "target": "ties", "n": 57, "seed": 3683},
    },
    "a shared law beside one far below it": {
        **{"weights": "uneven", "shared": True, "family": "gamma", "n": 20, "d": 3, "seed": 37286}
    },
    "residuals whose squares overflow": {
        **{"columns": "one far row", "experts": "linear", "expert_basis": "quantile"},
        **{"family": "laplace", "target": "huge", "n": 20, "d": 3, "seed": 49387},
    },
    "a dispersion whose square overflows": {
        **{"n_experts": 3, "gate": "auto alpha", "init": "given", "shared": True},
        **{"target": "huge", "n": 20, "d": 3, "seed": 46980},
    },
    "an exact fit to tiny targets": {
        **{"experts": "linear", "expert_basis": "spline", "target": "tiny", "n": 10, "d": 2},
        **{"seed": 0, "n_experts": 1},
    },
    "columns whose squares overflow": {
        **{"columns": "one far row", "scale": "huge", "experts": "network", "n": 20, "seed": 10992}
    },
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FOUND)
def test_found_cases(name):
    options = FOUND[name]
    assert faults_of(build({**first_options(options.get("kind", "numbers")), **options})) == []


class _Tempered(GaussianNB):
    """Of its own probabilities, rounded; one far row has none that add up."""

    def predict_proba(self, X):
        proba = np.exp(self.predict_log_proba(X) / 10)
        return (proba / proba.sum(axis=1, keepdims=True)).round(6)


def test_probabilities_of_a_subclass_are_its_own(rng):
    X = rng.normal(size=(80, 2))
    own = _Tempered().fit(X, X[:, 0] > 0)
    assert_allclose(sound_proba(own, X), own.predict_proba(X), atol=2e-6)


def test_only_rows_far_away_are_computed_anew(rng):
    X = np.column_stack([rng.normal(size=80), np.zeros(80)])
    plain = GaussianNB().fit(X, X[:, 0] > 0)
    mixed = np.vstack([X, [[0.1, 1e6]]])  # a column that was constant
    assert abs(plain.predict_proba(mixed)[-1].sum() - 1) > 1e-3
    found = sound_proba(plain, mixed)
    assert_array_equal(found[:-1], sound_proba(plain, X))
    assert_allclose(found[-1].sum(), 1.0)
