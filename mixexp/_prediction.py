"""What a fitted mixture answers: gate, experts, densities, pooled predictions, criteria."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.utils.validation import check_is_fitted, validate_data

from mixexp._blocks import Block, Rows
from mixexp._columns import as_numbers, check_known_text
from mixexp._compat import check_weights, safe_indexing
from mixexp._inputs import check_constant_in_groups, checked_groups, refuse_missing, sorted_rows
from mixexp._numerics import softmax_in_place
from mixexp._protocols import can
from mixexp._settings import settings_of
from mixexp._threads import single_thread
from mixexp._weights import as_counts
from mixexp.routing import POOLINGS

__all__ = ["PredictionMixin"]

#: Rows of a block at prediction, where nothing has to stay in the cache between passes.
PREDICTION_ROWS = 1 << 14


class PredictionMixin:
    """Methods of fitted mixtures; the base class fits."""

    gate_: Any
    _bank: Any
    _frames: bool
    _columns: tuple
    _text: tuple[int, ...]
    pooling: Any

    @abstractmethod
    def _accepts_sparse(self) -> bool:
        """Return whether gate and experts take CSR input."""

    @abstractmethod
    def _unblocked(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs (n, K, q) in the shape the caller expects."""

    def _new_rows(self, X: Any, y: Any = None, offset: Any = None) -> Rows:
        """Return checked rows to predict for."""
        check_is_fitted(self, "experts_")
        owner, batch = type(self).__name__, self._bank_is_batch()
        numbers = as_numbers(X)
        X = validate_data(
            self,
            numbers.X,
            reset=False,
            accept_sparse="csr" if settings_of(self).sparse else False,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
        )
        check_known_text(numbers, self._text, owner)
        refusing = self._whole._refusing_missing(batch, self._columns, fitted=True)
        missing = refuse_missing(X, refusing, owner)
        rows = Rows(
            X,
            None if y is None else self._checked_y(y, X),
            frame=numbers.frame if self._frames else None,
            offset=self._offset(offset, X, self._width(), batch),
            missing=missing,
        )
        rows.block_rows = PREDICTION_ROWS
        return rows

    @property
    def _whole(self) -> Any:
        """The flat mixture of the innermost experts where experts are mixtures, else itself."""
        return vars(self).get("_flat", self)

    def _bank_is_batch(self) -> bool:
        """Return whether experts were fitted one by one."""
        return not can(self._whole._bank, "gram_weights")

    def _by_group(self, rows: Rows, groups: Any) -> tuple[Rows, np.ndarray, np.ndarray]:
        """Return rows sorted by group, their order, and the group of each of the sorted units."""
        codes = checked_groups(groups, rows.X, type(self).__name__)
        assert codes is not None
        if not getattr(self.gate_, "featureless", False):
            check_constant_in_groups(rows.X, codes, self._columns[1], type(self).__name__)
        order = np.argsort(codes, kind="stable")
        return sorted_rows(rows, codes, order), order, codes

    @abstractmethod
    def _refusing_missing(self, batch: bool, columns: tuple, *, fitted: bool) -> list:
        """Return the names of the parts that take no NaN, with the columns they see."""

    @abstractmethod
    def _offset(self, offset: Any, X: Any, width: int, batch: bool) -> Any:
        """Return a checked offset as `Rows` holds it."""

    @abstractmethod
    def _width(self) -> int:
        """Return the number of outputs, or of classes."""

    @abstractmethod
    def _checked_y(self, y: Any, X: Any) -> np.ndarray:
        """Return targets to score, as `Rows` holds them."""

    def _mapped(self, rows: Rows, function: Any) -> np.ndarray:
        """Return `function(block)` of all blocks, joined along the first axis."""
        with single_thread():
            return np.concatenate([function(block) for block in rows.blocks()])

    def gate_proba(self, X: Any, *, level: int | None = None) -> np.ndarray:
        """Return gate probabilities g_k(x) = P(z = k | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        level : int, default=None
            Of a `HierarchicalGate`: 1 gives the probabilities of the root's children, 2 those of
            their children, and so on. None is the experts.

        Returns
        -------
        ndarray of shape (n_samples, n_experts), or (n_samples, n_nodes) of a level
            Nodes are in the order of their paths. With `noise_expert` there is one more column,
            the last one, for the noise.

        Raises
        ------
        ValueError
            Where the gate has no such level.
        """
        proba = self._mapped(self._new_rows(X), self._gate_block)
        if level is None:
            return proba
        nodes = self._nodes_at(level)
        own = [proba[:, experts].sum(axis=1) for experts in nodes]
        return np.column_stack([*own, proba[:, self._bank.n_experts :]])

    def _nodes_at(self, level: int) -> list[np.ndarray]:
        """Return the experts below each node of a level of the gate."""
        depth = self.gate_.depth if can(self.gate_, "leaves_at") else 1
        if isinstance(level, bool) or level not in range(1, depth + 1):
            have = "one level: give 1" if depth == 1 else f"levels 1 to {depth}: give one of them"
            raise ValueError(
                f"{type(self).__name__}: level={level!r}, and this gate has {have}, or None for "
                "the experts."
            )
        if depth == 1:
            return list(np.arange(self._bank.n_experts)[:, None])
        found: list[np.ndarray] = self.gate_.leaves_at(level)
        return found

    def _gate_block(self, block: Block) -> np.ndarray:
        proba = self.gate_.log_prob(block)
        softmax_in_place(proba)
        return proba.T

    def route(self, X: Any) -> np.ndarray:
        """Return the weights with which the experts enter a prediction.

        Without sparse routing these are the gate probabilities; with `noise_expert`, given that
        the row is not noise.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            Rows sum to 1.
        """
        return self._mapped(self._new_rows(X), self._route_block)

    def _route_block(self, block: Block) -> np.ndarray:
        log_gate = self.gate_.log_prob(block)[: self._bank.n_experts]
        softmax_in_place(log_gate)
        return log_gate.T

    def predict_experts(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Return every expert's own prediction.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_experts), with n_outputs or n_classes as a last axis where
        there are several outputs, or classes
        """
        return self._mapped(self._new_rows(X, offset=offset), self._expert_block)

    def _expert_block(self, block: Block) -> np.ndarray:
        return self._unblocked(self._bank.predict(block).transpose(2, 0, 1))

    def _log_joint_block(self, block: Block) -> np.ndarray:
        log_joint = block.of_units(self._bank.log_prob(block))
        log_joint += self.gate_.log_prob(block.unit)
        return log_joint

    def responsibilities(
        self, X: Any, y: Any, *, offset: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Return responsibilities P(z = k | x, y), which know the target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            With `noise_expert` there is one more column, the last one: how likely a row is an
            outlier.
        """
        return self._resp(X, y, None, offset, groups)

    def _resp(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> np.ndarray:
        """Return responsibilities; where rows are grouped weights are exponents of their rows."""
        if self._whole is not self:
            return self._bank.merged(self._whole._resp(X, y, weight, offset, groups))

        def block_resp(block: Block) -> np.ndarray:
            log_joint = self._log_joint_block(block)
            softmax_in_place(log_joint)
            block.weight = None
            return block.of_rows(log_joint).T

        rows = self._new_rows(X, y, offset)
        if groups is None:
            return self._mapped(rows, block_resp)
        rows.weight = weight
        rows, order, _ = self._by_group(rows, groups)
        found = self._mapped(rows, block_resp)
        resp = np.empty_like(found)
        resp[order] = found
        return resp

    def log_density(self, X: Any, y: Any, *, offset: Any = None, groups: Any = None) -> np.ndarray:
        """Return log p(y | x) of every row, or group; for classes log P(y | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility, and have one joint density.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_groups,) in the order of the groups' values
            Natural logarithms, in units of 1 / y for a regression.
        """
        return self._density(X, y, None, offset, groups)

    def _density(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> np.ndarray:
        """Return log-densities of rows; of groups, where weights are exponents of their rows."""
        if self._whole is not self:
            return self._whole._density(X, y, weight, offset, groups)
        rows = self._new_rows(X, y, offset)
        if groups is not None:
            rows.weight = weight
            rows, _, _ = self._by_group(rows, groups)
        return self._mapped(rows, lambda block: softmax_in_place(self._log_joint_block(block)))

    def aic(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
    ) -> float:
        """Return Akaike's information criterion, −2 log L + 2 p; smaller is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            Where gate or experts have no known number of parameters.

        Notes
        -----
        Penalised coefficients count in full.
        """
        log_likelihood, _ = self._log_likelihood(X, y, sample_weight, offset, groups)
        return -2 * log_likelihood + 2 * self._n_parameters()

    def bic(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
    ) -> float:
        """Return the Bayesian information criterion, −2 log L + p log n.

        n is the sum of weights, or the number of groups.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            Where gate or experts have no known number of parameters.
        """
        log_likelihood, n = self._log_likelihood(X, y, sample_weight, offset, groups)
        return -2 * log_likelihood + self._n_parameters() * float(np.log(n))

    def icl(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
    ) -> float:
        """Return the integrated completed likelihood: `bic` plus twice the entropy of z.

        The entropy is that of the responsibilities, so that experts that cannot be told apart
        count against a mixture (Biernacki, Celeux & Govaert 2000, IEEE PAMI 22, as BIC).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            Where gate or experts have no known number of parameters.
        """
        X, y, weight, offset, groups = self._weighted(X, y, sample_weight, offset, groups)
        entropy = entr(self._resp(X, y, weight, offset, groups)).sum(axis=1)
        if groups is not None:
            entropy = entropy[np.unique(np.asarray(groups), return_index=True)[1]]
        elif weight is not None:
            entropy = entropy * weight
        bic = self.bic(X, y, weight, offset=offset, groups=groups)
        return bic + 2 * float(entropy.sum())

    def _weighted(self, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any) -> tuple:
        """Return the rows of positive weight, with checked weights or None."""
        if sample_weight is None:
            return X, y, None, offset, groups
        weight = check_weights(sample_weight, np.asarray(y), type(self).__name__)
        weight = as_counts(weight, self)
        kept = np.flatnonzero(weight > 0)
        if len(kept) == len(weight):
            return X, y, weight, offset, groups
        others = [None if one is None else np.asarray(one)[kept] for one in (offset, groups)]
        return safe_indexing(X, kept), np.asarray(y)[kept], weight[kept], *others

    def _log_likelihood(
        self, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any
    ) -> tuple[float, float]:
        """Return the weighted log-likelihood and the sum of weights, or number of groups."""
        X, y, weight, offset, groups = self._weighted(X, y, sample_weight, offset, groups)
        density = self._density(X, y, weight, offset, groups)
        if weight is None or groups is not None:
            return float(density.sum()), float(len(density))
        return float(density @ weight), float(weight.sum())

    def _n_parameters(self) -> int:
        check_is_fitted(self, "experts_")
        parts = {"gate": self._whole.gate_, "experts": self._whole._bank}
        for name, part in parts.items():
            if not can(part, "n_parameters"):
                raise ValueError(
                    f"{type(self).__name__}: aic, bic and icl need the number of parameters, which "
                    f"the {name} of this mixture do not have. Compare mixtures by cross-validation."
                )
        return sum(part.n_parameters for part in parts.values())

    def _pooled(self, X: Any, offset: Any = None) -> np.ndarray:
        """Return the pooled outputs of the experts."""
        return self._mapped(self._new_rows(X, offset=offset), self._pooled_block)

    def _pooled_block(self, block: Block) -> np.ndarray:
        """Return the pooled outputs of a block, (m,) or (m, n_outputs or n_classes)."""
        pooling = settings_of(self).pooling
        pool = POOLINGS[pooling] if isinstance(pooling, str) else pooling
        return self._checked_pool(pool, self._route_block(block), self._expert_block(block))

    def _checked_pool(self, pool: Any, weights: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        pooled = np.asarray(pool(weights, outputs))
        wanted = (len(weights), *outputs.shape[2:])
        if pooled.shape != wanted:
            raise ValueError(
                f"{type(self).__name__}: pooling={settings_of(self).pooling!r} returned shape "
                f"{pooled.shape} for weights {weights.shape} and outputs {outputs.shape}; it must "
                f"return {wanted}."
            )
        return pooled
