"""What holds for every bank of linear or logistic experts."""

import numpy as np
import pandas as pd
import pytest
from _bank_outputs import all_log_prob, all_predict
from _problems import (
    banks,
    expected_log_prob,
    fit_part,
    make_rows,
    numeric_gradient,
    one_expert,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal

from mixexp.protocols import Part, can

KINDS = {
    "linear": {},
    "linear, unpenalised": {"alpha": 0.0},
    "linear, two outputs": {"n_outputs": 2},
    "linear, no intercept": {"intercept": False},
    "linear, L1, two outputs": {"alpha": 0.3, "l1_ratio": 1.0, "n_outputs": 2},
    "linear, elastic net": {"alpha": 0.2, "l1_ratio": 0.5, "intercept": False},
    "logistic, L1": {"n_classes": 2, "l1_ratio": 1.0},
    "logistic, three classes, L1": {"n_classes": 3, "l1_ratio": 1.0},
    "logistic, four classes, elastic net": {"n_classes": 4, "l1_ratio": 0.5},
    "logistic, two classes": {"n_classes": 2},
    "logistic, three classes": {"n_classes": 3, "alpha": 0.2},
    "logistic, no intercept": {"n_classes": 3, "intercept": False},
}


@pytest.fixture(params=KINDS)
def bank_case(request, rng):
    """Rows, a bank of linear or logistic experts and responsibilities."""
    return banks(rng, **KINDS[request.param])


def test_statistics_add_over_blocks(bank_case, rng):
    rows, bank, resp = bank_case
    bank = bank.set_parameters(0.3 * rng.standard_normal(len(bank.get_parameters())))
    whole = statistics_of(bank, rows, resp)
    rows.block_rows = 64
    cut = statistics_of(bank, rows, resp)
    assert set(cut) == set(whole)
    for name, value in whole.items():
        assert_allclose(cut[name], value, rtol=1e-9, atol=1e-10 * np.abs(value).max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(rng, kind):
    rows, bank, resp = banks(rng, **KINDS[kind])
    weight = rng.integers(0, 4, size=rows.n_rows)
    again = np.repeat(np.arange(rows.n_rows), weight)
    template, classes = bank.template, getattr(bank, "classes", None)
    fits = []
    for ids, w in ((np.flatnonzero(weight), weight[weight > 0].astype(float)), (again, None)):
        part = make_rows(rows.X[ids], rows.y[..., ids], w)
        one = one_expert(template, part, classes)
        fits.append(fit_part(one.replicate(3), part, resp[:, ids], 6))
    assert_allclose(fits[0].get_parameters(), fits[1].get_parameters(), atol=1e-9)


def test_many_steps_end_at_a_stationary_point(bank_case, rng):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 20)
    vector = bank.get_parameters()
    top = expected_log_prob(bank, rows, resp)
    if bank.l1 is None:  # an L1 penalty has no derivative
        slope = numeric_gradient(
            lambda v: expected_log_prob(bank.set_parameters(v), rows, resp), vector
        )
        assert_allclose(slope, 0.0, atol=2e-4)
    for _ in range(20):
        near = bank.set_parameters(vector + 0.02 * rng.standard_normal(len(vector)))
        assert expected_log_prob(near, rows, resp) < top


def test_bound_does_not_fall_at_fixed_responsibilities(bank_case):
    rows, bank, resp = bank_case
    before = -np.inf
    for _ in range(8):
        bank = fit_part(bank, rows, resp)
        after = expected_log_prob(bank, rows, resp)
        assert after >= before - 1e-10 * abs(after)
        before = after


def test_parameters_round_trip(bank_case, rng):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    vector = bank.get_parameters()
    kept = vector.copy()
    again = bank.set_parameters(vector.copy())
    assert_allclose(again.get_parameters(), vector, rtol=1e-13, atol=1e-13)
    assert_allclose(all_log_prob(again, rows), all_log_prob(bank, rows), rtol=1e-10)
    other = bank.set_parameters(vector + rng.standard_normal(len(vector)))
    assert_array_equal(bank.get_parameters(), kept)
    restored = other.set_parameters(other.get_parameters())
    assert_allclose(all_log_prob(restored, rows), all_log_prob(other, rows), rtol=1e-9)


def test_update_leaves_the_old_bank_alone(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp)
    vector = bank.get_parameters().copy()
    new = fit_part(bank, rows, resp[::-1])
    assert_array_equal(bank.get_parameters(), vector)
    assert not np.allclose(new.get_parameters(), vector)


def test_fitted_experts_predict_what_the_bank_does(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    assert isinstance(bank, Part)
    experts = bank.fitted(np.array(["a", "b", "c"]))
    predicted = all_predict(bank, rows)
    frame = pd.DataFrame(rows.X, columns=["a", "b", "c"])
    assert len(experts) == bank.n_experts == 3
    for expert, own in zip(experts, predicted, strict=True):
        assert type(expert) is type(bank.template)
        assert expert.get_params() == bank.template.get_params()
        assert expert.n_features_in_ == 3
        proba = can(expert, "predict_proba")
        outputs = expert.predict_proba(frame) if proba else expert.predict(frame)
        assert_allclose(outputs.reshape(rows.n_rows, -1).T, own, rtol=1e-8, atol=1e-8)
        assert_array_equal(expert.feature_names_in_, ["a", "b", "c"])
    assert not hasattr(bank.fitted(None)[0], "feature_names_in_")
    assert not hasattr(bank.template, "coef_")


def test_an_expert_without_rows_keeps_its_parameters(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    resp[1] = 0.0
    new = fit_part(bank, rows, resp, 3)
    assert np.all(np.isfinite(new.get_parameters()))
    if not can(bank, "classes"):  # nothing pulls at an expert but its prior
        assert_array_equal(new.theta[1], bank.theta[1])
        assert_array_equal(new.parameters[0][1], bank.parameters[0][1])


def test_replicate_gives_equal_experts(rng):
    for classes in (None, np.arange(3)):
        y = rng.standard_normal(40) if classes is None else rng.integers(3, size=40)
        rows = make_rows(rng.standard_normal((40, 2)), y)
        one = one_expert(None, rows, classes)
        one = fit_part(one, rows, np.ones((1, 40)), 3)
        five = one.replicate(5)
        assert (one.n_experts, five.n_experts) == (1, 5)
        assert_allclose(all_log_prob(five, rows), np.tile(all_log_prob(one, rows), (5, 1)))
        assert five.n_parameters == 5 * one.n_parameters
