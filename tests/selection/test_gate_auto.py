"""Fits with gate="auto"."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators.choosing import _chosen, _split
from mixexp._estimators.tasks import FitTask
from mixexp.bases import QuantileBasis
from mixexp.callbacks import Callback, Checkpoint
from mixexp.datasets import make_softmax_mixture
from mixexp.gates import GaussianGate, SoftmaxGate
from mixexp.inference import bootstrap

KINDS = ["softmax", "softmax on quantiles", "gaussian", "tree"]


def auto(**options):
    options = {"n_experts": 2, "gate": "auto", "n_init": 1, "random_state": 0} | options
    return MixtureOfExpertsRegressor(**options)


def rings(n=200, seed=0):
    """Two lines, one within a circle and one outside: no border that is linear divides them."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 2)) * 1.5
    inside = (X**2).sum(axis=1) < 2.0
    return X, np.where(inside, 5 + X[:, 0], -X[:, 0]) + 0.1 * rng.normal(size=n)


def halves(n=150, seed=0):
    """Two lines, divided by a border."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 2))
    return X, np.where(X[:, 1] < 0, 5 + X[:, 0], -X[:, 0]) + 0.1 * rng.normal(size=n)


@pytest.fixture(scope="module")
def found():
    return auto().fit(*rings())


def test_a_gaussian_gate_where_a_region_is_round(found):
    results = found.gate_results_
    assert results["gate"] == KINDS and results["error"] == [""] * 4
    assert isinstance(found.gate_, GaussianGate) and results["best_index"] == 2
    assert results["log_density"][2] > results["log_density"][0] + 0.1
    assert found.gate == "auto" and found.gate_basis == "auto"


def test_the_simplest_where_all_do_as_well():
    X, y = make_softmax_mixture(n_samples=400, n_experts=2, random_state=0)
    model = auto().fit(X, y)
    assert isinstance(model.gate_, SoftmaxGate) and model.gate_basis_ is None


def test_it_is_the_fit_with_that_gate(found):
    X, y = rings()
    plain = auto(gate=GaussianGate(), gate_basis="linear").fit(X, y)
    assert_allclose(found.predict(X), plain.predict(X), rtol=1e-12)
    assert found.lower_bound_ == plain.lower_bound_


def test_neither_order_nor_repeated_rows_matter(found):
    X, y = rings()
    order = np.random.RandomState(1).permutation(len(y))
    mixed = auto().fit(X[order], y[order]).gate_results_["log_density"]
    assert_allclose(mixed[:3], found.gate_results_["log_density"][:3], rtol=1e-6)
    weight = np.ones(len(y))
    weight[:50] = 2
    weighted = auto().fit(X, y, sample_weight=weight).gate_results_["log_density"]
    twice = np.r_[np.arange(50), np.arange(len(y))]
    repeated = auto().fit(X[twice], y[twice]).gate_results_["log_density"]
    assert_allclose(weighted[:3], repeated[:3], rtol=1e-6)


def test_what_does_not_go_with_the_data_is_left_out():
    X, y = halves()
    X[::7, 0] = np.nan
    expert = HistGradientBoostingRegressor(max_iter=3)
    results = auto(expert=expert, cross_fit=False).fit(X, y).gate_results_
    assert np.isnan(results["log_density"][2]) and "NaN" in results["error"][2]


def test_classes_frames_groups_and_offsets():
    X, y = halves()
    frame = pd.DataFrame(X, columns=["left", "right"])
    labels = np.where(y > 1, "high", "low")
    model = MixtureOfExpertsClassifier(n_experts=2, gate="auto", random_state=0)
    model = clone(model).fit(frame, labels)
    assert list(model.feature_names_in_) == ["left", "right"]
    assert np.isfinite(model.gate_results_["log_density"]).all()
    X[:, 1] = np.repeat(X[::3, 1], 3)
    grouped = auto(expert=LinearRegression(), gate_features=[1])
    grouped.fit(X, y, groups=np.repeat(np.arange(50), 3), offset=np.ones(150))
    assert np.isfinite(grouped.gate_results_["log_density"][:3]).all()


def test_a_basis_that_was_given_stays():
    model = auto(gate_basis="quantile").fit(*rings())
    assert model.gate_results_["gate"] == ["softmax", "gaussian"]
    assert isinstance(model.gate_basis_, QuantileBasis)


def test_a_quarter_is_held_out_equal_rows_and_groups_as_a_whole():
    X, y = halves(400)
    X, y = np.tile(X, (2, 1)), np.tile(y, 2)
    train, test = _split(X, y, None, None, classes=False)
    assert_array_equal(np.sort(np.r_[train, test]), np.arange(800))
    assert 0.2 < len(test) / 800 < 0.3
    assert not set(train % 400) & set(test % 400)
    groups = np.arange(800) // 5
    train, test = _split(X, y, None, groups, classes=False)
    assert len(train) > len(test) > 0 and not set(groups[train]) & set(groups[test])


def test_the_first_within_one_standard_error_of_the_best():
    gains = np.array([0.0, 2.0, 0.0, 2.0])  # 1 ± 1 / 2 in the mean
    assert _chosen({"first": -gains, "best": np.zeros(4)}, None) == "best"
    near = {"first": -gains + 0.6, "best": np.zeros(4)}
    assert _chosen(near, None) == "first"
    assert _chosen(near, np.full(4, 100.0)) == "best"  # each of the rows is there 100 times
    assert _chosen(near, np.array([0.0, 1.5, 0.5, 1.5])) == "best"
    assert _chosen({"first": np.zeros(4), "second": gains - 0.4}, None) == "second"


GIVEN = {
    "offset": ({"family": "poisson"}, np.linspace(-1, 1, 120)),
    "trials": ({"family": "binomial"}, np.arange(120) % 4 + 9),
    "groups": ({}, np.arange(120) // 2),
    "sample_weight": ({"n_experts": "auto", "max_experts": 2, "init": "mixed"}, np.arange(120) % 3),
}


@pytest.mark.parametrize("name", GIVEN)
def test_candidates_are_compared_by_fits_to_the_other_rows(name):
    """With what was given of these rows; callbacks and warnings are of the last fit only."""
    params, values = GIVEN[name]
    X, y = halves(120)
    X[1::2] = X[::2]  # the same in both rows of a group
    y = np.round(np.abs(y)) if "family" in params else y
    init = (X[:, 1] > 0).astype(int)
    model = auto(gate_basis="linear", max_iter=1, init=init).set_params(**params)
    begun = []

    class Seen(Callback):
        def setup(self, estimator, context):
            begun.append(estimator)

    with pytest.warns(ConvergenceWarning) as caught:
        fitted = clone(model).set_callbacks(Seen()).fit(X, y, **{name: values})
    assert len(begun) == len(caught) == 1
    groups, weight = (values if name == given else None for given in ("groups", "sample_weight"))
    train, test = _split(X, y[:, None], weight, groups, classes=False)
    gate = SoftmaxGate(alpha="auto") if model.n_experts == "auto" else SoftmaxGate()
    by_hand = clone(model).set_params(gate=gate, n_experts=2)
    by_hand.set_params(init=params.get("init", init[train]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_hand.fit(X[train], y[train], **{name: values[train]})
    new = {} if name == "sample_weight" else {name: values[test]}
    density = by_hand.log_density(X[test], y[test], **new)
    weight = values[test] if name == "sample_weight" else None
    density = np.average(density, weights=weight)
    assert_allclose(fitted.gate_results_["log_density"][0], density, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_last_fit_may_be_resumed(tmp_path):
    model = auto(gate_basis="linear", max_iter=1)
    with pytest.raises(FileNotFoundError, match="resume_from"):
        model.fit(*halves(60), resume_from=tmp_path / "none")


def test_the_number_may_be_open_too():
    model = auto(n_experts="auto", max_experts=3).fit(*rings())
    assert model.gate_results_["best_index"] == 2 and model.n_experts_ <= 3


def test_what_cannot_choose(rng):
    X, y = halves(60)
    with pytest.raises(TypeError, match="gate='auto' compares fits of rows"):
        auto().fit_blocks(lambda: iter([(X, y)]))
    with pytest.raises(ValueError, match=r"the inner .* has gate='auto'"):
        MixtureOfExpertsRegressor(expert=auto(), n_experts=2).fit(X, y)
    with pytest.raises(ValueError, match="'gate' parameter"):
        auto(gate="best").fit(X, y)
    model = auto()
    with pytest.raises(ValueError, match="init"):
        model.set_params(init=np.zeros(3)).fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_refit_has_the_gate_that_was_chosen(found):
    """As a bootstrap makes it: the kinds are not compared again."""
    again = clone(found).set_params(**found._settled()).fit(*rings())
    assert isinstance(again.gate, GaussianGate) and again.n_experts == 2
    assert again.lower_bound_ == found.lower_bound_


def test_sparse_rows_choose_as_dense_ones(found):
    X, y = rings()
    sparse = auto().fit(coo_array(X), y)
    assert_allclose(
        sparse.gate_results_["log_density"][0], found.gate_results_["log_density"][0], rtol=1e-6
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # 8 rows
def test_few_rows_are_split_and_too_few_are_refused():
    X, y = halves(8)
    model = MixtureOfExpertsClassifier(n_experts=2, gate="auto", n_init=1, random_state=0)
    assert np.isfinite(model.fit(X, [0, 1] * 4).gate_results_["log_density"][0])
    with pytest.raises(ValueError, match=r"gate='auto' .* these rows 20 and 0 .*distinct rows"):
        auto().fit(np.ones((20, 2)), np.ones(20))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one expert does
def test_a_rare_class_is_not_held_out():
    X, y = halves(40)
    model = MixtureOfExpertsClassifier(n_experts=2, gate="auto", n_init=1, random_state=0)
    for row in range(4):  # some of these rows would be held out
        labels = np.where(np.arange(40) == row, "rare", "usual")
        assert np.isfinite(clone(model).fit(X, labels).gate_results_["log_density"]).all()


def test_neither_the_scale_of_weights_nor_rows_without_weight_matter():
    X, y = rings(80)
    plain = auto().fit(X, y).gate_results_
    with pytest.warns(UserWarning, match="rescaled to a mean of 1"):
        small = auto().fit(X, y, sample_weight=np.full(80, 0.001)).gate_results_
    assert small["best_index"] == plain["best_index"]
    weight = np.repeat([1.0, 0.0], 80)
    more = auto().fit(np.r_[X, X + 1], np.r_[y, y], sample_weight=weight).gate_results_
    assert_allclose(more["log_density"][:3], plain["log_density"][:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"sample_weight": np.ones(45)}, r"\(45,\), expected \(60,\)"),
        ({"groups": np.arange(4)}, r"shape \(60,\)"),
        ({"offset": np.ones(45)}, "60 rows"),
    ],
)
def test_errors_are_about_all_rows(argument, message):
    X, y = halves(60)
    with pytest.raises(ValueError, match=message):
        auto().fit(X, y, **argument)


def test_nothing_of_an_earlier_fit_is_left():
    X, y = halves(60)
    model = auto().fit(pd.DataFrame(X, columns=["left", "right"]), y).fit(X, y)
    assert not hasattr(model, "feature_names_in_")
    model.set_params(gate=None).fit(X, y)
    assert not hasattr(model, "gate_results_")


@pytest.mark.filterwarnings("ignore:.*did not converge in max_iter=1")
def test_a_warm_start_goes_on():
    X, y = halves(60)
    model = auto(n_init=3, max_iter=1, tol=1e-3, gate_basis="linear", warm_start=True).fit(X, y)
    first = model.lower_bound_
    model.set_params(max_iter=50, tol=1e-8).fit(X, y)
    # the tree that was chosen has settled in one iteration
    assert model.lower_bound_ >= first - 1e-12 and len(model.restarts_) == 1


def test_refits_have_the_gate_that_was_chosen():
    X, y = make_softmax_mixture(n_samples=400, n_experts=2, random_state=0)
    estimates = bootstrap(auto().fit(X, y), X, y, n_refits=2, random_state=0)
    plain = auto(gate=SoftmaxGate(), gate_basis="linear").fit(X, y)
    same = bootstrap(plain, X, y, n_refits=2, random_state=0)
    assert_allclose(estimates.samples, same.samples, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_resumed_fit_without_a_seed_chooses_as_before(tmp_path, monkeypatch):
    X, y = rings(40)
    path = Checkpoint(tmp_path / "fit.checkpoint", trusted=True)
    model = auto(random_state=None, n_experts=3).set_callbacks(path)
    monkeypatch.setattr(np.random.mtrand, "_rand", np.random.RandomState(0))
    before = model.fit(X, y).gate_results_["log_density"]
    monkeypatch.setattr(np.random.mtrand, "_rand", np.random.RandomState(1))
    again = model.set_callbacks().fit(X, y, resume_from=path)
    assert_array_equal(again.gate_results_["log_density"], before)


def test_a_callback_of_a_search_is_set_up_by_the_search_alone():
    class HandedDown(Callback):
        max_propagation_depth = None
        n_set_up = 0

        def setup(self, estimator, context):
            self.n_set_up += 1

    X, y = halves(60)
    callback = HandedDown()
    model = auto().set_callbacks(callback)
    model._parent_callback_ctx = FitTask("GridSearchCV", "fit").subtask("search")
    model.fit(X, y)
    assert callback.n_set_up == 0


@pytest.mark.parametrize("counts", [[1, 2], [0, 1]])
def test_weights_of_rows_of_groups_count_rows(counts, rng):
    X, y = halves(160)
    groups = np.repeat(np.arange(40), 4)
    X[:, 1] = X[::4, 1][groups]
    weight = rng.choice(counts, 160)
    ids = np.repeat(np.arange(160), weight)
    model = auto(gate_features=[1])
    weighted = clone(model).fit(X, y, weight, groups=groups).gate_results_
    repeated = clone(model).fit(X[ids], y[ids], groups=groups[ids]).gate_results_
    assert_allclose(weighted["log_density"], repeated["log_density"], rtol=1e-5)
    assert weighted["best_index"] == repeated["best_index"]


@pytest.mark.parametrize("class_weight", [{"a": 2, "b": 1, "c": 3}, {"a": 1, "b": 1, "c": 0}])
def test_class_weights_are_weights(class_weight, rng):
    X = rng.standard_normal((160, 3))
    y = np.where((X[:, 0] > 0) ^ (X[:, 1] > 0), "b", "a")
    y[::7] = "c"
    model = MixtureOfExpertsClassifier(n_experts=2, gate="auto", n_init=1, random_state=0)
    weight = np.array([class_weight[label] for label in y])
    ids = np.repeat(np.arange(160), weight)
    by_class = clone(model).set_params(class_weight=class_weight).fit(X, y).gate_results_
    for other in (clone(model).fit(X, y, weight), clone(model).fit(X[ids], y[ids])):
        assert other.gate_results_["best_index"] == by_class["best_index"]
        found = other.gate_results_["log_density"]
        assert_allclose(found, by_class["log_density"], rtol=1e-5)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.array(["a", 1] * 20, dtype=object), "groups mixes kinds"),
        ([None, 1] * 20, "groups holds None in row 0"),
        (np.ones((40, 2)), r"groups has shape \(40, 2\)"),
    ],
)
def test_bad_groups_are_named(groups, message, rng):
    X = rng.standard_normal((40, 2))
    with pytest.raises(ValueError, match=message):
        auto(gate_features=[0]).fit(X, X[:, 0], groups=groups)
