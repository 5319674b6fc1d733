"""What tells fits apart: the same text for the same data and parameters, another for others."""

import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from mixexp._columns import as_numbers
from mixexp._estimators.assembly import FitArguments
from mixexp._estimators.identity import data_identity, described

N = 4


def identity(X=None, y=None, classes=None, weight=None, groups=None, offset=None, **more):
    """Return the identity of data of which only what is given differs from the usual."""
    table = as_numbers(pd.DataFrame({"text": ["u", "v", "u", "v"]}) if X is None else X)
    y = np.zeros(N) if y is None else y
    labels, params = more.get("labels"), more.get("params", {})
    arguments = FitArguments(weight, groups, offset, labels, params, table)
    return data_identity(np.asarray(table.X), y, arguments, SimpleNamespace(classes=classes))


OTHER = {
    "X": {"X": np.zeros((N, 1))},
    "a label of X": {"X": pd.DataFrame({"text": ["u", "w", "u", "w"]})},
    "dtype of X": {"X": np.zeros((N, 1), dtype=np.float32)},
    "y": {"y": np.arange(N)},
    "classes": {"classes": np.array(["a", "b"])},
    "weight": {"weight": np.ones(N)},
    "groups": {"groups": np.ones(N)},
    "offset": {"offset": np.ones(N)},
    "labels": {"labels": np.ones(N)},
    "a parameter of the experts' fit": {"params": {"weight": np.ones(N)}},
}


def test_all_data_of_a_fit_are_told_apart():
    found = [identity(), *(identity(**other) for other in OTHER.values())]
    assert len(set(found)) == len(found)
    assert found == [identity(), *(identity(**other) for other in OTHER.values())]


def one(x):
    return x + 1


def changed(x):
    return x - 1


changed.__qualname__ = one.__qualname__


def closure(a):
    return lambda x: x + a


PAIRS = {
    "arrays": (np.arange(2000), np.arange(2000) + (np.arange(2000) == 1000)),
    "dtypes": (np.arange(3), np.arange(3.0)),
    "sparse": (sp.csr_array(np.eye(2)), sp.csr_array(2 * np.eye(2))),
    "functions": (one, changed),
    "numbers in functions": (lambda x: x.clip(1), lambda x: x.clip(2)),
    "names in functions": (lambda x: x.min(), lambda x: x.max()),
    "defaults of functions": (lambda x, a=1: x, lambda x, a=2: x),
    "what functions close over": (closure(1), closure(2)),
    "partial": (partial(np.clip, a_min=0), partial(np.clip, a_min=1)),
    "estimators": (Ridge(), Ridge(alpha=2.0)),
    "what they learnt": (Ridge(), Ridge().fit([[0.0], [1.0]], [0.0, 1.0])),
    "in a list": ([Ridge()], [Ridge(alpha=2.0)]),
    "in a dict": ({"a": np.zeros(2)}, {"a": np.ones(2)}),
    "a list and a tuple": ([1], (1,)),
    "objects": (SimpleNamespace(a=1), SimpleNamespace(a=2)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_values_are_told_apart_by_their_content(pair):
    first, second = map(described, pair)
    assert first != second and first == described(pair[0])


def test_functions_that_hold_what_holds_them_are_told_apart_by_their_code():
    class Holder:
        def make(self, sign):
            self.function = (lambda x: x + self.a) if sign > 0 else (lambda x: x - self.a)
            return self.function

    plus, minus = Holder().make(1), Holder().make(-1)
    assert described(plus) == described(plus) != described(minus)


def test_sets_are_described_alike_in_every_process():
    code = (
        "from mixexp._estimators.identity import described\n"
        "print(described([{'u', 'v', 'w'}, lambda x: x in {'a', 'b', 'c', 'd'}]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in "0123"
    }
    assert len(found) == 1
