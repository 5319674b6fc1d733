"""Experts and gates that answer wrongly, or keep what they were given."""

import gc

import numpy as np
import pytest
from _faulty import Hoarder, Improper, Misshapen, nothing_left
from _guests import kink, regressor

from mixexp import MixtureOfExpertsClassifier

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")


def refused(model, X, y, match):
    """Assert that a fit raises, names who is to blame, and leaves nothing behind."""
    before = dict(vars(model))
    with nothing_left(), pytest.raises(ValueError, match=match):
        model.fit(X, y)
    assert vars(model) == before


@pytest.mark.parametrize("how", ["short", "wide"])
def test_predictions_of_another_shape(untouched, how):
    refused(regressor(Misshapen(how)), *kink(), r"expert 0 \(misshapen: Misshapen\)")


@pytest.mark.parametrize("how", ["doubled", "negative", "nan", "narrow"])
def test_probabilities_of_an_expert_that_are_none(untouched, how):
    X, y = kink()
    params = {"n_experts": 2, "n_init": 1, "max_iter": 3, "random_state": 0}
    model = MixtureOfExpertsClassifier(Improper(how), **params)
    refused(model, X, y > np.median(y), r"expert \d \(improper: Improper\)")


@pytest.mark.parametrize("how", ["doubled", "negative", "nan", "narrow"])
def test_probabilities_of_a_gate_that_are_none(untouched, how):
    refused(regressor(gate=Improper(how)), *kink(), "Improper")


def test_experts_that_keep_their_rows_are_let_go(untouched):
    X, y = kink()
    Hoarder.seen.clear()
    model = regressor(Hoarder(), cross_fit=False).fit(X, y)
    gc.collect()
    alive = [kept for kept in (seen() for seen in Hoarder.seen) if kept is not None]
    assert len(Hoarder.seen) > 4  # of several iterations
    assert len(alive) <= 2  # those of the two experts that were returned
    del alive, model
    gc.collect()
    assert all(seen() is None for seen in Hoarder.seen)
