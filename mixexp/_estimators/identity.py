"""What a fit is of: its parameters and its data, in a form that two fits can be compared by."""

from __future__ import annotations

import zlib
from functools import partial
from types import CellType, CodeType
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mixexp._checks import short
from mixexp._rows.source import Fingerprint

if TYPE_CHECKING:
    from mixexp._estimators.assembly import FitArguments
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["data_identity", "described", "parameters_of"]

#: Parameters that do not change the numbers of a fit.
WITHOUT_EFFECT = ("n_jobs", "verbose", "warm_start")


def parameters_of(mixture: BaseMixtureOfExperts) -> dict[str, list[str]]:
    """Return for every parameter what identifies its value, and how a message shows it."""
    params = mixture.get_params(deep=False)
    return {
        name: [described(value), short(value)]
        for name, value in sorted(params.items())
        if name not in WITHOUT_EFFECT
    }


def described(value: Any) -> str:
    """Return a text that is the same for equal values: arrays by their content."""
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return type(value).__name__  # its state is that of its last use
    if isinstance(value, np.ndarray) or sp.issparse(value):
        marks = Fingerprint()
        marks.add(values=value if value.ndim else value[None])
        return f"{value.dtype}{value.shape}{marks}"
    if isinstance(value, dict):
        entries = [f"{described(key)}: {described(entry)}" for key, entry in value.items()]
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(described, value))})"
    if isinstance(value, set | frozenset):  # whose order is another in every process
        return f"{type(value).__name__}({', '.join(sorted(map(described, value)))})"
    if isinstance(value, partial):
        return f"partial{described((value.func, value.args, value.keywords))}"
    if isinstance(value, CodeType):
        rest = described((value.co_names, value.co_consts))
        return f"{zlib.crc32(value.co_code):x}{zlib.crc32(rest.encode()):x}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}/{_function(value)}"
    if hasattr(value, "get_params"):
        return _estimator(value)
    if type(value).__module__ == "builtins" or not hasattr(value, "__dict__"):
        return repr(value)
    return f"{type(value).__qualname__}({described(vars(value))})"


def _function(value: Any) -> str:
    """Return what a function computes: its code, defaults, and what it takes from around it."""
    code = getattr(value, "__code__", None)
    if code is None:
        return "0"
    around = [value.__defaults__, value.__kwdefaults__, *map(_content, value.__closure__ or ())]
    try:
        return described((code, *around))
    except RecursionError:  # what is around it holds it: the code has to do
        return described(code)


def _content(cell: CellType) -> Any:
    """Return what a cell holds; of a function its code, as functions may refer to each other."""
    try:
        return getattr(cell.cell_contents, "__code__", cell.cell_contents)
    except ValueError:  # a variable that has no value yet
        return None


def _estimator(estimator: Any) -> str:
    """Return the class and parameters of an estimator, and of a fitted one what it learnt."""
    params = estimator.get_params(deep=False)
    learnt = {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and isinstance(value, np.ndarray | float | int | str)
    }
    return f"{type(estimator).__qualname__}({described(params)}{described(learnt)})"


def data_identity(X: Any, y: Any, arguments: FitArguments, target: Any) -> str:
    """Return a text that is the same for the same data of a fit, the order of rows included."""
    marks = Fingerprint()
    more = {"weight": arguments.weight, "groups": arguments.groups, "offset": arguments.offset}
    more |= {"labels": arguments.labels, **{f"param {k}": v for k, v in arguments.params.items()}}
    if arguments.table.text:
        more["text"] = arguments.frame
    arrays = {name: None if v is None else np.atleast_1d(np.asarray(v)) for name, v in more.items()}
    marks.add(X=X, y=np.asarray(y), **arrays)
    return f"{X.shape[1]} columns, {marks}, {X.dtype} {described(target.classes)}"
