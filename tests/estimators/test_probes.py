"""A mistake in a gate or a family of one's own is named at the start of a fit."""

import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators import probes
from mixexp._estimators.probes import probe_family, probe_gate
from mixexp._estimators.targets import Numbers
from mixexp.families import FAMILIES, IdentityLink, LogLink
from mixexp.gates import GATES, ConstantGate, SoftmaxGate
from mixexp.protocols import Rows, Sums, evolve

RNG = np.random.default_rng(0)
X = RNG.integers(0, 4, 60)[:, None].astype(float)
Y = RNG.normal(size=60)


class Table(BaseEstimator):
    """Gate probabilities by the number in the first column, one of 0, 1, 2, 3."""

    monotone = True

    def start(self, rows, n_experts, columns):
        return evolve(self, table=np.full((n_experts, 4), 1 / n_experts))

    def log_prob(self, block):
        return np.log(self.table)[:, block.X[:, 0].astype(int)]

    def statistics(self, block, resp):
        codes = block.X[:, 0].astype(int)
        return Sums(mass=np.stack([np.bincount(codes, r, minlength=4) for r in resp]))

    def update(self, statistics, rows):
        mass = statistics["mass"] + 1
        return evolve(self, table=mass / mass.sum(axis=0))

    def log_prior(self):
        return float(np.log(self.table).sum())

    @property
    def n_parameters(self):
        return (len(self.table) - 1) * 4


class Logistic(IdentityLink, BaseEstimator):
    name = "logistic"
    curved = True
    reweights = True

    def evaluate(self, y, eta, parameters):
        scale = parameters[0][..., None]
        z = np.abs(y - eta) / scale
        log_prob = -z - 2 * np.log1p(np.exp(-z)) - np.log(scale)
        z = np.maximum(z, 1e-8)
        curvature = np.tanh(z / 2) / z
        return log_prob.sum(axis=1), curvature * (y - eta), curvature

    def statistics(self, score, curvature, resp, weighted):
        return np.sum(weighted * score / curvature, axis=2)[None]

    def update(self, statistics, mass, parameters, floor):
        scale = np.sqrt(np.maximum(statistics[0], 0.0) / mass[:, None])
        return np.maximum(scale, floor)[None]


def changes_itself(self, statistics, rows):
    self.table = statistics["mass"] / statistics["mass"].sum(axis=0)
    return self


def without_names(self, statistics, rows):
    return BaseEstimator()


def by_other_rows(self, block, resp):
    return resp[:, : 1 + block.start]


def after_update(values):
    """Return an `update` whose part gives these log-probabilities."""

    def update(self, statistics, rows):
        return evolve(self, log_prob=values)

    return update


GATE_MISTAKES = {
    "statistics-none": ("statistics", lambda *_: None, "statistics", "returned None. .* `Sums`"),
    "statistics-dict": ("statistics", lambda *_: {"mass": 1.0}, "statistics", "of class dict"),
    "statistics-tuple": ("statistics", lambda *_: (1.0, 2.0), "statistics", "a tuple of length 2"),
    "statistics-list": ("statistics", lambda *_: [1.0], "statistics", "a list of length 1"),
    "statistics-lists": (
        *("statistics", lambda *_: Sums(mass=[1.0]), "statistics"),
        "a list of length 1 as 'mass'. It must return numbers and arrays",
    ),
    "statistics-shapes": ("statistics", by_other_rows, "statistics", "of the same shape"),
    "update-none": ("update", lambda *_: None, "update", "returned None. .* the next part"),
    "update-array": ("update", lambda *_: np.ones((2, 4)), "update", "an array of shape .2, 4."),
    "update-other": ("update", without_names, "update", "without log_prob and statistics"),
    "update-in-place": ("update", changes_itself, "update", "changed the part itself.* `evolve"),
    "log_prob-shape": (
        *("update", after_update(lambda b: np.zeros((b.n_rows, 2)))),
        *("log_prob after update", "an array of shape .4, 2.. .* shape .2, 4."),
    ),
    "log_prob-nan": (
        *("update", after_update(lambda b: np.full((2, b.n_rows), np.nan))),
        *("log_prob after update", "returned NaN"),
    ),
    "log_prob-sum": (
        *("update", after_update(lambda b: np.zeros((2, b.n_rows)))),
        *("log_prob after update", "add up to 2. "),
    ),
    "log_prob-fixed": (
        *("log_prob", lambda _, b: np.broadcast_to(np.log(0.5), (2, b.n_rows)), "log_prob"),
        "cannot be written to",
    ),
    "log_prior-none": ("log_prior", lambda _: None, "log_prior", "None. .* a finite number"),
    "log_prior-inf": ("log_prior", lambda _: -np.inf, "log_prior", "-inf. .* a finite number"),
    "log_prior-number": ("log_prior", 0.0, "log_prior", "is 0.0. It must be a method"),
    "n_parameters": ("n_parameters", lambda _: 4, "n_parameters", "is a method. .* property"),
    "monotone-method": ("monotone", lambda _: True, "monotone", "a method. It must be True or"),
    "monotone-number": ("monotone", 1, "monotone", "is 1. It must be True or False"),
    "takes_missing": ("takes_missing", lambda _: True, "takes_missing", "is a method"),
}


