"""Callbacks: what they are told, that they can stop a fit, and that they change nothing else."""

import pickle
import re
import warnings

import numpy as np
import pytest
from _interrupts import Raise, same_bits, two_lines
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.starts import Restart
from mixexp._estimators.following import Following
from mixexp.callbacks import Callback, EarlyStopping
from mixexp.datasets import make_box_tree
from mixexp.gates import HierarchicalGate
from mixexp.routing import TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Record(Callback):
    """Writes down the tasks, and predictions of the mixtures that it is given."""

    def setup(self, estimator, context):
        self.tasks, self.predictions, self.bounds = [("setup", context.task_name)], [], []
        self.ends = []

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        assert context.elapsed >= 0
        self.tasks.append(("end", context.task_name))
        if context.task_name in ("iteration", "fit"):
            self.predictions.append(fitted_estimator.predict(X))
        if context.task_name in ("start", "iteration"):
            self.bounds.append((context.task_name, context.start, context.lower_bound))
        if context.task_name == "start":
            self.ends.append((context.iteration, context.lower_bound))

    def teardown(self, estimator, context):
        self.tasks.append(("teardown", context.task_name))


@pytest.fixture(scope="module")
def data():
    return two_lines()


@pytest.fixture(scope="module")
def watched(data):
    """A fit with a callback, and the same without."""
    record = Record()
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0)
    return record, clone(model).fit(*data), model.set_callbacks(record).fit(*data)


def test_tasks_come_in_order(watched):
    record, _, model = watched
    assert record.tasks[:3] == [("setup", "fit"), ("begin", "fit"), ("begin", "starts")]
    assert record.tasks[-3:] == [("end", "long run"), ("end", "fit"), ("teardown", "fit")]
    for name, n in [("start", len(model.restarts_)), ("iteration", model.n_iter_), ("fit", 1)]:
        assert record.tasks.count(("begin", name)) == record.tasks.count(("end", name)) == n


def test_callbacks_see_what_the_fit_records(watched):
    record, _, model = watched
    bounds = [bound for name, _, bound in record.bounds if name == "iteration"]
    assert bounds == model.lower_bounds_.tolist()
    (start,) = {start for name, start, _ in record.bounds if name == "iteration"}
    assert "long run" in model.restarts_[start].events
    starts = [start for name, start, _ in record.bounds if name == "start"]
    assert sorted(starts) == list(range(len(model.restarts_)))
    others = [(r.n_iter, r.bound) for r in model.restarts_ if "long run" not in r.events]
    assert others and set(others) <= set(record.ends)


def test_callbacks_change_no_number(watched, data):
    record, plain, model = watched
    same_bits(model, plain, data[0])
    assert np.array_equal(record.predictions[-1], plain.predict(data[0]))
    assert np.array_equal(record.predictions[-2], plain.predict(data[0]))
    assert not np.array_equal(record.predictions[0], plain.predict(data[0]))


@pytest.mark.parametrize(
    "params",
    [
        {"expert": DecisionTreeRegressor(max_depth=2), "max_iter": 3},
        {"expert": MixtureOfExpertsRegressor(n_experts=2), "max_iter": 3},
        {"n_experts": "auto", "max_experts": 2},
        {"routing": TopK(1), "max_iter": 5, "n_experts": 3},
    ],
    ids=["estimators", "nested", "auto", "routed"],
)
def test_every_kind_of_fit_has_mixtures_midway(params, data):
    record = Record()
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0)
    model.set_params(**params)
    plain = clone(model).fit(*data)
    same_bits(model.set_callbacks(record).fit(*data), plain, data[0])
    assert np.array_equal(record.predictions[-1], plain.predict(data[0]))
    assert len(record.predictions) > 2


def test_rows_from_a_factory_are_followed_too(data):
    bounds = EarlyStopping(*data, patience=100)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).set_callbacks(bounds)
    model.fit_blocks(lambda: [data])
    assert [step for step, _ in bounds.scores_] == list(range(1, model.n_iter_ + 1))


def test_starts_that_have_converged_end_once():
    starts = [Restart((i,), float(i), i) for i in range(3)]
    model = MixtureOfExpertsRegressor()
    record = Record()
    watch = Following(model, [record], {"X": None, "y": None}, None, None)
    record.setup(model, watch.root)
    watch.begin_starts(3)
    watch.round(starts, [starts[1]])
    watch.starts(starts)
    assert record.ends == [(1, 1.0), (0, 0.0), (2, 2.0)]


