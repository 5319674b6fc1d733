"""Records, warnings, assignments and seeds of a fit."""

import warnings

import numpy as np
import pytest
import sklearn
from _two_regimes import assert_same_fit, data_for, outputs_of, two_lines
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_records_of_a_fit(default):
    X, y = data_for(default)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        default.set_params(n_init=4).fit(X, y)
    assert default.converged_
    assert default.lower_bounds_.shape == (default.n_iter_,)
    assert default.lower_bound_ == default.lower_bounds_[-1]
    assert np.all(np.diff(default.lower_bounds_) >= -1e-9 * max(1, abs(default.lower_bound_)))
    assert default.n_passes_ >= default.n_iter_ + 1
    bounds = [start.bounds[-1] for start in default.restarts_]  # at the penalties of starts
    if isinstance(default, MixtureOfExpertsRegressor):  # two starts agree: no fourth is tried
        assert len(bounds) == 3
        assert_allclose(bounds, bounds[0], atol=1e-3)
    else:
        assert len(bounds) == 4
    long_runs = [start for start in default.restarts_ if "long run" in start.events]
    assert len(long_runs) == 1
    assert long_runs[0].bound == default.lower_bound_ > max(bounds)
    assert all(start.n_iter >= 1 and start.flags == [] for start in default.restarts_)
    assert default.usage_.sum() == pytest.approx(1)
    if sklearn.base.is_regressor(default):
        assert default.dispersions_.shape == (2,)


@pytest.mark.parametrize("max_iter", [1, 2, 7, 40])
def test_tol_zero_runs_every_iteration(default, max_iter):
    X, y = data_for(default)
    default.set_params(tol=0, max_iter=max_iter)
    with pytest.warns(ConvergenceWarning, match="Increase max_iter or tol"):
        default.fit(X, y)
    assert default.n_iter_ == len(default.lower_bounds_) == max_iter
    assert not default.converged_


def test_a_fit_that_did_not_converge_says_what_to_change(model):
    X, y = data_for(model)
    model.set_params(tol=1e-15, max_iter=2)
    name = type(model).__name__
    with pytest.warns(
        ConvergenceWarning, match=f"{name} did not converge in max_iter=2 .*tol=1e-15"
    ):
        model.fit(X, y)
    assert not model.converged_


@pytest.mark.parametrize("alpha", [0, 0.1])
def test_a_separable_gate_warns_and_says_what_to_change(alpha):
    rng = np.random.default_rng(0)
    X = np.append(rng.uniform(-2, -1, 60), rng.uniform(1, 2, 60))[:, None]
    y = np.where(X[:, 0] < 0, 5 - X[:, 0], -5 + X[:, 0]) + 0.01 * rng.standard_normal(120)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=SoftmaxGate(alpha=alpha), random_state=0
    )
    if alpha:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X, y)
    else:
        with pytest.warns(ConvergenceWarning, match=r"gate separates .*penalise the gate"):
            model.fit(X, y)
    assert np.isfinite(model.gate_.coef_).all()
    assert model.score(X, y) > 0.999
    assert_allclose(sorted(e.coef_[0] for e in model.experts_), [-1, 1], atol=0.05)
    far = 1e6 * X
    assert np.isfinite(model.predict(far)).all()


@pytest.mark.parametrize("assignment", ["soft", "hard", "stochastic"])
def test_assignments(default, assignment):
    X, y = data_for(default)
    model = default.set_params(assignment=assignment, max_iter=500).fit(X, y)
    soft = clone(model).set_params(assignment="soft").fit(X, y)
    fit, best = model.log_density(X, y).mean(), soft.log_density(X, y).mean()
    assert fit > best - 0.1
    again = clone(model).fit(X, y)
    assert_array_equal(again.lower_bounds_, model.lower_bounds_)
    order = np.random.default_rng(4).permutation(len(y))
    assert_same_fit(model, clone(model).fit(X[order], y[order]), X)
    if assignment == "stochastic":
        assert model.lower_bound_ == model.lower_bounds_.max()
    else:
        assert model.lower_bound_ == model.lower_bounds_[-1]
        assert np.all(np.diff(model.lower_bounds_) >= -1e-9)


def test_hard_assignment_climbs_the_classification_likelihood():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=ConstantGate(), assignment="hard", random_state=0
    ).fit(X, y)
    log_expert = norm.logpdf(y[:, None], model.predict_experts(X), model.dispersions_)
    log_joint = np.log(model.gate_proba(X)) + log_expert
    assert model.lower_bound_ == pytest.approx(log_joint.max(axis=1).mean())
    # at the end each expert is the least-squares line of its own rows
    own = log_joint.argmax(axis=1)
    for k, expert in enumerate(model.experts_):
        alone = LinearRegression().fit(X[own == k], y[own == k])
        assert_allclose(expert.coef_, alone.coef_)


def test_the_number_of_jobs_does_not_matter(model):
    X, y = data_for(model)
    one = clone(model).set_params(n_jobs=1).fit(X, y)
    two = clone(model).set_params(n_jobs=2).fit(X, y)
    assert_array_equal(one.lower_bounds_, two.lower_bounds_)
    for a, b in zip(outputs_of(one, X), outputs_of(two, X), strict=True):
        assert_array_equal(a, b)


def test_seeds(model):
    X, y = data_for(model)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, twice = clone(model).fit(X, y), clone(model).fit(X, y).fit(X, y)
    # the global generator is left alone
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert_array_equal(one.lower_bounds_, twice.lower_bounds_)
    for a, b in zip(outputs_of(one, X), outputs_of(twice, X), strict=True):
        assert_array_equal(a, b)
    instance = clone(model).set_params(random_state=np.random.RandomState(0)).fit(X, y)
    assert_array_equal(one.predict(X), instance.predict(X))


def test_seeds_of_experts_follow_that_of_the_mixture():
    """Trees that look at one random column a split: equal for a seed, different for another."""
    X, y = two_lines()
    expert = DecisionTreeRegressor(max_depth=2, max_features=1)
    fits = [
        MixtureOfExpertsRegressor(
            expert, 2, init=(X[:, 0] > 0).astype(int), random_state=seed, max_iter=10
        ).fit(X, y)
        for seed in (0, 0, 1)
    ]
    assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    assert np.any(fits[0].predict(X) != fits[2].predict(X))
    assert fits[0].expert.random_state is None
    assert len({e.random_state for e in fits[0].experts_}) == 2


def test_the_floor_of_dispersions_keeps_exact_fits_finite():
    """Rows exactly on two lines: the likelihood has no bound, the fit has one."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (100, 1))
    y = np.where(X[:, 0] < 0.2, 1 + X[:, 0], 3 - 2 * X[:, 0])
    model = MixtureOfExpertsRegressor(LinearRegression(), 2, random_state=0).fit(X, y)
    assert np.all(model.dispersions_ > 0)
    assert np.isfinite(model.lower_bound_)
    assert model.score(X, y) > 0.95
    chosen = [start for start in model.restarts_ if start.bound == model.lower_bound_]
    assert chosen[0].flags == []  # each line holds many rows: exact, and no spurious maximum
