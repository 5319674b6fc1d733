"""How often experts that are fitted as a whole are fitted, and on which rows."""

import numpy as np
import pytest
from _quiet import quiet
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import rivals, search
from mixexp._estimators import refits
from mixexp.experts._refits import due, moved_share

LEAF = {"min_samples_leaf": 5, "random_state": 0}
FEW = {"n_experts": 2, "n_init": 1, "random_state": 0}


class Counted(DecisionTreeRegressor):
    """A tree that notes the rows of each fit, and whether they had weights."""

    fits: list = []

    def fit(self, X, y, sample_weight=None):
        self.fits.append((len(y), sample_weight is not None))
        return super().fit(X, y, sample_weight)


@pytest.fixture
def fits(monkeypatch):
    monkeypatch.setattr(Counted, "fits", [])
    return Counted.fits


@pytest.fixture(scope="module")
def crossing():
    """Two steep lines that cross: a tree of all rows needs many leaves, those of a side few."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (160, 2))
    side = X[:, 0] > 0
    return X, np.where(side, 9 * X[:, 1], -9 * X[:, 1]) + 0.1 * rng.standard_normal(160), side


@pytest.fixture(scope="module")
def one_wave():
    """Few rows of a curve that bends everywhere alike: regions have nothing of their own."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (60, 1))
    return X, np.sin(12 * X[:, 0]) + 0.3 * rng.standard_normal(60)


def test_default_fits_are_few(crossing, fits):
    X, y, _ = crossing
    model = quiet(MixtureOfExpertsRegressor(Counted(**LEAF), **FEW), X, y)
    folds, experts = 5, 2
    assert len(fits) <= experts * folds + folds + experts  # own, one for all, and the last ones
    assert model.n_iter_ > 1  # gate and dispersions went on
    assert model.cross_fitted_


@pytest.mark.parametrize("n_refits", [1, 3])
def test_a_number_is_kept_to(crossing, fits, n_refits):
    X, y, side = crossing
    labels = side.astype(int)
    model = MixtureOfExpertsRegressor(
        Counted(**LEAF), cross_fit=3, n_refits=n_refits, init=labels, **FEW
    )
    quiet(model, X, y)
    assert len(fits) == 2 * 3 * n_refits + 2


def test_experts_of_a_region_see_its_rows_only(crossing):
    X, y, side = crossing
    tree = DecisionTreeRegressor(**LEAF)
    model = quiet(MixtureOfExpertsRegressor(tree, init=side.astype(int), **FEW), X, y)
    sizes = [expert.tree_.n_node_samples[0] for expert in model.experts_]
    assert sorted(sizes) == sorted(np.bincount(side))


def test_one_model_takes_the_place_of_all_where_regions_gain_nothing(one_wave):
    X, y = one_wave
    tree = DecisionTreeRegressor(**LEAF)
    model = quiet(MixtureOfExpertsRegressor(tree, **FEW), X, y)
    assert any("one model of all rows" in event for event in model.restarts_[0].events)
    assert_allclose(model.predict(X), tree.fit(X, y).predict(X), rtol=1e-12)
    assert model.experts_[0] is not model.experts_[1]
    own = quiet(MixtureOfExpertsRegressor(tree, n_refits=1, **FEW), X, y)
    assert own.lower_bound_ < model.lower_bound_
    assert np.any(own.predict(X) != model.predict(X))


@pytest.mark.parametrize(("gain", "one"), [(1.5, True), (0.5, False), (-1.5, False)])
def test_one_model_must_be_better_by_a_standard_error(one_wave, monkeypatch, gain, one):
    monkeypatch.setattr(search, "gained", lambda *states: (0.3 * gain, 0.3))
    model = MixtureOfExpertsRegressor(DecisionTreeRegressor(**LEAF), **FEW)
    events = quiet(model, *one_wave).restarts_[0].events
    assert any("one model of all rows" in event for event in events) == one


def test_a_gain_is_weighted():
    class Drawn:
        """Rows whose blocks have been looked at."""

        def map(self, of_block, axis):
            return np.array([[1.0, 3.0], [2.0, 1.0]])

    error = np.sqrt((2 * (2 / 3) ** 2 + (4 / 3) ** 2) / 3 / 3)
    assert_allclose(rivals.gained(Drawn(), None, None), (5 / 3, error))


