"""In which order experts come, and that everything that belongs to them comes along."""

import pickle
import warnings

import numpy as np
import pytest
from _problems import LOG_2PI
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators import outcome
from mixexp.experts import ExpertPool
from mixexp.families import Calibration
from mixexp.gates import ConstantGate, EstimatorGate, HierarchicalGate, SoftmaxGate

SHARES = np.array([0.12, 0.5, 0.38])


def problem(rng, n=500):
    """Return X, y of three lines whose shares differ, and the regions."""
    X = rng.uniform(-1, 1, (n, 2))
    region = np.searchsorted(np.cumsum(SHARES)[:-1], (X[:, 0] + 1) / 2)
    lines = np.array([[0.0, 0, 4], [0, 1, -4], [3, -1, 3]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(n), X]), lines[region])
    return X, y + 0.3 * rng.standard_normal(n), region


def quiet(model, *data, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data, **more)


@pytest.fixture
def orders(monkeypatch):
    """Return a list that gets every order that experts are put into."""
    found = []
    plain = outcome.canonical_order

    def spy(usage):
        found.append(plain(usage))
        return found[-1]

    monkeypatch.setattr(outcome, "canonical_order", spy)
    return found


def calibrated(model, proba):
    """Return every expert's class probabilities (n, K, C) as `exponents_`, `smoothing_` say."""
    if not hasattr(model, "exponents_"):
        return proba
    shares = model._model.bank.calibration.shares
    own = Calibration(shares, model.exponents_, model.smoothing_)
    return own.apply(proba.transpose(1, 2, 0)).transpose(2, 0, 1)


def check_consistent(model, X, y):
    """Check that gate, experts, usage and parameters are in one and the same order."""
    k = len(model.experts_)
    noise = int(model.noise_expert)
    gate, outputs = model.gate_proba(X), model.predict_experts(X)
    assert gate.shape == (len(X), k + noise) and outputs.shape[:2] == (len(X), k)
    # the usage of a cross-fitted gate is measured out of fold
    assert_allclose(gate.mean(axis=0), model.usage_, atol=0.01 if model.cross_fitted_ else 1e-9)
    route = gate[:, :k] / gate[:, :k].sum(axis=1, keepdims=True)
    assert_allclose(model.route(X), route, atol=1e-12)
    seen = model._model.columns[0]
    seen = seen if isinstance(seen, list) else [np.arange(X.shape[1])] * k
    pairs = list(zip(model.experts_, seen, strict=True))
    if isinstance(model, MixtureOfExpertsClassifier):
        own = np.stack([e.predict_proba(X[:, columns]) for e, columns in pairs], axis=1)
        assert_allclose(outputs, calibrated(model, own), atol=1e-8)
        pooled = np.einsum("nk,nkc->nc", route, outputs)
        assert_allclose(model.predict_proba(X), pooled, atol=1e-10)
        codes = np.searchsorted(model.classes_, y)
        with np.errstate(divide="ignore"):
            log_prob = np.log(outputs[np.arange(len(y)), :, codes])
    else:
        own = np.stack([e.predict(X[:, columns]) for e, columns in pairs], axis=1)
        assert_allclose(outputs, own, atol=1e-8)
        margin = 0.25 * np.ptp(y)  # as predictions are bounded
        pooled = np.clip(np.sum(route * outputs, axis=1), y.min() - margin, y.max() + margin)
        assert_allclose(model.predict(X), pooled, atol=1e-10)
        error = (y[:, None] - outputs) / model.dispersions_
        if hasattr(model, "degrees_of_freedom_"):
            log_prob = student.logpdf(error, model.degrees_of_freedom_)
        else:
            log_prob = -0.5 * error**2 - 0.5 * LOG_2PI
        log_prob -= np.log(model.dispersions_)
    with np.errstate(divide="ignore"):
        log_joint = np.log(gate[:, :k]) + log_prob
    if noise:
        inside = model._model.bank.log_density
        log_joint = np.column_stack([log_joint, np.log(gate[:, k]) + inside])
    density = logsumexp(log_joint, axis=1)
    assert_allclose(model.log_density(X, y), density, atol=1e-8)
    resp = np.exp(log_joint - density[:, None])
    assert_allclose(model.responsibilities(X, y), resp, atol=1e-7)


