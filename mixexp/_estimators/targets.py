"""Kinds of target: numbers with a family, or classes.

Both check and encode y for `Rows`, shape experts' predictions for the caller, and know the density
of the noise expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_array, check_consistent_length

from mixexp._checks import as_numbers, named_error, short
from mixexp._rows.inputs import check_log_offset, class_offset_rows, is_missing, offset_rows
from mixexp.protocols import Family

__all__ = ["Classes", "Numbers", "Trials", "refuse_missing_labels"]

#: Doubles are whole numbers up to here.
MOST_TRIALS = 2.0**53

#: Least range of targets, beside 0: below, dispersions cannot follow residuals.
SMALLEST_RANGE = 1e-151

#: Largest size of a target: squares of a few thousand larger ones add up to infinity.
LARGEST_TARGET = 1e152


#: Share of the range of training targets by which predictions may leave it at each end. Where one
#: line is right, the range itself cuts off many a right prediction: with four experts for 300 rows
#: of a line, the error is half as large again. Of thirteen tables, a margin takes that away, and
#: only one, with skewed columns and targets, is better without it (.373 for .407).
MARGIN = 0.25


def refuse_trials(trials: Any, what_has: str, owner: str) -> None:
    """Raise: there are no trials."""
    raise ValueError(
        f"{owner}: trials={short(trials)}, and {what_has} no trials. Leave trials out, or fit a "
        "MixtureOfExpertsRegressor with family='binomial'."
    )


def checked_trials(trials: Any, n_rows: int, owner: str) -> np.ndarray:
    """Return numbers of trials (n_rows,); a single number is that of all rows."""
    remedy = f"Give the number of trials of each of {n_rows} rows, or one number for all."
    numbers = as_numbers(trials, "trials", owner, remedy)
    if numbers.shape not in ((), (n_rows,), (n_rows, 1)):
        raise ValueError(f"{owner}: trials has shape {numbers.shape}. {remedy}")
    numbers = np.broadcast_to(numbers.reshape(-1), n_rows)
    bad = ~((numbers >= 1) & (numbers <= MOST_TRIALS) & (numbers == np.floor(numbers)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{owner}: trials={numbers[row]:.6g} in row {row} must be a whole number from 1 to "
            "2**53. Leave rows without trials out."
        )
    return numbers


@dataclass(frozen=True)
class Numbers:
    """One or several numbers, with a density given an expert's prediction.

    Attributes
    ----------
    family : Family
    shape : tuple of int
        Shape of one row's target: (), or (n_outputs,).
    """

    family: Family
    shape: tuple[int, ...]

    #: There are no class labels.
    classes = None

    @property
    def width(self) -> int:
        """Number of outputs."""
        return int(np.prod(self.shape))

    def encode(self, y: np.ndarray, owner: str) -> np.ndarray:
        """Return checked training targets (n_outputs, n); the family may refuse them."""
        rows = self._as_rows(y)
        self.family.check(rows, owner)
        return rows

    def refuse_extreme(self, extremes: np.ndarray, owner: str) -> None:
        """Raise if targets of this range (n_outputs, 2) are too large or close to be squared."""
        if self.family.link != "identity":
            return
        with np.errstate(over="ignore"):
            ranges = extremes[:, 1] - extremes[:, 0]
        largest = np.max(np.abs(extremes))
        if not largest <= LARGEST_TARGET:
            raise ValueError(
                f"{owner}: y goes up to {largest:.3g}, and sums of squares of such numbers are "
                "infinite in float64. Divide y by a constant, to have a range of about 1."
            )
        tiny = (ranges > 0) & (ranges < SMALLEST_RANGE)
        if np.any(tiny):
            raise ValueError(
                f"{owner}: y goes over a range of {ranges[tiny][0]:.3g}, and squares of such "
                "numbers are 0 in float64. Multiply y by a constant, to have a range of about 1."
            )

    def encode_new(self, y: Any, X: Any, owner: str) -> np.ndarray:
        """Return targets to score, (n_outputs, n)."""
        y = as_numbers(y, "y", owner, f"Give a target for each of {X.shape[0]} rows.")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(X, y)
        flat = y.reshape(len(y), -1).shape[1:]
        if y.shape[1:] != self.shape and flat != (self.shape or (1,)):
            raise ValueError(
                f"{owner}: y has shape {y.shape}, and the mixture was fitted on "
                f"targets of shape (n_samples, {', '.join(map(str, self.shape))})."
            )
        return self._as_rows(y)

    def counted(self, y: Any, trials: Any, owner: str) -> Any:
        """Return y, with successes and failures as columns if `trials` says how many there were."""
        if trials is not None:
            refuse_trials(
                trials, f"family {getattr(self.family, 'name', self.family)!r} has", owner
            )
        return y

    def law_parameters(self, parameters: Any, trials: Any, n_rows: int, owner: str) -> np.ndarray:
        """Return the parameters (n_parameters, K, ...) of the experts as those of a distribution.

        Those of trials are (1, n_rows, K).
        """
        self.counted(None, trials, owner)
        return np.asarray(parameters if self.shape else parameters[..., 0])

    @staticmethod
    def _as_rows(y: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(y.reshape(len(y), -1).T, dtype=np.float64)

    def refuse_impossible(self, y: np.ndarray, owner: str) -> None:
        """Raise if no expert can have given y (n_outputs, n), as the family does in a fit."""
        self.family.check(y, owner)

    def possible(self, y: np.ndarray) -> np.ndarray | None:
        """Return a mask (m,) of y (n_outputs, m) in the family's support; None if undeclared.

        Families may assume valid y; elsewhere a formula may give NaN or a meaningless number.
        """
        supports = getattr(self.family, "supports", None)
        return None if supports is None else supports(y).all(axis=0)

    def shaped(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs (n, K, n_outputs), without the last axis for a single target."""
        return outputs if self.shape else outputs[..., 0]

    def limits(
        self, y: np.ndarray, offset: np.ndarray | None, wide: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the range of training targets (n_outputs, n), without offset, per output.

        If `wide`, it is longer at both ends, by `MARGIN`, but does not go beyond 0.
        """
        if offset is not None:
            y = self.family.without_offset(y, offset)[0]
        low, high = y.min(axis=1), y.max(axis=1)
        if not wide:
            return low, high
        with np.errstate(over="ignore"):
            margin = MARGIN * (high - low)
            lower, upper = low - margin, high + margin
        if self.family.link == "logit":
            upper = np.minimum(upper, 1.0)
        lower = np.where(low >= 0, np.maximum(lower, 0.0), lower)
        return lower, np.where(high <= 0, np.minimum(upper, 0.0), upper)

    def bounded(
        self, pooled: np.ndarray, limits: tuple[np.ndarray, np.ndarray], offset: np.ndarray | None
    ) -> np.ndarray:
        """Return predictions (m[, n_outputs]) within limits, which an offset shifts."""
        low, high = (limit[:, None] for limit in limits)
        if offset is not None:
            low, high = (self._shifted(limit, offset) for limit in (low, high))
        return np.clip(pooled, low.T.reshape(-1, *self.shape), high.T.reshape(-1, *self.shape))

    def _shifted(self, limit: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return a limit of means with the offset; the ends of their range stay.

        Their linear predictors are infinite, and families give large ones instead.
        """
        shifted: np.ndarray = self.family.mean(self.family.eta(limit) + offset)
        if self.family.link != "identity":
            shifted = np.where(limit <= 0, 0.0, shifted)
        return np.where(limit >= 1, 1.0, shifted) if self.family.link == "logit" else shifted

    def noise(self, y: np.ndarray, owner: str) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-density of the noise expert and its support: low and high.

        Uniform over the range of the training targets (n_outputs, n), or its integers for counts.
        """
        low, high = y.min(axis=1), y.max(axis=1)
        width = high - low + (1.0 if self.family.discrete else 0.0)
        if not np.all(width > 0):
            raise ValueError(
                f"{owner}: noise_expert=True needs a range of targets, and y is constant at "
                f"{low[width <= 0][0]:.6g}. Set noise_expert=False."
            )
        return -float(np.log(width).sum()), low, high

    def offset(self, offset: Any, X: Any, owner: str, batch: str | None) -> np.ndarray | None:
        """Return a checked offset as `Rows` holds it, (n_outputs or 1, n).

        For a log link it must be a logarithm. `batch` names estimators that are fitted one by one,
        None for a bank.
        """
        rows = offset_rows(offset, X, self.width, owner)
        if rows is not None and self.family.link == "log":
            check_log_offset(rows, owner)
        return rows


@dataclass(frozen=True)
class Trials(Numbers):
    """Successes among trials, which `Rows` holds as two lines; one probability is predicted."""

    family: Any

    def counted(self, y: Any, trials: Any, owner: str) -> Any:
        """Return y, or successes and failures (n, 2) of successes and their `trials`."""
        if trials is None or y is None:
            return y
        won = as_numbers(y, "y", owner, "Give the number of successes of each row.")
        if won.ndim > 2 or won.shape[1:] not in ((), (1,)):
            raise ValueError(
                f"{owner}: y has shape {won.shape}, and trials={short(trials)} needs one column, "
                "the numbers of successes. Leave trials out if y has successes and failures."
            )
        won = won.reshape(-1)
        checked = checked_trials(trials, len(won), owner)
        bad = ~((won >= 0) & (won <= checked) & (won == np.floor(won)))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{owner}: y must be whole numbers of successes, from 0 to trials; row {row} has "
                f"y={won[row]:.6g} and trials={checked[row]:.6g}. Of a share of successes, give "
                "share * trials."
            )
        return np.column_stack([won, checked - won])

    def law_parameters(self, parameters: Any, trials: Any, n_rows: int, owner: str) -> np.ndarray:
        """Return the numbers of trials (1, n_rows, K); no parameters, of one trial, for None."""
        if trials is None:
            return np.asarray(parameters[..., 0])
        checked = checked_trials(trials, n_rows, owner)
        return np.broadcast_to(checked[:, None], (1, n_rows, parameters.shape[1]))

    def encode(self, y: np.ndarray, owner: str) -> np.ndarray:
        """Return checked successes and trials (2, n) of successes and failures."""
        rows = self._counted(y, owner)
        self.refuse_impossible(rows, owner)
        return rows

    def encode_new(self, y: Any, X: Any, owner: str) -> np.ndarray:
        """Return successes and trials to score, (2, n)."""
        y = as_numbers(y, "y", owner, f"Give successes and failures of {X.shape[0]} rows.")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(X, y)
        return self._counted(y, owner)

    @staticmethod
    def _counted(y: np.ndarray, owner: str) -> np.ndarray:
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if y.shape[1] > 2:
            raise ValueError(
                f"{owner}: family 'binomial' needs y of one or two columns, got {y.shape[1]}. "
                "Give the numbers of successes and of failures."
            )
        trials = y.sum(axis=1) if y.shape[1] == 2 else np.ones(len(y))
        return np.ascontiguousarray(np.stack([y[:, 0], trials]))

    def refuse_impossible(self, y: np.ndarray, owner: str) -> None:
        """Raise if some row of successes and trials (2, n) is impossible."""
        bad = ~self.family.possible(y)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            won, trials = y[:, row].tolist()
            raise ValueError(
                f"{owner}: family 'binomial' needs whole numbers of successes and failures, not "
                "negative and not both 0: one column of successes with trials=, or both as the two "
                "columns of y; without trials= one column is of 0 and 1. Got "
                f"{won:.6g} successes and {trials - won:.6g} failures in row {row}. Of a share of "
                "successes, give share * trials and (1 - share) * trials; leave rows without "
                "trials out."
            )

    def possible(self, y: np.ndarray) -> np.ndarray | None:
        """Return a mask (m,) of possible successes and trials (2, m)."""
        mask: np.ndarray = self.family.possible(y)
        return mask

    def limits(
        self, y: np.ndarray, offset: np.ndarray | None, wide: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the range of all probabilities: shares of few trials say nothing of it."""
        return np.zeros(1), np.ones(1)

    def noise(self, y: np.ndarray, owner: str) -> tuple[float, np.ndarray, np.ndarray]:
        """Refuse: the density of the noise would depend on the trials."""
        raise ValueError(
            f"{owner}: noise_expert=True is not available with family 'binomial'. Set "
            "noise_expert=False; zero_expert=True takes up rows without successes."
        )


def refuse_missing_labels(labels: Any, owner: str, name: str = "y") -> None:
    """Raise if a class label is None, NaT or NA; of NaN, and other shapes, scikit-learn tells."""
    try:
        labels = np.asarray(labels).ravel()
    except ValueError:  # rows of different length
        return
    if labels.dtype.kind not in "OmM":
        return
    missing = [row for row, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise ValueError(
            f"{owner}: {name} holds {labels[missing[0]]!r} in row {missing[0]}, and "
            f"{len(missing)} missing labels in all. Leave them out, and their rows."
        )


@dataclass(frozen=True)
class Classes:
    """One of several classes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Labels, in ascending order.
    """

    classes: np.ndarray

    #: Classes need no family.
    family = None

    def refuse_extreme(self, extremes: np.ndarray, owner: str) -> None:
        """Do nothing: labels have no size."""

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row's prediction: a probability per class."""
        return (self.width,)

    def encode(self, y: np.ndarray, owner: str) -> np.ndarray:
        """Return training labels, which are already codes."""
        return y

    def encode_new(self, y: Any, X: Any, owner: str) -> np.ndarray:
        """Return the codes (n,) of labels to score."""
        refuse_missing_labels(y, owner)
        remedy = f"Give a label for each of {X.shape[0]} rows; known are {self.classes}."
        with named_error(owner, "y", remedy):
            y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
            codes = np.searchsorted(self.classes, y)
        codes = np.minimum(codes, len(self.classes) - 1)
        unknown = self.classes[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"{owner}: y has labels that were not seen in fit: "
                f"{np.unique(np.asarray(y)[unknown])[:5]}. Known are {self.classes}."
            )
        return codes

    def counted(self, y: Any, trials: Any, owner: str) -> Any:
        """Return y; classes have no trials."""
        if trials is not None:
            refuse_trials(trials, "classes have", owner)
        return y

    def refuse_impossible(self, y: np.ndarray, owner: str) -> None:
        """Do nothing: all known labels are possible."""

    def possible(self, y: np.ndarray) -> np.ndarray | None:
        """Return None: all known labels are possible."""
        return None

    def shaped(self, outputs: np.ndarray) -> np.ndarray:
        """Return probabilities (n, K, n_classes), clipped at 1 against rounding."""
        return np.minimum(outputs, 1.0)

    def noise(self, y: np.ndarray, owner: str) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-probability of a class under noise, with no bounds."""
        return -float(np.log(self.width)), np.array([-np.inf]), np.array([np.inf])

    def offset(self, offset: Any, X: Any, owner: str, batch: str | None) -> np.ndarray | None:
        """Return a checked offset as `Rows` holds it, centred (n_classes, n).

        `batch` names estimators that are fitted one by one, None for a bank.
        """
        if offset is not None and batch is not None:
            raise ValueError(
                f"{owner}: offset is added to the linear predictor of logistic experts, and "
                f"{batch} has none. Use expert=None or LogisticRegression()."
            )
        return class_offset_rows(offset, X, self.width, owner)
