"""The list of costly cases names tests that exist, and leaves a case of each in every run."""

import ast
from pathlib import Path

HERE = Path(__file__).parent
LINES = [
    line
    for line in (HERE / "slow_cases.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_listed_cases_are_of_tests_with_several_cases():
    assert sorted(set(LINES)) == LINES
    assert all("[" in line for line in LINES)
    names = {tuple(line.partition("[")[0].split("::")) for line in LINES}
    for file in {file for file, _ in names}:
        tree = ast.parse((HERE.parent / file).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {function for of, function in names if of == file} <= found, file


def test_test_files_have_names_of_their_own():
    """Pytest imports them by their names alone."""
    names = [path.name for path in HERE.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
