"""Base of classifier and regressor: parameters, the steps of a fit, answers for rows."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter

from mixexp import __version__
from mixexp._checks import all_or_nothing, short
from mixexp._compat import (
    JOBS,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
)
from mixexp._engine.assign import ASSIGNERS
from mixexp._engine.collapse import ON_COLLAPSE
from mixexp._engine.search import search
from mixexp._estimators import outcome
from mixexp._estimators.again import remembered, warm
from mixexp._estimators.assembly import FitArguments, assemble, metadata_router
from mixexp._estimators.blockwise import (
    FactorySource,
    fit_streamed,
    gathered,
    why_not_additive,
)
from mixexp._estimators.choosing import chosen_gate
from mixexp._estimators.dask_input import lazy_on_dask
from mixexp._estimators.following import following
from mixexp._estimators.given import MixtureGiven, condition
from mixexp._estimators.growing import fit_growing, settled
from mixexp._estimators.hard import HardMixtureClassifier, HardMixtureRegressor, hardened
from mixexp._estimators.identity import data_identity
from mixexp._estimators.known_rows import grouped, rows_of_fit, weighted, with_targets
from mixexp._estimators.model import Model
from mixexp._estimators.nesting import fit_nested, is_nested
from mixexp._estimators.new_rows import new_rows
from mixexp._estimators.notebook import PAGES, visual_block
from mixexp._estimators.parameters import check_nested
from mixexp._estimators.part_checks import check_parts
from mixexp._estimators.part_inputs import takes_all_missing, takes_all_sparse
from mixexp._estimators.streaming import refuse_unfitted
from mixexp._estimators.tasks import check_callbacks
from mixexp._estimators.unused import unused_features
from mixexp._estimators.versioned import Versioned
from mixexp._rows.labels import reference_of
from mixexp._rows.rows import Rows
from mixexp._threads import single_thread
from mixexp.bases import BASES
from mixexp.experts import named, with_params
from mixexp.inference import Summary, summarize
from mixexp.partitions import PARTITIONS
from mixexp.protocols import can
from mixexp.routing import POOLINGS

__all__ = ["BaseMixtureOfExperts"]


def _gate_columns(mixture: Any, level: Any = None) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of a row's gate probabilities."""
    model = mixture._fitted_model()
    n = model.n_experts if level is None else len(mixture._nodes_at(level))
    return (n + len(model.noise_columns),), np.dtype(float)


def _routing_columns(mixture: Any) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of a row's routing weights."""
    model = mixture._fitted_model()
    return (model.n_experts + model.has_fallback,), np.dtype(float)


def _one_number(mixture: Any, **options: Any) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of a row's log-density."""
    mixture._fitted_model()
    return (), np.dtype(float)


