"""The fitted model, an immutable value, and its answers for rows.

Each answer is a function of `Rows`; estimators check the input and call it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mixexp._checks import named_error, short
from mixexp._engine.assign import Soft
from mixexp._engine.criteria import Count, counted, is_penalised
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.information import Information
from mixexp._engine.sweep import State, log_joint
from mixexp._estimators.checks import refuse_far
from mixexp._numerics import softmax_in_place
from mixexp._threads import single_thread
from mixexp.protocols import Block, ExpertBank, Gate, Rows, Target, can, evolve
from mixexp.routing import POOLINGS

__all__ = ["Model", "columns_of", "pool_of"]

#: Mean of the zero expert in a distribution, as families with a log link take none of 0.
SMALLEST_MEAN = 1e-300

#: A target in the support of every family, substituted for impossible ones.
POSSIBLE = 1.0

#: Most doubles of experts' outputs that are kept to call each expert once, not once a block.
MOST_OUTPUTS = 1 << 26

#: Multiplications for which BLAS does not begin threads: to forbid it would take longer.
FEW_PRODUCTS = 2048

#: Pools routing weights (n, K) and outputs (n, K[, q]) to (n[, q]).
Pool = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Model:
    """A fitted mixture: everything needed to answer for new rows.

    Attributes
    ----------
    gate : Gate
        Under routing it carries the router.
    bank : ExpertBank
    target : Target
    columns : tuple
        Columns of the experts and of the gate: None for all, positions, or a list of positions.
    pooling : str or callable
        How predictions of experts are combined: the parameter at the time of the fit.
    flat : Model or None
        For nested mixtures, the model of the innermost experts, which has the same density.
    limits : two ndarrays of shape (n_outputs,), or None
        The range of pooled predictions; None means any.
    """

    gate: Gate
    bank: ExpertBank
    target: Target
    columns: tuple[Any, Any]
    pooling: Any
    flat: Model | None = None
    limits: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def state(self) -> State:
        """Gate and bank, as the engine takes them."""
        return State(self.gate, self.bank)

    @property
    def n_experts(self) -> int:
        """Number of experts, excluding noise."""
        return self.bank.n_experts

    @property
    def innermost(self) -> Model:
        """The model of the innermost experts; the model itself if not nested."""
        return self if self.flat is None else self.flat

    @property
    def pooling_innermost(self) -> Model:
        """The model of the innermost experts, pooled and bounded as this one."""
        return replace(self.innermost, pooling=self.pooling, limits=self.limits)

    @property
    def is_batch(self) -> bool:
        """Whether experts were fitted one by one."""
        return not can(self.innermost.bank, "gram_weights")

    def n_parameters(self, owner: str) -> int:
        """Return the number of free parameters; raise if it is unknown."""
        parts = {
            "gate of this mixture does": self.innermost.gate,
            "experts of this mixture do": self.innermost.bank,
        }
        for name, part in parts.items():
            if not can(part, "n_parameters"):
                raise ValueError(
                    f"{owner}: aic, bic and icl need the number of parameters, which "
                    f"the {name} not have. Compare mixtures by cross-validation."
                )
        return sum(part.n_parameters for part in parts.values())  # type: ignore[attr-defined]

    @property
    def is_penalised(self) -> bool:
        """Whether a prior pulls coefficients of gate or experts."""
        return any(is_penalised(part) for part in self.state.parts)

    def counted(self, rows: Rows, information: Information | None = None) -> Count:
        """Return the number of parameters, effective ones, given the rows of the fit."""
        return counted(self.state, rows, information)

    def information(self, rows: Rows) -> Information:
        """Return the observed information of all parameters, given training rows (one pass).

        Raises
        ------
        ValueError
            If a part does not have the derivatives of its log-probabilities.
        """
        state = self.state
        lacking = [type(part).__name__ for part in state.parts if not can(part, "scores")]
        if lacking:
            raise ValueError(
                f"the information needs derivatives (`scores`), which {' and '.join(lacking)} "
                "does not have. Softmax and constant gates have them, and linear experts of all "
                "families but laplace, without an L1 penalty."
            )
        here = evaluate(Problem(rows, Soft(), 1, 0.0), state, 0, informed=True)
        assert here.information is not None
        return replace(here.information, bound=here.bound)

    def reordered(self, order: np.ndarray) -> Model:
        """Return the model with the experts in this order; noise stays last."""
        n_others = int(self.has_fallback) + len(self.noise_columns)
        everyone = np.append(order, len(order) + np.arange(n_others)).astype(int)
        state = self.state.select(everyone)
        gate, bank = state.parts
        return replace(self, gate=gate, bank=bank, columns=columns_of(self.columns, order))

    @property
    def columns_of_experts(self) -> list:
        """The columns that each expert takes, None for all; inner mixtures choose themselves."""
        columns = None if self.flat is not None else self.columns[0]
        return columns if isinstance(columns, list) else [columns] * self.n_experts

    @property
    def noise_columns(self) -> list[int]:
        """Columns of gate probabilities that belong to the noise expert."""
        return [self.n_experts] if can(self.gate, "without_noise") else []

    @property
    def zero_share(self) -> float:
        """Probability of a zero that is none of the experts', 0 without a zero expert."""
        return float(getattr(self.gate, "zero_share_", 0.0))

    @property
    def dense_gate(self) -> Any:
        """The gate without its router."""
        gate: Any = self.gate
        return gate.without_routing() if can(gate, "without_routing") else gate

    @property
    def router(self) -> Any:
        """The router, None for a dense mixture."""
        gate: Any = self.gate
        gate = gate.without_noise() if can(gate, "without_noise") else gate
        return gate.router if can(gate, "without_routing") else None

    @property
    def has_fallback(self) -> bool:
        """Whether a fallback expert stands behind the others."""
        return self.router is not None and bool(self.router.needs_fallback)

    @property
    def fallback(self) -> Any:
        """The bank of the fallback expert, None if there is none."""
        if not self.has_fallback:
            return None
        bank: Any = self.bank
        return bank.fallback if hasattr(bank, "fallback") else bank.inner.fallback

    @property
    def sharing_bank(self) -> Any:
        """The bank that holds the shared expert, None if there is none."""
        bank: Any = self.bank
        while bank is not None and not hasattr(bank, "fitted_shared"):
            bank = getattr(bank, "inner", None)
        return bank

    @property
    def component(self) -> Any:
        """The bank of a shared expert that is a component, None if there is none."""
        bank = self.sharing_bank
        return bank if hasattr(bank, "share") else None

    @property
    def parameters(self) -> np.ndarray:
        """The family's parameters (P, K or K + 1, n_outputs), as many as routing weights."""
        bank: Any = self.bank
        if self.fallback is None:
            return np.asarray(bank.parameters)
        return np.concatenate([bank.parameters, self.fallback.parameters], axis=1)

    def gate_proba(self, rows: Rows) -> np.ndarray:
        """Return gate probabilities, (n, K or K + 1 with noise)."""
        return self._map(rows, partial(self._gate_block, gate=self.dense_gate))

    @staticmethod
    def _gate_block(block: Block, gate: Any) -> np.ndarray:
        proba: np.ndarray = gate.log_prob(block)
        softmax_in_place(proba)
        return proba.T

    def route(self, rows: Rows) -> np.ndarray:
        """Return the weights of the experts in a prediction, (n, K or K + 1 with a fallback)."""
        return self._map(rows, self.route_block)

    def route_block(self, block: Block) -> np.ndarray:
        """Return the weights of the experts for the rows of a block, (m, K or K + 1)."""
        log_weights = self.gate.log_prob(block)
        weights = log_weights[: len(log_weights) - len(self.noise_columns)]
        softmax_in_place(weights)
        return weights.T

    def outputs(self, rows: Rows, owner: str) -> np.ndarray:
        """Return every expert's prediction, (n, K or K + 1[, n_outputs or n_classes])."""
        return self._map(rows, partial(self._outputs_block, owner=owner))

    def routed_outputs(
        self, rows: Rows, owner: str, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the experts, those of `route` if None, and their predictions.

        Where experts are fitted one by one, a row's are those of the experts that it reaches, and
        others are left out: each expert is called once.
        """
        weights = self.route(rows) if weights is None else weights
        rows = self._called_once(rows)

        def outputs(block: Block) -> np.ndarray:
            routed = block.reaching(weights[block.start : block.stop].T > 0)
            return self._outputs_block(routed, owner)

        return weights, self._map(rows, outputs)

    def components(
        self, rows: Rows, owner: str, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights, means and family parameters of the components of a distribution.

        They are the experts, a fallback, a shared expert unless it is added to the others, and a
        zero expert: of a mean that is as good as 0, counts are 0.
        """
        weights, means, parameters = self._components(rows, owner, weights)
        share = self.zero_share
        if not share:
            return weights, means, parameters
        return (
            np.hstack([(1 - share) * weights, np.full((len(weights), 1), share)]),
            np.concatenate([means, np.full_like(means[:, :1], SMALLEST_MEAN)], axis=1),
            np.concatenate([parameters, parameters[:, :1]], axis=1),
        )

    def _components(
        self, rows: Rows, owner: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the components without a zero expert."""
        sharing = self.component
        if sharing is None:
            return *self.routed_outputs(rows, owner, weights), self.parameters
        alone = replace(self, bank=_without_component(self.bank))
        weights, outputs = alone.routed_outputs(rows, owner, weights)
        weights = weights.copy()
        own = slice(self.n_experts)
        common = sharing.share * weights[:, own].sum(axis=1, keepdims=True)
        weights[:, own] *= 1 - sharing.share
        shared = self._map(
            rows,
            lambda block: self.target.shaped(
                sharing.shared_outputs(block)[None].transpose(2, 0, 1)
            ),
        )
        return (
            np.hstack([weights, common]),
            np.concatenate([outputs, shared], axis=1),
            np.concatenate([self.parameters, sharing.shared.parameters], axis=1),
        )

    def _called_once(self, rows: Rows) -> Rows:
        """Return the rows as one block if experts are estimators that rows are routed to."""
        if self.router is None or not self.is_batch or rows.groups is not None:
            return rows
        rows = copy(rows)
        most = MOST_OUTPUTS // max(1, self.target.width * (self.n_experts + 1))
        rows.block_rows = max(rows.block_rows, most)
        return rows

    def _outputs_block(self, block: Block, owner: str) -> np.ndarray:
        outputs = self.bank.predict(block)
        refuse_far(outputs, block, owner)
        return self.target.shaped(outputs.transpose(2, 0, 1))

    def pooled(
        self,
        rows: Rows,
        owner: str,
        finish: Callable[[np.ndarray], np.ndarray] | None = None,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the pooled outputs of the experts, (n[, n_outputs or n_classes]).

        `finish` turns those of a block into what is answered, so that what is not need not be held
        for all rows. `weights` (n, K or K + 1) stand in for those of `route`.
        """

        def of_block(block: Block) -> np.ndarray:
            own = None if weights is None else weights[block.start : block.stop]
            pooled = self.pooled_block(block, owner, own)
            return pooled if finish is None else finish(pooled)

        return self._map(self._called_once(rows), of_block)

    def pooled_block(
        self, block: Block, owner: str, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the pooled outputs of a block."""
        pool = pool_of(self.pooling, owner)
        weights = self.route_block(block) if weights is None else weights
        if self.router is not None:
            block = block.reaching(weights.T > 0)
        pooled = pool(weights, self._outputs_block(block, owner))
        if self.zero_share:
            pooled = (1 - self.zero_share) * pooled
        if self.limits is None:
            return pooled
        target: Any = self.target
        bounded: np.ndarray = target.bounded(pooled, self.limits, block.offset)
        return bounded

    def responsibilities(self, rows: Rows) -> np.ndarray:
        """Return P(z = k | x, y) per row, (n, K or K + 1); constant within a group."""
        if self.flat is not None:
            return self.bank.merged(self.flat.responsibilities(rows))  # type: ignore[attr-defined]
        return self._map(rows, self._responsibilities_block)

    def _responsibilities_block(self, block: Block) -> np.ndarray:
        resp, _ = self._posterior_block(block)
        return block.reweighted(None).of_rows(resp).T

    def log_density_experts(self, rows: Rows) -> np.ndarray:
        """Return log p_k(y | x) of every expert, in the columns of `responsibilities`."""
        return self._map(rows, lambda block: self.log_densities_block(block).T)

    def log_densities_block(self, block: Block) -> np.ndarray:
        """Return the log-densities (K, m) of the rows of a block, −inf where y is impossible."""
        if self.flat is not None:
            inner = self.flat
            log_gate = inner.dense_gate.log_prob(block.reweighted(None))
            joint = log_gate + inner.log_densities_block(block)
            bank: Any = self.bank
            return bank.log_merged(joint) - bank.log_merged(log_gate)
        possible = self.target.possible(block.y)
        if possible is None or np.all(possible):
            return self.bank.log_prob(block)
        substituted = copy(block)
        substituted.y = np.where(possible, block.y, POSSIBLE)
        found = self.bank.log_prob(substituted)
        found[:, ~possible] = -np.inf
        return found

    def log_density(self, rows: Rows) -> np.ndarray:
        """Return log p(y | x) per row, or per group with weights as exponents."""
        return self._map(rows, self.innermost._log_density_block)

    def _log_density_block(self, block: Block) -> np.ndarray:
        return self._posterior_block(block)[1]

    def _posterior_block(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Return responsibilities (K, m) and log p(y | x) (m,) of the units of a block.

        If y is impossible, or so far off that its density underflows under all experts, it does
        not discriminate between them: responsibilities are the gate probabilities.
        """
        joint = self._log_joint_block(block)
        nowhere = np.isneginf(np.maximum.reduce(joint, axis=0))
        if np.any(nowhere):
            joint[:, nowhere] = self.gate.log_prob(block.unit)[:, nowhere]
        log_density = softmax_in_place(joint)
        log_density[nowhere] = -np.inf
        if self.target.family is None:  # rounding may push a probability above 1
            np.minimum(log_density, 0.0, out=log_density)
        return joint, log_density

    def _log_joint_block(self, block: Block) -> np.ndarray:
        """Return the log-joint (K, m) of the units of a block, −inf where y is impossible."""
        possible = self.target.possible(block.y)
        if possible is None or np.all(possible):
            return log_joint(self.gate, self.bank, block)
        substituted = copy(block)
        substituted.y = np.where(possible, block.y, POSSIBLE)
        joint = log_joint(self.gate, self.bank, substituted)
        if block.firsts is not None:
            possible = np.logical_and.reduceat(possible, block.firsts)
        joint[:, ~possible] = -np.inf
        return joint

    @np.errstate(under="ignore")
    def _map(self, rows: Rows, function: Callable[[Block], np.ndarray]) -> np.ndarray:
        """Return a function of all blocks, joined, with BLAS and OpenMP held to one thread.

        They begin none for so few products as `_is_small` allows.
        """
        if self._is_small(rows):
            return rows.map(function)
        with single_thread():
            return rows.map(function)

    def _is_small(self, rows: Rows) -> bool:
        """Return whether all products with the rows are small, and no estimator predicts."""
        if not (can(self.gate, "design") and can(self.bank, "design", "get_parameters")):
            return False
        size = max(self.gate.design.size, self.bank.design.size)  # type: ignore[attr-defined]
        return bool(rows.n_rows * size * self.n_experts * self.target.width <= FEW_PRODUCTS)


def _without_component(bank: Any) -> Any:
    """Return a bank without the shared expert that is a component of its experts."""
    if hasattr(bank, "share"):
        return bank.inner
    return evolve(bank, inner=_without_component(bank.inner))


def columns_of(columns: tuple[Any, Any], experts: np.ndarray) -> tuple[Any, Any]:
    """Return the columns of some experts, in this order."""
    of_experts, of_gate = (
        [selection[k] for k in experts] if isinstance(selection, list) else selection
        for selection in columns
    )
    return of_experts, of_gate


def pool_of(pooling: Any, owner: str) -> Pool:
    """Return the function for `pooling`, with a check of the output of a user's."""
    if isinstance(pooling, str):
        return POOLINGS[pooling]

    def pool(weights: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        pooled = pooling(weights, outputs)
        name = f"pooling={short(pooling)}"
        with named_error(owner, name, "It must return an array of numbers."):
            pooled = np.asarray(pooled)
        wanted = (len(weights), *outputs.shape[2:])
        if pooled.shape != wanted:
            raise ValueError(
                f"{owner}: pooling={pooling!r} returned shape {pooled.shape} "
                f"for weights {weights.shape} and outputs {outputs.shape}; it must return {wanted}."
            )
        if pooled.dtype.kind not in "fiub" or not np.all(np.isfinite(pooled)):
            raise ValueError(
                f"{owner}: {name} returned {pooled.dtype} with NaN, infinity or what is no number. "
                "It must return finite numbers."
            )
        return pooled

    return pool
