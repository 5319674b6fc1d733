"""Exact regimes and spurious maxima: what a dispersion near nothing means.

The likelihood of a mixture has no bound where an expert goes through as many rows as it has
coefficients (Day 1969, Estimating the components of a mixture of normal distributions, Biometrika
56), and high local maxima where it nearly goes through a few more: these are *spurious*. But
numbers can also be exact, by a rule or where a machine is off: then a dispersion near nothing is
right. What tells one from the other is how many distinct rows agree, against the number of
coefficients and of the ways to choose such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mixexp._engine.sweep import State, log_joint, posterior
from mixexp._rows.sketch import row_hashes
from mixexp._warn import warn
from mixexp.protocols import Block, Rows, can

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

#: A dispersion is low below this share of what most rows have: so low that few rows do not bear it,
#: and so low that rows have to be told from others.
LOW, VERY_LOW = 0.2, 0.1

#: The dispersion that most rows have: this share of the weight is in experts up to it.
MOST = 0.75

#: An exact expert holds this many distinct rows more than it has coefficients, up to what
#: responsibilities that are not quite 1 may take away.
MORE_ROWS, ROUNDED = 2, 0.5

#: The gate can tell the rows of an expert if it gives them this probability on the average.
TOLD = 0.5

#: Nats by which agreement must exceed its cost: the odds against chance are a hundred to one.
SURPRISE = np.log(100.0)

#: An expert without which the log-likelihood of all rows is lower by no more than this does no
#: harm: it shares an exact regime with another one.
HARMLESS = 3.0

#: A row of less responsibility is not one that an expert holds.
LEAST_RESP = 1e-3

#: Values of y make a grid if at least this many are tied, besides one for each expert, and this
#: share of the rows that have none of those.
LEAST_TIED, TIED_SHARE = 8, 0.5

#: The step of a grid is this quantile of the gaps between tied values.
SMALL_GAP = 0.25

#: Dispersion of an expert whose rows did not bear a smaller one, as a share of that of one expert.
RAISED_SHARE = 0.25


def warn_of_few_rows(rows: Rows, n_experts: int, owner: str) -> None:
    """Warn where there are next to no rows for each expert: before a fit that may take long."""
    n_rows = rows.n_rows
    if n_experts > 1 and n_rows < FEW_ROWS * n_experts:
        most = max(1, n_rows // (rows.X.shape[1] + 1 + MORE_ROWS))
        warn(
            f"{owner}: n_experts={n_experts} for {n_rows} distinct rows: most experts will go "
            "through one or two of them, or share one's place. Lower n_experts; up to "
            f"{most}, each has more rows than coefficients.",
            ConvergenceWarning,
        )


def resolution(y: np.ndarray, n_experts: int) -> float:
    """Return the step of the grid that values (n,) were rounded to, 0 where there is none.

    Rounded values are tied at many places, exact regimes in a few: the most frequent values, one
    for each expert, prove nothing. The step is a small one of the gaps between neighbouring tied
    values; a gap counts as often as the rarer of the two.
    """
    values, counts = np.unique(y, return_counts=True)
    tied = counts > 1
    rest = np.sort(counts)[: max(len(counts) - n_experts, 0)]
    n_tied = int(np.sum(rest > 1))
    if n_tied < LEAST_TIED or rest[rest > 1].sum() < TIED_SHARE * rest.sum():
        return 0.0
    gaps = np.diff(values[tied])
    often = np.minimum(counts[tied][1:], counts[tied][:-1])
    order = np.argsort(gaps, kind="stable")
    cumulated = np.cumsum(often[order])
    return float(gaps[order][np.searchsorted(cumulated, SMALL_GAP * cumulated[-1])])


def resolved(bank: Any, rows: Rows) -> Any:
    """Return a replicated bank whose dispersions do not fall below the resolution of y.

    A normal density with a standard deviation of step / √(2π) is 1 / step where it is highest:
    with less, a value on the grid would be more probable than certain.
    """
    if bank.n_experts < 2 or not can(bank, "with_floor") or bank.family.link != "identity":
        return bank
    _, ids = np.unique(row_hashes(rows.X, rows.y, 0), return_index=True)
    steps = np.array([resolution(y[ids], bank.n_experts) for y in rows.y])
    lowest = steps / np.sqrt(2 * np.pi)
    return bank.with_floor(np.maximum(bank.floor, lowest)) if np.any(lowest > bank.floor) else bank


@dataclass
class Support:
    """What stands behind each of some experts; arrays have one entry an expert.

    Attributes
    ----------
    n_rows : ndarray
        Distinct rows that it holds: their responsibilities, summed.
    told : ndarray
        Its concentration Σ r g / Σ r: how well the gate can tell its rows from others.
    cost : ndarray
        Nats that it takes to say by the gate which rows are its own, −Σ (r log g +
        (1 − r) log(1 − g)), each unit counted once.
    gain : ndarray
        By how much the log-likelihood is higher than without it, the gate of the others being as
        it is.
    """

    n_rows: np.ndarray
    told: np.ndarray
    cost: np.ndarray
    gain: np.ndarray


def support(state: State, rows: Rows, experts: np.ndarray) -> tuple[Support, np.ndarray]:
    """Return the support of some experts, and the weight of all of them: one pass."""
    own, told, cost, gain, mass = (np.zeros(len(experts)) for _ in range(5))
    total: Any = 0.0
    held: list[np.ndarray] = []
    hashes: list[np.ndarray] = []
    gate: Any = state.gate
    for block in rows.blocks():
        unit = block.unit
        joint = log_joint(gate, state.bank, block)
        log_gate = gate.log_prob(unit)
        resp, density = posterior(joint)
        _set_known(resp, unit.labels)
        weight = np.ones(unit.n_rows) if unit.weight is None else unit.weight
        total = total + resp @ weight
        log_rest = _without_one(log_gate)[experts]
        without = _without_one(joint)[experts] - log_rest
        resp, log_gate = resp[experts], log_gate[experts]
        gain += np.clip(density - without, -LARGE, LARGE) @ weight
        mass += resp @ weight
        told += (resp * np.exp(log_gate)) @ weight
        cost -= np.sum(_product(resp, log_gate) + _product(1 - resp, log_rest), axis=1)
        _append_held(block, resp, held, hashes)
    if hashes:
        _, first, inverse, counts = np.unique(
            np.concatenate(hashes), return_index=True, return_inverse=True, return_counts=True
        )
        own = np.concatenate(held, axis=1) @ (1.0 / counts[inverse.ravel()])
    return Support(own, told / np.maximum(mass, TINY), cost, gain), total


#: Keeps a quotient of numbers that may both be 0 finite; a density that is 0 counts up to this.
TINY, LARGE = np.finfo(float).tiny, 1e6


def _without_one(logs: np.ndarray) -> np.ndarray:
    """Return for each of the rows (K, m) the logarithm of the sum of the others' exponentials."""
    nothing = np.full((1, logs.shape[1]), -np.inf)
    before = np.logaddexp.accumulate(np.concatenate([nothing, logs[:-1]]), axis=0)
    after = np.logaddexp.accumulate(np.concatenate([nothing, logs[:0:-1]]), axis=0)[::-1]
    rest: np.ndarray = np.logaddexp(before, after)
    return rest


