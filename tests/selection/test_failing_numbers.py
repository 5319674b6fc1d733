"""A number of experts that cannot be fitted ends the path, and what there was is kept."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine import growth

pytestmark = pytest.mark.filterwarnings("ignore:.*does not take sample_weight")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_experts_that_need_more_rows_than_a_region_has(seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (150, 3))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], -2 * X[:, 1]) + 0.1 * rng.standard_normal(150)
    model = MixtureOfExpertsRegressor(
        KNeighborsRegressor(25), n_experts="auto", random_state=seed, max_iter=20
    )
    with pytest.warns(UserWarning, match=r"cannot be fitted, and larger numbers are not tried"):
        model.fit(X, y)
    assert len(model.selection_.n_experts) >= 1
    assert model.score(X, y) > 0.3


def test_the_first_number_still_raises(rng):
    X, y = rng.standard_normal((20, 2)), rng.standard_normal(20)
    model = MixtureOfExpertsRegressor(KNeighborsRegressor(50), n_experts="auto", random_state=0)
    with pytest.raises(ValueError, match="n_neighbors"):
        model.fit(X, y)


def test_errors_that_are_not_of_an_estimator_are_raised(rng, monkeypatch):
    """Such as those of a callback, or a collapse that is to be one."""
    fitted = growth._fitted

    def broken(problem, *args):
        if problem.n_experts == 2:
            raise ValueError("of something else")
        return fitted(problem, *args)

    monkeypatch.setattr(growth, "_fitted", broken)
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    with pytest.raises(ValueError, match="of something else"):
        MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(X, y)
