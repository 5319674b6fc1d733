"""Run the benchmarks: ``python -m benchmarks`` from the root of the project.

Each script runs in a process of its own, with BLAS held to one thread, and can be run alone. What
it prints is shown; figures with a target are collected in one table at the end, in JSON, and in a
picture. Scripts that need reference cases or tables are left out where their folder is not given.
`--quick` leaves out what takes long whatever its size: less than five minutes on two cores.

Exit status 1 where a script failed. A missed target is no failure: it is in the table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # the scripts import each other from here

from _one_thread import VARIABLES  # noqa: E402
from _results import HEAD, read, table_of  # noqa: E402


@dataclass(frozen=True)
class Script:
    """A script of this folder.

    `quick` are its arguments under `--quick`, None where it is left out then. `needs` names the
    option whose folder it wants. `results` says whether it writes JSON, `pictures` whether it
    draws. `takes` names an option whose folder it uses where there is one.
    """

    name: str
    quick: tuple[str, ...] | None = None
    needs: str = ""
    results: bool = False
    pictures: bool = False
    takes: str = ""


SCRIPTS = (
    Script("engine", ("--quick",), results=True),
    Script("phases", ("--quick",), results=True, pictures=True),
    Script("growth", ("--quick",), results=True, pictures=True),
    Script("threads", ("--quick", "--rounds", "3"), results=True),
    Script("overheads", ("--quick",), results=True),
    Script("callbacks", ("--quick",), results=True),
    Script("finish", ("--fits", "8"), results=True, takes="data"),
    Script("wide", ("--only", "words")),
    Script("inference", ("--quick",), results=True),
    Script("online", ("--quick",), results=True),
    Script("large", ("--quick",), results=True),
    Script("accuracy", results=True, takes="data"),
    Script("cluster", ("--quick",), results=True),
    Script("starts_cost"),
    Script("starts"),
    Script("routing"),
    Script("robust", ("--seeds", "2")),
    Script("description", ("--seeds", "2")),
    Script("networks", ("--seeds", "2"), results=True),
    Script("planted_tree", ("--seeds", "3"), results=True),
    Script("shared"),
    Script("selection", ("--quick",), results=True, takes="data"),
    Script("bases", ("--sizes", "2"), takes="data"),
    Script("oracles", needs="oracles"),
    Script("real_data", needs="data"),
    Script("boosted", ("--quick",), results=True, takes="data"),
    Script("cross_fit", needs="data"),
    Script("cascade", needs="data"),
)


def chosen(options):
    """The scripts to run, and why others are left out."""
    run, left_out = [], []
    for script in SCRIPTS:
        if options.only and script.name not in options.only:
            continue
        if options.quick and script.quick is None and not options.only:
            left_out.append(f"{script.name} (--quick)")
        elif script.needs and getattr(options, script.needs) is None:
            left_out.append(f"{script.name} (--{script.needs} DIR)")
        else:
            run.append(script)
    return run, left_out


def command_of(script, options, results):
    """The command of a script, which writes its figures to the file `results`."""
    command = [sys.executable, str(FOLDER / f"{script.name}.py")]
    command += script.quick or () if options.quick else ()
    if script.needs:
        command += [f"--{script.needs}", str(getattr(options, script.needs))]
    if script.takes and getattr(options, script.takes) is not None:
        command += [f"--{script.takes}", str(getattr(options, script.takes))]
    if script.results:
        command += ["--json", str(results)]
    if script.pictures and options.pictures is not None:
        command += ["--pictures", str(options.pictures)]
    return command


def run(script, options):
    """Run a script, show what it prints, and return a record of it."""
    print(f"\n## {script.name}\n", flush=True)
    env = os.environ | dict.fromkeys(VARIABLES, "1")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        process = subprocess.Popen(
            command_of(script, options, results), env=env, stdout=subprocess.PIPE, text=True
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
        status = process.wait()
        found = read(results) if results.exists() else []
    return {
        "script": script.name,
        "seconds": time.perf_counter() - begin,
        "status": status,
        "results": found,
        "output": "".join(lines),
    }


def machine():
    """What the figures were measured on."""
    import joblib
    import numpy as np
    import sklearn

    import mixexp

    modules = {"numpy": np, "scikit-learn": sklearn, "mixexp": mixexp}
    return {
        "cores": joblib.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: module.__version__ for name, module in modules.items()},
    }


def draw(results, path):
    """Draw figures over their targets: on the left of the line they are met."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1 + 0.4 * len(results)), layout="tight")
    for i, result in enumerate(reversed(results)):
        ratios = [value / result.target for value in (result.figure, *result.values)]
        if result.at_least:
            ratios = [1 / ratio for ratio in ratios]
        middle, *ends = ratios
        color = {None: "0.6", True: "C0", False: "C3"}[result.met]
        axes.plot([min(ends), max(ends)], [i, i], "-", color=color)
        axes.plot(middle, i, "o", color=color)
    labels = [f"{r.id}  {r.what}  {r.size}".strip() for r in reversed(results)]
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.axvline(1, color="k", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("figure / target (at most 1 is met)")
    figure.savefig(path / "figures.png", dpi=120)


def parsed(arguments=None):
    names = [script.name for script in SCRIPTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, within five minutes")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--oracles", type=Path, help="folder with the cases of reference fits")
    parser.add_argument("--data", type=Path, help="folder with the tables")
    parser.add_argument("--json", type=Path, help="file for figures and output")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parsed(arguments)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    scripts, left_out = chosen(options)
    about = machine()
    records = [run(script, options) for script in scripts]
    results = [result for record in records for result in record["results"]]
    judged = [result for result in results if result.target is not None]
    print(f"\n## All figures with a target\n\n{table_of(judged) if judged else HEAD}\n")
    for record in records:
        print(f"- {record['script']}: {record['seconds']:.0f} s, exit status {record['status']}")
    for words in left_out:
        print(f"- left out: {words}")
    if options.json is not None:
        plain = [
            record | {"results": [asdict(result) for result in record["results"]]}
            for record in records
        ]
        options.json.write_text(json.dumps({"machine": about, "scripts": plain}, indent=1))
    if options.pictures is not None and judged:
        draw(judged, options.pictures)
    return int(any(record["status"] for record in records))


if __name__ == "__main__":
    raise SystemExit(main())