@pytest.mark.parametrize("name", ["start", "iteration", "fit"])
def test_an_error_leaves_everything_as_it_was(name, data, untouched):
    record, quick = Record(), {"n_experts": 2, "n_init": 2, "random_state": 0}
    model = MixtureOfExpertsRegressor(**quick)
    fitted = MixtureOfExpertsRegressor(**quick).fit(*data)
    for mixture, error in [(model, KeyboardInterrupt()), (fitted, ZeroDivisionError("mine"))]:
        mixture.set_callbacks(record, Raise(error, name, 1))
        before = dict(vars(mixture))
        with pytest.raises(type(error)):
            mixture.fit(*data)
        assert vars(mixture) == before
        assert record.tasks[-1] == ("teardown", "fit")


def test_an_error_in_teardown_does_not_hide_another(data):
    class Late(Callback):
        def teardown(self, estimator, context):
            raise OSError("late")

    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).set_callbacks(Late())
    with pytest.raises(OSError, match="late"):
        model.fit(*data)
    model.set_callbacks(Late(), Raise(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError) as caught:
        model.fit(*data)
    assert "OSError('late')" in caught.value.__notes__[0]


def test_early_stopping_ends_with_the_last_state(data):
    X, y = data
    stop = EarlyStopping(X[::2], y[::2], patience=3)
    model = MixtureOfExpertsRegressor(n_experts=5, tol=0, random_state=0).set_callbacks(stop)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is no failure to converge
        model.fit(X[1::2], y[1::2])
    assert stop.stopped_ and not model.converged_
    scores = [score for _, score in stop.scores_]
    assert stop.best_score_ == max(scores) == scores[-4]
    assert model.n_iter_ == stop.best_iteration_ + 3 == len(scores)
    assert np.isclose(scores[-1], model.log_density(X[::2], y[::2]).mean(), rtol=1e-12)
    best = stop.best_estimator_
    assert "_skl_callbacks" not in vars(best)
    assert best.n_iter_ == stop.best_iteration_
    assert stop.best_score_ == best.log_density(X[::2], y[::2]).mean()


def test_hooks_are_given_what_came_to_the_fit(data):
    class Given(Callback):
        def on_fit_task_begin(self, estimator, context, *, y, metadata):
            self.given = y, metadata

    given, weight = Given(), np.full(len(data[1]), 2.0)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).set_callbacks(given)
    model.fit(*data, sample_weight=weight)
    assert given.given[0] is data[1] and given.given[1]["sample_weight"] is weight
    model.fit(*data)
    assert given.given[1] is None


def test_early_stopping_weights_log_densities_and_begins_anew_with_a_run(data):
    X, y = data
    weight = np.arange(len(y)) % 3
    stop = EarlyStopping(X, y, sample_weight=weight, patience=100)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    model.set_callbacks(stop).fit(X, y)
    mean = np.average(model.log_density(X, y), weights=weight)
    assert np.isclose(stop.scores_[-1][1], mean, rtol=1e-12)
    model.set_params(n_experts="auto", max_experts=2).fit(X, y)
    steps = [step for step, _ in stop.scores_]
    assert steps == list(range(1, len(steps) + 1))


def test_early_stopping_by_a_scorer_weights_and_every(data):
    X, y = data
    labels, weight = (y > 0).astype(int), np.arange(len(y)) % 3
    stop = EarlyStopping(
        X, labels, sample_weight=weight, scoring="accuracy", patience=2, every=2, min_delta=0.5
    )
    model = MixtureOfExpertsClassifier(n_experts=2, tol=0, random_state=0).set_callbacks(stop)
    model.fit(X, labels)
    assert [step for step, _ in stop.scores_] == [2, 4, 6]
    assert model.n_iter_ == 6 and stop.best_iteration_ == 2
    assert stop.scores_[-1][1] == model.score(X, labels, weight)


def test_early_stopping_scores_rates_with_their_exposure(data):
    X, offset = data[0], np.log1p(np.arange(len(data[1])) % 5)
    counts = np.round(np.exp(offset)).astype(int)
    stop = EarlyStopping(X, counts, offset=offset)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", n_init=1, random_state=0)
    model.set_callbacks(stop).fit(X, counts, offset=offset)
    density = model.log_density(X, counts, offset=offset).mean()
    assert np.isclose(stop.scores_[-1][1], density, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience=0"),
        ({"every": 1.5}, "every=1.5"),
        ({"min_delta": -1}, "min_delta=-1"),
    ],
)
def test_early_stopping_refuses_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping([[0.0]], [0.0], **options)


