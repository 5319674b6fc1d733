"""What a stranger relies on: version, public names, their docstrings, the README."""

import importlib
import inspect
import re
from importlib import metadata, resources
from pathlib import Path

import pytest

import mixexp

ROOT = Path(__file__).parents[1]

#: Modules whose `__all__` users import from.
PUBLIC = (
    "mixexp",
    "mixexp.bases",
    "mixexp.datasets",
    "mixexp.distribution",
    "mixexp.families",
    "mixexp.gates",
    "mixexp.inspection",
    "mixexp.metrics",
    "mixexp.routing",
)


def public_objects():
    """Yield the public classes and functions, each once."""
    found = {}
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[f"{module.__name__}.{name}"] = thing
    return found


def public_methods():
    """Yield the public methods that mixexp itself gives its estimators and Displays."""
    found = {}
    for name, thing in public_objects().items():
        if inspect.isclass(thing) and name.startswith(("mixexp.Mixture", "mixexp.inspection.")):
            for base in reversed(thing.__mro__):
                if base.__module__.startswith("mixexp."):
                    names = [n for n, v in vars(base).items() if is_method(v) and n[0] != "_"]
                    found |= {f"{name}.{n}": inspect.getattr_static(thing, n) for n in names}
    return {name: inspect.unwrap(plain(method)) for name, method in found.items()}


def is_method(value):
    """Return whether a class attribute is a method."""
    return inspect.isfunction(plain(value))


def plain(method):
    """Return the function below `classmethod` and `staticmethod`."""
    return getattr(method, "__func__", method)


def sections(docstring):
    """Return the numpydoc sections of a docstring, by heading."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section):
    """Return the names that the entries of a numpydoc section begin with."""
    entries = re.findall(r"^(\S[^:\n]*)", section, flags=re.MULTILINE)
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


def parameters(thing):
    """Return the names of the parameters that a caller gives."""
    names = inspect.signature(thing).parameters
    return [name for name in names if name not in ("self", "cls")]


def blocks(language):
    """Return the fenced blocks of the README in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_version_has_one_source():
    try:
        installed = metadata.version("mixexp")
    except metadata.PackageNotFoundError:
        pytest.skip("mixexp is not installed")
    assert mixexp.__version__ == installed
    assert f"## {mixexp.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mixexp.__version__}\n" in citation


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_exist(module):
    module = importlib.import_module(module)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_few_names_at_the_top():
    assert len(mixexp.__all__) <= 25


def test_data_files_are_installed():
    names = {file.name for file in resources.files("mixexp._data").iterdir()}
    for table in ("auto_mpg", "concrete", "ethanol", "tone"):
        assert {f"{table}.csv", f"{table}.txt"} <= names
    assert resources.files("mixexp").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", public_objects())
def test_docstring(name):
    thing = public_objects()[name]
    given = sections(thing.__doc__)
    if not parameters(thing):
        return
    assert "Examples" in given and ">>>" in given["Examples"], "no example"
    missing = set(parameters(thing)) - documented(given.get("Parameters", ""))
    assert not missing, f"parameters without a word: {missing}"


@pytest.mark.parametrize("name", public_methods())
def test_method_docstring(name):
    method = public_methods()[name]
    given = sections(method.__doc__)
    missing = set(parameters(method)) - documented(given.get("Parameters", ""))
    assert not missing, f"parameters without a word: {missing}"
    assert "Returns" in given


def test_readme_has_two_commands():
    commands = blocks("bash")
    assert len(commands) == 2
    assert all(len(command.splitlines()) == 1 for command in commands)
    assert "examples/plot_quickstart.py" in commands[0]
    assert "pytest" in commands[1]


# Whether a fit on a real table ends before max_iter may hang on rounding.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_readme_examples_run(capsys):
    namespace: dict = {}
    for example in blocks("python"):
        exec(compile(example, "README.md", "exec"), namespace)
        assert capsys.readouterr().out
