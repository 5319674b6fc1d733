"""Mixture of experts for classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from mixexp._checks import all_or_nothing, check_labels, is_dask, named_error
from mixexp._columns import as_numbers
from mixexp._compat import HasMethods, StrOptions, check_weights, fit_context
from mixexp._estimators.assembly import FitArguments, names_given
from mixexp._estimators.base import BaseMixtureOfExperts
from mixexp._estimators.choosing import chooses_gate, fit_choosing_gate
from mixexp._estimators.class_weight import present_classes, with_class_weight
from mixexp._estimators.dask_input import fit_dask, lazy_on_dask
from mixexp._estimators.following import following
from mixexp._estimators.known_rows import validated
from mixexp._estimators.part_checks import check_parts
from mixexp._estimators.streaming import go_on, learns_from_batches, memory_of, valid_batch
from mixexp._estimators.targets import Classes, refuse_missing_labels
from mixexp._rows.maps import kept_dtypes
from mixexp._rows.source import Run
from mixexp.distribution import ClassDistribution

__all__ = ["MixtureOfExpertsClassifier"]


def _labels(mixture: Any, **options: Any) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of a row's class."""
    mixture._fitted_model()
    return (), mixture.classes_.dtype


def _probabilities(mixture: Any, **options: Any) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of a row's class probabilities."""
    mixture._fitted_model()
    return (len(mixture.classes_),), np.dtype(float)


