"""Checkpoints: a fit that was broken off goes on to the same bits; files are whole or refused."""

import json
import os
import re

import numpy as np
import pytest
from _interrupts import Raise, broken_off, same_bits, two_lines
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import mixexp._estimators.resuming as resuming
from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, __version__
from mixexp._engine import race
from mixexp._store import files
from mixexp.callbacks import Callback, Checkpoint, EarlyStopping
from mixexp.datasets import load_tone
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import BaseRouter, Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return two_lines()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


def regressor(**params):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, "random_state": 0, **params})


PLAIN = {
    "finish": {"n_experts": 3, "gate": SoftmaxGate(alpha=0.3)},
    "penalties": {"n_experts": 3, "tol": 0},
    "plain em": {"n_experts": 3, "acceleration": None, "tol": 0},
    "tree of gates": {"n_experts": 4, "gate": HierarchicalGate((2, 2), alpha="auto"), "tol": 0},
    "dropped experts": {"n_experts": 5, "on_collapse": "drop"},
    "bases and noise": {
        **{"gate_basis": "quantile", "expert_basis": "spline", "noise_expert": True, "tol": 0}
    },
    "joint": {"gate": GaussianGate(), "family": "student_t"},
    "routed": {"n_experts": 3, "routing": Switch()},
    "random": {"assignment": "stochastic"},
    "nested": {"expert": MixtureOfExpertsRegressor(n_experts=2)},
    "auto": {"n_experts": "auto", "max_experts": 2},
}


class OwnRouter(BaseRouter):
    """A user's part that the fit which goes on has too: files need not hold it."""

    def chosen(self, scores):
        return scores == scores.max(axis=0)


PLAIN["own router"] = {"n_experts": 3, "routing": OwnRouter()}

PICKLED = {
    "estimators": {"expert": DecisionTreeRegressor(max_depth=2)},
    "shared": {"shared_expert": Ridge(), "tol": 0},
    "classifier as gate": {"gate": DecisionTreeClassifier(max_depth=2)},
}


@pytest.mark.parametrize("name", [*PLAIN, *PICKLED])
def test_a_fit_that_was_interrupted_ends_with_the_same_bits(name, data, path, untouched):
    trusted = name in PICKLED
    model = regressor(max_iter=7, n_init=2, **{**PLAIN, **PICKLED}[name])
    whole = clone(model).fit(*data)
    saver = Checkpoint(path, every=2, trusted=trusted)
    broken_off(model, *data, saver, turn=1 if name == "auto" else 3)
    resumed = model.fit(*data, resume_from=saver if trusted else path)
    same_bits(resumed, whole, data[0])
    assert os.listdir(path.parent) == [path.name]


