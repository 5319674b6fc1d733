"""Nested parameters of what has none: a default that is None, or a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixexp.families import FAMILIES

__all__ = ["check_nested"]


def check_nested(
    params: Mapping[str, Any], values: Mapping[str, Any], owner: str, *, classifier: bool
) -> None:
    """Raise where ``name__parameter`` is to be set of a value that has no parameters.

    None and names stand for objects that a fit makes, so there is nothing to set a parameter of.
    Putting such an object there would change what `get_params` and `clone` give back.

    Parameters
    ----------
    params : mapping
        What `set_params` was given.
    values : mapping
        The estimator's parameters, not nested.
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
        if name == "expert" and isinstance(value, list | tuple):  # each has a name of its own
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
    return f"a whole value of {name} instead"
