"""Look at many drawn cases, in processes, and print counts per option and every fault.

    python tests/properties/many_cases.py --n 10000 --jobs 2

Chunks of 100 cases are drawn from a seed each; the exit status is 1 where one has a fault, where
fewer than `--n` cases were done in time, or fewer than half of them had two experts or more, 50
rows or more, and converged.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import numpy as np
from _draws import OF_CLASSES, OF_NUMBERS, OPTIONS, build, drawn_picks
from _looks import faults_of
from threadpoolctl import threadpool_limits

#: Cases of a chunk.
CHUNK = 100

#: Characters at the start of a message by which faults are taken for one kind.
KIND = 20

#: A case that takes more than this many seconds of processor time is told. Time by the clock would
#: also tell of cases that waited for others.
LONG = 20.0


def looked_at(chosen: dict, counts: Counter) -> list[str]:
    """Return the faults of a case, whatever is raised."""
    try:
        return faults_of(build(chosen), counts)
    except Exception:
        return [traceback.format_exc(limit=-4)]


def kind_of(faults: list[str]) -> str:
    """Return the beginning of the first fault, or the end of its traceback."""
    return faults[0].strip().splitlines()[-1][:KIND]


def minimal(chosen: dict, faults: list[str]) -> dict:
    """Return simpler options with the same kind of fault: one by one set to their first value."""
    for name, values in {**OPTIONS, **OF_NUMBERS, **OF_CLASSES, "n": [20], "d": [1]}.items():
        if name not in chosen or name == "kind":
            continue
        trial = {**chosen, name: next(iter(values))}
        found = looked_at(trial, Counter()) if trial != chosen else []
        if found and kind_of(found) == kind_of(faults):
            chosen = trial
    return chosen


def chunk(number: int) -> tuple[Counter, list[str], float]:
    """Return counts and faults of the cases of a seed, and the seconds of processor time."""
    counts: Counter = Counter()
    found: list[str] = []
    spent = 0.0

    rng = np.random.default_rng(number)
    with threadpool_limits(1):
        for _ in range(CHUNK):
            chosen = drawn_picks(rng)
            began = time.process_time()
            faults = looked_at(chosen, counts)
            seconds = time.process_time() - began
            spent += seconds
            if seconds > LONG:
                faults = [*faults, f"took {seconds:.0f} s"]
            elif faults:
                chosen = minimal(chosen, faults)
            counts.update(["cases"])
            found.extend(f"{chosen}\n    {fault}" for fault in faults)
    return counts, found, spent


def main() -> int:
    """Run, print, and return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first chunk")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=44.0, help="begin no chunk after this")
    options = parser.parse_args()
    began, n_faults, spent, counts = time.monotonic(), 0, 0.0, Counter()
    chunks = range(options.first, options.first - (-options.n // CHUNK))
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(chunk, number) for number in chunks]
        for done in as_completed(waiting):
            if done.cancelled():
                continue
            own, found, seconds = done.result()
            counts += own
            spent += seconds
            n_faults += len(found)
            print("\n".join(found), end="\n" * bool(found), flush=True)
            if time.monotonic() - began > 60 * options.minutes:
                for later in waiting:
                    later.cancel()
    for option, count in sorted(counts.items()):
        print(f"{count:6d}  {option}")
    of_size = counts["converged, K >= 2, n >= 50"]
    print(f"{counts['cases']} cases, {of_size} of size and converged, {n_faults} faults")
    print(f"{spent:.0f} s of processor time")
    short = counts["cases"] < options.n or 2 * of_size < counts["cases"]
    return 1 if n_faults or short else 0


if __name__ == "__main__":
    raise SystemExit(main())
