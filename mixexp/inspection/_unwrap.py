"""The fitted mixture inside a Pipeline or a search, and X as it reaches it."""

from __future__ import annotations

from typing import Any

from mixexp._wrapped import find_mixture, transformed

__all__ = ["unwrap"]


def unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the fitted mixture inside a Pipeline or search, and X transformed for it.

    A Pipeline has no `gate_proba`, `responsibilities` or `log_density`, and the mixture at its end
    expects transformed rows. Given the raw X it cannot tell the difference and returns wrong
    numbers without an error.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them: for a Pipeline, before its first step.

    Returns
    -------
    mixture : estimator
        The fitted mixture itself, not a copy.
    X_inside : {ndarray, sparse matrix, data frame} of shape (n_samples, n_features_inside)
        X transformed by all steps before the mixture: ``pipeline[:-1].transform(X)`` for a
        Pipeline, X itself for a mixture.

    Raises
    ------
    NotFittedError
        Where the estimator is not fitted.
    TypeError
        Where there is no mixture inside.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inspection import unwrap
    >>> X, y = load_tone(return_X_y=True)
    >>> mixture = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), mixture).fit(X, y)
    >>> mixture, X_inside = unwrap(pipeline, X)
    >>> mixture.responsibilities(X_inside, y).shape
    (150, 2)
    """
    before, mixture = find_mixture(estimator, "unwrap")
    return mixture, transformed(before, X)
