"""The user's warm-up: a mixture of cheap experts that brings gate and responsibilities."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone, is_classifier

from mixexp._columns import check_known_text
from mixexp._estimators import parts
from mixexp._rows.inputs import refuse_missing
from mixexp.protocols import Rows, Target

if TYPE_CHECKING:
    from mixexp._estimators.assembly import FitArguments
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["warm_up_of"]


def warm_up_of(
    mixture: BaseMixtureOfExperts,
    X: Any,
    y: np.ndarray,
    arguments: FitArguments,
    target: Target,
    rows: Rows,
) -> Callable[[], tuple[Any, np.ndarray]] | None:
    """Return a function that gives gate and responsibilities of a user's mixture, None for "auto".

    A mixture that is not fitted is fitted to a copy; the user's own does not change.
    """
    warm_up = mixture.warm_up
    if isinstance(warm_up, str):
        return None
    _check(mixture, warm_up)
    owner = parts.owner_of(mixture)

    def given() -> tuple[Any, np.ndarray]:
        fitted = warm_up
        if not hasattr(fitted, "_model"):
            fitted = clone(warm_up)
            source = X if arguments.frame is None else arguments.frame
            targets = y if target.classes is None else target.classes[y]
            fitted.fit(
                source,
                targets,
                arguments.weight,
                groups=arguments.groups,
                expert_labels=arguments.labels,
                **_offset(arguments),
            )
        _check_fitted(mixture, fitted, rows, target)
        check_known_text(arguments.table, fitted._rules.text, f"{owner}: warm_up")
        again = copy(rows)
        again.training = False
        model = fitted._model
        resp = model.responsibilities(again).T[: mixture.n_experts]
        resp = resp / resp.sum(axis=0)
        if parts.has_fixed_expert(mixture):
            share = parts.NOISE_SHARE
            resp = np.concatenate([(1 - share) * resp, np.full((1, resp.shape[1]), share)])
        gate = model.dense_gate
        return parts.with_noise(mixture, gate), resp

    return given


def _offset(arguments: FitArguments) -> dict:
    return {} if arguments.offset is None else {"offset": arguments.offset}


def _check(mixture: BaseMixtureOfExperts, warm_up: Any) -> None:
    """Raise if a mixture cannot bring the partition."""
    owner = parts.owner_of(mixture)
    if not getattr(type(warm_up), "_is_mixture", False):
        raise TypeError(
            f"{owner}: warm_up must be a mixture of mixexp, 'auto' or None, got "
            f"{type(warm_up).__name__}."
        )
    if warm_up is mixture:
        raise ValueError(f"{owner}: warm_up is the mixture itself. Give another one, or 'auto'.")
    if is_classifier(warm_up) != is_classifier(mixture):
        raise TypeError(f"{owner}: warm_up is a {type(warm_up).__name__}. Give a {owner}.")
    if warm_up.n_experts != mixture.n_experts:
        raise ValueError(
            f"{owner}: warm_up has n_experts={warm_up.n_experts}, and this mixture "
            f"{mixture.n_experts}. Set the same number."
        )
    if parts.has_fixed_expert(warm_up):
        kind = "noise" if warm_up.noise_expert else "zero"
        raise ValueError(
            f"{owner}: warm_up has a {kind} expert. Set {kind}_expert=False there; that of this "
            "mixture may stay."
        )
    if mixture.gate is not None:
        raise ValueError(
            f"{owner}: warm_up brings its gate, and gate={mixture.gate!r} would not be used. Set "
            "gate=None here, and the gate in warm_up."
        )


def _check_fitted(mixture: Any, fitted: Any, rows: Rows, target: Target) -> None:
    """Raise if a fitted mixture does not suit these rows."""
    owner, model = parts.owner_of(mixture), fitted._model
    if fitted.n_features_in_ != rows.X.shape[1]:
        raise ValueError(
            f"{owner}: warm_up was fitted on {fitted.n_features_in_} features, and X has "
            f"{rows.X.shape[1]}. Fit it on the same columns."
        )
    names, known = (getattr(m, "feature_names_in_", None) for m in (mixture, fitted))
    if names is not None and known is not None and not np.array_equal(names, known):
        raise ValueError(
            f"{owner}: warm_up was fitted on columns {known.tolist()}, and X has {names.tolist()}. "
            "Fit it on the same columns, in the same order."
        )
    if sp.issparse(rows.X) and not fitted._rules.sparse:
        raise ValueError(
            f"{owner}: warm_up does not take sparse X. Give it experts that do, or a dense X."
        )
    refuse_missing(rows.X, fitted._rules.refusing, f"{owner}: warm_up")
    if target.classes is None:
        if model.target.width != target.width:
            raise ValueError(
                f"{owner}: warm_up was fitted on y with {model.target.width} outputs, and y has "
                f"{target.width}. Fit it on the same targets."
            )
        model.target.refuse_impossible(rows.y, f"{owner}: warm_up")
    if model.n_experts != mixture.n_experts or model.flat is not None:
        raise ValueError(
            f"{owner}: warm_up has {model.n_experts} fitted experts, or experts that are mixtures. "
            f"Give a flat mixture of n_experts={mixture.n_experts}."
        )
    classes = target.classes
    if classes is not None and not np.array_equal(classes, model.target.classes):
        raise ValueError(
            f"{owner}: warm_up knows the classes {model.target.classes.tolist()}, and y has "
            f"{classes.tolist()}. Fit it on the same classes."
        )