def _set_known(resp: np.ndarray, labels: np.ndarray | None) -> None:
    """Give the units whose expert is known to it."""
    if labels is not None:
        known = np.flatnonzero(labels >= 0)
        resp[:, known] = 0.0
        resp[labels[known], known] = 1.0


def _product(resp: np.ndarray, log_proba: np.ndarray) -> np.ndarray:
    """Return r log g, 0 where r is; a probability that is 0 counts as next to nothing."""
    return resp * np.maximum(log_proba, -LARGE)


def _append_held(block: Block, resp: np.ndarray, held: list, hashes: list) -> None:
    """Append the responsibilities of rows that some expert holds, and hashes of their content."""
    if block.unit is not block:
        resp = np.repeat(resp, np.diff(block.firsts, append=block.n_rows), axis=1)
    ids = np.flatnonzero(np.any(resp > LEAST_RESP, axis=0))
    if len(ids):
        held.append(resp[:, ids])
        hashes.append(row_hashes(block.X[ids], block.y[..., ids], 0))


def verdict(
    found: Support,
    exact: np.ndarray,
    very_low: np.ndarray,
    depth: np.ndarray,
    coefficients: np.ndarray,
    freedom: float,
) -> list[str]:
    """Return why each expert of low dispersion is spurious, an empty text where it is not.

    1. One whose loss would hardly lower the likelihood is none.
    2. One with about as many distinct rows as it has coefficients is spurious.
    3. One on its floor whose rows the gate can tell is an exact regime.
    4. Else the agreement of its rows, beyond what its coefficients can do, is to be worth more than
       it costs to say which rows they are, as in minimum description length.

    Parameters
    ----------
    found : Support
    exact, very_low : ndarray of bool (k,)
        Whether a dispersion is on its floor; whether it is very low.
    depth : ndarray (k,)
        Nats that a row gains by the small dispersion.
    coefficients : ndarray (k,)
        Coefficients of an output.
    freedom : float
        Nats that the choice of the gate's own coefficients of an expert is worth.
    """
    texts = []
    for i, n_rows in enumerate(found.n_rows):
        spare = n_rows - coefficients[i]
        needed = found.cost[i] + freedom + SURPRISE
        if found.gain[i] <= HARMLESS:
            texts.append("")
        elif spare < MORE_ROWS - ROUNDED:
            texts.append(
                f"it goes through about {n_rows:.0f} rows with {coefficients[i]:.0f} coefficients"
            )
        elif not very_low[i] or (exact[i] and found.told[i] >= TOLD) or spare * depth[i] > needed:
            texts.append("")
        else:
            texts.append(
                f"the gate cannot tell its {n_rows:.0f} rows from others well enough "
                f"(concentration {found.told[i]:.2f})"
            )
    return texts


