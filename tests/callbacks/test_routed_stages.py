"""Stages of routed fits: callbacks are told of all, and see what the fit would end with."""

import numpy as np
import pytest
from _interrupts import same_bits, two_lines
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.em import Run
from mixexp._engine.journal import Journal
from mixexp.callbacks import Callback, EarlyStopping
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HARD = [TopK(1), Switch(1.0), TopK(1, balance="bias"), TopK(1, overlap=0.1)]
SOFT = [TopK(2), TopK(2, balance="bias"), ExpertChoice(1.0), Threshold(0.2)]


@pytest.fixture(scope="module")
def data():
    return two_lines()


def regressor(routing, **params):
    usual = {"n_experts": 3, "n_init": 1, "max_iter": 6, "random_state": 0}
    return MixtureOfExpertsRegressor(routing=routing, **{**usual, **params})


class StopAt(Callback):
    """Stops a long run, from 1, after an iteration, or none; writes down what it is told of."""

    def __init__(self, run=None, iteration=2):
        self.run = run
        self.iteration = iteration

    def setup(self, estimator, context):
        self.runs = []

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "long run":
            self.runs.append([])

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "iteration":
            return False
        self.runs[-1].append((context.start, context.lower_bound))
        self.mixture = context.fitted_estimator()
        return len(self.runs) == self.run and context.iteration == self.iteration


@pytest.mark.parametrize("routing", [*HARD, *SOFT], ids=repr)
def test_callbacks_are_told_of_the_stage_that_the_fit_ends_with(routing, data):
    told, plain = StopAt(), regressor(routing).fit(*data)
    model = regressor(routing).set_callbacks(told).fit(*data)
    same_bits(model, plain, data[0])
    assert len(told.runs) == 2 + (routing in HARD)
    assert [bound for _, bound in told.runs[-1]] == model.lower_bounds_.tolist()
    assert {start for run in told.runs for start, _ in run} == {0}
    assert np.array_equal(told.mixture.predict(data[0]), model.predict(data[0]))


@pytest.mark.parametrize(
    ("routing", "run"),
    [(each, run) for each in HARD for run in (1, 2, 3)]
    + [(each, run) for each in SOFT for run in (1, 2)],
    ids=repr,
)
def test_a_mixture_midway_is_what_the_fit_ends_with_if_it_stops(routing, run, data):
    stop = StopAt(run)
    model = regressor(routing, tol=0).set_callbacks(stop)
    told_of = []

    class Copy(Callback):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == "iteration" and len(stop.runs) == run:
                told_of.append(stop.mixture)

    model.set_callbacks(stop, Copy()).fit(*data)
    midway = told_of[1]  # after the second iteration of the run
    assert np.array_equal(midway.predict(data[0]), model.predict(data[0]))
    assert np.array_equal(midway.route(data[0]), model.route(data[0]))
    assert midway.lower_bound_ == model.lower_bound_ and not model.converged_
    frozen = routing in HARD and run < 3  # the stage that always follows
    assert len(stop.runs) == run + frozen


@pytest.mark.parametrize(("routing", "n_runs"), [(TopK(1), 2), (TopK(2), 1)], ids=repr)
def test_a_stop_after_the_last_iteration_of_a_stage_ends_the_fit(routing, n_runs, data):
    told = StopAt()
    settles = regressor(routing, max_iter=60, tol=1e-3)  # a run that ends by itself is told of it
    settles.set_callbacks(told).fit(*data)
    n_iter = len(told.runs[0])
    assert n_iter < 60 and len(told.runs) == n_runs + 1
    stop = StopAt(run=1, iteration=n_iter)
    model = settles.set_callbacks(stop).fit(*data)
    assert len(stop.runs) == n_runs  # frozen routes follow a stop, too
    assert len(stop.runs[0]) == n_iter
    assert np.array_equal(stop.mixture.predict(data[0]), model.predict(data[0]))


def test_a_stop_that_ended_a_stage_is_remembered_by_the_journal():
    run = Run(None, None, None, bounds=[0.0])
    journal = Journal()
    journal.once("run", lambda: run)
    journal.stop_after()
    again = Journal(*journal.content)
    assert again.once("run", lambda: pytest.fail("it is recalled")).stopped and not run.stopped


def test_early_stopping_judges_the_mixture_that_is_returned(data):
    X, y = data
    stop = EarlyStopping(X[::2], y[::2], patience=2)
    model = regressor(Switch(1.0), tol=0, max_iter=30).set_callbacks(stop).fit(X[1::2], y[1::2])
    assert stop.stopped_ and model.n_iter_ == len(stop.scores_)
    density = model.log_density(X[::2], y[::2]).mean()
    assert np.isclose(stop.scores_[-1][1], density, rtol=1e-12)


def test_the_stage_of_frozen_routes_is_printed(data, capsys):
    model = regressor(TopK(1), verbose=2).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    last = [line for line in lines if "iteration" in line][-model.n_iter_ :]
    for i, bound in enumerate(model.lower_bounds_[:-1], start=1):
        assert f"iteration {i}: bound {bound:.6g}" in last[i - 1]
    assert f"after {model.n_iter_} iterations: bound {model.lower_bound_:.6g}" in last[-1]


@pytest.mark.parametrize("routing", [TopK(1), TopK(2), Switch(1.0)], ids=repr)
def test_a_warm_up_shows_its_cheap_experts(routing, data):
    told, tree = StopAt(), DecisionTreeRegressor(max_depth=3, random_state=0)
    plain = regressor(routing, expert=tree).fit(*data)
    model = regressor(routing, expert=tree).set_callbacks(told).fit(*data)
    same_bits(model, plain, data[0])
    assert np.isfinite(told.mixture.predict(data[0])).all()
    assert not isinstance(told.mixture.experts_[0], DecisionTreeRegressor)
