"""A plug-in for pytest that records which tests run which lines of mixexp, and how long they take.

`check.py` loads it into one run of the tests without a fault. What runs in other processes, when a
module is imported, or in a fixture that an earlier test has set up, is not recorded with a test.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

#: The environment variable with the name of the file to write.
PLACE = "MUTANTS_RECORD"


class Record(NamedTuple):
    """The processor time of each test, and the numbers of the tests that run each line."""

    seconds: dict[str, float]
    lines: dict[str, dict[str, list[int]]]

    @classmethod
    def read(cls, file: Path) -> Record:
        """Return the record that a run has written."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def near(self, places: list[str]) -> list[str]:
        """Return the tests of some files or folders."""
        return [test for test in self.seconds if _within(test, places)]

    def running(self, path: str, lines: range, places: list[str]) -> list[str]:
        """Return those near that run one of some lines of a file, the fastest first."""
        tests, of_file = list(self.seconds), self.lines.get(path, {})
        numbers = {i for line in lines for i in of_file.get(str(line), ())}
        found = [tests[i] for i in sorted(numbers) if _within(tests[i], places)]
        return sorted(found, key=self.seconds.__getitem__)

    def time_of(self, tests: list[str]) -> float:
        """Return how long tests take together."""
        return sum(map(self.seconds.__getitem__, tests))


def _within(test: str, places: list[str]) -> bool:
    file = Path(test.partition("::")[0])
    return any(file.is_relative_to(place) for place in places)


class _Recorder:
    """Counts the lines that each test runs, by the contexts of coverage.py."""

    def __init__(self, root: Path, file: Path) -> None:
        from coverage import Coverage

        self.root, self.file = root, file
        self.seconds: dict[str, float] = {}
        self.coverage = Coverage(data_file=None, source=[str(root / "mixexp")], config_file=False)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - start
            self.coverage.switch_context("")

    def pytest_sessionfinish(self):
        self.coverage.stop()
        data = self.coverage.get_data()
        numbers = {test: i for i, test in enumerate(self.seconds)}
        lines = {}
        for name in data.measured_files():
            path = Path(name).relative_to(self.root).as_posix()
            lines[path] = {
                line: [numbers[test] for test in tests if test]
                for line, tests in data.contexts_by_lineno(name).items()
            }
        self.file.write_text(json.dumps({"seconds": self.seconds, "lines": lines}), "utf-8")


def pytest_configure(config):
    if PLACE in os.environ:
        config.pluginmanager.register(_Recorder(config.rootpath, Path(os.environ[PLACE])))