@pytest.mark.parametrize("value", [Callback, object(), "ProgressBar"])
def test_what_is_no_callback_is_refused(value):
    with pytest.raises(TypeError, match="MixtureOfExpertsRegressor: set_callbacks got"):
        MixtureOfExpertsRegressor().set_callbacks(value)


def test_callbacks_are_cloned_pickled_and_removed(data):
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    model.set_callbacks(EarlyStopping(*data)).fit(*data)
    assert pickle.loads(pickle.dumps(model)).fit(*data).n_iter_ == model.n_iter_
    cloned = clone(model)
    assert vars(cloned)["_skl_callbacks"] == vars(model)["_skl_callbacks"]
    assert "_skl_callbacks" not in vars(model.set_callbacks())


def test_callbacks_of_scikit_learn(data):
    """Those of 1.9 go by the attributes of its context, which tasks have."""
    callback = pytest.importorskip("sklearn.callback")
    X, y = data
    monitor = callback.ScoringMonitor(scoring="r2")
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).set_callbacks(monitor)
    model.fit(X, y, sample_weight=np.ones(len(y)))
    log = monitor.get_logs().data
    iterations = [row for row in log if row["task_name"] == "iteration"]
    assert [row["task_id_path"] for row in iterations] == [(0, 1, i) for i in range(model.n_iter_)]
    assert iterations[-1]["r2"] == model.score(X, y) != iterations[0]["r2"]


def test_what_a_search_hands_down_is_set_up_by_the_search(data):
    pytest.importorskip("sklearn.callback")

    class HandedDown(Callback):
        max_propagation_depth = None
        n_set_up, names = 0, ()

        def setup(self, estimator, context):
            self.n_set_up += 1

        def on_fit_task_begin(self, estimator, context):
            self.names += (context.task_name,)

    handed = HandedDown()
    model = MixtureOfExpertsRegressor(n_init=1, max_iter=2, random_state=0)
    search = GridSearchCV(model, {"n_experts": [1, 2]}, cv=2, refit=False).set_callbacks(handed)
    search.fit(*data)
    assert handed.n_set_up == 1 and handed.names.count("long run") == 4


def test_a_progress_bar_of_a_search_shows_the_fits_in_it(data, capsys):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    bar = callback.ProgressBar(max_propagation_depth=None)
    model = MixtureOfExpertsRegressor(random_state=0)
    search = GridSearchCV(model, {"n_experts": [1, 2]}, cv=2).set_callbacks(bar)
    search.fit(*data)
    assert "long run" in capsys.readouterr().out
    assert "_skl_callbacks" not in vars(search.best_estimator_)


def test_the_run_of_regions_in_another_order_has_the_number_of_its_start(capsys):
    class Starts(Callback):
        def setup(self, estimator, context):
            self.seen = []

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "long run":
                self.seen.append(context.start)

    X, y = make_box_tree(500, random_state=1)
    starts, tree = Starts(), HierarchicalGate((2, 2, 2))
    model = MixtureOfExpertsRegressor(
        n_experts=8, gate=tree, n_init=2, random_state=0, verbose=1
    ).set_callbacks(starts)
    model.fit(X, y)
    assert len(starts.seen) == 2 and starts.seen[0] == starts.seen[1]
    assert "long run" in model.restarts_[starts.seen[0]].events
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(re.search(r"bound (\S+)", last)[1]) == float(f"{model.lower_bound_:.6g}")


@pytest.mark.parametrize("weight", [[np.nan], [-1.0], [0.0], [1.0, 1.0]])
def test_early_stopping_refuses_weights_before_the_fit(data, weight):
    X, y = data
    stop = EarlyStopping(X[:1], y[:1], sample_weight=weight)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).set_callbacks(stop)
    with pytest.raises(
        ValueError, match=r"EarlyStopping: sample_weight.*Give (every|at least one) row"
    ):
        model.fit(X, y)


def test_early_stopping_refuses_scores_that_say_nothing(data):
    X, y = data
    counts = np.round(np.abs(y))
    impossible = EarlyStopping(X, np.append(counts[1:], 0.5))
    nowhere = EarlyStopping(X, counts, scoring=lambda *_: np.nan)
    for stop, score in ((impossible, "-inf"), (nowhere, "nan")):
        model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", random_state=0)
        with pytest.raises(ValueError, match=f"EarlyStopping: the score of X and y is {score}"):
            model.set_callbacks(stop).fit(X, counts)
