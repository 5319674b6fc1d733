"""Counts of parameters, criteria, held-out densities and the choice, against formulas."""

import warnings

import numpy as np
import pytest
from _grown import candidate, two_lines
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import entr
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.criteria import effective_parameters, fitness
from mixexp._engine.folds import N_FOLDS, unit_folds
from mixexp._engine.growth import Growth, chosen
from mixexp._engine.information import Information
from mixexp._engine.sweep import State
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate
from mixexp.protocols import ParameterSpace, Rows
from mixexp.selection import select_n_experts


def information(observed, complete, penalty):
    p = len(observed)
    none = np.empty((0, 0), dtype=int)
    infinite = np.full(p, np.inf)
    space = ParameterSpace(none, none, np.arange(p), none, -infinite, infinite)
    return Information(np.zeros(p), complete, observed, penalty, space)


def test_effective_parameters_of_a_diagonal_information():
    data, ridge = np.array([4.0, 1.0, 2.0]), np.array([1.0, 3.0, 0.0])
    found = effective_parameters(
        information(np.diag(data + ridge), np.diag(data + ridge + 1), np.diag(ridge)),
        np.zeros(3),
        3.0,
    )
    assert found.how == "effective"
    assert_allclose(found.n_parameters, np.sum(data / (data + ridge)))


def test_what_is_redundant_still_counts_as_the_part_says():
    data, ridge = np.array([4.0, 1.0]), np.array([1.0, 0.0])
    diagonal = np.diag(data + ridge)
    found = effective_parameters(information(diagonal, diagonal, np.diag(ridge)), np.zeros(2), 5.0)
    assert_allclose(found.n_parameters, 5.0 - 1.0 / 5.0)


def test_complete_information_where_the_observed_is_indefinite():
    complete, ridge = np.diag([5.0, 4.0]), np.diag([1.0, 1.0])
    found = effective_parameters(
        information(np.diag([5.0, -1.0]), complete, ridge), np.zeros(2), 2.0
    )
    assert found.how == "complete"
    assert_allclose(found.n_parameters, 2.0 - 1 / 5 - 1 / 4)


@pytest.mark.parametrize("rounding", [0.0, 1e-15, -1e-15])
def test_a_direction_without_information_takes_no_part(rounding):
    data, ridge = (
        np.ones((2, 2)),
        np.array([0.0, 0.0, 1.0]),
    )  # two copies of a column, not penalised
    matrix = np.zeros((3, 3))
    matrix[:2, :2], matrix[2, 2], matrix[0, 0] = data, 3.0, 1.0 + rounding
    found = effective_parameters(information(matrix, matrix, np.diag(ridge)), np.zeros(3), 3.0)
    assert found.how == "effective"
    assert_allclose(found.n_parameters, 3.0 - 1.0 / 3.0)
    rounded = information(matrix, matrix, np.diag(ridge + 1e-16))
    found = effective_parameters(rounded, np.zeros(3), 3.0)
    assert_allclose(found.n_parameters, 3.0 - 1.0 / 3.0, rtol=1e-9)


def test_unpenalised_parameters_count_exactly():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=SoftmaxGate(alpha=1e-3), random_state=0
    ).fit(X, y)
    full = 2 + 2 * 3  # gate; intercept, slope and dispersion of each expert
    effective = (model.aic(X, y) + 2 * model.log_density(X, y).sum()) / 2
    assert full - 2 < effective < full
    alone = MixtureOfExpertsRegressor(LinearRegression(), 1, random_state=0).fit(X, y)
    assert_allclose(alone.aic(X, y) + 2 * alone.log_density(X, y).sum(), 2 * 3)


def test_a_stronger_penalty_counts_less():
    X, y = two_lines()
    counts = []
    for alpha in (1e-3, 1.0, 1e3):
        gate = SoftmaxGate(alpha=alpha)
        model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)
        counts.append(model.bic(X, y) + 2 * model.log_density(X, y).sum())
    assert counts[0] > counts[1] > counts[2]


