"""Memory maps: rows in a file, which are read a block at a time and never copied as a whole."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from sklearn import get_config

__all__ = ["MAPPED_CACHE", "cache_doubles", "is_mapped", "kept_dtypes"]

#: Bytes that a fit keeps between passes where rows are not in memory. With 10 million rows, the
#: hashes, a mask and what a pass needs at a time stay below another 500 MB.
MAPPED_CACHE = 1 << 29

#: Kinds of numbers that blocks convert to float64 without loss, up to this size.
NUMERIC, LARGEST_ITEM = "biuf", 8


def is_mapped(X: Any) -> bool:
    """Return whether an array is a memory map, or a view of one."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return isinstance(X, mmap.mmap)


def kept_dtypes(X: Any) -> Any:
    """Return the `dtype` to validate X with: maps of any numbers stay as they are."""
    if is_mapped(X) and X.dtype.kind in NUMERIC and X.dtype.itemsize <= LARGEST_ITEM:
        return None
    return [np.float64, np.float32]


def cache_doubles(in_memory: bool) -> float:
    """Return the doubles that a fit may keep between passes.

    That is scikit-learn's `working_memory`, and no more than `MAPPED_CACHE` where rows are not in
    memory: whoever maps a file has little to spare.
    """
    limit: float = get_config()["working_memory"] * 2**20
    return (limit if in_memory else min(limit, MAPPED_CACHE)) // 8
