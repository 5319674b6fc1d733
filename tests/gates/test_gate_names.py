"""Names of features stand in a gate's words so that they can be told from the words."""

import numpy as np
import pandas as pd
import pytest

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate
from mixexp.gates._text import readable


@pytest.mark.parametrize(
    "name",
    ["width", "b_c", "kg/m^3", "two words", "x-y", "weiß", "$x$", "a>b", "1st", "C++", "T (°C)"],
)
def test_ordinary_names_stand_as_they_are(name):
    assert readable(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "2",
        "-1.5",
        "1e-3",
        ".5",
        "a + b",
        "a - b",
        "a < 3",
        "-x",
        "> 3",
        " a",
        "a ",
        "a\nb",
    ],
)
def test_names_that_would_be_misread_are_quoted(name):
    assert readable(name) == repr(name)
    assert "\n" not in readable(name)


@pytest.fixture(scope="module")
def gate():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    gate = HierarchicalGate((2,), alpha=0.3)
    return MixtureOfExpertsRegressor(n_experts=2, gate=gate, n_init=1).fit(X, abs(X[:, 0])).gate_


def test_text_has_one_line_a_node_whatever_the_names(gate):
    text = gate.to_text(["a\nb", "3"])
    assert len(text.splitlines()) == 3
    assert r"'a\nb'" in text and " '3'" in text
    assert gate.to_text([0, "b"]).splitlines()[0].count("'0'") == 1
    assert gate.to_text(pd.Index(["a", "b"])) == gate.to_text(np.array(["a", "b"]))
    assert gate.to_text(name for name in "ab") == gate.to_text(["a", "b"])


@pytest.mark.parametrize(
    "names",
    [{"a", "b"}, {"a": 1, "b": 2}, "ab", 2, np.array("ab"), [["a", "b"], ["c", "d"]], ["a"]],
)
def test_names_that_are_no_list_of_names(gate, names):
    with pytest.raises(ValueError, match=r"^HierarchicalGate: feature_names=.* not a list of 2"):
        gate.to_text(names)