@dataclass(frozen=True)
class Judge:
    """Says which experts of a state are spurious.

    Attributes
    ----------
    unit : ndarray of shape (n_outputs,) or None
        Dispersions of one expert alone; None where the family has none, and nothing is judged.
    """

    unit: np.ndarray | None = None

    @classmethod
    def of(cls, one: Any) -> Judge:
        """Return the judge of mixtures, given the fit of one expert."""
        found = _dispersions(one)
        return cls(None if found is None else found[0])

    def spurious(self, state: State, rows: Rows) -> dict[int, str]:
        """Return the spurious experts of a state, and why they are; one pass where any may be."""
        bank: Any = state.bank
        found = _dispersions(bank)
        if self.unit is None or found is None or len(found) < 2:
            return {}
        at_floor = np.asarray(bank.on_floor) & np.any(found <= LOW * self.unit, axis=1)
        low = at_floor | np.any(found <= LOW * np.minimum(found.max(axis=0), self.unit), axis=1)
        experts = np.flatnonzero(low)
        if len(experts) == 0:
            return {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            backing, mass = support(state, rows, experts)
        usual = _usual(found, mass[: len(found)], at_floor, self.unit)
        ratio = np.maximum(usual / found[experts], 1.0)
        low, very_low = (at_floor[experts] | np.any(ratio > 1 / s, axis=1) for s in (LOW, VERY_LOW))
        depth = np.sum(np.log(ratio), axis=1)
        texts = verdict(
            backing,
            at_floor[experts],
            very_low,
            depth,
            _coefficients(bank, rows)[experts],
            _freedom(state.gate, rows, len(mass)),
        )
        reasons = zip(experts.tolist(), texts, low, strict=True)
        return {k: text for k, text, looked_at in reasons if text and looked_at}

    def flags(self, state: State, rows: Rows) -> list[str]:
        """Return what a start's record says of a spurious maximum."""
        found = self.spurious(state, rows)
        return [f"spurious dispersion of expert {k}: {why}" for k, why in found.items()]


def _dispersions(bank: Any) -> np.ndarray | None:
    """Return dispersions (K, n_outputs) where a bank has them."""
    family = getattr(bank, "family", None)
    if family is None or "dispersions" not in family.parameter_names:
        return None
    found: np.ndarray = bank.parameters[0]
    return found


def _usual(
    found: np.ndarray, mass: np.ndarray, at_floor: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Return the dispersions (n_outputs,) that most rows have, those on a floor left out."""
    others = np.flatnonzero(~at_floor)
    if len(others) == 0:
        return unit
    usual = np.empty(len(unit))
    for j, own in enumerate(found[others].T):
        order = np.argsort(own, kind="stable")
        cumulated = np.cumsum(mass[others][order])
        last = min(int(np.searchsorted(cumulated, MOST * cumulated[-1])), len(order) - 1)
        usual[j] = own[order][last]
    return np.minimum(usual, unit)


def _coefficients(bank: Any, rows: Rows) -> np.ndarray:
    """Return coefficients (K,) of an output of each expert, one a feature where it is not known."""
    known = bank.n_coefficients if can(bank, "n_coefficients") else rows.X.shape[1] + 1
    return np.broadcast_to(known, bank.n_experts)


def _freedom(gate: Any, rows: Rows, n_experts: int) -> float:
    """Return half a log n for every coefficient of the gate that is an expert's (as in BIC)."""
    n_units = max(rows.units.n_rows, 2)
    own = float(gate.n_parameters) / (n_experts - 1) if can(gate, "n_parameters") else 0.0
    return 0.5 * np.log(n_units) * own


def told_of(spurious: dict[int, str]) -> str:
    """Return what a start's events say where dispersions of spurious experts were raised."""
    k, why = next(iter(spurious.items()))
    more = f", and {len(spurious) - 1} more experts" if len(spurious) > 1 else ""
    return (
        f"expert {k}{more} came to a spurious maximum of the likelihood, as {why}, and so did all "
        f"other starts; dispersions of such experts are held at {RAISED_SHARE} of that of a single "
        "expert or more"
    )


def raised(state: State, experts: Any, unit: np.ndarray | None) -> State | None:
    """Return the state whose dispersions of some experts are held at a share of one expert's.

    An expert that has been through a few rows then spreads over others. None where the bank
    cannot.
    """
    bank: Any = state.bank
    if unit is None or not can(bank, "with_floor"):
        return None
    shape = (bank.n_experts, len(unit))
    floor = np.broadcast_to(bank.floor, shape).copy()
    floor[list(experts)] = np.maximum(floor[list(experts)], RAISED_SHARE * unit)
    return State(state.gate, bank.with_floor(floor))