def kinds():
    """Return mixtures whose experts are exchangeable, with what makes each of them special."""
    tree = DecisionTreeRegressor(max_depth=3, random_state=0)
    leaf = DecisionTreeClassifier(max_depth=3, random_state=0)
    some = {"n_experts": 3, "n_init": 2, "max_iter": 15}
    yield "linear", MixtureOfExpertsRegressor(**some)
    yield "noise", MixtureOfExpertsRegressor(noise_expert=True, **some)
    yield "constant gate", MixtureOfExpertsRegressor(gate=ConstantGate(), **some)
    yield "one level", MixtureOfExpertsRegressor(gate=HierarchicalGate((3,)), **some)
    yield "student_t", MixtureOfExpertsRegressor(family="student_t", **some)
    some["max_iter"] = 3
    yield "trees", MixtureOfExpertsRegressor(tree, **some)
    yield "pool", MixtureOfExpertsRegressor(ExpertPool([tree, Ridge()]), **some)
    gate = EstimatorGate(leaf)
    yield "estimator gate", MixtureOfExpertsRegressor(gate=gate, **some)
    yield "estimator gate, noise", MixtureOfExpertsRegressor(gate=gate, noise_expert=True, **some)
    yield "logistic", MixtureOfExpertsClassifier(**some)
    yield "calibrated", MixtureOfExpertsClassifier(leaf, gate=leaf, **some)


KINDS = dict(kinds())


def data_of(name, rng):
    X, y, region = problem(rng)
    if isinstance(KINDS[name], MixtureOfExpertsClassifier):
        y = np.array(["a", "b", "c"])[np.digitize(y, [-1, 2])]
    return X, y, region


# ---------------------------------------------------------------- the canonical order


@pytest.mark.parametrize("name", KINDS)
def test_exchangeable_experts_come_by_falling_usage(rng, orders, name):
    X, y, _ = data_of(name, rng)
    moved = False
    for seed in range(4):
        model = quiet(clone(KINDS[name]).set_params(random_state=seed), X, y)
        assert np.all(np.diff(model.usage_[:3]) <= 1e-9)
        check_consistent(model, X, y)
        moved |= bool(np.any(np.diff(orders[-1]) < 0))
        if moved:
            break
    assert moved  # so that there was something to put in order


def test_two_fits_that_find_the_same_experts_number_them_alike(rng):
    X, y, _ = problem(rng)
    a, b = (MixtureOfExpertsRegressor(n_experts=3, random_state=s).fit(X, y) for s in (0, 1))
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=0.02)
    assert_allclose(a.dispersions_, b.dispersions_, rtol=0.02)


def test_equal_usage_keeps_the_order_of_the_run():
    usage = np.array([0.2, 0.3, 0.2 + 1e-13, 0.3 - 1e-13])
    assert_array_equal(outcome.canonical_order(usage), [1, 3, 0, 2])
    assert_array_equal(outcome.canonical_order(usage[:3]), [1, 0, 2])


def numbered(region):
    """Return what makes the user's order, by name: options of the mixture and of `fit`."""
    proba = np.eye(3)[region]
    experts = [("a", Ridge()), ("b", LinearRegression()), ("c", Ridge(2.0))]
    return {
        "labels": ({"init": region}, {}),
        "responsibilities": ({"init": proba}, {}),
        "experts": ({"expert": experts}, {}),
        "expert columns": ({"expert_features": [[1], [0, 1], [0, 1]]}, {}),
        "gate columns": ({"gate_features": [[0], [0, 1], [0]]}, {}),
        "tree": ({"gate": HierarchicalGate((1, 3))}, {}),
        "expert_labels": ({}, {"expert_labels": np.where(np.arange(500) % 4, -1, region)}),
    }


@pytest.mark.parametrize("name", numbered(np.zeros(500, dtype=int)))
def test_experts_that_the_user_numbered_keep_their_numbers(rng, orders, name):
    X, y, region = problem(rng)
    region = np.array([2, 0, 1])[region]  # usage .50, .38, .12 of experts 0, 1, 2
    region = 2 - region  # and of 2, 1, 0
    options, more = numbered(region)[name]
    model = MixtureOfExpertsRegressor(n_experts=3, n_init=2, max_iter=40, random_state=0)
    model = quiet(model.set_params(**options), X, y, **more)
    assert not orders
    check_consistent(model, X, y)
    if name in ("labels", "responsibilities", "expert_labels"):
        found = model.responsibilities(X, y).argmax(axis=1)
        assert np.mean(found == region) > 0.95
        assert np.all(np.diff(model.usage_) > 0)
    if name == "experts":
        assert [type(e) for e in model.experts_] == [Ridge, LinearRegression, Ridge]
        assert model.experts_[2].alpha == 2.0
    if name == "expert columns":
        assert [e.n_features_in_ for e in model.experts_] == [1, 2, 2]


# ---------------------------------------------------------------- align_experts


