"""What a fitted cascade answers, and which rows it asks the full model about."""

import pickle

import numpy as np
import pytest
from _guests_of_cascades import Draft, DraftLine, Full, FullLine, StdLine, bent, two_classes
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import (
    BayesianRidge,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
)
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mixexp import (
    CascadeClassifier,
    CascadeRegressor,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
)


@pytest.fixture
def classes():
    """Draft and full differ where 0 < x0 < 0.3: sure rows agree."""
    X, y = two_classes()
    Draft.reset(), Full.reset()
    cascade = CascadeClassifier(Draft(), Full(cut=0.3), random_state=0)
    return cascade.fit(X, y), X, y


@pytest.fixture
def numbers():
    """Draft and full differ where x1 > 0.1."""
    X, y = bent()
    cascade = CascadeRegressor(
        DraftLine(), FullLine(bend=1.0), tolerance=0.1, max_disagreement=0.05, random_state=0
    )
    return cascade.fit(X, y), X, y


def test_classifier_accepts_where_models_agree(classes):
    cascade, X, _ = classes
    answers, accepted = cascade.predict(X, return_accepted=True)
    differs = (X[:, 0] > 0) != (X[:, 0] > 0.3)
    assert 0.65 < cascade.acceptance_rate_ < 0.75  # |x0| > 0.3 for 70 %
    assert accepted.mean() == pytest.approx(cascade.acceptance_rate_)  # the models do not learn
    assert cascade.agreement_ == pytest.approx(1 - differs[accepted].mean())
    assert 1 - cascade.agreement_ < cascade.disagreement_bound_ <= 0.02
    assert_array_equal(answers[~accepted], (X[~accepted, 0] > 0.3).astype(int))
    assert_array_equal(answers[accepted], (X[accepted, 0] > 0).astype(int))


def test_regressor_accepts_where_models_agree(numbers):
    cascade, X, _ = numbers
    answers, accepted = cascade.predict(X, return_accepted=True)
    assert 0.45 < cascade.acceptance_rate_ < 0.6  # x1 < 0.1 for 55 %
    assert np.mean(X[accepted, 1] > 0.1) < 0.05
    assert 1 - cascade.agreement_ < cascade.disagreement_bound_ <= 0.05
    assert_array_equal(answers[accepted], X[accepted, 0])
    assert_array_equal(answers[~accepted], bent()[1][~accepted])
    assert cascade.tolerance_ == 0.1


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_full_model_sees_rejected_rows_only(classes, method):
    cascade, X, _ = classes
    _, accepted = cascade.predict(X, return_accepted=True)
    Draft.reset(), Full.reset()
    getattr(cascade, method)(X)
    assert (Draft.calls, Draft.rows) == (1, len(X))
    assert (Full.calls, Full.rows) == (1, np.sum(~accepted))
    Full.reset()
    getattr(cascade, method)(X[accepted])
    assert Full.calls == 0


def test_full_regressor_sees_rejected_rows_only(numbers):
    cascade, X, _ = numbers
    DraftLine.reset(), FullLine.reset()
    _, accepted = cascade.predict(X, return_accepted=True)
    assert (DraftLine.calls, DraftLine.rows) == (1, len(X))
    assert (FullLine.calls, FullLine.rows) == (1, np.sum(~accepted))
    FullLine.reset()
    cascade.predict(X[accepted])
    assert FullLine.calls == 0


def test_answers_do_not_depend_on_the_batch(classes, numbers):
    for cascade, X, _ in (classes, numbers):
        answers, accepted = cascade.predict(X, return_accepted=True)
        order = np.random.default_rng(0).permutation(len(X))
        again = cascade.predict(X[order], return_accepted=True)
        assert_array_equal(again[0], answers[order])
        assert_array_equal(again[1], accepted[order])
        one = [cascade.predict(X[[i]], return_accepted=True) for i in range(20)]
        assert_array_equal(np.concatenate([answer for answer, _ in one]), answers[:20])
        assert_array_equal(np.concatenate([ok for _, ok in one]), accepted[:20])


def test_probabilities_and_scores(classes, numbers):
    cascade, X, y = classes
    proba = cascade.predict_proba(X)
    _, accepted = cascade.predict(X, return_accepted=True)
    assert_array_equal(proba[accepted], cascade.draft_.predict_proba(X)[accepted])
    assert_array_equal(proba[~accepted], cascade.full_.predict_proba(X)[~accepted])
    assert_array_equal(cascade.classes_[proba.argmax(axis=1)], cascade.predict(X))
    weight = np.arange(len(y))
    assert cascade.score(X, y, weight) == accuracy_score(
        y, cascade.predict(X), sample_weight=weight
    )
    cascade, X, y = numbers
    assert cascade.score(X, y) == r2_score(y, cascade.predict(X))


