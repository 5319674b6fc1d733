"""A part of a user's own that lacks something is refused by name, before anything is fitted."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import FAMILIES, Gaussian
from mixexp.gates import GATES, SoftmaxGate
from mixexp.partitions import STARTS
from mixexp.protocols import REQUIRED, Rows, check_part, evolve
from mixexp.routing import ROUTERS

X = np.linspace(-1, 1, 40)[:, None]
Y = np.abs(X[:, 0])


class Bare(BaseEstimator):
    """What the validation of parameters lets pass, and no more."""

    name = "bare"

    def evaluate(self, y, eta, parameters):
        raise AssertionError("not asked")

    statistics = update = evaluate


def test_a_family_that_lacks_something():
    model = MixtureOfExpertsRegressor(n_experts=2, family=Bare())
    message = (
        "MixtureOfExpertsRegressor: family Bare has no link and no parameter_names .* and no check"
    )
    with pytest.raises(TypeError, match=message) as caught:
        model.fit(X, Y)
    assert "docs/own_family.md" in str(caught.value)
    assert not hasattr(model, "experts_")


def test_a_gate_whose_part_lacks_something():
    class Gate(BaseEstimator):
        def start(self, rows, n_experts, columns):
            return self

    for mixture in (MixtureOfExpertsRegressor, MixtureOfExpertsClassifier):
        with pytest.raises(TypeError, match=r"the gate Gate has no log_prob and no statistics"):
            mixture(n_experts=2, gate=Gate()).fit(X, Y > 0.5)


@pytest.mark.parametrize("value", [SoftmaxGate, Gaussian, Ridge])
def test_a_class_in_place_of_an_instance(value):
    name = {SoftmaxGate: "gate", Gaussian: "family", Ridge: "expert"}[value]
    with pytest.raises(TypeError, match=f"{name} must be an instance, got the class"):
        MixtureOfExpertsRegressor(n_experts=2, **{name: value}).fit(X, Y)


def test_what_the_library_has_is_complete():
    rows = Rows(X, training=True)
    for make in GATES:
        check_part(make(), "gate", "Test", "gate")
        sized = {"branching": (2, 1)} if "branching" in make().get_params() else {}
        check_part(make(**sized).start(rows, 2, None), "part", "Test", "gate")
    for make in FAMILIES.values():
        check_part(make(), "family", "Test", "family")
    for start in STARTS:
        check_part(start, "start", "Test", "init")
    for make in ROUTERS:
        check_part(make(), "router", "Test", "routing")


@pytest.mark.parametrize("kind", REQUIRED)
def test_every_kind_says_all_that_is_missing(kind):
    with pytest.raises(TypeError) as caught:
        check_part(object(), kind, "Owner", "thing")
    assert str(caught.value).startswith("Owner: thing object has no ")
    assert all(f"no {name}" in str(caught.value) for name in REQUIRED[kind] if name != "log_prob")


def test_an_attribute_that_is_no_method():
    class Start:
        responsibilities = np.ones((2, 40))

    with pytest.raises(TypeError, match="init Start has no responsibilities"):
        check_part(Start(), "start", "Owner", "init")


class Recording(BaseEstimator):
    """A constant gate without `select`, which records the columns it is started with."""

    monotone = False

    def start(self, rows, n_experts, columns):
        STARTED.append((n_experts, columns))
        return evolve(self, log_usage=np.full((n_experts, 1), -np.log(n_experts)))

    def log_prob(self, block):
        return np.repeat(self.log_usage, block.n_rows, axis=1)

    def statistics(self, block, resp):
        return resp.sum(axis=1)

    def update(self, statistics, rows):
        return evolve(self, log_usage=np.log(statistics / statistics.sum())[:, None])


STARTED = []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("init", ["split", "mixed"])
@pytest.mark.parametrize("noise", [False, True])
def test_a_gate_without_select_keeps_its_columns_in_starts(init, noise):
    STARTED.clear()
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    y = np.abs(X[:, 0]) + 0.1 * rng.normal(size=120)
    model = MixtureOfExpertsRegressor(
        n_experts=3, gate=Recording(), init=init, noise_expert=noise, random_state=0
    )
    model.set_params(gate_features=[1]).fit(X, y)
    assert {k for k, _ in STARTED} >= {2, 3}  # "split" grows from fewer experts
    assert all(np.array_equal(columns, [1]) for _, columns in STARTED)
    STARTED.clear()
    model.set_params(gate_features=[[0], [1], [0, 1]]).fit(X, y)
    for k, columns in STARTED:
        assert [each.tolist() for each in columns] == [[0], [1], [0, 1]][:k]
