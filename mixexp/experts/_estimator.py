"""The estimator bank: K copies of any scikit-learn estimator with `sample_weight`."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from mixexp._blocks import Block, Rows
from mixexp._compat import fit_weighted_pipeline
from mixexp._protocols import evolve
from mixexp._threads import single_thread
from mixexp.experts._templates import log_penalty

__all__ = ["EstimatorBank", "check_expert"]

#: Rows with less than this share of an expert's largest weight are not handed to it.
NEGLIGIBLE = 1e-10

#: An expert with less than this share of all weight stays as it is.
EMPTY_SHARE = 1e-12

#: Class probabilities enter the density no smaller than this: a leaf's 0 is not a proof.
SMALLEST_PROBA = 1e-6

#: Pseudo-rows with the classes' overall shares, added to a region that has only one class.
PRIOR_ROWS = 1.0


def takes_weights(estimator: BaseEstimator) -> bool:
    """Return whether `fit` takes `sample_weight`; of a Pipeline, whether its last step does."""
    if isinstance(estimator, Pipeline):
        return takes_weights(estimator.steps[-1][1])
    return has_fit_parameter(estimator, "sample_weight")


def check_expert(expert: Any, owner: str, *, classifier: bool) -> None:
    """Raise where an estimator cannot be an expert of this kind of mixture."""
    name = type(expert).__name__
    if isinstance(expert, type) or not (hasattr(expert, "fit") and hasattr(expert, "get_params")):
        raise TypeError(
            f"{owner}: expert must be a scikit-learn estimator (an instance with fit, predict and "
            f"get_params), got {expert!r}."
        )
    if is_classifier(expert) != classifier:
        wanted, example = (
            ("classifier", "LogisticRegression()") if classifier else ("regressor", "Ridge()")
        )
        raise TypeError(f"{owner}: expert must be a {wanted} such as {example}, got {name}.")
    if classifier and not hasattr(expert, "predict_proba"):
        raise TypeError(
            f"{owner}: expert {name} has no predict_proba, which the density of a class needs; "
            "wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    if not takes_weights(expert):
        raise TypeError(
            f"{owner}: expert {name} does not take sample_weight in fit, and EM trains experts on "
            "weighted rows; choose an expert that does."
        )


class EstimatorBank:
    """K clones of one estimator, each fitted on all rows with its responsibilities as weights.

    A batch part: its statistic is the responsibilities themselves, and `update` calls `fit`.
    What each expert predicts for the training rows is computed once an iteration and kept.

    The M-step is that of a likelihood where the estimator is a penalised likelihood fit (exact
    classes and their subclasses in `_templates`). An expert whose inexact solver ends below its
    previous fit is then left as it was, so the lower bound cannot fall.

    Parameters
    ----------
    template : estimator
    columns : ndarray of int or None
        The features that experts see.
    classes : ndarray or None
        Labels of a classification task; `y` holds their positions.
    family : Family or None
        Of a regression task.
    n_outputs : int
    n_experts : int
    n_jobs : int or None
    seed : int
        Sets the random states of experts that leave theirs at None. The same in all iterations,
        so that the M-step is one fixed function of the responsibilities.
    """

    def __init__(
        self,
        template: BaseEstimator,
        columns: np.ndarray | None,
        *,
        classes: Any,
        family: Any,
        n_outputs: int,
        n_experts: int,
        n_jobs: int | None,
        seed: int,
    ):
        self.template = template
        self.columns = columns
        self.classes = classes
        self.family = family
        self.n_outputs = n_outputs
        self.floor = np.zeros(n_outputs)
        self.n_experts = n_experts
        self.n_jobs = n_jobs
        self.seed = seed
        self.dispersions: Any = None if family is None else np.ones((n_experts, n_outputs))
        self.experts: list[BaseEstimator] = []
        self._known: Any = None
        self._penalties: Any = None

    @property
    def monotone(self) -> bool:
        """Whether all experts are penalised likelihood fits."""
        return self._penalties is not None

    @property
    def on_floor(self) -> np.ndarray:
        """Whether an expert's dispersion sits on its floor, (K,)."""
        if self.dispersions is None:
            return np.zeros(self.n_experts, dtype=bool)
        return np.any(self.dispersions <= self.floor * (1 + 1e-9), axis=1)

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m) or class probabilities (K, n_classes, m)."""
        if block.training and self._known is not None:
            return self._known[..., block.start : block.stop]
        X = block.rows.take(slice(block.start, block.stop), self.columns)
        return np.stack([self._outputs(expert, X) for expert in self.experts])

    def _outputs(self, expert: BaseEstimator, X: Any) -> np.ndarray:
        """Return one expert's means (n_outputs, m) or aligned class probabilities."""
        if self.classes is None:
            mean = np.asarray(expert.predict(X), dtype=np.float64)
            return mean.reshape(len(mean), -1).T
        proba = np.zeros((len(self.classes), X.shape[0]))
        proba[np.searchsorted(self.classes, expert.classes_)] = expert.predict_proba(X).T
        return proba

    def _log_density(self, y: np.ndarray, outputs: np.ndarray) -> tuple:
        """Return log p(y) (..., m) and residuals (None for classes) of outputs (K, ., m)."""
        if self.classes is None:
            return self.family.evaluate(y, outputs, self.dispersions)
        proba = outputs[:, y, np.arange(len(y))]
        floor = SMALLEST_PROBA / len(self.classes)
        return np.log(np.maximum(proba, floor)), None

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        return self._log_density(block.y, self.predict(block))[0]

    def log_prior(self) -> float:
        """Return minus the experts' penalties, 0 where they have none that is known."""
        if self._penalties is None:
            return 0.0
        if self.dispersions is None:
            return -float(np.sum(self._penalties))
        return -0.5 * float(
            sum(np.sum(p / d**2) for p, d in zip(self._penalties, self.dispersions, strict=True))
        )

    def statistics(self, block: Block, resp: np.ndarray) -> list[np.ndarray]:
        """Return the responsibilities; lists add by joining."""
        return [resp.copy()]

    def update(self, statistics: list[np.ndarray], rows: Rows) -> EstimatorBank:
        """Return the bank with every expert fitted again."""
        resp = np.concatenate(statistics, axis=1)
        fits = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(self._fit_expert)(k, resp[k], rows) for k in range(self.n_experts)
        )
        experts, outputs = zip(*fits, strict=True)
        penalties = [log_penalty(expert) for expert in experts]
        exact = all(penalty is not None for penalty in penalties)
        new = evolve(
            self,
            experts=list(experts),
            _known=np.stack(outputs),
            _penalties=penalties if exact else None,
        )
        if exact and self._penalties is not None:
            self._keep_better(new, resp, rows)
        if new.family is not None:
            new.dispersions = new._fit_dispersions(resp, rows)
        return new

    def _keep_better(self, new: EstimatorBank, resp: np.ndarray, rows: Rows) -> None:
        """Give back to `new` the experts whose fit ended below that of the iteration before."""
        before, after = self._objectives(self, resp, rows), self._objectives(new, resp, rows)
        for k in np.flatnonzero(after < before):
            new.experts[k] = self.experts[k]
            new._known[k] = self._known[k]
            new._penalties[k] = self._penalties[k]

    def _objectives(self, bank: EstimatorBank, resp: np.ndarray, rows: Rows) -> np.ndarray:
        """Return each expert's penalised log-likelihood at this bank's dispersions, (K,)."""
        log_prob, _ = self._log_density(rows.y, bank._known)
        own = np.sum(resp * log_prob, axis=1)
        if self.dispersions is None:
            return own - np.array([p.sum() for p in bank._penalties])
        pairs = zip(bank._penalties, self.dispersions, strict=True)
        return own - np.array([0.5 * np.sum(p / d**2) for p, d in pairs])

    def _fit_dispersions(self, resp: np.ndarray, rows: Rows) -> np.ndarray:
        _, score = self.family.evaluate(rows.y, self._known, self.dispersions)
        scatter = self.family.scatter(score, resp[:, None] * score)
        if self._penalties is not None:
            scatter = scatter + np.stack(np.broadcast_arrays(*self._penalties))
        mass = resp.sum(axis=1)
        alive = mass > EMPTY_SHARE * mass.sum()
        dispersions = self.family.dispersion(scatter, np.where(alive, mass, 1.0), self.floor)
        if not getattr(self.family, "shared", False):
            dispersions[~alive] = self.dispersions[~alive]
        return dispersions

    def _fit_expert(self, k: int, weight: np.ndarray, rows: Rows) -> tuple:
        """Fit one expert; return it and its outputs for the training rows."""
        with single_thread():
            return self._fit_alone(k, weight, rows)

    def _fit_alone(self, k: int, weight: np.ndarray, rows: Rows) -> tuple:
        if not weight.sum() > EMPTY_SHARE * rows.total_weight:
            if self.experts:
                return self.experts[k], self._known[k]
            weight = np.full(rows.n_rows, 1.0 / self.n_experts)
        kept = np.flatnonzero(weight > NEGLIGIBLE * weight.max())
        X = rows.take(kept, self.columns)
        expert = self._seeded(k)
        target = rows.y[..., kept]
        if self.classes is None:
            expert = fit_weighted(
                expert, X, target[0] if len(target) == 1 else target.T, weight[kept]
            )
        elif np.all(target == target[0]):
            expert = self._constant(X, target[0], weight[kept].sum(), rows)
        else:
            expert = fit_weighted(expert, X, self.classes[target], weight[kept])
        return expert, self._outputs(expert, rows.take(slice(None), self.columns))

    def _seeded(self, k: int) -> BaseEstimator:
        """Return a clone whose random states are set where they were None."""
        expert = clone(self.template)
        seeds = np.random.SeedSequence([self.seed, k])
        unset = sorted(
            name
            for name, value in expert.get_params(deep=True).items()
            if name.split("__")[-1] == "random_state" and value is None
        )
        draws = seeds.generate_state(max(1, len(unset)))
        expert.set_params(
            **{name: int(draw % 2**31) for name, draw in zip(unset, draws, strict=False)}
        )
        return expert

    def _constant(self, X: Any, code: int, mass: float, rows: Rows) -> DummyClassifier:
        """Return a constant expert for a region with one class, smoothed by all classes' shares."""
        counts = PRIOR_ROWS * np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes))
        counts /= counts.sum()
        counts[code] += mass
        X = np.zeros((len(self.classes), X.shape[1]))
        return DummyClassifier(strategy="prior").fit(X, self.classes, sample_weight=counts)

    def with_floor(self, floor: np.ndarray) -> EstimatorBank:
        """Return the bank with these smallest dispersions (n_outputs,)."""
        return evolve(self, floor=floor)

    def trimmed(self) -> EstimatorBank:
        """Return the bank without its predictions for the training rows."""
        return evolve(self, _known=None)

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts."""
        return list(self.experts)


def fit_weighted(
    estimator: BaseEstimator, X: Any, y: np.ndarray, weight: np.ndarray
) -> BaseEstimator:
    """Fit an estimator with row weights; in a Pipeline, every step whose `fit` takes them."""
    if isinstance(estimator, Pipeline):
        return fit_weighted_pipeline(estimator, X, y, weight)
    return estimator.fit(X, y, sample_weight=weight)


def takes_sparse(estimator: BaseEstimator) -> bool:
    """Return whether an estimator says that it takes sparse input."""
    return bool(get_tags(estimator).input_tags.sparse)
