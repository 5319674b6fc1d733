"""Mixtures of mixtures: trained together as one flat mixture of the innermost experts.

A mixture whose experts are mixtures has the density Σ_k g_k(x) Σ_j g_kj(x) p_kj(y | x): that of a
flat mixture of all p_kj under a tree of gates. So that is what is fitted, in one EM; an outer
iteration is one step of every inner mixture at the outer responsibilities (Jordan & Jacobs 1994).
What is stored are the mixtures that the user wrote, fitted.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import clone, is_classifier

from mixexp._blocks import Block
from mixexp._compat import validate_parameters
from mixexp._em import State
from mixexp._fitted import FittedMixin, Given
from mixexp._fitting import name_of
from mixexp._inputs import one_each
from mixexp._protocols import evolve
from mixexp._settings import remember
from mixexp.experts import named
from mixexp.gates import ConstantGate, NestedGate

__all__ = ["NestedMixin"]

Path = tuple[int, ...]

#: What an inner mixture must leave to the outer one, and the value that does.
LEFT_TO_OUTER = {
    "gate_features": None,
    "noise_expert": False,
    "class_weight": None,
    "assignment": "soft",
    "cross_fit": "auto",
    "on_collapse": "reinit",
}

#: Of these, what may also be what the outer one has.
MAY_BE_SAME = ("assignment", "cross_fit", "on_collapse")


@dataclass
class Leaves:
    """The innermost experts: template, path and columns of each; the gate of every mixture."""

    experts: list = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    columns: list = field(default_factory=list)
    gates: dict[Path, Any] = field(default_factory=dict)


def is_mixture(estimator: Any) -> bool:
    """Return whether an estimator is one of mixexp's mixtures."""
    return isinstance(estimator, NestedMixin)


