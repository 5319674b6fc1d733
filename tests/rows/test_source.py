"""Runs of rows: cut anew, their fingerprint, and their sketch."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mixexp._rows.rows import Rows
from mixexp._rows.sketch import row_hashes, sketch
from mixexp._rows.source import Fingerprint, Run, recut
from mixexp._rows.streamed import Sketch, StreamedRows, Survey

CUTS = [[], [1, 2, 50], [10, 20, 30, 40], [99]]


def runs_of(X, y, weight, cuts):
    ends = [0, *cuts, X.shape[0]]
    for start, stop in zip(ends[:-1], ends[1:], strict=True):
        of_weight = None if weight is None else weight[start:stop]
        yield Run(X[start:stop], y[..., start:stop], of_weight)


@pytest.fixture
def data(rng):
    X = rng.integers(0, 4, (100, 3)).astype(float)
    return X, rng.integers(0, 2, (2, 100)).astype(float), rng.integers(1, 4, 100).astype(float)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_runs_are_cut_alike_wherever_they_end(data, cuts, size):
    X, y, weight = data
    for kind in (np.asarray, sp.csr_array):
        found = list(recut(runs_of(kind(X), y, weight, cuts), size))
        assert [run.X.shape[0] for run in found[:-1]] == [size] * (len(found) - 1)
        dense = [run.X.toarray() if sp.issparse(run.X) else run.X for run in found]
        assert_array_equal(np.concatenate(dense), X)
        assert_array_equal(np.concatenate([run.y for run in found], axis=1), y)
        assert_array_equal(np.concatenate([run.weight for run in found]), weight)


def fingerprint(X, y, weight, cuts):
    print_ = Fingerprint()
    for run in runs_of(X, y, weight, cuts):
        print_.add(X=run.X, y=run.y, weight=run.weight)
    return print_


def test_a_fingerprint_depends_on_values_and_order_only(data):
    X, y, weight = data
    texts = np.array(["a", "bbb"], dtype=object)[y[0].astype(int)]
    for kind in (np.asarray, sp.csr_array, np.asfortranarray):
        for labels in (y[0], texts, texts.astype(str)):
            first = fingerprint(kind(X), labels, weight, [])
            for cuts in CUTS[1:]:
                assert fingerprint(kind(X), labels, weight, cuts) == first
            changed, order = X.copy(), np.roll(np.arange(100), 1)
            changed[57, 1] += 1
            for other in (
                (kind(changed), labels),
                (kind(X), labels[order]),
                (kind(X[order]), labels),
            ):
                assert fingerprint(*other, weight, []) != first
            assert fingerprint(kind(X), labels, weight[order], []) != first
            assert fingerprint(kind(X), labels, None, []) != first


def test_texts_of_a_fingerprint_do_not_run_into_each_other():
    one, two = Fingerprint(), Fingerprint()
    one.add(y=np.array(["ab", "c"]))
    two.add(y=np.array(["a", "bc"]))
    assert one != two


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("size", [5, 40, 1000])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_sketch_of_runs_is_that_of_all_rows(data, cuts, size, weighted):
    X, y, weight = data
    weight = weight if weighted else None
    for kind in (np.asarray, sp.csr_array):
        found = Sketch(size, 3)
        for run in runs_of(kind(X), y, weight, cuts):
            found.add(run)
        rows = found.rows(missing=False)
        ids, merged, codes = sketch(row_hashes(X, y, 3), weight, size)
        dense = rows.X.toarray() if sp.issparse(rows.X) else rows.X
        assert_array_equal(dense, X[ids])
        assert_array_equal(rows.y, y[:, ids])
        assert_allclose(np.ones(len(ids)) if rows.weight is None else rows.weight, merged)
        assert found.whole == (codes is not None)


@pytest.mark.parametrize("weighted", [True, False])
def test_streamed_rows_are_those_in_memory(data, weighted, monkeypatch):
    monkeypatch.setattr("mixexp._rows.rows.BLOCK_ROWS", 64)
    X, y, weight = data
    weight = weight if weighted else None

    class Source:
        def runs(self):
            return runs_of(X, y, weight, [30, 31])

    rows = Rows(X, y, weight, training=True)
    survey = Survey(
        100, 3, rows.total_weight, rows.extremes, rows.mean_target, False, False, weighted, 0
    )
    streamed = StreamedRows(Source(), survey)
    for ours, theirs in zip(streamed.blocks(), rows.blocks(), strict=True):
        assert (ours.start, ours.stop) == (theirs.start, theirs.stop)
        assert_array_equal(ours.X, theirs.X)
        assert_array_equal(ours.y, theirs.y)
        assert not ours.X.flags.writeable and not ours.y.flags.writeable
    design, other = streamed.design(None), rows.design(None)
    assert_array_equal(design.center, other.center)
    assert_array_equal(design.scale, other.scale)
    assert_array_equal(streamed.head(10).X, X[:10])
    if weighted:
        assert_array_equal(streamed.weight, weight)
    else:
        assert streamed.weight is None


@pytest.mark.parametrize(("size", "whole"), [(9, False), (10, True), (11, True)])
def test_a_sketch_is_whole_unless_a_distinct_row_is_left_out(rng, size, whole):
    X = rng.standard_normal((10, 2))
    sketch = Sketch(size, 0)
    for _ in range(2):  # equal rows take no room
        sketch.add(Run(X, X[:, 0][None], None))
    assert sketch.whole is whole
