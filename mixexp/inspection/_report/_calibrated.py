"""The section on calibration: how often targets are where the distributions say."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection._calibration_display import CalibrationDisplay
from mixexp.inspection._report._held_out import HeldOut
from mixexp.inspection._report._page import Section, paragraph
from mixexp.inspection._report._pictures import drawn
from mixexp.inspection._report._subject import Subject

__all__ = ["calibration_section", "reliability"]

#: Bins of the reliability of classes, each with an equal share of the rows.
BINS = 8


def calibration_section(subject: Subject, found: HeldOut) -> Section:
    """Draw how often targets are where the distributions say."""
    draw = _of_classes if subject.classes else _of_numbers
    return Section("calibration", "Calibration", [paragraph(found.how), draw(found)])


def _of_numbers(found: HeldOut) -> str:
    """Draw the probability integral transform of all folds."""
    if any(each.calibration is None for each in found.mixture):
        raise ValueError("The family has no distribution function for these targets.")
    weight = [each.rows.weight.sum() for each in found.mixture]
    densities = np.average([a.calibration.densities for a in found.mixture], axis=0, weights=weight)
    edges = found.mixture[0].calibration.bin_edges
    return drawn(
        lambda ax: CalibrationDisplay(bin_edges=edges, densities=densities).plot(ax),
        "Histogram of the probability integral transform of the targets",
        "Targets by P(Y ≤ y). Bars on the line: calibrated. High bars at both ends: distributions "
        "are too narrow; in the middle: too wide; at one end: too low or too high.",
    )


def _of_classes(found: HeldOut) -> str:
    """Draw the share of rows whose class came against its probability."""
    first = found.mixture[0].labels
    assert first is not None  # of classes
    p, came, weight = [], [], []
    for each in found.mixture:
        assert each.proba is not None and each.labels is not None
        guess = np.full(len(each.proba), 1) if len(first) == 2 else each.proba.argmax(axis=1)
        p.append(each.proba[np.arange(len(guess)), guess])
        came.append(each.rows.y.ravel() == each.labels[guess])
        weight.append(each.rows.weight)
    mean, share = reliability(np.concatenate(p), np.concatenate(came), np.concatenate(weight), BINS)
    name = f"probability of {first[1]}" if len(first) == 2 else "probability of the predicted class"

    def draw(ax: Any) -> None:
        ax.plot([0, 1], [0, 1], color="0.2", linestyle="--")
        ax.plot(mean, share, color="C0", marker="o")
        ax.set_xlabel(name, parse_math=False)
        ax.set_ylabel("share that came")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return drawn(
        draw,
        "Share of the rows whose class came, against its probability",
        "Each dot is an equal share of the rows. Dots on the line: calibrated. Below it: "
        "probabilities are too high; above it: too low.",
    )


def reliability(
    p: np.ndarray, came: np.ndarray, weight: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean probabilities and shares that came, in bins of equal weight.

    Parameters
    ----------
    p : ndarray of shape (n,)
        Probabilities of events.
    came : ndarray of bool of shape (n,)
        Whether they came.
    weight : ndarray of shape (n,)
        Weights of the rows.
    n_bins : int
        Number of bins. Equal probabilities share one, so that there may be fewer.

    Returns
    -------
    mean, share : ndarrays of shape (n_bins_found,)
    """
    values, index = np.unique(p, return_inverse=True)
    mass = np.bincount(index, weights=weight)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins = np.minimum((middle * n_bins).astype(int), n_bins - 1)[index]
    total = np.bincount(bins, weights=weight)
    kept = total > 0
    sums = (np.bincount(bins, weights=weight * each)[kept] for each in (p, came))
    mean, share = (each / total[kept] for each in sums)
    return mean, share