@pytest.mark.parametrize("name", KINDS)
def test_a_permuted_copy_comes_back(rng, name):
    X, y, _ = data_of(name, rng)
    model = quiet(clone(KINDS[name]).set_params(random_state=0), X, y)
    other = pickle.loads(pickle.dumps(model))
    known = {
        "gate": model.gate_proba(X),
        "resp": model.responsibilities(X, y),
        "experts": model.predict_experts(X),
        "usage": model.usage_,
    }
    density, predicted = model.log_density(X, y), model.predict(X)
    for order in ([2, 0, 1], [1, 0, 2]):
        labels = np.argsort(order)[known["resp"][:, :3].argmax(axis=1)]
        assert other.align_experts(labels, X, y) is other
        check_consistent(other, X, y)
        everyone = np.append(order, np.arange(3, known["resp"].shape[1]))
        assert_allclose(other.responsibilities(X, y), known["resp"][:, everyone], atol=1e-12)
        assert_allclose(other.log_density(X, y), density, rtol=1e-12, atol=1e-12)
        if name not in ("logistic", "calibrated"):
            assert_allclose(other.predict(X), predicted, rtol=1e-12, atol=1e-12)
    other.align_experts(model, X, y)
    assert_allclose(other.gate_proba(X), known["gate"], atol=1e-14)
    assert_allclose(other.responsibilities(X, y), known["resp"], atol=1e-12)
    assert_allclose(other.predict_experts(X), known["experts"], atol=1e-12)
    assert_allclose(other.usage_, known["usage"], atol=1e-15)
    for attribute in ("dispersions_", "degrees_of_freedom_", "exponents_", "smoothing_"):
        if hasattr(model, attribute):
            assert_array_equal(getattr(other, attribute), getattr(model, attribute))
    again = pickle.loads(pickle.dumps(other))
    assert_array_equal(again.gate_proba(X), other.gate_proba(X))


def test_columns_of_experts_come_along(rng):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=2),
        n_experts=3,
        expert_features=[[0], [1], [0, 1]],
        init=region,
        max_iter=3,
    )
    quiet(model, X, y)
    density = model.log_density(X, y)
    model.align_experts((region + 1) % 3, X, y)
    assert_allclose(model.log_density(X, y), density, rtol=1e-12, atol=1e-12)
    assert [e.n_features_in_ for e in model.experts_] == [2, 1, 1]
    check_consistent(model, X, y)


def test_references_with_more_and_fewer_experts(rng):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(n_experts=3, init=region).fit(X, y)
    density = model.log_density(X, y)
    two = np.column_stack([region == 2, region == 0]).astype(float)
    model.align_experts(two, X, y)
    found = model.responsibilities(X, y).argmax(axis=1)
    assert np.mean(found == np.array([1, 2, 0])[region]) > 0.95  # the one without partner is last
    four = np.zeros((500, 4))
    four[np.arange(500), np.array([1, 3, 2])[region]] = 1.0
    model.align_experts(four, X, y)
    found = model.responsibilities(X, y).argmax(axis=1)
    assert np.mean(found == np.array([0, 2, 1])[region]) > 0.95
    assert_allclose(model.log_density(X, y), density, rtol=1e-12, atol=1e-12)
    other = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0)
    model.align_experts(quiet(other, X, y), X, y)
    overlap = model.responsibilities(X, y).T @ other.responsibilities(X, y)
    best = max(overlap[i, 0] + overlap[j, 1] for i in range(3) for j in range(3) if i != j)
    assert_allclose(overlap[0, 0] + overlap[1, 1], best, rtol=1e-9)


def test_labels_are_the_numbers_that_experts_are_to_have(rng):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(n_experts=3, init=region).fit(X, y)
    wanted = np.array([1, 2, 0])[region]
    some = np.where(rng.random(len(X)) < 0.5, wanted, -1)  # -1 is open
    model.align_experts(some, X, y)
    assert np.mean(model.responsibilities(X, y).argmax(axis=1) == wanted) > 0.95
    gap = np.where(wanted == 2, 0, np.where(wanted == 0, 2, -1))  # nothing about expert 1
    model.align_experts(gap, X, y)
    found = model.responsibilities(X, y).argmax(axis=1)
    assert np.mean(found[gap >= 0] == gap[gap >= 0]) > 0.95


@pytest.mark.parametrize("odd", ["a", -2, 0.5, None, np.nan])
def test_labels_that_are_no_numbers_of_experts(rng, odd):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(n_experts=3, init=region, max_iter=3)
    quiet(model, X, y)
    reference = region.astype(object)
    reference[7] = odd
    with pytest.raises(ValueError, match=r"reference holds .* in row 7"):
        model.align_experts(reference, X, y)


