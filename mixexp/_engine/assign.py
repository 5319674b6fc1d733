"""Assigners: from the log-joint of the E-step to the responsibilities of the M-step.

An assigner takes the log-joint log g_k(x) + log p_k(y | x) of a block, (K, m), which it may
overwrite, and returns responsibilities (K, m) and each row's share of the objective (m,).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mixexp._numerics import softmax_in_place
from mixexp._rows.sketch import hashed_uniform, row_hashes
from mixexp.protocols import Block

__all__ = ["ASSIGNERS", "Assigner", "Hard", "Soft", "Stochastic"]


class Assigner(Protocol):
    """Turns a block's log-joint into responsibilities.

    One that needs all rows at once has ``assign_all(log_joint, units)`` instead of `__call__`: it
    takes the log-joint (K, n) of all units and returns responsibilities (K, n) and objective (n,).
    """

    #: Whether exact M-steps cannot lower the objective.
    monotone: bool

    def __call__(self, log_joint: np.ndarray, block: Block, step: int) -> tuple: ...


class Soft:
    """Posterior probabilities (EM, Dempster, Laird & Rubin 1977); objective log p(y | x)."""

    monotone = True

    #: Responsibilities are posterior probabilities, and the objective is the log-likelihood.
    posterior = True

    def __init__(self, seed: int = 0):
        del seed

    def __call__(self, log_joint: np.ndarray, block: Block, step: int) -> tuple:
        objective = softmax_in_place(log_joint)
        return log_joint, objective


class Hard:
    """Each row to its most probable expert (classification EM, Celeux & Govaert 1992).

    The objective is the classification log-likelihood: log g_k(x) + log p_k(y | x) of that expert.
    """

    monotone = True

    def __init__(self, seed: int = 0):
        del seed

    def __call__(self, log_joint: np.ndarray, block: Block, step: int) -> tuple:
        best = log_joint.argmax(axis=0)
        rows = np.arange(log_joint.shape[1])
        objective = log_joint[best, rows]
        log_joint[:] = 0.0
        log_joint[best, rows] = 1.0
        return log_joint, objective


class Stochastic:
    """Each row to an expert drawn from its posterior (stochastic EM, Celeux & Diebolt 1985).

    The draw depends on the row's content, the seed and the iteration, not on its position.
    """

    monotone = False

    def __init__(self, seed: int = 0):
        self.seed = seed

    def __call__(self, log_joint: np.ndarray, block: Block, step: int) -> tuple:
        objective = softmax_in_place(log_joint)
        hashes = row_hashes(block.X, block.y, self.seed)
        draw = hashed_uniform(hashes, self.seed, step)
        chosen = (np.cumsum(log_joint, axis=0) <= draw).sum(axis=0)
        chosen = np.minimum(chosen, len(log_joint) - 1)
        log_joint[:] = 0.0
        log_joint[chosen, np.arange(log_joint.shape[1])] = 1.0
        return log_joint, objective


#: The assignments that a mixture accepts by name.
ASSIGNERS: dict[str, type] = {"soft": Soft, "hard": Hard, "stochastic": Stochastic}
