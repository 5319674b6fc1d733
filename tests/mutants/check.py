"""Put small faults into copies of mixexp, one at a time, and see whether the tests near them fail.

    python tests/mutants/check.py --jobs 2

The exit status is 1 where the tests find less than 95 % of the faults, 2 where they fail without
one. The checkout is only read.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _mutations import Mutant, drawn, mutants_within

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Files or folders that are changed, and the tests near them, the likeliest to fail first.
NEAR = {
    "mixexp/_numerics.py": (
        "tests/test_numerics.py tests/engine/test_newton_steps.py "
        "tests/estimators/test_far_queries.py tests/rows/test_blocks.py tests/gates/test_gates.py"
    ),
    "mixexp/_newton.py": (
        "tests/engine/test_newton_steps.py tests/test_numerics.py tests/gates/test_gates.py "
        "tests/engine/test_quasi_newton.py"
    ),
    "mixexp/gates": "tests/gates tests/estimators/test_noise.py",
    "mixexp/families": "tests/families tests/test_distribution_methods.py",
    "mixexp/routing": "tests/routing",
    "mixexp/_engine": "tests/engine tests/estimators/test_fit_blocks.py tests/inference",
    "mixexp/inference": "tests/inference",
}

#: The share of faults that the tests shall find.
LEAST_SHARE = 0.95

#: Tests may take so many times as long as without a fault, and so many seconds more: machines are
#: not alike, and some faults make a loop endless.
TIMES, MORE = 3.0, 60.0

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


def run_tests(copy: Path, paths: str, seconds: float | None, *, write: bool) -> int | None:
    """Return pytest's exit code in a copy of the tree, or None if it took too long.

    Compiled files are written only by the run without a fault: they are of the true sources.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *paths.split()]
    env = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    env |= {} if write else {"PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command,
        cwd=copy,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as tests:
        try:
            return tests.wait(seconds)
        except BaseException as error:
            os.killpg(tests.pid, signal.SIGKILL)  # with the processes that the tests began
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return None


def verdict(mutant: Mutant, copy: Path, seconds: float) -> str:
    """Return "killed", "timeout" or "survived", after the tests near a mutant."""
    file = copy / mutant.path
    file.write_bytes(mutant.apply(file.read_bytes()))
    try:
        code = run_tests(copy, NEAR[group_of(mutant)], seconds, write=False)
    finally:
        shutil.copy2(ROOT / mutant.path, file)
    if code is None:
        return "timeout"
    return "survived" if code == 0 else "killed"


def time_limits(groups: set[str], copy: Path) -> dict[str, float]:
    """Return the time limit of the tests of each group; end where they fail without a fault."""
    limits = {}
    for group in sorted(groups):
        start = time.monotonic()
        if run_tests(copy, NEAR[group], None, write=True) != 0:
            print(f"the tests of {group} fail without a fault: {NEAR[group]}")
            raise SystemExit(2)
        taken = time.monotonic() - start
        print(f"{group}: {taken:.0f} s without a fault", flush=True)
        limits[group] = TIMES * taken + MORE
    return limits


def check(mutants: list[Mutant], jobs: int) -> Counter[str]:
    """Print what comes of each mutant, and return how many came to each end."""
    free: queue.Queue[Path] = queue.Queue()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for _ in range(jobs):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))
            free.put(Path(shutil.copytree(ROOT, Path(folder) / "copy", ignore=LEFT_OUT)))
        first = free.get()
        limits = time_limits({group_of(mutant) for mutant in mutants}, first)
        free.put(first)

        def one(mutant: Mutant) -> None:
            copy, start = free.get(), time.monotonic()
            try:
                end = verdict(mutant, copy, limits[group_of(mutant)])
            finally:
                free.put(copy)
            counts[end] += 1
            taken = time.monotonic() - start
            print(f"{end} ({taken:.0f} s) line {mutant.line} of {mutant.change}", flush=True)

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
