"""Bases: what a gate and linear experts see in place of the columns."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.bases import QuantileBasis, SplineBasis
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay
from mixexp.routing import TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMED = {"quantile": QuantileBasis, "spline": SplineBasis}

#: Runs that end soon.
RUN = {"n_init": 2, "max_iter": 30, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    """Two regimes with a border in a skewed column, and a column that none of them needs."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.exp(rng.standard_normal(240)), rng.standard_normal((240, 2))])
    slope = np.where(X[:, 0] > 1.0, 3.0, -2.0)
    y = slope * X[:, 1] + 4.0 * (X[:, 0] > 1.0) + 0.1 * rng.standard_normal(240)
    return X, y


@pytest.fixture(scope="module")
def labels(data):
    return (data[0][:, 0] > 1.2).astype(int)


def outputs(basis, X):
    return NAMED[basis]().fit(X).transform(X)


@pytest.mark.parametrize("basis", NAMED)
@pytest.mark.parametrize("classes", [False, True])
def test_gate_sees_what_columns_made_by_hand_would_hold(data, labels, basis, classes):
    X, y = data
    kind, y = (Classifier, y > 1) if classes else (Regressor, y)
    by_hand = np.hstack([X, outputs(basis, X)])
    gate = SoftmaxGate(0.3)  # evidence would set one strength for all outputs of a column
    fit = {"n_experts": 2, "init": labels, "max_iter": 500, "tol": 1e-10, "gate": gate}
    one = kind(gate_basis=basis, **fit).fit(X, y)
    first, rest = slice(0, 3), slice(3, None)
    two = kind(expert_features=first, gate_features=rest, **fit).fit(by_hand, y)
    assert_allclose(one.gate_proba(X), two.gate_proba(by_hand), atol=1e-5)
    assert_allclose(one.gate_.coef_, two.gate_.coef_, rtol=1e-3, atol=1e-4)
    assert one.gate_.n_parameters == two.gate_.n_parameters
    assert one.lower_bound_ == pytest.approx(two.lower_bound_, rel=1e-8)


@pytest.mark.parametrize("basis", NAMED)
def test_experts_see_what_columns_made_by_hand_would_hold(data, labels, basis):
    X, y = data
    by_hand = np.hstack([X, outputs(basis, X)])
    fit = {"expert": Ridge(1.0), "n_experts": 2, "init": labels, "max_iter": 500, "tol": 1e-10}
    one = Regressor(expert_basis=basis, **fit).fit(X, y)
    two = Regressor(expert_features=slice(3, None), gate_features=[0, 1, 2], **fit)
    two.fit(by_hand, y)
    assert_allclose(one.predict_experts(X), two.predict_experts(by_hand), atol=1e-4)
    assert one.lower_bound_ == pytest.approx(two.lower_bound_, rel=1e-8)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (Regressor, {}),
        (Regressor, {"expert": LinearRegression()}),
        (Regressor, {"expert": PoissonRegressor(), "family": "poisson"}),
        (Regressor, {"family": "gamma"}),
        (Regressor, {"shared_expert": Ridge()}),
        (Classifier, {}),
        (Classifier, {"expert": LogisticRegression()}),
    ],
)
def test_fitted_experts_take_the_columns(data, kind, params):
    X, y = data
    y = (y > 1) if kind is Classifier else np.ceil(np.exp(0.2 * y))
    model = kind(n_experts=2, expert_basis="quantile", expert_features=[1, 0], **params, **RUN)
    model.fit(X, y)
    seen, alike = X[:, [1, 0]], model.predict_experts(X)
    for k, expert in enumerate(model.experts_):
        assert isinstance(expert, Pipeline)
        expected = alike[:, k]
        if "shared_expert" in params:
            expected = expected - model.shared_expert_.predict(seen)
        predict = expert.predict_proba if kind is Classifier else expert.predict
        assert_allclose(predict(seen), expected, atol=1e-8 * max(1, np.abs(expected).max()))


def test_both_parts_share_the_work_for_one_named_basis(data):
    model = Regressor(n_experts=2, gate_basis="quantile", expert_basis="quantile", **RUN).fit(*data)
    assert model._model.gate.design.basis is model._model.bank.design.basis
    other = Regressor(n_experts=2, gate_basis="spline", expert_basis="quantile", **RUN).fit(*data)
    assert other._model.gate.design.basis is not other._model.bank.design.basis


