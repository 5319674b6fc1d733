"""Callbacks of a fit that resumes: wherever it broke off, they go on from what they knew."""

import shutil
import warnings

import numpy as np
import pytest
from _interrupts import Raise, same_bits

from mixexp import MixtureOfExpertsRegressor
from mixexp.callbacks import Callback, Checkpoint, EarlyStopping
from mixexp.gates import SoftmaxGate
from mixexp.routing import Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def three_pieces(n=400):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = np.where(X[:, 0] > 0, 2 + X[:, 1], -X[:, 2]) + 0.3 * rng.normal(size=n)
    return X, y, np.arange(n) % 4 == 0


X, Y, HELD = three_pieces()


def stop(every=1, patience=2):
    return EarlyStopping(X[HELD], Y[HELD], patience=patience, every=every)


def regressor(**params):
    usual = {"n_experts": 4, "n_init": 2, "max_iter": 40, "tol": 0, "random_state": 0}
    usual["gate"] = SoftmaxGate(alpha=0.3)  # as many iterations as it may take
    return MixtureOfExpertsRegressor(**{**usual, **params})


def fitted(model, *callbacks, resume_from=None):
    return model.set_callbacks(*callbacks).fit(X[~HELD], Y[~HELD], resume_from=resume_from)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


class Interrupt(Callback):
    """Stands for Ctrl-C while callbacks hear of an iteration."""

    def __init__(self, iteration, *, run=1, at_begin=False):
        self.iteration = iteration
        self.run = run
        self.at_begin = at_begin

    def setup(self, estimator, context):
        self.n_runs = 0

    def on_fit_task_begin(self, estimator, context):
        self.n_runs += context.task_name == "long run"
        self._look(context, self.at_begin)

    def on_fit_task_end(self, estimator, context):
        self._look(context, not self.at_begin)

    def _look(self, context, here):
        named = context.task_name == "iteration" and context.iteration == self.iteration
        if here and named and self.n_runs == self.run:
            raise KeyboardInterrupt


class Kept(Callback):
    """Copies the file after each time that it may have been written: what a kill would leave."""

    saves = True  # is told after the checkpoint

    def __init__(self, path):
        self.path = path

    def setup(self, estimator, context):
        self.copies = []

    def on_fit_task_begin(self, estimator, context):
        self._copy()

    def on_fit_task_end(self, estimator, context):
        self._copy()

    def _copy(self):
        if self.path.exists():
            self.copies.append(self.path.with_name(f"killed {len(self.copies)}"))
            shutil.copy(self.path, self.copies[-1])


ORDERS = [
    ("checkpoint", "stop", "interrupt"),
    ("stop", "checkpoint", "interrupt"),
    ("stop", "interrupt", "checkpoint"),
    ("interrupt", "stop", "checkpoint"),
]


def broken_off(callbacks, path, **params):
    """Break a fit off, which leaves a file."""
    path.unlink(missing_ok=True)
    with pytest.raises(KeyboardInterrupt):
        fitted(regressor(**params), *callbacks)


@pytest.mark.parametrize(
    ("n_experts", "every", "turn", "every_file"),
    [(3, 1, 2, 1), (6, 3, 4, 10), (6, 2, 5, 1), (6, 1, 3, 1)],
    ids=["early", "rare looks", "between looks", "where it stops"],
)
def test_the_order_of_callbacks_does_not_matter(n_experts, every, turn, every_file, path):
    whole, looks = regressor(n_experts=n_experts), stop(every)
    fitted(whole, looks)
    for order in ORDERS:
        callbacks = {
            "checkpoint": Checkpoint(path, every=every_file),
            "stop": stop(every),
            "interrupt": Interrupt(turn),
        }
        broken_off([callbacks[name] for name in order], path, n_experts=n_experts)
        for names in (["stop"], ["checkpoint", "stop"]):
            resumed, again = regressor(n_experts=n_experts), stop(every)
            callbacks = {"checkpoint": Checkpoint(path.with_name("next")), "stop": again}
            fitted(resumed, *(callbacks[name] for name in names), resume_from=path)
            same_bits(resumed, whole, X)
            assert again.scores_ == looks.scores_ and again.stopped_ == looks.stopped_


