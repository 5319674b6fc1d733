"""What users see: names in `__all__` and `dir()`, and a sentence for all that takes a value."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import mixexp

MODULES = [
    "mixexp",
    "mixexp.bases",
    "mixexp.callbacks",
    "mixexp.datasets",
    "mixexp.distribution",
    "mixexp.experts",
    "mixexp.families",
    "mixexp.gates",
    "mixexp.inference",
    "mixexp.inspection",
    "mixexp.metrics",
    "mixexp.partitions",
    "mixexp.persistence",
    "mixexp.protocols",
    "mixexp.routing",
    "mixexp.selection",
]

#: Modules whose objects are documented for users; `protocols` says what parts are for the engine.
DOCUMENTED = [name for name in MODULES if name != "mixexp.protocols"]

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def sections(doc):
    """Return the text of each section of a numpydoc docstring, by its title."""
    parts = SECTION.split(inspect.cleandoc(doc or ""))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def undescribed(doc):
    """Return the entries of parameters and attributes that have no sentence below them."""
    found = []
    for title in ("Parameters", "Attributes", "Other Parameters"):
        entry, lines = None, 0
        for line in [*sections(doc).get(title, "").splitlines(), "end"]:
            if line and not line.startswith(" "):
                if entry is not None and not lines:
                    found.append(entry)
                entry, lines = line.split(" : ")[0], 0
            elif line.strip() and not (entry or "").endswith("\\"):
                lines += 1
    return found


def objects():
    """Return every public class, function and method with its name."""
    found = {}
    for name in DOCUMENTED:
        module = importlib.import_module(name)
        for public in module.__all__:
            value = getattr(module, public)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            found[f"{name}.{public}"] = value
            methods = (
                inspect.getmembers(value, inspect.isfunction) if inspect.isclass(value) else []
            )
            for method, function in methods:
                own = function.__module__.startswith("mixexp") and not method.startswith("_")
                if own and "Parameters" in sections(function.__doc__):
                    found[f"{name}.{public}.{method}"] = function
    return found


OBJECTS = objects()


@pytest.mark.parametrize("name", OBJECTS)
def test_every_parameter_and_attribute_has_a_sentence(name):
    assert not undescribed(OBJECTS[name].__doc__)


def test_an_entry_without_a_sentence_is_found():
    doc = """Do.

    Parameters
    ----------
    a : int
    b, c : float
        Said.

    Attributes
    ----------
    d_ : int
    """
    assert undescribed(doc) == ["a", "d_"]


@pytest.mark.parametrize("name", MODULES)
def test_dir_shows_what_all_holds(name):
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "mixexp"])
def test_public_names_are_what_users_use(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        assert inspect.getdoc(value) or name == "mixexp.protocols", public
    registries = {"GATES", "FAMILIES", "PARTITIONS", "STARTS", "POOLINGS"}
    assert not registries & set(module.__all__)


def test_submodules_come_with_the_package():
    names = [name for name in MODULES if "." in name]
    code = f"import mixexp; print(*[{', '.join(f'{name}.__name__' for name in names)}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == names


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'mixexp' has no attribute 'gate'"):
        _ = mixexp.gate
