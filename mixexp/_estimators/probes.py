"""Probes of custom gates and families: whether they follow the protocol on a few rows.

Mistakes would otherwise surface deep in a fit, as errors that name neither class nor method.
mixexp's own parts are covered by its tests and are not probed.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from mixexp._engine.sweep import FixedStep, State, measured, sweep
from mixexp._estimators.checks import SUMS_TO_ONE
from mixexp.protocols import PAGES, REQUIRED, Family, Rows, Target, can

__all__ = ["probe_family", "probe_gate"]

#: Rows that a gate is probed on, and targets that a family is probed on.
GATE_ROWS = 256
FAMILY_ROWS = 8

#: Number of experts that a family is probed with.
K = 2

#: Boolean attributes of parts.
GATE_FLAGS = ("monotone", "takes_missing", "featureless", "ordered")
FAMILY_FLAGS = ("curved", "discrete", "reweights")


def is_foreign(part: Any) -> bool:
    """Return whether a part's class is defined outside mixexp."""
    return not type(part).__module__.startswith("mixexp.")


class _Subject:
    """The part being probed, and its name in messages."""

    def __init__(self, part: Any, kind: str, owner: str):
        self.part = part
        self.kind = kind
        self.owner = owner
        self.name = f"the {kind} {type(part).__name__}"
        self.page = PAGES.get(kind, "docs/own_gate.md")

    def fault(self, method: str, returned: Any, wanted: str, kind: Any = ValueError) -> Exception:
        """Return the error for a method that returned something invalid."""
        returned = returned if isinstance(returned, str) else _described(returned)
        return kind(
            f"{self.owner}: {method} of {self.name} returned {returned}. It must return {wanted} "
            f"({self.page})."
        )

    def changed(self, method: str, what: str, remedy: str) -> Exception:
        """Return the error for a method that modified its input."""
        return ValueError(
            f"{self.owner}: {method} of {self.name} changed {what}. {remedy} ({self.page})."
        )

    def refuse_attribute(self, name: str, wanted: str, right: bool) -> None:
        """Raise if an attribute is not right."""
        if not right:
            value = getattr(self.part, name)
            more = " Make it a property or an attribute." if callable(value) else ""
            raise TypeError(
                f"{self.owner}: {name} of {self.name} is {_described(value)}. It must be "
                f"{wanted} ({self.page}).{more}"
            )

    def refuse_flags(self, names: Iterable[str]) -> None:
        """Raise if a flag is neither True nor False: a method would count as True."""
        for name in names:
            flag = getattr(self.part, name, False)
            self.refuse_attribute(name, "True or False", isinstance(flag, bool | np.bool_))

    def refuse_array(self, method: str, returned: Any, shape: tuple, meaning: str) -> None:
        """Raise if a method did not return a finite array of this shape."""
        wanted = f"an array of shape {shape}: {meaning}"
        if not _is_array(returned, shape):
            raise self.fault(method, returned, wanted)
        if not np.all(np.isfinite(returned)):
            raise self.fault(method, "NaN or infinite numbers", f"finite ones, {meaning}")


def _described(value: Any) -> str:
    """Return a short description of a value."""
    if isinstance(value, np.ndarray):
        kind = "" if value.dtype.kind in "fiu" else f" and dtype {value.dtype}"
        return f"an array of shape {value.shape}{kind}"
    if value is None or isinstance(value, Real | str):
        return repr(value)
    if callable(value):
        return "a method"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"an object of class {type(value).__name__}"


def _is_array(value: Any, shape: tuple) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.shape == shape


def probe_gate(part: Any, rows: Rows, n_experts: int, owner: str) -> None:
    """Raise if one M-step of a custom gate on a few rows goes wrong.

    Parameters
    ----------
    part : object
        The gate's part from `start`, with all required methods.
    rows : Rows
        The units of the fit.
    n_experts : int
    owner : str
        The class that messages name.

    Raises
    ------
    TypeError, ValueError
        With the class, the method, what it returned and what it must return.
    """
    if not is_foreign(part):
        return
    gate = _Subject(part, "gate", owner)
    gate.refuse_flags(GATE_FLAGS)
    _refuse_numbers(gate)
    head = _first_rows(rows)
    shares = np.arange(1.0, n_experts + 1)  # unequal, to give it something to learn
    resp = np.repeat((shares / shares.sum())[:, None], head.n_rows, axis=1)
    with np.errstate(all="ignore"):
        ready: Any = measured(State(part, None), head).gate
        before = ready.log_prob(next(head.blocks()))
        if not before.flags.writeable:
            raise gate.fault(
                "log_prob", "an array that cannot be written to", "one that may be overwritten"
            )
        before = before.copy()
        new = ready.update(_statistics(gate, ready, head, resp), head)
        _refuse_part(gate, new)
        _refuse_log_prob(gate, new.log_prob(next(head.blocks())), before.shape)
        if not np.array_equal(ready.log_prob(next(head.blocks())), before):
            raise gate.changed(
                "update",
                "the part itself",
                "It must leave that alone and return a new one: `evolve(self, ...)` of "
                "mixexp.protocols makes the changed copy",
            )
    _refuse_numbers(_Subject(new, "gate", owner))


