"""Short cuts of estimators to their predictive distributions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.routing import TopK


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 2))
    return X, np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.normal(size=200)


def test_short_cuts_of_regressors(data):
    X, y = data
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    model.set_params(bound_predictions=True).fit(X, y)
    law = model.predict_distribution(X)
    mean, std = model.predict(X, return_std=True)
    assert_array_equal(mean, model.predict(X))
    assert_array_equal(std, law.std())
    assert_array_equal(model.predict_quantile(X, [0.1, 0.9]), law.quantile([0.1, 0.9]))
    assert_array_equal(model.predict_quantile(X), law.median())
    assert_array_equal(model.predict_interval(X, 0.8), law.interval(0.8))
    assert_allclose(law.logpdf(y), model.log_density(X, y))
    with pytest.raises(ValueError, match="MixtureOfExpertsRegressor: coverage must be"):
        model.predict_interval(X, 1.0)
    far = 1e3 * X  # predictions are bounded, distributions are not
    assert model.predict(far).max() <= y.max() < model.predict_quantile(far).max()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("routing", [None, TopK(1)])
def test_distribution_of_classes(data, routing):
    X, y = data
    labels = np.where(y > 0.3, "high", np.where(y > -0.3, "middle", "low"))
    model = MixtureOfExpertsClassifier(n_experts=3, n_init=1, routing=routing, random_state=0)
    law = model.fit(X, labels).predict_distribution(X)
    assert_allclose(law.proba(), model.predict_proba(X), atol=1e-12)
    assert_array_equal(law.mode(), model.predict(X))
    assert_allclose(law.entropy(), law.expected_entropy() + law.mutual_information(), atol=1e-12)
