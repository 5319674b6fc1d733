"""What classifier and regressor share: checks, assembly of the parts, fitted attributes."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array

from mixexp import __version__
from mixexp._assign import ASSIGNERS
from mixexp._blocks import Rows
from mixexp._compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_weights,
    column_indices,
)
from mixexp._em import Run
from mixexp._prediction import PredictionMixin
from mixexp._protocols import can
from mixexp._search import Search, search
from mixexp._sketch import row_hashes, sketch
from mixexp._threads import single_thread
from mixexp.experts import EstimatorBank, check_expert, has_bank, linear_bank, takes_sparse
from mixexp.gates import SoftmaxGate
from mixexp.partitions import PARTITIONS, FromEstimator, one_hot
from mixexp.routing import POOLINGS

__all__ = ["BaseMixtureOfExperts"]

#: Rows that starts see at most. Data with no more distinct rows are merged and sorted as a
#: whole, so that nothing depends on the order of their rows.
SKETCH_ROWS = 8192

#: Root mean square change of log g_k in the last iteration above which a gate has not settled.
GATE_MOVES = 0.05

#: An expert whose gate probability is within this of 0 or 1 for every row is separated.
SATURATED = 1e-4


class BaseMixtureOfExperts(PredictionMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class; use `MixtureOfExpertsClassifier` or `MixtureOfExpertsRegressor`."""

    _parameter_constraints: dict = {
        "expert": [HasMethods(["fit", "predict", "get_params"]), None],
        "n_experts": [Interval(Integral, 1, None, closed="left")],
        "gate": [HasMethods(["start", "log_prob", "statistics", "update"]), None],
        "expert_features": "no_validation",
        "gate_features": "no_validation",
        "pooling": [StrOptions(set(POOLINGS)), callable],
        "init": [StrOptions(set(PARTITIONS)), "array-like", HasMethods(["fit_predict"])],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "assignment": [StrOptions(set(ASSIGNERS))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    @abstractmethod
    def __init__(
        self,
        expert: Any,
        n_experts: int,
        gate: Any,
        expert_features: Any,
        gate_features: Any,
        pooling: Any,
        init: Any,
        n_init: int,
        assignment: str,
        max_iter: int,
        tol: float,
        random_state: Any,
        n_jobs: int | None,
    ):
        self.expert = expert
        self.n_experts = n_experts
        self.gate = gate
        self.expert_features = expert_features
        self.gate_features = gate_features
        self.pooling = pooling
        self.init = init
        self.n_init = n_init
        self.assignment = assignment
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    @abstractmethod
    def _targets_block(self, y: np.ndarray) -> np.ndarray:
        """Return targets as `Rows` holds them."""

    def _fit_mixture(
        self, X: Any, y: np.ndarray, sample_weight: Any, frame: Any, *, classes: Any, family: Any
    ) -> None:
        """Fit gate and experts on checked data and store the fitted attributes.

        1. Drop rows without weight; merge equal rows where they all fit the sketch.
        2. Select columns, make gate and banks.
        3. Search: short runs from several starts, one long run from the best.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        expert_columns = self._columns("expert_features", X, frame)
        gate_columns = self._columns("gate_features", X, frame)
        batch = not has_bank(self.expert)
        frame = frame if batch or hasattr(self.init, "fit_predict") else None
        start = self._start(X.shape[0])
        terms = {"classes": classes, "family": family}
        with single_thread():
            rows, start_rows, start = self._rows(X, y, sample_weight, frame, start, seed)
            gate = clone(self._gate_template()).start(rows, self.n_experts, gate_columns)
            bank = linear_bank(self.expert, rows, expert_columns, **terms)
            self._check_memory(gate, bank)
            batch_bank = self._batch_bank(rows, expert_columns, seed, **terms) if batch else None
            task = Search(
                rows=rows,
                sketch=start_rows,
                gate=gate,
                bank=bank,
                batch_bank=batch_bank,
                n_experts=self.n_experts,
                start=start,
                n_init=self.n_init,
                assigner=ASSIGNERS[self.assignment](seed),
                max_iter=self.max_iter,
                tol=self.tol,
                seed=seed,
                n_jobs=self.n_jobs,
            )
            run, restarts = search(task)
            self._store(run, rows, expert_columns, batch)
        self.restarts_ = restarts

    def _batch_bank(self, rows: Rows, columns: Any, seed: int, **terms: Any) -> EstimatorBank:
        """Return the bank of experts that are fitted one by one."""
        return EstimatorBank(
            self.expert,
            columns,
            n_outputs=1 if rows.y.ndim == 1 else len(rows.y),
            n_experts=self.n_experts,
            n_jobs=self.n_jobs,
            seed=seed,
            **terms,
        )

    def _check_memory(self, gate: Any, bank: Any) -> None:
        """Raise where an M-step's Gram matrices would not fit scikit-learn's working memory."""
        parts = [(gate, 1), (bank, self.n_experts)]
        doubles = sum(
            copies * part.n_gram_weights * part.design.size**2
            for part, copies in parts
            if can(part, "gram_weights")
        )
        limit = get_config()["working_memory"]
        if doubles * 8 > limit * 2**20:
            raise ValueError(
                f"{type(self).__name__}: X has {self.n_features_in_} features, and the M-step of "
                f"linear gates and experts would need {doubles * 8 / 2**20:.0f} MiB for Gram "
                f"matrices, more than scikit-learn's working_memory of {limit} MiB. Reduce the "
                "features first (TruncatedSVD or SelectKBest in a Pipeline, or expert_features and "
                "gate_features), or raise it by sklearn.set_config(working_memory=...)."
            )

    def _gate_template(self) -> Any:
        return SoftmaxGate() if self.gate is None else self.gate

    def _check_parts(self, *, classifier: bool) -> None:
        """Raise where a part is a class and not an instance, or the expert cannot do this task."""
        owner = type(self).__name__
        for name in ("expert", "gate", "family", "init"):
            value = getattr(self, name, None)
            if isinstance(value, type):
                raise TypeError(
                    f"{owner}: {name} must be an instance, got the class {value.__name__}. Write "
                    f"{name}={value.__name__}()."
                )
        if isinstance(self.n_experts, bool | np.bool_):
            raise ValueError(
                f"The 'n_experts' parameter of {owner} must be an int. "
                f"Got {self.n_experts!r} instead."
            )
        if self.expert is not None:
            check_expert(self.expert, owner, classifier=classifier)

    def _accepts_sparse(self) -> bool:
        return has_bank(self.expert) or takes_sparse(self.expert)

    def _columns(self, name: str, X: Any, frame: Any) -> np.ndarray | None:
        """Return positions of the columns that a `*_features` parameter selects; None for all."""
        selection = getattr(self, name)
        if selection is None:
            return None
        source = X if frame is None else frame
        try:
            chosen = selection(source) if callable(selection) else selection
            columns = column_indices(source, chosen)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(
                f"{type(self).__name__}: {name}={selection!r} selects no columns of X: {error} "
                "Give indices, a slice, a boolean mask, or column names of a data frame."
            ) from error
        if len(columns) == 0:
            raise ValueError(
                f"{type(self).__name__}: {name}={selection!r} selects no columns of X. "
                "Use mixexp.gates.ConstantGate() for a gate without features."
            )
        if len(np.unique(columns)) < len(columns):
            raise ValueError(f"{type(self).__name__}: {name}={selection!r} selects a column twice.")
        return columns

    def _start(self, n_rows: int) -> Any:
        """Return the start that `init` means: a partition, or responsibilities (K, n)."""
        owner = type(self).__name__
        if isinstance(self.init, str):
            return PARTITIONS[self.init]()
        if hasattr(self.init, "fit_predict"):
            return FromEstimator(self.init, owner)
        given = np.asarray(self.init)
        if given.dtype.kind == "f":
            check_array(given, ensure_2d=False, input_name="init", ensure_min_samples=0)
        wanted = (n_rows, self.n_experts)
        if given.shape == (n_rows,):
            labels, codes = np.unique(given, return_inverse=True)
            if len(labels) != self.n_experts:
                raise ValueError(
                    f"{owner}: init has {len(labels)} distinct labels and n_experts="
                    f"{self.n_experts}. Set n_experts={len(labels)}, or give every expert rows."
                )
            return one_hot(codes.ravel(), self.n_experts)
        if given.shape != wanted:
            raise ValueError(
                f"{owner}: init has shape {given.shape}. Give labels of shape {wanted[:1]}, or "
                f"responsibilities of shape {wanted}, one column an expert."
            )
        resp = np.asarray(given, dtype=np.float64)
        if resp.min() < 0 or not np.allclose(resp.sum(axis=1), 1.0, atol=1e-6):
            raise ValueError(
                f"{owner}: init as responsibilities must be nonnegative with rows that sum to 1; "
                f"row sums go from {resp.sum(axis=1).min():.6g} to {resp.sum(axis=1).max():.6g}, "
                f"the smallest entry is {resp.min():.6g}. Divide each row by its sum."
            )
        return np.ascontiguousarray(resp.T / resp.sum(axis=1))

    def _rows(
        self, X: Any, y: np.ndarray, sample_weight: Any, frame: Any, start: Any, seed: int
    ) -> tuple[Rows, Rows, Any]:
        """Return training rows, the rows of starts, and the start on those rows."""
        owner = type(self).__name__
        weight = None if sample_weight is None else check_weights(sample_weight, X, owner)
        rows = Rows(X, self._targets_block(y), weight, frame=frame, training=True)
        if weight is not None and not np.all(weight > 0):
            kept = np.flatnonzero(weight > 0)
            rows = rows.subset(kept, weight[kept])
            start = start[:, kept] if isinstance(start, np.ndarray) else start
        if isinstance(start, np.ndarray) and np.any(start.sum(axis=1) == 0):
            empty = np.flatnonzero(start.sum(axis=1) == 0)
            raise ValueError(
                f"{owner}: init gives experts {empty.tolist()} no row of positive weight. Give "
                "every expert rows to start from, or lower n_experts."
            )
        if rows.n_rows < self.n_experts:
            raise ValueError(
                f"{owner}: n_samples={rows.n_rows} rows with positive weight are fewer than "
                f"n_experts={self.n_experts}. Lower n_experts or give more rows."
            )
        hashes = row_hashes(rows.X, rows.y, seed)
        ids, merged, inverse = sketch(hashes, rows.weight, SKETCH_ROWS)
        sketched = rows.subset(ids, merged)
        if int(inverse.max()) >= len(ids):
            return rows, sketched, start
        if isinstance(start, np.ndarray):
            weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
            total = np.bincount(inverse, weights=weight)
            start = np.stack([np.bincount(inverse, weights=r * weight) for r in start]) / total
        return sketched, sketched, start

    def _store(self, run: Run, rows: Rows, expert_columns: Any, batch: bool) -> None:
        """Set the fitted attributes."""
        names = getattr(self, "feature_names_in_", None)
        if names is not None and expert_columns is not None:
            names = names[expert_columns]
        state = run.state
        self.n_iter_ = len(run.bounds)
        self.n_passes_ = run.n_passes
        self.converged_ = run.converged
        self.lower_bound_ = run.bound
        self.lower_bounds_ = np.array(run.bounds)
        usage = np.zeros(self.n_experts)
        moves, unsure = 0.0, np.zeros(self.n_experts)
        for block in rows.blocks():
            log_gate = state.gate.log_prob(block)
            change = log_gate - run.previous.gate.log_prob(block)
            moves += float(np.sum((change - change.mean(axis=0)) ** 2))
            gate = np.exp(log_gate)
            usage += gate.sum(axis=1) if block.weight is None else gate @ block.weight
            np.maximum(unsure, np.minimum(gate, 1 - gate).max(axis=1), out=unsure)
        self.usage_ = usage / usage.sum()
        penalised = can(state.gate, "log_prior") and state.gate.log_prior() < 0
        judged = self.n_experts > 1 and can(state.gate, "coef_") and not penalised
        moves = np.sqrt(moves / (rows.n_rows * self.n_experts))
        self._warn(judged and (moves > GATE_MOVES or unsure.min() < SATURATED))
        state = state.apply(lambda part: part.trimmed() if can(part, "trimmed") else part)
        self.gate_, bank = state.parts
        self._bank = bank
        self._expert_frames = batch
        self._mixexp_version = __version__
        if getattr(bank, "dispersions", None) is not None:
            single = bank.dispersions.shape[1] == 1
            self.dispersions_ = bank.dispersions[:, 0] if single else bank.dispersions
        self.experts_ = bank.fitted(names)

    def _warn(self, separated: bool) -> None:
        """Warn where the run did not converge, or the gate did not settle."""
        owner = type(self).__name__
        if not self.converged_:
            warnings.warn(
                f"{owner} did not converge in max_iter={self.max_iter} EM iterations at "
                f"tol={self.tol}. Increase max_iter or tol; fewer experts or a stronger penalty of "
                "gate and experts converge faster.",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif separated:
            warnings.warn(
                f"{owner}: the gate separates the experts' regions perfectly, or nearly so: its "
                "coefficients grow while the likelihood no longer does, and have no finite limit. "
                "Predictions are sound; to get coefficients, penalise the gate: "
                "gate=SoftmaxGate().",
                ConvergenceWarning,
                stacklevel=4,
            )

    def __setstate__(self, state: dict) -> None:
        version = state.get("_mixexp_version", __version__)
        if version != __version__:
            warnings.warn(
                f"This {type(self).__name__} was saved by mixexp {version} and is loaded by "
                f"{__version__}; predictions may differ. Fit it again, or install that version.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        expert = self.expert
        tags.input_tags.sparse = (
            expert is None
            or has_bank(expert)
            or (hasattr(expert, "__sklearn_tags__") and takes_sparse(expert))
        )
        return tags