@pytest.mark.parametrize("case", GATE_MISTAKES)
@pytest.mark.parametrize("mixture", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_a_mistake_in_a_gate(mixture, case):
    attribute, value, method, message = GATE_MISTAKES[case]
    gate = type("Wrong", (Table,), {attribute: value})()
    model = mixture(n_experts=2, gate=gate, random_state=0)
    with pytest.raises((TypeError, ValueError)) as caught:
        model.fit(X, Y > 0)
    text = str(caught.value)
    assert text.startswith(f"{mixture.__name__}: {method} of the gate Wrong ")
    assert re.search(message, text) and "docs/own_gate.md" in text
    assert not hasattr(model, "gate_")


def test_statistics_to_which_gram_matrices_cannot_be_added():
    class Wrong(SoftmaxGate):
        def statistics(self, block, resp):
            return resp.sum(axis=1)

    with pytest.raises(TypeError, match=r"statistics of the gate Wrong .* 'gram' is added"):
        MixtureOfExpertsRegressor(n_experts=2, gate=Wrong()).fit(X, Y)


def test_an_error_of_the_gate_itself_stays():
    class Wrong(Table):
        def update(self, statistics, rows):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        MixtureOfExpertsRegressor(n_experts=2, gate=Wrong()).fit(X, Y)


def evaluated(change):
    """Return an `evaluate` whose results are changed."""
    return lambda self, *given: change(*Logistic.evaluate(self, *given))


def shifts(self, statistics, mass, parameters, floor):
    parameters *= 2
    return parameters


FAMILY_MISTAKES = {
    "names-string": ("parameter_names", "scale", "parameter_names", "a tuple of strings"),
    "names-list": ("parameter_names", ["dispersions"], "parameter_names", "a tuple of strings"),
    "link": ("link", "probit", "link", "'identity' or 'log'"),
    "curved": ("curved", lambda _: True, "curved", "is a method. It must be True or False"),
    "initial-none": ("initial", lambda *_: None, "initial", "None. .* shape .1, 2, 1."),
    "initial-shape": ("initial", lambda _, k, q: np.ones((k, q)), "initial", "shape .2, 1.. "),
    "initial-nan": ("initial", lambda *_: np.full((1, 2, 1), np.nan), "initial", "NaN"),
    "n_parameters": ("n_parameters", lambda *_: None, "n_parameters", "None. .* a number"),
    "mean": ("mean", lambda _, eta: eta[0], "mean", "shape .1, 8.. .* shape .2, 1, 8."),
    "eta": ("eta", lambda _, mean: None, "eta", "None. .* shape .2, 1, 8."),
    "evaluate-none": ("evaluate", lambda *_: None, "evaluate", "None. .* three things"),
    "evaluate-two": (
        *("evaluate", evaluated(lambda p, s, c: (p, s)), "evaluate"),
        "a tuple of length 2. It must return three things",
    ),
    "density-shape": (
        *("evaluate", evaluated(lambda p, s, c: (p[:, None], s, c)), "log-density by evaluate"),
        "shape .2, 1, 8.. .* shape .2, 8.: log p.y., summed over outputs",
    ),
    "density-nan": (
        *("evaluate", evaluated(lambda p, s, c: (p * np.nan, s, c)), "log-density by evaluate"),
        "NaN or infinite",
    ),
    "score-shape": (
        *("evaluate", evaluated(lambda p, s, c: (p, s[:, 0], c)), "score by evaluate"),
        "shape .2, 8.. .* shape .2, 1, 8.",
    ),
    "curvature-none": (
        *("evaluate", evaluated(lambda p, s, c: (p, s, None)), "curvature by evaluate"),
        "None. .*`curved` is True",
    ),
    "curvature-given": ("curved", False, "curvature by evaluate", "None, as `curved` is False"),
    "statistics-flat": (
        *("statistics", lambda _, s, c, r, w: w.sum(axis=2), "statistics"),
        "shape .2, 1.. .* sums over the rows",
    ),
    "statistics-none": ("statistics", lambda *_: None, "statistics", "None"),
    "update-shape": ("update", lambda _, s, m, p, f: s[0], "update", "shape .1, 2, 1."),
    "update-nan": ("update", lambda _, s, m, p, f: p * np.nan, "update", "NaN or infinite"),
    "update-in-place": ("update", shifts, "update", "changed the parameters it was given"),
}


@pytest.mark.parametrize("case", FAMILY_MISTAKES)
def test_a_mistake_in_a_family(case):
    attribute, value, method, message = FAMILY_MISTAKES[case]
    family = type("Wrong", (Logistic,), {attribute: value})()
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0)
    with pytest.raises((TypeError, ValueError)) as caught:
        model.fit(X, Y)
    text = str(caught.value)
    assert text.startswith(f"MixtureOfExpertsRegressor: {method} of the family Wrong ")
    assert re.search(message, text) and "docs/own_family.md" in text
    assert not hasattr(model, "experts_")


