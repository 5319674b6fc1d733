"""Routing together with everything else that a mixture has."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _routed import FEW, CountingRidge, class_pieces, classifier, pieces, regressor
from _thin import thinned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import get_tags

from mixexp.experts import ExpertPool
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y, Z = pieces()
ROUTERS = [TopK(1), TopK(2), Switch(), ExpertChoice()]
#: The others run nightly.
FEW_ROUTERS = [
    router if router.k else pytest.param(router, marks=pytest.mark.slow) for router in ROUTERS
]
FEW_ROUTERS[0] = pytest.param(ROUTERS[0], marks=pytest.mark.slow)
SHALLOW = DecisionTreeRegressor(max_depth=2)


def assert_sound(model, X=X, y=Y, **data):
    """Assert that all methods agree on a routed model."""
    weights = model.route(X)
    assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    assert_array_equal(weights > 0, model.route(X) > 0)
    if hasattr(model, "predict_proba"):
        assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, atol=1e-9)
    else:
        assert np.all(np.isfinite(model.predict(X, **data)))
        law = model.predict_distribution(X, **data)
        assert_allclose(law.mean(), model.predict(X, **data), rtol=1e-9, atol=1e-9)
        assert not np.any(np.isnan(law.variance()))  # infinite for few degrees of freedom
        low, high = law.interval(0.9)
        assert np.all(low <= high)
        assert model.sample_y(X, 2, random_state=0, **data).shape[-1] == 2
    assert not np.any(np.isnan(model.log_density(X, y, **data)))
    assert_allclose(model.responsibilities(X, y, **data).sum(axis=1), 1.0, atol=1e-9)
    assert 0 < model.active_fraction_ <= 1


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_in_a_pipeline_and_saved(router):
    pipeline = make_pipeline(StandardScaler(), regressor(routing=router))
    assert clone(pipeline)[-1].routing.get_params() == router.get_params()
    pipeline.fit(X, Y)
    assert "loads_" not in vars(pipeline[-1].routing)  # the user's own is left alone
    file = io.BytesIO()
    joblib.dump(pipeline, file)
    file.seek(0)
    for again in (pickle.loads(pickle.dumps(pipeline)), joblib.load(file)):
        assert_array_equal(again.predict(X), pipeline.predict(X))
        assert_array_equal(again[-1].route(X), pipeline[-1].route(X))
        assert_array_equal(again[-1].routing_.loads_, pipeline[-1].routing_.loads_)


def test_a_search_over_k():
    search = GridSearchCV(regressor(routing=TopK(), max_iter=3), {"routing__k": [1, 2, 4]}, cv=2)
    assert search.fit(X, Y).best_params_["routing__k"] in (1, 2, 4)
    model = search.best_estimator_
    assert (model.route(X) > 0).sum(axis=1).max() == model.routing.k
    model = regressor(routing=TopK())
    assert model.set_params(routing__k=3).routing.k == 3
    assert "routing__renormalise" in model.get_params()


@pytest.mark.parametrize("router", [TopK(1), TopK(2), Switch(1.0), ExpertChoice()], ids=str)
def test_weight_2_is_a_row_twice(router):
    weight = np.where(np.arange(len(X)) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(len(X)), weight.astype(int))
    params = {"routing": router, "max_iter": 5}
    one = regressor(LinearRegression(), init=Z, **params).fit(X, Y, weight)
    two = regressor(LinearRegression(), init=Z[twice], **params).fit(X[twice], Y[twice])
    if isinstance(router, Switch):  # of a row twice, one may overflow
        assert_allclose(one.routing_.loads_, two.routing_.loads_, atol=4)
        return
    assert_allclose(one.routing_.loads_, two.routing_.loads_)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-6, atol=1e-6)
    assert_allclose(one.lower_bound_, two.lower_bound_, rtol=1e-7)


def test_weight_0_removes_a_row():
    weight = (np.arange(len(X)) % 4 > 0).astype(float)
    kept = weight > 0
    one = regressor(routing=TopK(2), init=Z).fit(X, Y, weight)
    two = regressor(routing=TopK(2), init=Z[kept]).fit(X[kept], Y[kept])
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("router", "expert"), thinned(ROUTERS, [None, SHALLOW], every=2))
def test_groups_go_the_same_way(router, expert):
    groups = np.repeat(np.arange(60), 4)
    of_groups = X.copy()
    of_groups[:, 0] = X[groups, 0]
    model = regressor(expert, routing=router, gate_features=[0])
    model.fit(of_groups, Y, groups=groups)
    assert_array_equal(model.routing_.loads_.sum(), (model.route(of_groups[::4]) > 0).sum())
    assert_sound(model, of_groups)
    assert len(model.log_density(of_groups, Y, groups=groups)) == 60


@pytest.mark.parametrize(("router", "expert"), thinned(ROUTERS, [None, CountingRidge()], every=2))
def test_offset(router, expert):
    offset = np.linspace(-5, 5, len(X))
    model = regressor(expert, routing=router, init=Z).fit(X, Y + offset, offset=offset)
    plain = regressor(expert, routing=router, init=Z).fit(X, Y)
    assert_allclose(model.predict(X, offset=offset), plain.predict(X) + offset, atol=1e-4)
    assert_sound(model, y=Y + offset, offset=offset)


@pytest.mark.parametrize("router", FEW_ROUTERS, ids=str)
def test_regions_that_lack_classes(router):
    y = np.where(Z < 2, np.array(["a", "b"])[(Y > 0).astype(int)], "c")
    for expert in (None, LogisticRegression(), DecisionTreeClassifier(max_depth=2)):
        model = classifier(expert, routing=router, init=Z).fit(X, y)
        assert_sound(model, y=y)
        assert model.score(X, y) > 0.7


@pytest.mark.parametrize("router", FEW_ROUTERS, ids=str)
def test_missing_values(router):
    holes = X.copy()
    holes[::7, 1] = np.nan
    expert = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=5)
    model = regressor(expert, routing=router, max_iter=2, gate_features=[0])
    assert_sound(model.fit(holes, Y), holes)


@pytest.mark.parametrize(
    ("router", "expert"),
    thinned([*ROUTERS, TopK(2, jitter=0.1)], [None, CountingRidge()], every=2),
)
def test_sparse(router, expert):
    rows = sp.csr_array(np.where(np.abs(X) > 0.5, X, 0.0))
    if expert is not None:
        expert = Ridge(solver="lsqr")
    model = regressor(expert, routing=router, init=Z).fit(rows, Y)
    assert_sound(model, rows)
    dense = regressor(expert, routing=router, init=Z).fit(rows.toarray(), Y)
    assert_allclose(model.predict(rows), dense.predict(rows.toarray()), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("router", FEW_ROUTERS, ids=str)
def test_frames_with_text(router):
    frame = pd.DataFrame(X, columns=["a", "b"])
    frame["kind"] = np.array(["x", "y", "z", "w"])[Z]
    encoded = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    expert = make_pipeline(encoded, SHALLOW)
    model = regressor(expert, routing=router, gate_features=["a"], max_iter=3).fit(frame, Y)
    assert_sound(model, frame)
    assert_allclose(model.predict(frame[5:6]), model.predict(frame)[5:6])


OTHERS = [
    {"noise_expert": True},
    {"gate": HierarchicalGate((2, 2))},
    {"gate": HierarchicalGate((2, 2)), "noise_expert": True},
    {"gate": SoftmaxGate(usage_prior=3.0)},
    {"gate": LogisticRegression()},
    {"on_collapse": "drop"},
    {"expert": SHALLOW, "cross_fit": 3},
    {"expert": SHALLOW, "warm_up": None, "cross_fit": False, "max_iter": 2},
    {"expert": KNeighborsRegressor(3)},
    {"expert": ExpertPool([Ridge(), SHALLOW])},
    {"expert": [("r", Ridge()), ("t", SHALLOW), ("l", LinearRegression()), ("k", SHALLOW)]},
    {"pooling": "argmax"},
    {"n_experts": 5, "on_collapse": "keep"},
]


@pytest.mark.parametrize(
    ("router", "params"),
    thinned([*ROUTERS, TopK(2, False, fallback=Ridge())], OTHERS, every=5),
)
@pytest.mark.filterwarnings("ignore:.*does not take sample_weight")
def test_with_other_parameters(router, params):
    model = regressor(**{"max_iter": 3, "routing": router, **params}).fit(X, Y)
    if model.pooling == "weighted":
        assert_sound(model)
    else:
        outputs = model.predict_experts(X)
        best = model.route(X).argmax(axis=1)
        assert_allclose(model.predict(X), outputs[np.arange(len(X)), best], rtol=1e-9)
    n_experts = len(model.experts_)
    assert len(model.routing_.loads_) == n_experts + router.needs_fallback
    if router.needs_fallback:
        assert model.fallback_.predict(X[:3]).shape == (3,)
    else:
        assert not hasattr(model, "fallback_")


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_experts_without_rows_are_dropped(router):
    init = np.where(X[:, 0] > 0, 0, 1)
    init[:2] = 2
    model = regressor(routing=router, n_experts=3, init=init, on_collapse="drop", max_iter=30)
    labels = np.where(np.arange(len(X)) % 9 == 0, init, -1)
    assert_sound(model.fit(X, Y))
    with pytest.raises(ValueError, match=r"expert_labels with routing and on_collapse='drop'"):
        model.fit(X, Y, expert_labels=np.where(labels == 2, -1, labels))


@pytest.mark.parametrize(
    ("router", "family"),
    thinned(
        [TopK(1), TopK(2), TopK(2, False, fallback="mean")],
        ["gaussian", "student_t", "laplace", "poisson", "gamma"],
        every=3,
    ),
)
def test_every_family(router, family):
    y = np.abs(Y) + 0.1 if family == "gamma" else Y
    y = np.round(np.abs(Y)) if family == "poisson" else y
    for expert in (None, SHALLOW):
        gate = SoftmaxGate(alpha=0.3)  # with sharp borders, tails may have no mean after 4 steps
        model = regressor(expert, routing=router, family=family, gate=gate, max_iter=4)
        assert_sound(model.fit(X, y), y=y)


@pytest.mark.parametrize("router", [*ROUTERS, TopK(2, False, fallback="mean")], ids=str)
def test_several_outputs(router):
    y = np.column_stack([Y, X[:, 0] - Y])
    for expert in (None, SHALLOW):
        model = regressor(expert, routing=router, max_iter=4).fit(X, y)
        assert model.predict(X).shape == y.shape
        assert_sound(model, y=y)


def test_criteria():
    model = regressor(routing=TopK(2)).fit(X, Y)
    n = model._model.n_parameters("")  # in full: routed gates have no derivatives
    log_likelihood = model.log_density(X, Y).sum()
    assert_allclose(model.aic(X, Y), 2 * n - 2 * log_likelihood)
    assert_allclose(model.bic(X, Y), n * np.log(len(X)) - 2 * log_likelihood)
    assert model.icl(X, Y) >= model.bic(X, Y)
    with_mean = regressor(routing=TopK(2, False, fallback="mean")).fit(X, Y)
    assert with_mean._model.n_parameters("") == n + 2  # a mean and a deviation
    tree = regressor(routing=TopK(2, False, fallback=SHALLOW)).fit(X, Y)
    with pytest.raises(ValueError, match="number of parameters"):
        tree.aic(X, Y)


def test_align_experts():
    one = regressor(routing=TopK(2), init=Z).fit(X, Y)
    two = regressor(routing=TopK(2, balance="bias"), init=3 - Z).fit(X, Y)
    predicted, bias = two.predict(X), two.routing_.bias_.copy()
    two.align_experts(one, X, Y)
    assert_allclose(two.predict(X), predicted, rtol=1e-9)
    agreement = (two.route(X).argmax(axis=1) == one.route(X).argmax(axis=1)).mean()
    assert agreement > 0.8
    assert_array_equal(np.sort(two.routing_.bias_), np.sort(bias))
    tree = regressor(routing=TopK(2), gate=HierarchicalGate((2, 2))).fit(X, Y)
    with pytest.raises(ValueError, match="have their places under"):
        tree.align_experts(one, X, Y)


def test_predicting_again_and_again():
    model = regressor(SHALLOW, routing=TopK(1)).fit(X, Y)
    found = partial_dependence(model, X, [0], grid_resolution=5)
    assert np.all(np.isfinite(found["average"]))
    before = model.predict(X)
    for _ in range(3):
        model.predict(X[:7])
    assert_array_equal(model.predict(X), before)


def test_a_fallback_for_classes():
    x, y = class_pieces(n_classes=3)
    for fallback in ("mean", LogisticRegression(), DummyClassifier()):
        for router in (
            TopK(1, False, fallback=fallback),
            Switch(0.6, "fallback", fallback=fallback),
        ):
            model = classifier(routing=router, max_iter=3).fit(x, y)
            assert_sound(model, x, y)
    shares = np.unique(y, return_counts=True)[1] / len(y)
    model = classifier(routing=TopK(1, False, fallback="mean")).fit(x, y)
    assert_allclose(model.fallback_.predict_proba(x[:1])[0], shares)


def test_settings_after_the_fit_wait_for_the_next_one():
    model = regressor(routing=TopK(1)).fit(X, Y)
    before = model.route(X)
    model.set_params(routing__k=3)
    assert_array_equal(model.route(X), before)
    model.routing = None
    assert_array_equal(model.route(X), before)
    assert model.fit(X, Y).routing_ is None


@pytest.mark.slow
def test_generative_gates():
    for router in (TopK(1), TopK(2), Switch(), ExpertChoice(), TopP(), Threshold()):
        assert_sound(regressor(routing=router, gate=GaussianGate()).fit(X, Y))


def test_jobs_do_not_matter():
    one = regressor(SHALLOW, routing=TopK(2), **{**FEW, "n_init": 2}).fit(X, Y)
    two = regressor(SHALLOW, routing=TopK(2), **{**FEW, "n_init": 2}, n_jobs=2).fit(X, Y)
    assert_array_equal(one.predict(X), two.predict(X))


class Picky(HistGradientBoostingRegressor):
    """Takes missing values, but no column that has nothing else; some versions are so."""

    def fit(self, X, y, sample_weight=None):
        if np.isnan(X).all(axis=0).any():
            raise ValueError("window shape")
        return super().fit(X, y, sample_weight)


def test_a_region_whose_column_is_missing_is_told_of():
    holes = X.copy()
    holes[::7, 1] = np.nan  # the gate tells them from others
    gate = SoftmaxGate(alpha=0.3)
    model = regressor(Picky(max_iter=3), routing=TopK(1), gate=gate, max_iter=2)
    with pytest.raises(ValueError, match=r"Columns \[1\] are missing in all rows of this expert"):
        model.fit(holes, Y)


def test_a_fallback_is_asked_what_it_takes():
    holes = X.copy()
    holes[::7, 1] = np.nan
    trees = HistGradientBoostingRegressor(max_iter=3)
    router = TopK(1, renormalise=False, fallback=Ridge())
    model = regressor(trees, routing=router, max_iter=2, gate_features=[0])
    with pytest.raises(ValueError, match="fallback Ridge cannot take missing values"):
        model.fit(holes, Y)
    assert not get_tags(model).input_tags.allow_nan
    assert get_tags(regressor(trees)).input_tags.allow_nan
