"""The best state that a fit has found is the one it returns, and it says so once."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from _passes import check_passes, watched_runs
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine import collapse as _collapse
from mixexp._engine.rivals import COMMON
from mixexp._estimators.outcome import told_events
from mixexp.callbacks import Callback
from mixexp.gates import ConstantGate, SoftmaxGate
from mixexp.partitions import Split


def told_fit(model, X, y, **options):
    """Return the fitted model and the messages of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, **options)
    return model, [str(w.message) for w in caught]


@pytest.fixture(scope="module")
def two_regimes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], -2 * X[:, 1]) + 0.1 * rng.standard_normal(300)
    return X, y


@pytest.mark.slow
def test_too_many_experts_end_no_lower_than_their_starts(two_regimes):
    """Of ten experts for two regimes many collapse, and begin anew; that is told once."""
    model, messages = told_fit(
        MixtureOfExpertsRegressor(n_experts=10, n_init=3, random_state=0), *two_regimes
    )
    best = max(record.bound for record in model.restarts_ if not record.flags)
    assert model.lower_bound_ >= best - 1e-9
    assert model.n_iter_ == len(model.lower_bounds_)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    collapses = [text for text in messages if "collapsed" in text]
    events = [event for record in model.restarts_ for event in record.events]
    assert len(collapses) == any("collapsed" in event for event in events)
    assert sum("did not converge" in text for text in messages) == (not model.converged_)


