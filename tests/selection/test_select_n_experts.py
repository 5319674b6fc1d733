"""Comparing numbers of experts."""

from dataclasses import replace

import numpy as np
import pytest
from _grown import two_lines
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_random_experts, make_softmax_mixture
from mixexp.gates import GaussianGate
from mixexp.selection import SelectionDisplay, bootstrap_lrt, select_n_experts

NUMBERS = [1, 2, 3]


def found_for(X, y, mixture=None, **options):
    mixture = MixtureOfExpertsRegressor(random_state=0) if mixture is None else mixture
    return select_n_experts(mixture, X, y, **{"n_experts": NUMBERS} | options)


@pytest.mark.parametrize(
    ("criterion", "k"), [("cv", 1), ("bic", 1), ("icl", 1), ("bic", 2), ("icl", 2)]
)
def test_the_right_number(criterion, k):
    X, y = make_random_experts(600, 2, k, random_state=1)
    found = found_for(X, y, n_experts=range(1, 5), criterion=criterion)
    assert found.n_experts_ == found.best_estimator_.n_experts_ == k


def test_the_estimator_is_not_changed_and_the_best_one_is_an_ordinary_fit():
    X, y = two_lines()
    mixture = MixtureOfExpertsRegressor(n_experts=7, random_state=0)
    best = found_for(X, y, mixture).best_estimator_
    assert mixture.n_experts == 7 and not hasattr(mixture, "experts_")
    assert best.n_experts == 2 and len(best.experts_) == 2
    again = best.fit(X, y)
    assert not hasattr(again, "selection_")


def test_threads_and_order_of_rows_do_not_matter(rng):
    X, y = two_lines()
    one, two = found_for(X, y), found_for(X, y, n_jobs=2)
    assert_array_equal(one.cv, two.cv)
    assert_array_equal(one.best_estimator_.predict(X), two.best_estimator_.predict(X))
    order = rng.permutation(len(y))
    assert_allclose(found_for(X[order], y[order]).cv, one.cv, rtol=1e-8)


def test_weight_two_is_the_row_twice():
    X, y = two_lines()
    weight = np.ones(len(y))
    weight[:40] = 2
    weighted = found_for(X, y, sample_weight=weight)
    repeated = found_for(np.concatenate([X, X[:40]]), np.concatenate([y, y[:40]]))
    for name in ("cv", "aic", "bic", "icl", "log_likelihood", "n_parameters", "cv_shortfall_error"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8, atol=1e-10)


def test_groups_are_units():
    X, y = two_lines()
    groups = np.repeat(np.arange(40), 3)
    found = found_for(np.repeat(X[:40], 3, axis=0), y, groups=groups, n_experts=[1, 2])
    model = found.best_estimator_
    X = np.repeat(X[:40], 3, axis=0)
    place = found.n_experts.tolist().index(found.n_experts_)
    assert_allclose(found.bic[place], model.bic(X, y, groups=groups), rtol=1e-6)


def test_offsets_are_added():
    X, y = two_lines()
    shift = np.linspace(-5, 5, len(y))
    options = {"n_experts": [1, 2]}
    plain, shifted = found_for(X, y, **options), found_for(X, y + shift, offset=shift, **options)
    assert_allclose(shifted.log_likelihood, plain.log_likelihood, rtol=1e-6)


def test_rounding_wins_nothing():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2))
    y = np.round(X @ [1.0, 0.5] + 0.3 * rng.standard_normal(300))  # five values
    found = found_for(X, y, criterion="aic", n_experts=range(1, 5))
    step = 1 / np.sqrt(2 * np.pi)
    assert np.all(np.atleast_1d(found.best_estimator_.dispersions_) >= step - 1e-9)
    assert found.log_likelihood.max() <= 0  # no density above 1 on a grid of step 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_cross_fitted_experts_are_judged_out_of_fold():
    X, y = two_lines()
    forest = RandomForestRegressor(5, max_depth=3, random_state=0)
    mixture = MixtureOfExpertsRegressor(forest, max_iter=3, random_state=0)
    found = found_for(X, y, mixture, n_experts=[1, 2])
    assert_allclose(found.cv, found.log_likelihood / len(y))
    assert set(found.counted) == {"unknown"}
    with pytest.raises(ValueError, match="criterion='bic' needs the number of parameters"):
        found_for(X, y, mixture, criterion="bic")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_that_do_not_memorise_are_refitted():
    X, y = two_lines()
    mixture = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=1), cross_fit=False, max_iter=3, random_state=0
    )
    found = found_for(X, y, mixture, n_experts=[1, 2])
    assert np.all(found.cv < found.log_likelihood / len(y))