def test_the_table_has_the_criteria_of_the_fit():
    X, y = two_lines()
    found = select_n_experts(
        MixtureOfExpertsRegressor(random_state=0), X, y, n_experts=[1, 2], criterion="bic"
    )
    model = found.best_estimator_
    assert found.n_experts_ == model.n_experts_ == model.n_experts == 2
    for name in ("aic", "bic", "icl"):
        assert_allclose(getattr(found, name)[1], getattr(model, name)(X, y), rtol=1e-8)
    assert_allclose(found.aic3 - found.aic, found.n_parameters)
    assert_allclose(found.lower_bound[1], model.lower_bound_, rtol=1e-8)


def test_held_out_densities_of_one_expert_are_those_of_refits():
    X, y = two_lines()
    mixture = MixtureOfExpertsRegressor(LinearRegression(), random_state=0)
    found = select_n_experts(mixture, X, y, n_experts=[1])
    seed = np.random.RandomState(0).randint(2**31 - 1)
    folds = unit_folds(Rows(X, y[None]), seed)
    density = np.empty(len(y))
    for fold in range(N_FOLDS):
        inside, out = folds != fold, folds == fold
        line = LinearRegression().fit(X[inside], y[inside])
        scale = np.sqrt(np.mean((y[inside] - line.predict(X[inside])) ** 2))
        density[out] = norm.logpdf(y[out], line.predict(X[out]), scale)
    assert_allclose(found.cv, [density.mean()], rtol=1e-6)


def test_folds_are_even_and_keep_units_whole(rng):
    X, codes = rng.standard_normal((90, 2)), rng.integers(0, 2, 90)
    folds = unit_folds(Rows(X, codes), 0)
    for code in (0, 1):
        assert np.ptp(np.bincount(folds[codes == code], minlength=N_FOLDS)) <= 1
    order = rng.permutation(90)
    assert_array_equal(unit_folds(Rows(X[order], codes[order]), 0), folds[order])
    grouped = Rows(X, codes[None].astype(float), groups=np.repeat(np.arange(30), 3))
    assert len(unit_folds(grouped, 0)) == 30


@pytest.mark.parametrize(("one_se", "wanted"), [(False, 2), (True, 1)])
def test_one_standard_error(one_se, wanted):
    best = np.zeros(100)
    close = np.where(np.arange(100) % 2 == 0, 1.0, -1.1)  # below by 0.05, give or take 0.1
    path = [candidate(1, best - 1.0), candidate(2, close), candidate(3, best)]
    assert chosen(path, Growth((1, 2, 3), "cv", one_se=one_se)) == wanted


def test_rows_that_are_hard_for_all_do_not_blur_the_comparison(rng):
    hard = 10 * rng.standard_normal(100)
    path = [candidate(1, hard - 0.1), candidate(2, hard)]
    assert chosen(path, Growth((1, 2), "cv", one_se=True)) == 1


def test_flagged_candidates_come_last():
    path = [candidate(1, [0.0, 0.0]), candidate(2, [9.0, 9.0], flags=["spurious"])]
    assert chosen(path, Growth((1, 2), "cv")) == 0
    assert chosen(path[1:], Growth((2,), "cv")) == 0


def test_the_fit_to_weighted_rows_is_that_of_repeated_ones():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    state = State(model._model.gate, model._model.bank)
    counts = np.arange(len(y)) % 3 + 1
    found = fitness(state, Rows(X, y[None], counts.astype(float)))
    density, resp = model.log_density(X, y), model.responsibilities(X, y)
    assert_allclose(found.log_likelihood, np.repeat(density, counts).sum(), rtol=1e-10)
    entropy = entr(resp).sum(axis=1)
    assert_allclose(found.entropy, np.repeat(entropy, counts).sum(), rtol=1e-6)


def test_a_path_that_is_not_searched_has_the_restart_of_its_stage():
    X, y = two_lines()
    path = {}
    for searched in (False, True):
        model = MixtureOfExpertsRegressor(n_init=3, random_state=0)
        model._growth = Growth((2,), "bic", searched=searched)
        path[searched] = model.set_params(n_experts="auto").fit(X, y)
    assert len(path[False].restarts_) == 1 and len(path[True].restarts_) == 4


@pytest.mark.parametrize("basis", ["linear", "quantile"])
def test_columns_that_do_not_vary_count_nothing(basis):
    X, y = two_lines()
    counts = []
    for k in (0, 1, 4):
        wide = np.column_stack([X, np.ones((len(X), k))])
        model = MixtureOfExpertsRegressor(
            n_experts=2, gate_basis=basis, expert_basis=basis, random_state=0
        ).fit(wide, y)
        counts.append(model.aic(wide, y) / 2 + model.log_density(wide, y).sum())
    assert_allclose(counts, counts[0], atol=1e-3)