def with_a_collapse():
    """Return two lines, and labels that leave a third expert one row."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] > 0, 2 * X[:, 0], -3 * X[:, 1] + 1) + 0.5 * rng.standard_normal(300)
    labels = (X[:, 0] > 0).astype(int)
    labels[0] = 2
    return X, y, labels


def test_a_run_that_is_stopped_ends_there_though_it_was_higher_before_a_collapse():
    class StopAfterCollapse(Callback):
        def on_fit_task_end(self, estimator, context):
            return context.task_name == "iteration" and len(segments) == 1

    X, y, labels = with_a_collapse()
    model = MixtureOfExpertsRegressor(Ridge(), 3, gate=SoftmaxGate(alpha=0.3), init=labels)
    model.set_callbacks(StopAfterCollapse())
    with monkeypatched_segments() as segments:
        told_fit(model, X, y)
    before, after = segments
    assert model.lower_bounds_.tolist() == after and model.lower_bound_ == max(after) < max(before)


@pytest.mark.parametrize("max_iter, kept_at", [(3, 1), (12, 9)])
def test_what_was_before_a_collapse_is_returned_where_what_follows_is_lower(max_iter, kept_at):
    """The iterations end just after an expert has begun anew, which lowers the bound at first."""
    X, y, labels = with_a_collapse()
    gate = SoftmaxGate(alpha=0.3)
    model = MixtureOfExpertsRegressor(Ridge(), 3, gate=gate, init=labels, max_iter=max_iter)
    with monkeypatched_segments() as segments:
        _, messages = told_fit(model, X, y)
    assert model.lower_bound_ == max(max(bounds) for bounds in segments)
    assert max(segments[-1]) < model.lower_bound_
    assert model.lower_bounds_.tolist() == max(segments, key=max)
    assert model.n_iter_ == len(model.lower_bounds_)
    (record,) = model.restarts_
    assert record.n_iter == max_iter and record.bound == model.lower_bound_
    assert not model.converged_
    (message,) = [text for text in messages if "collapsed" in text]
    assert f"the fit as it was at EM iteration {kept_at} is returned" in message


def spurious_after_a_collapse(seed, **options):
    """Return a mixture of one expert too many, and its data: what follows a collapse is spurious.

    An expert has collapsed; begun anew, it ends on three rows, and if it is kept it does so too.
    """
    rng = np.random.default_rng(20240607)
    X = rng.standard_normal((300, 3))
    y = np.where(X[:, 2] > 0, 2 * X[:, 0] - 1, 1.5 * X[:, 1] + 1) + 0.3 * rng.standard_normal(300)
    columns = [[2], [0, 2], [2]]
    options = {"gate": SoftmaxGate(alpha=0.1), "random_state": seed} | options
    return MixtureOfExpertsRegressor(n_experts=3, gate_features=columns, **options), X, y


@pytest.mark.parametrize("seed", [0, 8])
def test_em_goes_on_from_before_a_collapse_with_bounded_dispersions(seed):
    model, X, y = spurious_after_a_collapse(seed)
    with watched_runs() as runs, monkeypatched_segments() as segments:
        _, messages = told_fit(model, X, y)
    check_passes(model, runs, closed=False)
    assert model.converged_
    first, again, kept, bounded = segments
    assert max(again) > max(bounded) and max(kept) > max(bounded)  # in spurious maxima
    assert model.lower_bounds_.tolist() == bounded
    assert model.n_iter_ == len(bounded)
    unit = MixtureOfExpertsRegressor(n_experts=1, gate=SoftmaxGate(0.3)).fit(X, y).dispersions_[0]
    assert_allclose(model.dispersions_[model.usage_.argmin()], 0.25 * unit)
    (record,) = [record for record in model.restarts_ if "long run" in record.events]
    assert record.flags == [] and record.bound == model.lower_bound_
    assert_allclose(model.lower_bound_, -0.3275372, atol=1e-5)  # from both starts
    (message,) = messages
    assert f"EM went on from the fit as it was at EM iteration {len(first)}, as later" in message
    assert "later iterations ended in a spurious maximum" in message
    assert "through about 3 rows with 4 coefficients; dispersions of such experts" in message
    assert "other starts" not in message and "is returned" not in message


def test_a_lower_run_is_chosen_before_a_spurious_one():
    model, X, y = spurious_after_a_collapse(2, max_iter=1000, init="kmeans")
    _, messages = told_fit(model, X, y)
    assert messages == [] and model.converged_
    runs = [record for record in model.restarts_ if "long run" in record.events]
    spurious = [record for record in runs if record.flags]
    assert len(spurious) == len(runs) - 1 > 0
    assert max(record.bound for record in spurious) > model.lower_bound_


def test_a_fit_that_cannot_go_on_does_not_ask_for_more_iterations(monkeypatch):
    monkeypatch.setattr(_collapse, "raised", lambda *args: None)  # a bank without floors
    model, X, y = spurious_after_a_collapse(8)
    with monkeypatched_segments() as segments:
        _, messages = told_fit(model, X, y)
    n_iter = len(segments[0])
    assert not model.converged_ and model.n_iter_ == n_iter
    unconverged, collapsed = messages
    assert f"the fit that is returned, of {n_iter} EM iterations, has not" in unconverged
    assert "max_iter" not in unconverged
    assert f"at EM iteration {n_iter} is returned, as later iterations ended in a sp" in collapsed


def test_a_fit_without_iterations_left_asks_for_more():
    plain, X, y = spurious_after_a_collapse(8)
    with monkeypatched_segments() as segments:
        told_fit(plain, X, y)
    used = sum(len(bounds) for bounds in segments[:2])
    model, messages = told_fit(plain.set_params(max_iter=used), X, y)
    n_iter = len(segments[0])
    assert not model.converged_ and model.n_iter_ == n_iter
    unconverged, collapsed = messages
    assert f"did not converge in max_iter={used} EM iterations" in unconverged
    assert "Increase max_iter" in unconverged
    assert f"at EM iteration {n_iter} is returned, as later iterations ended in a sp" in collapsed


@contextmanager
def monkeypatched_segments():
    """Collect the bounds of every segment of long runs."""
    found, plain = [], _collapse.run_or_recall

    def run_or_recall(journal, problem, state):
        run = plain(journal, problem, state)
        found.append(list(run.bounds))
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_collapse, "run_or_recall", run_or_recall)
        yield found


def test_dropped_experts_do_not_come_back(two_regimes):
    model, messages = told_fit(
        MixtureOfExpertsRegressor(n_experts=10, n_init=1, on_collapse="drop", random_state=0),
        *two_regimes,
    )
    (message,) = [text for text in messages if "collapsed" in text]
    assert "it was dropped" in message and "is returned" not in message
    assert len(model.experts_) < 10
    assert model.n_iter_ == len(model.lower_bounds_)


def test_what_does_not_converge_says_what_it_gained(two_regimes):
    model, messages = told_fit(
        MixtureOfExpertsRegressor(LinearRegression(), 3, max_iter=3, tol=0, random_state=0),
        *two_regimes,
    )
    (message,) = [text for text in messages if "did not converge" in text]
    gain = model.lower_bounds_[-1] - model.lower_bounds_[-2]
    assert f"raised the lower bound by {gain:.1e}" in message
    assert "Increase max_iter or tol" in message
    assert "fewer experts" not in message and "penalty" not in message


def test_events_make_one_message():
    assert told_events([]) == ""
    assert "on_collapse" not in told_events([COMMON])
    one = "expert 1 collapsed; it was started again"
    assert told_events([one]).startswith(one + ". Lower n_experts")
    many = told_events([one, one, one, "the fit as it was at EM iteration 7 is returned"])
    assert many.count("expert 1") == 1
    assert "collapsed 3 times in all" in many and "iteration 7 is returned" in many


def test_too_few_rows_for_the_experts_are_told_before_the_fit(two_regimes):
    X, y = two_regimes
    model = MixtureOfExpertsRegressor(n_experts=30, n_init=1, max_iter=1, random_state=0)
    _, messages = told_fit(model, X[:40], y[:40])
    (message,) = [text for text in messages if "distinct rows" in text]
    assert "n_experts=30 for 40 distinct rows" in message and "up to 5" in message
    assert messages[0] == message
    _, messages = told_fit(model.set_params(n_experts=5), X[:40], y[:40])
    assert not [text for text in messages if "distinct rows" in text]
    model.set_params(gate=ConstantGate())


@pytest.mark.slow
def test_many_experts_grow_many_at_a_time(two_regimes, monkeypatch):
    from mixexp.partitions import _split

    looked_at = []
    plain = _split.halves
    monkeypatch.setattr(_split, "halves", lambda *args: looked_at.append(1) or plain(*args))
    X, y = two_regimes
    model = MixtureOfExpertsRegressor(
        n_experts=8, init=Split(), n_init=1, max_iter=1, random_state=0
    )
    told_fit(model, X, y)
    one_by_one = len(looked_at)
    monkeypatch.setattr(_split, "MOST_SINGLY", 2)
    looked_at.clear()
    told_fit(model, X, y)
    assert len(looked_at) < one_by_one / 2  # each of 1, 2, 3, 4 and 6 experts once or twice
    assert model.gate_proba(X).shape == (300, 8)