@pytest.mark.parametrize("basis", NAMED)
def test_frequencies_and_order_of_rows_change_nothing(data, basis):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    model = Regressor(n_experts=2, gate_basis=basis, expert_basis=basis, **RUN)
    weighted = clone(model).fit(X, y, weight)
    repeated = np.repeat(np.arange(len(y)), weight)
    shuffled = np.random.default_rng(2).permutation(repeated)
    again = clone(model).fit(X[shuffled], y[shuffled])
    assert_array_equal(weighted.predict(X), again.predict(X))


@pytest.mark.parametrize("basis", NAMED)
def test_cuts_into_blocks_change_nothing_but_rounding(data, basis, monkeypatch):
    X, y = data
    model = Regressor(n_experts=2, gate_basis=basis, expert_basis=basis, **RUN)
    whole = clone(model).fit(X, y)
    monkeypatch.setattr("mixexp._rows.rows._block_rows", lambda X: 64)
    cut = clone(model).fit(X, y)
    assert_allclose(whole.predict(X), cut.predict(X), atol=1e-7)
    alone = np.concatenate([whole.predict(X[[i]]) for i in range(20)])
    assert_allclose(alone, whole.predict(X[:20]), atol=1e-12)


@pytest.mark.parametrize("n_threads", [2])
def test_threads_change_no_bit(n_threads):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40000, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(len(X))
    model = Regressor(n_experts=2, gate_basis="quantile", n_init=1, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = clone(model).fit(X, y)
        two = clone(model).set_params(n_jobs=n_threads).fit(X, y)
    assert_array_equal(one.predict(X), two.predict(X))


def test_a_search_sets_bases_and_their_parameters(data):
    X, y = data
    model = Regressor(n_experts=2, gate_basis=SplineBasis(), **RUN)
    assert {"gate_basis__n_knots", "gate_basis__degree"} <= set(model.get_params())
    assert clone(model).gate_basis.get_params() == SplineBasis().get_params()
    short = {"cv": 2, "refit": True}
    search = GridSearchCV(model, {"gate_basis__n_knots": [3, 4]}, **short).fit(X, y)
    assert max(map(len, search.best_estimator_.gate_basis_.knots_)) <= 4
    grid = {"gate_basis": ["linear", "quantile", SplineTransformer(n_knots=3)]}
    search = GridSearchCV(model, grid, **short).fit(X, y)
    assert search.best_score_ > 0.5
    inner = Regressor(gate_basis=make_pipeline(StandardScaler(), PolynomialFeatures()))
    assert inner.set_params(gate_basis__polynomialfeatures__degree=3).gate_basis[-1].degree == 3


@pytest.mark.parametrize("basis", ["linear", "quantile", "spline"])
def test_names_have_no_parameters_to_set(basis):
    with pytest.raises(ValueError, match=rf"gate_basis='{basis}' has no .* of mixexp.bases"):
        Regressor(gate_basis=basis).set_params(gate_basis__n_knots=3)


def test_a_template_is_left_as_it_is(data):
    template = SplineBasis(n_knots=3)
    model = Regressor(n_experts=2, gate_basis=template, **RUN).fit(*data)
    assert not hasattr(template, "splines_")
    assert model.gate_basis is template
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(data[0]), model.predict(data[0]))


