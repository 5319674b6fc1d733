"""Every test that docs/promises.md names exists, and every promise names one."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| (.+?) \| (.*?) ?\|$", (ROOT / "docs" / "promises.md").read_text(encoding="utf-8"), re.M
)
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_promise_has_a_test():
    promises = [(said, by) for said, by in ROWS if not said.startswith("*") and said != "promise"]
    assert len(promises) >= 15
    assert [said for said, by in promises if not NAMED.search(by)] == []


def test_named_tests_exist():
    named = [match for _, by in ROWS for match in NAMED.findall(by)]
    for file, function in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert any(name.startswith("test_") for name in found), file
        assert not function or function in found, f"{file} has no {function}"
