"""A probe of custom routers, before mistakes surface deep in a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._checks import named_error
from mixexp._estimators.checks import SUMS_TO_ONE

__all__ = ["probe_router"]

#: Log-probabilities of this many rows are drawn.
ROWS = 7

#: Ends the messages.
PAGE = "(docs/own_router.md)"


def probe_router(router: Any, n_experts: int, owner: str) -> None:
    """Raise if a custom router goes wrong on a few rows.

    Parameters
    ----------
    router : router
        With all required members; those of mixexp are not probed.
    n_experts : int
    owner : str
        The class that messages name.

    Raises
    ------
    TypeError, ValueError
        With the router, the method, and what it must return.
    """
    if type(router).__module__.startswith("mixexp."):
        return
    name = type(router).__name__
    log_gate = np.log(np.random.default_rng(0).dirichlet(np.ones(n_experts), ROWS)).T
    with named_error(owner, f"`started` of routing={name}", PAGE):
        started = router.started(n_experts)
    started = _looked(started, log_gate, name, owner)
    weights = _weights(started, log_gate, name, owner)
    alone = [_weights(started, column[:, None], name, owner)[:, 0] for column in log_gate.T]
    if not np.allclose(np.stack(alone, axis=1), weights, rtol=0, atol=1e-9):
        raise ValueError(
            f"{owner}: routing={name} gives a row other weights on its own than among others. "
            f"`chosen` must look at each column alone {PAGE}."
        )
    if router.hard and np.any((weights > 0).sum(axis=0) != 1):
        raise ValueError(
            f"{owner}: routing={name} is hard, and chose more than one expert for a row. `chosen` "
            f"must keep one, or `hard` be False {PAGE}."
        )
    with named_error(owner, f"`select` of routing={name}", PAGE):
        fewer = started.select(np.arange(n_experts))
    if not np.allclose(_weights(fewer, log_gate, name, owner), weights, rtol=0, atol=1e-9):
        raise ValueError(
            f"{owner}: `select` of routing={name} with all experts changed its weights. It must "
            f"take the state of these experts, in this order {PAGE}."
        )


def _looked(router: Any, log_gate: np.ndarray, name: str, owner: str) -> Any:
    """Return a router after a look at all rows, if it takes one."""
    if not router.looks_at_all:
        return router
    before = dict(vars(router))
    with named_error(owner, f"`surveyed` of routing={name}", PAGE):
        new = router.surveyed(log_gate.copy(), None)
    if type(new) is not type(router):
        raise TypeError(
            f"{owner}: `surveyed` of routing={name} returned {type(new).__name__}. It must return "
            f"a router, such as a changed copy by `evolve` of mixexp.protocols {PAGE}."
        )
    changed = vars(router).keys() != before.keys() or any(
        vars(router)[key] is not value for key, value in before.items()
    )
    if changed:
        raise ValueError(
            f"{owner}: `surveyed` of routing={name} changed the router itself. It must return a "
            f"changed copy, by `evolve` of mixexp.protocols {PAGE}."
        )
    return new


def _weights(router: Any, log_gate: np.ndarray, name: str, owner: str) -> np.ndarray:
    """Return a router's weights of some rows, checked."""
    remedy = f"`chosen` must return a mask of the shape of scores, and leave these alone {PAGE}."
    with named_error(owner, f"routing={name}", remedy):
        weights = router.weights(log_gate.copy())
    n_weights = len(log_gate) + bool(router.needs_fallback)
    shape = (n_weights, log_gate.shape[1])
    if not isinstance(weights, np.ndarray) or weights.shape != shape:
        raise ValueError(
            f"{owner}: `weights` of routing={name} returned "
            f"{getattr(weights, 'shape', type(weights).__name__)} for log-probabilities of shape "
            f"{log_gate.shape}. It must return an array of shape {shape} {PAGE}."
        )
    if not np.all(weights >= 0) or not np.allclose(weights.sum(axis=0), 1, atol=SUMS_TO_ONE):
        raise ValueError(
            f"{owner}: routing={name} gives a row weights that are not probabilities. `chosen` "
            f"must keep at least one expert of each column {PAGE}."
        )
    return weights
