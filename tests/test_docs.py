"""The code on the pages of docs/ runs, each page from top to bottom; the API page is complete."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import mixexp

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


def listed_names():
    """Return the full names that docs/api/index.md lists."""
    module, found = None, set()
    for line in (DOCS / "api" / "index.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif match := re.fullmatch(r" {3}(\w+)", line):
            found.add(f"{module}.{match[1]}")
    return found


@pytest.mark.parametrize(
    "name", [m.name for m in pkgutil.iter_modules(mixexp.__path__) if not m.name.startswith("_")]
)
def test_every_public_name_has_an_api_page(name):
    module = importlib.import_module(f"mixexp.{name}")
    names = {f"{module.__name__}.{n}" for n in module.__all__ if n not in mixexp.__all__}
    assert names - listed_names() == set()


def test_the_functions_of_mixexp_have_api_pages():
    things = {n for n in mixexp.__all__ if callable(getattr(mixexp, n))}
    assert things and {f"mixexp.{n}" for n in things} <= listed_names()
