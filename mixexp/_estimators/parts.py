"""Builds the parts of a mixture, gate, bank of experts and noise, from its parameters.

Functions of an unfitted mixture, which they read and never change.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor

from mixexp._columns import Table, refuse_text
from mixexp._compat import validate_parameters
from mixexp._estimators.checks import check_gate_part
from mixexp._estimators.probe_router import probe_router
from mixexp._estimators.probes import probe_gate
from mixexp._fitting import (
    gate_takes_missing,
    may_take_missing,
    name_of,
    takes_missing,
    takes_sparse,
    takes_weights,
)
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
from mixexp.protocols import Rows, Target, can, check_part, evolve

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = [
    "batch_bank",
    "batch_gate",
    "batch_name",
    "check_binomial",
    "check_memory",
    "check_parts",
    "check_routing",
    "check_zero_expert",
    "fallback_of",
    "gate_is_classifier",
    "has_fixed_expert",
    "is_batch",
    "noise_of",
    "owner_of",
    "refuse_text_of",
    "refusing_missing",
    "refusing_others",
    "start_gate",
    "takes_all_missing",
    "share_of",
    "takes_all_sparse",
    "templates_of",
    "warms_up",
    "with_noise",
]

#: Parameters whose value may be an object, which users confuse with its class.
PARTS = (
    "expert",
    "shared_expert",
    "gate",
    "family",
    "init",
    "routing",
    "warm_up",
    "expert_basis",
    "gate_basis",
)

#: Initial share of the noise expert.
NOISE_SHARE = 0.05

#: Strength of the usage prior of balance="prior", in equal shares of the weight.
USAGE_PRIOR = 2.0

#: Default number of folds of a cross-fitted E-step.
FOLDS = 5


def owner_of(mixture: Any) -> str:
    """Return the class that messages name."""
    return type(mixture).__name__


def is_binomial(mixture: Any) -> bool:
    """Return whether experts predict the odds of successes."""
    family = getattr(mixture, "family", None)
    return "binomial" in (family, getattr(family, "name", None))


def check_binomial(mixture: Any, family: Any) -> None:
    """Raise if a mixture for successes among trials has more than linear experts."""
    if family.link != "logit":
        return
    expert = mixture.expert
    if expert is not None and linear_terms(expert, family) is None:
        refused = f"expert={name_of(expert)}"
    elif mixture.shared_expert is not None:
        refused = "a shared_expert"
    elif mixture.routing is not None and mixture.routing.needs_fallback:
        refused = "a router with a fallback expert"
    elif mixture.cross_fit not in ("auto", False):
        refused = f"cross_fit={mixture.cross_fit!r}"
    else:
        return
    raise ValueError(
        f"{owner_of(mixture)}: family 'binomial' has linear experts, fitted all at once, and not "
        f"{refused}. Use expert=None or LogisticRegression() without it, or one row a trial and "
        "MixtureOfExpertsClassifier."
    )


def check_zero_expert(mixture: Any, family: Any) -> None:
    """Raise if a mixture cannot have an expert that is all zeros."""
    if not has_zero_expert(mixture):
        return
    owner = owner_of(mixture)
    if mixture.noise_expert:
        raise ValueError(
            f"{owner}: noise_expert=True and zero_expert=True cannot be combined. Set "
            "noise_expert=False, and family='negative_binomial' if some counts are far off."
        )
    if not family.discrete:
        raise ValueError(
            f"{owner}: zero_expert=True needs a family of counts, got family {family.name!r}, in "
            "which y = 0 has a density and no probability. Use family='poisson' or "
            "'negative_binomial', or set zero_expert=False."
        )


def check_parts(mixture: BaseMixtureOfExperts, target_kind: str) -> None:
    """Raise if a part is a class or incomplete, or the expert is for another kind of target.

    `target_kind` is "classes" or "numbers".
    """
    owner = owner_of(mixture)
    for name in PARTS:
        value = getattr(mixture, name, None)
        if isinstance(value, type):
            raise TypeError(
                f"{owner}: {name} must be an instance, got the class {value.__name__}. Write "
                f"{name}={value.__name__}()."
            )
    if isinstance(mixture.n_experts, bool | np.bool_):
        raise ValueError(
            f"The 'n_experts' parameter of {owner} must be an int. "
            f"Got {mixture.n_experts!r} instead."
        )
    given = mixture.gate is not None and not isinstance(mixture.gate, str)
    if given and not gate_is_classifier(mixture):
        check_part(mixture.gate, "gate", owner, "gate")
    if not isinstance(getattr(mixture, "family", "none"), str):
        check_part(mixture.family, "family", owner, "family")
    if mixture.expert is not None:
        of_classes = target_kind == "classes" or is_binomial(mixture)
        check_expert(mixture.expert, owner, classifier=of_classes)
    if mixture.shared_expert is not None:
        of_classes = target_kind == "classes"
        check_expert(mixture.shared_expert, owner, classifier=of_classes, name="shared_expert")
    if mixture.routing is not None and mixture.n_experts != "auto":
        check_part(mixture.routing, "router", owner, "routing")
        mixture.routing.check(mixture.n_experts, owner)
        probe_router(mixture.routing, mixture.n_experts, owner)


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


def _n_folds(mixture: BaseMixtureOfExperts, flexible: bool) -> int:
    """Return the number of folds for `cross_fit`; 0 for none."""
    cross_fit = mixture.cross_fit
    if cross_fit == "auto":
        return FOLDS if flexible else 0
    return FOLDS * cross_fit if isinstance(cross_fit, bool) else int(cross_fit)


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
    n_folds = _n_folds(mixture, pool or (flexible and (component or not warm)))
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
    sampled = routed and not n_folds and mixture.n_refits == 1 and rows.groups is None
    sampled = sampled and mixture.shared_expert is None  # it learns from all residuals
    bank = EstimatorBank(trainer, n_folds, routed=routed, sampled=sampled)
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
    if mixture.n_refits != 1 and not warm:
        raise ValueError(
            f"{owner}: n_refits={mixture.n_refits} is for fits with a warm-up, and this one has "
            "none. Set n_refits=1, or warm_up to a mixture."
        )
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
    mixture: BaseMixtureOfExperts, target: Target, columns: Any, bank: Any, seed: int
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
        n_folds = _n_folds(mixture, memorises(template) and not warms_up(mixture, True))
    else:
        n_folds = _n_folds(mixture, _any_memorises(mixture))

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


def check_routing(mixture: BaseMixtureOfExperts, text: bool, labelled: bool) -> None:
    """Raise if the routing cannot go together with other parameters."""
    router, owner = mixture.routing, owner_of(mixture)
    if router is None:
        return
    brings_gate = hasattr(mixture.warm_up, "gate")
    gate = getattr(mixture.warm_up, "gate_", mixture.warm_up.gate) if brings_gate else mixture.gate
    if router.hard and mixture.assignment != "soft":
        raise ValueError(
            f"{owner}: assignment={mixture.assignment!r}, and {router!r} assigns rows itself. Set "
            "assignment='soft'."
        )
    if labelled and mixture.on_collapse == "drop":
        raise ValueError(
            f"{owner}: expert_labels with routing and on_collapse='drop', which renumbers experts "
            "between the stages of the fit. Set on_collapse='reinit' or 'keep'."
        )
    if router.jitter and (text or is_classifier_gate(gate)):
        raise ValueError(
            f"{owner}: jitter={router.jitter} multiplies the numbers that a gate sees, and this "
            "one sees text, or is a classifier. Set jitter=0."
        )
    if router.needs_fallback and can(gate, "covariance_type"):
        raise ValueError(
            f"{owner}: a fallback expert takes rows away from the gate, and "
            f"{type(gate).__name__} models x over all of them. Use SoftmaxGate, or a "
            "router without a fallback."
        )
    if router.balance == "prior" and brings_gate:
        raise ValueError(
            f"{owner}: balance='prior' trains the gate, and that of warm_up is taken over as it "
            "is. Set balance=None, and usage_prior of the gate in warm_up; or balance='bias'."
        )


def batch_gate(mixture: BaseMixtureOfExperts, rows: Rows, columns: Any, seed: int) -> Any:
    """Return the gate of the long run if it is a classifier, else None."""
    if not gate_is_classifier(mixture):
        return None
    owner, gate = owner_of(mixture), mixture.gate
    if not can(gate, "with_fitting"):
        if not (is_classifier(gate) and hasattr(gate, "predict_proba")):
            raise TypeError(
                f"{owner}: gate must be a gate of mixexp.gates or a classifier with "
                f"predict_proba, got {name_of(gate)}."
            )
        gate = EstimatorGate(gate)
    part = clone(gate).start(rows.units, mixture.n_experts, columns)
    n_folds = _n_folds(mixture, memorises(part.estimator))
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


def _standing_by(mixture: BaseMixtureOfExperts) -> dict[str, Any]:
    """Return the shared expert and the fallback, if they are estimators, by their parameters."""
    others = {
        "shared_expert": mixture.shared_expert,
        "fallback": getattr(mixture.routing, "fallback", None),
    }
    return {n: e for n, e in others.items() if hasattr(e, "fit") and not isinstance(e, type)}


def takes_all_sparse(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether all experts declare that they accept sparse input."""
    others = _standing_by(mixture).values()
    return all(takes_sparse(expert) for expert in [*templates_of(mixture), *others])


