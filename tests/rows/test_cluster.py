"""Partitions of Dask as rows: what a fit on them keeps, sends and adds."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp._engine.sweep import FixedStep
from mixexp._rows.cluster import DaskRows, partition_of, tree
from mixexp._rows.rows import Rows
from mixexp._rows.source import Run
from mixexp._rows.streamed import Sketch, Survey

dask = pytest.importorskip("dask", reason="needs mixexp[dask]")

CUTS = (5000, 5100)
N_ROWS = 9000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N_ROWS, 3)), rng.standard_normal((1, N_ROWS)), rng.random(N_ROWS)


def partitions(data, keeps=True):
    X, y, weight = data
    cuts = (0, *CUTS, N_ROWS)
    runs = [Run(X[i:j], y[:, i:j], weight[i:j]) for i, j in zip(cuts, cuts[1:], strict=False)]
    rows = [
        partition_of(run, i, N_ROWS, False, 4096, keeps) for run, i in zip(runs, cuts, strict=False)
    ]
    survey = Survey(N_ROWS, 3, weight.sum(), np.zeros((1, 2)), np.zeros(1), False, False, True, 0)
    return DaskRows([dask.delayed(each, traverse=False) for each in rows], survey, runs[0]), rows


def gram(block, design):
    return block.gram(np.ones((1, block.n_rows)) * block.weight, design)


@pytest.mark.parametrize("keeps", [True, False])
def test_sums_maps_and_designs_are_those_in_memory(data, keeps):
    rows, ours = Rows(*data, training=True), partitions(data, keeps)[0]
    with dask.config.set(scheduler="synchronous"):
        design, other = rows.design(None), ours.design(None)
        assert_allclose(other.center, design.center, rtol=1e-10, atol=1e-14)
        assert_allclose(other.scale, design.scale, rtol=1e-10)
        for _ in range(2):  # the second time with what was kept
            sums = ours.reduce(lambda block: gram(block, other))
            assert_allclose(
                sums, rows.reduce(lambda block: gram(block, design)), rtol=1e-10, atol=1e-9
            )
        places = ours.map(lambda block: np.arange(block.start, block.stop))
        assert_array_equal(places, np.arange(N_ROWS))
        assert_array_equal(ours.weight, data[2])
        assert_array_equal(np.concatenate([block.X for block in ours.blocks()]), data[0])
    assert_array_equal(ours.head(10).X, data[0][:10])


def test_a_design_that_is_sent_again_finds_what_is_kept_of_it(data):
    ours, rows = partitions(data)
    with dask.config.set(scheduler="synchronous"):
        design = ours.design(None)
        for _ in range(3):
            ours.reduce(lambda block: gram(block, design))
    for each in rows:
        kept = [prepared.kept for prepared in each._prepared.values()]
        assert kept and all(len(designs) == 1 for designs in kept)


def test_a_partition_is_sent_without_what_it_keeps(data):
    ours, rows = partitions(data)
    with dask.config.set(scheduler="synchronous"):
        design = ours.design(None)
        before = ours.reduce(lambda block: gram(block, design))
        again = pickle.loads(pickle.dumps(rows[1]))
        assert not again._prepared and again.first == rows[1].first == CUTS[0]
        ours.partitions[1] = dask.delayed(again, traverse=False)
        assert_array_equal(ours.reduce(lambda block: gram(block, design)), before)
    assert rows[1].__sizeof__() >= 8 * rows[1].n_doubles + rows[1].X.nbytes


def test_items_are_added_in_a_tree_and_stay_as_they_are():
    items = [np.array([float(i)]) for i in range(20)]
    total = tree([dask.delayed(item, traverse=False) for item in items])
    assert total.compute(scheduler="synchronous") == sum(range(20))
    assert_array_equal(np.concatenate(items), np.arange(20.0))


def test_sketches_of_parts_add_up_to_that_of_all(data):
    X, y, weight = data
    X = np.round(X, 1)  # rows that occur several times
    whole = Sketch(500, 3)
    whole.add(Run(X, y.round(), weight))
    sketches = [Sketch(500, 3) for _ in range(4)]
    for sketch, ids in zip(
        sketches, np.array_split(np.arange(N_ROWS), [300, 400, 4000]), strict=True
    ):
        sketch.add(Run(X[ids], y[:, ids].round(), weight[ids]))
    total = Sketch(500, 3)
    for sketch in sketches:
        total += sketch
    assert total.whole is whole.whole is False
    assert_array_equal(total._hashes, whole._hashes)
    assert_array_equal(total.rows(False).X, whole.rows(False).X)
    assert_allclose(total.rows(False).weight, whole.rows(False).weight, rtol=1e-12)


def test_responsibilities_by_position_meet_their_rows(data):
    """An expert that is started again, and frozen routes, have a value for every row."""
    ours = partitions(data)[0]
    step = FixedStep(np.random.default_rng(1).random((2, N_ROWS)))
    with dask.config.set(scheduler="synchronous"):
        sums = ours.reduce(lambda block: step(block).resp @ block.X)
    assert_allclose(sums, (step.resp * data[2]) @ data[0], rtol=1e-9)