@pytest.mark.parametrize(
    "mixture",
    [
        MixtureOfExpertsRegressor(noise_expert=True, random_state=0),
        MixtureOfExpertsRegressor(gate=GaussianGate(), random_state=0),
        MixtureOfExpertsRegressor(family="laplace", max_iter=400, random_state=0),
        MixtureOfExpertsRegressor(shared_expert=LinearRegression(), random_state=0),
    ],
    ids=["noise", "Gaussian gate", "Laplace", "shared"],
)
def test_other_parts(mixture):
    X, y = two_lines()
    found = found_for(X, y, mixture, n_experts=[1, 2])
    assert np.all(np.isfinite(found.cv)) and np.all(np.isfinite(found.bic))


def test_classes():
    X, y = make_softmax_mixture(200, n_experts=2, task="classification", random_state=0)
    mixture = MixtureOfExpertsClassifier(random_state=0)
    found = found_for(X, np.array(["no", "yes"])[y], mixture, n_experts=[1, 2])
    assert found.n_experts_ == 2


def test_the_table():
    pytest.importorskip("pandas")
    X, y = two_lines()
    found = found_for(X, y)
    frame = found.to_frame()
    assert frame.index.tolist() == NUMBERS and frame.chosen.tolist() == [False, True, False]
    text = repr(found)
    assert "2 experts, by cv" in text and len(text.splitlines()) == 5
    assert text.splitlines()[3].startswith("* ")


def test_wide_numbers_do_not_run_together():
    X, y = two_lines(40)
    found = found_for(X, y, n_experts=[1, 2])
    huge = np.full(2, -123456789.25)
    rows = repr(replace(found, bic=huge, icl=huge, cv=huge)).splitlines()[2:]
    assert [row.split().count("-123456789.2") for row in rows] == [2, 2]


def test_pictures():
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    X, y = two_lines()
    mixture = MixtureOfExpertsRegressor(random_state=0)
    display = SelectionDisplay.from_estimator(mixture, X, y, n_experts=NUMBERS)
    assert display.line_.get_xdata().tolist() == NUMBERS
    assert display.chosen_line_.get_xdata()[0] == 2
    found = found_for(X, y)
    assert_array_equal(display.line_.get_ydata(), found.cv)
    other = SelectionDisplay.from_selection(found, criterion="bic", ax=display.ax_)
    assert other.chosen_line_.get_label() == "chosen by cv: 2"
    assert other.figure_ is display.figure_
    with pytest.raises(ValueError, match="criterion must be one of"):
        SelectionDisplay.from_selection(found, criterion="r2")
    with pytest.raises(TypeError, match="selection must be an ExpertSelection"):
        SelectionDisplay.from_selection(found.best_estimator_)
    plt.close(display.figure_)


def test_bootstrap_test():
    X, y = two_lines(60)
    mixture = MixtureOfExpertsRegressor(random_state=0)
    one, two = (
        bootstrap_lrt(mixture, X, y, n_experts=k, n_resamples=4, random_state=0, n_jobs=k)
        for k in (1, 2)
    )
    assert one.p_value == 0.2 and one.statistic > one.resampled.max()
    assert two.p_value > 0.2
    again = bootstrap_lrt(mixture, X, y, n_experts=2, n_resamples=4, random_state=0)
    assert_array_equal(again.resampled, two.resampled)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (select_n_experts, {"n_experts": []}, "must hold integers of at least 1"),
        (select_n_experts, {"n_experts": [0, 1]}, "must hold integers of at least 1"),
        (select_n_experts, {"n_experts": None}, r"n_experts=\[None\] must hold integers"),
        (select_n_experts, {"n_experts": "auto"}, "n_experts='auto' must hold integers"),
        (select_n_experts, {"n_experts": [1000]}, "fewer than 1000 experts"),
        (select_n_experts, {"criterion": "r2"}, "criterion must be one of"),
        (bootstrap_lrt, {"n_experts": 0}, "n_experts must be an integer of at least 1"),
        (bootstrap_lrt, {"n_experts": 1, "n_resamples": 0}, "n_resamples must be an integer"),
    ],
)
def test_bad_values(function, options, message):
    X, y = two_lines(40)
    with pytest.raises(ValueError, match=message):
        function(MixtureOfExpertsRegressor(), X, y, **options)


def test_no_test_without_a_number_of_parameters():
    X, y = two_lines(40)
    mixture = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2))
    with pytest.raises(ValueError, match="a test of the likelihood ratio does too"):
        bootstrap_lrt(mixture, X, y, n_experts=1)


def test_what_is_no_mixture():
    X, y = two_lines(40)
    with pytest.raises(TypeError, match="estimator must be a MixtureOfExpertsRegressor"):
        select_n_experts(LinearRegression(), X, y)
    with pytest.raises(ValueError, match="targets cannot be drawn from noise"):
        bootstrap_lrt(MixtureOfExpertsRegressor(noise_expert=True), X, y, n_experts=1)