class NestedMixin(FittedMixin):
    """Methods of mixtures whose experts may be mixtures."""

    n_experts: int
    expert_features: Any
    gate_features: Any
    pooling: Any
    get_params: Any

    @abstractmethod
    def _fit_mixture(self, X: Any, y: Any, given: Given, *, classes: Any, family: Any) -> None:
        """Fit gate and experts on checked data."""

    @abstractmethod
    def _check_parts(self, *, classifier: bool) -> None:
        """Raise where parts cannot be."""

    def _outer_experts(self) -> list:
        """Return the template of every expert."""
        if not isinstance(self.expert, list | tuple):
            return [self.expert] * self.n_experts
        return [expert for _, expert in named(self.expert)]

    def _is_nested(self) -> bool:
        """Return whether an expert is a mixture."""
        return any(map(is_mixture, self._outer_experts()))

    def _collect(self, leaves: Leaves, path: Path, owner: str) -> Leaves:
        """Add the innermost experts of this mixture."""
        leaves.gates[path] = self.gate
        experts = self._outer_experts()
        if len(experts) != self.n_experts:
            raise ValueError(
                f"{owner}: expert is a list of {len(experts)} experts, and n_experts="
                f"{self.n_experts}. Set n_experts={len(experts)}."
            )
        if self._is_nested() and self.expert_features is not None:
            raise ValueError(
                f"{owner}: expert_features={self.expert_features!r}, and an expert is a mixture, "
                "which chooses columns itself. Set expert_features in the inner mixture."
            )
        own = self.expert_features
        if one_each(own) and len(own) != self.n_experts:
            raise ValueError(
                f"{owner}: expert_features of an inner mixture has {len(own)} selections, and its "
                f"n_experts={self.n_experts}. Give {self.n_experts}, or one for all."
            )
        for k, expert in enumerate(experts):
            if is_mixture(expert):
                self._check_inner(expert, owner)
                expert._collect(leaves, (*path, k), owner)
                continue
            leaves.experts.append(expert)
            leaves.paths.append((*path, k))
            leaves.columns.append(own[k] if one_each(own) else own)
        return leaves

    def _check_inner(self, inner: Any, owner: str) -> None:
        """Raise where an inner mixture cannot be, or asks for what only the outer one can do."""
        validate_parameters(inner)
        inner._check_parts(classifier=is_classifier(self))
        wanted = dict(LEFT_TO_OUTER)
        if hasattr(self, "family"):
            wanted["family"] = self.family
        for name, value in wanted.items():
            given = getattr(inner, name, value)
            shared = name in MAY_BE_SAME and _same(given, getattr(self, name))
            if not (shared or _same(given, value)):
                raise ValueError(
                    f"{owner}: the inner {type(inner).__name__} has {name}={given!r}. Mixtures of "
                    f"mixtures are trained as one: set it in the outer mixture, and leave {name}="
                    f"{value!r} in the inner one."
                )
        for gate in (self.gate, inner.gate):
            if (gate is not None and not hasattr(gate, "start")) or hasattr(gate, "estimator"):
                raise ValueError(
                    f"{owner}: gate {name_of(gate)} in a mixture of mixtures. A classifier cannot "
                    "be one node of a tree of gates; use a gate of mixexp.gates."
                )

    def _flattened(self, leaves: Leaves) -> Any:
        """Return the unfitted flat mixture of all innermost experts."""
        experts: Any = leaves.experts
        first = experts[0]
        if all(expert is first for expert in experts):
            experts = first
        elif any(expert is None for expert in experts):
            raise ValueError(
                f"{type(self).__name__}: some inner experts are None, the default linear model, "
                "and others are not. Give those an expert of their own, such as Ridge() or "
                "LogisticRegression()."
            )
        else:
            experts = [
                ("-".join(map(str, p)), e) for p, e in zip(leaves.paths, experts, strict=True)
            ]
        columns = None if all(own is None for own in leaves.columns) else leaves.columns
        params: dict = {name: getattr(self, name) for name in self.get_params(deep=False)}
        params |= {
            "expert": experts,
            "n_experts": len(leaves.paths),
            "gate": NestedGate(leaves.paths, leaves.gates),
            "expert_features": columns,
        }
        return type(self)(**params)

    def _fit_nested(self, X: Any, y: Any, given: Given, *, classes: Any, family: Any) -> None:
        """Fit the flat mixture and store its parts as fitted mixtures."""
        owner = type(self).__name__
        if given.labels is not None and np.any(np.asarray(given.labels) != -1):
            raise ValueError(
                f"{owner}: expert_labels, and an expert is a mixture. Labels fix the "
                "responsibility of one expert; use HierarchicalGate, whose experts are the leaves."
            )
        if one_each(self.gate_features):
            raise ValueError(
                f"{owner}: gate_features gives columns to each expert, and an expert is a mixture: "
                "the gates make a tree, whose nodes are not experts. Give one selection for all."
            )
        flat = self._flattened(self._collect(Leaves(), (), owner))
        self._check_start(flat.n_experts)
        flat._check_parts(classifier=classes is not None)
        _share(self, flat)
        start = self._start_of_fitted(X, y, given, classes)
        flat.init = self.init if start is None else start
        flat._fit_mixture(X, y, given, classes=classes, family=family)
        flat.init = self.init
        for name in RECORD:
            setattr(self, name, getattr(flat, name))
        self._adopt(flat)

    def _check_start(self, n_leaves: int) -> None:
        """Raise where `init` is an array that is not for the innermost experts."""
        if isinstance(self.init, str) or hasattr(self.init, "get_params"):
            return
        given = np.asarray(self.init)
        wide = given.shape[1] if given.ndim == 2 else len(np.unique(given))
        if given.dtype != object and wide != n_leaves:
            raise ValueError(
                f"{type(self).__name__}: init is for {wide} experts, and this mixture of mixtures "
                f"has {n_leaves} innermost experts, which is where EM starts. Give labels or "
                "responsibilities for these, in the order of the mixtures they are in."
            )

    def _start_of_fitted(self, X: Any, y: Any, given: Given, classes: Any) -> Any:
        """Return responsibilities (n, n_leaves) of experts that are all fitted mixtures, or None.

        Copies of one fitted mixture are no start: they are all equal.
        """
        models = self._outer_experts()
        fitted = all(is_mixture(m) and hasattr(m, "experts_") for m in models)
        if not (fitted and isinstance(self.expert, list | tuple) and isinstance(self.init, str)):
            return None
        data = X if given.frame is None else given.frame, y if classes is None else classes[y]
        own = {"offset": given.offset}
        outer = softmax([model.log_density(*data, **own) for model in models], axis=0)
        wholes = [model._whole for model in models]
        inner = [m.responsibilities(*data, **own)[:, : m._bank.n_experts] for m in wholes]
        return np.hstack([p[:, None] * r for p, r in zip(outer, inner, strict=True)])

    def _adopt(self, flat: Any) -> None:
        """Set gate, experts and usage from a fitted flat mixture."""
        self._flat = flat
        gate, bank = flat.gate_, flat._bank
        noisy = hasattr(gate, "noise_share_")
        tree, inner_bank = (gate.inner, bank.inner) if noisy else (gate, bank)
        groups = tree.leaves_at(1)
        root = _root(tree)
        self.gate_ = evolve(gate, inner=root) if noisy else root
        templates = self._outer_experts()
        self.experts_, children = [], []
        for experts in groups:
            number = tree.paths_[experts[0]][0]
            if is_mixture(templates[number]):
                below = tree.below((number,)), inner_bank.select(experts)
                model = _fitted(templates[number], flat, below, experts)
                self.experts_.append(model)
                children.append(model)
            else:
                self.experts_.append(flat.experts_[experts[0]])
                children.append(inner_bank.select(experts))
        self._bank = NestedBank(children, groups, len(flat.usage_))
        self.usage_ = self._bank.merged(flat.usage_)


