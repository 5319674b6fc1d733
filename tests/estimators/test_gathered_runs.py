"""`fit_blocks(allow_gather=True)`: runs are joined, and must be of one kind."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

TREE = DecisionTreeRegressor(max_depth=2, random_state=0)


@pytest.fixture
def table(rng):
    X = rng.uniform(-1, 1, (300, 3))
    return X, np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(300)


def fit(*runs, classes=False):
    if classes:
        model = MixtureOfExpertsClassifier(DecisionTreeClassifier(max_depth=2), n_experts=2)
    else:
        model = MixtureOfExpertsRegressor(TREE, n_experts=2)
    model.set_params(n_init=1, max_iter=5, random_state=0)
    return model.fit_blocks(lambda: iter(runs), allow_gather=True)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_array_that_is_filled_again_is_copied(table):
    X, y = table

    def runs():
        rows, targets = np.empty((100, 3)), np.empty(100)
        for start in range(0, 300, 100):
            rows[:], targets[:] = X[start : start + 100], y[start : start + 100]
            yield rows, targets

    model = MixtureOfExpertsRegressor(TREE, n_experts=2, n_init=1, max_iter=5, random_state=0)
    gathered = model.fit_blocks(runs, allow_gather=True).predict(X)
    assert_array_equal(gathered, model.fit(X, y).predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_runs_without_rows_are_left_out(table):
    X, y = table
    expected = fit((X, y)).predict(X)
    assert_array_equal(fit((X[:0], y[:0]), (X[:50], y[:50]), (X[50:], y[50:])).predict(X), expected)


def test_runs_of_another_kind_are_refused(table):
    X, y = table
    frame, weight = pd.DataFrame(X, columns=list("abc")), np.ones(200)
    towns = frame.assign(a=pd.Categorical(np.where(X[:, 0] > 0, "Oslo", "Rome")))
    other = frame.assign(a=pd.Categorical(np.where(X[:, 0] > 0, "Oslo", "Bern")))
    for first, second, named in (
        ((X[:100], y[:100]), (X[100:], y[100:], weight), "sample_weight"),
        ((X[:100], y[:100], weight[:100]), (X[100:], y[100:]), "sample_weight"),
        ((frame[:100], y[:100]), (frame[["a", "b"]][100:], y[100:]), "columns"),
        ((frame[:100], y[:100]), (frame[["c", "b", "a"]][100:], y[100:]), "columns"),
        ((X[:100], y[:100]), (frame[100:], y[100:]), "pandas frame"),
        ((X[:100], y[:100]), (sp.csr_array(X[100:]), y[100:]), "sparse"),
        ((X[:100], y[:100]), (X[100:], y[100:, None]), "outputs of y"),
        ((towns[:100], y[:100]), (other[100:], y[100:]), "Bern"),
        ((X[:100], y[:100]), (X[100:], y[:0]), "different lengths"),
    ):
        with pytest.raises(ValueError, match=rf"run 1 of factory\(\) (differs|has).*{named}"):
            fit(first, second)


@pytest.mark.parametrize("text", [np.array(["0", "1"]), np.array(["u", "v"], dtype=object)])
def test_labels_of_text_and_numbers_are_refused(text, table):
    X, y = table
    codes = (y > 0).astype(int)
    runs = (X[:100], codes[:100]), (X[100:], text[codes[100:]])
    with pytest.raises(ValueError, match="the labels: text, not numbers"):
        fit(*runs, classes=True)
    with pytest.raises(ValueError, match="labels of one kind"):
        MixtureOfExpertsClassifier(n_experts=2).fit_blocks(lambda: iter(runs))


def test_targets_beside_no_rows_are_refused(table):
    X, y = table
    runs = (X, y), (X[:0], y[:5])
    with pytest.raises(ValueError, match=r"run 1 of factory\(\)"):
        MixtureOfExpertsRegressor(n_experts=2).fit_blocks(lambda: iter(runs))
