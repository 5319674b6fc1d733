"""Exact regimes and spurious maxima: the meaning of a dispersion near zero.

The likelihood of a mixture is unbounded if an expert goes through as many rows as it has
coefficients (Day 1969, Estimating the components of a mixture of normal distributions, Biometrika
56), and has high local maxima if it nearly goes through a few more: these are *spurious*. But
targets can also be exact, by a rule or while a machine is off; then a dispersion near zero is
right. The two differ in how many distinct rows agree, compared with the number of coefficients
and of the ways to choose such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mixexp._engine.sweep import State, log_joint, posterior
from mixexp._rows.sketch import row_hashes
from mixexp._warn import warn
from mixexp.protocols import Block, Rows, can, has_scale

__all__ = [
    "Judge",
    "Support",
    "raised",
    "resolution",
    "resolved",
    "support",
    "told_of",
    "verdict",
    "warn_of_few_rows",
]

#: With fewer distinct rows per expert than this there is a warning before the fit.
FEW_ROWS = 2

#: A dispersion is low below this share of the usual one: too low for few rows to support, and so
#: low that the gate must be able to tell the rows from others.
LOW, VERY_LOW = 0.2, 0.1

#: The usual dispersion: experts with this share of the weight have no larger one.
MOST = 0.75

#: An exact expert holds this many more distinct rows than coefficients, minus an allowance for
#: responsibilities below 1.
MORE_ROWS, ROUNDED = 2, 0.5

#: The gate can tell the rows of an expert if it gives them this probability on average.
TOLD = 0.5

#: Nats by which agreement must exceed its cost: the odds against chance are a hundred to one.
SURPRISE = np.log(100.0)

#: An expert whose removal lowers the log-likelihood of all rows by no more than this is harmless:
#: it shares an exact regime with another one.
HARMLESS = 1.0

#: An expert does not hold rows of less responsibility.
LEAST_RESP = 1e-3

#: Values of y form a grid if, with the most frequent value per expert left out, at least this many
#: rows are tied, and this share of them.
LEAST_TIED, TIED_SHARE = 8, 0.5

#: The step of a grid is this quantile of the gaps between tied values.
SMALL_GAP = 0.25

#: A value is on a grid within this share of its step: decimal steps have no exact binary form.
ON_GRID = 1e-3

#: Floor of a spurious expert's dispersion, as a share of a single expert's.
RAISED_SHARE = 0.25


def warn_of_few_rows(rows: Rows, n_experts: int, owner: str) -> None:
    """Warn if there are almost no rows per expert, before a fit that may take long."""
    n_rows = rows.n_rows
    if n_experts > 1 and n_rows < FEW_ROWS * n_experts:
        most = max(1, n_rows // (rows.n_features + 1 + MORE_ROWS))
        warn(
            f"{owner}: n_experts={n_experts} for {n_rows} distinct rows: most experts will go "
            "through one or two of them, or share one's place. Lower n_experts; up to "
            f"{most}, each has more rows than coefficients.",
            ConvergenceWarning,
        )


def resolution(y: np.ndarray, n_experts: int) -> float:
    """Return the step of the grid that values (n,) were rounded to, 0 if there is none.

    Rounding ties many values, exact regimes a few: the most frequent values, one per expert, prove
    nothing. Where hardly any others are left, as of ratings in a few classes, values are on a grid
    if all are, tied or not.
    """
    values, counts = np.unique(y, return_counts=True)
    rest = np.sort(counts)[: max(len(counts) - n_experts, 0)]
    if _mostly_tied(rest):
        return _step(values, counts)
    if not _mostly_tied(counts) or np.sum(counts > 1) < 2:
        return 0.0
    step = _step(values, counts)
    distances = (values - values[0]) / step
    return step if np.all(np.abs(distances - np.rint(distances)) < ON_GRID) else 0.0


def _mostly_tied(counts: np.ndarray) -> bool:
    """Return whether values that occur so often are tied enough for a grid."""
    return bool(counts[counts > 1].sum() >= max(LEAST_TIED, TIED_SHARE * counts.sum()))


def _step(values: np.ndarray, counts: np.ndarray) -> float:
    """Return a low quantile of the gaps between neighbouring tied values.

    A gap counts as often as the rarer of the two.
    """
    tied = counts > 1
    gaps = np.diff(values[tied])
    often = np.minimum(counts[tied][1:], counts[tied][:-1])
    order = np.argsort(gaps, kind="stable")
    cumulated = np.cumsum(often[order])
    return float(gaps[order][np.searchsorted(cumulated, SMALL_GAP * cumulated[-1])])


def resolved(bank: Any, rows: Rows, n_exact: int | None = None) -> Any:
    """Return a replicated bank whose dispersions do not fall below the resolution of y.

    A normal density with standard deviation step / √(2π) has the maximum 1 / step: with a smaller
    deviation, a value on the grid would have a probability above 1. `n_exact` is the number of
    frequent values that may be exact regimes, one per expert by default.
    """
    if bank.n_experts < 2 or not can(bank, "with_floor") or bank.family.link != "identity":
        return bank
    _, ids = np.unique(row_hashes(rows.X, rows.y, 0), return_index=True)
    n_exact = bank.n_experts if n_exact is None else n_exact
    steps = np.array([resolution(y[ids], n_exact) for y in rows.y])
    lowest = steps / np.sqrt(2 * np.pi)
    return bank.with_floor(np.maximum(bank.floor, lowest)) if np.any(lowest > bank.floor) else bank


@dataclass
class Support:
    """The evidence for some experts; arrays have one entry per expert.

    Attributes
    ----------
    n_rows : ndarray
        Distinct rows that the expert holds: the sum of their responsibilities.
    told : ndarray
        Concentration Σ r g / Σ r: how well the gate can tell its rows from others.
    cost : ndarray
        Nats needed to encode with the gate which rows are the expert's, −Σ (r log g +
        (1 − r) log(1 − g)), each unit counted once.
    gain : ndarray
        Increase of the log-likelihood over the same mixture without the expert, with the gate of
        the others unchanged.
    """

    n_rows: np.ndarray
    told: np.ndarray
    cost: np.ndarray
    gain: np.ndarray


def support(state: State, rows: Rows, experts: np.ndarray) -> tuple[Support, np.ndarray]:
    """Return the support of some experts, and the weight (K,) of all: one pass."""
    found: _Backing = rows.reduce(partial(_backing, state=state, experts=experts))
    mass, told, cost, gain = found.sums
    n_rows = np.zeros(len(experts))
    if found.hashes:
        counted = np.unique(np.concatenate(found.hashes), return_inverse=True, return_counts=True)
        _, inverse, counts = counted
        n_rows = np.concatenate(found.held, axis=1) @ (1.0 / counts[inverse.ravel()])
    return Support(n_rows, told / np.maximum(mass, TINY), cost, gain), found.mass


@dataclass
class _Backing:
    """What adds up to the support of some experts.

    Attributes
    ----------
    mass : ndarray of shape (K,)
        Weight of all experts.
    sums : ndarray of shape (4, n_experts)
        Mass, told before division by it, cost and gain of some.
    held, hashes : list of ndarray
        Responsibilities and content hashes of the rows that they hold.
    """

    mass: np.ndarray
    sums: np.ndarray
    held: list[np.ndarray]
    hashes: list[np.ndarray]

    def __iadd__(self, other: _Backing) -> _Backing:
        self.mass = self.mass + other.mass
        self.sums = self.sums + other.sums
        self.held += other.held
        self.hashes += other.hashes
        return self


def _backing(block: Block, state: State, experts: np.ndarray) -> _Backing:
    """Return a block's share of the support of some experts."""
    unit, gate = block.unit, state.gate
    joint = log_joint(gate, state.bank, block)
    log_gate = gate.log_prob(unit)  # type: ignore[union-attr]
    resp, density = posterior(joint)
    _set_known(resp, unit.labels)
    weight = np.ones(unit.n_rows) if unit.weight is None else unit.weight
    total = resp @ weight
    log_rest = _without_one(log_gate)[experts]
    without = _without_one(joint)[experts] - log_rest
    resp, log_gate = resp[experts], log_gate[experts]
    gain = np.clip(density - without, -LARGE, LARGE) @ weight
    told = (resp * np.exp(log_gate)) @ weight
    cost = -np.sum(_product(resp, log_gate) + _product(1 - resp, log_rest), axis=1)
    held, hashes = _held(block, resp)
    return _Backing(total, np.stack([resp @ weight, told, cost, gain]), held, hashes)