#: What a mixture of mixtures takes over from the flat one: how the fit went.
RECORD = (
    "n_iter_",
    "n_passes_",
    "converged_",
    "lower_bound_",
    "lower_bounds_",
    "cross_fitted_",
    "restarts_",
    "_frames",
    "_columns",
    "_text",
    "_mixexp_version",
)

#: What all mixtures of one fit share.
SHARED = ("n_features_in_", "feature_names_in_", "classes_", "_y_shape", "_mixexp_version")


def _share(source: Any, target: Any) -> None:
    """Give a mixture what it knows of the data from another one."""
    for name in (*SHARED, "_frames", "_text"):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def _fitted(template: Any, flat: Any, parts: tuple, experts: np.ndarray) -> Any:
    """Return an inner mixture as a fitted one, from the parts of the flat one below it."""
    tree, bank = parts
    model = clone(template)
    usage = flat.usage_[experts] / flat.usage_[experts].sum()
    own = (
        model
        if not model._is_nested()
        else model._flattened(model._collect(Leaves(), (), type(model).__name__))
    )
    for target in (model, own):
        _share(flat, target)
        remember(target)
        target.n_iter_, target.converged_ = flat.n_iter_, flat.converged_
        target.usage_ = usage
        target._columns = tuple(
            [cols[k] for k in experts] if isinstance(cols, list) else cols for cols in flat._columns
        )
    if own is not model:
        own._set_parts(State(tree, bank), None)
        model._adopt(own)
        return model
    own._set_parts(State(_root(tree), bank), None)
    return model


def _root(tree: NestedGate) -> Any:
    """Return the gate at the root; where experts were dropped it may have a single child."""
    return tree.nodes_.get((), evolve(ConstantGate(), proba_=np.ones(1)))


def _same(one: Any, other: Any) -> bool:
    """Return whether two values of a parameter mean the same; families may be copies."""
    if hasattr(one, "get_params") and type(one) is type(other):
        return bool(one.get_params() == other.get_params())
    same = one is other or one == other
    return same if isinstance(same, bool) else False


class NestedBank:
    """The experts of a mixture of mixtures, for prediction.

    Parameters
    ----------
    children : list
        Fitted mixtures, or banks of one expert.
    groups : list of ndarray
        The innermost experts of each.
    n_columns : int
        Innermost experts, and the noise where there is one.
    """

    family = None

    def __init__(self, children: list, groups: list[np.ndarray], n_columns: int):
        self.children = children
        self.groups = groups
        self.n_noise = n_columns - sum(map(len, groups))

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.children)

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m) or class probabilities (K, n_classes, m)."""
        return np.stack(
            [
                child._pooled_block(block).reshape(block.n_rows, -1).T
                if is_mixture(child)
                else child.predict(block)[0]
                for child in self.children
            ]
        )

    def merged(self, columns: np.ndarray) -> np.ndarray:
        """Return numbers (..., leaves) summed over the innermost experts of each expert."""
        own = [columns[..., experts].sum(axis=-1) for experts in self.groups]
        noise = columns[..., columns.shape[-1] - self.n_noise :]
        return np.concatenate([np.stack(own, axis=-1), noise], axis=-1)
