"""Even loads: from a gate that gives nearly all rows to one expert."""

import numpy as np
import pytest
from _routed import pieces, regressor
from numpy.testing import assert_allclose

from mixexp.routing import Switch, TopK
from mixexp.routing._balance import bias_steps, log_prices, priced
from mixexp.routing._base import largest

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    X, y, _ = pieces(800, noise=1.0)
    return X[:400], y[:400], X[400:], y[400:]


#: One expert has 97 % of every row, and the others differ a little.
UNEVEN = np.column_stack(
    [np.full(400, 0.97), 0.03 * np.random.default_rng(0).dirichlet(np.ones(3), 400)]
)


def fitted(router, balance, data, init):
    router = type(router)(**{**router.get_params(), "balance": balance})
    model = regressor(routing=router, init=init, max_iter=60, on_collapse="keep")
    return model.fit(*data[:2])


def smallest_share(model):
    """Return the smallest load, in fair shares."""
    loads = model.routing_.loads_
    return loads.min() / loads.mean()


@pytest.mark.parametrize("balance", ["bias", "prior", "assignment"])
@pytest.mark.parametrize("router", [TopK(1), TopK(2), Switch()], ids=str)
def test_every_expert_has_half_its_share(data, router, balance):
    model = fitted(router, balance, data, UNEVEN)
    assert smallest_share(model) >= 0.5
    if balance == "bias":
        assert np.any(model.routing_.bias_ != 0)
        assert abs(model.routing_.bias_.mean()) < 1e-12
    elif balance == "assignment" and router.k == 2:
        assert np.any(model.routing_.log_prices_ != 0)


def close_lines(n, rng):
    """Return lines in the quarters of a square whose slopes differ by less than the noise."""
    X = rng.uniform(-1, 1, (n, 2))
    slopes = np.array([[0.4, 0.0], [0.24, 0.16], [0.16, -0.16], [0.0, 0.08]])
    z = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    return X, np.sum(X * slopes[z], axis=1) + 0.5 * rng.standard_normal(n)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", [1, 3])
def test_a_planted_lazy_gate(k, seed):
    rng = np.random.default_rng(seed)
    X, y = close_lines(600, rng)
    new = close_lines(4000, rng)
    start = 0.03 * rng.dirichlet(np.ones(4), 600)
    start[:, 0] += 0.97
    lazy, *even = (
        regressor(
            routing=TopK(k, balance=balance), init=start, max_iter=100, acceleration=None
        ).fit(X, y)
        for balance in (None, "bias", "prior", "assignment")
    )
    shares = np.bincount(lazy.route(X).argmax(axis=1), minlength=4) / 600
    assert shares.max() >= 0.8
    for model in even:
        assert smallest_share(model) >= 0.5
        assert model.log_density(*new).mean() >= lazy.log_density(*new).mean()


def test_biases_even_out_loads():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 500)) + np.array([2.0, 1.0, 0.0, -1.0])[:, None]
    proba = np.exp(scores) / np.exp(scores).sum(axis=0)
    weight = rng.integers(1, 4, 500).astype(float)
    for w in (None, weight):
        bias = bias_steps(proba, np.zeros(4), w, lambda s: largest(s, 2))
        mask = largest(proba + bias[:, None], 2)
        loads = mask.sum(axis=1) if w is None else mask @ w
        assert_allclose(loads, loads.mean(), rtol=0.15)
        assert abs(bias.mean()) < 1e-12
        bias = bias_steps(proba, bias, w, lambda s: largest(s, 2))  # as in the next pass
        mask = largest(proba + bias[:, None], 2)
        loads = mask.sum(axis=1) if w is None else mask @ w
        assert_allclose(loads, loads.mean(), rtol=0.05)


def test_loads_are_weighted():
    X, y, _ = pieces(300)
    weight = np.where(X[:, 0] < 0, 4.0, 1.0)
    model = regressor(routing=Switch(1.0)).fit(X, y, weight)
    loads = model.routing_.loads_
    assert_allclose(loads.sum(), weight.sum())
    capacity = model.routing_.capacity_
    assert capacity == np.ceil(weight.sum() / 4)
    assert np.all(loads < capacity + 4)
    fractional = regressor(routing=Switch(1.0)).fit(X, y, weight * 0.75)
    assert fractional.routing_.capacity_ == pytest.approx(0.75 * weight.sum() / 4)


def test_prices_stay_numbers_where_one_expert_has_all():
    proba = np.array([[1e-320, 0.0], [1.0, 1.0], [0.0, 0.0]])
    prices = log_prices(proba, None)
    assert np.all(np.isfinite(prices)) and prices[1] == prices.min()
    scores = priced(proba, np.array([0.0, -708.0, 0.0]))
    assert np.all(np.isfinite(scores)) and np.all(scores.max(axis=0) > 0)


def test_prices_even_out_loads():
    proba = np.random.default_rng(0).dirichlet([8.0, 1.0, 1.0], 500).T
    shares = priced(proba, log_prices(proba, None))
    shares /= shares.sum(axis=0)
    assert_allclose(shares.sum(axis=1), 500 / 3, rtol=0.03)


def test_rows_of_which_all_experts_are_cheap_keep_their_odds():
    proba = np.array([[0.0, 0.5], [0.7, 0.2], [0.3, 0.3]])
    found = priced(proba, np.array([5.0, -995.0, -995.0]))  # exp(−1000) is 0
    assert_allclose(found, [[0.0, 0.5], [1.0, 0.0], [3 / 7, 0.0]], rtol=1e-12)
