"""Checks the arguments of `fit` and of fitted methods, and puts them into `Rows`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array

from mixexp._checks import as_numbers, named_error
from mixexp._compat import column_indices
from mixexp._rows.rows import Rows
from mixexp._rows.sketch import row_hashes, sketch

__all__ = [
    "Training",
    "check_constant_in_groups",
    "check_log_offset",
    "checked_groups",
    "class_offset_rows",
    "group_order",
    "offset_rows",
    "one_each",
    "refuse_missing",
    "responsibilities_of",
    "selected_columns",
    "sorted_rows",
    "training_rows",
]

#: Maximum number of rows in the sketch. Data with no more distinct rows are merged and sorted as
#: a whole, which makes the fit independent of row order.
SKETCH_ROWS = 8192


#: Rows that are looked at in one step.
CHECKED_ROWS = 1 << 16

#: Offsets spread wider than this cannot be logarithms of exposures.
WIDEST_LOG_OFFSET = 100.0

#: Larger offsets overflow once exponentiated and multiplied by a mean of y.
LARGEST_LOG_OFFSET = 600.0


@dataclass(frozen=True)
class Training:
    """Rows of the long run, rows of the starts, and the matching start."""

    rows: Rows
    sketch: Rows
    start: Any


def selected_columns(selection: Any, name: str, source: Any, n_experts: int, owner: str) -> Any:
    """Return positions of the columns selected by a `*_features` parameter; None for all.

    A list of one selection per expert gives a list of positions. `source` is X, or the data frame
    it came from.
    """
    if selection is None:
        return None
    if not one_each(selection):
        return _positions(selection, name, source, owner)
    if len(selection) != n_experts:
        raise ValueError(
            f"{owner}: {name} has one selection for each of {len(selection)} experts, and "
            f"n_experts={n_experts}. Give {n_experts} selections, or one for all."
        )
    return [
        np.arange(source.shape[1])
        if columns is None
        else _positions(columns, f"{name}[{k}]", source, owner)
        for k, columns in enumerate(selection)
    ]


def one_each(selection: Any) -> bool:
    """Return whether this is a list of selections, rather than of columns."""
    if isinstance(selection, np.ndarray) and selection.ndim == 2:
        return True
    return isinstance(selection, list | tuple) and any(
        columns is None
        or callable(columns)
        or isinstance(columns, list | tuple | slice)
        or (isinstance(columns, np.ndarray) and columns.ndim == 1)
        for columns in selection
    )


def _positions(selection: Any, name: str, source: Any, owner: str) -> np.ndarray:
    try:
        chosen = selection(source) if callable(selection) else selection
        columns = column_indices(source, _mask_checked(chosen, source.shape[1]))
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"{owner}: {name}={selection!r} selects no columns of X: {str(error).rstrip('.')}. "
            "Give indices, a slice, a boolean mask, or column names of a data frame; or a list "
            "of these, one an expert."
        ) from error
    if len(columns) == 0:
        remedy = (
            "Use mixexp.gates.ConstantGate() for a gate without features."
            if name.startswith("gate")
            else "Give every expert a column; a constant one makes it a constant."
        )
        raise ValueError(f"{owner}: {name}={selection!r} selects no columns of X. {remedy}")
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"{owner}: {name}={selection!r} selects a column twice.")
    return columns


def _mask_checked(selection: Any, n_columns: int) -> Any:
    """Return a selection of columns; raise if it is a mask of another length."""
    mask = isinstance(selection, list | tuple | np.ndarray) and len(selection) > 0
    mask = mask and all(isinstance(each, bool | np.bool_) for each in selection)
    if mask and len(selection) != n_columns:
        raise ValueError(f"a mask has an entry for each of the {n_columns} columns")
    return selection


def refuse_missing(X: Any, refusing: list[tuple[str, Any]], owner: str) -> bool:
    """Return whether X contains NaN; raise if parts that see it reject it.

    `refusing` are names of parts that reject NaN, with the columns that they see: None for all,
    positions, or a list of positions.
    """
    values = X.data if sp.issparse(X) else X
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(values.sum())  # without an array of the size of X
    if finite or not _any_nan(values):
        return False
    if sp.issparse(X):
        raise ValueError(f"Input X contains NaN. {owner} takes missing values in dense X only.")
    who = []
    for name, seen in refusing:
        if isinstance(seen, list):
            seen = np.unique(np.concatenate(seen))
        if name not in who and np.isnan(X if seen is None else X[:, seen]).any():
            who.append(name)
    if who:
        raise ValueError(
            f"Input X contains NaN. {owner}: {' and '.join(who)} cannot take missing values. "
            "Use one that does (an expert such as HistGradientBoosting, the gate SoftmaxGate()), "
            "put an imputer in front of it in a Pipeline, or leave the columns out by "
            "expert_features or gate_features."
        )
    return True


def _any_nan(values: np.ndarray) -> bool:
    """Return whether values contain NaN, by chunks: a mask of a memory map may be large."""
    return any(
        bool(np.isnan(values[start : start + CHECKED_ROWS]).any())
        for start in range(0, len(values), CHECKED_ROWS)
    )


def responsibilities_of(init: Any, n_rows: int, n_experts: int, owner: str) -> np.ndarray:
    """Return responsibilities (K, n) from labels (n,) or responsibilities (n, K)."""
    remedy = f"Give a label for each of {n_rows} rows, or responsibilities ({n_rows}, {n_experts})."
    with named_error(owner, "init", remedy):
        start = np.asarray(init)
        if start.dtype.kind == "f":
            check_array(
                start, ensure_2d=False, input_name="init", ensure_min_samples=0, allow_nd=True
            )
    wanted = (n_rows, n_experts)
    if start.shape == (n_rows,):
        with named_error(owner, "init", "Give labels of one kind, and every row one."):
            labels, codes = np.unique(start, return_inverse=True)
        if len(labels) != n_experts:
            raise ValueError(
                f"{owner}: init has {len(labels)} distinct labels and n_experts={n_experts}. Set "
                f"n_experts={len(labels)}, or give every expert rows."
            )
        return np.equal(codes.ravel(), np.arange(n_experts)[:, None]).astype(float)
    if start.shape != wanted:
        raise ValueError(
            f"{owner}: init has shape {start.shape}. Give labels of shape {wanted[:1]}, or "
            f"responsibilities of shape {wanted}, one column per expert."
        )
    resp = as_numbers(start, "init", owner, remedy)
    if resp.min() < 0 or not np.allclose(resp.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError(
            f"{owner}: init as responsibilities must be nonnegative with rows that sum to 1; "
            f"row sums go from {resp.sum(axis=1).min():.6g} to {resp.sum(axis=1).max():.6g}, "
            f"the smallest entry is {resp.min():.6g}. Divide each row by its sum."
        )
    return np.ascontiguousarray(resp.T / resp.sum(axis=1))


def offset_rows(offset: Any, X: Any, width: int, owner: str) -> np.ndarray | None:
    """Return an offset of numbers as `Rows` holds it: (n_outputs or 1, n)."""
    values = _checked_offset(offset, X, owner)
    if values is None:
        return None
    if values.ndim > 1:
        _check_width(values, width, owner, "output")
    return np.ascontiguousarray(values[None] if values.ndim == 1 else values.T)


def class_offset_rows(offset: Any, X: Any, width: int, owner: str) -> np.ndarray | None:
    """Return an offset of classes as `Rows` holds it, centred: (n_classes, n).

    For two classes, one number per row is added to the log-odds of the second.
    """
    values = _checked_offset(offset, X, owner)
    if values is None:
        return None
    if values.ndim == 1 and width == 2:
        return np.ascontiguousarray(np.stack([-0.5 * values, 0.5 * values]))
    _check_width(values, width, owner, "class")
    return np.ascontiguousarray(values.T - values.mean(axis=1))


def _checked_offset(offset: Any, X: Any, owner: str) -> np.ndarray | None:
    """Return an offset as numbers, one or several per row."""
    if offset is None:
        return None
    n_rows = X.shape[0]
    wanted = f"Give one number for each of {n_rows} rows, or one for all."
    values = as_numbers(offset, "offset", owner, wanted)
    if values.ndim == 0:
        values = np.full(n_rows, values)
    if len(values) != n_rows or values.ndim > 2:
        what = f"{len(values)} values for {n_rows} rows" if values.ndim <= 2 else "too many axes"
        raise ValueError(f"{owner}: offset has shape {values.shape}, {what}. {wanted}")
    bad = ~np.isfinite(values)
    if np.any(bad):
        row = int(np.nonzero(bad)[0][0])
        raise ValueError(
            f"{owner}: offset holds {float(values[bad][0])!r} in row {row}, and {int(np.sum(bad))} "
            "values that are NaN or infinite in all. Give finite numbers; a row without exposure "
            "says nothing and is left out."
        )
    return values


def _check_width(values: np.ndarray, width: int, owner: str, what: str) -> None:
    if values.shape[1:] != (width,):
        raise ValueError(
            f"{owner}: offset has shape {values.shape}. Give one number per row, on the scale of "
            f"the linear predictor, or {width} of them, one for each {what}."
        )


def check_log_offset(offset: np.ndarray, owner: str) -> None:
    """Raise if an offset cannot be the logarithm of an exposure."""
    low, high = float(offset.min()), float(offset.max())
    if high - low > WIDEST_LOG_OFFSET:
        raise ValueError(
            f"{owner}: offset goes from {low:.6g} to {high:.6g}, a factor of exp({high - low:.0f}) "
            "between exposures. It is on the scale of the log link: give np.log(exposure)."
        )
    if max(-low, high) > LARGEST_LOG_OFFSET:
        raise ValueError(
            f"{owner}: offset goes from {low:.6g} to {high:.6g}, and exp of that leaves the range "
            "of numbers. It is on the scale of the log link: give np.log(exposure)."
        )


def checked_groups(groups: Any, X: Any, owner: str) -> np.ndarray | None:
    """Return the group of every row as a code 0, 1, ... in the order of the groups' values."""
    if groups is None:
        return None
    with named_error(owner, "groups", "Give every row its group, a number or a string."):
        groups = np.asarray(groups)
    if groups.shape != (X.shape[0],):
        raise ValueError(
            f"{owner}: groups has shape {groups.shape}. Give every row its group, in a 1d array of "
            f"shape ({X.shape[0]},)."
        )
    unknown = [i for i, g in enumerate(groups.tolist()) if is_missing(g)]
    if unknown:
        raise ValueError(
            f"{owner}: groups holds {groups.tolist()[unknown[0]]!r} in row {unknown[0]}, and in "
            f"{len(unknown)} rows in all; give every row its group, for instance one of its own."
        )
    try:
        return np.unique(groups, return_inverse=True)[1].ravel()
    except TypeError as error:
        raise ValueError(
            f"{owner}: groups mixes kinds of values ({error}). Give numbers or strings."
        ) from error


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT or the NA of pandas."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # whether NA differs from NA is not known
        return True