def _first_rows(rows: Rows) -> Rows:
    """Return the first rows of the first block as rows of two blocks, whose statistics add."""
    head = rows.head(GATE_ROWS)
    head.block_rows = (head.n_rows + 1) // 2
    return head


def _refuse_numbers(gate: _Subject) -> None:
    """Raise if the log-prior or the number of parameters is not a number."""
    if can(gate.part, "log_prior"):
        gate.refuse_attribute("log_prior", "a method", callable(gate.part.log_prior))
        prior = gate.part.log_prior()
        if not (isinstance(prior, Real) and np.isfinite(float(prior))):
            raise gate.fault("log_prior", prior, "a finite number")
    if can(gate.part, "n_parameters"):
        gate.refuse_attribute("n_parameters", "a number", isinstance(gate.part.n_parameters, Real))


def _statistics(gate: _Subject, part: Any, head: Rows, resp: np.ndarray) -> Any:
    """Return the sum of a part's statistics over two blocks; raise where they do not add."""
    step, state = FixedStep(resp), State(part, None)
    block = next(head.blocks())
    sums = part.statistics(block, step(block).unit_resp)
    wanted = "`Sums` of mixexp.protocols or an array, which add with +="
    if can(part, "gram_weights") and (
        isinstance(sums, np.ndarray) or not hasattr(sums, "__setitem__")
    ):
        raise gate.fault("statistics", sums, "`Sums`, to which 'gram' is added", TypeError)
    if not _adds(sums):
        raise gate.fault("statistics", sums, wanted, TypeError)
    for name, value in sums.items() if isinstance(sums, dict) else ():
        if not _adds(value):
            raise gate.fault(
                "statistics", f"{_described(value)} as {name!r}", "numbers and arrays", TypeError
            )
    try:
        return sweep(head, state, step).sums[0]
    except Exception as error:
        if any(of_block is None for of_block in _block_statistics(part, head, step)):
            raise gate.fault("statistics", None, wanted, TypeError) from error
        if not _add_up(_block_statistics(part, head, step)):
            raise gate.fault(
                "statistics",
                "what does not add to that of another block",
                f"{wanted}, of the same shape for any rows",
            ) from error
        raise


def _adds(value: Any) -> bool:
    """Return whether += adds two such values; for lists it concatenates."""
    if isinstance(value, str | tuple | list):
        return False
    return hasattr(value, "__iadd__") or hasattr(value, "__add__")


def _block_statistics(part: Any, head: Rows, step: FixedStep) -> list:
    """Return the statistics of each block."""
    return [part.statistics(block, step(block).unit_resp) for block in head.blocks()]


def _add_up(statistics: list) -> bool:
    """Return whether the statistics of two blocks can be added."""
    try:
        total = statistics[0]
        for more in statistics[1:]:
            total += more
    except Exception:
        return False
    return True


def _refuse_part(gate: _Subject, new: Any) -> None:
    """Raise if `update` did not return a part."""
    wanted = "the next part, an object with log_prob, statistics and update"
    if new is None or isinstance(new, np.ndarray):
        raise gate.fault("update", new, wanted, TypeError)
    missing = [name for name in REQUIRED["part"] if not hasattr(new, name)]
    if missing:
        returned = f"{_described(new)} without {' and '.join(missing)}"
        raise gate.fault("update", returned, wanted, TypeError)


def _refuse_log_prob(gate: _Subject, log_prob: Any, shape: tuple) -> None:
    """Raise if log-probabilities are invalid after an update."""
    wanted = f"an array of shape {shape}: log g_k(x), one row per expert"
    if not _is_array(log_prob, shape):
        raise gate.fault("log_prob after update", log_prob, wanted)
    if np.isnan(log_prob).any():
        raise gate.fault("log_prob after update", "NaN", wanted)
    sums = np.exp(log_prob).sum(axis=0)
    worst = float(sums[np.argmax(np.abs(sums - 1))])
    if not abs(worst - 1) <= SUMS_TO_ONE:
        raise gate.fault(
            "log_prob after update",
            f"logarithms of probabilities that add up to {worst:.6g}",
            "those of numbers that add up to 1 over the experts",
        )