@pytest.mark.parametrize(
    "basis",
    [
        make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False)),
        FeatureUnion([("quantile", QuantileBasis()), ("spline", SplineBasis(3))]),
        FunctionTransformer(np.arctan),
        SplineTransformer(4, sparse_output=True),
        TruncatedSVD(2),
    ],
    ids=lambda basis: type(basis).__name__,
)
def test_any_transformer_is_a_basis(data, basis):
    X, y = data
    weight = np.tile([1.0, 2.0, 3.0], len(y) // 3)
    model = Regressor(n_experts=2, gate_basis=basis, expert_basis=basis, **RUN).fit(X, y, weight)
    assert model.score(X, y) > 0.7
    assert model.gate_.coef_.shape[1] == model._model.gate.design.n_values
    stacked = np.column_stack([expert.predict(X) for expert in model.experts_])
    assert_allclose(stacked, model.predict_experts(X), atol=1e-8)
    assert model.gate_.to_text().startswith("root")


def test_weights_reach_all_parts_of_a_union(data):
    X, y = data
    weight = np.where(X[:, 0] > 1, 5.0, 1.0)
    union = FeatureUnion([("q", QuantileBasis()), ("s", SplineBasis())])
    model = Regressor(n_experts=2, gate_basis=union, **RUN).fit(X, y, weight)
    alone = QuantileBasis().fit(X, sample_weight=weight)
    fitted = model.gate_basis_.transformer_list[0][1]
    assert_allclose(fitted.transform(X), alone.transform(X))


def test_a_supervised_transformer_sees_the_target(data):
    class Leaves(TransformerMixin, BaseEstimator):
        def fit(self, X, y):
            self.tree_ = DecisionTreeRegressor(max_leaf_nodes=4, random_state=0).fit(X, y)
            return self

        def transform(self, X):
            return np.equal.outer(self.tree_.apply(X), range(self.tree_.tree_.node_count))

    model = Regressor(n_experts=2, gate_basis=Leaves(), **RUN).fit(*data)
    assert model.score(*data) > 0.7
    assert "basis3" in model.gate_.to_text()  # it gives no names


def frame_of(X):
    return pd.DataFrame(X, columns=["size", "left", "right"])


def test_coefficients_and_text_speak_of_named_outputs(data):
    X, y = data
    model = Regressor(gate_basis="quantile", expert_basis="quantile", n_experts=2, **RUN)
    model.set_params(gate=SoftmaxGate(alpha=0.3))  # every output counts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(frame_of(X), y)
        stacked = np.column_stack([expert.predict(frame_of(X)) for expert in model.experts_])
    assert_allclose(stacked, model.predict_experts(frame_of(X)), atol=1e-10)
    names = ["size", "left", "right", "rank(size)", "rank(left)", "rank(right)"]
    assert model.gate_basis_.get_feature_names_out().tolist() == names
    assert model.experts_[0][:-1].get_feature_names_out().tolist() == names
    assert model.gate_.coef_.shape == (2, 6)
    text = model.gate_.to_text(model.feature_names_in_, max_terms=6)
    assert all(name in text for name in names)
    assert "rank(size)" in model.gate_.to_text()
    assert model.gate_.split_texts(model.feature_names_in_)
    assert Regressor(n_experts=2, **RUN).fit(X, y).gate_basis_ is None


def test_names_of_few_columns_are_those_of_these_columns(data):
    X, y = data
    model = Regressor(n_experts=2, gate_basis="quantile", gate_features=["right", "size"], **RUN)
    model.fit(frame_of(X), y)
    names = ["right", "size", "rank(right)", "rank(size)"]
    assert model.gate_basis_.get_feature_names_out().tolist() == names
    assert model.gate_.coef_.shape == (2, 4)


@pytest.mark.parametrize(
    "gate",
    [
        SoftmaxGate(usage_prior=1.0),
        GaussianGate(),
        GaussianGate("tied"),
        GaussianGate("diag"),
        HierarchicalGate((2, 2)),
        ConstantGate(),
    ],
)
@pytest.mark.parametrize("noise", [False, True])
def test_every_gate_of_mixexp_takes_a_basis(data, gate, noise):
    X, y = data
    model = Regressor(n_experts=4, gate=gate, gate_basis="quantile", noise_expert=noise, **RUN)
    model.fit(X, y)
    assert_allclose(model.gate_proba(X).sum(axis=1), 1.0)
    if isinstance(gate, ConstantGate):
        assert model.gate_basis_ is None
    else:
        assert model._model.gate.design.n_values == 6


def test_groups(data):
    X, y = data
    groups = np.arange(len(y)) // 4
    X = X.copy()
    X[:, 0] = X[::4, 0][groups]
    model = Regressor(n_experts=2, gate_basis="quantile", gate_features=[0], **RUN)
    model.fit(X, y, groups=groups)
    assert model.gate_.coef_.shape == (2, 2)
    resp = model.responsibilities(X, y, groups=groups)
    assert_array_equal(resp, resp[::4][groups])


def test_missing_values_have_an_indicator_of_their_column(data):
    X, y = data
    X = X.copy()
    X[::7, 2] = np.nan
    model = Regressor(n_experts=2, gate_basis="quantile", expert_features=[0, 1], **RUN).fit(X, y)
    assert model.gate_.indicator_features_.tolist() == [2]
    assert model.gate_.coef_.shape == (2, 6)
    assert model.gate_.indicator_coef_.shape == (2, 1)
    by_hand = np.hstack([X, QuantileBasis().fit(X).transform(X)[:, 3:]])
    design = model._model.gate.design
    plain = Regressor(n_experts=2, expert_features=[0, 1], **RUN).fit(by_hand, y)
    matrix = plain._model.gate.design.matrix(by_hand)  # which has two indicators
    assert_allclose(design.matrix(X), matrix[:-1], atol=1e-12)
    new = X[:5].copy()
    new[:, 0] = np.nan
    clean = Regressor(n_experts=2, gate_basis="spline", expert_features=[1], **RUN)
    clean.fit(data[0], y)
    assert np.all(np.isfinite(clean.predict(new)))


def test_one_expert_and_one_row(data):
    X, y = data
    model = Regressor(n_experts=1, gate_basis="quantile", expert_basis="spline", **RUN).fit(X, y)
    assert_allclose(model.predict(X[:1]), model.predict(X)[:1])
    assert_allclose(model.gate_proba(X[:1]), [[1.0]])


def test_far_rows_have_finite_answers(data):
    X, y = data
    for basis in NAMED:
        model = Regressor(n_experts=2, gate_basis=basis, **RUN).fit(X, y)
        far = np.array([[1e300, 0.0, 0.0], [-1e300, 0.0, 1e300]])
        assert_allclose(model.gate_proba(far).sum(axis=1), 1.0)


def test_sparse_rows(data):
    X, y = data
    X = np.where(np.abs(X) > 0.5, X, 0.0)
    for basis in ("quantile", TruncatedSVD(2, random_state=0)):
        model = Regressor(n_experts=2, gate_basis=basis, expert_basis=basis, **RUN)
        dense = clone(model).fit(X, y)
        sparse = model.fit(sp.csr_matrix(X), y)
        assert_allclose(dense.predict(X), sparse.predict(sp.csr_matrix(X)), atol=1e-6)


def test_wide_rows_keep_the_basis():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 300))
    y = X[:, 0] + 0.1 * rng.standard_normal(60)
    basis = TruncatedSVD(5, random_state=0)
    model = Regressor(n_experts=2, gate_basis=basis, expert_basis=basis, **RUN).fit(X, y)
    assert model.gate_.coef_.shape == (2, 5)
    assert len(model.experts_[0][-1].coef_) == 5


