"""Builds the parts of a mixture, gate, bank of experts and noise, from its parameters.

Functions of an unfitted mixture, which they read and never change.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor

from mixexp._compat import validate_parameters
from mixexp._estimators.checks import check_gate_part
from mixexp._estimators.probes import probe_gate
from mixexp._estimators.refits import are_drawn, check_n_refits, n_folds_of, n_refits_of
from mixexp._fitting import CALIBRATE, name_of, takes_weights, will_have
from mixexp._warn import warn
from mixexp.experts import (
    ComponentBank,
    EstimatorBank,
    ExpertPool,
    NoiseBank,
    SharedBank,
    SharedLinearBank,
    Trainer,
    candidates_of,
    check_expert,
    check_single_output,
    has_bank,
    linear_terms,
    memorises,
    named,
)
from mixexp.families import Gaussian
from mixexp.gates import EstimatorGate, NoiseGate, SoftmaxGate, ZeroGate
from mixexp.protocols import Rows, Target, can

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = [
    "batch_bank",
    "batch_gate",
    "batch_name",
    "fallback_of",
    "gate_is_classifier",
    "has_fixed_expert",
    "has_zero_expert",
    "is_batch",
    "is_binomial",
    "is_classifier_gate",
    "noise_of",
    "owner_of",
    "start_gate",
    "share_of",
    "templates_of",
    "warms_up",
    "with_noise",
]

#: Initial share of the noise expert.
NOISE_SHARE = 0.05

#: Strength of the usage prior of balance="prior", in equal shares of the weight.
USAGE_PRIOR = 2.0


def owner_of(mixture: Any) -> str:
    """Return the class that messages name."""
    return type(mixture).__name__


def is_binomial(mixture: Any) -> bool:
    """Return whether experts predict the odds of successes."""
    family = getattr(mixture, "family", None)
    return "binomial" in (family, getattr(family, "name", None))


def is_batch(mixture: BaseMixtureOfExperts, target: Target) -> bool:
    """Return whether experts are fitted one by one."""
    if mixture.expert is None:
        if mixture.cross_fit not in ("auto", False):
            raise ValueError(
                f"{owner_of(mixture)}: cross_fit={mixture.cross_fit!r} needs experts that are "
                "fitted one by one, and expert=None are linear models fitted all at once. Set "
                "cross_fit='auto', or give an expert."
            )
        return False
    return mixture.cross_fit not in ("auto", False) or not has_bank(mixture.expert, target.family)


def batch_name(mixture: BaseMixtureOfExperts, batch: bool) -> str | None:
    """Return the name of the estimators if they are fitted one by one, else None."""
    return name_of(mixture.expert) if batch else None


def templates_of(mixture: BaseMixtureOfExperts) -> list:
    """Return all estimators that may become experts."""
    expert = mixture.expert
    if expert is None:
        return []
    if not isinstance(expert, ExpertPool | list | tuple):
        return [expert]
    listed = expert.candidates if isinstance(expert, ExpertPool) else expert
    templates: list = []
    for _, inner in named(listed):
        pool = isinstance(inner, ExpertPool)
        templates += [e for _, e in named(inner.candidates)] if pool else [inner]
    return templates


def batch_bank(
    mixture: BaseMixtureOfExperts, rows: Rows, target: Target, columns: Any, seed: int
) -> EstimatorBank:
    """Return the bank of experts that are fitted one by one."""
    owner, templates = owner_of(mixture), templates_of(mixture)
    warm = warms_up(mixture, True)
    candidates = candidates_of(mixture.expert, mixture.n_experts, owner)
    pool = any(len(of_expert) > 1 for of_expert in candidates)
    component = mixture.shared_expert is not None and not _is_additive(target)
    flexible = _any_memorises(mixture) if component else any(memorises(e) for e in templates)
    n_folds = n_folds_of(mixture, rows, pool or (flexible and (component or not warm)))
    if pool and not n_folds:
        raise ValueError(
            f"{owner}: cross_fit=False, and an ExpertPool chooses by out-of-fold predictions. "
            "Set cross_fit='auto' or a number of folds."
        )
    if target.classes is not None or target.width == 1:
        for expert in templates:
            check_single_output(expert, owner)
    plain = sorted({name_of(e) for e in templates if not takes_weights(e)})
    whole = rows.weight is None or np.all(rows.weight == np.floor(rows.weight))
    if plain and not (warm and whole and mixture.routing is not None and mixture.routing.hard):
        warn(
            f"{owner}: expert {' and '.join(plain)} does not take sample_weight in fit. It is "
            "fitted on rows that are drawn by responsibility; the draw depends on "
            "random_state and the rows' content only."
        )
    trainer = Trainer(
        candidates,
        columns if isinstance(columns, list) else [columns] * mixture.n_experts,
        classes=target.classes,
        family=target.family,
        n_outputs=target.width,
        n_jobs=mixture.n_jobs,
        seed=seed,
        owner=owner,
    )
    routed = warm and mixture.routing is not None
    sampled = routed and not n_folds and mixture.n_refits in ("auto", 1) and rows.groups is None
    sampled = sampled and mixture.shared_expert is None  # it learns from all residuals
    n_refits = None if warm else n_refits_of(mixture, target, templates, n_folds, pool)
    bank = EstimatorBank(
        trainer,
        n_folds,
        routed=routed,
        sampled=sampled,
        n_refits=n_refits,
        drawn=are_drawn(mixture, rows),
        rivalled=n_refits is not None and mixture.n_refits == "auto" and rows.labels is None,
    )
    return with_smallest_floor(bank, rows)


def gate_is_classifier(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether the gate is a classifier, or an `EstimatorGate` around one."""
    return is_classifier_gate(mixture.gate)