def test_a_long_run_from_another_start_has_the_same_bits(path):
    """Gate and experts share their design: where they do not, sums differ in the last bits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    y = np.where(X[:, 0] > 0, 3 + X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(120)
    model = regressor(n_experts=3, n_init=2, max_iter=40)
    weight = np.arange(120) % 3
    whole = clone(model).fit(X, y, sample_weight=weight)
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(Checkpoint(path), Raise(KeyboardInterrupt(), turn=3)).fit(
            X, y, sample_weight=weight
        )
    resumed = model.set_callbacks().fit(X, y, sample_weight=weight, resume_from=path)
    same_bits(resumed, whole, X)


def test_experts_after_a_warm_up_are_not_fitted_again(data, path, monkeypatch):
    fits, plain = [], DecisionTreeRegressor.fit

    def counted(tree, *args, **kwargs):
        fits.append(tree)
        if len(fits) == stop:
            raise KeyboardInterrupt
        return plain(tree, *args, **kwargs)

    stop = None
    monkeypatch.setattr(DecisionTreeRegressor, "fit", counted)
    tree = DecisionTreeRegressor(max_depth=2)
    model = regressor(expert=tree, routing=TopK(1), n_refits=3, n_init=2, cross_fit=False)
    saver = Checkpoint(path, trusted=True)
    whole = clone(model).fit(*data)
    assert len(fits) == 6  # two experts, three times
    fits, stop = [], 4  # in the second of these times
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_callbacks(saver).fit(*data)
    fits, stop = [], None
    same_bits(model.set_callbacks(saver).fit(*data, resume_from=saver), whole, data[0])
    assert len(fits) == 4
    fits = []
    same_bits(model.fit(*data, resume_from=saver), whole, data[0])
    assert fits == []


def test_nothing_is_lost_by_an_interrupt(data, path):
    """The iteration that was interrupted is done again, and no other."""
    model = regressor(acceleration=None, tol=0, max_iter=9, n_init=2)
    broken_off(model, *data, Checkpoint(path), turn=6)
    seen = EarlyStopping(*data, patience=100)
    with pytest.warns(UserWarning, match="holds no state of the callback EarlyStopping"):
        model.set_callbacks(seen).fit(*data, resume_from=path)
    assert [step for step, _ in seen.scores_] == [7, 8, 9]


def test_rounds_of_the_starts_are_not_lost_either(data, path, monkeypatch):
    model, plain, rounds = regressor(n_init=3, max_iter=2, tol=0), race._after_a_round, []
    whole = clone(model).fit(*data)

    def interrupted(*args):
        rounds.append(args)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(race, "_after_a_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(Checkpoint(path)).fit(*data)
    model.set_callbacks().fit(*data, resume_from=path)
    same_bits(model, whole, data[0])
    resumed = len(rounds) - 2
    model.fit(*data)
    assert len(rounds) - 2 - resumed == resumed + 1  # a round was recalled


def test_a_killed_process_goes_on_from_the_last_file(data, path, monkeypatch):
    model = regressor(acceleration=None, tol=0, max_iter=12, n_init=2)
    whole = clone(model).fit(*data)
    monkeypatch.setattr(Checkpoint, "teardown", lambda *_: None)
    model.set_callbacks(Checkpoint(path, every=4), Raise(ZeroDivisionError(), turn=11))
    with pytest.raises(ZeroDivisionError):
        model.fit(*data)
    seen = EarlyStopping(*data, patience=100)
    with pytest.warns(UserWarning, match="holds no state of the callback EarlyStopping"):
        model.set_callbacks(seen).fit(*data, resume_from=path)
    same_bits(model, whole, data[0])
    assert seen.scores_[0][0] == 9


def test_labels_weights_and_a_random_seed_go_with_the_checkpoint(data, path):
    X, labels, weight = data[0], np.array(["no", "yes"])[(data[1] > 0).astype(int)], np.ones(120)
    weight[:20] = 3
    model = MixtureOfExpertsClassifier(n_experts=2, class_weight="balanced", n_init=2, max_iter=5)
    model.set_params(assignment="stochastic", tol=0)  # every iteration draws
    model.set_callbacks(Checkpoint(path), Raise(ZeroDivisionError(), turn=2))
    with pytest.raises(ZeroDivisionError):
        model.fit(X, labels, weight)
    first = clone(model).set_callbacks().fit(X, labels, weight, resume_from=path)
    second = clone(model).set_callbacks().fit(X, labels, weight, resume_from=path)
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))  # no seed was given
    other = np.array(["no", "oui"])[(data[1] > 0).astype(int)]
    with pytest.raises(ValueError, match="other data"):
        clone(model).set_callbacks().fit(X, other, weight, resume_from=path)


def test_a_finished_fit_is_recalled_without_a_pass_of_em(data, path, monkeypatch):
    whole = regressor().set_callbacks(Checkpoint(path)).fit(*data)
    monkeypatch.setattr("mixexp._engine.journal.run_em", None)
    same_bits(regressor(n_jobs=2).fit(*data, resume_from=path), whole, data[0])


def test_callbacks_go_on_too(data, path):
    X, y = data
    model = regressor(n_experts=4, n_init=2, tol=0, max_iter=60)
    stop = EarlyStopping(X[::2], y[::2], patience=4)
    whole = clone(model).set_callbacks(stop).fit(X[1::2], y[1::2])
    scores = list(stop.scores_)
    model.set_callbacks(stop, Checkpoint(path), Raise(KeyboardInterrupt(), turn=len(scores) - 2))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[1::2], y[1::2])
    model.set_callbacks(stop).fit(X[1::2], y[1::2], resume_from=path)
    same_bits(model, whole, X)
    assert stop.scores_ == scores and stop.stopped_


def test_rows_from_a_factory_resume(data, path):
    def factory():
        return [(data[0][:50], data[1][:50]), (data[0][50:], data[1][50:])]

    model = regressor(tol=0, max_iter=5, n_init=2)
    whole = clone(model).fit_blocks(factory)
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(Checkpoint(path), Raise(KeyboardInterrupt())).fit_blocks(factory)
    same_bits(model.set_callbacks().fit_blocks(factory, resume_from=path), whole, data[0])
    with pytest.raises(ValueError, match="other data"):
        model.fit_blocks(lambda: [(data[0], data[1] + 1)], resume_from=path)


@pytest.fixture(scope="module")
def kept(data, tmp_path_factory):
    """The file of a fit."""
    path = tmp_path_factory.mktemp("kept") / "fit.checkpoint"
    regressor(max_iter=3, tol=0, n_init=2).set_callbacks(Checkpoint(path)).fit(*data)
    return path


def shuffled(X, y):
    return X[::-1], y[::-1]


@pytest.mark.parametrize(
    "change",
    [
        shuffled,
        lambda X, y: (X + 1e-12, y),
        lambda X, y: (X[:-1], y[:-1]),
        lambda X, y: (X.astype(np.float32), y),
        lambda X, y: (X, y, np.full(len(y), 2.0)),
    ],
    ids=["order", "values", "fewer rows", "dtype", "weights"],
)
def test_other_data_are_refused(change, data, kept):
    with pytest.raises(ValueError, match=r"resume_from=.* was written by a fit to other data"):
        regressor(max_iter=3, tol=0, n_init=2).fit(*change(*data), resume_from=kept)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_iter": 4}, "a fit with max_iter=3, not 4"),
        ({"n_experts": 3}, "n_experts=2, not 3"),
        ({"gate": GaussianGate()}, r"gate=None, not GaussianGate\(\)"),
        ({"random_state": 1}, "random_state=0, not 1"),
    ],
)
def test_other_parameters_are_refused(params, message, data, kept):
    model = regressor(**{"max_iter": 3, "tol": 0, "n_init": 2, **params})
    with pytest.raises(ValueError, match=message):
        model.fit(*data, resume_from=kept)
    assert not hasattr(model, "experts_")


def test_parameters_are_compared_by_all_of_their_values(data, path):
    labels = (data[0][:, 0] > 0).astype(int)
    params = {"max_iter": 2, "tol": 0}
    regressor(init=labels, **params).set_callbacks(Checkpoint(path)).fit(*data)
    other = labels.copy()
    other[60] = 1 - other[60]
    with pytest.raises(ValueError, match="written by a fit with init="):
        regressor(init=other, **params).fit(*data, resume_from=path)


def test_the_starts_are_saved_before_the_long_run(data, path, monkeypatch):
    """Even if the process is killed then, which calls no teardown."""
    monkeypatch.setattr(Checkpoint, "teardown", lambda *_: None)
    model = regressor(max_iter=3, tol=0, n_init=2)
    killed = Raise(ZeroDivisionError(), "starts", 1)
    killed.saves = True  # is told after the file has been written
    model.set_callbacks(Checkpoint(path), killed)
    with pytest.raises(ZeroDivisionError):
        model.fit(*data)
    monkeypatch.setattr(race, "_after_a_round", None)
    assert model.set_callbacks().fit(*data, resume_from=path).n_iter_ == 3


def test_another_version_or_class_is_refused(data, kept, monkeypatch):
    with pytest.raises(ValueError, match="is of a MixtureOfExpertsRegressor"):
        MixtureOfExpertsClassifier().fit(data[0], data[1] > 0, resume_from=kept)
    monkeypatch.setattr(resuming, "LIBRARIES", {"numpy": "1"})
    with pytest.warns(UserWarning, match="may differ in their last bits"):
        regressor(max_iter=3, tol=0, n_init=2).fit(*data, resume_from=kept)
    monkeypatch.setattr(resuming, "__version__", "9.9")
    with pytest.raises(ValueError, match=re.escape(f"mixexp {__version__}, and this is 9.9")):
        regressor(max_iter=3, tol=0, n_init=2).fit(*data, resume_from=kept)


def test_what_is_no_checkpoint_is_refused(data, tmp_path):
    model = regressor()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model.fit(*data, resume_from=tmp_path / "none")
    with pytest.raises(OSError, match=r"resume_from=.* cannot be read"):
        model.fit(*data, resume_from=tmp_path)
    with pytest.raises(TypeError, match="neither a path nor a Checkpoint"):
        model.fit(*data, resume_from=3)
    for name, content in [("text", b"abc"), ("empty", b""), ("zip", b"PK\x03\x04")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is not a checkpoint of mixexp"):
            model.fit(*data, resume_from=tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(ValueError, match="is not a checkpoint of mixexp"):
        model.fit(*data, resume_from=tmp_path / "other.npz")


def test_a_file_that_was_cut_off_is_refused(data, kept, tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(kept.read_bytes()[:-400])
    with pytest.raises(ValueError, match="is not a checkpoint of mixexp"):
        regressor(max_iter=3, tol=0, n_init=2).fit(*data, resume_from=cut)


def test_pickles_are_written_and_read_only_if_trusted(data, path):
    model = regressor(expert=DecisionTreeRegressor(max_depth=2), max_iter=2)
    with pytest.raises(ValueError, match="Set trusted=True"):
        model.set_callbacks(Checkpoint(path)).fit(*data)
    assert not path.exists()
    model.set_callbacks(Checkpoint(path, trusted=True)).fit(*data)
    with pytest.raises(ValueError, match="give resume_from=Checkpoint"):
        model.set_callbacks().fit(*data, resume_from=path)


def test_a_link_to_the_file_stays_one(data, kept, path, tmp_path):
    path.write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(path)
    files.replace_file(link, kept.read_bytes())
    assert link.is_symlink() and path.read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_the_fit_goes_on(step, data, kept, path, monkeypatch):
    path.write_bytes(kept.read_bytes())

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr(files, "open", full, raising=False)
    else:
        monkeypatch.setattr(files.os, step, full)
    model = regressor(max_iter=3, tol=0, n_init=2)
    with pytest.warns(UserWarning, match=r"could not be written .*No space left.* as it was"):
        model.set_callbacks(Checkpoint(path)).fit(*data)
    monkeypatch.undo()
    assert path.read_bytes() == kept.read_bytes()
    assert os.listdir(path.parent) == [path.name]
    same_bits(model, regressor(max_iter=3, tol=0, n_init=2).fit(*data, resume_from=path), data[0])


def test_a_path_that_no_file_can_have_is_refused_before_the_fit(data, tmp_path):
    for path, message in [(tmp_path, "is a folder"), (tmp_path / "no" / "c", "does not exist")]:
        with pytest.raises(OSError, match=message):
            regressor().set_callbacks(Checkpoint(path)).fit(*data)
    with pytest.raises(ValueError, match="every=0"):
        Checkpoint(tmp_path / "c", every=0)


def test_a_callback_of_ones_own_may_save(data, path):
    class Own(Callback):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == "starts":
                path.write_bytes(context.checkpoint())

    model = regressor(max_iter=3, tol=0, n_init=2)
    with pytest.raises(RuntimeError, match="none of them has `saves = True`"):
        model.set_callbacks(Own()).fit(*data)
    Own.saves = True
    whole = clone(model).fit(*data)
    same_bits(clone(model).set_callbacks().fit(*data, resume_from=path), whole, data[0])


def test_a_resumed_fit_that_had_ended_knows_how_it_stopped(path):
    X, y = load_tone(return_X_y=True)
    found = []
    for source in (None, path):
        stop = EarlyStopping(X[::3], y[::3], patience=3)
        model = regressor(n_experts=4, tol=0).set_callbacks(stop, Checkpoint(path))
        model.fit(X[1::3], y[1::3], resume_from=source)
        found.append((stop.stopped_, stop.best_iteration_, stop.best_score_, stop.scores_))
    assert found[0][0] and found[0] == found[1]


@pytest.mark.parametrize("name", ["mixexp", "seed", "callbacks", "data"])
def test_a_head_without_an_entry_is_refused_by_name(name, data, path):
    model = regressor(max_iter=3, tol=0, n_init=2).set_callbacks(Checkpoint(path)).fit(*data)
    with np.load(path) as archive:
        entries = dict(archive)
    head = json.loads(bytes(entries["head"]).decode())
    del head[name]
    entries["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **entries)
    with pytest.raises(ValueError, match=f"does not say its {name}"):
        model.fit(*data, resume_from=path)
