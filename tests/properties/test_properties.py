"""Properties of every mixture, on cases that hypothesis draws: few here, many in `.ci/nightly`.

`many_cases.py`, next to this file, looks at thousands of cases of the same table of options.
"""

import os

import numpy as np
import pytest
from _draws import build, picks
from _looks import faults_of, strict
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

#: The same cases in every run, and no time limit for one: machines are not alike. The nightly
#: check asks for many.
few = settings(
    max_examples=int(os.environ.get("MIXEXP_EXAMPLES", "5")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

#: Identified problems, of which one iteration amplifies no rounding.
SOUND = {
    "columns": "plain",
    "scale": "one",
    "dtype": "float64",
    "target": "plain",
    "weights": "counts",
    "init": "given",
    "experts": "default",
    "fixed": "none",
    "shared": False,
    "extra": "none",
    "on_collapse": "keep",
    "expert_basis": "linear",
    "gate_basis": "linear",
    "n": 60,
    "d": 3,
}

#: Options without draws and folds, which go by the content of rows, that is by units and names.
BY_VALUE = {**SOUND, "routing": "dense", "assignment": "soft"}


def without_classifier(chosen):
    """Return options with another gate for GaussianNB, whose smoothing depends on units."""
    return {**chosen, "gate": "full"} if chosen["gate"] == "classifier" else chosen


#: Differences that rounding leaves after one iteration.
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.mark.parametrize("kind", ["numbers", "classes"])
@pytest.mark.parametrize(
    "experts", ["default", "linear", pytest.param("network", marks=pytest.mark.slow)]
)
def test_a_fit_is_sound_or_refused_by_name(kind, experts):
    @few
    @given(picks(kind=kind, experts=experts))
    def look(chosen):
        assert faults_of(build(chosen)) == []

    look()


def one_iteration(case, X=None, y=None, rows=None):
    """Return a mixture after one iteration from given responsibilities."""
    rows = np.arange(len(case.y)) if rows is None else rows
    model = clone(case.model).set_params(init=case.model.init[rows], max_iter=1, tol=0)
    X, y = case.X if X is None else X, case.y if y is None else y
    with strict():
        return model.fit(X[rows], y[rows], case.fit["sample_weight"][rows])


@few
@given(picks(**SOUND), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(chosen, random):
    assume(chosen["gate"] != "classifier" or chosen["routing"] == "dense")  # jitter is refused
    case = build(chosen)
    order = np.array(random.sample(range(60), 60))
    one, two = one_iteration(case), one_iteration(case, rows=order)
    assert_allclose(two.lower_bounds_, one.lower_bounds_, **CLOSE)
    assert_allclose(two.gate_proba(case.X), one.gate_proba(case.X), **CLOSE)
    assert_allclose(two.predict_experts(case.X), one.predict_experts(case.X), **CLOSE)


@few
@given(picks(**BY_VALUE), st.permutations(range(3)))
def test_the_order_and_units_of_columns_change_nothing(chosen, order):
    case = build(without_classifier(chosen))
    units = np.array([1e-6, 1.0, 1e3])
    one, two = one_iteration(case), one_iteration(case, (case.X * units)[:, order])
    X = (case.X * units)[:, order]
    assert_allclose(two.gate_proba(X), one.gate_proba(case.X), rtol=1e-8, atol=1e-8)
    assert_allclose(two.predict_experts(X), one.predict_experts(case.X), rtol=1e-8, atol=1e-8)


@few
@given(picks(**BY_VALUE, kind="classes", n_classes=3, labels="ints"), st.permutations(range(3)))
def test_names_of_classes_change_nothing(chosen, names):
    case = build(without_classifier(chosen))
    codes = np.unique(case.y, return_inverse=True)[1]
    names = np.array(names)
    one, two = one_iteration(case, y=codes), one_iteration(case, y=names[codes])
    assert_allclose(two.lower_bounds_, one.lower_bounds_, **CLOSE)
    assert_allclose(two.predict_proba(case.X)[:, names], one.predict_proba(case.X), **CLOSE)


@few
@given(picks(n=30, d=2))
def test_a_fit_changes_no_input_and_is_repeated_to_the_bit(chosen):
    case, again = build(chosen), build(chosen)
    with strict():
        try:
            case.model.fit(case.X, case.y, **case.fit)
        except (ValueError, TypeError):  # a TypeError where an expert is not for the targets
            return
        again.model.fit(again.X, again.y, **again.fit)
    dense = [
        of.X.toarray() if hasattr(of.X, "toarray") else np.asarray(of.X) for of in (case, again)
    ]
    assert_array_equal(dense[0], dense[1])
    assert_array_equal(case.model.lower_bounds_, again.model.lower_bounds_)
    assert_array_equal(case.model.gate_proba(case.X), again.model.gate_proba(case.X))
    fresh = build(chosen)
    assert_array_equal(fresh.y, case.y)
    rows = [
        of.X.toarray() if hasattr(of.X, "toarray") else np.asarray(of.X) for of in (fresh, case)
    ]
    assert_array_equal(rows[0], rows[1])