def check_constant_in_groups(X: Any, codes: np.ndarray, columns: Any, owner: str) -> None:
    """Raise if the gate's features differ within a group.

    `columns` are the gate's: None for all, an array, or a list of arrays.
    """
    if isinstance(columns, list):
        columns = np.unique(np.concatenate(columns))
    columns = np.arange(X.shape[1]) if columns is None else columns
    _, first = np.unique(codes, return_index=True)
    for column in columns:
        values = X[:, [column]]
        values = values.toarray()[:, 0] if sp.issparse(values) else values[:, 0]
        shared = values[first][codes]
        differs = (values != shared) & ~(np.isnan(values) & np.isnan(shared))
        if np.any(differs):
            row = int(np.flatnonzero(differs)[0])
            raise ValueError(
                f"{owner}: feature {int(column)} of the gate differs within a group: it is "
                f"{values[row]:.6g} in row {row} and {shared[row]:.6g} in row "
                f"{int(first[codes[row]])} of the same group, and rows of a group share one gate "
                "probability. Set gate_features to features that are constant within groups, or "
                "gate=ConstantGate()."
            )


def group_order(codes: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return an order of rows that depends only on content and keeps groups together."""
    sums = np.zeros(int(codes.max()) + 1, dtype=np.uint64)
    np.add.at(sums, codes, hashes)
    return np.lexsort((hashes, codes, sums[codes]))


def training_rows(
    rows: Rows, groups: np.ndarray | None, start: Any, n_experts: int, seed: int, owner: str
) -> Training:
    """Return rows of positive weight, merged or grouped, those of starts, and the start.

    `start` is a `Start`, which is subset and merged along with its rows.
    """
    weight = rows.weight
    if weight is not None and not np.all(weight > 0):
        kept = np.flatnonzero(weight > 0)
        rows, start = rows.subset(kept, weight[kept]), start.take(kept)
        groups = None if groups is None else groups[kept]
    empty = start.empty_experts()
    if empty:
        raise ValueError(
            f"{owner}: init gives experts {empty} no row of positive weight. Give "
            "every expert rows to start from, or lower n_experts."
        )
    n_units = rows.n_rows if groups is None else len(np.unique(groups))
    if n_units < n_experts:
        what = "n_samples={} rows" if groups is None else "n_groups={} groups"
        raise ValueError(
            f"{owner}: {what.format(n_units)} with positive weight are fewer than "
            f"n_experts={n_experts}. Lower n_experts or give more rows."
        )
    more = [values for values in (rows.offset, rows.labels) if values is not None]
    content = np.vstack([rows.y, *more]) if more else rows.y
    hashes = row_hashes(rows.X, content, seed)
    if groups is not None:
        return _grouped(rows, groups, hashes, start)
    return _merged(rows, hashes, start)


def sorted_rows(rows: Rows, codes: np.ndarray, order: np.ndarray) -> Rows:
    """Return rows in this order, with their groups."""
    ranks = np.cumsum(np.diff(codes[order], prepend=codes[order[0]]) != 0)
    return rows.subset(order, _taken(rows.weight, order), ranks)


def _taken(weight: np.ndarray | None, ids: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[ids]


def _ones_or(weight: np.ndarray | None, n_rows: int) -> np.ndarray:
    return np.ones(n_rows) if weight is None else weight


def _merged_in_groups(rows: Rows, groups: np.ndarray, hashes: np.ndarray, start: Any) -> tuple:
    """Return rows, groups, hashes and start with equal rows of a group merged, weights summed."""
    order = np.lexsort((hashes, groups))
    new = np.diff(groups[order], prepend=-1) != 0
    new |= np.append(True, np.diff(hashes[order]) != 0)
    first = np.flatnonzero(new)
    if len(first) == len(order) or rows.metadata:  # equal rows may differ in metadata
        return rows, groups, hashes, start
    weight = _ones_or(rows.weight, rows.n_rows)
    codes = np.empty(rows.n_rows, dtype=int)
    codes[order] = np.cumsum(new) - 1
    ids = order[first]
    total = np.add.reduceat(weight[order], first)
    return rows.subset(ids, total), groups[ids], hashes[ids], start.merge(codes, weight)


def _grouped(rows: Rows, groups: np.ndarray, hashes: np.ndarray, start: Any) -> Training:
    rows, groups, hashes, start = _merged_in_groups(rows, groups, hashes, start)
    order = group_order(groups, hashes)
    rows, start = sorted_rows(rows, groups, order), start.take(order)
    if rows.n_rows <= SKETCH_ROWS or start.whole:
        return Training(rows, rows, start)
    codes = rows.groups
    assert codes is not None
    stop = int(np.searchsorted(codes, codes[SKETCH_ROWS]))  # whole groups, one at least
    ids = np.arange(max(stop, int(np.sum(codes == 0))))
    return Training(rows, rows.subset(ids, _taken(rows.weight, ids)), start)


def _merged(rows: Rows, hashes: np.ndarray, start: Any) -> Training:
    ids, merged, codes = sketch(hashes, rows.weight, SKETCH_ROWS)
    sketched = rows.subset(ids, merged)
    if codes is None:
        return Training(rows, sketched, start)
    if rows.metadata:  # equal rows may differ in metadata
        order = np.argsort(codes, kind="stable")
        rows = rows.subset(order, _taken(rows.weight, order))
        return Training(rows, sketched, start.take(order))
    return Training(sketched, sketched, start.merge(codes, _ones_or(rows.weight, rows.n_rows)))
