"""New data as the rows that a fitted model answers for."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from mixexp._checks import refuse_dask
from mixexp._columns import as_numbers, check_known_text
from mixexp._rows.in_order import allowed_threads
from mixexp._rows.inputs import refuse_missing
from mixexp._rows.maps import kept_dtypes
from mixexp._rows.rows import Rows
from mixexp._rows.sparse import canonical

__all__ = ["PREDICTION_ROWS", "new_rows"]

#: Rows per block at prediction: a single pass, so blocks need not fit the cache.
PREDICTION_ROWS = 1 << 14


def new_rows(
    estimator: Any, X: Any, y: Any = None, offset: Any = None, weight: np.ndarray | None = None
) -> Rows:
    """Return new data as checked rows for the model of a fitted estimator."""
    owner, model, rules = type(estimator).__name__, estimator._model, estimator._rules
    refuse_dask(owner, X, y)
    table = as_numbers(X)
    X = validate_data(
        estimator,
        table.X,
        reset=False,
        accept_sparse="csr" if rules.sparse else False,
        dtype=kept_dtypes(table.X),
        ensure_all_finite="allow-nan",
    )
    check_known_text(table, rules.text, owner)
    X = canonical(X)
    missing = refuse_missing(X, rules.refusing, owner)
    rows = Rows(
        X,
        None if y is None else model.target.encode_new(y, X, owner),
        weight,
        frame=table.frame if rules.frames else None,
        offset=model.target.offset(offset, X, owner, rules.batch),
        missing=missing,
    )
    rows.block_rows = PREDICTION_ROWS
    if rows.n_rows > PREDICTION_ROWS and not rules.frames:  # estimators predict one after another
        rows.n_threads = allowed_threads(getattr(estimator, "n_jobs", None))
    return rows