def is_classifier_gate(gate: Any) -> bool:
    """Return whether a gate is a classifier, or an `EstimatorGate` around one."""
    return hasattr(gate, "fit") or can(gate, "with_fitting")


def start_gate(mixture: BaseMixtureOfExperts, rows: Rows, columns: Any) -> Any:
    """Return the gate for starts: a softmax gate in place of a classifier."""
    owner = owner_of(mixture)
    usable = mixture.gate is not None and not gate_is_classifier(mixture)
    gate = clone(mixture.gate) if usable else SoftmaxGate()
    if mixture.routing is not None and mixture.routing.balance == "prior":
        gate = _with_usage_prior(mixture, gate, rows)
    part = gate.start(rows.units, mixture.n_experts, columns)
    check_gate_part(part, rows.units, mixture.n_experts, owner)
    probe_gate(part, rows.units, mixture.n_experts, owner)
    if mixture.on_collapse == "drop" and not can(part, "select"):
        raise ValueError(
            f"{owner}: on_collapse='drop' needs a gate that can leave experts "
            f"out, and {type(part).__name__} has no `select`. Use on_collapse='reinit' or "
            "'keep'."
        )
    return with_noise(mixture, part)


def warms_up(mixture: BaseMixtureOfExperts, batch: bool) -> bool:
    """Return whether a mixture of cheap experts finds the partition; raise if it cannot."""
    owner, warm_up = owner_of(mixture), mixture.warm_up
    given = warm_up is not None and not isinstance(warm_up, str)
    if given and not batch:
        raise ValueError(
            f"{owner}: warm_up is for experts that are fitted one by one, and these are fitted all "
            "at once. Set warm_up='auto'."
        )
    warm = given or (batch and mixture.routing is not None and warm_up == "auto")
    check_n_refits(mixture, batch, warm)
    return warm


def _with_usage_prior(mixture: BaseMixtureOfExperts, gate: Any, rows: Rows) -> Any:
    """Return a gate with a prior on usage, unless it has one."""
    params = gate.get_params(deep=False)
    if gate_is_classifier(mixture) or "usage_prior" not in params:
        raise ValueError(
            f"{owner_of(mixture)}: balance='prior' needs a gate with usage_prior, and "
            f"{name_of(mixture.gate)} has none. Use SoftmaxGate, or balance='bias'."
        )
    if params["usage_prior"]:
        return gate
    strength = USAGE_PRIOR * rows.units.total_weight / mixture.n_experts
    return gate.set_params(usage_prior=strength)


def with_smallest_floor(bank: EstimatorBank, rows: Rows) -> EstimatorBank:
    """Return a bank whose dispersions cannot fall below the rounding error of y.

    Those of families with another link are no scales of y but shares of its mean, or the like.
    """
    if bank.family is None:
        return bank
    size = np.abs(rows.y).max(axis=1) if bank.family.link == "identity" else np.ones(len(rows.y))
    return bank.with_floor(np.finfo(float).eps * np.where(size > 0, size, 1.0))


def share_of(
    mixture: BaseMixtureOfExperts, rows: Rows, target: Target, columns: Any, bank: Any, seed: int
) -> Any:
    """Return a function that adds the shared expert to a bank, or None.

    `bank` is that of the starts, on whose design a linear shared expert works.
    """
    template, owner = mixture.shared_expert, owner_of(mixture)
    if template is None:
        return None
    additive = _is_additive(target)
    terms = linear_terms(template, target.family) if additive else None
    linear = terms is not None and not is_batch(mixture, target)
    if linear and terms is not None:  # both are solved for jointly: with plain ridge penalties
        linear = not terms.per_weight and bank.l1 is None
    if linear and terms is not None:
        validate_parameters(template)
        linear = bank.design.intercept or not terms.fit_intercept  # a design for both
    elif not takes_weights(template):
        warn(
            f"{owner}: shared_expert {name_of(template)} does not take sample_weight in fit. It is "
            "fitted on rows that are drawn by their weights; the draw depends on random_state and "
            "the rows' content only."
        )
    union = np.unique(np.concatenate(columns)) if isinstance(columns, list) else columns
    trainer = Trainer(
        [[("shared_expert", template)]],
        [union],
        classes=target.classes,
        family=Gaussian() if additive else target.family,
        n_outputs=target.width,
        n_jobs=mixture.n_jobs,
        seed=seed,
        owner=owner,
        name="shared_expert",
    )
    if additive:
        n_folds = n_folds_of(mixture, rows, memorises(template) and not warms_up(mixture, True))
    else:
        n_folds = n_folds_of(mixture, rows, _any_memorises(mixture))

    def share(inner: Any) -> Any:
        if linear and terms is not None:
            return SharedLinearBank.around(inner, clone(template), terms)
        bank = EstimatorBank(trainer, n_folds)
        return SharedBank(inner, bank) if additive else ComponentBank(inner, bank)

    return share


