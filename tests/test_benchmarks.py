"""The benchmarks that others run: asv's classes at tiny sizes, the runner, records of figures."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an installed copy has no benchmarks")


def load(path, monkeypatch):
    """Return a script of the folder as a module."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def timed_methods(suite):
    """Yield class, parameters and name of everything that asv would run."""
    for name, cls in vars(suite).items():
        if isinstance(cls, type) and not name.startswith("_") and cls.__module__ == suite.__name__:
            for method in dir(cls):
                if method.startswith(("time_", "peakmem_")):
                    for params in [(p,) for p in getattr(cls, "params", [])] or [()]:
                        yield cls, params, method


def test_each_class_of_asv_runs(monkeypatch, untouched):
    suite = load(FOLDER / "asv" / "suite.py", monkeypatch)
    monkeypatch.setattr(suite._OneThread, "n_rows", 200)
    monkeypatch.setattr(suite.DefaultFits, "n_rows", 200)
    run = list(timed_methods(suite))
    assert len(run) >= 15
    for cls, params, method in run:
        benchmark = cls()
        benchmark.setup(*params)
        try:
            getattr(benchmark, method)(*params)
        finally:
            benchmark.teardown(*params)


def test_the_runner_knows_every_script(monkeypatch):
    runner = load(FOLDER / "__main__.py", monkeypatch)
    scripts = {path.stem for path in FOLDER.glob("[a-z]*.py")}
    assert {script.name for script in runner.SCRIPTS} == scripts - {"same_results"}


def test_what_the_runner_leaves_out(monkeypatch, tmp_path):
    runner = load(FOLDER / "__main__.py", monkeypatch)

    def names(*arguments):
        run, left_out = runner.chosen(runner.parsed(arguments))
        assert len(run) + len(left_out) in (len(runner.SCRIPTS), 1)
        return [script.name for script in run]

    assert "oracles" not in names() and "real_data" not in names()
    assert "oracles" in names("--oracles", str(tmp_path))
    assert "real_data" in names("--data", str(tmp_path))
    assert names("--only", "starts") == names("--only", "starts", "--quick") == ["starts"]
    assert set(names("--quick")) < set(names())


def test_a_command_of_the_runner(monkeypatch, tmp_path):
    runner = load(FOLDER / "__main__.py", monkeypatch)
    options = runner.parsed(["--quick", "--pictures", str(tmp_path)])
    script = runner.Script("growth", ("--quick",), results=True, pictures=True)
    command = runner.command_of(script, options, tmp_path / "found.json")
    assert command[1] == str(FOLDER / "growth.py")
    assert command[2:] == [
        *("--quick", "--json", str(tmp_path / "found.json")),
        *("--pictures", str(tmp_path)),
    ]


@pytest.mark.parametrize(
    ("values", "at_least", "doubt", "met"),
    [
        ([0.9, 1.0, 3.0], False, "", True),
        ([0.9, 1.1, 3.0], False, "", False),
        ([0.9, 1.1, 3.0], True, "", True),
        ([0.9, 0.95, 3.0], True, "", False),
        ([0.1], False, "busy", None),
    ],
)
def test_a_result_meets_its_target_by_its_median(monkeypatch, values, at_least, doubt, met):
    results = load(FOLDER / "_results.py", monkeypatch)
    assert results.Result("P", "ratio", "", values, 1.0, at_least, doubt).met is met
    assert results.Result("P", "ratio", "", values).met is None


def test_results_come_back_from_their_file(monkeypatch, tmp_path, capsys):
    results = load(FOLDER / "_results.py", monkeypatch)
    found = [results.Result("P1", "own / other", "(1e5, 2, 3)", [1.0, 2.0, 1.5], 1.25)]
    results.publish(found, tmp_path / "found.json")
    assert results.read(tmp_path / "found.json") == found
    assert (
        "| P1 | own / other | (1e5, 2, 3) | ≤ 1.25 | 1.5 [1, 2] | no |" in capsys.readouterr().out
    )


def test_scripts_name_what_mixexp_has(monkeypatch):
    """They use inner functions, which move: an import fails, and so does a clock on one."""
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        if path.stem != "networks":  # needs torch
            load(path, monkeypatch)
    phases = load(FOLDER / "phases.py", monkeypatch)
    for clocked in phases.PHASES.values():
        assert all(callable(getattr(owner, name)) for owner, name in clocked)
