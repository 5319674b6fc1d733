"""Where noise is low the evidence leaves hardly a penalty, of several experts too."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, RidgeCV

from mixexp import MixtureOfExpertsRegressor

NOISE = [0.1, 0.01, 0.001]


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("n_experts", [2, 4])
@pytest.mark.filterwarnings("ignore:.*experts are left with hardly any rows")
def test_a_line(noise, n_experts):
    """Its error was up to six times that of a line, and its dispersion a hundred times."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1400, 3))
    y = X @ [1.0, 2.0, 3.0] + 4 + noise * rng.standard_normal(1400)
    model = MixtureOfExpertsRegressor(n_experts=n_experts, random_state=0).fit(X[:400], y[:400])
    line = LinearRegression().fit(X[:400], y[:400])
    error, least = (np.std(y[400:] - each.predict(X[400:])) for each in (model, line))
    assert error < 1.03 * least
    low, high = model.predict_interval(X[400:])
    assert 0.85 < np.mean((y[400:] >= low) & (y[400:] <= high)) < 0.95


@pytest.mark.parametrize("noise", NOISE[:2])
def test_two_lines(noise):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    y = 3 * np.abs(X[:, 0]) + X[:, 1] + noise * rng.standard_normal(600)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    assert_allclose(model.dispersions_, noise, rtol=0.15)
    assert_allclose(np.std(y - model.predict(X)), noise, rtol=0.15)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(100, 50), (200, 50), (300, 100)])
@pytest.mark.parametrize("n_experts", [1, 4])
@pytest.mark.filterwarnings("ignore:.*(experts|bound)")
def test_one_line_of_many_columns(n_rows, n_columns, n_experts):
    """New rows lie in their intervals: four experts had 72 to 80 %, or 99 % and a worse line."""
    covered = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n_rows + 1000, n_columns))
        y = 10 * X @ rng.standard_normal(n_columns) + 20 * rng.standard_normal(len(X))
        train, new = slice(0, n_rows), slice(n_rows, None)
        model = MixtureOfExpertsRegressor(n_experts=n_experts, random_state=0)
        model.fit(X[train], y[train])
        low, high = model.predict_interval(X[new])
        covered.append(np.mean((y[new] >= low) & (y[new] <= high)))
        ridge = RidgeCV(np.logspace(-3, 3, 13)).fit(X[train], y[train])
        error, usual = (np.std(y[new] - each.predict(X[new])) for each in (model, ridge))
        assert error < 1.05 * usual
    assert 0.83 < np.mean(covered) < 0.96


@pytest.mark.filterwarnings("ignore:.*(experts|bound)")
def test_one_expert_is_not_bounded_under_another_name():
    """As one expert alone is not: the range of the training targets is no limit of a line."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.2 * rng.standard_normal(500)
    model = MixtureOfExpertsRegressor(n_experts=4, random_state=0).fit(X, y)
    assert model.usage_.max() > 0.999
    far = 10 * X[:5]
    assert_allclose(model.predict(far), far @ [1.0, 2.0, 3.0], atol=0.6)
    model.set_params(bound_predictions=True).fit(X, y)
    assert model.predict(far).max() <= y.max()


@pytest.mark.filterwarnings("ignore:.*(experts|bound|dispersion)")
def test_an_expert_of_a_few_rows_at_the_edge_is_bounded():
    """It has all rows beyond: predictions there went to ten times the largest target."""
    rng = np.random.default_rng(1)
    x = np.append(rng.standard_normal(3000), [4.0, 4.1, 4.2, 4.3])
    y = np.append(x[:3000], 10 + 40 * (x[3000:] - 4)) + 0.05 * rng.standard_normal(len(x))
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(x[:, None], y)
    assert model.usage_.min() < 0.01
    assert model.predict([[10.0]])[0] <= y.max() + 0.25 * np.ptp(y)