#: The first keeps 0 / 0 finite; the second bounds minus the logarithm of a density of 0.
TINY, LARGE = np.finfo(float).tiny, 1e6


def _without_one(logs: np.ndarray) -> np.ndarray:
    """Return, for each of the rows (K, m), the log-sum-exp of the others."""
    nothing = np.full((1, logs.shape[1]), -np.inf)
    before = np.logaddexp.accumulate(np.concatenate([nothing, logs[:-1]]), axis=0)
    after = np.logaddexp.accumulate(np.concatenate([nothing, logs[:0:-1]]), axis=0)[::-1]
    rest: np.ndarray = np.logaddexp(before, after)
    return rest


def _set_known(resp: np.ndarray, labels: np.ndarray | None) -> None:
    """Set the responsibilities of labelled units to those of their labels."""
    if labels is not None:
        labelled = np.flatnonzero(labels >= 0)
        resp[:, labelled] = 0.0
        resp[labels[labelled], labelled] = 1.0


def _product(resp: np.ndarray, log_proba: np.ndarray) -> np.ndarray:
    """Return r log g, 0 where r is 0; log g is bounded where g is 0."""
    return resp * np.maximum(log_proba, -LARGE)


def _held(block: Block, resp: np.ndarray) -> tuple[list, list]:
    """Return responsibilities and content hashes of the rows that some expert holds, if any."""
    if block.unit is not block:
        resp = np.repeat(resp, np.diff(block.firsts, append=block.n_rows), axis=1)
    ids = np.flatnonzero(np.any(resp > LEAST_RESP, axis=0))
    if not len(ids):
        return [], []
    return [resp[:, ids]], [row_hashes(block.X[ids], block.y[..., ids], 0)]


