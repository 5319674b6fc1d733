"""What `verbose` prints."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_ethanol
from mixexp.routing import Switch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEW = {"n_experts": 2, "n_init": 3, "random_state": 0}
LINE = re.compile(r"\[Mixture\w+\] (.*) \(\d+\.\d s\)")


@pytest.fixture(scope="module")
def data():
    return load_ethanol(return_X_y=True)


def lines_of(capsys):
    """Return what was printed, without class name and seconds."""
    text = capsys.readouterr().out.splitlines()
    found = [LINE.fullmatch(line) for line in text]
    assert all(found)
    return [match[1] for match in found]


def test_nothing_by_default(data, capsys):
    MixtureOfExpertsRegressor(**FEW).fit(*data)
    assert capsys.readouterr().out == ""


def test_a_line_a_start_and_the_bound_as_it_climbs(data, capsys):
    model = MixtureOfExpertsRegressor(**FEW, verbose=2, tol=0, max_iter=30).fit(*data)
    lines = lines_of(capsys)
    starts = [line for line in lines if line.startswith("start ")]
    assert [line.split(":")[0] for line in starts] == [f"start {i} of 3" for i in (1, 2, 3)]
    bounds = [float(line.split()[-1]) for line in lines if line.startswith("iteration ")]
    assert bounds == [float(f"{bound:.6g}") for bound in model.lower_bounds_]
    assert lines[-1] == f"ended after 30 iterations: bound {model.lower_bound_:.6g}"
    quiet = MixtureOfExpertsRegressor(**FEW, tol=0, max_iter=30).fit(*data)
    assert_array_equal(quiet.lower_bounds_, model.lower_bounds_)


def test_fewer_lines_the_longer_it_takes(data, capsys):
    X, y = data
    MixtureOfExpertsClassifier(**FEW, verbose=1, tol=0, max_iter=100).fit(X, y > np.median(y))
    lines = lines_of(capsys)
    numbers = [int(re.findall(r"\d+", line)[0]) for line in lines if line.startswith("iteration")]
    assert numbers[:3] == [1, 2, 3] and 8 <= len(numbers) <= 14


def test_costly_experts(data, capsys):
    tree = DecisionTreeRegressor(max_depth=2)
    MixtureOfExpertsRegressor(tree, **FEW, verbose=1, routing=Switch(), n_refits=2).fit(*data)
    assert lines_of(capsys)[-2:] == [f"experts fitted {i} of 2 times" for i in (1, 2)]
