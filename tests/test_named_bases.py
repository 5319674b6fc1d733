"""The bases that have names, as transformers of their own."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import SplineTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from mixexp.bases import QuantileBasis, SplineBasis

BASES = [QuantileBasis(), SplineBasis()]


@parametrize_with_checks(BASES)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return np.column_stack([np.exp(rng.standard_normal(60)), rng.integers(0, 5, 60)])


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: type(basis).__name__)
class TestBoth:
    def test_weights_are_frequencies(self, basis, X):
        weight = np.random.default_rng(1).integers(0, 4, len(X))
        weighted = clone(basis).fit(X, sample_weight=weight)
        shuffled = np.random.default_rng(2).permutation(np.repeat(X, weight, axis=0))
        assert_array_equal(weighted.transform(X), clone(basis).fit(shuffled).transform(X))

    def test_missing_values_stay_and_teach_nothing(self, basis, X):
        holes = X.copy()
        holes[::5, 0] = np.nan
        fitted = clone(basis).fit(holes)
        complete = clone(basis).fit(np.delete(X, np.s_[::5], axis=0))
        mine = [name.endswith(("x0", "(x0)")) for name in fitted.get_feature_names_out()]
        output = fitted.transform(holes)
        assert np.isnan(output[::5][:, mine]).all()
        assert np.isfinite(output[:, ~np.array(mine)]).all()
        assert_array_equal(fitted.transform(X)[:, mine], complete.transform(X)[:, mine])

    def test_constant_and_binary_columns_stay_alone(self, basis):
        X = np.array([[1.0, 0.0, 5.0], [1.0, 1.0, np.nan], [1.0, 1.0, np.nan]])
        fitted = clone(basis).fit(X)
        assert_array_equal(fitted.transform(X), X)
        assert fitted.get_feature_names_out().tolist() == ["x0", "x1", "x2"]

    def test_a_column_without_values(self, basis):
        X = np.array([[np.nan, 1.0], [np.nan, 2.0], [np.nan, 3.0]])
        assert np.isnan(clone(basis).fit(X).transform(X)[:, 0]).all()

    def test_names_of_a_frame(self, basis, X):
        fitted = clone(basis).fit(pd.DataFrame(X, columns=["size", "rooms"]))
        names = fitted.get_feature_names_out()
        assert len(names) == fitted.transform(pd.DataFrame(X, columns=["size", "rooms"])).shape[1]
        assert {name.strip(")").split("(")[-1] for name in names} == {"size", "rooms"}

    def test_far_values(self, basis, X):
        far = clone(basis).fit(X).transform([[1e308, -1e308]])
        assert not np.isnan(far).any()


def test_quantile_map_is_the_mid_distribution():
    X = np.array([[1.0], [2.0], [2.0], [2.0], [10.0]])
    fitted = QuantileBasis().fit(X)
    rank = fitted.transform([[0.0], [1.0], [1.5], [2.0], [6.0], [10.0], [11.0]])[:, 1]
    assert_allclose(rank, [0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9], atol=1e-15)
    column = np.random.default_rng(0).standard_normal(501)
    share = QuantileBasis().fit(column[:, None]).transform(column[:, None])[:, 1]
    assert_allclose(share[np.argsort(column)], (np.arange(501) + 0.5) / 501, atol=1e-15)


def test_few_quantiles_keep_the_ends_and_the_shape():
    x = np.random.default_rng(0).exponential(size=5000)[:, None]
    whole, few = QuantileBasis(10_000).fit(x), QuantileBasis(50).fit(x)
    assert len(few.values_[0]) == 50
    ends = np.array([[x.min()], [x.max()]])
    assert_array_equal(whole.transform(ends), few.transform(ends))
    difference = np.abs(whole.transform(x) - few.transform(x))[:, 1]
    assert 0 < difference.max() < 1 / 50


def test_knots_are_weighted_quantiles():
    x = np.arange(101.0)[:, None]
    even = SplineBasis(n_knots=3, degree=1).fit(x)
    assert_allclose(even.knots_[0], [0.0, 50.0, 100.0])
    weight = np.where(x[:, 0] < 50, 1.0, 1e-9)
    left = SplineBasis(n_knots=3, degree=1).fit(x, sample_weight=weight)
    assert left.knots_[0][1] == pytest.approx(24.5, abs=0.1)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_splines_are_those_of_scikit_learn(X, degree):
    basis = SplineBasis(n_knots=4, degree=degree).fit(X[:, [0]])
    theirs = SplineTransformer(
        degree=degree,
        knots=basis.knots_[0][:, None],
        extrapolation="linear",
        include_bias=False,
    ).fit(X[:, [0]])
    new = np.linspace(-5, 30, 71)[:, None]
    assert_allclose(basis.transform(new), theirs.transform(new), rtol=1e-10, atol=1e-12)


def test_ties_and_few_values_take_knots_away():
    tied = np.r_[np.zeros(90), np.arange(1.0, 11.0)][:, None]
    basis = SplineBasis(n_knots=5).fit(tied)
    assert 2 <= len(basis.knots_[0]) < 5
    assert np.isfinite(basis.transform(tied)).all()
    three = SplineBasis().fit(np.array([[0.0], [1.0], [2.0]]))
    assert three.degrees_ == [2]


def test_splines_hold_lines_and_go_on_as_lines():
    x = np.linspace(0, 1, 40)[:, None] ** 2
    basis = SplineBasis().fit(x)
    inside = np.column_stack([np.ones(40), basis.transform(x)])
    coef = np.linalg.lstsq(inside, x[:, 0], rcond=None)[0]
    assert_allclose(inside @ coef, x[:, 0], atol=1e-10)
    outside = basis.transform([[2.0], [3.0], [4.0]])
    assert_allclose(np.diff(outside, axis=0)[0], np.diff(outside, axis=0)[1], atol=1e-10)


@pytest.mark.parametrize("exponent", [-1060, -700, 900, 1020])
def test_splines_of_numbers_at_the_ends_of_doubles(exponent):
    x = np.array([[-8.0], [-3.0], [0.0], [1.0], [2.0], [5.0], [8.0]])
    far = np.ldexp(x, exponent)
    basis = SplineBasis(n_knots=5)  # at numbers that have an exact counterpart
    assert_array_equal(basis.fit_transform(far).astype(float), basis.fit_transform(x))


def test_quantile_map_between_numbers_next_to_zero():
    x = np.array([[-8.0], [-3.0], [0.0], [1.0], [2.0], [5.0], [8.0]])
    between = np.array([[-5.0], [0.5], [3.0], [7.0]])
    basis, far = QuantileBasis().fit(x), QuantileBasis().fit(np.ldexp(x, -1060))
    found = far.transform(np.ldexp(between, -1060))[:, 1]
    assert_allclose(found, basis.transform(between)[:, 1], rtol=1e-12)
