"""What the model is, and how to fit it again, in words."""

from __future__ import annotations

import platform
import re
from collections import Counter
from itertools import takewhile
from typing import Any

import numpy as np
import scipy
import sklearn

from mixexp import __version__
from mixexp._wrapped import extra_name
from mixexp.inspection._report._page import Section, code, note, paragraph, table
from mixexp.inspection._report._subject import Subject

__all__ = ["counted", "model_section", "reproduce_section", "title_of"]

#: Columns and classes that are named; of more, only the first.
NAMED = 20

#: Repeats of `repr` are cut above this many characters.
LONGEST = 4_000

#: In a `repr`, what is of NumPy, and what is no code.
NUMPY = re.compile(r"<(?:ufunc '|class 'numpy\.)(?P<name>\w+)'>")
OPAQUE = re.compile(
    r"<(?:ufunc|class|function|bound method|built-in|[\w.]+ object)\b(?:[^<>]|<[^<>]*>)*>"
)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number and a noun in its number."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def title_of(subject: Subject) -> str:
    """Return the model in a line."""
    n = len(subject.mixture.experts_)
    return f"{f'Mixture of {n} experts' if n > 1 else 'One expert'} for {subject.target}"


def model_section(subject: Subject) -> Section:
    """Say what the model is."""
    mixture = subject.mixture
    n = len(mixture.experts_)
    if n == 1:
        words = "One expert predicts all rows: there is nothing for a gate to decide."
    else:
        words = (
            f"A mixture of {n} experts. A gate says for each row how probable each expert is, from "
            "the columns alone; each expert predicts the target; the answer is their mixture."
        )
    facts = {
        "Estimator": _estimator(subject),
        "Experts": _experts(mixture),
        "Gate": _gate(mixture),
        **_target(subject),
        "Answer": _answer(mixture),
        **_others(mixture),
        "Columns": _columns(subject),
        "Rows": _rows(subject),
    }
    body = table("What the model is", [], facts.items(), numbers=False)
    return Section("model", "The model", [paragraph(words), body])


def _estimator(subject: Subject) -> str:
    kind = type(subject.mixture).__name__
    steps = [type(step).__name__ for part in subject.before for _, step in part.steps]
    inside = f", behind {', '.join(steps)}" if steps else ""
    given = type(subject.estimator).__name__
    outside = f", the best of a {given}" if hasattr(subject.estimator, "best_estimator_") else ""
    return kind + inside + outside


def _experts(mixture: Any) -> str:
    kinds = Counter(type(expert).__name__ for expert in mixture.experts_)
    text = ", ".join(f"{number} × {kind}" for kind, number in kinds.items())
    chosen = '; their number was chosen (n_experts="auto")' if mixture.n_experts == "auto" else ""
    return text + chosen


def _gate(mixture: Any) -> str:
    gate = mixture.gate_
    paths = getattr(gate, "paths_", None)
    tree = "" if paths is None else f", a tree of {counted(max(map(len, paths)), 'level')}"
    basis = getattr(mixture, "gate_basis_", None)
    on = "" if basis is None else f", on {type(basis).__name__}"
    return f"{type(gate).__name__}{tree}{on}"


def _target(subject: Subject) -> dict[str, str]:
    mixture, rows = subject.mixture, subject.rows
    if subject.classes:
        labels = [str(label) for label in mixture.classes_]
        number = counted(len(labels), "class", "classes")
        return {"Target": f"{subject.target}: {number} {_list(labels)}"}
    family = mixture.family if isinstance(mixture.family, str) else type(mixture.family).__name__
    outputs = "" if rows.y.ndim == 1 else f", {counted(rows.y.shape[1], 'column')}"
    return {"Target": f"{subject.target}{outputs}", "Family": family}


def _answer(mixture: Any) -> str:
    words = {
        "weighted": "mean of the experts, weighted by the gate",
        "argmax": "that of the expert with the largest weight",
    }
    pooling = mixture.pooling
    return words[pooling] if isinstance(pooling, str) else "pooled by a function"


def _others(mixture: Any) -> dict[str, str]:
    """Return what not every mixture has."""
    found = {}
    router = getattr(mixture, "routing_", None)
    if router is not None:
        found["Routing"] = str(router)
    if extra_name(mixture) is not None:
        found["Beside the experts"] = f"a {extra_name(mixture)} expert"
    for name, label in {"shared_expert_": "Shared expert", "fallback_": "Fallback"}.items():
        if getattr(mixture, name, None) is not None:
            found[label] = type(getattr(mixture, name)).__name__
    if mixture.assignment != "soft":
        found["Assignment"] = mixture.assignment
    return found


def _columns(subject: Subject) -> str:
    X = subject.rows.X
    names = getattr(X, "columns", None)
    if names is None:
        names = getattr(subject.estimator, "feature_names_in_", None)
    listed = "" if names is None else " " + _list([str(name) for name in names])
    return f"{X.shape[1]}{listed}"


def _rows(subject: Subject) -> str:
    rows = subject.rows
    weights = f", of total weight {rows.weight.sum():.6g}" if rows.weighted else ""
    offset = ", with an offset" if rows.offset is not None else ""
    return counted(len(rows), "row") + weights + offset


def _list(names: list[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"({', '.join(names[:NAMED])}{more})"


def reproduce_section(subject: Subject) -> Section:
    """Say how to fit the model again."""
    given, mixture = subject.estimator, subject.mixture
    best = given.best_estimator_ if hasattr(given, "best_estimator_") else given
    with sklearn.config_context(print_changed_only=True):
        text = best.__repr__(N_CHAR_MAX=LONGEST)
    text = NUMPY.sub(_from_numpy, text)
    arguments = ", ".join(f"{name}={name}" for name in subject.rows.fit_arguments)
    fit = f"model.fit(X, y{', ' + arguments if arguments else ''})"
    parts = [
        paragraph("Parameters that differ from their defaults, as Python code:"),
        code("\n".join([*_imports(best, text), "", f"model = {text}", fit])),
    ]
    unwritten = list(dict.fromkeys(OPAQUE.findall(text)))
    if unwritten:
        listed = ", ".join(unwritten)
        parts.append(note(f"Angle brackets are no code: write your own in place of {listed}."))
    if mixture.random_state is None:
        parts.append(
            note("random_state is None: a fit of the same rows may differ. Set it to a number.")
        )
    if given is not best:
        parts.append(note(f"{type(given).__name__} chose these parameters."))
    rows = _versions().items()
    parts.append(table("Versions", ["", "version"], rows, numbers=False))
    return Section("reproduce", "How to reproduce", parts)


def _from_numpy(found: re.Match) -> str:
    """Return the code of a ufunc or class of NumPy; of other libraries it stays as it is."""
    name = found["name"]
    return f"np.{name}" if hasattr(np, name) else found[0]


def _versions() -> dict[str, str]:
    return {
        "mixexp": __version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "Python": platform.python_version(),
    }


def _imports(estimator: Any, text: str) -> list[str]:
    """Return the lines that import the classes of an estimator and of its parameters, and NumPy."""
    found: dict[str, set[str]] = {}
    for each in [estimator, *estimator.get_params(deep=True).values()]:
        kind = type(each)
        if hasattr(each, "get_params") and kind.__module__ != "__main__":
            public = takewhile(lambda part: not part.startswith("_"), kind.__module__.split("."))
            found.setdefault(".".join(public), set()).add(kind.__name__)
    lines = sorted((module, ", ".join(sorted(names))) for module, names in found.items())
    numpy = ["import numpy as np"] if re.search(r"\bnp\.", text) else []
    return numpy + [f"from {module} import {names}" for module, names in lines]
