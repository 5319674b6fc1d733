"""`n_experts="auto"` where parameters are many for the rows: rows are held out."""

import numpy as np
import pytest
from _grown import candidate

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.growth import Growth, chosen
from mixexp._engine.rivals import ALIKE
from mixexp._engine.starts import Restart

GROWTH = Growth((1, 2), "aic3", rows_per_parameter=3.0)


@pytest.mark.parametrize(
    ("gain", "spread", "events", "wins"),
    [
        (0.5, 1.0, [], True),
        (0.1, 4.0, [], False),  # within a standard error
        (0.01, 0.0, [], False),  # next to nothing
        (0.5, 1.0, [ALIKE], False),  # they are one expert, whose densities are known better
    ],
)
def test_more_experts_are_to_be_clearly_better(gain, spread, events, wins):
    one = np.zeros(100)
    first = candidate(1, one, log_likelihood=-100.0)
    second = candidate(2, one + gain + spread * np.tile([1, -1], 50), n_parameters=60.0)
    second.restarts = [Restart((0, 0), 0.0, 1, events=events)]
    assert chosen([first, second], GROWTH) == int(wins)


def test_without_held_out_rows_there_is_one_expert():
    first, second = candidate(1, [0.0] * 40), candidate(2, [1.0] * 40, n_parameters=60.0)
    second.held_out = None
    assert chosen([first, second], GROWTH) == 0


def test_a_handful_of_rows_is_not_held_out(rng):
    X = rng.standard_normal((24, 6))
    y = 10.0 * (X[:, 0] > 0) + 0.1 * rng.standard_normal(24)
    model = MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(X, y)
    assert model.n_experts_ == 1
    assert np.all(np.isnan(model.selection_.cv))


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_expert_is_not_judged_by_a_fit_to_fewer_rows(seed):
    """Without a third of the rows it was so much worse that a line had two or three experts."""
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((60, 20))
    y = (X[:, :4].sum(axis=1) + rng.standard_normal(60))[:, None] + rng.standard_normal((60, 5))
    model = MixtureOfExpertsRegressor(n_experts="auto", max_experts=3, random_state=0)
    assert model.fit(X, y).n_experts_ == 1
