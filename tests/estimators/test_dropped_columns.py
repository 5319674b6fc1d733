"""Experts with columns of their own: the columns follow the experts that are left."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")

COLUMNS = [[2], [0], [0, 1]]


def problem(rng, n=200):
    """Return two lines in columns 0 and 1, and a column 2 that says nothing."""
    X = rng.standard_normal((n, 3))
    y = np.where(X[:, 1] > 0, 5 + 2 * X[:, 0], -5 - X[:, 0]) + 0.05 * rng.standard_normal(n)
    return X, y, (X[:, 1] > 0).astype(int)


def one_dropped(kind, rng, **parameters):
    """Return a mixture whose first expert, of column 2 alone, was dropped, and its data."""
    X, y, side = problem(rng)
    resp = np.full((len(X), 3), 1e-9)
    resp[np.arange(len(X)), 1 + side] = 1 - 2e-9
    model = kind(
        n_experts=3,
        init=resp,
        expert_features=COLUMNS,
        gate_features=COLUMNS,
        on_collapse="drop",
        gate=SoftmaxGate(alpha=0.3),
        max_iter=50,
        tol=1e-3,
    ).set_params(**parameters)
    if kind is MixtureOfExpertsClassifier:
        y = ((np.abs(y) > 5) == side).astype(int)  # a line on each side
    with pytest.warns(UserWarning, match="dropped"):
        model.fit(X, y)
    assert len(model.experts_) == 2
    return model, X, y


@pytest.mark.parametrize(
    "kind, parameters",
    [
        (MixtureOfExpertsRegressor, {}),
        (MixtureOfExpertsRegressor, {"noise_expert": True}),
        (MixtureOfExpertsRegressor, {"expert": make_pipeline(LinearRegression())}),
        (MixtureOfExpertsClassifier, {}),
        (MixtureOfExpertsClassifier, {"expert": LogisticRegression()}),
    ],
    ids=str,
)
def test_columns_of_a_dropped_expert_are_no_longer_asked_for(kind, parameters, rng):
    model, X, y = one_dropped(kind, rng, **parameters)
    assert [expert.n_features_in_ for expert in model.experts_] == [1, 2]
    unknown = X.copy()
    unknown[:, 2] = np.nan
    assert_array_equal(model.predict(unknown), model.predict(X))
    groups = np.arange(len(X)) // 2
    same = X.copy()
    same[1::2, :2] = same[::2, :2]
    density = model.log_density(same, y, groups=groups)
    assert np.all(np.isfinite(density))
    unknown[3, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        model.predict(unknown)


def test_columns_follow_another_order(rng):
    model, X, y = one_dropped(MixtureOfExpertsRegressor, rng)
    before = model.predict(X)
    resp = model.responsibilities(X, y)
    model.align_experts(resp[:, ::-1], X, y)
    assert [expert.n_features_in_ for expert in model.experts_] == [2, 1]
    for columns in model._model.columns:
        assert [own.tolist() for own in columns] == [[0, 1], [0]]
    np.testing.assert_allclose(model.predict(X), before)