def verdict(
    backing: Support,
    exact: np.ndarray,
    very_low: np.ndarray,
    depth: np.ndarray,
    coefficients: np.ndarray,
    freedom: float,
    noisy: bool = False,
) -> list[str]:
    """Return why each expert of low dispersion is spurious, an empty text if it is not.

    1. An expert whose loss would hardly lower the likelihood is not.
    2. An expert with about as many distinct rows as coefficients is spurious.
    3. An expert on its floor whose rows the gate can tell is an exact regime.
    4. Otherwise the agreement of its rows, beyond what its coefficients explain, must be worth more
       than the cost of encoding which rows they are, as in minimum description length. Beside
       noise that is no excuse: a user who expects outliers means rows like these.

    Parameters
    ----------
    backing : Support
    exact, very_low : ndarray of bool (k,)
        Whether a dispersion is on its floor; whether it is very low.
    depth : ndarray (k,)
        Nats that a row gains from the small dispersion.
    coefficients : ndarray (k,)
        Coefficients per output.
    freedom : float
        Cost, in nats, of an expert's coefficients in the gate.
    noisy : bool
        Whether outliers have an expert of their own.
    """
    texts = []
    for i, n_rows in enumerate(backing.n_rows):
        spare = n_rows - coefficients[i]
        needed = backing.cost[i] + freedom + SURPRISE
        if backing.gain[i] <= HARMLESS:
            texts.append("")
        elif spare < MORE_ROWS - ROUNDED:
            texts.append(
                f"it goes through about {n_rows:.0f} rows with {coefficients[i]:.0f} coefficients"
            )
        elif (
            not very_low[i]
            or (exact[i] and backing.told[i] >= TOLD)
            or (not noisy and spare * depth[i] > needed)
        ):
            texts.append("")
        else:
            texts.append(
                f"the gate cannot tell its {n_rows:.0f} rows from others well enough "
                f"(concentration {backing.told[i]:.2f})"
            )
    return texts


