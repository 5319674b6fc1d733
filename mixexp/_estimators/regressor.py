"""Mixture of experts for regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, clone
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from mixexp._checks import all_or_nothing, is_dask
from mixexp._columns import as_numbers
from mixexp._compat import HasMethods, StrOptions, check_weights, fit_context
from mixexp._estimators.assembly import FitArguments, names_given
from mixexp._estimators.base import BaseMixtureOfExperts
from mixexp._estimators.choosing import chooses_gate, fit_choosing_gate
from mixexp._estimators.dask_input import fit_dask, lazy_on_dask
from mixexp._estimators.following import following
from mixexp._estimators.known_rows import validated
from mixexp._estimators.part_checks import check_binomial, check_parts, check_zero_expert
from mixexp._estimators.parts import is_binomial
from mixexp._estimators.streaming import go_on, learns_from_batches, memory_of, valid_batch
from mixexp._estimators.targets import Numbers, Trials
from mixexp._rows.maps import kept_dtypes
from mixexp._rows.source import Run
from mixexp.distribution import MixtureDistribution
from mixexp.distribution._arguments import probabilities
from mixexp.families import FAMILIES

__all__ = ["MixtureOfExpertsRegressor"]


def _prediction(mixture: Any, return_std: bool = False, **options: Any) -> tuple:
    """Return shape and dtype of a row's prediction."""
    if return_std:
        raise TypeError(
            f"{type(mixture).__name__}: X is a Dask collection, of which predict returns one "
            "array, and return_std=True asks for two. Call predict of each partition, by "
            "`map_blocks` or `map_partitions`."
        )
    return mixture._fitted_model().target.shape, np.dtype(float)


