"""Every gate of `GATES` through the same tests; then what only the softmax gate promises."""

import pickle

import numpy as np
import pytest
from _problems import (
    expected_log_prob,
    fit_part,
    make_rows,
    numeric_gradient,
    random_resp,
    softmax_gated,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from mixexp.gates import GATES, ConstantGate, GaussianGate, SoftmaxGate, _softmax
from mixexp.protocols import Part

VARIANTS = [
    *[gate() for gate in GATES],
    SoftmaxGate(0),
    SoftmaxGate(10.0),
    SoftmaxGate(5.0, l1_ratio=1.0),
    SoftmaxGate(2.0, l1_ratio=0.5),
    ConstantGate(usage_prior=0.5),
    GaussianGate("tied"),
    GaussianGate("diag", usage_prior=0.5),
    GaussianGate("spherical"),
]
NAMES = [str(gate) for gate in VARIANTS]


@pytest.fixture(params=VARIANTS, ids=NAMES)
def gate(request):
    return clone(request.param)


def all_log_prob(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def begun(gate, rows, k):
    """Return the gate of k experts at its start; a tree has two levels, one of them idle."""
    tree = (k, 1) if k in (2, 5) else (1, k)
    sized = {"branching": tree} if "branching" in gate.get_params() else {}
    return clone(gate).set_params(**sized).start(rows, k, None)


def named_sums(statistics):
    """Return sums by name; those of a tree are one dict a node."""
    if not hasattr(statistics, "sums"):
        return statistics
    return {(i, name): own[name] for i, own in enumerate(statistics.sums) for name in own}


def started(gate, rng, n=200, d=3, k=3, weight=None, block_rows=None, steps=0):
    """Return rows, soft labels and the gate after some M-steps on them."""
    X = rng.standard_normal((n, d)) * 10.0 ** np.arange(d) + 1.0
    rows = make_rows(X, weight=weight, block_rows=block_rows)
    resp = random_resp(rng, k, n, 2.0)
    return rows, resp, fit_part(begun(gate, rows, k), rows, resp, steps)


# ---------------------------------------------------------------- every gate


@pytest.mark.parametrize("k", [1, 2, 5])
def test_starts_with_equal_probabilities(gate, rng, k):
    rows, _, part = started(gate, rng, k=k)
    assert_allclose(all_log_prob(part, rows), -np.log(k), atol=1e-15)
    assert isinstance(part, Part)
    assert not [name for name in vars(gate) if name not in gate.get_params()]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("block_rows", [64, 150, 1000])
def test_log_prob_sums_to_one(gate, rng, k, block_rows):
    rows, _, part = started(gate, rng, k=k, block_rows=block_rows, steps=4)
    assert_allclose(np.exp(all_log_prob(part, rows)).sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("weighted", [True, False])
def test_statistics_add_over_blocks(gate, rng, weighted):
    weight = rng.exponential(size=200) if weighted else None
    rows, resp, part = started(gate, rng, weight=weight, steps=2)
    whole = named_sums(statistics_of(part, rows, resp))
    rows.block_rows = 67
    cut = named_sums(statistics_of(part, rows, resp))
    assert set(cut) == set(whole)
    for name, value in whole.items():
        size = np.abs(value).max(initial=0.0)  # a gate may ask for no Gram matrices
        assert_allclose(cut[name], value, rtol=1e-10, atol=1e-10 * size)


def test_weights_are_repetitions(gate, rng):
    weight = rng.integers(1, 5, size=120)
    X, resp = rng.standard_normal((120, 2)), random_resp(rng, 3, 120, 3.0)
    weighted, repeated = make_rows(X, weight=weight.astype(float)), np.repeat(X, weight, axis=0)
    repeated = make_rows(repeated)
    a = fit_part(begun(gate, weighted, 3), weighted, resp, 6)
    b = fit_part(begun(gate, repeated, 3), repeated, np.repeat(resp, weight, axis=1), 6)
    assert_allclose(a.get_parameters(), b.get_parameters(), atol=1e-10)
    assert_allclose(a.log_prior(), b.log_prior(), atol=1e-12)


def test_bound_does_not_fall_at_fixed_labels(gate, rng):
    for k in (2, 3, 6):
        rows, resp, part = started(gate, rng, k=k, weight=rng.exponential(size=200))
        before = expected_log_prob(part, rows, resp)
        for _ in range(12):
            part = fit_part(part, rows, resp)
            after = expected_log_prob(part, rows, resp)
            assert after >= before - 1e-10 * abs(before)
            before = after


@pytest.mark.parametrize("k", [2, 5])
def test_many_steps_end_at_a_stationary_point(gate, rng, k):
    rows, resp, part = started(gate, rng, n=100, d=2, k=k, steps=40)
    theta = part.get_parameters()
    top = expected_log_prob(part, rows, resp)
    if not gate.get_params().get("l1_ratio"):  # an L1 penalty has no derivative
        slope = numeric_gradient(
            lambda v: expected_log_prob(part.set_parameters(v), rows, resp), theta
        )
        assert_allclose(slope, 0.0, atol=1e-4)
    for _ in range(20):
        near = part.set_parameters(theta + 0.05 * rng.standard_normal(len(theta)))
        assert expected_log_prob(near, rows, resp) < top


def test_parameters_round_trip(gate, rng):
    rows, _, part = started(gate, rng, steps=3)
    vector = part.get_parameters()
    assert vector.ndim == 1
    shared = vector[:3] if isinstance(gate, GaussianGate) else vector
    if not gate.get_params().get("l1_ratio"):
        assert_allclose(shared.sum(), 0.0, atol=1e-10)  # centred; means, covariances need not be
    again = begun(gate, rows, 3).set_parameters(vector.copy())
    assert_allclose(again.get_parameters(), vector, atol=1e-14)
    assert_allclose(all_log_prob(again, rows), all_log_prob(part, rows), atol=1e-12)
    # any vector is a gate, and one that is no longer the same leaves the old one as it was
    other = part.set_parameters(vector + rng.standard_normal(len(vector)))
    assert_allclose(np.exp(all_log_prob(other, rows)).sum(axis=0), 1.0)
    assert_array_equal(part.get_parameters(), vector)
    restored = other.set_parameters(other.get_parameters())
    assert_allclose(all_log_prob(restored, rows), all_log_prob(other, rows), atol=1e-12)


def test_update_leaves_the_old_gate_alone(gate, rng):
    rows, resp, part = started(gate, rng, steps=1)
    vector, known = part.get_parameters().copy(), all_log_prob(part, rows)
    new = fit_part(part, rows, resp[[1, 2, 0]])
    assert new is not part
    assert_array_equal(part.get_parameters(), vector)
    assert_array_equal(all_log_prob(part, rows), known)
    assert not np.array_equal(new.get_parameters(), vector)


def test_an_expert_without_rows(gate, rng):
    rows, resp, part = started(gate, rng)
    resp[2] = 0.0
    resp /= resp.sum(axis=0)
    part = fit_part(part, rows, resp, 30)
    log_prob = all_log_prob(part, rows)
    assert np.all(np.isfinite(log_prob))
    assert np.exp(log_prob[2]).max() < 0.01


def test_gates_are_estimators(gate, rng):
    assert clone(gate).get_params() == gate.get_params()
    _, _, part = started(gate, rng, steps=2)
    again = pickle.loads(pickle.dumps(part))
    assert_array_equal(again.get_parameters(), part.get_parameters())
    assert clone(part).get_params() == part.get_params()
    assert not hasattr(clone(part), "theta") and not hasattr(clone(part), "proba_")


# ---------------------------------------------------------------- the constant gate


def test_constant_gate_is_the_share_of_the_responsibilities(rng):
    weight = rng.exponential(size=200)
    _, resp, part = started(ConstantGate(), rng, weight=weight, steps=1)
    assert_allclose(part.proba_, resp @ weight / weight.sum(), rtol=1e-13)
    assert part.n_parameters == 2
    assert part.log_prior() == 0.0


@pytest.mark.parametrize("c", [0.0, 0.5, 20.0])
def test_usage_prior_of_the_constant_gate(rng, c):
    weight, resp = rng.exponential(size=80), random_resp(rng, 3, 80, 3.0)
    rows = make_rows(rng.standard_normal((80, 1)), weight=weight)
    gate = fit_part(ConstantGate(usage_prior=c).start(rows, 3, None), rows, resp)
    assert_allclose(gate.proba_, (resp @ weight + c) / (weight.sum() + 3 * c), rtol=1e-12)
    assert_allclose(gate.log_prior(), c * np.sum(np.log(gate.proba_)), atol=1e-15)
    top = expected_log_prob(gate, rows, resp)
    for _ in range(10):
        other = gate.set_parameters(gate.get_parameters() + 0.1 * rng.standard_normal(3))
        assert expected_log_prob(other, rows, resp) < top


def test_wrong_usage_prior_of_the_constant_gate(rng):
    with pytest.raises(ValueError, match=r"ConstantGate: usage_prior must be .* got -1"):
        ConstantGate(usage_prior=-1).start(make_rows(rng.standard_normal((9, 1))), 2, None)


# ---------------------------------------------------------------- the softmax gate


def scaled(X, weight=None):
    mean = np.average(X, axis=0, weights=weight)
    return (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("d", [1, 4])
def test_softmax_gate_recovers_known_coefficients(rng, k, d):
    X, _, _, _ = softmax_gated(rng, 400, d, k)
    X = X * 10.0 ** np.linspace(-3, 3, d) + 5.0
    coef, intercept = rng.standard_normal((k, d)) / X.std(axis=0), rng.standard_normal(k)
    coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    intercept -= coef @ X.mean(axis=0)
    resp = softmax(X @ coef.T + intercept, axis=1).T
    rows = make_rows(X, weight=rng.exponential(size=400), block_rows=128)
    part = fit_part(SoftmaxGate(alpha=0).start(rows, k, None), rows, resp, 25)
    assert_allclose(part.coef_, coef, rtol=1e-7, atol=1e-10 / X.std(axis=0).min())
    assert_allclose(part.intercept_, intercept, rtol=1e-7, atol=1e-8)
    assert part.coef_.shape == (k, d) and part.intercept_.shape == (k,)


@pytest.mark.parametrize("alpha", [0.3, 20.0])
def test_softmax_gate_equals_penalised_logistic_regression(rng, alpha):
    X = rng.standard_normal((150, 2)) * [1.0, 1000.0] + 7.0
    weight, resp = rng.exponential(size=150), random_resp(rng, 3, 150, 3.0)
    rows = make_rows(X, weight=weight)
    part = fit_part(SoftmaxGate(alpha).start(rows, 3, None), rows, resp, 20)
    Z = scaled(X, weight)
    oracle = LogisticRegression(C=1 / alpha, tol=1e-12, max_iter=10_000).fit(
        np.tile(Z, (3, 1)), np.repeat(np.arange(3), 150), (resp * weight).ravel()
    )
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    assert_allclose(part.coef_ * spread, oracle.coef_, atol=1e-6)
    level = part.intercept_ + part.coef_ @ mean
    assert_allclose(level, oracle.intercept_ - oracle.intercept_.mean(), atol=1e-6)
    assert_allclose(part.log_prior(), -0.5 * alpha * np.sum((part.coef_ * spread) ** 2))


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_softmax_gradient_by_finite_differences(rng, alpha):
    weight = rng.exponential(size=100)
    rows, resp, part = started(SoftmaxGate(alpha), rng, n=100, d=2, k=3, weight=weight)
    part = part.set_parameters(rng.standard_normal(9))
    slope = numeric_gradient(
        lambda v: expected_log_prob(part.set_parameters(v), rows, resp), part.get_parameters()
    ).reshape(3, 3)
    own = statistics_of(part, rows, resp)["gradient"] - part._penalty * part.theta
    # the numeric one is that along centred directions
    assert_allclose(slope, own - own.mean(axis=0), atol=1e-5)


def test_softmax_coefficients_stay_centred(rng):
    for k in (2, 4, 7):
        _, _, part = started(SoftmaxGate(0.5), rng, k=k, steps=10)
        size = np.abs(part.theta).max()
        assert_allclose(part.theta.sum(axis=0), 0.0, atol=1e-12 * size)
        assert_allclose(part.coef_.sum(axis=0), 0.0, atol=1e-12 * size)
        shifted = part.set_parameters((part.theta + rng.standard_normal(4)).ravel())
        assert_allclose(shifted.theta, part.theta, atol=1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_separable_labels_without_penalty_stay_finite(rng, k):
    X = np.sort(rng.standard_normal((100, 1)), axis=0)
    rows = make_rows(X)
    resp = np.eye(k)[np.arange(100) * k // 100].T
    part = SoftmaxGate(0).start(rows, k, None)
    bounds = []
    for _ in range(60):
        part = fit_part(part, rows, resp)
        bounds.append(expected_log_prob(part, rows, resp))
        assert np.all(np.isfinite(part.theta))
    assert np.isfinite(bounds).all()
    assert max(bounds) > -0.5  # the supremum is 0; 100 log(1 / K) at the start
    assert np.all(np.isfinite(part.coef_)) and np.all(np.isfinite(part.intercept_))


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_huge_logits(rng, size):
    rows, resp, part = started(SoftmaxGate(0), rng, k=4)
    part = part.set_parameters(rng.standard_normal(part.theta.size))
    logits = np.concatenate([part.theta @ b.matrix(part.design) for b in rows.blocks()], axis=1)
    part = part.set_parameters(part.get_parameters() * size / np.abs(logits).max())
    log_prob = all_log_prob(part, rows)
    assert np.all(np.isfinite(log_prob))
    expected = log_softmax(logits * size / np.abs(logits).max(), axis=0)
    assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-10 * size)
    assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=1e-8)
    for start in (part, part.bounded()):
        assert np.all(np.isfinite(fit_part(start, rows, resp).theta))


def test_bounded_step_never_lowers_the_bound(rng):
    # also where the Newton step overshoots: far from the maximum
    newton_fell = 0
    for _ in range(60):
        k = int(rng.integers(2, 6))
        rows, resp, part = started(SoftmaxGate(rng.choice([0.0, 1.0])), rng, n=60, d=2, k=k)
        part = part.set_parameters(4 * rng.standard_normal(part.theta.size))
        before = expected_log_prob(part, rows, resp)
        after = expected_log_prob(fit_part(part.bounded(), rows, resp), rows, resp)
        assert after >= before - 1e-12 * abs(before)
        newton = part.update(statistics_of(part, rows, resp), rows)
        newton_fell += expected_log_prob(newton, rows, resp) < before
    assert newton_fell > 0  # so that the test above has something to say


def test_after_a_bounded_step_newton_steps_come_back(rng):
    rows, resp, part = started(SoftmaxGate(), rng)
    bounded = part.bounded()
    assert (bounded.curvature, part.curvature) == ("bound", "newton")
    assert bounded.n_gram_weights == 1
    new = fit_part(bounded, rows, resp)
    assert new.curvature == "newton"
    assert new.n_gram_weights == 3


def test_a_kept_hessian_leads_to_the_same_maximum(rng, monkeypatch):
    rows, resp, part = started(SoftmaxGate(0.1), rng, k=5)
    asked, newton = [], part
    for _ in range(40):
        asked.append(part.n_gram_weights)
        part = fit_part(part, rows, resp)
    assert set(asked) == {0, 10}
    assert asked[0] == 10
    monkeypatch.setattr(_softmax, "REFRESH", 1)
    newton = fit_part(newton, rows, resp, 15)
    assert_allclose(part.theta, newton.theta, atol=1e-8)


def test_toward(rng):
    rows, resp, old = started(SoftmaxGate(), rng, k=5, steps=4)
    new = fit_part(old, rows, resp)
    assert new.n_gram_weights == 0  # it would reuse its Hessian
    for t in (0.0, 0.25, 1.0):
        part = old.toward(new, t)
        assert_allclose(part.theta, (1 - t) * old.theta + t * new.theta, atol=1e-14)
        assert part.n_gram_weights == 10  # the old Hessian belongs to another place
        # the statistics of the returned part are its own
        assert_allclose(
            fit_part(part, rows, resp).theta,
            fit_part(old.set_parameters(part.get_parameters()), rows, resp).theta,
            atol=1e-12,
        )


@pytest.mark.parametrize(("n_rows", "curvature"), [(3000, "newton"), (8000, "blocks")])
def test_few_rows_have_newton_steps_of_more_coefficients(rng, n_rows, curvature):
    rows = make_rows(rng.standard_normal((n_rows, 16)))
    gate = SoftmaxGate().start(rows, 32, None)
    assert gate.theta.size == 544 and gate.curvature == curvature


def test_more_coefficients_than_newton_steps_are_for(rng, monkeypatch):
    monkeypatch.setattr(_softmax, "CHEAP_HESSIAN", 0)
    X = rng.standard_normal((300, 60))
    rows = make_rows(X)
    resp = random_resp(rng, 9, 300, 3.0)
    part = SoftmaxGate(20.0).start(rows, 9, None)
    assert part.theta.size == 549 > _softmax.NEWTON_COEFFICIENTS
    assert part.n_gram_weights == 9
    bounds = [expected_log_prob(part, rows, resp)]
    for _ in range(40):
        part = fit_part(part, rows, resp)
        assert part.curvature == "blocks"
        bounds.append(expected_log_prob(part, rows, resp))
    assert np.all(np.diff(bounds) >= -1e-10)
    own = statistics_of(part, rows, resp)["gradient"] - part._penalty * part.theta
    first = statistics_of(SoftmaxGate(20.0).start(rows, 9, None), rows, resp)["gradient"]
    assert np.abs(own).max() < 1e-6 * np.abs(first).max()


@pytest.mark.parametrize("curvature", ["blocks", "products"])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_cheaper_steps_reach_the_newton_maximum(rng, monkeypatch, curvature, k):
    rows, resp, part = started(SoftmaxGate(0.5), rng, d=2, k=k)
    newton = fit_part(part, rows, resp, 15)
    monkeypatch.setattr(_softmax, "NEWTON_COEFFICIENTS", 5)
    monkeypatch.setattr(_softmax, "CHEAP_HESSIAN", 0)
    if curvature == "products":
        monkeypatch.setattr("mixexp._newton.LARGEST_BLOCKS", 5)
    part = SoftmaxGate(0.5).start(rows, k, None)
    assert part.curvature == curvature
    assert_allclose(fit_part(part, rows, resp, 100).theta, newton.theta, atol=1e-7)


@pytest.mark.parametrize("columns", [[[0, 1], [1, 2]], [[0, 1], [1, 2], [0, 2]]], ids=str)
def test_products_with_separate_columns_reach_the_newton_maximum(rng, monkeypatch, columns):
    columns, k = [np.array(seen) for seen in columns], len(columns)
    rows, resp, _ = started(SoftmaxGate(0.5), rng, d=3, k=k)
    newton = fit_part(SoftmaxGate(0.5).start(rows, k, columns), rows, resp, 100)
    monkeypatch.setattr(_softmax, "NEWTON_COEFFICIENTS", 5)
    monkeypatch.setattr(_softmax, "CHEAP_HESSIAN", 0)
    monkeypatch.setattr("mixexp._newton.LARGEST_BLOCKS", 5)
    part = fit_part(SoftmaxGate(0.5).start(rows, k, columns), rows, resp, 200)
    assert part.curvature == "products"
    assert_allclose(part.theta, newton.theta, atol=1e-7)
    bounded = part.bounded()
    stepped = bounded.update(statistics_of(bounded, rows, resp), rows)
    assert_allclose(stepped.theta, newton.theta, atol=1e-6)


def test_constant_and_collinear_columns(rng):
    x = rng.standard_normal(120)
    X = np.column_stack([x, np.full(120, 3.0), 2 * x + 1])
    rows, single = make_rows(X), make_rows(x[:, None])
    resp = random_resp(rng, 3, 120, 2.0)
    part = fit_part(SoftmaxGate(0).start(rows, 3, None), rows, resp, 15)
    assert_array_equal(part.coef_[:, 1], 0.0)
    assert part.n_parameters == 2 * 3
    alone = fit_part(SoftmaxGate(0).start(single, 3, None), single, resp, 15)
    assert_allclose(all_log_prob(part, rows), all_log_prob(alone, single), atol=1e-8)


def test_columns_are_selected(rng):
    X, resp = rng.standard_normal((90, 4)), random_resp(rng, 3, 90)
    rows, chosen = make_rows(X), make_rows(X[:, [2, 0]])
    part = fit_part(SoftmaxGate().start(rows, 3, np.array([2, 0])), rows, resp, 4)
    alone = fit_part(SoftmaxGate().start(chosen, 3, None), chosen, resp, 4)
    assert_allclose(part.coef_, alone.coef_, rtol=1e-12)
    assert part.coef_.shape == (3, 2)
    assert part.n_parameters == 2 * 3


@pytest.mark.parametrize("alpha", [-1.0, np.inf, np.nan, "1", None, np.array([1.0, 2.0])])
def test_wrong_alpha(rng, alpha):
    with pytest.raises(ValueError, match=r"SoftmaxGate: alpha must be a number in \[0, inf\)"):
        SoftmaxGate(alpha).start(make_rows(rng.standard_normal((9, 1))), 2, None)
