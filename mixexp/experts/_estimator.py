"""The estimator bank: K scikit-learn estimators, each fitted on its share of the rows."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from mixexp._compat import safe_indexing
from mixexp._fitting import folds_of, learns_by_steps
from mixexp._numerics import capped
from mixexp.experts._refits import due, first_of_kind, sampled_rows
from mixexp.experts._templates import log_penalty
from mixexp.experts._training import Fit, Refit, Trainer
from mixexp.families import Calibration
from mixexp.protocols import Block, Rows, can, evolve, has_scale

__all__ = ["EstimatorBank"]

#: An expert with less than this share of the total weight is left unchanged.
EMPTY_SHARE = 1e-12

#: Class probabilities are at least this times 1/C in the density: a 0 from a leaf proves nothing.
#: Out-of-fold probabilities are calibrated as well, which does more.
SMALLEST_PROBA = 1e-6

#: Means under a log link are at least this times the mean of y (per exposure, if given): a 0 from
#: a leaf proves nothing, and least squares may predict negative values.
SMALLEST_MEAN = 1e-3

#: The smallest mean if no y is positive.
TINY_MEAN = 1e-300

#: Iterations with the same choice from a pool after which it is final.
SETTLED_CHOICE = 2

#: Rows with less responsibility have no say in a fit to a partition: a tree counts them in the size
#: of a leaf as it counts others, whatever their weight.
LEAST_SHARE = 0.01

#: Updates of the family's parameters when comparing candidates; student_t needs more than one.
SCORE_STEPS = 3


class EstimatorBank:
    """K experts that are scikit-learn estimators.

    A batch part: its statistics are the responsibilities themselves, and `update` calls `fit`.
    Predictions for the training rows are computed once per iteration and cached. With folds they
    are out of fold (cross-fitting): an estimator that memorises its rows would otherwise confirm
    any responsibilities. `finished` then fits the estimators on all rows, once.

    With `n_refits` an expert is fitted in the first M-steps only, to a partition. It then keeps its
    predictions, and its dispersion or calibration follows the responsibilities: EM with fixed
    components. `with_common` makes the rival in which all experts are one model of all rows.

    The M-step maximises a likelihood if the estimator is a penalised likelihood fit (exact
    classes and their subclasses in `_templates`), is fitted on all rows and takes weights. An
    expert whose inexact solver ends below its previous fit then keeps that fit, so the lower
    bound cannot fall.

    Parameters
    ----------
    trainer : Trainer
        Candidates, columns and targets. For experts with several candidates the best is chosen
        in every iteration until the choice settles. Random states left at None are seeded
        identically in all iterations: the M-step is a fixed function of the responsibilities.
    n_folds : int
        0 predicts training rows in sample.
    routed : bool
        Whether an expert is fitted to, and predicts, no rows but those with responsibility: routes
        do not change after the first fit.
    sampled : bool
        Whether dispersions are taken from some rows of each expert, which predicts no others of
        the training rows: where predictions are costly and no other fit follows.
    n_refits : int or None
        M-steps in which an expert is fitted; None stands for all.
    drawn : bool
        Whether each row goes to one expert, drawn by responsibility, in place of weights.
    rivalled : bool
        Whether one model of all rows may take the place of all experts.
    """

    def __init__(
        self,
        trainer: Trainer,
        n_folds: int,
        routed: bool = False,
        sampled: bool = False,
        n_refits: int | None = None,
        drawn: bool = False,
        rivalled: bool = False,
    ):
        self.trainer = trainer
        self.n_folds = n_folds
        self.n_refits = n_refits
        self.drawn = drawn
        self.rivalled = rivalled
        self.common = False
        self.routed = routed
        self.sampled = sampled
        self.predicted_rows: np.ndarray | None = None
        self.family = trainer.family
        self.classes = trainer.classes
        n_experts = len(trainer.candidates)
        self.floor = np.zeros(trainer.n_outputs)
        self.ceiling: np.ndarray | None = None
        self.parameters: Any = None
        if self.family is not None:
            self.parameters = self.family.initial(n_experts, trainer.n_outputs)
        self._smallest_mean = np.zeros(trainer.n_outputs)
        self.calibration: Calibration | None = None
        self.experts: list = []
        self.chosen = np.zeros(n_experts, dtype=int)
        self._iteration = -1
        self._n_fits = np.zeros(n_experts, dtype=int)
        self._same_choice = 0
        self._folds: Any = None
        self._models: dict[Fit, Any] = {}
        self._weights: Any = None
        self._outputs: Any = None
        self._penalties: Any = None

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.trainer.candidates)

    @property
    def expert_columns(self) -> list:
        """The columns that each expert sees, None for all."""
        return self.trainer.columns

    @property
    def cross_fitted(self) -> bool:
        """Whether predictions for training rows are out of fold."""
        return self._folds is not None

    @property
    def monotone(self) -> bool:
        """Whether all experts are penalised likelihood fits."""
        return self._penalties is not None

    @property
    def _dispersed(self) -> bool:
        return self.family is not None and has_scale(self.family)

    @property
    def on_floor(self) -> np.ndarray:
        """Whether an expert's dispersion sits on its floor, (K,)."""
        if not self._dispersed:
            return np.zeros(self.n_experts, dtype=bool)
        return np.any(self.parameters[0] <= self.floor * (1 + 1e-9), axis=1)

    @property
    def trained(self) -> bool:
        """Whether experts have been fitted."""
        return bool(self.experts) or self._outputs is not None

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m) or class probabilities (K, n_classes, m).

        Means are the density's; under a log link they are floored.
        """
        if block.training and self._outputs is not None:
            outputs = self._outputs[..., block.start : block.stop]
        else:
            outputs = self._floored(self._predicted(block), block.offset)
        return outputs if self.calibration is None else self.calibration.apply(outputs)

    def _predicted(self, block: Block) -> np.ndarray:
        """Return the experts' outputs (K, q, m), neutral ones where a row does not reach them."""
        outputs = np.full((self.n_experts, self.trainer.width, block.n_rows), self._neutral)
        for k, (expert, columns) in enumerate(zip(self.experts, self.trainer.columns, strict=True)):
            X, offset = block.take(columns), block.offset
            if block.reached is None:
                outputs[k] = self.trainer.predicted(k, expert, X, offset)
                continue
            ids = np.flatnonzero(block.reached[k])
            if len(ids):
                offset = None if offset is None else offset[:, ids]
                X = safe_indexing(X, ids)
                outputs[k][:, ids] = self.trainer.predicted(k, expert, X, offset)
        return outputs

    @property
    def _neutral(self) -> float:
        """An output that has a density: of rows that an expert does not see."""
        if self.family is None:
            return 1.0 / self.trainer.width
        return 1.0 if self.family.link == "log" else 0.0

    def _floored(self, outputs: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
        """Return means (..., n_outputs, m), floored under a log link."""
        if self.family is None or self.family.link != "log":
            return outputs
        smallest = self._smallest_mean[:, None]
        if offset is not None:
            smallest = smallest * self.family.mean(offset)
        return np.maximum(outputs, np.maximum(smallest, TINY_MEAN))

    def _density(self, y: np.ndarray, outputs: np.ndarray, parameters: Any) -> tuple:
        """Return log p(y) (K, m), score and curvature (None for classes) of outputs (K, ., m)."""
        if self.classes is None:
            return self.family.evaluate(y, self.family.eta(outputs), parameters)
        proba = outputs[:, y, np.arange(len(y))]
        floor = SMALLEST_PROBA / len(self.classes)
        return np.log(np.maximum(proba, floor)), None, None

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        return self._density(block.y, self.predict(block), self.parameters)[0]

    def log_prior(self) -> float:
        """Return minus the experts' penalties, 0 if they are not known."""
        if self._penalties is None:
            return 0.0
        return -sum(self._penalty(p, k) for k, p in enumerate(self._penalties))

    def _penalty(self, penalty: np.ndarray, k: int) -> float:
        """Return a penalty as it enters the bound, at this bank's dispersions."""
        if not self._dispersed:
            return float(np.sum(penalty))
        return 0.5 * float(np.sum(penalty / self.parameters[0, k] ** 2))

    def statistics(self, block: Block, resp: np.ndarray) -> list[np.ndarray]:
        """Return the responsibilities as a list; adding lists concatenates blocks."""
        return [resp.copy()]

    def update(self, statistics: list[np.ndarray], rows: Rows) -> EstimatorBank:
        """Return the bank with every expert refitted that is due.

        1. Weights: responsibilities times the family's row weights, which downweight outliers.
        2. Fit every candidate of every expert, on all rows or once per fold; predict.
        3. Choose each expert's candidate by the weighted log-density of its predictions.
        4. Update the family's parameters from the residuals of the chosen candidates.
        """
        resp = np.concatenate(statistics, axis=1)
        weights = self._row_weights(resp, rows)
        fitted = self._due(weights)
        if not fitted.all():
            weights = np.where(fitted[:, None], weights, self._weights)
        new = evolve(self, _iteration=self._iteration + 1, _weights=weights)
        new._n_fits = self._n_fits + fitted
        if self._iteration < 0 and self.family is not None and self.family.link == "log":
            new._smallest_mean = SMALLEST_MEAN * _mean_per_exposure(rows)
        if new.n_folds and new._folds is None:
            new._folds = folds_of(rows, self.n_folds, self.trainer.seed)
        if self.sampled:
            new.predicted_rows = sampled_rows(resp, rows, self.trainer.seed)
        outputs = new._fit_all(rows, resp, fitted)
        if new.predicted_rows is not None:
            resp = np.where(new.predicted_rows, resp, 0.0)
        new._choose(outputs, resp, rows)
        new._penalties = new._known_penalties()
        known = self._outputs is not None and self._penalties is not None
        if new._penalties is not None and known:
            self._keep_better(new, resp, rows)
        return new._at_outputs(resp, rows)

    def _at_outputs(self, resp: np.ndarray, rows: Rows) -> EstimatorBank:
        """Return the bank with the family's parameters, or a calibration, for its predictions."""
        if self.family is not None:
            return evolve(self, parameters=self._fit_parameters(resp, rows))
        if self.cross_fitted:
            return evolve(self, calibration=Calibration.fitted(self._outputs, rows.y, resp))
        return self

    def _due(self, weights: np.ndarray) -> np.ndarray:
        """Return a mask (K,) of the experts to fit at row weights (K, n)."""
        if self.common:
            return np.zeros(self.n_experts, dtype=bool)
        if self.n_refits is None or self._weights is None:
            return np.ones(self.n_experts, dtype=bool)
        return due(self._n_fits, self.n_refits, self._weights, weights)

    def _row_weights(self, resp: np.ndarray, rows: Rows) -> np.ndarray:
        """Return the weights (K, n) of the M-step."""
        if self._outputs is None or self.family is None or not self.family.reweights:
            return resp
        curvature = self._density(rows.y, self._outputs, self.parameters)[2]
        return resp * curvature.mean(axis=1)

    def _fit_all(
        self, rows: Rows, resp: np.ndarray, fitted: np.ndarray
    ) -> dict[tuple[int, int], np.ndarray]:
        """Fit into `_models`; return predictions (n_outputs, n) by (expert, candidate)."""
        mass = resp.sum(axis=1)
        settled = self._same_choice >= SETTLED_CHOICE
        fits = [
            Fit(k, int(c), fold)
            for k, candidates in enumerate(self.trainer.candidates)
            if fitted[k] and (mass[k] > EMPTY_SHARE * mass.sum() or self._outputs is None)
            for c in (self.chosen[[k]] if settled else range(len(candidates)))
            for fold in ([None] if self._folds is None else np.unique(self._folds).tolist())
        ]
        if not fits:
            return {}
        refit = replace(self._refit(rows, self._folds), predicted=self.predicted_rows)
        done = self.trainer.fit(fits, refit)
        self._models = {**self._models, **{fit: model for fit, (model, _, _) in done.items()}}
        outputs: dict[tuple[int, int], np.ndarray] = {}
        for fit, (_, ids, predicted) in done.items():
            empty = np.full((self.trainer.width, rows.n_rows), self._neutral)
            offset = None if rows.offset is None else rows.offset[:, ids]
            outputs.setdefault((fit.k, fit.c), empty)[:, ids] = self._floored(predicted, offset)
        return outputs

    def _refit(self, rows: Rows, folds: np.ndarray | None) -> Refit:
        """Return the inputs of fits at the present weights."""
        refit = Refit(rows, self._weights, folds, self._models, self._iteration, self.routed)
        if self.n_refits is None:
            return refit
        return replace(refit, negligible=LEAST_SHARE, drawn=self.drawn, plain=True)

    def with_common(self, rows: Rows) -> EstimatorBank | None:
        """Return the bank with every expert fitted to all rows, None if it may not be a rival.

        Experts of the same kind are then one model, fitted once, and regions differ in dispersion
        or calibration only. Where the rows of a region are too few for a model of its own, that
        predicts better; out of fold, the two are comparable.
        """
        if not self.rivalled or not self.cross_fitted or self.n_experts == 1 or self.common:
            return None
        resp = self._weights
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        new = evolve(self, common=True, _weights=np.tile(weight, (self.n_experts, 1)))
        new._models = {}
        first = first_of_kind(new.trainer)
        outputs = new._fit_all(rows, new._weights, first == np.arange(self.n_experts))
        outputs = {
            (k, c): outputs[kind, c]
            for k, kind in enumerate(first.tolist())
            for c in range(len(self.trainer.candidates[k]))
            if (kind, c) in outputs
        }
        new._choose(outputs, resp, rows)
        return new._at_outputs(resp, rows)

    def _choose(self, outputs: dict, resp: np.ndarray, rows: Rows) -> None:
        """Choose each expert's candidate and cache its predictions."""
        before, self.chosen = self.chosen, self.chosen.copy()
        old = self._outputs
        self._outputs = np.empty((self.n_experts, self.trainer.width, rows.n_rows))
        for k in range(self.n_experts):
            fitted = [c for kk, c in outputs if kk == k]
            if len(fitted) > 1:
                scores = [self._score(outputs[k, c], resp[k], rows, k) for c in fitted]
                self.chosen[k] = fitted[int(np.argmax(scores))]
            self._outputs[k] = outputs[k, self.chosen[k]] if fitted else old[k]
        same = np.array_equal(before, self.chosen)
        self._same_choice = self._same_choice + 1 if same else 0

    def _score(self, outputs: np.ndarray, resp: np.ndarray, rows: Rows, k: int) -> float:
        """Return Σ r log p of predictions (n_outputs, n), at the family's best parameters."""
        parameters = None if self.family is None else self.parameters[:, [k]]
        for _ in range(0 if self.family is None else SCORE_STEPS):
            bank = self.select(np.array([k])) if self.floor.ndim == 2 else self
            parameters = bank._family_step(outputs[None], resp[None], rows, parameters, 0.0)
        outputs = outputs[None]
        if self.family is None:
            outputs = Calibration.fitted(outputs, rows.y, resp[None]).apply(outputs)
        return float(self._density(rows.y, outputs, parameters)[0][0] @ resp)

    def _family_step(
        self, outputs: np.ndarray, resp: np.ndarray, rows: Rows, parameters: Any, penalty: Any
    ) -> np.ndarray:
        """Return the family's parameters after an M-step; `penalty` is added to the squares."""
        _, score, curvature = self._density(rows.y, outputs, parameters)
        if can(self.family, "parameter_sums"):
            sums = self.family.parameter_sums(rows.y, self.family.eta(outputs), parameters, resp)
        else:
            sums = self.family.statistics(score, curvature, resp, resp[:, None] * score)
        if self._dispersed:
            sums[0] += penalty
        mass = resp.sum(axis=1)
        alive = mass > EMPTY_SHARE * rows.total_weight
        new = self.family.update(sums, np.where(alive, mass, 1.0), parameters, self.floor)
        new = capped(new, self.ceiling)
        if not getattr(self.family, "shared", False):
            new[:, ~alive] = parameters[:, ~alive]
        return new

    def _fit_parameters(self, resp: np.ndarray, rows: Rows) -> np.ndarray:
        penalty: Any = 0.0
        if self._penalties is not None:
            penalty = np.stack(np.broadcast_arrays(*self._penalties))
        return self._family_step(self._outputs, resp, rows, self.parameters, penalty)

    def _known_penalties(self) -> list | None:
        """Return the experts' penalties if all are likelihood fits on all rows, else None."""
        if self._folds is not None:
            return None
        penalties = [
            log_penalty(self._models[Fit(k, int(c), None)], self.family)
            for k, c in enumerate(self.chosen)
        ]
        return None if any(penalty is None for penalty in penalties) else penalties

    def _keep_better(self, new: EstimatorBank, resp: np.ndarray, rows: Rows) -> None:
        """Restore, in `new`, experts whose fit got worse than in the previous iteration."""
        before, after = (
            np.sum(resp * self._density(rows.y, bank._outputs, self.parameters)[0], axis=1)
            - [self._penalty(p, k) for k, p in enumerate(bank._penalties)]
            for bank in (self, new)
        )
        for k in np.flatnonzero(after < before):
            fit = Fit(int(k), int(new.chosen[k]), None)
            new._models[fit] = self._models[fit]
            new._outputs[k] = self._outputs[k]
            new._penalties[k] = self._penalties[k]

    def matching(self, statistics: list[np.ndarray], rows: Rows) -> np.ndarray:
        """Return, per expert, the region (row of the responsibilities) that it fits best.

        Experts of different kinds are not exchangeable: every expert is fitted on every region,
        and the assignment with the highest total log-density wins.
        """
        resp = np.concatenate(statistics, axis=1)
        kinds = self.trainer.candidates
        if all(kind is kinds[0] for kind in kinds):
            return np.arange(self.n_experts)
        score = np.empty((self.n_experts, self.n_experts))
        for region in range(self.n_experts):
            everyone = np.repeat(resp[[region]], self.n_experts, axis=0)
            bank = self.update([everyone], rows)
            outputs = bank._outputs
            outputs = outputs if bank.calibration is None else bank.calibration.apply(outputs)
            score[:, region] = bank._density(rows.y, outputs, bank.parameters)[0] @ resp[region]
        return linear_sum_assignment(score, maximize=True)[1]

    def select(self, experts: np.ndarray) -> EstimatorBank:
        """Return the bank of some experts, in this order."""
        experts = np.asarray(experts)
        position = {int(old): new for new, old in enumerate(experts)}
        models = {
            Fit(position[fit.k], fit.c, fit.fold): model
            for fit, model in self._models.items()
            if fit.k in position
        }
        return evolve(
            self,
            trainer=self.trainer.select(experts),
            parameters=None if self.parameters is None else self.parameters[:, experts],
            floor=self.floor[experts] if self.floor.ndim == 2 else self.floor,
            chosen=self.chosen[experts],
            experts=[self.experts[k] for k in experts] if self.experts else [],
            calibration=self.calibration and self.calibration.select(experts),
            _models=models,
            _weights=None if self._weights is None else self._weights[experts],
            _n_fits=self._n_fits[experts],
            _outputs=None if self._outputs is None else self._outputs[experts],
            _penalties=self._penalties and [self._penalties[k] for k in experts],
        )

    def with_floor(self, floor: np.ndarray) -> EstimatorBank:
        """Return the bank with smallest dispersions (n_outputs,), or (K, n_outputs) per expert."""
        parameters = self.parameters
        if self._dispersed:
            parameters = parameters.copy()
            np.maximum(parameters[0], floor, out=parameters[0])
        return evolve(self, floor=floor, parameters=parameters)

    def with_ceiling(self, ceiling: np.ndarray | None) -> EstimatorBank:
        """Return the bank with largest dispersions (n_outputs,); None for any."""
        parameters = capped(self.parameters, ceiling)
        return evolve(self, ceiling=ceiling, parameters=parameters)

    def finished(self, rows: Rows) -> EstimatorBank:
        """Return the bank with its experts fitted on all rows.

        Networks get as many rounds as they would have had without folds.
        """
        kinds = first_of_kind(self.trainer) if self.common else range(self.n_experts)
        fits = [Fit(int(k), int(c), None) for k, c in zip(kinds, self.chosen, strict=True)]
        models = dict(self._models)
        missing = [fit for fit in dict.fromkeys(fits) if fit not in models]
        for _ in range(self._n_fits.max()):
            done = self.trainer.fit(missing, replace(self._refit(rows, None), models=models))
            models.update({fit: model for fit, (model, _, _) in done.items()})
            missing = [fit for fit in missing if learns_by_steps(models[fit])]
            if not missing:
                break
        return evolve(
            self,
            experts=[copy.deepcopy(models[fit]) if self.common else models[fit] for fit in fits],
        )

    def trimmed(self) -> EstimatorBank:
        """Return the bank without its caches of the training rows."""
        return evolve(self, _outputs=None, _weights=None, _models={}, predicted_rows=None)

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts."""
        return list(self.experts)


def _mean_per_exposure(rows: Rows) -> np.ndarray:
    """Return Σ w y / Σ w exp(offset), (n_outputs,): the mean of y without an offset."""
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    total = rows.y @ weight
    if rows.offset is None:
        return total / rows.total_weight
    return np.exp(np.log(np.maximum(total, TINY_MEAN)) - logsumexp(rows.offset, axis=1, b=weight))
