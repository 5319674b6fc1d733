"""Put small faults into copies of mixexp, one at a time, and see whether the tests near them fail.

    python tests/mutants/check.py --jobs 2

The exit status is 1 where the tests find less than 95 % of the faults, 2 where they fail without
one. The checkout is only read.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from math import ceil
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _mutations import Mutant, drawn, mutants_within
from _record import PLACE, Record

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Files or folders that are changed, and the tests near them.
NEAR = {
    "mixexp/_numerics.py": (
        "tests/test_numerics.py tests/engine/test_newton_steps.py "
        "tests/estimators/test_far_queries.py tests/rows/test_blocks.py tests/gates/test_gates.py"
    ),
    "mixexp/_newton.py": (
        "tests/engine/test_newton_steps.py tests/test_numerics.py tests/gates/test_gates.py "
        "tests/engine/test_quasi_newton.py tests/engine/test_online.py"
    ),
    "mixexp/gates": (
        "tests/gates tests/estimators/test_noise.py tests/engine/test_information.py "
        "tests/engine/test_tuning.py tests/routing/test_routes.py "
        "tests/routing/test_work_left_out.py"
    ),
    "mixexp/families": (
        "tests/families tests/test_distribution_methods.py tests/engine/test_information.py"
    ),
    "mixexp/routing": "tests/routing",
    "mixexp/_engine": (
        "tests/engine tests/estimators/test_fit_blocks.py tests/inference tests/selection "
        "tests/gates/test_hierarchical_gate.py tests/routing/test_routed_training.py"
    ),
    "mixexp/inference": "tests/inference",
    "mixexp/_drawn.py": "tests/inference",
}

#: The share of faults that the tests shall find.
LEAST_SHARE = 0.95

#: Tests may take so many times the processor time that they take without a fault, and so many
#: seconds more, as some faults make a loop endless; and as many times that by the clock, as some
#: make a test wait. A busy machine is slow by the clock, and would be taken for a fault.
TIMES, MORE, WAITS = 3.0, 60.0, 10.0

#: Pytest's exit code where tests failed (not where they cannot be collected), and how it names one.
TESTS_FAILED, FAILED = 1, re.compile(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - |$)", re.MULTILINE)

#: The exit codes of a process that used more processor time than its limit.
OVER_LIMIT = {-signal.SIGXCPU, -signal.SIGKILL}

LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "_build",
    "auto_examples",
    "__pycache__",
    "*_cache",
    "*.egg-info",
)


def known_equivalents(text: str) -> dict[str, str]:
    """Return reasons by change, from lines of `equivalent.txt`."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = (line.rpartition("  # ") for line in lines)
    return {change: reason for change, _, reason in pairs}


def group_of(mutant: Mutant) -> str:
    """Return the key of `NEAR` for a mutant."""
    return next(place for place in NEAR if mutant.path.startswith(place))


def near(mutant: Mutant) -> list[str]:
    """Return the files and folders of the tests near a mutant."""
    return NEAR[group_of(mutant)].split()


def run_tests(
    copy: Path, tests: list[str], seconds: float | None, record: Path | None = None
) -> tuple[int | None, str]:
    """Return pytest's exit code in a copy of the tree, None if it took too long, and its output.

    `seconds` is the limit of processor time. Only the run without a fault makes a record, and
    writes compiled files: they are of the true sources.
    """
    options = "-m pytest -x -q -p no:cacheprovider -p _record"
    command = [sys.executable, *options.split(), *tests]
    paths = os.pathsep.join([str(copy), str(copy / "tests" / "mutants")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"} if record is None else {PLACE: str(record)}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
        subprocess.Popen(
            command,
            cwd=copy,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as run,
    ):
        try:
            if seconds is not None:
                resource.prlimit(run.pid, resource.RLIMIT_CPU, (ceil(seconds), ceil(seconds) + 5))
            code = run.wait(None if seconds is None else WAITS * seconds)
        except BaseException as error:
            os.killpg(run.pid, signal.SIGKILL)  # with the processes that the tests began
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return None, ""
        output.seek(0)
        return None if code in OVER_LIMIT else code, output.read()


def verdict(mutant: Mutant, copy: Path, record: Record) -> tuple[str, str]:
    """Return "killed", "timeout" or "survived", and the test that failed.

    The tests that run the changed lines come first, the fastest of them before the others. If all
    of them pass, or cannot be collected, all tests near are run.
    """
    file = copy / mutant.path
    file.write_bytes(mutant.apply(file.read_bytes()))
    places = near(mutant)
    running = record.running(mutant.path, mutant.lines, places)
    code: int | None = None
    output = ""
    try:
        for tests, taken in (
            (running, record.time_of(running)),
            (places, record.time_of(record.near(places))),
        ):
            if tests:
                code, output = run_tests(copy, tests, TIMES * taken + MORE)
            if tests and code in (None, TESTS_FAILED):
                break
    finally:
        shutil.copy2(ROOT / mutant.path, file)
    if code is None:
        return "timeout", ""
    failed = FAILED.search(output)
    return "survived" if code == 0 else "killed", failed[1] if failed else ""


def recorded(mutants: list[Mutant], copy: Path) -> Record:
    """Return the record of the tests near mutants; end where they fail without a fault."""
    start = time.monotonic()
    tests = sorted({place for mutant in mutants for place in near(mutant)})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "record.json"
        code, output = run_tests(copy, tests, None, file)
        if code != 0:
            print(output[-5000:], f"the tests fail without a fault: {tests}", sep="\n")
            raise SystemExit(2)
        record = Record.read(file)
    taken = time.monotonic() - start
    print(f"{len(record.seconds)} tests, {taken:.0f} s without a fault", flush=True)
    return record


def check(mutants: list[Mutant], jobs: int) -> Counter[str]:
    """Print what comes of each mutant, and return how many came to each end."""
    free: queue.Queue[Path] = queue.Queue()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for _ in range(jobs):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))
            free.put(Path(shutil.copytree(ROOT, Path(folder) / "copy", ignore=LEFT_OUT)))
        first = free.get()
        record = recorded(mutants, first)
        free.put(first)

        def one(mutant: Mutant) -> None:
            copy, start = free.get(), time.monotonic()
            try:
                end, test = verdict(mutant, copy, record)
            finally:
                free.put(copy)
            counts[end] += 1
            taken = time.monotonic() - start
            by = f", by {test}" if test else ""
            print(f"{end} ({taken:.0f} s) line {mutant.line} of {mutant.change}{by}", flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, mutants))
    return counts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=120, help="mutants to draw")
    parser.add_argument("--first", type=int, help="run only as many of those drawn")
    parser.add_argument("--skip", type=int, default=0, help="leave out as many before")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    if not (asked.list or find_spec("coverage")):
        raise SystemExit("check.py needs coverage, to see which tests run a line: install it")
    known = known_equivalents((HERE / "equivalent.txt").read_text(encoding="utf-8"))
    groups = [mutants_within(ROOT, [place]) for place in NEAR]
    groups = [[mutant for mutant in group if mutant.change not in known] for group in groups]
    chosen = drawn(groups, asked.n, asked.seed)[asked.skip :][: asked.first]
    if asked.list:
        print(*(f"line {mutant.line} of {mutant.change}" for mutant in chosen), sep="\n")
        return 0
    counts = check(chosen, asked.jobs)
    found = counts.total() - counts["survived"]
    print(f"{found} of {counts.total()} faults found; {dict(counts)}")
    return int(found < LEAST_SHARE * counts.total())


if __name__ == "__main__":
    sys.exit(main())