def probe_family(target: Target, y: np.ndarray, owner: str) -> None:
    """Raise if a custom family goes wrong on a few targets.

    Parameters
    ----------
    target : Target
        Its family may be None.
    y : ndarray of shape (n_outputs, n)
        Targets that the family has accepted.
    owner : str
        The class that messages name.

    Raises
    ------
    TypeError, ValueError
        With the class, the method, what it returned and what it must return.
    """
    if target.family is None or not is_foreign(target.family):
        return
    subject, family = _Subject(target.family, "family", owner), target.family
    subject.refuse_flags(FAMILY_FLAGS)
    names, n_outputs = family.parameter_names, len(y)
    subject.refuse_attribute(
        "parameter_names",
        "a tuple of strings",
        isinstance(names, tuple) and all(isinstance(name, str) for name in names),
    )
    subject.refuse_attribute("link", "'identity' or 'log'", family.link in ("identity", "log"))
    shape = (len(names), K, n_outputs)
    meaning = "a row for each of parameter_names, then experts, outputs"
    with np.errstate(all="ignore"):
        parameters = family.initial(K, n_outputs)
        subject.refuse_array("initial", parameters, shape, meaning)
        count = family.n_parameters(K, n_outputs)
        if not isinstance(count, Real):
            raise subject.fault("n_parameters", count, "a number", TypeError)
        few = y[:, np.unique(np.linspace(0, y.shape[1] - 1, FAMILY_ROWS).astype(int))].copy()
        spread = y.std(axis=1)
        parameters = _scaled(family, parameters, spread)
        score, curvature = _evaluated(subject, few, _eta(subject, y, few.shape[1]), parameters)
        resp = np.full((K, few.shape[1]), 1.0 / K)
        sums = family.statistics(score, curvature, resp, resp[:, None] * score)
        n_sums = len(sums) if isinstance(sums, np.ndarray) and sums.ndim else "S"
        statistics = "sums over the rows, one array (experts, outputs) for each statistic"
        subject.refuse_array("statistics", sums, (n_sums, K, n_outputs), statistics)
        kept = parameters.copy()
        new = family.update(sums, resp.sum(axis=1), parameters, 1e-8 * spread)
        subject.refuse_array("update", new, shape, meaning)
        if not np.array_equal(kept, parameters):
            raise subject.changed(
                "update", "the parameters it was given", "It must return a new array"
            )


def _scaled(family: Family, parameters: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return parameters with dispersions in units of y, if the link determines these."""
    parameters = parameters.astype(float)
    if family.link == "identity" and family.parameter_names[:1] == ("dispersions",):
        parameters[0] = np.where(spread > 0, spread, 1.0)
    return parameters


def _eta(subject: _Subject, y: np.ndarray, n_rows: int) -> np.ndarray:
    """Return linear predictors (K, n_outputs, n_rows) whose mean is that of y."""
    mean = np.repeat(np.repeat(y.mean(axis=1)[None, :, None], K, axis=0), n_rows, axis=2)
    eta = subject.part.eta(mean.copy())
    subject.refuse_array("eta", eta, mean.shape, "linear predictors, in the shape of the means")
    mean_again = subject.part.mean(eta.copy())
    subject.refuse_array("mean", mean_again, mean.shape, "means, in the shape of linear predictors")
    return eta.astype(float)


def _evaluated(subject: _Subject, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
    """Return score and curvature of a few targets, after checking the output of `evaluate`."""
    family, kept = subject.part, (y.copy(), parameters.copy())
    returned = family.evaluate(y, eta.copy(), parameters)
    if not (isinstance(returned, tuple | list) and len(returned) == 3):
        wanted = "three things: log-density, score, and curvature or None"
        raise subject.fault("evaluate", returned, wanted, TypeError)
    if not (np.array_equal(kept[0], y) and np.array_equal(kept[1], parameters)):
        raise subject.changed("evaluate", "y or the parameters", "It must leave both as they are")
    log_prob, score, curvature = returned
    rows = (K, y.shape[1])
    subject.refuse_array("log-density by evaluate", log_prob, rows, "log p(y), summed over outputs")
    subject.refuse_array("score by evaluate", score, eta.shape, "one per expert, output and row")
    if family.curved:
        meaning = "one per expert, output and row, as `curved` is True"
        subject.refuse_array("curvature by evaluate", curvature, eta.shape, meaning)
    elif curvature is not None:
        wanted = "None, as `curved` is False; set curved = True where rows differ in it"
        raise subject.fault("curvature by evaluate", curvature, wanted)
    return score, curvature
