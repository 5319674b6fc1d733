"""What classifier and regressor share: parameters, the steps of a fit, fitted attributes."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from mixexp import __version__
from mixexp._assembly import PartsMixin
from mixexp._assign import ASSIGNERS
from mixexp._blocks import Rows
from mixexp._collapse import ON_COLLAPSE
from mixexp._compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_weights,
    raise_for_params,
    routing_enabled,
)
from mixexp._fitted import Given
from mixexp._fitting import takes_sparse
from mixexp._inputs import (
    Training,
    check_constant_in_groups,
    check_log_offset,
    checked_groups,
    refuse_missing,
    responsibilities_of,
    selected_columns,
    start_rows,
)
from mixexp._known import checked_labels
from mixexp._nested import NestedMixin
from mixexp._search import Search, search
from mixexp._settings import remember
from mixexp._stand_in import Seen
from mixexp._threads import single_thread
from mixexp._warn import warn
from mixexp._weights import as_counts, check_total
from mixexp.experts import (
    candidates_of,
    linear_bank,
    named,
    with_params,
)
from mixexp.partitions import PARTITIONS, FromEstimator, GivenStart
from mixexp.routing import POOLINGS

__all__ = ["BaseMixtureOfExperts"]


class BaseMixtureOfExperts(PartsMixin, NestedMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class; use `MixtureOfExpertsClassifier` or `MixtureOfExpertsRegressor`."""

    _parameter_constraints: dict = {
        "expert": [HasMethods(["get_params"]), list, tuple, None],
        "n_experts": [Interval(Integral, 1, None, closed="left")],
        "gate": [HasMethods(["get_params", "start"]), HasMethods(["get_params", "fit"]), None],
        "expert_features": "no_validation",
        "gate_features": "no_validation",
        "noise_expert": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS)), callable],
        "init": [
            StrOptions(set(PARTITIONS)),
            "array-like",
            HasMethods(["fit_predict"]),
            HasMethods(["responsibilities"]),
        ],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "assignment": [StrOptions(set(ASSIGNERS))],
        "cross_fit": [StrOptions({"auto"}), "boolean", Interval(Integral, 2, None, closed="left")],
        "on_collapse": [StrOptions(set(ON_COLLAPSE))],
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
        noise_expert: bool,
        pooling: Any,
        init: Any,
        n_init: int,
        assignment: str,
        cross_fit: Any,
        on_collapse: str,
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
        self.noise_expert = noise_expert
        self.pooling = pooling
        self.init = init
        self.n_init = n_init
        self.assignment = assignment
        self.cross_fit = cross_fit
        self.on_collapse = on_collapse
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict:
        """Return parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether with those of nested estimators. Those of a list of experts are named
            ``expert__name__parameter``.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=deep)
        if deep and isinstance(self.expert, list | tuple):
            for name, expert in named(self.expert):
                params[f"expert__{name}"] = expert
                if hasattr(expert, "get_params"):
                    inner = expert.get_params(deep=True)
                    params |= {f"expert__{name}__{key}": value for key, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> BaseMixtureOfExperts:
        """Set parameters, also nested ones.

        Parameters
        ----------
        **params : dict
            As `get_params` names them.

        Returns
        -------
        self
        """
        if isinstance(params.get("expert", self.expert), list | tuple):
            own = {key: params.pop(key) for key in list(params) if key.startswith("expert__")}
            super().set_params(**params)
            if own:
                inner = {key.partition("__")[2]: value for key, value in own.items()}
                self.expert = with_params(self.expert, inner, type(self).__name__)
            return self
        return super().set_params(**params)

    @abstractmethod
    def _targets_block(self, y: np.ndarray) -> np.ndarray:
        """Return targets as `Rows` holds them."""

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Put every attribute back where the block raises: a failed fit changes nothing."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _fit_mixture(
        self, X: Any, y: np.ndarray, given: Given, *, classes: Any, family: Any
    ) -> None:
        """Fit gate and experts on checked data and store the fitted attributes.

        1. Select columns; drop rows without weight; merge equal rows, or sort by groups.
        2. Make gate and banks.
        3. Search: short runs from several starts, one long run from the best.
        4. Put experts that are exchangeable into the canonical order.
        """
        self._forget()
        remember(self)
        if self._is_nested():
            self._fit_nested(X, y, given, classes=classes, family=family)
            return
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        batch = self._is_batch(family)
        terms = {"classes": classes, "family": family}
        columns = self._selected(X if given.frame is None else given.frame)
        with single_thread():
            training = self._training(X, y, given, columns, batch, seed, **terms)
            seen = self._stand_in(training, given.numbers.text, columns, batch, seed, classes)
            task = self._task(training, columns, seen, batch, seed, **terms)
            run, restarts = search(task)
            self._columns, self._text = columns, given.numbers.text
            self._store(run, task.rows, self._needs_frame(batch))
        self.restarts_ = restarts
        self._warn_of_collapse(restarts)

    def _selected(self, source: Any) -> tuple[Any, Any]:
        """Return the columns of experts and of the gate."""
        owner, k = type(self).__name__, self.n_experts
        return (
            selected_columns(self.expert_features, "expert_features", source, k, owner),
            selected_columns(self.gate_features, "gate_features", source, k, owner),
        )

    def _needs_frame(self, batch: bool) -> bool:
        """Return whether estimators are fitted, which may ask for column names."""
        own_start = hasattr(self.init, "fit_predict") or hasattr(self.init, "responsibilities")
        return batch or self._gate_is_classifier() or own_start

    def _training(
        self,
        X: Any,
        y: np.ndarray,
        given: Given,
        columns: tuple,
        batch: bool,
        seed: int,
        *,
        classes: Any,
        family: Any,
    ) -> Training:
        """Return the rows of the fit and of its starts, after checking them."""
        owner = type(self).__name__
        self._refuse_text(given.numbers, batch, columns)
        missing = refuse_missing(X, self._refusing_missing(batch, columns, fitted=False), owner)
        width = len(classes) if classes is not None else int(np.prod(y.shape[1:]))
        targets = self._targets_block(y)
        if family is not None:
            family.check(targets, owner)
        codes = checked_groups(given.groups, X, owner)
        if codes is not None and not getattr(self.gate, "featureless", False):
            check_constant_in_groups(X, codes, columns[1], owner)
        weight = None
        if given.weight is not None:
            weight = as_counts(check_weights(given.weight, X, owner), self)
        offset = self._offset(given.offset, X, width, batch)
        if family is not None and family.link == "log" and offset is not None:
            check_log_offset(offset, owner)
        rows = Rows(
            X,
            targets,
            weight,
            frame=given.frame if self._needs_frame(batch) else None,
            training=True,
            offset=offset,
            metadata=self._routed(given.params),
            missing=missing,
            labels=checked_labels(given.labels, X.shape[0], codes, weight, self.n_experts, owner),
        )
        return start_rows(rows, codes, self._start(X), self.n_experts, seed, owner)

    def _task(
        self,
        training: Training,
        columns: tuple,
        seen: Seen,
        batch: bool,
        seed: int,
        *,
        classes: Any,
        family: Any,
    ) -> Search:
        """Return the search: parts at their start, and how to go on."""
        owner, rows = type(self).__name__, training.rows
        expert_columns, gate_columns = columns
        terms = {"classes": classes, "family": family}
        width = len(classes) if classes is not None else len(rows.y)
        gate = self._started_gate(rows, seen.gate)
        bank = linear_bank(self._bank_template(batch), rows, seen.experts, **terms)
        self._check_memory(gate, bank)
        check_total(rows, gate, bank, self.n_experts, owner)
        batch_gate = self._batch_gate()
        if batch_gate is not None:
            batch_gate = self._started_batch_gate(batch_gate, rows, gate_columns, seed)
        return Search(
            rows=rows,
            sketch=training.sketch,
            gate=gate,
            bank=bank,
            batch_gate=batch_gate,
            batch_bank=self._batch_bank(width, expert_columns, seed, **terms) if batch else None,
            noise=self._noise(rows, family, width, owner),
            match=self._may_match(columns) and rows.labels is None,
            arrange=not isinstance(expert_columns, list),
            on_collapse=self.on_collapse,
            owner=owner,
            n_experts=self.n_experts,
            start=training.start,
            n_init=self.n_init,
            assigner=ASSIGNERS[self.assignment](seed),
            max_iter=self.max_iter,
            tol=self.tol,
            seed=seed,
            n_jobs=self.n_jobs,
        )

    def _may_match(self, columns: tuple) -> bool:
        """Return whether experts of different kinds may be given each other's regions."""
        given = any(isinstance(own, list) for own in columns)
        return not given and not getattr(self.gate, "nested", False)

    def _routed(self, params: dict) -> dict:
        """Return what metadata routing has for the `fit` of each expert."""
        if not routing_enabled():
            raise_for_params(params, self, "fit")
            return {}
        if not params:  # there is nothing to route, and no names to go through
            return {}
        routed = process_routing(self, "fit", **params)
        return {name: dict(routed[name].fit) for name in routed if name != type(self).__name__}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata are routed to the experts.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        if self.expert is None:
            return router
        n_experts = len(self.expert) if isinstance(self.expert, list | tuple) else 1
        candidates = candidates_of(self.expert, n_experts, type(self).__name__)
        experts = {name: e for own in candidates for name, e in own}
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(method_mapping=mapping, **experts)

    def _accepts_sparse(self) -> bool:
        return all(takes_sparse(expert) for expert in self._templates())

    def _start(self, X: Any) -> Any:
        """Return the start that `init` means: a partition, or responsibilities (K, n)."""
        owner = type(self).__name__
        if isinstance(self.init, str):
            return PARTITIONS[self.init]()
        if hasattr(self.init, "fit_predict"):
            return FromEstimator(self.init, owner)
        if hasattr(self.init, "gate_proba"):  # its `responsibilities` are something else
            raise TypeError(
                f"{owner}: init is a mixture, {type(self.init).__name__}. To set out from it, give "
                "init=mixture.responsibilities(X, y)."
            )
        if hasattr(self.init, "responsibilities"):
            return GivenStart(self.init, owner)
        return responsibilities_of(self.init, X.shape[0], self.n_experts, owner)

    def __setstate__(self, state: dict) -> None:
        version = state.get("_mixexp_version", __version__)
        if version != __version__:
            warn(
                f"This {type(self).__name__} was saved by mixexp {version} and is loaded by "
                f"{__version__}; predictions may differ. Fit it again, or install that version.",
            )
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            experts = self._templates()
            tags.input_tags.sparse = all(takes_sparse(expert) for expert in experts)
            tags.input_tags.allow_nan = self._takes_missing()
        except (AttributeError, TypeError):  # `fit` says what is wrong with the parameters
            pass
        return tags
