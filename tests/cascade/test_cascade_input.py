"""Forms of input, weights, folds, routing of metadata, and errors."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from _guests_of_cascades import Draft, Full, bent, two_classes
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mixexp import CascadeClassifier, CascadeRegressor, MixtureOfExpertsRegressor


def classifier(draft=None, full=None, **params):
    given = {"max_disagreement": 0.3, "cv": 3, "random_state": 0, **params}
    draft = GaussianNB() if draft is None else draft
    return CascadeClassifier(draft, LogisticRegression() if full is None else full, **given)


def regressor(draft=None, full=None, **params):
    given = {"max_disagreement": 0.3, "cv": 3, "tolerance": 0.5, "random_state": 0, **params}
    draft = Ridge() if draft is None else draft
    return CascadeRegressor(draft, KNeighborsRegressor() if full is None else full, **given)


def test_frames_with_text_reach_pipelines():
    X, y = two_classes(240)
    frame = pd.DataFrame({"x": X[:, 0], "word": np.where(X[:, 1] > 0, "up", "down")})
    encoder = make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough")
    draft = make_pipeline(encoder, LogisticRegression())
    cascade = classifier(draft, make_pipeline(encoder, DecisionTreeClassifier(max_depth=4)))
    cascade.fit(frame, y)
    assert list(cascade.feature_names_in_) == ["x", "word"]
    assert cascade.n_features_in_ == 2
    assert cascade.acceptance_rate_ > 0.3
    assert cascade.score(frame, y) > 0.9
    numbers = regressor(make_pipeline(encoder, Ridge()), make_pipeline(encoder, LinearRegression()))
    assert numbers.fit(frame, X[:, 0]).acceptance_rate_ > 0.5
    with pytest.raises(ValueError, match="feature names"):
        cascade.predict(frame.rename(columns={"x": "z"}))


def test_texts_for_a_vectoriser():
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue", "sun", "rain"])
    texts = [" ".join(rng.choice(words, 6)) for _ in range(200)]
    y = np.array([text.count("red") > 1 for text in texts])
    draft = make_pipeline(CountVectorizer(), MultinomialNB())
    full = make_pipeline(CountVectorizer(), LogisticRegression())
    cascade = classifier(draft, full).fit(texts, y)
    assert cascade.score(texts, y) > 0.8
    assert cascade.predict(texts[:3]).shape == (3,)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_sparse(kind):
    X, y = two_classes(200)
    dense = classifier(LogisticRegression(C=0.1), LogisticRegression()).fit(X, y)
    sparse = clone(dense).fit(kind(X), y)
    assert sparse.threshold_ == pytest.approx(dense.threshold_, rel=1e-4)
    assert_array_equal(sparse.predict(kind(X)), dense.predict(X))
    X, y = bent(200)
    assert regressor(full=LinearRegression()).fit(kind(X), y).predict(kind(X)).shape == (200,)
    tags = sparse.__sklearn_tags__()
    assert tags.input_tags.sparse
    assert not classifier().__sklearn_tags__().input_tags.sparse  # GaussianNB takes none


def test_missing_values():
    X, y = bent(200)
    X[::7, 1] = np.nan
    model = regressor(
        make_pipeline(SimpleImputer(), Ridge()), make_pipeline(SimpleImputer(), Ridge(2))
    )
    assert model.fit(X, y).acceptance_rate_ > 0.5
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(ValueError, match=r"CascadeRegressor: draft=Ridge in fold 0 of cv.*NaN"):
        regressor().fit(X, y)


def test_weights_are_frequencies(rng):
    X, y = two_classes(200)
    y = np.where(rng.uniform(size=200) < 0.1, 1 - y, y)
    weight = rng.integers(0, 4, 200)
    cascade = classifier(LogisticRegression(), GaussianNB()).fit(X, y, weight)
    copies = np.repeat(np.arange(200), weight)
    again = clone(cascade).fit(X[copies], y[copies])
    assert again.acceptance_rate_ == pytest.approx(cascade.acceptance_rate_)
    assert again.disagreement_bound_ == pytest.approx(cascade.disagreement_bound_)
    assert again.threshold_ == pytest.approx(cascade.threshold_, rel=1e-4)
    unweighted = clone(cascade).fit(X, y)
    assert unweighted.draft_.coef_[0, 0] != cascade.draft_.coef_[0, 0]
    order = rng.permutation(200)
    turned = clone(cascade).fit(X[order], y[order], weight[order])
    assert turned.threshold_ == pytest.approx(cascade.threshold_, rel=1e-4)


def test_weights_of_zero_and_given_folds():
    """An iterable has ids of all rows; those of weight 0 leave the folds."""
    X, y = two_classes(200)
    weight = (np.arange(200) % 5 > 0).astype(float)
    pairs = list(StratifiedKFold(3).split(X, y))
    kept = np.flatnonzero(weight)
    place = np.cumsum(weight).astype(int) - 1
    inner = [tuple(place[ids[weight[ids] > 0]] for ids in pair) for pair in pairs]
    one = classifier(cv=pairs).fit(X, y, weight)
    two = classifier(cv=inner).fit(X[kept], y[kept])
    assert (one.threshold_, one.acceptance_rate_) == (two.threshold_, two.acceptance_rate_)


def test_estimators_without_weights_are_named_once():
    X, y = two_classes(150)
    weight = np.arange(150) % 3
    with pytest.warns(UserWarning, match=r"full=KNeighborsClassifier cannot take") as told:
        classifier(full=KNeighborsClassifier()).fit(X, y, weight)
    assert len(told) == 1
    with pytest.warns(
        UserWarning, match="draft=Draft and full=KNeighborsClassifier cannot"
    ) as told:
        classifier(Draft(), full=KNeighborsClassifier()).fit(X, y, weight)
    classifier(full=KNeighborsClassifier()).fit(X, y, np.ones(150))  # nothing to tell


def test_small_weights_are_rescaled():
    X, y = two_classes(150)
    with pytest.warns(UserWarning, match="rescaled to a mean of 1"):
        small = classifier().fit(X, y, np.full(150, 1e-3))
    assert small.disagreement_bound_ == pytest.approx(classifier().fit(X, y).disagreement_bound_)


def test_splitters_and_rows_that_are_not_tested():
    X, y = two_classes(300)
    for cv in (KFold(3), StratifiedKFold(3), None, ShuffleSplit(1, test_size=0.5, random_state=0)):
        assert classifier(cv=cv).fit(X, y).acceptance_rate_ > 0.3
    X, y = bent()
    with pytest.raises(ValueError, match="cv has one fold, and the model of differences needs two"):
        regressor(cv=ShuffleSplit(1)).fit(X, y)


class Grouped(Draft):
    """Remembers the groups it was given in each fit."""

    seen: list = []

    def fit(self, X, y, sample_weight=None, groups=None):
        Grouped.seen.append(set(groups))
        return super().fit(X, y)


def test_groups_stay_together():
    X, y = two_classes(300)
    groups = np.repeat(np.arange(30), 10)
    X = np.column_stack([X, groups])

    class Memory(Draft):
        """Refuses rows of a group it has seen."""

        def fit(self, X, y):
            self.known_ = set(X[:, 2])
            return super().fit(X, y)

        def predict_proba(self, X):
            assert not self.known_ & set(X[:, 2])
            return super().predict_proba(X)

    for cv in (3, GroupKFold(3)):
        classifier(Memory(), cv=cv).fit(X, y, groups=groups)
        with pytest.raises(ValueError, match="in fold 0 of cv"):
            classifier(Memory(), cv=3).fit(X, y)
    with pytest.raises(ValueError, match=r"cv=40 folds, and there are 30 groups"):
        classifier(cv=40).fit(X, y, groups=groups)
    with pytest.raises(ValueError, match="groups"):
        classifier().fit(X, y, groups=groups[:5])


def test_metadata_routing():
    X, y = two_classes(300)
    groups = np.repeat(np.arange(30), 10)
    with sklearn.config_context(enable_metadata_routing=True):
        Grouped.seen.clear()
        full = Grouped().set_fit_request(groups=True, sample_weight=True)
        cascade = classifier(full=full, cv=GroupKFold(3))
        cascade.fit(X, y, sample_weight=np.ones(300), groups=groups)
        sizes = sorted(len(seen) for seen in Grouped.seen)
        assert sizes == [20, 20, 20, 30]  # three folds without a third of the groups, and all
        with pytest.raises(TypeError, match="unexpected argument"):
            classifier().fit(X, y, colour=groups)
        routed = cascade.get_metadata_routing()
        assert {"draft", "full", "splitter"} <= set(routed._serialize())
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        classifier().fit(X, y, colour=groups)


def in_place():
    return StandardScaler(copy=False)


def test_leaves_no_trace(untouched):
    X, y = two_classes(200)
    before, order = X.copy(), np.asfortranarray(X)
    draft, full = make_pipeline(in_place(), GaussianNB()), make_pipeline(in_place(), Draft())
    cascade = classifier(draft, full, n_jobs=2)
    for values in (X, order, pd.DataFrame(X)):
        cascade.fit(values, y).predict(values)
        cascade.predict_proba(values)
        assert_array_equal(np.asarray(values), before)
    assert not hasattr(draft[-1], "classes_")
    assert cascade.draft is draft


def test_a_failed_fit_changes_nothing():
    X, y = two_classes(200)
    cascade = classifier().fit(X, y)
    before = dict(cascade.__dict__)
    with pytest.raises(ValueError, match="infinity"):
        cascade.fit(np.full_like(X, np.inf), y)
    assert cascade.__dict__ == before


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (classifier(draft=3), ValueError, "'draft' parameter of CascadeClassifier"),
        (classifier(full=GaussianNB), TypeError, r"full must be an instance.*full=GaussianNB\(\)"),
        (classifier(full=Ridge()), TypeError, "full=Ridge is not a classifier.*CascadeRegressor"),
        (regressor(draft=GaussianNB()), TypeError, "draft=GaussianNB is not a regressor"),
        (classifier(max_disagreement=0), ValueError, r"'max_disagreement'.*\(0.* 1.*\).* Got 0 "),
        (classifier(max_disagreement=1.0), ValueError, r"'max_disagreement'.* Got 1.0 "),
        (regressor(tolerance=-1.0), ValueError, r"'tolerance'.* Got -1.0 "),
        (regressor(tolerance=[1.0, 2.0]), ValueError, r"tolerance=.*\(2,\) for 1 outputs"),
        (regressor(tolerance=[-1.0]), ValueError, r"tolerance=\[-1.0\] .* at least 0"),
        (regressor(tolerance=["a"]), ValueError, "tolerance=.*cannot be read as numbers"),
        (classifier(cv=1), ValueError, "'cv' parameter"),
        (classifier(cv=200), ValueError, r"cv=200 folds, and there are 83 rows in the largest"),
        (regressor(cv=200), ValueError, "cv=200 folds, and there are 150 rows"),
        (classifier(cv=RepeatedKFold(n_repeats=2)), ValueError, "cv tests 150 rows more than once"),
        (classifier(cv=[([0], [1, 999])]), ValueError, "cv has row 999, and rows go from 0 to 149"),
        (classifier(cv=[(range(60), [1])]), ValueError, "fold 0 .* 1 of which it also tests"),
        (classifier(cv=[]), ValueError, "cv tests no row"),
    ],
)
def test_errors_name_parameter_value_and_remedy(model, error, message):
    X, y = two_classes(150) if hasattr(model, "predict_proba") else bent(150)
    if isinstance(model, CascadeClassifier):
        X, y = two_classes(150)
    with pytest.raises(error, match=message):
        model.fit(X, y)


def test_errors_of_data():
    X, y = two_classes(150)
    with pytest.raises(ValueError, match="y has one class"):
        classifier().fit(X, np.zeros(150))
    few = np.zeros(150, dtype=int)
    few[0] = 1
    with pytest.raises(
        ValueError, match=r"one class to fit on\. The rarest class, 1, has n_samples=1"
    ):
        classifier(DummyClassifier(), DummyClassifier()).fit(X, few)
    with pytest.raises(ValueError, match="all 150 rows are equal"):
        regressor().fit(np.ones((150, 2)), np.ones(150))
    with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
        classifier(Silent(Draft())).fit(X, y)


class Silent(Full):
    """A classifier without probabilities."""

    predict_proba = property()


def test_a_mixture_of_regressions_as_full_model():
    X, y = bent(300)
    full = MixtureOfExpertsRegressor(n_experts=2, n_init=2, max_iter=30, tol=1e-3)
    cascade = regressor(full=full, tolerance=0.25).fit(X, y)
    answers, accepted = cascade.predict(X, return_accepted=True)
    assert cascade.acceptance_rate_ > 0.2
    assert_allclose(answers[~accepted], cascade.full_.predict(X)[~accepted])