@pytest.mark.parametrize("every", [1, 10])
def test_an_interrupt_before_any_callback_has_heard_of_an_iteration_loses_none(every, path):
    params, seen = {"max_iter": 8, "n_experts": 3}, []
    whole, looks = regressor(**params), stop(patience=100)
    fitted(whole, looks)

    class Look(Callback):
        def on_fit_task_end(self, estimator, context):
            seen.extend([context.iteration] if context.task_name == "iteration" else [])

    interrupt = Interrupt(4, at_begin=True)
    broken_off([Checkpoint(path, every=every), stop(patience=100), interrupt], path, **params)
    resumed, again = regressor(**params), stop(patience=100)
    fitted(resumed, again, Look(), resume_from=path)
    same_bits(resumed, whole, X)
    assert again.scores_ == looks.scores_
    assert seen == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("params", "patience"),
    [
        ({}, 2),
        ({"n_experts": 3, "tol": 1e-6}, 100),
        ({"n_experts": 3, "routing": TopK(1), "max_iter": 8}, 100),
        ({"n_experts": 3, "routing": Switch(1.0), "max_iter": 8}, 2),
        ({"n_experts": 3, "routing": TopK(2), "max_iter": 8}, 2),
        ({"n_experts": "auto", "max_experts": 2, "max_iter": 4}, 100),
    ],
    ids=["stopped", "converged", "top 1", "switch", "top 2", "auto"],
)
def test_a_killed_process_goes_on_from_any_file(params, patience, path):
    """A file that is written at the iteration at which a callback says stop knows that, too."""
    whole, looks, kept = regressor(**params), stop(patience=patience), Kept(path)
    fitted(whole, Checkpoint(path, every=1), looks, kept)
    contents = {copy.read_bytes(): copy for copy in kept.copies}
    assert len(contents) > 3
    for copy in list(contents.values())[:: 1 + len(contents) // 16]:
        resumed, again = regressor(**params), stop(patience=patience)
        fitted(resumed, again, resume_from=copy)
        same_bits(resumed, whole, X)
        assert again.scores_ == looks.scores_ and again.stopped_ == looks.stopped_
        assert again.best_iteration_ == looks.best_iteration_


def test_a_fit_that_is_killed_again_while_it_recalls_its_starts_loses_no_state(path):
    whole, looks = regressor(), stop()
    fitted(whole, looks)
    broken_off([stop(), Checkpoint(path, every=1), Interrupt(2)], path)
    killed = Raise(ZeroDivisionError(), "starts", 1)
    with pytest.raises(ZeroDivisionError):
        fitted(regressor(), killed, stop(), Checkpoint(path), resume_from=path)
    resumed, again = regressor(), stop()
    fitted(resumed, again, resume_from=path)
    same_bits(resumed, whole, X)
    assert again.scores_ == looks.scores_


@pytest.mark.parametrize(
    ("routing", "run"),
    [(TopK(1), 1), (TopK(1), 3), (Switch(1.0), 2), (Switch(1.0), 3), (TopK(2), 1)],
)
def test_every_stage_of_a_routed_fit_resumes(routing, run, path):
    params = {"n_experts": 3, "routing": routing, "max_iter": 8}
    whole, looks = regressor(**params), stop(patience=100)
    fitted(whole, looks)
    broken_off([Interrupt(2, run=run), Checkpoint(path), stop(patience=100)], path, **params)
    resumed, again = regressor(**params), stop(patience=100)
    fitted(resumed, again, resume_from=path)
    same_bits(resumed, whole, X)
    assert again.scores_ == looks.scores_


class Count(Callback):
    """Counts iterations over all long runs; what it knows lies in a checkpoint."""

    def setup(self, estimator, context):
        self.n = 0

    def on_fit_task_end(self, estimator, context):
        self.n += context.task_name == "iteration"

    def teardown(self, estimator, context):
        self.n_at_end, self.n = self.n, -1  # a file that is written then is to hold the number

    def state(self, context):
        return self.n

    def restore(self, context, state):
        self.n = state


class Other(Count):
    """Another class with a state."""


def test_states_go_by_class_and_then_by_order(path):
    first, second = stop(patience=2), stop(patience=7)
    counts = [Count(), Other()]
    model = regressor(max_iter=8)
    callbacks = [Checkpoint(path), counts[0], first, Interrupt(3), counts[1], second]
    broken_off(callbacks, path, max_iter=8)
    again = stop(patience=2), stop(patience=7)
    counts = [Count(), Other()]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted(model, counts[1], again[0], again[1], counts[0], resume_from=path)
    assert [count.n_at_end for count in counts] == [model.n_iter_] * 2
    assert [step for step, _ in again[0].scores_] == list(range(1, model.n_iter_ + 1))


class StopsAt(Callback):
    """Stops at an iteration; has no state."""

    def __init__(self, iteration):
        self.iteration = iteration

    def setup(self, estimator, context):
        self.heard = []

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "iteration":
            self.heard.append(context.iteration)
        return context.task_name == "iteration" and context.iteration == self.iteration


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_stop_that_was_not_heard_or_not_followed_is_not_lost(asked_first, path):
    stops, interrupt = StopsAt(4), Interrupt(4)
    callbacks = [stops, interrupt] if asked_first else [interrupt, stops]
    broken_off([Checkpoint(path, every=1), *callbacks], path, n_experts=3)
    stops = StopsAt(4)
    resumed = fitted(regressor(n_experts=3), stops, resume_from=path)
    assert resumed.n_iter_ == 4 and not resumed.converged_
    assert stops.heard == ([] if asked_first else [4])


def test_a_callback_that_is_left_out_or_added_is_named(path):
    broken_off([Checkpoint(path), stop(), Interrupt(2)], path)
    model = regressor()
    message = r"Regressor: resume_from=.* holds the state of a callback EarlyStopping.*Add Early"
    with pytest.warns(UserWarning, match=message):
        fitted(model, resume_from=path)
    assert model.n_iter_ == model.max_iter
    message = r"Regressor: resume_from=.* holds no state of the callback Count.*begins anew"
    with pytest.warns(UserWarning, match=message):
        fitted(model, Count(), stop(), resume_from=path)


def test_those_that_save_are_told_last(path):
    class Order(Callback):
        told = ()

        def __init__(self, name, saves):
            self.name, self.saves = name, saves

        def on_fit_task_end(self, estimator, context):
            Order.told += ((context.task_name, self.name),)

    fitted(regressor(max_iter=2), Order("saver", True), Order("first", False), Order("next", False))
    assert len(Order.told) % 3 == 0
    for i in range(0, len(Order.told), 3):
        assert [name for _, name in Order.told[i : i + 3]] == ["first", "next", "saver"]
