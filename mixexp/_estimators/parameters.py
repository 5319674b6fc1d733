"""Checks of nested parameters set on None or on a name, which have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixexp.bases import BASES
from mixexp.families import FAMILIES

__all__ = ["check_nested"]


def check_nested(
    params: Mapping[str, Any], values: Mapping[str, Any], owner: str, *, classifier: bool
) -> None:
    """Raise if ``name__parameter`` refers to a value without parameters.

    None and names stand for objects that a fit creates, so there is nothing to set yet. Creating
    the object here would change the results of `get_params` and `clone`.

    Parameters
    ----------
    params : mapping
        Arguments of `set_params`.
    values : mapping
        The estimator's own parameters, not nested ones.
    owner : str
        The estimator's class.
    classifier : bool
        Whether the estimator is a classifier, for the remedy.
    """
    values = {**values, **params}
    for key in params:
        name, nested, inner = key.partition("__")
        if not nested or name not in values or hasattr(values[name], "set_params"):
            continue
        value = values[name]
        if name == "expert" and isinstance(value, list | tuple):  # listed experts are set by name
            continue
        raise ValueError(
            f"{owner}: {key} cannot be set, because {name}={value!r} has no parameter {inner!r}. "
            f"Give {_instead(name, value, classifier)}."
        )


def _instead(name: str, value: Any, classifier: bool) -> str:
    """Return what to write in place of a value that has no parameters."""
    if name == "gate" and value is None:
        return "gate=SoftmaxGate(), which None stands for, or another gate of mixexp.gates"
    if name == "expert" and value is None:
        example = "LogisticRegression" if classifier else "Ridge"
        return f"an expert that has it, such as expert={example}()"
    if name == "family" and isinstance(value, str) and value in FAMILIES:
        return f"family={FAMILIES[value].__name__}(), of mixexp.families"
    if name in ("expert_basis", "gate_basis"):
        kind = BASES.get(value)
        example = "SplineBasis" if kind is None else kind.__name__
        return f"a transformer that has it, such as {name}={example}() of mixexp.bases"
    return f"a whole value of {name} instead"
