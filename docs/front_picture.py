"""Draw the pictures that pages show: ``python docs/front_picture.py``.

That of the front page is the one of ``examples/plot_inverse_problem.py``; that of ``docs/start.md``
is what the code of that page draws. Both are run here.
"""

import re
import runpy
from pathlib import Path

import matplotlib

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "plot_inverse_problem.py"

#: A block of Python on a page.
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def save(figure, name):
    """Save a figure in docs/_static."""
    figure.savefig(HERE / "_static" / name, dpi=100)


def main():
    """Run the example and the page without windows, and save their figures."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runpy.run_path(str(EXAMPLE))
    save(pyplot.gcf(), "inverse_problem.png")

    names = {}
    for code in BLOCK.findall((HERE / "start.md").read_text(encoding="utf-8")):
        exec(code, names)
        if "display" in names:
            break
    save(names["display"].figure_, "start_regions.png")


if __name__ == "__main__":
    main()