def test_no_row_accepted_is_legal_and_told(classes):
    _, X, y = classes
    cascade = CascadeClassifier(Draft(), Full(band=2.0), random_state=0)  # always opposite
    with pytest.warns(UserWarning, match="no row is accepted") as told:
        cascade.fit(X, y)
    assert len(told) == 1
    assert "100.00% of the answers of draft and full model differ" in str(told[0].message)
    assert (cascade.acceptance_rate_, cascade.threshold_) == (0.0, np.inf)
    assert np.isnan(cascade.agreement_) and np.isnan(cascade.disagreement_bound_)
    answers, accepted = cascade.predict(X, return_accepted=True)
    assert not accepted.any()
    assert_array_equal(answers, cascade.full_.predict(X))


def test_too_few_rows_are_told_how_many(classes):
    _, X, y = classes
    with pytest.warns(UserWarning, match=r"on 149 rows or more, .* and 100 are tested"):
        CascadeClassifier(Draft(), Draft()).fit(X[:100], y[:100])
    assert CascadeClassifier(Draft(), Draft()).fit(X[:149], y[:149]).acceptance_rate_ == 1.0


def test_warning_names_the_tolerance():
    X, y = bent()
    cascade = CascadeRegressor(DraftLine(), Ridge(1e3), tolerance=[0.0], cv=2)
    with pytest.warns(UserWarning, match=r"or tolerance \(tolerance_=0.0\)"):
        cascade.fit(X, y)


def test_std_of_the_draft_is_its_certainty():
    X, y = bent()
    cascade = CascadeRegressor(StdLine(), FullLine(bend=1.0), tolerance=0.1).fit(X, y)
    assert cascade.difference_model_ is None
    answers, accepted = cascade.predict(X, return_accepted=True)
    assert -1.0 <= cascade.threshold_ < -0.8  # in tolerances: a std of 0.1 differs by 0.1
    assert_array_equal(accepted, np.maximum(X[:, 1], 0) <= -0.1 * cascade.threshold_ * (1 + 1e-6))
    assert_allclose(answers[accepted], X[accepted, 0])


@pytest.mark.parametrize(
    "draft",
    [
        BayesianRidge(),
        make_pipeline(StandardScaler(), BayesianRidge()),
        GaussianProcessRegressor(alpha=1e-2, optimizer=None),  # well-conditioned
    ],
)
def test_drafts_that_give_a_std(draft):
    X, y = bent(160)
    cascade = CascadeRegressor(draft, Ridge(), tolerance=9.0, cv=2).fit(X, y)
    assert cascade.difference_model_ is None
    assert cascade.acceptance_rate_ == 1.0


def test_difference_model_is_judged_out_of_fold():
    """Differences that cannot be foreseen: a model that knows them would find rows that agree."""
    off = np.random.default_rng(5).permutation(np.repeat([0.0, 1.0], 200))
    X = np.column_stack([two_classes(400)[0][:, 0], np.arange(400)])

    class Noisy(FullLine):
        def predict(self, X):
            return X[:, 0] + off[np.round(X[:, 1]).astype(int)]

    cascade = CascadeRegressor(
        DraftLine(), Noisy(), tolerance=0.2, max_disagreement=0.4, random_state=0
    )
    with pytest.warns(UserWarning, match="no row is accepted"):
        cascade.fit(X, X[:, 0])


def test_default_tolerance_is_a_tenth_of_the_weighted_deviation(rng):
    X, y = bent(200)
    weight = rng.integers(0, 4, 200)
    with pytest.warns(UserWarning, match="cannot take sample_weight"):
        cascade = CascadeRegressor(DraftLine(), DraftLine()).fit(X, y, weight)
    assert cascade.tolerance_ == pytest.approx(0.1 * np.std(np.repeat(y, weight)))
    both = np.column_stack([y, 10 * y])
    cascade = CascadeRegressor(Ridge(), Ridge()).fit(X, both)
    assert_allclose(cascade.tolerance_, 0.1 * both.std(axis=0))


