"""Sparse, frames, lists, labels, outputs: the same numbers give the same fit."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _two_regimes import (
    CLASSIFIERS,
    FRAMES,
    REGRESSORS,
    assert_same_fit,
    data_for,
    fit_once,
    soft_start,
    two_boundaries,
    two_lines,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_sparse_equals_dense(model):
    X, y = data_for(model)
    X[np.abs(X) < 0.5] = 0
    dense = clone(model).fit(X, y)
    for form in (sp.csr_array, sp.csc_matrix):
        assert_same_fit(dense, clone(model).fit(form(X), y), X, form(X))


def test_single_precision_equals_the_same_numbers_in_double(model):
    X, y = data_for(model)
    X = X.astype(np.float32)
    model.set_params(init="clusterwise")  # "mixed" sets out on a ridge, where rounding decides
    single, double = clone(model).fit(X, y), clone(model).fit(X.astype(float), y)
    own = "Pipeline" in str(model.expert)  # a scaler works in the precision it is given
    assert_same_fit(single, double, X, **({"rtol": 1e-2, "atol": 1e-3} if own else {}))


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],  # strided
        lambda a: a.tolist(),
        lambda a: a.astype(object),
        lambda a: a.astype(">f8"),
    ],
    ids=["fortran", "strided", "lists", "object", "big-endian"],
)
def test_the_form_of_arrays_does_not_matter(default, change):
    X, y = data_for(default)
    assert_same_fit(clone(default).fit(X, y), clone(default).fit(change(X), y), X, change(X))


def test_integers_are_numbers(default):
    X, y = data_for(default)
    X = np.round(10 * X)
    for kind in (np.int8, np.int64):
        assert_same_fit(clone(default).fit(X, y), clone(default).fit(X.astype(kind), y), X)


def test_inputs_are_left_as_they_were(model):
    X, y = data_for(model)
    weight, start = np.linspace(0, 2, len(y)), soft_start(len(y))
    inputs = [X, y, weight, start]
    copies = [a.copy() for a in inputs]
    for a in inputs:
        a.flags.writeable = False
    template = model.get_params()["expert"]
    model.set_params(init=start, max_iter=5).fit(X, y, sample_weight=weight)
    model.predict(X)
    for a, b in zip(inputs, copies, strict=True):
        assert_array_equal(a, b)
    assert model.init is start
    assert model.get_params()["expert"] is template
    assert template is None or not [name for name in vars(template) if name.endswith("_")]


def test_frames(model, library):
    X, y = data_for(model)
    frame = FRAMES[library](X)
    from_frame = clone(model).fit(frame, y)
    assert_array_equal(from_frame.feature_names_in_, ["a", "b", "c"])
    assert from_frame.n_features_in_ == 3
    assert_same_fit(clone(model).fit(X, y), from_frame, X, frame)
    for expert in from_frame.experts_:
        assert_array_equal(expert.feature_names_in_, ["a", "b", "c"])
        expert.predict(frame)

    with pytest.raises(ValueError, match="feature names should match"):
        from_frame.predict(
            frame.rename(columns={"a": "z"}) if library == "pandas" else frame.rename({"a": "z"})
        )
    with pytest.raises(ValueError, match="same order"):
        from_frame.predict(frame[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert_allclose(from_frame.predict_experts(X), from_frame.predict_experts(frame))


def test_experts_see_the_frame():
    """An expert may choose columns by name."""
    X, y = two_lines()
    frame = FRAMES["pandas"](X)
    expert = make_pipeline(make_column_transformer(("passthrough", ["b", "c"])), Ridge())
    named = MixtureOfExpertsRegressor(expert, 2, init=soft_start(len(y)), max_iter=30, tol=0)
    named.fit(frame, y)
    plain = (
        clone(named)
        .set_params(expert=make_pipeline("passthrough", Ridge()), expert_features=[1, 2])
        .fit(X, y)
    )
    assert_same_fit(named, plain, frame, X)


def test_series_and_odd_indices():
    X, y = two_lines()
    frame = FRAMES["pandas"](X).set_index(pd.Index(np.arange(len(y))[::-1] % 7))
    frame["b"] = frame["b"].astype("Float64")
    weight = pd.Series(np.linspace(0, 2, len(y)), index=frame.index)
    model = REGRESSORS["pipeline"]
    one = clone(model).fit(frame, pd.Series(y, index=frame.index), sample_weight=weight)
    assert_same_fit(one, clone(model).fit(X, y, sample_weight=weight.to_numpy()), frame, X)


@pytest.mark.parametrize("expert", [None, Ridge(), DecisionTreeRegressor(max_depth=3)], ids=str)
def test_several_outputs(expert):
    X, Y = two_lines(n_outputs=3)
    model = MixtureOfExpertsRegressor(expert, 2, random_state=0, n_init=2).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.predict_experts(X).shape == (len(X), 2, 3)
    assert model.dispersions_.shape == (2, 3)
    gate, means = model.gate_proba(X), model.predict_experts(X)
    assert_allclose(model.predict(X), np.einsum("ik,ikq->iq", gate, means))
    log_expert = norm.logpdf(Y[:, None], means, model.dispersions_).sum(axis=2)
    assert_allclose(model.log_density(X, Y), logsumexp(np.log(gate) + log_expert, axis=1))
    assert model.score(X, Y) == pytest.approx(r2_score(Y, model.predict(X)))
    for k, fitted in enumerate(model.experts_):
        assert_allclose(fitted.predict(X), means[:, k])


def test_one_output_in_a_column_keeps_its_shape():
    X, y = two_lines()
    flat = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    column = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y[:, None])
    assert column.predict(X).shape == (len(y), 1)
    assert column.predict_experts(X).shape == (len(y), 2, 1)
    assert_allclose(column.predict(X)[:, 0], flat.predict(X), rtol=1e-9)
    assert_allclose(column.dispersions_.ravel(), flat.dispersions_)
    assert_allclose(column.log_density(X, y[:, None]), flat.log_density(X, y))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "perhaps", "yes"]),
        np.array(["no", "perhaps", "yes"], dtype=object),
        np.array([-5, 0, 70]),
        np.array([1.0, 2.0, 4.0]),
    ],
    ids=["str", "object", "int", "float"],
)
@pytest.mark.parametrize("kind", ["default", "tree", "pipeline"])
def test_labels(kind, labels):
    X, y = two_boundaries(n_classes=3)
    codes = fit_once(f"{kind}-classifier", n_classes=3)
    named = clone(CLASSIFIERS[kind]).fit(X, labels[y])
    assert_array_equal(named.classes_, labels)
    assert named.predict(X).dtype == labels.dtype
    assert_array_equal(named.predict(X), labels[codes.predict(X)])
    assert_array_equal(named.predict_proba(X), codes.predict_proba(X))
    assert_array_equal(named.log_density(X, labels[y]), codes.log_density(X, y))
    for expert in named.experts_:
        assert set(expert.classes_) <= set(labels)


def test_boolean_labels():
    X, y = two_boundaries()
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, y == 1)
    assert model.predict(X).dtype == bool
    assert_array_equal(model.classes_, [False, True])
    assert_array_equal(model.predict(X), clone(model).fit(X, y).predict(X) == 1)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_experts_whose_region_lacks_classes_still_give_all(kind):
    """Three classes in three bands; an expert's start sees one or two of them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, (200, 2))
    y = np.array(["u", "v", "w"])[np.digitize(X[:, 0], [-1, 1])]
    init = (X[:, 0] > 1).astype(int)
    model = clone(CLASSIFIERS[kind]).set_params(init=init, cross_fit="auto").fit(X, y)
    if model.cross_fitted_:  # calibrated, and so not what the experts themselves say
        proba = model.predict_experts(X)
        assert np.all(proba > 0)
        assert_allclose(proba.sum(axis=2), 1)
        model.set_params(cross_fit=False).fit(X, y)
    assert_array_equal(model.classes_, ["u", "v", "w"])
    proba = model.predict_experts(X)
    assert proba.shape == (200, 2, 3)
    assert_allclose(proba.sum(axis=2), 1)
    assert model.score(X, y) > 0.9
    for k, expert in enumerate(model.experts_):
        columns = np.searchsorted(model.classes_, expert.classes_)
        assert_allclose(expert.predict_proba(X), proba[:, k][:, columns])


def test_duplicate_entries_of_sparse_rows_are_their_sums(rng):
    X = rng.standard_normal((60, 4)) * (rng.uniform(size=(60, 4)) < 0.5)
    y = X[:, 0] + 0.3 * rng.standard_normal(60)
    csr = sp.csr_matrix(X)
    coo = csr.tocoo()
    row, col = np.tile(coo.row, 2), np.tile(coo.col, 2)
    order = np.argsort(row, kind="stable")
    data = np.tile(csr.data / 2, 2)[order]
    split = sp.csr_matrix((data, col[order], 2 * csr.indptr), shape=csr.shape)
    assert not split.has_canonical_format and split.nnz == 2 * csr.nnz
    model = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2), 2, random_state=0)
    expected = clone(model).fit(csr, y).predict(csr)
    found = model.fit(split, y)
    assert split.nnz == 2 * csr.nnz
    np.testing.assert_allclose(found.predict(split), expected, rtol=1e-10)
