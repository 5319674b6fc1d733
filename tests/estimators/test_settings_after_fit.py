"""Parameters that are set after a fit wait for the next one."""

import numpy as np
import pytest
from _guests import kink, regressor
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import StudentT
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")


def answers(model, X, y):
    own = [model.predict(X), model.gate_proba(X), model.predict_experts(X), model.log_density(X, y)]
    if hasattr(model, "predict_proba"):
        return [*own, model.predict_proba(X)]
    distribution = model.predict_distribution(X)
    return [*own, distribution.quantile(0.9), distribution.mean()]


@pytest.mark.filterwarnings("ignore:.*all experts are one model of all rows")
@pytest.mark.parametrize(
    "expert", [None, Ridge(), RandomForestRegressor(2), regressor(n_experts=1, n_init=1)], ids=type
)
def test_parameters_set_after_a_fit_wait_for_the_next(untouched, expert):
    X, y = kink()
    family = StudentT(df=4.0) if expert is None else "gaussian"
    model = regressor(expert, family=family, max_iter=4, tol=1.0).fit(X, y)
    before = answers(model, X, y)
    aic = model.aic(X, y) if expert is None else None
    nested = {"expert__alpha": 1e6} if isinstance(expert, Ridge) else {}
    if expert is None:
        nested["family__df"] = 50.0
    model.set_params(**nested)
    model.set_params(
        expert=None if expert is not None else RandomForestRegressor(),
        gate=ConstantGate(),
        pooling="argmax",
        family="laplace",
        n_experts=7,
        gate_features=[0],
        expert_features=[1],
        noise_expert=True,
        random_state=5,
    )
    for old, new in zip(before, answers(model, X, y), strict=True):
        assert_array_equal(old, new)
    assert aic is None or model.aic(X, y) == aic


def test_pooling_of_a_classifier_and_sparse_input_after_a_change(untouched):
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    X = sp.random(150, 4, 0.5, format="csr", random_state=0)
    y = (np.asarray(X.sum(axis=1)).ravel() + 0.3 * rng.normal(size=150) > 1).astype(int)
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=2, tol=1e-2, random_state=0).fit(X, y)
    before = answers(model, X, y)
    model.set_params(pooling="argmax", expert=GaussianNB())
    for old, new in zip(before, answers(model, X, y), strict=True):
        assert_array_equal(old, new)
    model.set_params(expert=None).fit(X, y)
    gate, proba = model.gate_proba(X), model.predict_experts(X)
    assert_array_equal(model.predict_proba(X), proba[np.arange(150), gate.argmax(axis=1)])


@pytest.mark.parametrize("gate", [SoftmaxGate(), HierarchicalGate((2,))])
@pytest.mark.parametrize("temperature", [-1.0, 0.0, np.nan, "a", None])
def test_a_temperature_set_after_the_fit_is_checked(gate, temperature):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 2))
    y = np.where(X[:, 0] > 0, 2 + X[:, 1], -X[:, 1])
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, n_init=1, random_state=0).fit(X, y)

    def changed():
        model.gate_.set_params(temperature=temperature)
        return model.predict(X)

    with pytest.raises(ValueError, match="temperature must be a number"):
        changed()
