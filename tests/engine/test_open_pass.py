"""The pass is open: blocks can be sent, partial results add, and others may look and propose."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _problems import banks, make_rows, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate, m_step, run_em
from mixexp._engine.fixed import fit_at
from mixexp._engine.search import search
from mixexp._engine.starts import FromState
from mixexp._engine.sweep import EStep, FixedStep, State, run_block, sweep
from mixexp._estimators import base
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.protocols import Rows


@pytest.fixture
def started(rng):
    """Return rows in several blocks and a state after some M-steps."""
    rows, bank, resp = banks(rng, n=300, k=4)
    rows.block_rows = 64
    state = State(SoftmaxGate().start(rows, 4, None), bank)
    return rows, fit_at(state, rows, resp, 2)


def problem_of(rows, **more):
    return Problem(rows, Soft(), 20, 1e-9, **more)


# ---------------------------------------------------------------- blocks and partial results


@pytest.mark.parametrize(
    "gate", [SoftmaxGate(), ConstantGate(), GaussianGate(), HierarchicalGate()]
)
def test_a_block_gives_the_same_wherever_it_is_evaluated(rng, gate):
    rows, bank, resp = banks(rng, n=300, k=4)
    rows.block_rows = 64
    state = fit_at(State(gate.start(rows, 4, None), bank), rows, resp, 2)
    function = partial(run_block, state=state, e_step=EStep(state, Soft(), 0))
    here = [function(block) for block in rows.blocks()]
    sent = pickle.loads(pickle.dumps(list(rows.blocks())))
    there = [pickle.loads(pickle.dumps(function))(block) for block in reversed(sent)][::-1]
    for one, other in zip(here, there, strict=True):
        assert one.objective == other.objective
        assert_array_equal(one.mass, other.mass)
    whole = sweep(rows, state, EStep(state, Soft(), 0))
    total = there[0]
    for more in there[1:]:
        total += more
    assert total.objective == whole.objective
    assert_array_equal(total.mass, whole.mass)
    one, other = (m_step(rows, state, each.sums).bank for each in (total, whole))
    assert_array_equal(one.theta, other.theta)


def test_evaluating_a_block_twice_changes_nothing(started):
    rows, state = started
    block = next(rows.blocks())
    function = partial(run_block, state=state, e_step=EStep(state, Soft(), 0))
    first, again = function(block), function(block)
    assert first.objective == again.objective
    assert_array_equal(first.sums[0]["gradient"], again.sums[0]["gradient"])
    assert not block._scratch


def size(arrays):
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


@pytest.mark.parametrize("kind", ["plain", "grouped", "sparse", "frame"])
def test_a_block_is_sent_as_its_arrays(rng, kind):
    X, y, weight = rng.standard_normal((9000, 10)), rng.standard_normal((1, 9000)), rng.random(9000)
    X = sp.csr_matrix(X) if kind == "sparse" else X
    groups = np.repeat(np.arange(1800), 5) if kind == "grouped" else None
    frame = pd.DataFrame(X) if kind == "frame" else None
    rows = Rows(X, y, weight, training=kind != "frame", groups=groups, frame=frame)
    design = rows.design(None)
    block = list(rows.blocks())[1]
    block.products(design)
    block.unit.matrix(rows.units.design(None))
    arrays = [block.y, block.weight, block.firsts]
    arrays += [block.X.data, block.X.indices, block.X.indptr] if kind == "sparse" else [block.X]
    arrays += [block.unit.X] if kind == "grouped" else []
    arrays += [block.frame.to_numpy()] if kind == "frame" else []
    sent = pickle.dumps(block)
    assert len(sent) <= 2 * size(arrays)
    again = pickle.loads(sent)
    assert_array_equal(again.matrix(design), block.matrix(design))
    assert (again.start, again.stop) == (block.start, block.stop)


def test_what_log_prob_kept_is_there_for_statistics_alone(started):
    rows, state = started
    block = next(rows.blocks())
    resp = np.full((4, block.n_rows), 0.25)
    asked = state.gate.statistics(block, resp)["gradient"]
    block = block.fresh()
    state.gate.log_prob(block)
    assert_array_equal(state.gate.statistics(block, resp)["gradient"], asked)


def test_fixed_responsibilities_have_no_objective(started, rng):
    rows, state = started
    resp = rng.dirichlet(np.ones(4), size=300).T
    total = sweep(rows, state, FixedStep(resp))
    assert total.objective == 0.0
    assert_allclose(total.mass, resp.sum(axis=1), rtol=1e-12)


# ---------------------------------------------------------------- places to enter


def test_an_observer_sees_every_iteration_and_may_stop(started):
    rows, state = started
    plain = run_em(problem_of(rows), state)
    seen = []

    def observe(run):
        seen.append(run.bounds[-1])
        return len(seen) == 3

    run = run_em(problem_of(rows, observe=observe), state)
    assert seen == run.bounds == plain.bounds[:3]
    assert not run.converged


def test_an_accelerator_proposes_and_is_turned_down_where_the_bound_falls(started):
    rows, state = started
    plain = run_em(problem_of(rows), state)
    ruined = State(state.gate, state.bank.set_parameters(state.bank.get_parameters() + 3.0))
    asked = []

    def worse(run):
        asked.append(run.current)
        return ruined

    run = run_em(problem_of(rows, accelerate=worse), state)
    assert run.bounds == plain.bounds and len(asked) == len(run.bounds)
    assert run.n_passes == plain.n_passes + len(asked)

    def ahead(run):  # two EM steps
        proposal = m_step(rows, run.current.state, run.current.statistics)
        return m_step(rows, proposal, evaluate(problem_of(rows), proposal, 0).statistics)

    run = run_em(problem_of(rows, accelerate=ahead), state)
    assert_allclose(run.bounds[:4], plain.bounds[1:8:2], rtol=1e-12)
    unchanged = run_em(problem_of(rows, accelerate=lambda run: None), state)
    assert unchanged.bounds == plain.bounds and unchanged.n_passes == plain.n_passes


def test_a_fit_may_set_out_from_a_state(rng, monkeypatch):
    X, y, _, _ = softmax_gated(rng, 300, 2, 3)
    found = []

    def spy(problem):
        found.append((problem, search(problem)))
        return found[-1][1]

    monkeypatch.setattr(base, "search", spy)
    options = {"init": "random", "n_init": 1, "random_state": 0, "gate": SoftmaxGate(alpha=0.3)}
    model = MixtureOfExpertsRegressor(n_experts=3, max_iter=12, tol=0, **options)
    with pytest.warns(match="did not converge"):
        model.fit(X, y)
    problem, (run, _) = found[0]
    resumed, restarts = search(replace(problem, start=FromState(run.state)))
    assert len(restarts) == 1 and restarts[0].events == ["long run"]
    longer = replace(problem, max_iter=24)
    assert resumed.bounds[0] >= run.bounds[-1]
    straight = search(longer)[0].bounds
    assert_allclose(np.append(run.bounds, resumed.bounds), straight, rtol=1e-9)


def test_rows_add_in_block_order(rng):
    rows = make_rows(rng.standard_normal((300, 2)), block_rows=64)
    order = []

    def function(block):
        order.append(block.start)
        return np.array([block.start])

    assert rows.reduce(function)[0] == sum(range(0, 300, 64))
    assert order == list(range(0, 300, 64))
