"""`warm_start`: what a fit takes over from the last one, and what makes it begin anew."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from _interrupts import Raise, same_bits, two_lines
from _problems import make_rows
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.starts import FromPartition, FromState
from mixexp._estimators import base
from mixexp._estimators.again import LastMixture
from mixexp.callbacks import Checkpoint
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: A start that no fit of several starts would choose, so that one sees whether a fit went on.
QUICK = {"n_experts": 2, "n_init": 1, "acceleration": None, "tol": 0, "max_iter": 3}
QUICK["gate"] = SoftmaxGate(alpha=0.3)


@pytest.fixture(scope="module")
def data():
    return two_lines()


@pytest.fixture
def begun(monkeypatch):
    """Collect the starts of searches: "state", "partition", or None for one that begins anew."""
    starts, search = [], base.search

    def noted(problem):
        last = isinstance(problem.start, FromPartition) and type(problem.start.partition).__name__
        kind = "state" if isinstance(problem.start, FromState) else None
        starts.append("partition" if last == "LastMixture" else kind)
        return search(problem)

    monkeypatch.setattr(base, "search", noted)
    return starts


@pytest.fixture
def fitted(data):
    model = MixtureOfExpertsRegressor(warm_start=True, random_state=0, **QUICK)
    return model.fit(*data)


def test_a_fit_goes_on_from_its_last_iteration(fitted, data):
    """Plain EM has no memory but its state: two fits are one of as many iterations."""
    whole = clone(fitted).set_params(warm_start=False, max_iter=6).fit(*data)
    first = fitted.lower_bounds_
    fitted.fit(*data)
    assert np.array_equal(np.append(first, fitted.lower_bounds_), whole.lower_bounds_)
    assert np.array_equal(fitted.predict(data[0]), whole.predict(data[0]))


def test_without_warm_start_a_fit_begins_anew(fitted, data):
    plain = clone(fitted).set_params(warm_start=False).fit(*data)
    same_bits(fitted.set_params(warm_start=False).fit(*data), plain, data[0])


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"max_iter": 2, "tol": 1e-3, "acceleration": "auto", "n_jobs": 2}, "state"),
        ({"random_state": 3, "n_init": 2, "pooling": "argmax", "on_collapse": "keep"}, "state"),
        ({"gate": SoftmaxGate(alpha=3.0)}, "partition"),
        ({"expert": Ridge(alpha=3.0)}, "partition"),
        ({"expert": DecisionTreeRegressor(max_depth=1)}, "partition"),
        ({"family": "student_t"}, "partition"),
        ({"expert_basis": "quantile"}, "partition"),
        ({"gate_features": [0]}, "partition"),
        ({"noise_expert": True}, "partition"),
        ({"shared_expert": Ridge()}, "partition"),
        ({"routing": TopK(1)}, "partition"),
        ({"gate": HierarchicalGate((2,))}, "partition"),
        ({"n_experts": 3}, None),
        ({"init": "kmeans"}, None),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else str(value),
)
def test_what_changed_parameters_keep(params, kind, fitted, data, begun):
    fitted.set_params(**params).fit(*data)
    assert begun == [kind]
    assert len(fitted.experts_) == fitted.n_experts == fitted.n_experts_


def test_what_changed_data_keep(fitted, data, begun):
    X, y = data
    fitted.fit(X[::-1], y[::-1]).fit(X[:90], y[:90]).fit(X[:90], y[:90], np.ones(90))
    fitted.fit(X[:, :1], y).fit(X[:, :1], y)
    assert begun == ["partition", "partition", "partition", None, "state"]


def test_other_rows_keep_the_experts_in_their_regions(data):
    X, y = two_lines(400)
    model = MixtureOfExpertsRegressor(n_experts=2, warm_start=True, random_state=0)
    model.fit(X[:200], y[:200])
    before = model.experts_[0].coef_
    model.set_params(n_init=1, init="mixed").fit(X[200:], y[200:])
    assert np.abs(np.sort(model.experts_[0].coef_) - np.sort(before)).max() < 0.3
    assert len(model.restarts_) == 1


def test_the_last_mixture_answers_for_rows_as_new_ones(data):
    """What experts that were fitted without a row predict for it is not that of another row."""
    X, y = data
    tree = DecisionTreeRegressor(max_depth=2)
    model = MixtureOfExpertsRegressor(tree, random_state=0, cross_fit=True, **QUICK)
    model.set_params(noise_expert=True).fit(X, y)
    context = SimpleNamespace(rows=make_rows(X[::-1], y[::-1]), n_experts=2)
    resp = LastMixture(model._model.state).responsibilities(context, None)
    known = model.responsibilities(X, y)[::-1, :2].T
    assert_allclose(resp, known / known.sum(axis=0), rtol=1e-10)
    assert context.rows.training  # as it was


def test_rows_that_the_mixture_does_not_explain_are_divided_anew(data, begun):
    """Far from all experts, responsibilities only say whose dispersion is larger."""
    X, y = data
    model = MixtureOfExpertsRegressor(n_experts=2, warm_start=True, random_state=0).fit(X, y)
    found = model.fit(X, y + 100).lower_bound_
    model.fit(X, y + 100.01)
    assert begun == [None, None, "partition"]
    anew = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y + 100)
    assert_allclose(found, anew.lower_bound_)


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_weights_of_groups_do_not_say_what_is_explained(weight, rng, begun):
    """They are exponents of densities, of one expert as of the mixture."""
    groups = np.repeat(np.arange(60), 4)
    X, weights = rng.standard_normal((240, 2)), np.full(240, weight)
    y = np.where(groups % 2, X[:, 0], -X[:, 0]) + 0.5 * rng.standard_normal(240)
    model = MixtureOfExpertsRegressor(
        gate=ConstantGate(), warm_start=True, random_state=0, n_experts=2
    )
    model.fit(X, y, weights, groups=groups).fit(X[::-1], y[::-1], weights, groups=groups[::-1])
    assert begun == [None, "partition"]


def test_columns_must_agree(data, begun):
    X, y = data
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = MixtureOfExpertsRegressor(warm_start=True, random_state=0, **QUICK).fit(frame, y)
    model.fit(frame[["b", "a"]], y).fit(frame[["b", "a"]], y)
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(frame[["b", "a"]].to_numpy())
    model.fit(frame[["b", "a"]].to_numpy(), y)  # without names, positions have to do
    assert begun == [None, None, "state", "state"]


def test_classes_must_agree(data, begun):
    X, labels = data[0], np.array(["a", "b"])[(data[1] > 0).astype(int)]
    model = MixtureOfExpertsClassifier(warm_start=True, random_state=0, **QUICK).fit(X, labels)
    model.fit(X, labels).fit(X, np.where(labels == "a", "c", labels))
    assert begun == [None, "state", None]


@pytest.mark.parametrize(
    "params",
    [
        {"expert": DecisionTreeRegressor(max_depth=1)},
        {"noise_expert": True},
        {"routing": TopK(1), "n_experts": 3},
        {"shared_expert": Ridge()},
    ],
    ids=lambda params: next(iter(params)),
)
def test_every_kind_of_fit_goes_on(params, data, begun):
    model = MixtureOfExpertsRegressor(warm_start=True, random_state=0, **{**QUICK, **params})
    model.fit(*data).fit(*data)
    assert begun == [None, "state" if "noise_expert" in params else "partition"]


def test_a_failed_fit_is_not_gone_on_from(fitted, data, begun):
    """An interrupt leaves GaussianMixture unable to go on."""
    bounds = fitted.lower_bounds_
    with pytest.raises(KeyboardInterrupt):
        fitted.set_callbacks(Raise(KeyboardInterrupt(), turn=1)).fit(*data)
    assert fitted.lower_bounds_ is bounds
    fitted.set_callbacks().fit(*data)
    assert begun == ["state", "state"] and fitted.lower_bounds_[0] > bounds[-1]
    new = MixtureOfExpertsRegressor(warm_start=True, random_state=0, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        new.set_callbacks(Raise(KeyboardInterrupt(), turn=1)).fit(*data)
    assert np.array_equal(new.set_callbacks().fit(*data).lower_bounds_, bounds)


def test_a_checkpoint_of_a_fit_that_went_on_needs_no_earlier_fit(fitted, data, tmp_path):
    again = pickle.loads(pickle.dumps(fitted))
    whole = pickle.loads(pickle.dumps(fitted)).fit(*data)
    saver = Checkpoint(tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        again.set_callbacks(saver, Raise(KeyboardInterrupt(), turn=1)).fit(*data)
    same_bits(clone(again).set_callbacks().fit(*data, resume_from=saver), whole, data[0])


def test_rows_from_a_factory_and_batches(fitted, data, begun, monkeypatch):
    from mixexp._estimators import blockwise

    monkeypatch.setattr(blockwise, "search", base.search)
    model = clone(fitted).fit_blocks(lambda: [data]).fit_blocks(lambda: [data])
    model.fit_blocks(lambda: [(data[0], data[1] + 0.1)])
    model.partial_fit(*data).fit(*data)
    assert begun == [None, "state", "partition", None]
