"""Bad input to what a fitted mixture answers."""

import numpy as np
import pytest
from _bad_input import (
    BOTH,
    CLASSIFIER,
    REGRESSOR,
    Case,
    N,
    after_fit,
    check,
    every,
    frame,
    with_value,
)
from sklearn.exceptions import NotFittedError

CASES = [
    # ------------------------------ after fit
    *(
        Case(
            f"{method} before fit",
            "{name} instance is not fitted",
            kinds,
            error=NotFittedError,
            call=lambda model, X, y, weight, method=method: getattr(model, method)(
                *((X, y) if method in ("responsibilities", "log_density", "score") else (X,))
            ),
        )
        for method, kinds in {
            "predict": BOTH,
            "gate_proba": BOTH,
            "predict_experts": BOTH,
            "route": BOTH,
            "responsibilities": BOTH,
            "log_density": BOTH,
            "score": BOTH,
            "predict_proba": CLASSIFIER,
            "predict_log_proba": CLASSIFIER,
        }.items()
    ),
    Case(
        "predict: other number of features",
        "X has 2 features, but {name} is expecting 3",
        call=after_fit(lambda model, X, y: model.predict(X[:, :2])),
    ),
    Case(
        "predict: NaN",
        "Input X contains NaN",
        data=with_value(np.nan),
        call=after_fit(lambda model, X, y: model.predict(X)),
    ),
    Case("predict: no rows", "0 sample", call=after_fit(lambda model, X, y: model.predict(X[:0]))),
    Case(
        "predict: one row as a vector",
        "Expected 2D array",
        call=after_fit(lambda model, X, y: model.predict(X[0])),
    ),
    Case(
        "predict: wrong names",
        "feature names",
        data=frame,
        call=lambda model, X, y, weight: model.fit(X, y).predict(X.rename(columns={"a": "z"})),
    ),
    Case(
        "log_density: too few targets",
        "inconsistent numbers of samples",
        call=after_fit(lambda model, X, y: model.log_density(X, y[1:])),
    ),
    Case(
        "log_density: unknown label",
        "{name}: y has labels that were not seen in fit.*7",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.log_density(X, np.where(y == 1, 7, y))),
    ),
    Case(
        "log_density: labels of another type",
        "{name}: y has labels that were not seen in fit",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.log_density(X, np.where(y == 1, "one", "zero"))),
    ),
    Case(
        "log_density: NaN",
        "y contains NaN",
        REGRESSOR,
        call=after_fit(lambda model, X, y: model.log_density(X, np.full(N, np.nan))),
    ),
    Case(
        "log_density: more outputs than in fit",
        r"{name}: y has shape \(60, 2\)",
        REGRESSOR,
        call=after_fit(lambda model, X, y: model.log_density(X, np.c_[y, y])),
    ),
    Case(
        "responsibilities: unknown label",
        "{name}: y has labels that were not seen in fit",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.responsibilities(X, y + 1)),
    ),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every(CASES)
def test_bad_calls_after_fit(kind, case):
    check(kind, case)
