"""The fit of one expert to all rows, from which experts begin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.tree import DecisionTreeClassifier

from mixexp._engine.context import Context
from mixexp._engine.criteria import LEAST_LOG_DENSITY
from mixexp._engine.fixed import fit_at, statistics_at
from mixexp._engine.folds import scaled_folds
from mixexp._engine.starts import NOISE_SHARE
from mixexp._engine.sweep import State
from mixexp._engine.tuning import MOST_ROUNDS, SMALL_CHANGE, largest_change, underdetermined
from mixexp.protocols import Block, Rows, can, evolve, has_scale

__all__ = [
    "by_evidence",
    "knows_left_out",
    "leaves_out",
    "left_out_log_prob",
    "lone",
    "one_expert",
    "outlying",
]

#: Steps of the fit; one is exact for linear experts. Those that weigh rows by their residuals take
#: so many again, at most so often, until dispersions change by less than this share.
ONE_EXPERT_STEPS, MOST_REPEATS, SETTLED = 5, 20, 1e-3

#: Most iterations beside the noise expert, each of which may take a few times its spread from the
#: largest outliers, and its share of the rows at which it is no noise any more.
MOST_NOISE_STEPS, MOST_NOISE = 50, 0.5

#: Concentration from which rows outside are a region, and rows of the tree's leaves.
TOLD, LARGEST_LEAF = 0.5, 20

#: Largest dispersion beside the noise expert, as a multiple of that of one expert beside it.
WIDEST = 10.0

#: Steps at a strength from the end of the fit at a stronger one; one is exact for normal errors.
PATH_STEPS = 3

#: Folds by which a strength is chosen, and most cross-validations: as many as have LEFT_OUT rows in
#: all, as which rows share a fold matters where they are few.
STRENGTH_FOLDS, MOST_DEALS, LEFT_OUT = 5, 4, 1000

#: Most products of a decomposition of all rows, by which they are left out one by one: seconds.
MOST_PRODUCTS = 2e10

#: Independent residuals that a strength leaves at least: with fewer, rows left out say little.
FEWEST_FREE = 3.0

#: A strength with a log-likelihood of left-out rows so many nats below the best has hardly a share
#: in the choice, and weaker ones are not tried.
HOPELESS = 5.0


def one_expert(bank: Any, rows: Rows, noise: Callable[[Any], Any] | None = None) -> Any:
    """Return a bank of one expert fitted to rows, with its penalty where rows are few.

    A weak penalty would let each of several experts explain any rows, and starts would be as good
    as random. They begin at that of one, which its evidence sets, or left-out rows choose.

    With `noise`, which adds the noise expert to a bank, that has the outliers: the floor of
    dispersions is a share of this one's, and would be above all of them. An expert that is much
    wider than this one would take the outliers, and its share of every prediction. Labels say
    otherwise where they are known: a labelled row is no noise.
    """
    single = _of_all(bank, rows)
    if noise is None or rows.labels is not None or not can(single, "with_ceiling"):
        return single
    return _beside(noise, single, rows) if _is_distance(single.family) else single


def _is_distance(family: Any) -> bool:
    """Return whether dispersions are distances from a mean."""
    return has_scale(family) and bool(family.link == "identity")


def _of_all(bank: Any, rows: Rows) -> Any:
    """Return the fit to all rows."""
    ones = np.ones((1, rows.n_rows))
    if not underdetermined(bank, rows):
        return _fitted(bank, rows, ones)
    if can(bank, "strength_path") and rows.units.n_rows > 1:
        bank = bank.chosen_at(_by_left_out_rows(bank, rows))
        return _dispersed(_fitted(bank, rows, ones), rows, ones)
    return by_evidence(_fitted(bank, rows, ones), rows)


def lone(bank: Any, rows: Rows) -> Any:
    """Return the bank of `one_expert` as it predicts alone best, not as several begin best.

    Where rows are few, those outside of a fold may be fewer than the columns, and a strong penalty
    looks best. It keeps several experts from learning rows by heart, but one is worth more: rows
    left out one by one choose what ridge regression would. How far they are missed, and a standard
    error more, is its dispersion: the strength with the smallest is also the luckiest.
    """
    if not leaves_out(bank, rows):
        return bank
    strengths, left_out = bank.strength_path(rows), bank.left_out(rows)
    free = np.array([left_out.free(strength) for strength in strengths])
    strengths = strengths[free >= min(FEWEST_FREE, free.max())]
    misses = [_missed(bank, left_out, strength) for strength in strengths]
    n_sets = min(rows.total_weight, left_out.n_sets)
    strength = _mean_strength(strengths, -0.5 * n_sets * np.log(misses).sum(axis=1))
    bank = bank.chosen_at(strength, _missed(bank, left_out, strength))
    ones = np.ones((1, rows.n_rows))
    return _dispersed(_fitted(bank, rows, ones), rows, ones)


def leaves_out(bank: Any, rows: Rows) -> bool:
    """Return whether rows are few, and what is missed of those left out is known for one expert."""
    return underdetermined(bank, rows) and knows_left_out(bank, rows)


def knows_left_out(bank: Any, rows: Rows) -> bool:
    """Return whether one expert is known without each of the rows.

    It takes a decomposition of the rows, which is not worth its time where these are large.
    """
    if not can(bank, "left_out") or rows.groups is not None:
        return False
    sides = rows.n_rows, bank.design.size
    return float(np.prod(sides, dtype=float)) * min(sides) <= MOST_PRODUCTS


def left_out_log_prob(bank: Any, rows: Rows) -> np.ndarray:
    """Return the log-density (n,) of each row under one expert fitted without it."""
    left_out = bank.left_out(rows)
    squares = left_out.residuals(bank.strength) ** 2
    variances = _missed(bank, left_out, bank.strength)[:, None]
    density: np.ndarray = -0.5 * (squares / variances + np.log(2 * np.pi * variances)).sum(axis=0)
    return density


def _missed(bank: Any, left_out: Any, strength: float) -> np.ndarray:
    """Return mean squared errors (n_outputs,) of left-out rows; rounding is above 0."""
    squares: np.ndarray = np.maximum(left_out.mean_squares(strength), bank.floor**2)
    return np.maximum(squares, np.finfo(float).tiny)


def _mean_strength(strengths: np.ndarray, log_likelihoods: Any) -> float:
    """Return the geometric mean of strengths, in proportion to likelihoods of left-out rows.

    Which one is best is a matter of chance.
    """
    return float(np.exp(softmax(log_likelihoods) @ np.log(strengths)))


def _beside(noise: Callable[[Any], Any], bank: Any, rows: Rows) -> Any:
    """Return a bank of one expert after EM of it and the noise expert, where that has outliers.

    Rows that a tree can tell from others by their features are a region, not outliers, and are left
    to experts of their own.
    """
    alone, share = bank, NOISE_SHARE
    for _ in range(MOST_NOISE_STEPS):
        outside = outlying(bank, noise, rows, share)
        share = float(np.average(outside[0], weights=rows.units.weight))
        before, bank = bank, _fitted(bank, rows, rows.spread(1 - outside), 1)
        old, new = before.parameters[0], bank.parameters[0]
        if share >= MOST_NOISE:
            return alone
        if np.all(np.abs(new - old) <= SETTLED * old):
            break
    exact = bool(bank.on_floor.any())  # the dispersion of a constant is no measure
    if exact or _told(rows, outlying(bank, noise, rows)) > TOLD:
        return alone
    return bank.with_ceiling(WIDEST * bank.parameters[0, 0])


def _told(rows: Rows, outside: np.ndarray) -> float:
    """Return how sure a small tree is of the rows outside (1, n_units), from 0 to 1."""
    labels = rows.spread(outside)[0] > 0.5
    features = Context(rows, 1, None).features
    if not labels.any() or not features.shape[1]:
        return 0.0
    leaf = max(2, min(LARGEST_LEAF, rows.n_rows // 10))
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=leaf, random_state=0)
    tree.fit(features, labels, sample_weight=rows.weight)
    weight = labels * (1.0 if rows.weight is None else rows.weight)
    return float(np.average(tree.predict_proba(features)[:, -1], weights=weight))


def outlying(
    bank: Any, noise: Callable[[Any], Any], rows: Rows, share: float = NOISE_SHARE
) -> np.ndarray:
    """Return the responsibility of the noise expert beside a bank of one, (1, n_units)."""
    log_share = np.log([[1 - share], [share]])
    resp: np.ndarray = softmax(
        log_share + rows.map(partial(_of_units, noise(bank)), axis=1), axis=0
    )
    return resp[1:]


def _of_units(bank: Any, block: Block) -> np.ndarray:
    """Return the log-densities of the units of a block."""
    return block.of_units(bank.log_prob(block))


def _fitted(bank: Any, rows: Rows, resp: np.ndarray, n_steps: int = ONE_EXPERT_STEPS) -> Any:
    """Return the bank after so many steps, or more where steps weigh rows by their residuals."""
    step = partial(fit_at, rows=rows, resp=resp, n_steps=n_steps)
    state = step(State(None, bank))
    reweights = getattr(getattr(bank, "family", None), "reweights", False)
    for _ in range(MOST_REPEATS if reweights else 0):
        before, state = state, step(state)
        old, new = (each.bank.parameters[0] for each in (before, state))  # type: ignore[union-attr]
        if np.all(np.abs(new - old) <= SETTLED * old):
            break
    return state.bank


def by_evidence(bank: Any, rows: Rows) -> Any:
    """Return a fitted bank with the penalty that its evidence sets."""
    ones = np.ones((1, rows.n_rows))
    for _ in range(MOST_ROUNDS):
        before = State(None, bank)
        state = State(None, bank.tuned(*statistics_at(before, rows, ones), rows))
        bank = fit_at(state, rows, ones, ONE_EXPERT_STEPS).bank
        if largest_change(before, state) < SMALL_CHANGE:
            break
    return bank


def _by_left_out_rows(bank: Any, rows: Rows) -> float:
    """Return a strength of the penalty with which one expert predicts left-out rows well.

    The evidence rests on a normal posterior: where rows are few, classes are nearly separate, and
    it has several fixed points, some of which predict badly. The fits without each fold are the
    experts of one bank, which goes down the path.
    """
    strengths, design = bank.strength_path(rows), bank.design.plain
    n_deals = min(MOST_DEALS, -(-LEFT_OUT // rows.units.n_rows))
    deals = [scaled_folds(rows, design, STRENGTH_FOLDS, seed) for seed in range(n_deals)]
    left_out = [folds == fold for folds in deals for fold in range(folds.max() + 1)]
    out = rows.spread(np.array(left_out, dtype=float))
    inside, weight = 1.0 - out, out if rows.weight is None else out * rows.weight
    fits = evolve(bank, _masks=None).replicate(len(out))
    if can(bank, "floor"):
        fits = fits.with_floor(bank.floor)
    n_steps = 1 if can(bank, "dispersed") else PATH_STEPS
    found: list[float] = []
    for strength in strengths:
        fits = _fitted(fits.chosen_at(strength), rows, inside, n_steps)
        fits = _dispersed(fits, rows, inside)
        found.append(float(np.vdot(weight, _log_density(fits, rows))) / n_deals)
        if found[-1] < max(found) - HOPELESS:
            break
    return _mean_strength(strengths[: len(found)], found)


def _dispersed(bank: Any, rows: Rows, resp: np.ndarray) -> Any:
    """Return a fitted bank with dispersions that allow for the errors of coefficients."""
    if not can(bank, "dispersed"):
        return bank
    (statistics,) = statistics_at(State(None, bank), rows, resp)
    return _fitted(bank.dispersed(statistics, rows), rows, resp, 1)


def _log_density(bank: Any, rows: Rows) -> np.ndarray:
    """Return the log-densities of all rows by each expert, (K, n)."""
    density = rows.map(bank.log_prob, axis=1)
    return np.maximum(np.nan_to_num(density, nan=-np.inf), LEAST_LOG_DENSITY)