def test_several_outputs_differ_if_one_does():
    X, y = bent()
    Y = np.column_stack([y, X[:, 0]])
    full = make_pipeline(StandardScaler(), LinearRegression())
    loose = CascadeRegressor(LinearRegression(), full, tolerance=[1.0, 1e-6]).fit(X, Y)
    assert loose.acceptance_rate_ == 1.0
    assert loose.predict(X).shape == Y.shape
    with pytest.warns(UserWarning, match="no row is accepted"):
        CascadeRegressor(Ridge(1e3), full, tolerance=[9.0, 1e-9]).fit(X, Y)
    assert CascadeRegressor(Ridge(1e3), full, tolerance=9.0).fit(X, Y).acceptance_rate_ == 1.0


def test_draft_with_decision_function_only(classes):
    _, X, y = classes
    labels = np.array(["no", "yes"])[y]
    cascade = CascadeClassifier(RidgeClassifier(), LogisticRegression(C=100)).fit(X, labels)
    assert cascade.acceptance_rate_ > 0.5
    assert set(cascade.predict(X)) == {"no", "yes"}
    assert not hasattr(cascade, "predict_proba")
    three = labels.astype("U9")
    three[X[:, 1] > 0.5] = "perhaps"
    cascade = CascadeClassifier(RidgeClassifier(), LogisticRegression(), max_disagreement=0.2)
    assert cascade.fit(X, three).acceptance_rate_ > 0.2
    assert set(cascade.predict(X)) == set(three)


def test_a_class_that_a_fold_lacks():
    """The one row of class 'rare' is tested once, by models that do not know it."""
    X, y = two_classes(300)
    labels = np.array(["a", "z"])[y].astype("U9")
    labels[7] = "rare"
    cascade = CascadeClassifier(GaussianNB(), DecisionTreeClassifier(), max_disagreement=0.2)
    cascade.fit(X, labels)
    assert list(cascade.classes_) == ["a", "rare", "z"]
    assert cascade.predict_proba(X).shape == (300, 3)
    assert cascade.acceptance_rate_ > 0.3


def test_a_mixture_as_full_model():
    X, y = two_classes(400)
    y = np.where(X[:, 1] > 0, y, 1 - y)
    full = MixtureOfExpertsClassifier(n_experts=2, n_init=2, max_iter=30)
    cascade = CascadeClassifier(
        DecisionTreeClassifier(max_depth=3), full, max_disagreement=0.2, cv=2, random_state=0
    ).fit(X, y)
    assert cascade.acceptance_rate_ > 0.2
    assert cascade.full_.n_experts == 2


def test_clone_pickle_and_search(classes):
    cascade, X, y = classes
    again = clone(cascade)
    assert not hasattr(again, "threshold_")
    assert again.get_params()["full__cut"] == 0.3
    copied = pickle.loads(pickle.dumps(cascade))
    assert_array_equal(copied.predict_proba(X), cascade.predict_proba(X))
    grid = {"full__cut": [0.3, 0.0], "draft__cut": [0.0]}
    search = GridSearchCV(again, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["full__cut"] == 0.0
    assert cascade.full.cut == 0.3


def test_same_seed_same_cascade_and_jobs_do_not_matter():
    X, y = bent(300)
    tree = DecisionTreeClassifier(max_features=1)
    y = (y > 0.4).astype(int)
    fits = [
        CascadeClassifier(
            clone(tree), KNeighborsClassifier(), max_disagreement=0.3, random_state=1, n_jobs=n
        ).fit(X, y)
        for n in (None, 1, 2)
    ]
    assert tree.random_state is None
    assert len({fit.threshold_ for fit in fits}) == 1
    for fit in fits:
        assert_array_equal(fit.predict(X), fits[0].predict(X))


def test_a_draft_that_gives_deviations_accepts_as_many_rows_as_it_says():
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(400, 2)), rng.normal(size=(1000, 2))
    y = np.where(X[:, 0] > 0, 2 * X[:, 1], 1 - X[:, 1]) + 0.1 * rng.normal(size=400)
    full = MixtureOfExpertsRegressor(n_experts=2, n_init=5, random_state=0)
    cascade = CascadeRegressor(
        BayesianRidge(), full, tolerance=1.0, max_disagreement=0.6, cv=3, random_state=0
    ).fit(X, y)
    assert cascade.acceptance_rate_ > 0.4
    for rows in (X, new):
        accepted = cascade.predict(rows, return_accepted=True)[1].mean()
        assert abs(accepted - cascade.acceptance_rate_) < 0.1