def _is_additive(target: Target) -> bool:
    """Return whether a shared expert adds to predictions; otherwise it is a component."""
    return target.family is not None and target.family.link == "identity"


def _any_memorises(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether experts or the shared one may memorise their rows.

    Where the shared one is a component, its share tells how much better than it the experts are:
    rows that they know would make it nothing.
    """
    return any(memorises(e) for e in [*templates_of(mixture), mixture.shared_expert])


def fallback_of(mixture: BaseMixtureOfExperts, target: Target, seed: int) -> Any:
    """Return a function from rows to the fitted fallback and its number of parameters, or None."""
    template, owner = getattr(mixture.routing, "fallback", None), owner_of(mixture)
    if template is None:
        return None
    classes = target.classes is not None
    n_parameters = None
    if isinstance(template, str) and template == "mean":
        template = DummyClassifier(strategy="prior") if classes else DummyRegressor()
        n_parameters = target.width - 1 if classes else target.width
        n_parameters += 0 if classes else target.family.n_parameters(1, target.width)
    elif isinstance(template, str) or not hasattr(template, "fit"):
        raise ValueError(
            f"{owner}: fallback={template!r} of the router must be 'mean' or an estimator."
        )
    else:
        check_expert(template, owner, classifier=classes, name="fallback")
    trainer = Trainer(
        [[("fallback", template)]],
        [None],
        classes=target.classes,
        family=target.family,
        n_outputs=target.width,
        n_jobs=mixture.n_jobs,
        seed=seed,
        owner=owner,
        name="fallback",
    )

    def fitted(rows: Rows) -> tuple[EstimatorBank, int | None]:
        bank = with_smallest_floor(EstimatorBank(trainer, 0), rows)
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        return bank.update([weight[None]], rows).finished(rows), n_parameters

    return fitted


def batch_gate(mixture: BaseMixtureOfExperts, rows: Rows, columns: Any, seed: int) -> Any:
    """Return the gate of the long run if it is a classifier, else None."""
    if not gate_is_classifier(mixture):
        return None
    owner, gate = owner_of(mixture), mixture.gate
    if not can(gate, "with_fitting"):
        if not (is_classifier(gate) and will_have(gate, "predict_proba")):
            raise TypeError(
                f"{owner}: gate must be a gate of mixexp.gates or a classifier with "
                f"predict_proba, got {name_of(gate)}."
                + (f" {CALIBRATE}" if is_classifier(gate) else "")
            )
        gate = EstimatorGate(gate)
    part = clone(gate).start(rows.units, mixture.n_experts, columns)
    n_folds = n_folds_of(mixture, rows, memorises(part.estimator))
    return with_noise(mixture, part.with_fitting(n_folds, seed, mixture.n_jobs, owner))


def with_noise(mixture: BaseMixtureOfExperts, gate: Any) -> Any:
    """Return a gate with the noise or the zero expert, if the mixture has one."""
    if mixture.noise_expert:
        return NoiseGate(gate, NOISE_SHARE)
    return ZeroGate(gate, NOISE_SHARE) if has_zero_expert(mixture) else gate


def has_zero_expert(mixture: Any) -> bool:
    """Return whether the last expert is all zeros, which only a regressor may have."""
    return bool(getattr(mixture, "zero_expert", False))


def has_fixed_expert(mixture: Any) -> bool:
    """Return whether the last expert is noise or all zeros."""
    return bool(mixture.noise_expert) or has_zero_expert(mixture)


def noise_of(mixture: BaseMixtureOfExperts, rows: Rows, target: Any) -> Any:
    """Return a function that adds the noise or the zero expert to a bank, or None."""
    if has_zero_expert(mixture):
        zero = np.zeros(len(rows.y))
        high = np.array([0.0, np.inf]) if target.family.link == "logit" else zero  # any trials
        return partial(NoiseBank, log_density=0.0, low=zero, high=high)
    if not mixture.noise_expert:
        return None
    log_density, low, high = target.noise(rows.extremes, owner_of(mixture))
    return partial(NoiseBank, log_density=log_density, low=low, high=high)
