"""mixexp runs no code that data or files bring along, but where docs/security.md says so."""

import ast
from pathlib import Path

import pytest

import mixexp

ROOT = Path(mixexp.__file__).parent

#: Calls that run, or unpickle, what they are given; the last name of a dotted one.
RUNNING = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "Unpickler",
    "system",
    "popen",
    "Popen",
    "check_output",
    "check_call",
}

#: `load` and `loads` of these modules unpickle.
UNPICKLING = {"pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve"}

#: Modules that have nothing to do in a library of models.
REFUSED = {"subprocess", "socket", "urllib", "http", "requests", "ctypes"}
REFUSED |= UNPICKLING - {"pickle", "joblib", "cloudpickle"}

#: The documented places: file and call.
ALLOWED = {
    # what Dask brings from its own workers
    ("_rows/cluster.py", "pickle.loads"),
    # derives from pickle.Unpickler; reached by a checkpoint with trusted=True only
    ("_store/files.py", "_Unpickler"),
}


def trees():
    """Yield the path below mixexp/ and the syntax tree of every file."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dangerous(tree):
    """Return calls that may run code, as they are written."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            module, _, last = name.rpartition(".")
            unpickles = last in ("load", "loads") and module in UNPICKLING
            reads = name in ("np.load", "numpy.load") and not reads_plain_arrays(node)
            runs = last.lstrip("_") in RUNNING or last in RUNNING
            if (runs and name != "re.compile") or unpickles or reads:
                found.add(name)
    return found


def reads_plain_arrays(call):
    """Return whether a call says allow_pickle=False."""
    return any(
        own.arg == "allow_pickle" and ast.unparse(own.value) == "False" for own in call.keywords
    )


def imported(tree):
    """Return the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
    return found


def test_no_code_is_run_but_in_the_documented_place():
    found = {(path, call) for path, tree in trees() for call in dangerous(tree)}
    assert found == ALLOWED


def test_pickle_is_imported_where_it_is_documented():
    who = {path for path, tree in trees() if "pickle" in imported(tree)}
    assert who == {path for path, _ in ALLOWED}


def test_nothing_starts_processes_or_reaches_the_network():
    found = {
        (path, module)
        for path, tree in trees()
        for module in imported(tree)
        if module.split(".")[0] in REFUSED
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "builtins.exec(text)",
        "pickle.load(file)",
        "pickle.loads(data)",
        "joblib.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "os.system(text)",
        "pickle.Unpickler(file).load()",
    ],
)
def test_the_search_finds(code):
    assert dangerous(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["np.load(path, allow_pickle=False)", "re.compile(text)", "json.load(file)"]
)
def test_the_search_lets_pass(code):
    assert not dangerous(ast.parse(code))
