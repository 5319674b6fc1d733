"""The partition that cheap experts find for costly ones."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _problems import make_rows
from _routed import CountingRidge, class_pieces, classifier, pieces, regressor
from _thin import thinned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp._engine.routed import _with_fallback
from mixexp.gates import EstimatorGate, GaussianGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y, Z = pieces()
TREE = DecisionTreeRegressor(max_depth=3)
ROUTERS = [TopK(1), TopK(2), Switch(), ExpertChoice()]


HOLES = np.where(np.arange(X.size).reshape(X.shape) == 7, np.nan, X)
FRAME = pd.DataFrame(X, columns=["a", "b"])


class DenseRidge(CountingRidge):
    """Takes no sparse X."""


class CountingFits(CountingRidge):
    """Counts its fits in a list that all copies share."""

    sizes: list = []

    def fit(self, X, y, sample_weight=None):
        self.sizes.append(len(X))
        return super().fit(X, y, sample_weight)


@pytest.fixture
def sizes():
    CountingFits.sizes.clear()
    return CountingFits.sizes


@pytest.mark.parametrize("router", ROUTERS, ids=str)
@pytest.mark.parametrize("n_refits", [1, 2])
def test_costly_experts_are_fitted_n_refits_times(router, n_refits, sizes):
    model = regressor(CountingFits(), routing=router, n_refits=n_refits).fit(X, Y)
    assert len(sizes) == 4 * n_refits
    assert not model.cross_fitted_
    assert sorted(sizes[-4:]) == sorted(model.routing_.loads_)
    assert model.n_iter_ == n_refits


def test_cross_fitting_that_is_asked_for(sizes):
    model = regressor(CountingFits(), routing=TopK(1), cross_fit=3).fit(X, Y)
    assert model.cross_fitted_
    assert len(sizes) == 4 * 3 + 4
    assert sum(sizes) == 2 * len(X) + len(X)
    model = regressor(CountingFits(), routing=TopK(1), cross_fit=False).fit(X, Y)
    assert not model.cross_fitted_


def test_off():
    model = regressor(TREE, routing=TopK(1), warm_up=None, max_iter=3).fit(X, Y)
    assert model.cross_fitted_
    dense = regressor(TREE, max_iter=2).fit(X, Y)  # "auto" is for routed mixtures
    assert dense.cross_fitted_


@pytest.mark.parametrize(("fit_it", "router"), thinned([False, True], [None, *ROUTERS], every=2))
def test_a_mixture_of_ones_own(router, fit_it):
    warm_up = regressor(gate=GaussianGate(), init=Z)
    if fit_it:
        warm_up.fit(X, Y)
    before = dict(vars(warm_up))
    model = regressor(TREE, routing=router, warm_up=warm_up).fit(X, Y)
    assert vars(warm_up) == before
    found = warm_up if fit_it else regressor(gate=GaussianGate(), init=Z).fit(X, Y)
    assert_allclose(model.gate_proba(X), found.gate_proba(X), atol=1e-9)
    assert isinstance(model.gate_, GaussianGate)
    assert model.score(X, Y) > 0.5
    assert len(model.restarts_) == 1
    assert model.restarts_[0].bound == model.lower_bound_
    assert model.n_iter_ == 1


@pytest.mark.parametrize("fit_it", [False, True])
def test_classes(fit_it):
    x, y = class_pieces(n_classes=3)
    warm_up = classifier()
    if fit_it:
        warm_up.fit(x, y)
    tree = DecisionTreeClassifier(max_depth=3)
    model = classifier(tree, routing=TopK(1), warm_up=warm_up).fit(x, y)
    assert_array_equal(model.classes_, ["ash", "elm", "oak"])
    assert model.score(x, y) > 0.7
    weighted = classifier(tree, routing=TopK(1), warm_up=classifier(), class_weight={"oak": 0.0})
    weighted.set_params(class_weight={"ash": 1.0, "elm": 2.0, "oak": 0.0})
    assert_array_equal(weighted.fit(x, y).classes_, ["ash", "elm"])


def test_with_weights_groups_noise_frames_and_offset():
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = regressor(CountingRidge(), routing=TopK(2), warm_up=regressor(), noise_expert=True)
    model.fit(X, Y, weight)
    assert model.gate_proba(X).shape == (240, 5)
    model = regressor(CountingRidge(), routing=TopK(1), warm_up=regressor(init=Z))
    model.fit(frame, Y, weight)
    assert_allclose(sum(e.weight_.sum() for e in model.experts_), weight.sum())
    offset = np.linspace(-3, 3, len(X))
    shifted = regressor(CountingRidge(), routing=TopK(1), warm_up=regressor(init=Z))
    shifted.fit(frame, Y + offset, weight, offset=offset)
    assert_allclose(shifted.predict(frame, offset=offset), model.predict(frame) + offset, atol=1e-3)
    groups = np.repeat(np.arange(60), 4)
    of_groups = np.column_stack([X[groups * 4, 0], X[:, 1]])
    warm_up = regressor(gate_features=[0])
    model = regressor(CountingRidge(), routing=TopK(1), warm_up=warm_up, gate_features=[0])
    model.fit(of_groups, Y, groups=groups)
    assert np.isfinite(model.lower_bound_)


def test_labels_number_the_experts_of_the_warm_up():
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        experts = np.array(order)[Z]
        labels = np.where(np.arange(len(X)) % 2, experts, -1)
        model = regressor(TREE, routing=TopK(1), warm_up=regressor())
        model.fit(X, Y, expert_labels=labels)
        assert np.mean(model.route(X).argmax(axis=1) == experts) > 0.8


@pytest.mark.parametrize("router", [TopK(1), TopK(2), None], ids=str)
def test_a_classifier_as_its_gate(router):
    gate = EstimatorGate(DecisionTreeClassifier(max_depth=3))
    warm_up = regressor(gate=gate, max_iter=3).fit(X, Y)
    model = regressor(TREE, routing=router, warm_up=warm_up).fit(X, Y)
    assert_allclose(model.gate_proba(X), warm_up.gate_proba(X))
    assert model.score(X, Y) > 0.5


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("n_refits", [1, 2])
def test_a_fallback_that_the_warm_up_has_not(noise, n_refits):
    router = TopK(2, False, fallback="mean")
    warm_up = regressor(max_iter=40).fit(X, Y)
    params = {"routing": router, "noise_expert": noise, "n_refits": n_refits, "cross_fit": 3}
    model = regressor(CountingRidge(), warm_up=warm_up, **params).fit(X, Y)
    top_two = np.sort(warm_up.gate_proba(X))[:, 2:].sum(axis=1)
    assert_allclose(model.route(X)[:, 4], np.maximum(1 - top_two, 0))
    assert model.score(X, Y) > 0.5
    if n_refits == 1 and not noise:
        resp, weights = warm_up.responsibilities(X, Y), model.route(X)
        resp = np.column_stack([resp * (1 - weights[:, 4:]), weights[:, 4]])
        resp = np.where(weights > 0, np.maximum(resp, np.finfo(float).tiny), 0.0)
        resp /= resp.sum(axis=1, keepdims=True)
        for k, expert in enumerate(model.experts_):
            assert_allclose(expert.weight_.sum(), resp[:, k].sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("router", "gate", "message"),
    [
        (TopK(2, False, fallback="mean"), GaussianGate(), "fallback expert.*GaussianGate models x"),
        (TopK(2, jitter=0.1), DecisionTreeClassifier(max_depth=2), r"jitter=0\.1.*Set jitter=0"),
        (TopK(2, balance="prior"), None, "balance='prior'.*usage_prior of the gate in warm_up"),
    ],
)
@pytest.mark.parametrize("fit_it", [False, True])
def test_gates_that_do_not_suit_the_router(router, gate, message, fit_it):
    warm_up = regressor(gate=gate, max_iter=2)
    if fit_it:
        warm_up.fit(X, Y)
    with pytest.raises(ValueError, match=message):
        regressor(TREE, routing=router, warm_up=warm_up).fit(X, Y)


@pytest.mark.parametrize(
    ("warm_up", "data", "message"),
    [
        (lambda: regressor().fit(X, Y), (HOLES, Y), "warm_up: linear experts cannot take missing"),
        (
            lambda: regressor(TREE, max_iter=2, cross_fit=False).fit(X, Y),
            (sp.csr_matrix(X), Y),
            None,
        ),
        (
            lambda: regressor(DenseRidge(), max_iter=2, cross_fit=False).fit(X, Y),
            (sp.csr_matrix(X), Y),
            "warm_up does not take sparse X",
        ),
        (
            lambda: regressor().fit(FRAME, Y),
            (FRAME[["b", "a"]], Y),
            r"columns \['a', 'b'\].*same or",
        ),
        (lambda: regressor().fit(X, Y), (X, np.c_[Y, Y]), "y with 1 outputs, and y has 2"),
        (lambda: regressor().fit(X, np.c_[Y, Y]), (X, Y), "y with 2 outputs, and y has 1"),
        (lambda: regressor(family="gamma").fit(X, np.exp(Y)), (X, Y), "warm_up.*gamma"),
    ],
    ids=["NaN", "sparse", "dense", "order of columns", "1 of 2 outputs", "2 of 1", "gamma"],
)
def test_data_that_a_fitted_one_does_not_know(warm_up, data, message):
    expert = HistGradientBoostingRegressor(max_iter=2) if data[0] is HOLES else TREE
    model = regressor(expert, routing=TopK(1), warm_up=warm_up())
    if message is None:
        model.fit(*data)
        return
    with pytest.raises(ValueError, match=message):
        model.fit(*data)


@pytest.mark.parametrize(
    ("router", "gate"),
    thinned(
        [TopK(1), TopK(2), Switch(0.6, "fallback", fallback="mean")],
        [None, LogisticRegression()],
        every=2,
    ),
)
def test_more_rows_than_the_sketch(router, gate):
    """The partition is found on the sketch, and routes are of all rows."""
    x, y, _ = pieces(9_000)
    expert = DecisionTreeRegressor(max_depth=2)
    model = regressor(expert, routing=router, gate=gate, max_iter=3).fit(x, y)
    k = router.k
    assert model.routing_.loads_.sum() == 9_000 * k
    assert_allclose(model.route(x).sum(axis=1), 1.0, atol=1e-12)
    assert np.isfinite(model.lower_bound_)


def test_costly_experts_profit():
    """They bend where the cheap ones are straight, on the regions that those found."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (600, 2))
    y = np.where(x[:, 0] > 0, 5 + np.sin(3 * x[:, 1]), -5 - x[:, 1] ** 2)
    y += 0.1 * rng.standard_normal(600)
    forest = ExtraTreesRegressor(5, max_depth=6, random_state=0)
    model = regressor(forest, n_experts=2, routing=TopK(1)).fit(x[:400], y[:400])
    cheap = regressor(n_experts=2, routing=TopK(1)).fit(x[:400], y[:400])
    errors = [np.mean((m.predict(x[400:]) - y[400:]) ** 2) for m in (model, cheap)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize(
    ("warm_up", "message"),
    [
        (
            lambda: DecisionTreeRegressor(),
            "warm_up must be a mixture of mixexp.*DecisionTreeRegressor",
        ),
        (
            lambda: classifier(),
            "warm_up is a MixtureOfExpertsClassifier. Give a MixtureOfExpertsRegress",
        ),
        (lambda: regressor(n_experts=3), "warm_up has n_experts=3.*4. Set the same number"),
        (
            lambda: regressor(noise_expert=True),
            "warm_up has a noise expert. Set noise_expert=False",
        ),
        (lambda: regressor().fit(X[:, :1], Y), "fitted on 1 features, and X has 2"),
        (lambda: regressor(regressor(n_experts=2)).fit(X, Y), "experts that are mixtures"),
        (lambda: type(regressor()), "warm_up must be an instance"),
    ],
    ids=["tree", "classifier", "3 experts", "noise", "columns", "nested", "class"],
)
def test_what_cannot_bring_a_partition(warm_up, message):
    model = regressor(TREE, routing=TopK(1), warm_up=warm_up())
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, Y)


