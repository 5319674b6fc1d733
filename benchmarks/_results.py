"""Results of benchmarks: one record a figure, tables of them, JSON for `python -m benchmarks`."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

HEAD = "| figure | what | size | target | median [min, max] | met |\n|---|---|---|---|---|---|"


@dataclass
class Result:
    """A figure, measured in several rounds.

    `values` has one entry a round. `target` is None where there is none; the median meets it if it
    is no larger, or, with `at_least`, no smaller. `doubt` says why the figure does not count here.
    """

    id: str
    what: str
    size: str
    values: list[float]
    target: float | None = None
    at_least: bool = False
    doubt: str = ""
    figure: float = field(init=False)

    def __post_init__(self):
        self.values = [float(value) for value in np.atleast_1d(self.values)]
        self.figure = float(np.median(self.values))

    @property
    def met(self):
        """Whether the target is met; None where there is none, or the figure does not count."""
        if self.target is None or self.doubt:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    @property
    def row(self):
        """The row of a table."""
        target = "" if self.target is None else f"{'≥' if self.at_least else '≤'} {self.target:.3g}"
        figure = f"{self.figure:.3g} [{min(self.values):.3g}, {max(self.values):.3g}]"
        verdict = self.doubt or {None: "", True: "yes", False: "no"}[self.met]
        return f"| {self.id} | {self.what} | {self.size} | {target} | {figure} | {verdict} |"


def add_json(parser):
    """Add the option `--json` to a script."""
    parser.add_argument("--json", type=Path, help="file to which results are written")


def table_of(results):
    """The results as a table."""
    return "\n".join([HEAD, *(result.row for result in results)])


def publish(results, path=None):
    """Print a table of the results; write them to a file if there is a path."""
    print(f"\n{table_of(results)}", flush=True)
    if path is not None:
        path.write_text(json.dumps([asdict(result) for result in results], indent=1))


def read(path):
    """Results from a file that `publish` wrote."""
    records = json.loads(path.read_text())
    return [Result(**{k: v for k, v in record.items() if k != "figure"}) for record in records]


def name_of(n, d, k):
    """A size as a short text."""
    return f"({n:.0e}, {d}, {k})".replace("e+0", "e")