@pytest.mark.parametrize("n", [1, 2, 60, 2000])
@pytest.mark.parametrize("weighted", [False, True])
def test_right_gates_pass(n, weighted):
    here = RNG.integers(0, 4, n)[:, None].astype(float)
    rows = Rows(here, training=True, weight=np.arange(1.0, n + 1) if weighted else None)
    subclass = type("Mine", (SoftmaxGate,), {})
    constant = type("Fixed", (ConstantGate,), {"update": lambda self, statistics, rows: self})
    for gate in (Table(), subclass(), constant()):
        probe_gate(gate.start(rows, 3, None), rows, 3, "Owner")


@pytest.mark.parametrize("make", GATES)
def test_gates_of_mixexp_would_pass(make, monkeypatch):
    monkeypatch.setattr(probes, "is_foreign", lambda part: True)
    rows = Rows(RNG.normal(size=(100, 2)), training=True)
    gate = make(branching=(2, 2)) if "branching" in make().get_params() else make()
    part = gate.start(rows, 4, None)
    if not hasattr(part, "with_fitting"):  # starts run with another gate in its place
        probe_gate(part, rows, 4, "Owner")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "binomial"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_families_of_mixexp_would_pass(name, scale, n_outputs, monkeypatch):
    monkeypatch.setattr(probes, "is_foreign", lambda part: True)
    y = RNG.gamma(2.0, scale, (n_outputs, 50))
    if FAMILIES[name]().discrete:
        y = np.ceil(y)
    for shift in (y, y * 0 + y[:, :1]):  # also targets that are all the same
        probe_family(Numbers(FAMILIES[name](), (n_outputs,)), shift, "Owner")


def test_a_fit_with_right_parts_of_ones_own():
    y = X[:, 0] + 0.1 * RNG.logistic(size=60)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=Table(), family=Logistic(), random_state=0)
    assert np.isfinite(model.fit(X, y).bic(X, y))


def test_parts_of_mixexp_are_not_probed(monkeypatch):
    def refuse(*_):
        raise AssertionError("probed")

    monkeypatch.setattr(probes, "_Subject", refuse)
    for family in FAMILIES:
        y = np.ceil(np.abs(Y) + 0.1)
        if family == "binomial":
            y = np.minimum(y, 1.0)
        MixtureOfExpertsRegressor(n_experts=1, family=family, tol=1e-3).fit(X, y)
    MixtureOfExpertsClassifier(n_experts=1, tol=1e-3).fit(X, Y > 0)
    with pytest.raises(AssertionError, match="probed"):
        MixtureOfExpertsRegressor(n_experts=2, gate=Table()).fit(X, Y)