def test_a_gate_that_would_not_be_used():
    model = regressor(TREE, routing=TopK(1), warm_up=regressor(), gate=GaussianGate())
    with pytest.raises(ValueError, match=r"warm_up brings its gate.*Set gate=None"):
        model.fit(X, Y)


def test_classes_that_differ():
    x, y = class_pieces(n_classes=3)
    warm_up = classifier().fit(x[y != "oak"], y[y != "oak"])
    model = classifier(DecisionTreeClassifier(max_depth=2), routing=TopK(1), warm_up=warm_up)
    with pytest.raises(ValueError, match=r"knows the classes.*Fit it on the same classes"):
        model.fit(x, y)


def test_dispersions_from_a_sample(monkeypatch):
    """Bound and dispersions are those of the rows that were predicted, and close to all rows'."""
    X, y, _ = pieces(900)
    model = regressor(DecisionTreeRegressor(max_depth=3), routing=TopK(1))
    whole = clone(model).fit(X, y)
    monkeypatch.setattr("mixexp.experts._refits.SAMPLE", 60)
    sampled = clone(model).fit(X, y)
    assert_array_equal(sampled.predict(X), whole.predict(X))
    assert_allclose(sampled.dispersions_, whole.dispersions_, rtol=0.4)
    assert np.all(sampled.dispersions_ != whole.dispersions_)
    assert_allclose(sampled.lower_bound_, whole.lower_bound_, atol=0.3)


