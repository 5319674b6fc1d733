"""Scores of gates refuse what they cannot judge, by name."""

import numpy as np
import pytest

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.metrics import (
    calibration,
    expert_importance,
    gate_importance,
    gate_regret,
    oracle_score,
    pit,
)

N = 100


@pytest.fixture(scope="module")
def exposed():
    rng = np.random.default_rng(0)
    X, offset = rng.uniform(-1, 1, (N, 1)), np.log(rng.uniform(1, 9, N))
    y = rng.poisson(np.exp(offset + np.where(X[:, 0] > 0, 1.5, -0.5)))
    model = MixtureOfExpertsRegressor(family="poisson", n_experts=2, max_iter=20, tol=1e-2)
    return model.set_params(random_state=0).fit(X, y, offset=offset), X, y, offset


@pytest.mark.parametrize("call", [oracle_score, gate_regret, expert_importance])
def test_rates_are_not_compared_with_targets(exposed, call):
    model, X, y, offset = exposed
    message = f"{call.__name__}: the Mixture.* fitted with an offset, .*Give the offset of these"
    with pytest.raises(ValueError, match=message):
        call(model, X, y)
    call(model, X, y, offset=offset)
    call(model, X, y, offset=np.zeros(N))


@pytest.mark.parametrize(
    "call",
    [
        lambda *given: oracle_score(*given, scoring="accuracy"),
        oracle_score,
        expert_importance,
    ],
)
def test_labels_that_the_fit_never_saw_are_refused(call):
    X = np.random.default_rng(0).uniform(-1, 1, (N, 1))
    y = np.where(X[:, 0] > 0, "yes", "no")
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)
    with pytest.raises(ValueError, match=r"y has labels that were not seen in fit: \['maybe'\]"):
        call(model, X, np.array(["maybe", *y[1:]]))


@pytest.mark.parametrize("call", [pit, calibration])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_bad_seed_of_draws_is_named(call, family):
    X = np.random.default_rng(0).uniform(0, 1, (N, 1))
    y = np.arange(N) % 4
    law = MixtureOfExpertsRegressor(n_experts=1, family=family).fit(X, y).predict_distribution(X)
    with pytest.raises(ValueError, match=rf"^{call.__name__}: random_state='x' must be None, a"):
        call(y, law, random_state="x")


def test_a_bad_seed_of_permutations_is_named(exposed):
    model, X, y, offset = exposed
    with pytest.raises(ValueError, match=r"^gate_importance: random_state='x' must be None, a wh"):
        gate_importance(model, X, random_state="x")
    with pytest.raises(ValueError, match=r"^expert_importance: random_state='x' must be None, a"):
        expert_importance(model, X, y, offset=offset, random_state="x")