def test_one_model_is_of_all_rows_where_experts_have_drawn_ones(one_wave, fits, monkeypatch):
    for name in ("DRAWN_ROWS", "DRAWN_ROWS_EACH"):
        monkeypatch.setattr(refits, name, 30)
    quiet(MixtureOfExpertsRegressor(Counted(**LEAF), **FEW), *one_wave)
    sizes = [size for size, _ in fits]
    assert sum(sizes[:10]) == 4 * 60  # each row is one expert's, in four of five folds
    assert sum(sizes[10:15]) == 4 * 60 and min(sizes[10:15]) > 40
    assert sizes[15:] == [60]


def test_one_model_of_all_rows_stays_in_a_fit_that_goes_on(one_wave):
    """Its regions are not the user's; models of them alone are far worse."""
    model = MixtureOfExpertsRegressor(KNeighborsRegressor(3), warm_start=True, **FEW)
    bounds = [quiet(model, *one_wave).lower_bound_ for _ in range(2)]
    assert bounds[1] > bounds[0] - 0.01
    assert_array_equal(*model.predict_experts(one_wave[0]).T)


def test_weights_are_repeated_rows(one_wave, fits):
    X, y = one_wave
    weight = np.where(np.arange(60) < 20, 2, 1)
    repeated = np.repeat(np.arange(60), weight)
    tree = Counted(**LEAF)
    one = quiet(MixtureOfExpertsRegressor(tree, **FEW), X, y, sample_weight=weight)
    two = quiet(MixtureOfExpertsRegressor(tree, **FEW), X[repeated], y[repeated])
    assert_array_equal(one.predict(X), two.predict(X))
    assert (80, False) in fits  # one model of all rows, without weights


def test_many_rows_are_drawn_and_have_two_folds(crossing, fits, monkeypatch):
    for name in ("MANY_ROWS", "DRAWN_ROWS"):
        monkeypatch.setattr(refits, name, 160)
        monkeypatch.setattr(refits, f"{name}_EACH", 80)
    X, y, _ = crossing
    quiet(MixtureOfExpertsRegressor(Counted(**LEAF), n_refits=1, **FEW), X, y)
    assert len(fits) == 2 * 2 + 2
    assert not any(weighted for _, weighted in fits)
    assert sum(size for size, _ in fits[-2:]) == 160  # each row is one expert's


def test_classes_too(crossing):
    X, y, side = crossing
    tree = DecisionTreeClassifier(**LEAF)
    classes = y > np.median(y)
    model = MixtureOfExpertsClassifier(tree, init=side.astype(int), max_iter=3, **FEW)
    quiet(model, X, classes)
    assert model.score(X, classes) > 0.9
    assert model.exponents_.shape == (2,)


def test_a_number_without_folds_is_refused(crossing):
    X, y, _ = crossing
    model = MixtureOfExpertsRegressor(Counted(), cross_fit=False, n_refits=2, **FEW)
    with pytest.raises(ValueError, match=r"n_refits=2 is for experts.*cross-fitted.*Set"):
        model.fit(X, y)
    model = MixtureOfExpertsRegressor(
        Counted(), shared_expert=DecisionTreeRegressor(), n_refits=2, **FEW
    )
    with pytest.raises(ValueError, match=r"n_refits=2 and a shared expert need a warm-up.*Set"):
        model.fit(X, y)


def test_an_expert_that_was_given_another_region_is_due():
    before = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    after = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert_array_equal(due(np.array([1, 1]), 1, before, after), [True, False])
    assert_array_equal(due(np.array([3, 0]), 1, before, after), [False, True])


def test_moved_share():
    before = np.array([[1.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]])
    after = np.array([[1.0, 0.0, 1.0, 0.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 2.0]])
    assert_allclose(moved_share(before, after), [0.5, 0.0, 1.0])
    assert_allclose(moved_share(np.zeros((1, 2)), np.zeros((1, 2))), [0.0])
