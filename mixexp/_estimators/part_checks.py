"""Checks of the parameters that are parts of a mixture, alone and against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config

from mixexp._estimators.probe_router import probe_router
from mixexp._fitting import (
    name_of,
)
from mixexp.experts import (
    check_expert,
    linear_terms,
)
from mixexp.protocols import can, check_part, evolve

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts
from mixexp._estimators.parts import (
    gate_is_classifier,
    has_zero_expert,
    is_binomial,
    is_classifier_gate,
    owner_of,
)

__all__ = [
    "check_binomial",
    "check_memory",
    "check_parts",
    "check_routing",
    "check_zero_expert",
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
