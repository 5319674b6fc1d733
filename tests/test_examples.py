"""Examples run, and find what they say they find."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs an example without windows: its names, and how many figures."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    def run(name):
        monkeypatch.setattr(pyplot, "show", lambda: None)
        return runpy.run_path(str(EXAMPLES / name)), len(pyplot.get_fignums())

    yield run
    pyplot.close("all")


def test_hierarchy_finds_the_planted_tree(run, capsys):
    names, n_figures = run("plot_hierarchy.py")
    assert n_figures == 2
    assert "  0: 0.1 where " in capsys.readouterr().out
    taken = np.array(
        [
            np.bincount(names["experts"][[path == leaf for path in names["paths"]]], minlength=4)
            for leaf in names["LINES"]
        ]
    )
    assert taken.max(axis=1).sum() > 0.98 * taken.sum()
    own = taken.argmax(axis=1)
    assert sorted(own) == [0, 1, 2, 3]
    # Siblings are siblings: the first border is the one at the root.
    assert {*own[:2]} in ({0, 1}, {2, 3})
    truth = np.array(names["BOUNDARIES"][()])
    found = np.diff(names["model"].gate_.coef_[()], axis=0)[0]
    cosine = found @ truth[1:] / np.linalg.norm(found) / np.linalg.norm(truth[1:])
    assert abs(cosine) > 0.99
