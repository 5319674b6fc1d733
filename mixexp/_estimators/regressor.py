"""Mixture of experts for regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, clone
from sklearn.metrics import r2_score
from sklearn.utils.validation import validate_data

from mixexp._columns import as_numbers
from mixexp._compat import HasMethods, StrOptions, check_weights, fit_context
from mixexp._estimators.assembly import FitArguments
from mixexp._estimators.base import BaseMixtureOfExperts
from mixexp._estimators.parts import check_parts, takes_all_sparse
from mixexp._estimators.targets import Numbers
from mixexp.distribution import MixtureDistribution
from mixexp.families import FAMILIES

__all__ = ["MixtureOfExpertsRegressor"]


class MixtureOfExpertsRegressor(RegressorMixin, BaseMixtureOfExperts):
    """Mixture of regression experts with a gate, fitted by EM.

    p(y | x) = Σ_k g_k(x) p_k(y | x): the gate g divides the input space, each expert is a model
    of y that is right in its own region, and both are trained together by maximum (penalised)
    likelihood.

    Parameters
    ----------
    expert : estimator, list of (name, estimator), `ExpertPool` or None, default=None
        Template of the experts: any regressor, Pipeline, `TransformedTargetRegressor` or search;
        or a list of different ones, `n_experts` long; or an `mixexp.experts.ExpertPool`, of which
        each region takes the best. None is a linear model on scaled columns with a ridge penalty.
        `LinearRegression`, `Ridge`, and for their families `PoissonRegressor`, `GammaRegressor`
        and `TweedieRegressor` are fitted all at once. A regressor without `sample_weight` is
        fitted on rows drawn by responsibility, with a warning.
    n_experts : int, default=4
        Number of experts, K.
    gate : gate of `mixexp.gates`, classifier or None, default=None
        None is `SoftmaxGate()`; a classifier stands for `EstimatorGate(classifier)`.
    family : {"gaussian", "student_t", "laplace", "poisson", "gamma"} or family of \
            `mixexp.families`, default="gaussian"
        Density of y around an expert's prediction. Poisson and gamma have a log link.
    expert_features, gate_features : indices, names, slice, mask or callable, default=None
        Columns that experts and gate see, chosen as in `ColumnTransformer`; None is all. Or a
        list of such selections, one an expert (of the gate: what each expert's score sees).
    noise_expert : bool, default=False
        Whether one more, fixed expert takes outliers: a uniform density over the range of the
        training targets (for counts, over the whole numbers in it). It has a gate probability and
        responsibilities, in the last column, and no part in predictions: `route` leaves it out.
    pooling : {"weighted", "argmax"} or callable, default="weighted"
        How the experts' outputs become one prediction: their mean weighted by gate probability,
        the output of the most probable expert, or a function of routing weights
        (n, n_experts) and outputs (n, n_experts[, n_outputs]), called for runs of rows.
    init : str, array-like or object, default="mixed"
        Where EM starts. A method: "mixed" (one after the other of the next five, each again and
        again but "split"), "clusterwise", "split", "kmeans" (of X), "tree", "kmeans_xy" (of X and
        y), or "random"; the classes of `mixexp.partitions` say what each does. Labels
        (n_samples,), or responsibilities (n_samples, n_experts). Any object with `fit_predict`:
        a clusterer, or for two experts an outlier detector, whose inliers and outliers they begin
        with. A start of `mixexp.partitions`, such as `NearestCenter` or `FeatureGroups`; or an
        object of your own with ``responsibilities(context, rng)``.
    n_init : int, default=10
        Starts. Each is run for 8 iterations on at most 8192 rows, the best one to its end. With
        1, or an `init` that gives the same start each time, only that one is run.
    assignment : {"soft", "hard", "stochastic"}, default="soft"
        What the E-step hands to the experts: posterior probabilities, the most probable expert
        (classification EM), or one drawn from the posterior.
    cross_fit : {"auto"}, bool or int, default="auto"
        Whether the E-step uses out-of-fold predictions, from 5 folds or as many as given. "auto"
        does for experts and gates that may memorise their rows: all but linear models.
    on_collapse : {"reinit", "drop", "keep", "raise"}, default="reinit"
        What becomes of an expert with less than 1 % of an equal share of the weight: it is
        started again on the rows that are explained worst (twice at most), dropped, kept, or an
        error. There is always a warning.
    max_iter : int, default=200
        Iterations of the long run at most, over all its segments.
    tol : float, default=1e-6
        The run ends when the last gain of the lower bound, and the gain that Aitken's rule says
        is left, are below `tol` · max(1, abs(bound)). With 0 all `max_iter` iterations are run.
    random_state : int, RandomState instance or None, default=None
        Seeds the starts, and estimators whose own random state is None.
    n_jobs : int or None, default=None
        For starts, and for experts that are fitted one by one; each takes one thread. The result
        does not depend on it.

    Attributes
    ----------
    experts_ : list of fitted estimators
        The experts, as scikit-learn estimators; a mixture where an expert is one.
    gate_ : fitted gate
        The gate, which has coefficients, centres or a tree, as its kind does.
    dispersions_ : ndarray of shape (n_experts,) or (n_experts, n_outputs)
        The family's scale around the experts' predictions, in units of y: standard deviation
        (gaussian), scale (student_t, laplace), or coefficient of variation (gamma). Poisson has
        none.
    degrees_of_freedom_ : ndarray of shape (n_experts,) or (n_experts, n_outputs)
        Of student_t.
    usage_ : ndarray of shape (n_experts,)
        Weighted mean gate probability of each expert; with `noise_expert` the noise's is last.
    cross_fitted_ : bool
        Whether `lower_bound_` is an out-of-fold score.
    lower_bound_ : float
        Mean log-likelihood plus log-priors, per unit of sample weight, of the fitted parameters;
        with hard assignment, that of the classification likelihood; with a generative gate
        (`GaussianGate`), that of the joint density of x and y.
    lower_bounds_ : ndarray of shape (n_iter_,)
        The bound after every iteration that led to the state returned: where experts collapsed and
        began anew, of that stretch.
    n_iter_, n_passes_ : int
        Iterations of the long run, and passes over the data that it took.
    converged_ : bool
        Whether the long run ended before `max_iter`, by `tol`.
    restarts_ : list
        One record per start: seed, bound, n_iter, events, flags.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X was a data frame with strings as column names.

    See Also
    --------
    MixtureOfExpertsClassifier : The same for classes.

    Notes
    -----
    Parameters that are set after a fit, `pooling` among them, take effect in the next one: until
    then all methods answer for the mixture as it was fitted.

    Sample weights are frequencies: weight 2 is the row twice, weight 0 the row removed. Where all
    positive ones are below 1 they cannot count rows; they are then rescaled to a mean of 1, with a
    warning. So is a total warned of that is small beside the number of parameters.

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
    }

    def __init__(
        self,
        expert: Any = None,
        n_experts: int = 4,
        *,
        gate: Any = None,
        family: Any = "gaussian",
        expert_features: Any = None,
        gate_features: Any = None,
        noise_expert: bool = False,
        pooling: Any = "weighted",
        init: Any = "mixed",
        n_init: int = 10,
        assignment: str = "soft",
        cross_fit: Any = "auto",
        on_collapse: str = "reinit",
        max_iter: int = 200,
        tol: float = 1e-6,
        random_state: Any = None,
        n_jobs: int | None = None,
    ):
        super().__init__(
            expert=expert,
            n_experts=n_experts,
            gate=gate,
            expert_features=expert_features,
            gate_features=gate_features,
            noise_expert=noise_expert,
            pooling=pooling,
            init=init,
            n_init=n_init,
            assignment=assignment,
            cross_fit=cross_fit,
            on_collapse=on_collapse,
            max_iter=max_iter,
            tol=tol,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        self.family = family

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
        **params: Any,
    ) -> MixtureOfExpertsRegressor:
        """Fit gate and experts.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            May hold NaN where all experts take it; a data frame also columns that are no numbers,
            where the experts and the gate that see them encode them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several numbers a row.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; rescaled to a mean of 1 if all are below 1.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group (a patient, a shop) come from one expert: they share one
            responsibility. The gate's features must be constant within groups.
        offset : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Added to the linear predictor of every expert, on the link's scale: for counts with
            an exposure, the logarithm of the exposure.
        expert_labels : array-like of shape (n_samples,), default=None
            The number of the expert that a row is known to come from, -1 where it is not known.
            The responsibilities of such rows are fixed, and the bound has log g_k p_k of that
            expert for them.
        **params : dict
            For the experts' `fit`, where metadata routing is enabled and they request it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where data or parameters make no sense, or an expert fails; the message names them.
        TypeError
            Where `expert` cannot be an expert of a regression.

        Warns
        -----
        ConvergenceWarning
            Where EM did not converge, the gate separates perfectly, or an expert collapsed.
        """
        with self._all_or_nothing():
            check_parts(self, "numbers")
            table = as_numbers(X)
            X, y = validate_data(
                self,
                table.X,
                y,
                accept_sparse="csr" if takes_all_sparse(self) else False,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                multi_output=True,
                y_numeric=True,
            )
            family: Any = FAMILIES[self.family]() if isinstance(self.family, str) else self.family
            family = clone(family, safe=False)  # the fitted mixture's own
            arguments = FitArguments(sample_weight, groups, offset, expert_labels, params, table)
            self._fit(X, y, arguments, Numbers(family, y.shape[1:]))
        return self

    def predict(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Predict the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._pooled(X, offset)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> float:
        """Return the coefficient of determination R² of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several numbers a row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; None is one each.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        float
        """
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, X, type(self).__name__)
        return float(r2_score(y, self.predict(X, offset=offset), sample_weight=sample_weight))

    def predict_distribution(self, X: Any, *, offset: Any = None) -> MixtureDistribution:
        """Return the distribution of y for every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        MixtureDistribution
            With mean, variance, pdf, cdf, quantile, interval and sample. Its mean is `predict`
            of the weighted pooling. A noise expert has no part in it.
        """
        model, rows = self._fitted_model().innermost, self._new_rows(X, offset=offset)
        bank: Any = model.bank
        return MixtureDistribution(
            model.route(rows),
            model.outputs(rows, type(self).__name__),
            bank.parameters if model.target.shape else bank.parameters[..., 0],
            bank.family,
        )

    def sample_y(
        self, X: Any, n_samples: int = 1, random_state: Any = None, *, offset: Any = None
    ) -> np.ndarray:
        """Draw targets from the predictive distribution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
            Rows to draw for.
        n_samples : int, default=1
            Draws a row.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_outputs, n_samples)
        """
        return self.predict_distribution(X, offset=offset).sample(n_samples, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags
