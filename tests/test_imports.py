"""Imports run one way. The table below is the rule; docs/architecture.md says why."""

import ast
import subprocess
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mixexp

ROOT = Path(mixexp.__file__).parent

#: What `mixexp/NAME.py` or `mixexp/NAME/` may import of mixexp when it runs. Files of one package
#: may import each other; a package may not import a sibling package, but for experts <- families.
#: A new file or package needs a line here. Imports for type checkers only are not counted.
ALLOWED = {
    "_numerics": set(),
    "_derivatives": set(),
    "_threads": set(),
    "_checks": set(),
    "_probabilities": set(),
    "_compat": {"_checks"},
    "_warn": set(),
    "_columns": set(),
    "_guests": {"_warn"},
    "_tables": set(),
    "_wrapped": {"_checks", "protocols"},
    "_drawn": set(),
    "_data": set(),
    "_store": set(),
    "_rows": {"_checks", "_compat", "_guests", "_numerics", "_threads", "bases"},
    "protocols": {"_derivatives", "_rows"},
    "_fitting": {"_compat", "_rows", "_warn", "protocols"},
    "_weights": {"_warn", "protocols"},
    "_newton": {"_numerics"},
    "_conjugate": {"_newton", "_numerics", "protocols"},
    "_evidence": {"_newton"},
    "_proximal": {"_newton", "_numerics", "protocols"},
    "_costs": {"protocols"},
    "families": {"_numerics", "protocols"},
    "gates": {
        "_checks",
        "_columns",
        "_conjugate",
        "_costs",
        "_derivatives",
        "_evidence",
        "_fitting",
        "_guests",
        "_newton",
        "_numerics",
        "_probabilities",
        "_proximal",
        "_threads",
        "_weights",
        "protocols",
    },
    "partitions": {
        "_checks",
        "_columns",
        "_compat",
        "_guests",
        "_numerics",
        "_threads",
        "_warn",
        "protocols",
    },
    "routing": {"_numerics", "_rows", "protocols"},
    "experts": {
        "_columns",
        "_compat",
        "_conjugate",
        "_costs",
        "_derivatives",
        "_evidence",
        "_fitting",
        "_guests",
        "_newton",
        "_numerics",
        "_rows",
        "_probabilities",
        "_proximal",
        "_threads",
        "_weights",
        "families",
        "protocols",
    },
    "distribution": {"_checks"},
    "inference": {
        "_checks",
        "_columns",
        "_compat",
        "_drawn",
        "_engine",
        "_guests",
        "_warn",
        "protocols",
    },
    "selection": {"_checks", "_drawn", "_engine", "_guests", "_warn"},
    "bases": {"_compat"},
    "persistence": set(),
    "_engine": {"_guests", "_numerics", "_rows", "_warn", "protocols"},
    "_estimators": {
        "_checks",
        "_columns",
        "_compat",
        "_engine",
        "_fitting",
        "_guests",
        "_newton",
        "_numerics",
        "_probabilities",
        "_rows",
        "_store",
        "_threads",
        "_warn",
        "_weights",
        "bases",
        "distribution",
        "experts",
        "families",
        "gates",
        "inference",
        "partitions",
        "protocols",
        "routing",
        "selection",
    },
    "_cascade": {
        "_checks",
        "_columns",
        "_compat",
        "_estimators",
        "_fitting",
        "_guests",
        "_probabilities",
        "_rows",
        "_threads",
        "_warn",
        "_weights",
    },
    "__init__": {"_cascade", "_estimators"},
    "datasets": {"_tables"},  # its own loaders, in a file of their own
    # Of estimators, public names only.
    "callbacks": {"_compat", "_store", "_warn"},
    "metrics": {"_checks", "_columns", "_wrapped"},
    "inspection": {"__init__", "_checks", "_columns", "_wrapped", "datasets", "metrics"},
}

#: The one name that the files below mixexp/__init__.py may take from it: it is set before them.
EARLY = {"__version__"}

#: Packages that use estimators as anyone else does: no private attribute of anything but self.
OUTSIDE = ("callbacks", "inspection", "metrics")

FILES = sorted(ROOT.rglob("*.py"))


def unit(path):
    """Return the name in `ALLOWED` that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def name_of(path):
    """Return a file's place below mixexp/, the id of its tests."""
    return path.relative_to(ROOT).as_posix()