class MixtureOfExpertsClassifier(ClassifierMixin, BaseMixtureOfExperts):
    """Mixture of classification experts with a gate, fitted by EM.

    P(y | x) = Σ_k g_k(x) P_k(y | x): the gate g divides the input space softly, each expert
    classifies in its own region, and both are trained jointly by maximum (penalised) likelihood.

    Parameters
    ----------
    expert : estimator, list of (name, estimator), `ExpertPool` or None, default=None
        Template of the experts: any classifier with `predict_proba`, including a Pipeline or
        search; a list of `n_experts` different ones; or an `mixexp.experts.ExpertPool`, from which
        each region gets its best candidate. None is ridge-penalised logistic regression on scaled
        columns, whose penalty is as `SoftmaxGate` says of its `alpha`. `LogisticRegression` takes
        one Newton step per iteration. A classifier without `sample_weight` is fitted on rows drawn
        by responsibility, with a warning.
    n_experts : int or "auto", default=4
        Number of experts, K. "auto" grows mixtures of 1, 2, ... experts, one from the other, until
        AIC with a factor of 3 (`aic3` of `mixexp.selection`) rises, and keeps the best; where
        parameters cannot be counted, as of estimators that are fitted one by one, it goes by
        held-out log-density. It takes one to four times as long as a fit of that many experts, and
        at least 4. Not with a list of experts, a given start, `expert_labels`, routing or a tree.
    gate : gate of `mixexp.gates`, classifier, "auto" or None, default=None
        None means `SoftmaxGate()`; a classifier is wrapped in `EstimatorGate`. "auto" compares a
        softmax gate, linear and on quantiles, a gaussian gate and a tree by the log-density of
        held-out rows, of up to 8192 distinct ones, and takes the first of these within one standard
        error of the best (`gate_results_`). It takes four more fits.
    expert_features, gate_features : indices, names, slice, mask or callable, default=None
        Columns used by the experts and the gate, selected as in `ColumnTransformer`; None means
        all. Or a list of such selections, one per expert (for the gate: per expert's score).
    expert_basis : {"linear", "quantile", "spline"} or transformer, default="linear"
        What linear experts see of these columns: the columns themselves; each beside its quantile
        map (`mixexp.bases.QuantileBasis`); splines (`mixexp.bases.SplineBasis`); or the output of
        any transformer, Pipeline or FeatureUnion, fitted once to at most 8192 distinct rows.
        Estimators as experts or gate have transformers in a Pipeline of their own.
    gate_basis : {"auto", "linear", "quantile", "spline"} or transformer, default="auto"
        What the gate sees of its columns. Beside ``n_experts="auto"``, "auto" is "spline" for up to
        20 dense columns and "quantile" for up to 50 unless the gate is a classifier; otherwise it
        is "linear".
    shared_expert : classifier or None, default=None
        A model of all rows that takes part in every route: every expert's class probabilities are
        (1 − s) times its own plus s times those of the shared expert, with one share s for all
        rows. It is trained jointly and sees the columns of the experts.
    noise_expert : bool, default=False
        Whether to add a fixed expert, with all classes equally likely, for rows that no other
        expert explains. It has a gate probability and responsibilities, in the last column, but
        no part in predictions: `route` leaves it out.
    routing : router of `mixexp.routing` or None, default=None
        Which experts a row reaches, and with which weights: `TopK`, `TopP`, `Switch`,
        `ExpertChoice` or `Threshold`. The routed mixture is the model, in training and in all
        methods. None is dense: every row reaches every expert.
    n_refits : {"auto"} or int, default="auto"
        How often each expert is fitted to a partition, with a warm-up or cross-fitting. "auto" is
        once with a warm-up. Cross-fitted experts are fitted once, to the partition of the starts;
        gate and calibrations then go on, and one model of all rows takes the place of all experts
        if it is clearly better out of fold. Networks, pools, and experts beside a shared one, are
        fitted in every iteration. With a number, experts are fitted in so many iterations and
        never replaced.
    max_experts : int, default=32
        Largest number of experts that ``n_experts="auto"`` tries: all numbers up to 16, then every
        fourth.
    pooling : {"weighted", "argmax"} or callable, default="weighted"
        How the experts' class probabilities are combined: their mean weighted by gate probability,
        those of the most probable expert, or a function of routing weights (n, n_experts) and
        probabilities (n, n_experts, n_classes) that returns (n, n_classes), called on batches of
        rows.
    init : str, array-like or object, default="mixed"
        Starting point of EM. A method: "mixed" (cycles through the next five; "split" is used
        once), "clusterwise", "split", "kmeans" (on X), "tree", "kmeans_xy" (on X and y),
        "model_tree" or "random"; see the classes of `mixexp.partitions`. Labels (n_samples,), or
        responsibilities (n_samples, n_experts). Any object with `fit_predict`: a clusterer or,
        for two experts, an outlier detector, whose inliers and outliers they start from. A start
        of `mixexp.partitions`, such as `NearestCenter` or `FeatureGroups`; or any object with
        ``responsibilities(context, rng)``.
    n_init : int, default=10
        Number of starts, at most. Each runs for 8 iterations or more on at most 8192 rows; the best
        one then runs to convergence. With "mixed", the first three are enough if the best of them
        agrees with another, and the rest is tried in parts until one brings no better start; more
        than 10 are all run, as are those of other values of `init`. With 1, or a deterministic
        `init`, only that start is run.
    warm_up : {"auto"}, mixture or None, default="auto"
        A mixture of cheap experts that finds the partition, to which costly experts are then
        fitted without cross-fitting (unless `cross_fit` asks for it); the gate is taken over as
        it is. Either a mixture of this class, fitted or not, with as many experts; or "auto":
        linear experts on a sketch of the rows, from at most 3 starts and for 100 iterations, if
        `routing` is set and experts are fitted one by one, and otherwise no warm-up. None means no
        warm-up.
    assignment : {"soft", "hard", "stochastic"}, default="soft"
        How the E-step assigns rows to experts: by posterior probability, to the most probable
        expert (classification EM), or to one drawn from the posterior.
    cross_fit : {"auto"}, bool or int, default="auto"
        Whether the E-step uses out-of-fold predictions, from 5 folds (2 from 4000 rows on, if
        there are 1000 for each expert) or the given number. "auto" does so for experts and gates
        that may memorise their rows: all but linear models.
    on_collapse : {"reinit", "drop", "keep", "raise"}, default="reinit"
        What to do with an expert left with less than 1 % of an equal share of the weight: restart
        it on the worst explained rows (at most twice), drop it, keep it, or raise an error. All
        but "raise" warn. Under routing, "reinit" keeps experts that lose their rows after the
        dense stage.
    class_weight : dict, "balanced" or None, default=None
        Class weights, multiplied into the sample weights; "balanced" gives every class the same
        total weight. A class of weight 0 is left out, like rows of weight 0.
    max_iter : int, default=200
        Maximum number of iterations of the long run, restarts of collapsed experts included; with
        `routing`, of each of its stages.
    tol : float, default=1e-6
        The run ends when both the last gain in the lower bound and the remaining gain estimated
        by Aitken's rule are below `tol` · max(1, abs(bound)). With 0, EM runs for `max_iter`
        iterations. With experts that are fitted once, `tol` is 1e-4 at least.
    acceleration : {"auto"} or None, default="auto"
        Whether Newton steps on the observed log-likelihood finish the run once EM has slowed
        down, where that is expected to be cheaper. It serves softmax and constant gates with
        linear experts (but not the laplace family), soft assignment and at most 1 500 parameters.
        With more parameters, and columns so wide or sparse that steps are by products with the
        rows, they are quasi-Newton steps.
        Everything else is fitted by plain EM, as with None.
    online_step : float in (0.5, 1], default=0.6
        Of `partial_fit`: rows of weight w that bring the total weight to W enter the statistics
        with a share of (w / W) to this power. With 1 all rows count alike, also those that were
        assigned to experts early and badly; with less, old rows are forgotten slowly.
    online_forget : float or None, default=None
        Of `partial_fit`: W is taken as no larger than this weight of rows, so that estimates
        follow a drift and rest on about as many recent rows. None keeps learning ever more slowly.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit, where that was of as many columns and experts, of
        the same classes, and `init` is the same: from its whole state if data and parts are
        unchanged, else from its responsibilities. docs/checkpoints.md has a table.
    random_state : int, RandomState instance or None, default=None
        Seeds the starts, and estimators whose `random_state` is None.
    n_jobs : int or None, default=None
        Number of threads for the starts, for experts that are fitted one by one, and for passes
        over many rows, in `fit` and `predict`, where no part is an estimator. None means 1, −1
        all cores; there are never more than cores for a pass, and one inside of a joblib worker.
        The result does not depend on it.
    verbose : int, default=0
        Whether to print progress: a line for each start, then the bound as it climbs, with the
        seconds since the fit began. 1 prints some iterations, 2 all.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in ascending order.
    experts_ : list of fitted estimators
        The experts, as scikit-learn estimators; nested mixtures stay mixtures.
    shared_expert_ : fitted estimator
        The shared expert, if there is one; `predict_experts` returns the experts' class
        probabilities mixed with it.
    shared_share_ : float
        Its share s.
    n_experts_ : int
        Number of experts, without noise: chosen, or left after some were dropped.
    gate_results_ : dict
        The kinds of ``gate="auto"`` (`gate`), their held-out log-densities (`log_density`, NaN
        for one that these data or parameters do not allow, with the `error`), and the `best_index`;
        there only then.
    selection_ : `mixexp.selection.ExpertSelection`
        The candidates of ``n_experts="auto"`` and their criteria; there only then.
    gate_ : fitted gate
        The gate, with its coefficients, centres or tree.
    expert_basis_, gate_basis_ : fitted transformer or None
        The bases: `get_feature_names_out` names the columns of coefficients. None for "linear".
    routing_ : router or None
        The fitted router, with what it took from the training rows: `loads_`, the weight of the
        rows that each expert was fitted on; for `Switch`, `capacity_` and `overflow_`, the weight
        of rows that did not reach their first choice; `bias_` (n_experts,) with
        ``balance="bias"``.
    fallback_ : fitted estimator
        The fallback expert, if the router has one.
    active_fraction_ : float
        Share of the experts that a training row reaches, on average: of the work of a prediction
        without routing.
    hard_loads_ : ndarray of shape (n_experts,)
        Weight of the training rows for which each expert has the largest routing weight; that of
        the fallback, if any, comes last. `to_hard` keeps the experts that have some.
    usage_ : ndarray of shape (n_experts,)
        Weighted mean gate probability of each expert; the noise expert's, if any, comes last.
    cross_fitted_ : bool
        Whether `lower_bound_` is an out-of-fold score.
    exponents_, smoothing_ : ndarray of shape (n_experts,)
        Calibration of cross-fitted experts' class probabilities, fitted out of fold:
        (1 − smoothing) p^exponent / Σ p^exponent + smoothing · overall class frequencies. All
        methods except those of `experts_` themselves use the calibrated probabilities.
    lower_bound_ : float
        Log-likelihood plus log-priors at the fitted parameters, per unit of sample weight, or per
        group where rows are grouped; the
        classification likelihood with hard assignment, the joint likelihood of x and y with a
        generative gate (`GaussianGate`).
    lower_bounds_ : ndarray of shape (n_iter_,)
        The bound after each iteration of the segment returned; restarting a collapsed expert
        begins a new segment.
    n_iter_, n_passes_ : int
        Number of iterations of the long run, and of its passes over the data.
    converged_ : bool
        Whether the long run met `tol` within `max_iter` iterations.
    restarts_ : list
        One record per start: seed, bound, n_iter, events, flags, bounds.
    unused_features_ : ndarray of int
        Indices of the columns that neither the gate nor an expert uses: under an L1 penalty of both
        all coefficients of a column may be 0. Parts without coefficients use what they see.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string column names.

    See Also
    --------
    MixtureOfExpertsRegressor : Mixture of experts for numeric targets.

    Notes
    -----
    Parameters set after a fit, including `pooling`, take effect at the next fit; until then all
    methods describe the mixture that was fitted.

    Sample weights are frequencies: weight 2 counts a row twice, weight 0 removes it. Positive
    weights that are all below 1 cannot be counts; they are rescaled to a mean of 1, with a
    warning. A total weight that is small relative to the number of parameters also warns.

    In responsibilities and `log_density`, class probabilities of estimators are floored at
    1e-6 / n_classes. This does not matter for cross-fitted experts, whose probabilities are
    calibrated (Guo et al. 2017); otherwise `predict_proba` shows them unfloored.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Neural
    Computation 3. Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm,
    Neural Computation 6. Chen, Xu & Chi (1999), Improved learning algorithms for mixture of
    experts in multiclass classification, Neural Networks 12.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mixexp import MixtureOfExpertsClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """

    _parameter_constraints: dict = {
        **BaseMixtureOfExperts._parameter_constraints,
        "shared_expert": [HasMethods(["get_params", "fit", "predict_proba"]), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        expert: Any = None,
        n_experts: Any = 4,
        *,
        gate: Any = None,
        expert_features: Any = None,
        gate_features: Any = None,
        expert_basis: Any = "linear",
        gate_basis: Any = "auto",
        shared_expert: Any = None,
        noise_expert: bool = False,
        routing: Any = None,
        n_refits: Any = "auto",
        max_experts: int = 32,
        pooling: Any = "weighted",
        init: Any = "mixed",
        n_init: int = 10,
        warm_up: Any = "auto",
        assignment: str = "soft",
        cross_fit: Any = "auto",
        on_collapse: str = "reinit",
        class_weight: Any = None,
        max_iter: int = 200,
        tol: float = 1e-6,
        acceleration: str | None = "auto",
        online_step: float = 0.6,
        online_forget: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            expert=expert,
            n_experts=n_experts,
            gate=gate,
            expert_features=expert_features,
            gate_features=gate_features,
            expert_basis=expert_basis,
            gate_basis=gate_basis,
            shared_expert=shared_expert,
            noise_expert=noise_expert,
            routing=routing,
            n_refits=n_refits,
            max_experts=max_experts,
            pooling=pooling,
            init=init,
            n_init=n_init,
            warm_up=warm_up,
            assignment=assignment,
            cross_fit=cross_fit,
            on_collapse=on_collapse,
            max_iter=max_iter,
            tol=tol,
            acceleration=acceleration,
            online_step=online_step,
            online_forget=online_forget,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        offset: Any = None,
        expert_labels: Any = None,
        allow_gather: bool = False,
        resume_from: Any = None,
        **params: Any,
    ) -> MixtureOfExpertsClassifier:
        """Fit gate and experts.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            May contain NaN if all experts accept it. A data frame may have non-numeric columns if
            every expert and gate that sees them encodes them.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; rescaled to a mean of 1 if all are below 1.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group (a patient, a shop) come from the same expert and share one
            responsibility. The gate's features must be constant within groups.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors of logistic experts; with two classes it may be one
            number per row, added to the log-odds of the second class.
        expert_labels : array-like of shape (n_samples,), default=None
            Index of the expert that each row is known to come from, -1 if unknown. The
            responsibilities of labelled rows are fixed, and each contributes log g_k p_k of its
            expert to the bound.
        allow_gather : bool, default=False
            Of Dask collections: whether to join all partitions in memory where a part or an
            argument needs all rows at once (`fit_blocks` says which). Otherwise it is refused.
        resume_from : path-like or `mixexp.callbacks.Checkpoint`, default=None
            File that a `Checkpoint` has written in a fit to the same data with the same parameters:
            this fit goes on from there, and ends with the same numbers. A `Checkpoint` with
            ``trusted=True`` may hold a pickle. None begins anew.
        **params : dict
            Passed to the experts' `fit` if metadata routing is enabled and they request it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters are invalid, or an expert fails; the message names the culprit. If
            the checkpoint is of other data, parameters or another version of mixexp.
        TypeError
            If `expert` is not a classifier.

        Warns
        -----
        ConvergenceWarning
            If EM did not converge, the gate separates perfectly, or an expert collapsed.
        """
        check_parts(self, "classes")
        rest = {"groups": groups, "offset": offset, "expert_labels": expert_labels}
        rest |= params
        if is_dask(X, y, sample_weight):
            return fit_dask(self, X, y, sample_weight, allow_gather, resume_from, **rest)
        if chooses_gate(self):
            rest["sample_weight"] = sample_weight
            return fit_choosing_gate(self, X, y, rest, resume_from)
        with (
            all_or_nothing(self),
            following(self, X, y, sample_weight, resume_from) as watch,
        ):
            table = as_numbers(X)
            X, y = validated(self, table.X, y, kept_dtypes(table.X))
            codes, weight = self._coded(X, y, sample_weight)
            arguments = FitArguments(weight, groups, offset, expert_labels, params, table, watch)
            self._fit(X, codes, arguments, Classes(self.classes_))
            self._fitted_with = names_given({"sample_weight": sample_weight, **rest})
        return self

    @available_if(learns_from_batches)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, classes: Any = None
    ) -> MixtureOfExpertsClassifier:
        """Learn from a batch of rows, by online EM; nothing is kept of them but statistics.

        The first 8192 rows are collected, and fitted as by `fit` whenever they have doubled: the
        last of these fits is the start. From then on, every 4096 rows of a batch are one step
        (Cappé & Moulines 2009): an E-step of these rows, statistics averaged with those of all
        before (`online_step`, `online_forget`), an M-step. Shuffle rows that are ordered.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, with the columns of the first batch.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows. If those of the rows before the start are all below 1, they are
            relative: as in `fit`, a factor makes their mean 1, also of later rows.
        classes : array-like of shape (n_classes,), default=None
            All labels that may occur; needed in the first call, unless a `fit` before knows them.

        Returns
        -------
        self
            Fitted once there are five rows per expert and rows of two classes. `lower_bounds_` has
            for each step the log-likelihood of its rows, per unit of weight, before they were
            learnt from, and `usage_` is the mean responsibility of each expert. A `fit` before, or
            later, is not gone on from: it begins anew, and so does `partial_fit` after it.

        Raises
        ------
        ValueError
            If data or parameters are invalid, or columns differ from those of the first batch.
        TypeError
            If the gate has so many columns that its steps keep no statistics.
        AttributeError
            If a part needs all rows: an estimator with a `fit` of its own, a shared expert, a
            router, a prior on usage. There is no such method then.

        Examples
        --------
        >>> import numpy as np
        >>> from mixexp import MixtureOfExpertsClassifier
        >>> rng = np.random.default_rng(0)
        >>> model = MixtureOfExpertsClassifier(n_experts=2, random_state=0)
        >>> for _ in range(20):
        ...     X = rng.standard_normal((1000, 2))
        ...     y = np.where(X[:, 0] > 0, X[:, 1] > 0, X[:, 1] < 0)
        ...     model = model.partial_fit(X, y, classes=[False, True])
        >>> model.predict([[3.0, 1.0]])
        array([ True])
        """
        with all_or_nothing(self):
            check_parts(self, "classes")
            first = "_memory" not in vars(self)
            X, y, weight = valid_batch(self, X, y, sample_weight, first=first)
            check_labels(y, type(self).__name__)
            self.classes_ = self._known_classes(classes, first)
            target = Classes(self.classes_)
            codes = target.encode_new(y, X, type(self).__name__)
            weight = self._with_class_weight(codes, weight)
            if weight is not None:
                kept = weight > 0
                X, codes, weight = X[kept], codes[kept], weight[kept]
            if first:
                self._memory = memory_of(self, target)
            if len(codes):
                go_on(self, Run(X, codes, weight))
        return self

    def _known_classes(self, classes: Any, first: bool) -> np.ndarray:
        """Return the classes of online fits, given in the first call."""
        owner = type(self).__name__
        if classes is None:
            if not hasattr(self, "classes_"):
                raise ValueError(
                    f"{owner}: classes is None in the first call of partial_fit. Give all labels "
                    "that may occur: later batches may hold labels that the first one does not."
                )
            return self.classes_
        refuse_missing_labels(classes, owner, "classes")
        with named_error(owner, "classes", "Give all labels that may occur."):
            labels = np.unique(column_or_1d(classes))
        if len(labels) < 2:
            raise ValueError(f"{owner}: classes has {len(labels)} label. Give at least two.")
        if not first and not np.array_equal(labels, self.classes_):
            raise ValueError(
                f"{owner}: classes={labels} differ from those of the first call, {self.classes_}."
            )
        return labels

    def _with_class_weight(self, codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        """Return the weights of a batch times those of its classes."""
        owner = type(self).__name__
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"{owner}: class_weight='balanced' needs the shares of the classes in all rows, "
                "and partial_fit sees a batch. Give a dict of weights."
            )
        return with_class_weight(self.class_weight, self.classes_, codes, weight, owner)

    def _coded(self, X: Any, y: np.ndarray, sample_weight: Any) -> tuple[np.ndarray, Any]:
        """Set `classes_`; return class codes and row weights, class weights included."""
        owner = type(self).__name__
        check_labels(y, type(self).__name__)
        weight = None
        if sample_weight is not None:
            weight = check_weights(sample_weight, X, owner)
        classes, codes = np.unique(y, return_inverse=True)
        weight = with_class_weight(self.class_weight, classes, codes, weight, owner)
        self.classes_, codes = present_classes(classes, codes, weight, owner)
        return codes, weight

    @lazy_on_dask(_probabilities)
    def predict_proba(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Return class probabilities, pooled over the experts.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return self._pooled(X, offset, self._as_probabilities)

    def _as_probabilities(self, proba: np.ndarray) -> np.ndarray:
        """Return pooled probabilities as they are answered; raise if they are none."""
        pooling = self._model.pooling
        if callable(pooling):
            total = proba.sum(axis=1)
            if not (np.all(proba >= 0) and np.allclose(total, 1.0, atol=1e-6)):
                raise ValueError(
                    f"{type(self).__name__}: pooling={pooling!r} returned rows that are not "
                    f"probabilities: smallest entry {proba.min():.4g}, sums from "
                    f"{total.min():.4g} to {total.max():.4g}."
                )
            proba = proba / total[:, None]
        return np.minimum(proba, 1.0)  # rounding may push a sum of weights above 1

    @lazy_on_dask(_probabilities)
    def predict_log_proba(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            −inf where the probability is 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, offset=offset))

    def _fit_weight(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Return the weights of a fit on these rows, class weights included."""
        labels = np.asarray(y)
        if self._class_weight is None or labels.ndim != 1:
            return sample_weight
        owner = type(self).__name__
        weight = None if sample_weight is None else check_weights(sample_weight, X, owner)
        classes, codes = np.unique(np.concatenate([self.classes_, labels]), return_inverse=True)
        codes = codes[len(self.classes_) :]  # classes of weight 0 are not in classes_
        return with_class_weight(self._class_weight, classes, codes, weight, owner)

    @lazy_on_dask(_labels)
    def predict(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Predict classes: the argmax of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        model = self._fitted_model()  # labels are those of its fit, while another one goes on
        rows = self._new_rows(X, offset=offset)
        codes = model.pooled(
            rows, type(self).__name__, lambda proba: self._as_probabilities(proba).argmax(axis=1)
        )
        labels: np.ndarray = model.target.classes[codes]
        return labels

    def predict_distribution(self, X: Any, *, offset: Any = None) -> ClassDistribution:
        """Return the distribution of the class for every row, with what is uncertain about it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        ClassDistribution
            Its `proba` equals `predict_proba` with weighted pooling. It excludes the noise expert;
            a shared expert is part of each expert, as in `predict_experts`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from mixexp import MixtureOfExpertsClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, y)
        >>> law = model.predict_distribution(X)
        >>> parts = law.expected_entropy() + law.mutual_information()
        >>> bool(abs(law.entropy() - parts).max() < 1e-12)
        True
        """
        return self._law(self._new_rows(X, offset=offset))

    def _law(self, rows: Any, weights: np.ndarray | None = None) -> ClassDistribution:
        """Return the distributions of rows, by weights of the innermost experts or of `route`."""
        model = self._fitted_model().innermost
        weights, outputs = model.routed_outputs(rows, type(self).__name__, weights)
        return ClassDistribution(weights, outputs, model.target.classes)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> float:
        """Return the accuracy of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights; None means 1 for every row.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        float
        """
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, X, type(self).__name__)
        refuse_missing_labels(y, type(self).__name__)
        given = {} if offset is None else {"offset": offset}  # a subclass may not take it
        return float(accuracy_score(y, self.predict(X, **given), sample_weight=sample_weight))
