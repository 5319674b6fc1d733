"""The threshold from which a draft's answers are taken, with a bound on how often they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

__all__ = ["CONFIDENCE", "Calibration", "calibrate", "rows_needed", "upper_bound"]

#: Confidence of the bound on the share of accepted answers that differ.
CONFIDENCE = 0.95

#: Acceptance shares that are tested, from the surest rows to all rows.
SHARES = np.arange(1, 51) / 50

#: Each sequence of tests begins with a share that passes with up to so many rows that differ, or
#: with half of the rows if there are fewer. A first test of few rows often fails by chance, which
#: ends its sequence; one of many rows passes over the surest.
ALLOWED_AT_FIRST = (6, 20)


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`.

    Attributes
    ----------
    threshold : float
        Certainty from which answers are accepted; inf if none are.
    acceptance : float
        Share of the weight of all rows that is accepted.
    agreement : float
        Share of the accepted weight whose answers agree; NaN if nothing is accepted.
    bound : float
        Upper bound on the share of accepted answers that differ; NaN if nothing is accepted.
    n_rows : float
        Number of rows, an effective one where weights are no counts.
    first : tuple of float or None
        Acceptance share, share of answers that differ, and bound of the first test; None if there
        were too few rows for any.
    """

    threshold: float
    acceptance: float
    agreement: float
    bound: float
    n_rows: float
    first: tuple[float, float, float] | None


def upper_bound(n_wrong: float, n_rows: float, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of Clopper & Pearson (1934) on a share.

    The largest p with P(at most `n_wrong` of `n_rows`) ≥ 1 − confidence. Counts need not be
    integers.
    """
    if n_wrong >= n_rows:
        return 1.0
    return float(betaincinv(n_wrong + 1, n_rows - n_wrong, confidence))


def rows_needed(limit: float, n_wrong: int = 0, confidence: float = CONFIDENCE) -> int:
    """Return the fewest rows of which `n_wrong` may differ with a bound of at most `limit`."""
    low, high = n_wrong, n_wrong + 1
    while upper_bound(n_wrong, high, confidence) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if upper_bound(n_wrong, middle, confidence) > limit:
            low = middle
        else:
            high = middle
    return high


def calibrate(
    certainty: np.ndarray, differs: np.ndarray, weight: np.ndarray, limit: float
) -> Calibration:
    """Return the lowest tested threshold at which the bound is at most `limit`.

    1. Order the rows by falling certainty and choose the shares to test, from numbers of rows and
       `limit` alone: two sequences that begin with different shares, or one on few rows.
    2. Test each in turn: is the upper bound among its rows, and all others as certain, at most
       `limit`?
    3. Stop at the first that fails. The largest share that passed gives the threshold.

    Parameters
    ----------
    certainty : ndarray of shape (n,)
        Larger is surer; −inf for rows never to be accepted.
    differs : ndarray of bool of shape (n,)
        Whether draft and full model differ.
    weight : ndarray of shape (n,)
        Positive. Integers count rows, others give an effective number (Kish 1965).
    limit : float
        Largest bound allowed, in (0, 1).

    Notes
    -----
    This is fixed-sequence testing from several starts (Angelopoulos et al. 2021, arXiv 2110.01052,
    section 3): the tests of two sequences have level 2.5 %, and so has each sequence, since a wrong
    threshold is only reached through a wrong rejection at its first false hypothesis. Which
    hypothesis that is depends on certainties but not on `differs`: given certainties, the number of
    differences is a sum of independent Bernoulli variables, whose lower tail is no heavier than
    that of a binomial variable of the same mean (Hoeffding 1956), so the binomial bound holds for
    their mean.
    """
    order = np.argsort(-certainty, kind="stable")
    sorted_certainty, w = certainty[order], weight[order]
    total, wrong = np.cumsum(w), np.cumsum(w * differs[order])
    size = total if _are_counts(w) else total**2 / np.cumsum(w**2)
    sequences, confidence = _sequences(sorted_certainty, total, size[-1], limit)
    found, first = None, None
    for rows in sequences:
        for last in rows:
            share, n_rows = float(wrong[last] / total[last]), size[last]
            tested = upper_bound(share * n_rows, n_rows, confidence)
            acceptance = float(total[last] / total[-1])
            first = first or (acceptance, share, tested)
            if tested > limit:
                break
            if found is None or acceptance > found[1]:
                found = float(sorted_certainty[last]), acceptance, 1 - share, tested
    return Calibration(*(found or (np.inf, 0.0, np.nan, np.nan)), float(size[-1]), first)


def _are_counts(weight: np.ndarray) -> bool:
    return bool(np.all(weight == np.rint(weight)))


def _sequences(
    certainty: np.ndarray, total: np.ndarray, n_rows: float, limit: float
) -> tuple[list[list[int]], float]:
    """Return the last rows of the shares that each sequence tests, and the tests' confidence.

    `certainty` falls, `total` rises. Sequences that begin with the same share are one.
    """
    split = 1 - (1 - CONFIDENCE) / len(ALLOWED_AT_FIRST)
    found = [_tested(certainty, total, n_rows, limit, n, split) for n in ALLOWED_AT_FIRST]
    if all(found) and len({rows[0] for rows in found}) == len(found):
        return found, split
    rows = _tested(certainty, total, n_rows, limit, ALLOWED_AT_FIRST[0], CONFIDENCE)
    return [rows], CONFIDENCE


def _tested(
    certainty: np.ndarray,
    total: np.ndarray,
    n_rows: float,
    limit: float,
    n_wrong: int,
    confidence: float,
) -> list[int]:
    """Return the last row of every share that is tested, from the first one on."""
    enough = min(rows_needed(limit, n_wrong, confidence), n_rows / 2)
    fewest = max(rows_needed(limit, 0, confidence), enough)
    shares = SHARES[SHARES * n_rows >= fewest]
    rows = np.minimum(np.searchsorted(total, shares * total[-1] * (1 - 1e-12)), len(total) - 1)
    # a share includes all rows as certain as its last
    last = np.searchsorted(-certainty, -certainty[rows], side="right") - 1
    return [int(i) for i in np.unique(last) if certainty[i] > -np.inf]