def is_for_type_checkers(node):
    """Return whether a node is an `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def running_nodes(tree):
    """Yield the nodes of a file that run, wherever they stand."""
    for child in ast.iter_child_nodes(tree):
        if is_for_type_checkers(child):
            for other in child.orelse:
                yield other
                yield from running_nodes(other)
            continue
        yield child
        yield from running_nodes(child)


def imports(source, package):
    """Yield (module, name or None) for every import that runs; `package` resolves dots."""
    for node in running_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(parts) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from ((module, alias.name) for alias in node.names)


def imports_of(path):
    """Yield (module, name or None) for every import of a file of mixexp."""
    package = ".".join(["mixexp", *path.relative_to(ROOT).parent.parts])
    return imports(path.read_text(encoding="utf-8"), package)


def units_imported(pairs):
    """Return the names in `ALLOWED` that imports reach; `from mixexp import X` is `__init__`."""
    found = set()
    for module, name in pairs:
        top, *rest = module.split(".")
        if top != "mixexp" or (not rest and name in EARLY):
            continue
        if rest:
            found.add(rest[0])
        else:
            found.add(name if name in ALLOWED else "__init__")
    return found


def private_sklearn(pairs):
    """Return the scikit-learn names with a leading underscore that imports reach."""
    dotted = (".".join(filter(None, pair)) for pair in pairs if pair[0].split(".")[0] == "sklearn")
    return [name for name in dotted if any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import mixexp._engine.em", {"_engine"}),
        ("from mixexp import _engine", {"_engine"}),
        ("from mixexp import MixtureOfExpertsRegressor", {"__init__"}),
        ("from mixexp import __version__", set()),
        ("from .._rows.rows import Rows", {"_rows"}),
        ("from . import _softmax", {"gates"}),
        ("def f():\n    from mixexp.gates import SoftmaxGate", {"gates"}),
        ("if TYPE_CHECKING:\n    import mixexp._engine\nelse:\n    import mixexp._rows", {"_rows"}),
        ("import numpy", set()),
    ],
)
def test_walk_finds_imports(source, found):
    assert units_imported(imports(source, "mixexp.gates")) == found


@pytest.mark.parametrize(
    ("source", "n_private"),
    [
        ("from sklearn.utils import _safe_indexing", 1),
        ("import sklearn.utils._param_validation", 1),
        ("from sklearn.utils._tags import get_tags", 1),
        ("from sklearn.utils import Bunch", 0),
        ("from mixexp._engine.em import Run", 0),
    ],
)
def test_walk_finds_private_names(source, n_private):
    assert len(private_sklearn(imports(source, "mixexp"))) == n_private


def test_rule_has_no_circles_and_nothing_stale():
    assert list(TopologicalSorter(ALLOWED).static_order())
    assert set(ALLOWED) == {unit(path) for path in FILES}, "a file without a line, or the reverse"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path):
    own = unit(path)
    reached = units_imported(imports_of(path)) - {own}
    assert reached <= ALLOWED[own], f"{name_of(path)} may not import {reached - ALLOWED[own]}"


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "_compat.py"], ids=name_of)
def test_private_sklearn_in_compat_only(path):
    assert not private_sklearn(imports_of(path)), "move it into mixexp/_compat.py"


@pytest.mark.parametrize("path", [p for p in FILES if unit(p) == "_engine"], ids=name_of)
def test_engine_names_no_concrete_part(path):
    concrete = {
        node.name
        for folder in ("gates", "experts", "families", "partitions", "routing")
        for file in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert {"SoftmaxGate", "LinearBank", "Gaussian", "KMeansStart", "TopK"} <= concrete
    with open(path, encoding="utf-8") as file:
        words = {token.string for token in tokenize.generate_tokens(file.readline)}
    assert not words & concrete


#: Modules of a package that import each other run one way as well.
PACKAGES = ("_rows", "_engine", "_estimators", "_cascade")


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_make_no_circle(package):
    reached = {}
    for path in (ROOT / package).glob("*.py"):
        own = f"mixexp.{package}"
        pairs = list(imports_of(path))
        named = {m.removeprefix(f"{own}.") for m, _ in pairs if m.startswith(f"{own}.")}
        reached[path.stem] = named | {name for m, name in pairs if m == own and name}
    assert list(TopologicalSorter(reached).static_order())


@pytest.mark.parametrize("path", [p for p in FILES if unit(p) in OUTSIDE], ids=name_of)
def test_outside_uses_public_attributes(path):
    private = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and ast.unparse(node.value) not in ("self", "cls")
    ]
    assert not private, "an estimator's private attribute"


def test_import_is_light():
    # pandas is imported by scikit-learn itself
    heavy = "{'matplotlib', 'polars', 'dask', 'distributed'}"
    modules = "mixexp.datasets, mixexp.inspection, mixexp.metrics, mixexp.callbacks"
    code = f"import sys, mixexp, {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