def test_probing_costs_less_than_a_block():
    seen = []

    class Counted(Table):
        def statistics(self, block, resp):
            seen.append(block.n_rows)
            return super().statistics(block, resp)

    rows = Rows(RNG.integers(0, 4, 5000)[:, None].astype(float), training=True)
    probe_gate(Counted().start(rows, 2, None), rows, 2, "Owner")
    assert 0 < sum(seen) <= next(rows.blocks()).n_rows


@pytest.mark.parametrize("says", [None, False, True])
def test_a_gate_that_may_see_missing_values(says):
    class Mine(Table):
        def log_prob(self, block):
            return np.log(self.table)[:, np.nan_to_num(block.X[:, 0]).astype(int)]

        def statistics(self, block, resp):
            codes = np.nan_to_num(block.X[:, 0]).astype(int)
            return Sums(mass=np.stack([np.bincount(codes, r, minlength=4) for r in resp]))

    if says is not None:
        Mine.takes_missing = says
    holey = np.column_stack([X[:, 0], RNG.normal(size=60)])
    holey[3, 0] = np.nan
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=Mine(), expert_features=[1], n_init=1, random_state=0
    )
    if says:
        assert np.isfinite(model.fit(holey, Y).predict(holey)).all()
        return
    text = (
        r"gate Mine\(\), which has no takes_missing = True," if says is None else r"gate Mine\(\)"
    )
    with pytest.raises(ValueError, match=text + " cannot take missing values"):
        model.fit(holey, Y)
    full = np.column_stack([X, holey[:, 0]])
    model.set_params(gate_features=[0], expert_features=[0])  # NaN in no column that they see
    assert np.isfinite(model.fit(full, Y).predict(full)).all()


def test_missing_values_of_gates_without_features():
    class Mine(ConstantGate):
        pass

    holey = np.column_stack([X[:, 0], Y])
    holey[3, 0] = np.nan
    for gate in (Mine(), ConstantGate(), SoftmaxGate(), None):
        model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, expert_features=[1], n_init=1)
        model.set_params(random_state=0, tol=1e-2).fit(holey, Y**2)


@pytest.mark.parametrize("base", [IdentityLink, LogLink])
@pytest.mark.parametrize("method", ["variance", "pdf", "cdf", "quantile", "sample"])
def test_a_method_of_distributions_that_a_family_lacks(base, method):
    family = type("Mine", (base, BaseEstimator), {})()
    assert not hasattr(family, method)
    with pytest.raises(AttributeError, match=f"family Mine has no method {method}.*own_family.md"):
        getattr(family, method)
    with pytest.raises(AttributeError, match="'Mine' object has no attribute 'other'"):
        _ = family.other


def test_a_distribution_without_samples():
    model = MixtureOfExpertsRegressor(n_experts=1, family=Logistic()).fit(X, Y)
    assert np.isfinite(model.predict_distribution(X).mean()).all()
    with pytest.raises(AttributeError, match="family Logistic has no method sample"):
        model.sample_y(X)


def test_a_family_without_methods_is_told_what_to_derive_from():
    class Mine(BaseEstimator):
        def evaluate(self, y, eta, parameters):
            raise AssertionError("not asked")

        statistics = update = evaluate

    with pytest.raises(TypeError, match=r"Derive from IdentityLink or LogLink of mixexp\.families"):
        MixtureOfExpertsRegressor(family=Mine()).fit(X, Y)


def test_criteria_of_a_gate_without_number_of_parameters():
    class Mine(Table):
        @property
        def n_parameters(self):
            raise AttributeError("not known")

    model = MixtureOfExpertsRegressor(n_experts=2, gate=Mine(), n_init=1, random_state=0)
    model.fit(X, Y + 0.1 * X[:, 0])
    with pytest.raises(ValueError, match="which the gate of this mixture does not have"):
        model.aic(X, Y)