def test_alignment_with_offset_and_groups(rng):
    X = rng.normal(size=(120, 1))
    exposure, first = rng.uniform(0, 3, 120), (X[:, 0] > 0).astype(int)
    y = rng.poisson(np.exp(np.where(first, 1, -1) + exposure)).astype(float)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", init=first, max_iter=5)
    quiet(model, X, y, offset=exposure)
    seen = []
    answer = model.responsibilities
    model.responsibilities = lambda *data, **more: seen.append(more) or answer(*data, **more)
    model.align_experts(1 - first, X, y, offset=exposure, groups=np.arange(120))
    assert seen[0]["offset"] is exposure and len(seen[0]["groups"]) == 120


def test_a_mixture_with_noise_is_aligned_by_its_experts(rng):
    X, y, region = problem(rng)
    options = {"n_experts": 3, "gate": SoftmaxGate(alpha=0.3)}  # as it is beside noise
    plain = MixtureOfExpertsRegressor(init=(region + 1) % 3, **options).fit(X, y)
    y[:10] += 40
    model = MixtureOfExpertsRegressor(noise_expert=True, init=region, **options).fit(X, y)
    model.align_experts(plain, X, y)
    found = model.responsibilities(X, y)
    own = found[:, :3].argmax(axis=1)
    assert np.mean(own == (region + 1) % 3) > 0.95
    assert found[:10, 3].min() > 0.9
    check_consistent(model, X, y)
    plain.align_experts((region + 2) % 3, X, y).align_experts(model, X, y)
    assert_array_equal(plain.responsibilities(X, y)[10:].argmax(axis=1), own[10:])


def test_what_cannot_be_aligned(rng):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(n_experts=3, init=region)
    with pytest.raises(NotFittedError):
        model.align_experts(region, X, y)
    model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.align_experts(clone(model), X, y)
    for wrong in (region[:-1], np.eye(3)[region][:-1], np.zeros((500, 3, 1)), [["a"]] * 500):
        with pytest.raises(ValueError, match=r"MixtureOfExpertsRegressor: reference must be"):
            model.align_experts(wrong, X, y)
    tree = clone(model).set_params(gate=HierarchicalGate((1, 3)))
    quiet(tree, X, y)
    with pytest.raises(ValueError, match=r"experts have their places under Hierarch.*Compare"):
        tree.align_experts(model, X, y)
    model.align_experts(tree, X, y)  # but it can be what others are compared with
    nested = MixtureOfExpertsRegressor(
        MixtureOfExpertsRegressor(n_experts=2), n_experts=2, n_init=1, max_iter=3
    )
    quiet(nested, X, y)
    with pytest.raises(ValueError, match="the experts are mixtures"):
        nested.align_experts(model, X, y)


def test_a_second_fit_leaves_nothing_of_the_first(rng):
    X, y, region = problem(rng)
    y = np.round(np.abs(y))
    model = MixtureOfExpertsRegressor(n_experts=3, init=region, max_iter=3)
    quiet(model.set_params(family="student_t"), X, y)
    assert hasattr(model, "degrees_of_freedom_")
    quiet(model.set_params(family="gaussian"), X, y)
    assert hasattr(model, "dispersions_") and not hasattr(model, "degrees_of_freedom_")
    quiet(model.set_params(family="poisson"), X, y)
    assert not hasattr(model, "dispersions_")
    tree = DecisionTreeClassifier(max_depth=2)
    model = MixtureOfExpertsClassifier(tree, n_experts=3, init=region, max_iter=2)
    assert hasattr(quiet(model, X, y > 2), "exponents_")
    assert not hasattr(quiet(model.set_params(expert=None), X, y > 2), "exponents_")


def test_a_failed_fit_keeps_the_old_one(rng):
    X, y, region = problem(rng)
    model = MixtureOfExpertsRegressor(n_experts=3, init=region).fit(X, y)
    before = model.dispersions_
    with pytest.raises(ValueError, match="expert_labels"):
        model.fit(X, y, expert_labels=region[:-1])
    assert model.dispersions_ is before
    check_consistent(model, X, y)


def test_experts_that_remain_after_a_drop_are_put_in_order(rng):
    X, y, _ = problem(rng)
    model = MixtureOfExpertsRegressor(
        n_experts=6, gate=SoftmaxGate(0.1), on_collapse="drop", n_init=1, random_state=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert len(model.experts_) == 3
    assert np.all(np.diff(model.usage_) <= 1e-9)
    check_consistent(model, X, y)