@pytest.mark.parametrize("seed", [198, 1])
def test_classes_that_an_expert_hardly_gives_are_counted(seed):
    """Their coefficients have next to no information, and are scaled by many orders."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.choice([60, 120, 240])), int(rng.integers(1, 6))
    k, n_classes = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    X = rng.normal(size=(n, p))
    score = 2 * np.sin(2 * X[:, 0]) + (X[:, -1] > 0) * X[:, 0] + rng.logistic(size=n)
    y = np.digitize(score, [-1, 1])
    assert (k, n_classes) == (5, 3)
    model = MixtureOfExpertsClassifier(n_experts=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # experts collapse on the way
        model.fit(X, y)
    n_parameters = model.aic(X, y) / 2 + model.log_density(X, y).sum()
    n_free = 4 + 5 * 2  # intercepts of gate and experts, which have no penalty
    assert n_free < n_parameters < n_free * (1 + p) / 2


def coded(rng, n=200):
    """Return a column with a factor of three levels beside an intercept: two codes, and three."""
    x, level = rng.standard_normal(n), rng.integers(0, 3, n)
    codes = np.eye(3)[level]
    return x, level, np.column_stack([x, codes[:, 1:]]), np.column_stack([x, codes])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (MixtureOfExpertsRegressor(LinearRegression(), n_experts=1), "numbers"),
        (MixtureOfExpertsRegressor(Ridge(0.0), n_experts=1, family="student_t"), "numbers"),
        (MixtureOfExpertsRegressor(PoissonRegressor(alpha=0), 1, family="poisson"), "counts"),
        (MixtureOfExpertsClassifier(LogisticRegression(C=np.inf), n_experts=1), "classes"),
        (MixtureOfExpertsRegressor(LinearRegression(), noise_expert=True, n_experts=1), "numbers"),
    ],
)
def test_a_column_that_is_a_sum_of_others_is_no_parameter(model, kind, rng):
    x, level, some, every = coded(rng)
    y = x + level + rng.standard_normal(len(x))
    y = {"numbers": y, "counts": rng.poisson(np.exp(y / 3)), "classes": y > 1}[kind]
    for criterion in ("aic", "bic"):
        found = [getattr(model.fit(X, y), criterion)(X, y) for X in (some, every)]
        assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize(
    "gate", [ConstantGate(), SoftmaxGate(alpha=0.0), HierarchicalGate((2, 2), alpha=0.0)]
)
def test_columns_are_told_apart_in_every_part(gate, rng):
    """Of experts that see other columns, each has the rank of its own."""
    x, level, some, every = coded(rng, 400)
    k = 4 if isinstance(gate, HierarchicalGate) else 2
    regions = rng.integers(0, k, len(x))
    y = np.where(x > 0, 3, -3) * regions + level + 0.3 * rng.standard_normal(len(x))
    few = {"max_iter": 2, "tol": 0, "init": regions, "gate": gate, "n_experts": k}
    model = MixtureOfExpertsRegressor(LinearRegression(), **few)
    counts = []
    for X in (some, every):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            counts.append(model.fit(X, y)._model.n_parameters("it"))
    assert counts[0] == counts[1]
    shown = [[0, 1, 2, 3], [0, 1], [1, 2, 3], [0, 1, 2]][:k]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(expert_features=shown).fit(every, y)
    ranks = [4, 3, 3, 4][:k]  # with the intercept
    assert [expert.coef_.size for expert in model.experts_] == [len(each) for each in shown]
    assert model._model.bank.n_coefficients.tolist() == ranks
    assert model._model.bank.select(np.array([1])).n_coefficients.tolist() == ranks[1:2]


def test_a_penalty_determines_all_columns(rng):
    x, level, _, every = coded(rng)
    y = x + level + rng.standard_normal(len(x))
    model = MixtureOfExpertsRegressor(Ridge(1e-3), n_experts=1).fit(every, y)
    assert model._model.n_parameters("it") == 6  # what is counted is less: they share what there is
    size = (model.bic(every, y) - model.aic(every, y)) / (np.log(len(y)) - 2)
    assert_allclose(size, 5, atol=1e-3)
