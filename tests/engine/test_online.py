"""Online EM: statistics at other coefficients, and the shares of old and new rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.online import Schedule, begun, learnt, part_without_memory
from mixexp._engine.sweep import FixedStep, State, statistics_of, sweep
from mixexp._newton import multinomial_change, multinomial_hessian
from mixexp._rows.rows import Rows
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate


def fitted(gate, classes, n_experts=3, **options):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] > 0, 1 + X[:, 1], -X[:, 1]) + 0.5 * rng.standard_normal(200)
    kind = MixtureOfExpertsRegressor
    if classes:
        y, kind = np.digitize(y, [-0.3, 0.8][: classes - 1]), MixtureOfExpertsClassifier
    model = kind(n_experts=n_experts, gate=gate, n_init=1, max_iter=2, random_state=0, **options)
    model.fit(X, y)
    return State(model._model.gate, model._model.bank), Rows(X, y if classes else y[None])


CASES = {
    "lines": (SoftmaxGate(), 0, {}),
    "two outputs of a gate": (SoftmaxGate(temperature=1.5), 0, {"n_experts": 2}),
    "two classes": (SoftmaxGate(), 2, {}),
    "three classes": (SoftmaxGate(), 3, {}),
    "moments": (GaussianGate("diag"), 0, {}),
    "tree": (HierarchicalGate([2]), 0, {"n_experts": 2}),
    "noise": (SoftmaxGate(), 0, {"noise_expert": True}),
}


def flat(sums):
    """Statistics of all nodes, or of the one part inside of wrappers."""
    return list(sums.sums) if hasattr(sums, "sums") else [getattr(sums, "inner", sums)]


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize(("gate", "classes", "options"), CASES.values(), ids=CASES)
def test_statistics_move_by_their_quadratic_model(gate, classes, options):
    """For a small move, recentred statistics are those taken at the new coefficients."""
    state, rows = fitted(gate, classes, **options)
    rng = np.random.default_rng(0)
    n_all = state.bank.n_experts + ("noise_expert" in options)
    resp = rng.dirichlet(np.ones(n_all), rows.n_rows).T
    moved = state.apply(
        lambda part: part.set_parameters(
            part.get_parameters() + 1e-4 * rng.standard_normal(len(part.get_parameters()))
        )
    )
    if not classes and state.bank.family is not None:  # its parameters are no coefficients
        moved = State(moved.gate, state.bank)
    block = next(rows.blocks())

    def taken(at):
        fresh = block.fresh()
        for part in at.parts:
            part.log_prob(fresh)
        return statistics_of(at.parts, [(fresh, FixedStep(resp)(fresh).unit_resp)] * 2)

    for part, before, sums, wanted in zip(
        moved.parts, state.parts, taken(state), taken(moved), strict=True
    ):
        _, found = part.recentred(sums, before)
        for old, new, right in zip(flat(sums), flat(found), flat(wanted), strict=True):
            if "gradient" in right:
                left = np.abs(new["gradient"] - right["gradient"]).max()
                assert left <= 1e-3 * np.abs(old["gradient"] - right["gradient"]).max() + 1e-12
            else:
                assert all(np.array_equal(new[name], value) for name, value in old.items())


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_lines_and_their_deviances_move_exactly():
    state, rows = fitted(SoftmaxGate(), 0)
    rng = np.random.default_rng(0)
    resp = rng.dirichlet(np.ones(3), rows.n_rows).T
    bank = state.bank
    vector = bank.get_parameters()
    vector[: bank.theta.size] += rng.standard_normal(bank.theta.size)
    far = bank.set_parameters(vector)
    old, new = (sweep(rows, State(None, b), FixedStep(resp)).sums[0] for b in (bank, far))
    _, found = far.recentred(old, bank)
    for name in ("gradient", "family", "gram"):
        assert_allclose(found[name], new[name], rtol=1e-9, atol=1e-9)
    assert_allclose(found.scaled(3.0)["family"], 3 * new["family"])


def test_change_of_a_multinomial_gradient(rng):
    gram = rng.standard_normal((3, 2, 2))
    gram = gram @ gram.transpose(0, 2, 1)
    move = rng.standard_normal((3, 2))
    wanted = (multinomial_hessian(gram) @ move.ravel()).reshape(3, 2)
    assert_allclose(multinomial_change(gram, move, "newton"), wanted)
    blocks = np.stack([g @ d for g, d in zip(gram, move, strict=True)])
    assert_allclose(multinomial_change(gram, move, "blocks"), blocks)


@pytest.mark.parametrize(
    ("power", "window", "total", "share"),
    [(1.0, None, 100, 0.1), (0.5, None, 100, 0.1**0.5), (1.0, 40, 40, 0.25), (0.6, 5, 5, 1.0)],
)
def test_schedule(power, window, total, share):
    schedule = Schedule(power, window)
    assert schedule.limited(100.0) == total
    assert_allclose(schedule.share(10.0, total), share)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_a_step_averages_and_leaves_its_inputs():
    state, rows = fitted(SoftmaxGate(), 0)
    assert part_without_memory(state) is None
    schedule = Schedule(1.0, None)
    first = begun(state, rows, Soft(), schedule)
    assert_allclose(first.mass.sum(), 1.0)
    kept = [sums["gradient"].copy() for sums in first.sums]
    second = learnt(first, rows, Soft(), schedule)
    assert second.total == 400 and second.n_steps == 1 and rows.total_weight == 200
    for before, sums in zip(kept, first.sums, strict=True):
        assert np.array_equal(before, sums["gradient"])
    again = begun(second.state, rows, Soft(), schedule)  # the same rows, one EM step on
    bound = learnt(again, rows, Soft(), schedule).bound
    assert bound > second.bound


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_shares_of_experts_and_the_bound_are_averages():
    """(1 − ρ) of the past and ρ of the new rows, by densities that are summed here."""
    state, rows = fitted(SoftmaxGate(), 0)
    weight = np.arange(60) % 3 + 1.0
    some = Rows(rows.X[:60], rows.y[:, :60], weight)
    schedule = Schedule(0.6, None)
    first = begun(state, rows, Soft(), schedule)
    found = learnt(first, some, Soft(), schedule)
    block = next(some.blocks())
    joint = state.gate.log_prob(block) + state.bank.log_prob(block)
    density = np.logaddexp.reduce(joint, axis=0)
    share = (weight.sum() / (200 + weight.sum())) ** 0.6
    new = np.exp(joint - density) @ weight / weight.sum()
    assert_allclose(found.mass, (1 - share) * first.mass + share * new, rtol=1e-10)
    assert_allclose(found.bound, np.average(density, weights=weight), rtol=1e-10)
