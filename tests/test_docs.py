"""The code on the pages of docs/ runs, each page from top to bottom."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"

#: A fenced block of Python at the left margin.
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Return the Python blocks of a page, each with as many lines before it as it has there."""
    text = page.read_text(encoding="utf-8")
    return [(text[: m.start(1)].count("\n"), m[1]) for m in BLOCK.finditer(text)]


PAGES = [page for page in sorted(DOCS.glob("*.md")) if blocks(page)]


def test_there_are_pages():
    names = {page.name for page in PAGES}
    assert {"own_family.md", "own_gate.md", "own_start.md"} <= names


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page):
    namespace = {"__name__": "__main__"}
    for before, code in blocks(page):
        exec(compile("\n" * before + code, str(page), "exec"), namespace)
