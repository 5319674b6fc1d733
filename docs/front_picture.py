"""Draw the picture of the front page: ``python docs/front_picture.py``.

It is the one of ``examples/plot_inverse_problem.py``, which this script runs.
"""

import runpy
from pathlib import Path

import matplotlib

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "plot_inverse_problem.py"


def main():
    """Run the example without windows, and save its figure in docs/_static."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runpy.run_path(str(EXAMPLE))
    pyplot.savefig(HERE / "_static" / "inverse_problem.png", dpi=100)


if __name__ == "__main__":
    main()