def test_picture_of_regions(data):
    X, y = data
    model = Regressor(n_experts=2, gate_basis="quantile", expert_basis="quantile", **RUN)
    model.fit(frame_of(X), y)
    display = ExpertRegionsDisplay.from_estimator(model, frame_of(X), features=["size", "left"])
    assert display.ax_.get_xlabel() == "size"


def test_picture_of_a_tree(data):
    X, y = data
    gate = HierarchicalGate((2,))
    tree = Regressor(n_experts=2, gate=gate, gate_basis="quantile", **RUN).fit(X, y)
    display = GateTreeDisplay.from_estimator(tree, X)
    assert any("rank(x0)" in text for text in display.splits)


def test_nested_mixtures(data):
    X, y = data
    model = Regressor(Regressor(n_experts=2), n_experts=2, gate_basis="quantile", **RUN).fit(X, y)
    assert model.gate_.coef_.shape[1:] == (6,)
    inner = Regressor(Regressor(n_experts=2, gate_basis="quantile"), n_experts=2)
    with pytest.raises(ValueError, match=r"inner .* has gate_basis='quantile'.*outer mixture"):
        inner.fit(X, y)


class Wrong(TransformerMixin, BaseEstimator):
    """A transformer that does something wrong for rows after the first."""

    def __init__(self, fault="nan"):
        self.fault = fault

    def fit(self, X, y=None):
        self.least_ = X[:, 1].min()
        return self

    def transform(self, X):
        if self.fault == "rows" or (self.fault == "later" and len(X) > 1):
            return X[:-1] if self.fault == "rows" else X[:, :2]
        if self.fault == "text":
            return np.full(X.shape, "a")
        if self.fault == "none":
            return X[:, :0]
        value = {"nan": np.nan, "infinite": np.inf}.get(self.fault, 0.0)
        return np.where(X > 0, X, value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "gives NaN for rows that have no missing value, "),
        ("infinite", "gives infinite values"),
        ("rows", "gives an array of shape"),
        ("none", "gives an array of shape"),
        ("later", "gives 2 columns for some rows and 3"),
        ("text", "gives values that are not numbers"),
    ],
)
@pytest.mark.parametrize("name", ["gate_basis", "expert_basis"])
def test_transformers_that_cannot_be_a_basis(data, fault, message, name):
    model = Regressor(n_experts=2, **{name: Wrong(fault)}, **RUN)
    with pytest.raises(ValueError, match=rf"Regressor: {name}=Wrong\(.*{message}"):
        model.fit(*data)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"gate": LogisticRegression(), "gate_basis": "quantile"},
            "gate_basis='quantile' .* LogisticRegression .* Pipeline",
        ),
        (
            {"expert": DecisionTreeRegressor(), "expert_basis": "spline"},
            "expert_basis='spline' .* DecisionTreeRegressor .* Pipeline",
        ),
        (
            {"gate_features": [[0], [1]], "gate_basis": "quantile"},
            "gate_basis='quantile' .* gate_features gives columns to each",
        ),
        (
            {"expert_features": [[0], [1]], "expert_basis": "quantile"},
            "expert_basis='quantile' .* expert_features gives columns to each",
        ),
        (
            {
                "expert": DecisionTreeRegressor(),
                "gate_basis": "quantile",
                "warm_up": Regressor(n_experts=2),
            },
            "warm_up brings its gate, and gate_basis='quantile'",
        ),
        ({"gate_basis": OneHotEncoder(), "gate_features": [0]}, "unknown categories"),
        (
            {"gate_basis": ColumnTransformer([("size", StandardScaler(), ["size"])])},
            "gate_basis=ColumnTransformer.* select them by position",
        ),
        ({"gate_basis": SplineTransformer(n_knots=1)}, "gate_basis=SplineTransformer.*n_knots"),
        ({"gate_basis": QuantileBasis(0)}, "gate_basis=QuantileBasis.*n_quantiles"),
    ],
)
def test_what_does_not_go_together_is_said(data, params, message):
    X, y = data
    with pytest.raises(ValueError, match=message):
        Regressor(n_experts=2, **params, **RUN).fit(X, y).predict(X + 100.0)