def takes_all_missing(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether all experts and the gate declare that they accept NaN."""
    experts = templates_of(mixture)
    gate = getattr(mixture.gate, "estimator", mixture.gate)
    takes = all(takes_missing(expert) for expert in [*experts, *_standing_by(mixture).values()])
    takes = takes and gate_takes_missing(gate)
    bases = (mixture.expert_basis, mixture.gate_basis)
    takes = takes and all(isinstance(basis, str) or takes_missing(basis) for basis in bases)
    return bool(experts) and takes and (not hasattr(gate, "fit") or takes_missing(gate))


def refuse_text_of(
    mixture: BaseMixtureOfExperts, table: Table, batch: bool, columns: tuple
) -> None:
    """Raise if a part that needs numbers sees a non-numeric column of X."""
    if not table.text:
        return
    owner, text = owner_of(mixture), (table.frame, table.text)
    if not batch:
        linear = mixture.expert is None
        who = "the linear expert" if linear else f"expert {name_of(mixture.expert)}"
        remedy = "leave it out by expert_features; or give an expert that is such a Pipeline"
        refuse_text(*text, who, columns[0], owner, remedy)
    if not (gate_is_classifier(mixture) or getattr(mixture.gate, "featureless", False)):
        who = f"the gate {'SoftmaxGate()' if mixture.gate is None else repr(mixture.gate)}"
        remedy = "leave it out by gate_features; or give a classifier that is such a Pipeline"
        refuse_text(*text, who, columns[1], owner, remedy)


def refusing_missing(mixture: BaseMixtureOfExperts, batch: bool, columns: tuple) -> list:
    """Return the names of the parts that reject NaN, with the columns they see."""
    expert_columns, gate_columns = columns
    if not batch:
        linear = mixture.expert is None
        name = "linear experts" if linear else f"expert {name_of(mixture.expert)}"
        who = [(name, expert_columns)]
    elif isinstance(mixture.expert, list | tuple) and isinstance(expert_columns, list):
        per_expert = candidates_of(mixture.expert, mixture.n_experts, owner_of(mixture))
        pairs = zip(per_expert, expert_columns, strict=True)
        seen = [(expert, columns) for candidates, columns in pairs for _, expert in candidates]
        who = refusing(*zip(*seen, strict=True))
    else:
        templates = templates_of(mixture)
        who = refusing(templates, [expert_columns] * len(templates))
    who += refusing_others(mixture)
    return who + gate_refusing(mixture.gate, gate_columns)


def refusing(experts: Any, columns: Any) -> list[tuple[str, Any]]:
    """Return the names of experts that reject NaN, with the columns they see."""
    pairs = zip(experts, columns, strict=True)
    return [(f"expert {name_of(e)}", seen) for e, seen in pairs if not may_take_missing(e)]


def refusing_others(mixture: BaseMixtureOfExperts) -> list[tuple[str, Any]]:
    """Return the names of shared expert and fallback if they reject NaN, with their columns."""
    others = _standing_by(mixture).items()
    return [(f"{name} {name_of(e)}", None) for name, e in others if not may_take_missing(e)]


def gate_refusing(part: Any, columns: Any) -> list[tuple[str, Any]]:
    """Return the name of a gate that rejects NaN, with the columns it sees."""
    who: list[tuple[str, Any]] = []
    gate = getattr(part, "estimator", part)
    if hasattr(gate, "fit") and not may_take_missing(gate):
        who.append((f"gate {name_of(gate)}", columns))
    if not gate_takes_missing(part):
        unsaid = "" if hasattr(part, "takes_missing") else ", which has no takes_missing = True,"
        who.append((f"gate {part!r}{unsaid}", columns))
    return who


def check_memory(mixture: BaseMixtureOfExperts, gate: Any, bank: Any, n_features: int) -> None:
    """Raise if an M-step's Gram matrices would not fit scikit-learn's working memory."""
    bank = bank.replicate(mixture.n_experts)
    if mixture.shared_expert is not None and can(bank, "trimmed"):
        # shared coefficients are solved for with Gram matrices of the columns
        bank = evolve(bank.trimmed(), by_products=False)
    doubles = sum(
        part.n_gram_weights * part.design.size**2
        for part in (gate, bank)
        if can(part, "gram_weights")
    )
    limit = get_config()["working_memory"]
    if doubles * 8 > limit * 2**20:
        raise ValueError(
            f"{owner_of(mixture)}: X has {n_features} features, and the M-step of "
            f"linear gates and experts would need {doubles * 8 / 2**20:.0f} MiB for Gram "
            f"matrices, more than scikit-learn's working_memory of {limit} MiB. Reduce the "
            "features first (TruncatedSVD or SelectKBest in a Pipeline, or expert_features and "
            "gate_features), or raise it by sklearn.set_config(working_memory=...)."
        )