@dataclass(frozen=True)
class Judge:
    """Finds the spurious experts of a state.

    Attributes
    ----------
    unit : ndarray of shape (n_outputs,) or None
        Dispersions of a single expert; None if the family has none, and nothing is judged.
    noisy : bool
        Whether a single expert leaves outliers to noise.
    """

    unit: np.ndarray | None = None
    noisy: bool = False

    @classmethod
    def of(cls, single: Any) -> Judge:
        """Return the judge of mixtures, given the fit of a single expert."""
        dispersions = _dispersions(single)
        noisy = getattr(single, "ceiling", None) is not None
        return cls(None if dispersions is None else dispersions[0], noisy)

    def spurious(self, state: State, rows: Rows) -> dict[int, str]:
        """Return the spurious experts of a state with the reasons; one pass if there may be any."""
        bank: Any = state.bank
        dispersions = _dispersions(bank)
        if self.unit is None or dispersions is None or len(dispersions) < 2:
            return {}
        at_floor = np.asarray(bank.on_floor) & np.any(dispersions <= LOW * self.unit, axis=1)
        low = at_floor | np.any(
            dispersions <= LOW * np.minimum(dispersions.max(axis=0), self.unit), axis=1
        )
        experts = np.flatnonzero(low)
        if len(experts) == 0:
            return {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            backing, mass = support(state, rows, experts)
        usual = _usual(dispersions, mass[: len(dispersions)], at_floor, self.unit)
        ratio = np.maximum(usual / dispersions[experts], 1.0)
        low, very_low = (at_floor[experts] | np.any(ratio > 1 / s, axis=1) for s in (LOW, VERY_LOW))
        depth = np.sum(np.log(ratio), axis=1)
        texts = verdict(
            backing,
            at_floor[experts],
            very_low,
            depth,
            _coefficients(bank, rows)[experts],
            _freedom(state.gate, rows, len(mass)),
            self.noisy,
        )
        reasons = zip(experts.tolist(), texts, low, strict=True)
        return {k: text for k, text, looked_at in reasons if text and looked_at}

    def flags(self, state: State, rows: Rows) -> list[str]:
        """Return the flags of a start that ended in a spurious maximum."""
        spurious = self.spurious(state, rows)
        return [f"spurious dispersion of expert {k}: {why}" for k, why in spurious.items()]


def _dispersions(bank: Any) -> np.ndarray | None:
    """Return the dispersions (K, n_outputs) of a bank, None if it has none."""
    family = getattr(bank, "family", None)
    if family is None or not has_scale(family):
        return None
    dispersions: np.ndarray = bank.parameters[0]
    return dispersions


def _usual(
    dispersions: np.ndarray, mass: np.ndarray, at_floor: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Return the usual dispersions (n_outputs,), without experts on a floor."""
    others = np.flatnonzero(~at_floor)
    if len(others) == 0:
        return unit
    usual = np.empty(len(unit))
    for j, values in enumerate(dispersions[others].T):
        order = np.argsort(values, kind="stable")
        cumulated = np.cumsum(mass[others][order])
        last = min(int(np.searchsorted(cumulated, MOST * cumulated[-1])), len(order) - 1)
        usual[j] = values[order][last]
    return np.minimum(usual, unit)


def _coefficients(bank: Any, rows: Rows) -> np.ndarray:
    """Return each expert's coefficients per output, (K,); by default intercept and slopes."""
    n_coefficients = bank.n_coefficients if can(bank, "n_coefficients") else rows.n_features + 1
    return np.broadcast_to(n_coefficients, bank.n_experts)


def _freedom(gate: Any, rows: Rows, n_experts: int) -> float:
    """Return ½ log n per coefficient that an expert has in the gate (as in BIC)."""
    n_units = max(rows.units.n_rows, 2)
    n_parameters = float(gate.n_parameters) / (n_experts - 1) if can(gate, "n_parameters") else 0.0
    return 0.5 * np.log(n_units) * n_parameters


def told_of(spurious: dict[int, str], others: str = "") -> str:
    """Return the event text for raised dispersions of spurious experts.

    `others` says what became of other starts.
    """
    k, why = next(iter(spurious.items()))
    more = f", and {len(spurious) - 1} more experts" if len(spurious) > 1 else ""
    return (
        f"expert {k}{more} reached a spurious maximum of the likelihood, as {why}{others}; "
        f"dispersions of such experts are kept at {RAISED_SHARE} times that of a single expert or "
        "above"
    )


def raised(state: State, experts: Any, unit: np.ndarray | None) -> State | None:
    """Return the state with the dispersions of some experts bounded from below.

    The floor is a share of a single expert's dispersion: an expert through a few rows then spreads
    over others. None if the bank has no floors.
    """
    bank: Any = state.bank
    if unit is None or not can(bank, "with_floor"):
        return None
    shape = (bank.n_experts, len(unit))
    floor = np.broadcast_to(bank.floor, shape).copy()
    floor[list(experts)] = np.maximum(floor[list(experts)], RAISED_SHARE * unit)
    return State(state.gate, bank.with_floor(floor))