class BaseMixtureOfExperts(Versioned, BaseEstimator, metaclass=ABCMeta):
    """Base class; use `MixtureOfExpertsClassifier` or `MixtureOfExpertsRegressor`."""

    _is_mixture = True

    __metadata_request__fit = {"resume_from": UNUSED}

    # scikit-learn's HTML view links to the page of the class
    _doc_link_module = "mixexp"
    _doc_link_template = PAGES

    _model: Model
    _rules: outcome.InputRules
    _last_fit: dict[str, Any]
    hard_loads_: np.ndarray

    _parameter_constraints: dict = {
        "expert": [HasMethods(["get_params"]), list, tuple, None],
        "n_experts": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "gate": [
            HasMethods(["get_params", "start"]),
            HasMethods(["get_params", "fit"]),
            StrOptions({"auto"}),
            None,
        ],
        "expert_features": "no_validation",
        "gate_features": "no_validation",
        "expert_basis": [StrOptions(set(BASES)), HasMethods(["get_params", "fit", "transform"])],
        "gate_basis": [
            StrOptions({*BASES, "auto"}),
            HasMethods(["get_params", "fit", "transform"]),
        ],
        "shared_expert": [HasMethods(["get_params", "fit"]), None],
        "noise_expert": ["boolean"],
        "routing": [HasMethods(["get_params", "weights", "check"]), None],
        "n_refits": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_experts": [Interval(Integral, 1, None, closed="left")],
        "pooling": [StrOptions(set(POOLINGS)), callable],
        "init": [
            StrOptions(set(PARTITIONS)),
            "array-like",
            HasMethods(["fit_predict"]),
            HasMethods(["responsibilities"]),
        ],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "warm_up": [StrOptions({"auto"}), HasMethods(["get_params", "fit"]), None],
        "assignment": [StrOptions(set(ASSIGNERS))],
        "cross_fit": [StrOptions({"auto"}), "boolean", Interval(Integral, 2, None, closed="left")],
        "on_collapse": [StrOptions(set(ON_COLLAPSE))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "acceleration": [StrOptions({"auto"}), None],
        "online_step": [Interval(Real, 0.5, 1, closed="right")],
        "online_forget": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "n_jobs": JOBS,
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
    }

    @abstractmethod
    def __init__(
        self,
        expert: Any,
        n_experts: Any,
        gate: Any,
        expert_features: Any,
        gate_features: Any,
        expert_basis: Any,
        gate_basis: Any,
        shared_expert: Any,
        noise_expert: bool,
        routing: Any,
        n_refits: Any,
        max_experts: int,
        pooling: Any,
        init: Any,
        n_init: int,
        warm_up: Any,
        assignment: str,
        cross_fit: Any,
        on_collapse: str,
        max_iter: int,
        tol: float,
        acceleration: str | None,
        online_step: float,
        online_forget: float | None,
        warm_start: bool,
        random_state: Any,
        n_jobs: int | None,
        verbose: int,
    ):
        self.expert = expert
        self.n_experts = n_experts
        self.gate = gate
        self.expert_features = expert_features
        self.gate_features = gate_features
        self.expert_basis = expert_basis
        self.gate_basis = gate_basis
        self.shared_expert = shared_expert
        self.noise_expert = noise_expert
        self.routing = routing
        self.n_refits = n_refits
        self.max_experts = max_experts
        self.pooling = pooling
        self.init = init
        self.n_init = n_init
        self.warm_up = warm_up
        self.assignment = assignment
        self.cross_fit = cross_fit
        self.on_collapse = on_collapse
        self.max_iter = max_iter
        self.tol = tol
        self.acceleration = acceleration
        self.online_step = online_step
        self.online_forget = online_forget
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _sk_visual_block_(self) -> Any:
        """Return the boxes of scikit-learn's HTML view."""
        return visual_block(self)

    def get_params(self, deep: bool = True) -> dict:
        """Return parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include parameters of nested estimators; in a list of experts they are
            named ``expert__name__parameter``.

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
        """Set parameters, including nested ones.

        Parameters
        ----------
        **params : dict
            Named as in `get_params`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter does not exist: ``gate__alpha`` needs ``gate=SoftmaxGate()``, as None
            has no parameters.
        """
        values, owner = self.get_params(deep=False), type(self).__name__
        check_nested(params, values, owner, classifier=is_classifier(self))
        if isinstance(params.get("expert", self.expert), list | tuple):
            nested = {key: params.pop(key) for key in list(params) if key.startswith("expert__")}
            super().set_params(**params)
            if nested:
                inner = {key.partition("__")[2]: value for key, value in nested.items()}
                self.expert = with_params(self.expert, inner, type(self).__name__)
            return self
        return super().set_params(**params)

    @np.errstate(under="ignore")  # whatever the caller has set: a small probability may be 0
    def _fit(self, X: Any, y: np.ndarray, arguments: FitArguments, target: Any) -> Rows:
        """Fit gate and experts on checked data and store the fitted attributes.

        Return the rows of the fit.

        1. Assemble the search from data and parameters: rows, gate, banks, start.
        2. Search: short runs from several starts, one long run from the best.
        3. Store the model, with exchangeable experts in canonical order.

        With ``n_experts="auto"`` there is a search for each number (`fit_growing`).
        """
        if self.n_experts == "auto":
            return fit_growing(self, X, y, arguments, target)
        if is_nested(self):
            self.__dict__.pop("_last_fit", None)  # of a fit that was not
            return fit_nested(self, X, y, arguments, target)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        watch = arguments.watch
        seed = seed if watch is None else watch.seed(seed)
        with single_thread():
            assembly = assemble(self, X, y, arguments, target, seed)
            identity = cache(partial(data_identity, X, y, arguments, target))
            assembly = warm(self, assembly, target, identity)
            if watch is not None:
                assembly = watch.assembled(self, assembly, target, identity)
            run, restarts = search(assembly.problem)
            outcome.store(self, run, restarts, assembly, target)
        self._last_fit = remembered(self, run, assembly, identity)
        self._mixexp_version = __version__
        return assembly.problem.rows

    def _settled(self) -> dict[str, Any]:
        """Return parameters for a refit of the fitted mixture, without "auto"."""
        return settled(self) | chosen_gate(self)

    @fit_context(prefer_skip_nested_validation=False)
    def fit_blocks(
        self,
        factory: Callable[[], Iterable],
        *,
        allow_gather: bool = False,
        resume_from: Any = None,
    ) -> Any:
        """Fit gate and experts to rows that do not fit in memory, read run by run.

        The rows are never held together: every EM iteration calls the factory once. Without
        `sample_weight`, groups and the like the result is that of `fit` on all rows: starts run on
        the same sketch of up to 8192 rows, and blocks are cut alike, wherever runs end.

        Parameters
        ----------
        factory : callable
            ``factory()`` yields all rows, in runs ``(X, y)`` or ``(X, y, sample_weight)`` of any
            length: arrays, sparse matrices or data frames, as for `fit`. It is called once a pass,
            and must begin anew and yield the same rows in the same order each time.
        allow_gather : bool, default=False
            Whether to join all runs in memory, and call `fit`, where a part needs all rows at once:
            experts and gates with a `fit` of their own, assignments and routers that look at all
            rows. Otherwise such a part is refused.
        resume_from : path-like or `mixexp.callbacks.Checkpoint`, default=None
            As in `fit`: a checkpoint of a `fit_blocks` to the same rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters are invalid, runs differ in kind, or the factory yields other rows
            in a later pass.
        TypeError
            If `factory` is not callable, yields something else, or a part needs all rows at once.

        Warns
        -----
        ConvergenceWarning
            As in `fit`.

        Notes
        -----
        Memory beyond the run that is read: 512 MB at most for designs that are kept between passes,
        or scikit-learn's `working_memory` if less; a router, and an expert that is started again
        (`on_collapse`), need n_experts numbers a row for a while. Docs: large_data.md.

        Examples
        --------
        >>> import numpy as np
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> def factory():  # such as the row groups of a parquet file
        ...     rng = np.random.default_rng(0)
        ...     for _ in range(10):
        ...         X = rng.standard_normal((1000, 2))
        ...         yield X, np.where(X[:, 0] > 0, 5 + X[:, 1], -X[:, 1])
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit_blocks(factory)
        >>> model.predict([[3.0, 1.0]]).round(2)
        array([6.])
        """
        owner = type(self).__name__
        if not callable(factory):
            raise TypeError(
                f"{owner}: factory is {short(factory)}, which cannot be called. Rows are read many "
                "times: give a function that yields them anew, as in `lambda: read('file')`."
            )
        with all_or_nothing(self):
            check_parts(self, "classes" if is_classifier(self) else "numbers")
            why = why_not_additive(self)
            if why and not allow_gather:
                raise TypeError(
                    f"{owner}: fit_blocks holds one run of rows at a time, and {why}. Set "
                    "allow_gather=True to join all rows in memory, or leave it out."
                )
            if why:
                return self.fit(*gathered(factory, owner), resume_from=resume_from)
            with following(self, path=resume_from) as watch:
                fit_streamed(self, FactorySource(self, factory), watch)
        return self

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Set what watches later fits: callbacks of `mixexp.callbacks`, or of scikit-learn 1.9.

        Parameters
        ----------
        *callbacks : callback
            In the order in which they are called. None at all removes those that were set.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If something is not a callback.

        Notes
        -----
        `fit` and `fit_blocks` call them, for starts and EM iterations; `partial_fit`, which has
        none, does not. Clones share them, as in scikit-learn 1.9.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.callbacks import EarlyStopping
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> stop = EarlyStopping(X[::3], y[::3])
        >>> model = MixtureOfExpertsRegressor(random_state=0).set_callbacks(stop)
        >>> model = model.fit(X[1::3], y[1::3])
        """
        check_callbacks(callbacks, type(self).__name__)
        if callbacks:
            self._skl_callbacks = list(callbacks)
        else:
            self.__dict__.pop("_skl_callbacks", None)
        return self

    def __sklearn_clone__(self) -> Any:
        cloned = super().__sklearn_clone__()
        if "_skl_callbacks" in vars(self):  # scikit-learn before 1.9 leaves them behind
            cloned._skl_callbacks = self._skl_callbacks
        return cloned

    def _new_rows(
        self, X: Any, y: Any = None, offset: Any = None, weight: np.ndarray | None = None
    ) -> Rows:
        """Return new data as checked rows."""
        refuse_unfitted(self)
        return new_rows(self, X, y, offset, weight)

    @lazy_on_dask(_gate_columns)
    def gate_proba(self, X: Any, *, level: int | None = None) -> np.ndarray:
        """Return gate probabilities g_k(x) = P(z = k | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        level : int, default=None
            Level of a `HierarchicalGate`: 1 gives the probabilities of the root's children, 2 of
            their children, and so on. None gives the experts'.

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
        proba = self._fitted_model().gate_proba(self._new_rows(X))
        if level is None:
            return proba
        nodes = self._nodes_at(level)
        summed = [proba[:, experts].sum(axis=1) for experts in nodes]
        return np.minimum(np.column_stack([*summed, proba[:, self._model.n_experts :]]), 1.0)

    @property
    def unused_features_(self) -> np.ndarray:
        """Indices of the columns that neither the gate nor an expert uses."""
        refuse_unfitted(self)
        return unused_features(self)

    def _counted(self, y: Any, trials: Any) -> Any:
        """Return targets that hold their numbers of trials, if there are some."""
        return self._fitted_model().target.counted(y, trials, type(self).__name__)

    def _fitted_model(self) -> Model:
        refuse_unfitted(self)
        return self._model

    def _nodes_at(self, level: int) -> list[np.ndarray]:
        """Return the experts below each node of a level of the gate."""
        depth = self.gate_.depth if can(self.gate_, "leaves_at") else 1
        whole = isinstance(level, Integral) and not isinstance(level, bool)
        if not whole or level not in range(1, depth + 1):
            have = "one level: give 1" if depth == 1 else f"levels 1 to {depth}: give one of them"
            raise ValueError(
                f"{type(self).__name__}: level={short(level)}, and this gate has {have}, or None "
                "for the experts."
            )
        if depth == 1:
            return list(np.arange(self._model.n_experts)[:, None])
        leaves: list[np.ndarray] = self.gate_.leaves_at(level)
        return leaves

    @lazy_on_dask(_routing_columns)
    def route(self, X: Any) -> np.ndarray:
        """Return the weights of the experts in a prediction.

        Without sparse routing these are the gate probabilities; with `noise_expert`, conditional
        on the row not being noise.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            Rows sum to 1. A fallback expert of the router has one more column, the last one.
        """
        return self._fitted_model().route(self._new_rows(X))

    def predict_experts(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Return every expert's prediction.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_experts), with n_outputs or n_classes as a last axis for
        several outputs, or classes
            A router's fallback comes last, as in `route`. All experts are asked about all rows.
        """
        return self._fitted_model().outputs(self._new_rows(X, offset=offset), type(self).__name__)

    def responsibilities(
        self, X: Any, y: Any, *, offset: Any = None, groups: Any = None, trials: Any = None
    ) -> np.ndarray:
        """Return responsibilities P(z = k | x, y), given the target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            Under routing, 0 for experts that a row does not reach; a fallback has a column after
            theirs. With `noise_expert` an extra last column holds the probability that a row is an
            outlier. If y is so far off that every expert's density underflows, the row gets its
            gate probabilities.

        Raises
        ------
        ValueError
            If y is outside the family's support, as in `fit`.
        """
        y = self._counted(y, trials)
        return self._resp(X, y, None, offset, groups)

    def log_density_experts(
        self, X: Any, y: Any, *, offset: Any = None, trials: Any = None
    ) -> np.ndarray:
        """Return log p_k(y | x) of every expert; for classes log P_k(y | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            In nats, −inf where y is impossible. A fallback and the noise have columns after those
            of the experts, as in `responsibilities`. All experts are asked about all rows.
        """
        y = self._counted(y, trials)
        return self._fitted_model().log_density_experts(with_targets(self, X, y, offset))

    def _resp(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> np.ndarray:
        """Return responsibilities; with groups, weights are exponents of the rows' densities."""
        model, order, owner = self._fitted_model(), None, type(self).__name__
        if groups is None:
            rows = with_targets(self, X, y, offset)
        else:
            rows, order = grouped(self, X, y, weight, offset, groups)
        model.target.refuse_impossible(rows.y, owner)  # no expert can have produced it
        resp = model.responsibilities(rows)
        if order is None:
            return resp
        unsorted = np.empty_like(resp)
        unsorted[order] = resp
        return unsorted

    @lazy_on_dask(_one_number)
    def log_density(
        self, X: Any, y: Any, *, offset: Any = None, groups: Any = None, trials: Any = None
    ) -> np.ndarray:
        """Return log p(y | x) per row, or per group; for classes log P(y | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility and have one joint density.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_groups,) in the order of the groups' values
            Natural logarithms, of densities in units of 1 / y for regression; −inf if y is
            outside the family's support.
        """
        y = self._counted(y, trials)
        return self._density(X, y, None, offset, groups)

    def _density(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> np.ndarray:
        """Return log-densities per row, or per group, with weights as exponents."""
        return self._fitted_model().log_density(self._units(X, y, weight, offset, groups))

    def _units(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> Rows:
        """Return new data as checked rows, sorted by group if there are groups."""
        if groups is None:
            return with_targets(self, X, y, offset, weight)
        return grouped(self, X, y, weight, offset, groups)[0]

    @np.errstate(under="ignore")
    def aic(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
        trials: Any = None,
    ) -> float:
        """Return Akaike's information criterion, −2 log L + 2 p; smaller is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the number of parameters of the gate or the experts is unknown.

        Notes
        -----
        Parameters count as in `mixexp.selection.select_n_experts`: penalised ones by how much the
        data say about them. With rows other than those of the fit, the information is theirs.
        """
        given = self._given(X, y, sample_weight, offset, groups, trials)
        log_likelihood, _ = self._log_likelihood(*given)
        if log_likelihood == -np.inf:  # an impossible target, which has no derivatives
            return np.inf
        count = self._n_parameters(*given)
        return -2 * log_likelihood + 2 * count

    @np.errstate(under="ignore")
    def bic(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
        trials: Any = None,
    ) -> float:
        """Return the Bayesian information criterion, −2 log L + p log n.

        n is the sum of weights, or the number of groups; parameters count as in `aic`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the number of parameters of the gate or the experts is unknown.
        """
        return self._bic(*self._given(X, y, sample_weight, offset, groups, trials))

    def _bic(self, *given: Any) -> float:
        log_likelihood, n = self._log_likelihood(*given)
        if log_likelihood == -np.inf:
            return np.inf
        count = self._n_parameters(*given)
        return -2 * log_likelihood + count * float(np.log(n))

    @np.errstate(under="ignore")
    def icl(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
        trials: Any = None,
    ) -> float:
        """Return the integrated completed likelihood: `bic` plus twice the entropy of z.

        The entropy is computed from the responsibilities and penalises overlapping experts
        (Biernacki, Celeux & Govaert 2000, IEEE PAMI 22, on the scale of BIC).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share one responsibility.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the number of parameters of the gate or the experts is unknown.
        """
        given = self._given(X, y, sample_weight, offset, groups, trials)
        X, y, weight, offset, groups = given
        entropy = entr(self._resp(X, y, weight, offset, groups)).sum(axis=1)
        if groups is not None:
            entropy = entropy[np.unique(np.asarray(groups), return_index=True)[1]]
        elif weight is not None:
            entropy = entropy * weight
        return self._bic(*given) + 2 * float(entropy.sum())

    @np.errstate(under="ignore")
    def summary(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
        cov_type: str = "observed",
        clusters: Any = None,
        level: float = 0.95,
        trials: Any = None,
        feature_names: Any = None,
    ) -> Summary:
        """Return the coefficients of experts and gate with standard errors, tests and intervals.

        The same as `mixexp.inference.summarize`, which says what the numbers mean.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows of the fit.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Their frequencies, as in `fit`.
        offset : array-like of shape (n_samples,), default=None
            As in `fit`.
        groups : array-like of shape (n_samples,), default=None
            As in `fit`: a group is one unit.
        cov_type : {"observed", "sandwich"}, default="observed"
            The inverse of the observed information, or one that holds where the densities are
            misspecified.
        clusters : array-like of shape (n_samples,), default=None
            Rows of one cluster may depend on each other; needs ``cov_type="sandwich"``.
        level : float, default=0.95
            Coverage of the intervals.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.
        feature_names : sequence of str, default=None
            One per column of X. None means the names of the fit, or x0, x1 and so on.

        Returns
        -------
        mixexp.inference.Summary

        Raises
        ------
        ValueError
            If a parameter is invalid; if gate or experts have no derivatives; if the information
            is near-singular; if the estimates are not an optimum for these rows.
        """
        y = self._counted(y, trials)
        return summarize(
            self,
            X,
            y,
            sample_weight,
            offset=offset,
            groups=groups,
            cov_type=cov_type,
            clusters=clusters,
            level=level,
            feature_names=feature_names,
        )

    def _rows_of_fit(
        self, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any, clusters: Any
    ) -> tuple[Rows, np.ndarray | None]:
        """Return the rows of the fit, and every unit's cluster, for `mixexp.inference`."""
        return rows_of_fit(self, X, y, sample_weight, offset, groups, clusters)

    def _fit_weight(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Return the weights of a fit on these rows."""
        return sample_weight

    def _given(
        self, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any, trials: Any
    ) -> tuple:
        """Return the rows with positive weight, and the weights that a fit on them has."""
        y = self._counted(y, trials)
        weight = self._fit_weight(X, y, sample_weight)
        return weighted(self, X, y, weight, offset, groups)

    def _log_likelihood(
        self, X: Any, y: Any, weight: Any, offset: Any, groups: Any
    ) -> tuple[float, float]:
        """Return the weighted log-likelihood, and the sum of weights or number of groups."""
        density = self._density(X, y, weight, offset, groups)
        if weight is None or groups is not None:
            return float(density.sum()), float(len(density))
        return float(density @ weight), float(weight.sum())

    def _n_parameters(self, X: Any, y: Any, weight: Any, offset: Any, groups: Any) -> float:
        """Return the number of parameters, effective ones where they are penalised."""
        model, owner = self._fitted_model(), type(self).__name__
        full = model.n_parameters(owner)
        if not model.innermost.is_penalised:
            return full
        rows = self._units(X, y, weight, offset, groups)
        with single_thread():
            return model.innermost.counted(rows).n_parameters

    def _pooled(
        self, X: Any, offset: Any = None, finish: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """Return the pooled outputs of the experts, finished by blocks of rows."""
        rows = self._new_rows(X, offset=offset)
        return self._model.pooled(rows, type(self).__name__, finish)

    def given(
        self,
        X: Any,
        y: Any,
        *,
        groups: Any,
        sample_weight: Any = None,
        offset: Any = None,
        trials: Any = None,
    ) -> MixtureGiven:
        """Condition on known targets of groups, to predict further rows of these groups.

        The gate says from x alone which expert to trust. Where rows of a group come from one
        expert, as in ``fit(groups=...)``, known targets of the group say more: a patient's first
        visits tell which expert the later ones come from.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows whose targets are known.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        groups : array-like of shape (n_samples,)
            The group of every row. The gate's features must be constant within groups.
        sample_weight : array-like of shape (n_samples,), default=None
            Their frequencies, as in `fit`.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        MixtureGiven
            With `predict`, `predict_proba` of a classifier, `predict_distribution` and `weights`,
            which take rows and their groups. The mixture itself does not change.

        Raises
        ------
        ValueError
            If data are not valid, or the gate's features differ within a group.

        Examples
        --------
        Two kinds of people, whom nothing in x tells apart:

        >>> import numpy as np
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.gates import ConstantGate
        >>> rng = np.random.default_rng(0)
        >>> person, time = np.repeat(np.arange(50), 4), np.tile(np.arange(4.0), 50)[:, None]
        >>> y = np.where(person % 2, 1, -1) * time[:, 0] + 0.1 * rng.standard_normal(200)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), random_state=0)
        >>> model = model.fit(time, y, groups=person)
        >>> model.predict([[3.0]]).round(1) + 0.0
        array([0.])
        >>> known = model.given([[1.0], [1.0]], [1.0, -1.0], groups=["Ann", "Bob"])
        >>> known.predict([[3.0], [3.0], [3.0]], groups=["Ann", "Bob", "Eve"]).round(1) + 0.0
        array([ 3., -3.,  0.])
        """
        y = self._counted(y, trials)
        return condition(self, X, y, groups, sample_weight, offset)

    def align_experts(
        self,
        reference: Any,
        X: Any,
        y: Any,
        *,
        offset: Any = None,
        groups: Any = None,
        trials: Any = None,
    ) -> Any:
        """Renumber the experts to match those of another fit.

        The order of experts is usually arbitrary: fits to two samples of the same data may find
        the same experts in a different order. Experts are matched one to one, maximising the
        agreement of their responsibilities for these rows (Stephens 2000 treats this label
        switching problem for draws of a sampler).

        Parameters
        ----------
        reference : fitted mixture, or array-like of shape (n_samples,) or \
                (n_samples, n_reference)
            A mixture with any number of experts; or, for the rows of X, responsibilities or the
            indices of their experts, -1 if undecided.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows on which experts are compared.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: numbers, or class labels.
        offset, groups : array-like of shape (n_samples,), default=None
            As in `responsibilities`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial" where y has one column, as in its `fit`.

        Returns
        -------
        self
            With `gate_`, `experts_`, `usage_` and everything else in the new order. Unmatched
            experts come last.

        Raises
        ------
        ValueError
            If the order cannot change: the leaves of a hierarchical gate have fixed places.

        References
        ----------
        Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> one = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> two = MixtureOfExpertsRegressor(n_experts=2, random_state=1).fit(X[::2], y[::2])
        >>> two.align_experts(one, X, y).gate_proba(X).shape
        (150, 2)
        """
        y = self._counted(y, trials)
        model, owner = self._fitted_model(), type(self).__name__
        outcome.check_order(model, owner)
        n_experts = model.n_experts
        data = {"offset": offset, "groups": groups}
        resp = self.responsibilities(X, y, **data)[:, :n_experts]
        if hasattr(reference, "responsibilities"):
            other = reference.responsibilities(X, y, **data)[:, : len(reference.experts_)]
        else:
            other = reference_of(reference, len(resp), n_experts, owner)
        order = outcome.aligned_order(resp, other)
        usage = outcome.reordered_usage(self.usage_, order)
        outcome.publish(self, model.reordered(order), usage, self._rules)
        self.hard_loads_ = outcome.reordered_usage(self.hard_loads_, order)
        return self

    def to_hard(self) -> HardMixtureClassifier | HardMixtureRegressor:
        """Return a slim predictor in which each row is answered by one expert.

        It has what predictions need: the gate, and the experts that are the first choice of some
        training row, that is, have its largest routing weight. A row goes to its first choice, as
        with ``pooling="argmax"``, or, if that expert was left out, to the most probable one that
        was kept. The noise is left out, and the fallback unless it is the first choice of training
        rows.

        Returns
        -------
        HardMixtureClassifier or HardMixtureRegressor
            With `predict` (which takes `offset`), `route`, of a classifier `predict_proba`;
            `experts_`, `kept_` (their numbers in the mixture), `gate_`, `n_experts`. Experts are
            shared with the mixture, not copied.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_piecewise_linear
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
        >>> model.to_hard().kept_
        array([0, 1, 2])
        """
        self._fitted_model()
        return hardened(self)

    def expert_inputs(self, X: Any, reached: Any = None) -> Iterator[Any]:
        """Return X as each expert takes it, for calls of `experts_` themselves.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data, a data frame if the mixture was fitted on one.
        reached : array-like of bool of shape (n_samples, n_experts), default=None
            The rows that each expert is to get, such as ``route(X) > 0``; None means all.

        Returns
        -------
        iterator
            For each expert, then for the fallback if there is one: its columns
            (`expert_features`) of its rows, as an array, sparse matrix or data frame. Each is made
            when it is asked for.

        Raises
        ------
        ValueError
            If X is not valid, as in `predict`, or `reached` has another shape than `route`.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_piecewise_linear
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
        >>> inputs = model.expert_inputs(X, model.route(X) > 0.5)
        >>> [len(rows) for rows in inputs]
        [105, 108, 87]
        """
        model, owner = self._fitted_model(), type(self).__name__
        rows = self._new_rows(X)
        if rows.frame is None and hasattr(X, "columns"):  # for experts that know their names
            rows.frame = X
        n_all = model.n_experts + model.has_fallback
        if reached is None:
            ids: list = [slice(None)] * n_all
        else:
            mask = np.asarray(reached, dtype=bool)
            if mask.shape != (rows.n_rows, n_all):
                raise ValueError(
                    f"{owner}: reached has shape {mask.shape}; give a mask of shape "
                    f"{(rows.n_rows, n_all)}, as route(X) > 0 is."
                )
            ids = [np.flatnonzero(column) for column in mask.T]
        columns = [*model.columns_of_experts, *[None] * model.has_fallback]
        return (rows.take(i, c) for i, c in zip(ids, columns, strict=True))

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata to the experts.

        Returns
        -------
        MetadataRouter
        """
        return metadata_router(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            tags.input_tags.sparse = takes_all_sparse(self)
            tags.input_tags.allow_nan = takes_all_missing(self)
        except (AttributeError, TypeError):  # invalid parameters: `fit` reports them
            pass
        return tags