class MixtureOfExpertsRegressor(RegressorMixin, BaseMixtureOfExperts):
    """Mixture of regression experts with a gate, fitted by EM.

    p(y | x) = Σ_k g_k(x) p_k(y | x): the gate g divides the input space softly, each expert models
    y in its own region, and both are trained jointly by maximum (penalised) likelihood.

    Parameters
    ----------
    expert : estimator, list of (name, estimator), `ExpertPool` or None, default=None
        Template of the experts: any regressor, Pipeline, `TransformedTargetRegressor` or search; a
        list of `n_experts` different ones; or an `mixexp.experts.ExpertPool`, from which each
        region gets its best candidate. None is a ridge-penalised linear model on scaled columns,
        whose penalty is as `SoftmaxGate` says of its `alpha`. `LinearRegression`, `Ridge`, and,
        with the matching family, `PoissonRegressor`, `GammaRegressor` and `TweedieRegressor` are
        fitted all at once; for negative_binomial `PoissonRegressor` is, and for binomial
        `LogisticRegression`. A regressor without `sample_weight` is fitted on rows drawn by
        responsibility, with a warning.
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
    family : {"gaussian", "student_t", "laplace", "poisson", "negative_binomial", "gamma", \
            "binomial"} or family of `mixexp.families`, default="gaussian"
        Distribution of y given an expert's prediction. Counts and gamma have a log link, binomial
        a logit link, with successes and failures as the columns of y.
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
    shared_expert : regressor or None, default=None
        A model of all rows, added to the prediction of every expert and trained jointly: experts
        need only know what is special in their regions. Linear models below linear experts are
        solved for at once, and pull the experts' coefficients towards each other. For families
        with a log link it is a component in place of a term: every expert's distribution is
        (1 − s) times its own plus s times that of the shared expert, with one share s for all
        rows. It sees the columns of the experts.
    noise_expert : bool, default=False
        Whether to add a fixed expert for outliers: a uniform density over the range of the
        training targets (for counts, over its integers). It has a gate probability and
        responsibilities, in the last column, but no part in predictions: `route` leaves it out.
    zero_expert : bool, default=False
        Whether to add a fixed expert for counts that has all its mass at 0: with it, and one other
        expert, family "poisson" is zero-inflated Poisson regression (Lambert 1992). It has a share
        of all rows, a gate probability and responsibilities, in the last column. Unlike noise it
        is part of predictions: they are the experts' times one minus its share, and its share is
        in `predict_distribution`. Not together with `noise_expert`.
    routing : router of `mixexp.routing` or None, default=None
        Which experts a row reaches, and with which weights: `TopK`, `TopP`, `Switch`,
        `ExpertChoice` or `Threshold`. The routed mixture is the model, in training and in all
        methods. None is dense: every row reaches every expert.
    n_refits : {"auto"} or int, default="auto"
        How often each expert is fitted to a partition, with a warm-up or cross-fitting. "auto" is
        once with a warm-up. Cross-fitted experts are fitted once, to the partition of the starts
        (twice where the family weights rows); gate and dispersions then go on, and one model of all
        rows takes the place of all experts if it is clearly better out of fold. Networks, pools,
        and experts beside a shared one, are fitted in every iteration. With a number, experts are
        fitted in so many iterations and never replaced.
    max_experts : int, default=32
        Largest number of experts that ``n_experts="auto"`` tries: all numbers up to 16, then every
        fourth.
    pooling : {"weighted", "argmax"} or callable, default="weighted"
        How the experts' outputs are combined: their mean weighted by gate probability, the output
        of the most probable expert, or a function of routing weights (n, n_experts) and outputs
        (n, n_experts[, n_outputs]), called on batches of rows.
    bound_predictions : {"auto"} or bool, default="auto"
        Whether `predict` stays within the range of the training targets; with an offset, of the
        targets without it, such as rates. Linear experts extrapolate, and one far row may decide
        an error. "auto" is a range that is longer by a quarter of its length at each end, though
        not beyond 0 where no target is: right predictions for new rows may lie a little
        outside. True is the range itself. Outputs of a pooling function are bounded too; set
        False for one that gives something else than a prediction. A mixture of one expert
        predicts like the expert alone, and with "auto" so does one with all rows at one
        expert. Experts, mixtures among them, and distributions are not bounded.
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
    experts_ : list of fitted estimators
        The experts, as scikit-learn estimators; nested mixtures stay mixtures.
    shared_expert_ : fitted estimator
        The shared expert, if there is one; the `experts_` then predict what they add to it, and
        `predict_experts` returns the sums. As a component it is not added but mixed with them.
    shared_share_ : float
        Share s of the shared expert, if it is a component.
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
    dispersions_ : ndarray of shape (n_experts,) or (n_experts, n_outputs)
        Scale of the family: standard deviation (gaussian) or scale (student_t, laplace), in units
        of y, coefficient of variation (gamma), or α of the variance μ + α μ² (negative_binomial).
        Poisson has none. A ridge penalty on the experts makes them larger, and for gaussian errors
        they have the degrees of freedom that default experts leave (`Gaussian`).
    degrees_of_freedom_ : ndarray of shape (n_experts,) or (n_experts, n_outputs)
        Degrees of freedom, for student_t only.
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
        Weighted mean gate probability of each expert; that of a noise or zero expert comes
        last.
    cross_fitted_ : bool
        Whether `lower_bound_` is an out-of-fold score.
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
    MixtureOfExpertsClassifier : Mixture of experts for class labels.

    Notes
    -----
    Parameters set after a fit, including `pooling`, take effect at the next fit; until then all
    methods describe the mixture that was fitted.

    Sample weights are frequencies: weight 2 counts a row twice, weight 0 removes it. Positive
    weights that are all below 1 cannot be counts; they are rescaled to a mean of 1, with a
    warning. A total weight that is small relative to the number of parameters also warns.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Neural
    Computation 3. Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm,
    Neural Computation 6.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> model.gate_proba(X).shape
    (150, 2)
    """

    _parameter_constraints: dict = {
        **BaseMixtureOfExperts._parameter_constraints,
        "family": [StrOptions(set(FAMILIES)), HasMethods(["evaluate", "statistics", "update"])],
        "zero_expert": ["boolean"],
        "bound_predictions": [StrOptions({"auto"}), "boolean"],
    }

    def __init__(
        self,
        expert: Any = None,
        n_experts: Any = 4,
        *,
        gate: Any = None,
        family: Any = "gaussian",
        expert_features: Any = None,
        gate_features: Any = None,
        expert_basis: Any = "linear",
        gate_basis: Any = "auto",
        shared_expert: Any = None,
        noise_expert: bool = False,
        zero_expert: bool = False,
        routing: Any = None,
        n_refits: Any = "auto",
        max_experts: int = 32,
        pooling: Any = "weighted",
        bound_predictions: bool | str = "auto",
        init: Any = "mixed",
        n_init: int = 10,
        warm_up: Any = "auto",
        assignment: str = "soft",
        cross_fit: Any = "auto",
        on_collapse: str = "reinit",
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
        self.family = family
        self.zero_expert = zero_expert
        self.bound_predictions = bound_predictions

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
        trials: Any = None,
        allow_gather: bool = False,
        resume_from: Any = None,
        **params: Any,
    ) -> MixtureOfExpertsRegressor:
        """Fit gate and experts.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            May contain NaN if all experts accept it. A data frame may have non-numeric columns if
            every expert and gate that sees them encodes them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numeric targets, one or several per row.
            For family "binomial" the numbers of successes, with `trials`, or two columns, the
            numbers of successes and of failures.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; rescaled to a mean of 1 if all are below 1.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group (a patient, a shop) come from the same expert and share one
            responsibility. The gate's features must be constant within groups.
        offset : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Added to every expert's linear predictor, on the scale of the link: for counts with
            an exposure, its logarithm.
        expert_labels : array-like of shape (n_samples,), default=None
            Index of the expert that each row is known to come from, -1 if unknown. The
            responsibilities of labelled rows are fixed, and each contributes log g_k p_k of its
            expert to the bound.
        trials : array-like of shape (n_samples,) or int, default=None
            For family "binomial" with one column of y: out of how many trials each row has its
            successes; a single number is that of all rows. None means one trial a row.
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
            If `expert` is not a regressor.

        Warns
        -----
        ConvergenceWarning
            If EM did not converge, the gate separates perfectly, or an expert collapsed.
        """
        check_parts(self, "numbers")
        rest = {"groups": groups, "offset": offset, "expert_labels": expert_labels}
        rest |= {"trials": trials, **params}
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
            X, y = validated(self, table.X, y, kept_dtypes(table.X), numeric=True)
            arguments = FitArguments(
                sample_weight, groups, offset, expert_labels, params, table, watch
            )
            target = self._numbers(y.shape[1:])
            y = target.counted(y, trials, type(self).__name__)
            self._fit(X, y, arguments, target)
            self._fitted_with = names_given({"sample_weight": sample_weight, **rest})
        return self

    @available_if(learns_from_batches)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MixtureOfExpertsRegressor:
        """Learn from a batch of rows, by online EM; nothing is kept of them but statistics.

        The first 8192 rows are collected, and fitted as by `fit` whenever they have doubled: the
        last of these fits is the start. From then on, every 4096 rows of a batch are one step
        (Cappé & Moulines 2009): an E-step of these rows, statistics averaged with those of all
        before (`online_step`, `online_forget`), an M-step. Shuffle rows that are ordered.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, with the columns of the first batch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numeric targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows. If those of the rows before the start are all below 1, they are
            relative: as in `fit`, a factor makes their mean 1, also of later rows.

        Returns
        -------
        self
            Fitted once there are five rows per expert. `lower_bounds_` has for each step the
            log-likelihood of its rows, per unit of weight, before they were learnt from, and
            `usage_` is the mean responsibility of each expert. A `fit` before, or later, is not
            gone on from: it begins anew, and so does `partial_fit` after it.

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
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
        >>> for _ in range(20):
        ...     X = rng.standard_normal((1000, 2))
        ...     y = np.where(X[:, 0] > 0, 5 + X[:, 1], -X[:, 1])
        ...     model = model.partial_fit(X, y)
        >>> model.predict([[3.0, 1.0]]).round(1)
        array([6.])
        """
        with all_or_nothing(self):
            check_parts(self, "numbers")
            first = "_memory" not in vars(self)
            X, y, weight = valid_batch(self, X, y, sample_weight, first=first, numeric=True)
            if first:
                self._memory = memory_of(self, self._numbers(y.shape[1:]))
            elif y.shape[1:] != self._memory.target.shape and not is_binomial(self):
                raise ValueError(
                    f"{type(self).__name__}: y has shape {y.shape}, and that of the first batch "
                    f"was (n_samples, {', '.join(map(str, self._memory.target.shape))})."
                )
            if len(y):
                go_on(self, Run(X, y, weight))
        return self

    def _numbers(self, shape: tuple[int, ...]) -> Numbers:
        """Return the target for rows of this shape."""
        family: Any = FAMILIES[self.family]() if isinstance(self.family, str) else self.family
        family = clone(family, safe=False)  # not shared with the user's
        check_binomial(self, family)
        check_zero_expert(self, family)
        return Trials(family, ()) if family.link == "logit" else Numbers(family, shape)

    @lazy_on_dask(_prediction)
    def predict(self, X: Any, *, offset: Any = None, return_std: bool = False) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation of the predictive distribution as well.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Within the range of the training targets, or near it, as `bound_predictions` says.
        y_std : ndarray of the same shape
            Only if `return_std` is True: the `std` of `predict_distribution`, which is not bounded
            and does not depend on `pooling`. Of Student-t errors it may be infinite or NaN.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> mean, std = model.predict(X, return_std=True)
        >>> mean.shape, std.shape
        ((150,), (150,))
        """
        pooled = self._pooled(X, offset)
        if not return_std:
            return pooled
        return pooled, self.predict_distribution(X, offset=offset).std()

    @np.errstate(under="ignore")
    def predict_quantile(
        self, X: Any, q: Any = 0.5, *, offset: Any = None, trials: Any = None
    ) -> np.ndarray:
        """Return quantiles of the predictive distribution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        q : float or array-like of float, default=0.5
            Levels from 0 to 1.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of family "binomial": the numbers of trials in which successes are to be counted. None
            means one trial a row.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            If q is an array, its axes come first, as in `numpy.quantile`. They are not bounded to
            the range of the training targets.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> model.predict_quantile(X, [0.1, 0.5, 0.9]).shape
        (3, 150)
        """
        return self.predict_distribution(X, offset=offset, trials=trials).quantile(q)

    def predict_interval(
        self, X: Any, coverage: Any = 0.9, *, offset: Any = None, trials: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the central intervals of the predictive distribution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        coverage : float or array-like of float, default=0.9
            Probability of the interval, between 0 and 1.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of family "binomial": the numbers of trials in which successes are to be counted. None
            means one trial a row.

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            If `coverage` is an array, its axes come first. They are not bounded to the range of
            the training targets.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> low, high = model.predict_interval(X, coverage=0.8)
        >>> bool((low < high).all())
        True
        """
        probabilities(coverage, "coverage", type(self).__name__)
        return self.predict_distribution(X, offset=offset, trials=trials).interval(coverage)

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        trials: Any = None,
    ) -> float:
        """Return the coefficient of determination R² of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights; None means 1 for every row.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            As in `fit`, of family "binomial" where y has one column.

        Returns
        -------
        float
        """
        y = self._counted(y, trials)
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, X, type(self).__name__)
        given = {} if offset is None else {"offset": offset}  # a subclass may not take it
        predicted, target = self.predict(X, **given), self._fitted_model().target
        if isinstance(target, Trials):
            won, n = counts = target.encode_new(y, predicted, type(self).__name__)
            target.refuse_impossible(counts, type(self).__name__)
            y, sample_weight = won / n, n if sample_weight is None else sample_weight * n
        return float(r2_score(y, predicted, sample_weight=sample_weight))

    def predict_distribution(
        self, X: Any, *, offset: Any = None, trials: Any = None
    ) -> MixtureDistribution:
        """Return the distribution of y for every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of family "binomial": the numbers of trials in which successes are to be counted. None
            means one trial a row.

        Returns
        -------
        MixtureDistribution
            With moments, densities, quantiles, regions, entropy, scores and draws. Its mean, where
            there is one, equals `predict` with weighted pooling, where that is not bounded, times
            `trials`. It excludes the noise expert, and has the zeros of a zero expert.
        """
        return self._law(self._new_rows(X, offset=offset), trials=trials)

    def _law(
        self, rows: Any, weights: np.ndarray | None = None, trials: Any = None
    ) -> MixtureDistribution:
        """Return the distributions of rows, by weights of the innermost experts or of `route`."""
        model, owner = self._fitted_model().innermost, type(self).__name__
        weights, outputs, parameters = model.components(rows, owner, weights)
        target: Any = model.target
        parameters = target.law_parameters(parameters, trials, len(weights), owner)
        return MixtureDistribution(weights, outputs, parameters, target.family)

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: Any = None,
        *,
        offset: Any = None,
        trials: Any = None,
    ) -> np.ndarray:
        """Draw targets from the predictive distribution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
            Rows to draw for.
        n_samples : int, default=1
            Number of draws per row.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of family "binomial": the numbers of trials in which successes are to be counted. None
            means one trial a row.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_outputs, n_samples)
        """
        law = self.predict_distribution(X, offset=offset, trials=trials)
        return law.sample(n_samples, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        family = FAMILIES.get(self.family) if isinstance(self.family, str) else self.family
        supports = getattr(family() if isinstance(family, type) else family, "supports", None)
        tags.target_tags.positive_only = supports is not None and not supports(np.array(-1.0))
        return tags
