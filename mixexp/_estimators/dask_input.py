"""Dask arrays and data frames: fits on their partitions, and lazy answers for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mixexp._checks import all_or_nothing, is_dask
from mixexp._estimators.blockwise import fit_streamed, why_not_additive
from mixexp._estimators.dask_source import DaskSource, partitions_of, sent, task
from mixexp._estimators.following import following

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["fit_dask", "lazy_on_dask"]

M = TypeVar("M", bound=Callable)


def fit_dask(
    mixture: BaseMixtureOfExperts,
    X: Any,
    y: Any,
    sample_weight: Any,
    allow_gather: bool,
    resume_from: Any,
    **others: Any,
) -> Any:
    """Fit a mixture to the partitions of Dask collections; return it.

    `others` are further arguments of `fit`, None if not given.
    """
    owner = type(mixture).__name__
    if y is None:
        raise ValueError(f"{owner}: y=None. Give a target for each row of X.")
    others = {name: value for name, value in others.items() if value is not None}
    why = why_not_additive(mixture)
    if others:
        why = f"{', '.join(others)} of `fit` must be there for all rows at once"
    if why and not allow_gather:
        raise TypeError(
            f"{owner}: X is a Dask collection, whose partitions stay where they are, and {why}. "
            "Set allow_gather=True to join all rows in memory, or leave it out."
        )
    if why:
        import dask

        X, y, sample_weight, others = dask.compute(X, y, sample_weight, others)
        return mixture.fit(X, y, sample_weight, resume_from=resume_from, **others)
    with (
        all_or_nothing(mixture),
        following(mixture, X, y, sample_weight, resume_from) as watch,
    ):
        fit_streamed(mixture, DaskSource(mixture, X, y, sample_weight), watch)
    return mixture


def lazy_on_dask(output: Callable[..., tuple[tuple[int, ...], Any]]) -> Callable[[M], M]:
    """Return a decorator of methods of rows: Dask collections get a lazy Dask array.

    ``output(mixture, **options)`` is the shape of a row's answer, and its dtype.
    """

    def decorated(method: M) -> M:
        @functools.wraps(method)
        def answer(self: Any, X: Any, *targets: Any, **options: Any) -> Any:
            if not is_dask(X):
                return method(self, X, *targets, **options)
            y = targets[0] if targets else options.pop("y", None)
            return _lazy(self, method, X, y, options, *output(self, **options))

        return answer  # type: ignore[return-value]

    return decorated


def _lazy(
    mixture: Any, method: Callable, X: Any, y: Any, options: dict, shape: tuple, dtype: Any
) -> Any:
    """Return a method's answer for every partition, as a Dask array."""
    import dask.array as da

    owner = type(mixture).__name__
    given = sorted(name for name, value in options.items() if np.ndim(value) or is_dask(value))
    if given:
        raise TypeError(
            f"{owner}: X is a Dask collection, and {', '.join(given)} has a value for every row. "
            f"Call {method.__name__} of each partition, by `map_blocks` or `map_partitions`."
        )
    parts = partitions_of({"X": X, "y": y}, owner)
    sizes = X.chunks[0] if hasattr(X, "chunks") else (np.nan,) * len(parts)
    shared, answered = sent(mixture), task(_answered)
    blocks = [
        da.from_delayed(
            answered(shared, method.__name__, part, target, options, shape, dtype),
            (n, *shape),
            dtype,
        )
        for (part, target), n in zip(parts, sizes, strict=True)
    ]
    return da.concatenate(blocks)


def _answered(
    mixture: Any, name: str, X: Any, y: Any, options: dict, shape: tuple, dtype: Any
) -> np.ndarray:
    """Return a method's answer for a partition, which may be empty; runs on a worker."""
    if not X.shape[0]:
        return np.empty((0, *shape), dtype)
    targets = () if y is None else (y,)
    answer: np.ndarray = getattr(mixture, name)(X, *targets, **options)
    return answer
