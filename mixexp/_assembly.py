"""How the parameters of a mixture become its parts: gate, bank of experts, noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier

from mixexp._blocks import Rows
from mixexp._columns import Numbers, refuse_text
from mixexp._fitting import may_take_missing, name_of, takes_missing, takes_weights
from mixexp._inputs import Training, offset_rows
from mixexp._protocols import can
from mixexp._settings import settings_of
from mixexp._sound import check_gate_part
from mixexp._stand_in import Seen, stand_in
from mixexp._warn import warn
from mixexp.experts import (
    EstimatorBank,
    ExpertPool,
    NoiseBank,
    Trainer,
    candidates_of,
    check_expert,
    check_single_output,
    has_bank,
    memorises,
    named,
    uniform_log_density,
)
from mixexp.gates import EstimatorGate, NoiseGate, SoftmaxGate

__all__ = ["PartsMixin"]

#: Share of the noise expert at its start.
NOISE_SHARE = 0.05

#: Folds of a cross-fitted E-step where the user does not say.
FOLDS = 5


class PartsMixin:
    """Methods of mixtures that make parts and say what the parts can do."""

    expert: Any
    n_experts: int
    gate: Any
    noise_expert: bool
    cross_fit: Any
    on_collapse: str
    gate_: Any
    n_jobs: int | None
    n_features_in_: int
    experts_: list
    _bank: Any

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

    def _is_batch(self, family: Any) -> bool:
        """Return whether experts are fitted one by one."""
        if self.expert is None:
            if self.cross_fit not in ("auto", False):
                raise ValueError(
                    f"{type(self).__name__}: cross_fit={self.cross_fit!r} needs experts that are "
                    "fitted one by one, and expert=None are linear models fitted all at once. Set "
                    "cross_fit='auto', or give an expert."
                )
            return False
        return self.cross_fit not in ("auto", False) or not has_bank(self.expert, family)

    def _bank_template(self, batch: bool) -> Any:
        return None if batch else self.expert

    def _templates(self) -> list:
        """Return all estimators that may become experts."""
        if self.expert is None:
            return []
        if not isinstance(self.expert, ExpertPool | list | tuple):
            return [self.expert]
        own = self.expert.candidates if isinstance(self.expert, ExpertPool) else self.expert
        found: list = []
        for _, inner in named(own):
            found += (
                [e for _, e in named(inner.candidates)]
                if isinstance(inner, ExpertPool)
                else [inner]
            )
        return found

    def _n_folds(self, flexible: bool) -> int:
        """Return the number of folds that `cross_fit` means; 0 for none."""
        if self.cross_fit == "auto":
            return FOLDS if flexible else 0
        return FOLDS * self.cross_fit if isinstance(self.cross_fit, bool) else int(self.cross_fit)

    def _batch_bank(self, width: int, columns: Any, seed: int, **terms: Any) -> EstimatorBank:
        """Return the bank of experts that are fitted one by one."""
        owner = type(self).__name__
        candidates = candidates_of(self.expert, self.n_experts, owner)
        pool = any(len(own) > 1 for own in candidates)
        n_folds = self._n_folds(pool or any(memorises(e) for e in self._templates()))
        if pool and not n_folds:
            raise ValueError(
                f"{owner}: cross_fit=False, and an ExpertPool chooses by out-of-fold predictions. "
                "Set cross_fit='auto' or a number of folds."
            )
        if terms["classes"] is not None or width == 1:
            for expert in self._templates():
                check_single_output(expert, owner)
        plain = sorted({name_of(e) for e in self._templates() if not takes_weights(e)})
        if plain:
            warn(
                f"{owner}: expert {' and '.join(plain)} does not take sample_weight in fit. It is "
                "fitted on rows that are drawn by responsibility; the draw depends on "
                "random_state and the rows' content only.",
            )
        trainer = Trainer(
            candidates,
            columns if isinstance(columns, list) else [columns] * self.n_experts,
            n_outputs=width,
            n_jobs=self.n_jobs,
            seed=seed,
            owner=owner,
            **terms,
        )
        return EstimatorBank(trainer, n_folds)

    def _gate_is_classifier(self) -> bool:
        return hasattr(self.gate, "fit") or can(self.gate, "with_fitting")

    def _batch_gate(self) -> Any:
        """Return the gate that is a classifier, None where the gate is one of mixexp's own."""
        if not self._gate_is_classifier():
            return None
        if can(self.gate, "with_fitting"):
            return clone(self.gate)
        if not (is_classifier(self.gate) and hasattr(self.gate, "predict_proba")):
            raise TypeError(
                f"{type(self).__name__}: gate must be a gate of mixexp.gates or a classifier with "
                f"predict_proba, got {name_of(self.gate)}."
            )
        return clone(EstimatorGate(self.gate))

    def _started_gate(self, rows: Rows, columns: Any) -> Any:
        """Return the gate of starts: a softmax gate where the gate itself is a classifier."""
        own = self.gate is not None and not self._gate_is_classifier()
        gate = clone(self.gate) if own else SoftmaxGate()
        part = gate.start(rows.units, self.n_experts, columns)
        check_gate_part(part, rows.units, self.n_experts, type(self).__name__)
        if self.on_collapse == "drop" and not can(part, "select"):
            raise ValueError(
                f"{type(self).__name__}: on_collapse='drop' needs a gate that can leave experts "
                f"out, and {type(part).__name__} has no `select`. Use on_collapse='reinit' or "
                "'keep'."
            )
        return self._with_noise(part)

    def _started_batch_gate(self, gate: Any, rows: Rows, columns: Any, seed: int) -> Any:
        """Return the gate of the long run, where it is a classifier."""
        gate = gate.start(rows.units, self.n_experts, columns)
        n_folds = self._n_folds(memorises(gate.estimator))
        return self._with_noise(gate.with_fitting(n_folds, seed, self.n_jobs, type(self).__name__))

    def _with_noise(self, gate: Any) -> Any:
        return NoiseGate(gate, NOISE_SHARE) if self.noise_expert else gate

    def _noise(self, rows: Rows, family: Any, width: int, owner: str) -> Any:
        """Return what adds the noise expert to a bank, None where there is none."""
        if not self.noise_expert:
            return None
        log_density, low, high = uniform_log_density(rows.y, family, width, owner)
        return partial(NoiseBank, log_density=log_density, low=low, high=high)

    def _offset(self, offset: Any, X: Any, width: int, batch: bool) -> Any:
        """Return a checked offset as `Rows` holds it."""
        owner, classes = type(self).__name__, is_classifier(self)
        if offset is not None and classes and batch:
            raise ValueError(
                f"{owner}: offset is added to the linear predictor of logistic experts, and "
                f"{settings_of(self).expert} has none. Use expert=None or LogisticRegression()."
            )
        return offset_rows(offset, X, width, owner, classes=classes)

    def _takes_missing(self) -> bool:
        """Return whether all experts and the gate say that they take NaN."""
        experts = self._templates()
        gate = getattr(self.gate, "estimator", self.gate)
        takes = all(takes_missing(expert) for expert in experts)
        takes = takes and getattr(gate, "takes_missing", True)
        return bool(experts) and takes and (not hasattr(gate, "fit") or takes_missing(gate))

    def _refusing_missing(self, batch: bool, columns: tuple, *, fitted: bool) -> list:
        """Return the names of the parts that take no NaN, with the columns they see."""
        expert_columns, gate_columns = columns
        if not batch:
            expert = settings_of(self).expert
            name = "linear experts" if expert is None else f"expert {expert}"
            who = [(name, expert_columns)]
        elif fitted:
            who = self._refusing(self.experts_, self._bank.trainer.columns)
        elif isinstance(self.expert, list | tuple) and isinstance(expert_columns, list):
            each = candidates_of(self.expert, self.n_experts, type(self).__name__)
            pairs = zip(each, expert_columns, strict=True)
            own = [(expert, seen) for named, seen in pairs for _, expert in named]
            who = self._refusing(*zip(*own, strict=True))
        else:
            templates = self._templates()
            who = self._refusing(templates, [expert_columns] * len(templates))
        part = self.gate_ if fitted else self.gate
        gate = getattr(part, "estimator", part)
        if hasattr(gate, "fit") and not may_take_missing(gate):
            who.append((f"gate {name_of(gate)}", gate_columns))
        if not getattr(part, "takes_missing", True):
            who.append((f"gate {part!r}", gate_columns))
        return who

    def _refuse_text(self, numbers: Numbers, batch: bool, columns: tuple) -> None:
        """Raise where a part that needs numbers sees a column of X that is none."""
        if not numbers.text:
            return
        owner, given = type(self).__name__, (numbers.frame, numbers.text)
        expert = settings_of(self).expert
        if not batch:
            who = "the linear expert" if expert is None else f"expert {expert}"
            remedy = "leave it out by expert_features; or give an expert that is such a Pipeline"
            refuse_text(*given, who, columns[0], owner, remedy)
        if not (self._gate_is_classifier() or getattr(self.gate, "featureless", False)):
            who = f"the gate {'SoftmaxGate()' if self.gate is None else repr(self.gate)}"
            remedy = "leave it out by gate_features; or give a classifier that is such a Pipeline"
            refuse_text(*given, who, columns[1], owner, remedy)

    def _stand_in(
        self,
        training: Training,
        text: tuple[int, ...],
        columns: tuple,
        batch: bool,
        seed: int,
        classes: Any,
    ) -> Seen:
        """Return the columns that stand-ins of estimators see in starts."""
        experts = None
        if batch:
            own = candidates_of(self.expert, self.n_experts, type(self).__name__)
            experts = [[expert for _, expert in candidates] for candidates in own]
        gate = getattr(self.gate, "estimator", self.gate) if self._gate_is_classifier() else None
        return stand_in(
            training.rows,
            training.sketch,
            experts,
            gate,
            columns,
            text,
            seed,
            classes,
        )

    @staticmethod
    def _refusing(experts: Any, columns: Any) -> list[tuple[str, Any]]:
        pairs = zip(experts, columns, strict=True)
        return [(f"expert {name_of(e)}", seen) for e, seen in pairs if not may_take_missing(e)]

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