@pytest.mark.parametrize("routing", [None, TopK(1, jitter=0.1)])
def test_a_gate_with_a_basis_in_front_of_estimators(data, routing):
    X, y = data
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    model = Regressor(tree, n_experts=2, gate_basis="quantile", routing=routing, **RUN)
    model.fit(X, y)
    assert model.gate_.coef_.shape == (2, 6)
    assert model.expert_basis_ is None
    assert isinstance(model.experts_[0], DecisionTreeRegressor)


def test_a_fit_with_missing_values_answers_sparse_rows(data):
    X, y = data
    holes = X.copy()
    holes[::9, 2] = np.nan
    features = {"expert_features": [0, 1], "gate_features": [0, 1]}
    model = Regressor(n_experts=2, gate_basis="quantile", **features, **RUN).fit(holes, y)
    assert_allclose(model.gate_proba(sp.csr_matrix(X)), model.gate_proba(X), atol=1e-12)


def test_a_hard_mixture_keeps_the_bases(data):
    X, y = data
    model = Regressor(n_experts=2, gate_basis="quantile", expert_basis="spline", **RUN).fit(X, y)
    best = model.predict_experts(X)[np.arange(len(X)), model.route(X).argmax(axis=1)]
    expected = np.clip(best, y.min(), y.max())
    assert_allclose(model.to_hard().predict(X), expected, atol=1e-10)


def test_a_class_is_no_basis(data):
    with pytest.raises(TypeError, match=r"gate_basis=SplineBasis\(\)"):
        Regressor(gate_basis=SplineBasis).fit(*data)


def test_a_warm_up_brings_its_basis(data):
    warm_up = Regressor(n_experts=2, gate_basis="quantile", **RUN)
    model = Regressor(DecisionTreeRegressor(max_depth=2), 2, warm_up=warm_up, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*data)
    assert model.gate_.coef_.shape == (2, 6)


def test_sparse_rows_too_large_to_fill_in():
    X = sp.random(400, 400, density=0.01, random_state=0, format="csr")
    model = Regressor(n_experts=2, gate_basis="quantile", **RUN)
    message = "gate_basis='quantile' takes no sparse rows.*TruncatedSVD"
    with config_context(working_memory=1), pytest.raises(ValueError, match=message):
        model.fit(X, np.arange(400.0))
