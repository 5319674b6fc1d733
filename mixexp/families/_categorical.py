"""Calibration of class probabilities, the counterpart of a dispersion."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

__all__ = ["Calibration"]

#: Lower limit of probabilities before their logarithm is taken.
SMALLEST_PROBA = 1e-12

#: Range of the exponents, from nearly flat to twice as sure.
EXPONENTS = (0.1, 2.0)

#: Least share of the classes' overall shares.
SMALLEST_SHARE = 1e-6

#: Bisection steps for a share.
BISECTIONS = 20


class Calibration:
    """Calibration of the experts' class probabilities to their out-of-fold accuracy.

    p'_c ∝ (1 − s) p_c^t / Σ_d p_d^t + s q_c, with an exponent t (the inverse of a temperature, Guo
    et al. 2017) and a share s of the classes' overall shares q, one of each per expert. Like
    the dispersion of a regression they are fitted by maximum likelihood to out-of-fold predictions:
    a leaf's 0 is not a proof, and boosting is overconfident.

    Parameters
    ----------
    shares : ndarray of shape (n_classes,)
        Weighted shares of the classes.
    exponents, smoothing : ndarray of shape (K,)

    References
    ----------
    Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.families import Calibration
    >>> proba = np.array([[[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])  # sure, and wrong once
    >>> calibration = Calibration.fitted(proba, np.array([0, 0, 1, 1]), np.ones((1, 4)))
    >>> bool(0.5 < calibration.apply(proba)[0, 0, 0] < 0.9)
    True
    """

    def __init__(self, shares: np.ndarray, exponents: np.ndarray, smoothing: np.ndarray):
        self.shares = shares
        self.exponents = exponents
        self.smoothing = smoothing

    def apply(self, proba: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (K, n_classes, m)."""
        sharpened = _power(np.log(np.maximum(proba, SMALLEST_PROBA)), self.exponents[:, None, None])
        smoothing = self.smoothing[:, None, None]
        proba = (1 - smoothing) * sharpened + smoothing * self.shares[:, None]
        return np.minimum(proba, 1.0)  # rounding may exceed 1

    def select(self, experts: np.ndarray) -> Calibration:
        """Return the calibration of some experts, in this order."""
        return Calibration(self.shares, self.exponents[experts], self.smoothing[experts])

    @classmethod
    def fitted(cls, proba: np.ndarray, y: np.ndarray, resp: np.ndarray) -> Calibration:
        """Return the best calibration of out-of-fold probabilities (K, n_classes, n).

        `y` are class codes (n,), `resp` responsibilities times row weights (K, n).
        """
        shares = np.bincount(y, weights=resp.sum(axis=0), minlength=proba.shape[1])
        total = shares.sum()  # 0 for a region that nobody has rows in
        shares = shares / total if total > 0 else np.full(len(shares), 1 / len(shares))
        pairs = [_fit(p, y, r, shares) for p, r in zip(proba, resp, strict=True)]
        exponents, smoothing = np.array(pairs).T
        return cls(shares, exponents, smoothing)


def _power(log_proba: np.ndarray, exponent: np.ndarray | float) -> np.ndarray:
    """Return p^t / Σ p^t over the classes, axis -2."""
    scores = exponent * log_proba
    scores -= scores.max(axis=-2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-2, keepdims=True)
    return scores


def _fit(proba: np.ndarray, y: np.ndarray, resp: np.ndarray, shares: np.ndarray) -> tuple:
    """Return exponent and share of one expert; (1, smallest) for one without rows."""
    kept = np.flatnonzero(resp > 1e-10 * resp.max(initial=0.0))
    if len(kept) == 0 or not resp.sum() > 0:
        return 1.0, SMALLEST_SHARE
    log_proba = np.log(np.maximum(proba[:, kept], SMALLEST_PROBA))
    y, resp = y[kept], resp[kept]
    prior, rows = shares[y], np.arange(len(kept))

    def best_share(log_exponent: float) -> tuple[float, float]:
        sharpened = _power(log_proba, float(np.exp(log_exponent)))[y, rows]
        low, high = SMALLEST_SHARE, 1.0
        for _ in range(BISECTIONS):  # the derivative is decreasing
            share = 0.5 * (low + high)
            rises = resp @ ((prior - sharpened) / ((1 - share) * sharpened + share * prior)) > 0
            low, high = (share, high) if rises else (low, share)
        share = 0.5 * (low + high)
        return share, -float(resp @ np.log((1 - share) * sharpened + share * prior))

    low, high = np.log(EXPONENTS)
    best = minimize_scalar(
        lambda t: best_share(t)[1], bounds=(low, high), method="bounded", options={"xatol": 1e-2}
    )
    return float(np.exp(best.x)), best_share(float(best.x))[0]