@pytest.mark.filterwarnings("ignore:MixtureOfExpertsRegressor. expert KNeighbors")
def test_experts_that_memorise_keep_the_floor_of_cheap_ones():
    X, y, _ = pieces(300)
    gate = SoftmaxGate(alpha=0.3)  # with which the penalty of a single expert is given, too
    one = regressor(n_experts=1, gate=gate).fit(X, y).dispersions_[0]
    model = regressor(KNeighborsRegressor(1), routing=TopK(1)).fit(X, y)
    assert_allclose(model.dispersions_, 1e-3 * one, rtol=1e-6)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize(
    "router", [TopK(2), TopK(2, renormalise=False, fallback="mean")], ids=["plain", "fallback"]
)
def test_a_classifier_gate_has_the_experts_that_are_left(router, noise):
    """Cheap experts that collapsed are none of the classifier's either."""
    model = regressor(
        TREE,
        n_experts=12,
        gate=EstimatorGate(GaussianNB()),
        on_collapse="drop",
        init="tree",
        routing=router,
        noise_expert=noise,
    ).fit(X[:60], Y[:60])
    n_left = len(model.experts_)
    assert 1 < n_left < 12
    assert model.gate_proba(X).shape[1] == n_left + noise
    assert model.route(X).shape[1] == n_left + (router.fallback is not None)
    assert np.all(np.isfinite(model.predict(X)))


def test_the_fallback_takes_its_share_of_what_is_not_noise():
    rows = make_rows(np.zeros((1, 1)))
    of_rows = np.log([[0.1], [0.1], [0.4], [0.4]])  # two experts, the fallback, noise
    gate = SimpleNamespace(log_prob=lambda block: of_rows)
    found = _with_fallback(gate, rows, np.array([[0.5], [0.2], [0.3]]), 2)
    share = 0.4 / 0.6
    assert_allclose(found.T, [[0.5 * (1 - share), 0.2 * (1 - share), 0.7 * share, 0.3]])
