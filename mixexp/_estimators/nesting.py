"""Mixtures of mixtures: trained together as one flat mixture of the innermost experts.

A mixture of mixtures has the density Σ_k g_k(x) Σ_j g_kj(x) p_kj(y | x), the same as a flat
mixture of all p_kj under a tree of gates. The flat mixture is fitted, in one EM; an outer iteration
is one step of every inner mixture at the outer responsibilities (Jordan & Jacobs 1994). The result
is stored as fitted copies of the user's nested mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax
from sklearn.base import clone, is_classifier

from mixexp._compat import validate_parameters
from mixexp._estimators.assembly import FitArguments
from mixexp._estimators.bases import is_linear
from mixexp._estimators.model import Model, columns_of
from mixexp._estimators.outcome import InputRules, publish, store_loads
from mixexp._estimators.part_checks import check_parts
from mixexp._fitting import name_of
from mixexp._rows.inputs import one_each
from mixexp.experts import named
from mixexp.gates import ConstantGate, NestedGate
from mixexp.protocols import Block, Rows, Target, can, evolve

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["NestedBank", "fit_nested", "is_nested"]

Path = tuple[int, ...]

#: Parameters reserved for the outer mixture, with the value an inner one must have.
LEFT_TO_OUTER = {
    "gate_features": None,
    "expert_basis": "linear",
    "gate_basis": "auto",
    "noise_expert": False,
    "zero_expert": False,
    "class_weight": None,
    "assignment": "soft",
    "cross_fit": "auto",
    "on_collapse": "reinit",
}

#: Of these, parameters that may also equal the outer mixture's.
MAY_BE_SAME = ("assignment", "cross_fit", "on_collapse")


@dataclass
class Leaves:
    """Templates, paths and columns of the innermost experts; the gate of every mixture."""

    experts: list = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    columns: list = field(default_factory=list)
    gates: dict[Path, Any] = field(default_factory=dict)


def is_mixture(estimator: Any) -> bool:
    """Return whether an estimator is one of mixexp's mixtures."""
    return bool(getattr(type(estimator), "_is_mixture", False))


def outer_experts(mixture: BaseMixtureOfExperts) -> list:
    """Return the template of every expert."""
    if not isinstance(mixture.expert, list | tuple):
        return [mixture.expert] * mixture.n_experts
    return [expert for _, expert in named(mixture.expert)]


def is_nested(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether an expert is a mixture."""
    if not isinstance(mixture.expert, list | tuple):  # one for all of them, however many
        return is_mixture(mixture.expert)
    return any(map(is_mixture, outer_experts(mixture)))


def fit_nested(
    mixture: BaseMixtureOfExperts, X: Any, y: Any, arguments: FitArguments, target: Target
) -> Rows:
    """Fit the flat mixture and store its parts as fitted mixtures; return the rows of the fit."""
    owner = type(mixture).__name__
    if arguments.labels is not None and np.any(np.asarray(arguments.labels) != -1):
        raise ValueError(
            f"{owner}: expert_labels, and an expert is a mixture. Labels fix the "
            "responsibility of one expert; use HierarchicalGate, whose experts are the leaves."
        )
    if one_each(mixture.gate_features):
        raise ValueError(
            f"{owner}: gate_features gives columns to each expert, and an expert is a mixture: "
            "the gates make a tree, whose nodes are not experts. Give one selection for all."
        )
    flat = flattened(mixture, collected(mixture, Leaves(), (), owner))
    _check_start(mixture, flat.n_experts)
    check_parts(flat, "numbers" if target.classes is None else "classes")
    _share(mixture, flat)
    start = _start_of_fitted(mixture, X, y, arguments, target)
    flat.init = mixture.init if start is None else start
    rows: Rows = flat._fit(X, y, arguments, target)
    flat.init = mixture.init
    for name in RECORD:
        setattr(mixture, name, getattr(flat, name))
    adopt(mixture, flat._model, flat.usage_, flat._rules)
    _store_all_loads(mixture, rows)
    return rows


def _store_all_loads(mixture: BaseMixtureOfExperts, rows: Rows) -> None:
    """Set the loads of a mixture and of those in it, each over all rows."""
    store_loads(mixture, rows)
    for expert in mixture.experts_:
        if is_mixture(expert):
            _store_all_loads(expert, rows)


def collected(mixture: BaseMixtureOfExperts, leaves: Leaves, path: Path, owner: str) -> Leaves:
    """Add the innermost experts of a mixture."""
    _refuse_routing(mixture, owner)
    leaves.gates[path] = mixture.gate
    experts = outer_experts(mixture)
    if len(experts) != mixture.n_experts:
        raise ValueError(
            f"{owner}: expert is a list of {len(experts)} experts, and n_experts="
            f"{mixture.n_experts}. Set n_experts={len(experts)}."
        )
    columns = mixture.expert_features
    if is_nested(mixture) and columns is not None:
        raise ValueError(
            f"{owner}: expert_features={columns!r}, and an expert is a mixture, "
            "which chooses columns itself. Set expert_features in the inner mixture."
        )
    if one_each(columns) and len(columns) != mixture.n_experts:
        raise ValueError(
            f"{owner}: expert_features of an inner mixture has {len(columns)} selections, and its "
            f"n_experts={mixture.n_experts}. Give {mixture.n_experts}, or one for all."
        )
    for k, expert in enumerate(experts):
        if is_mixture(expert):
            _check_inner(mixture, expert, owner)
            collected(expert, leaves, (*path, k), owner)
            continue
        leaves.experts.append(expert)
        leaves.paths.append((*path, k))
        leaves.columns.append(columns[k] if one_each(columns) else columns)
    return leaves


def _refuse_routing(mixture: BaseMixtureOfExperts, owner: str) -> None:
    """Raise if a mixture of mixtures, or one in it, routes rows."""
    if mixture.shared_expert is not None:
        raise ValueError(
            f"{owner}: shared_expert={mixture.shared_expert!r}, and an expert is a mixture. Leave "
            "shared_expert=None."
        )
    if mixture.routing is not None or not (
        mixture.warm_up is None or isinstance(mixture.warm_up, str)
    ):
        name = "routing" if mixture.routing is not None else "warm_up"
        raise ValueError(
            f"{owner}: {name}={getattr(mixture, name)!r}, and an expert is a mixture. Use "
            f"HierarchicalGate, whose experts are the leaves, or leave {name} at its default."
        )


def _check_inner(outer: BaseMixtureOfExperts, inner: Any, owner: str) -> None:
    """Raise if an inner mixture is invalid, or sets a parameter reserved for the outer one."""
    validate_parameters(inner)
    if inner.n_experts == "auto":
        raise ValueError(
            f"{owner}: the inner {type(inner).__name__} has n_experts='auto'. Mixtures of mixtures "
            "are trained as one tree, which does not grow: give n_experts as an integer."
        )
    if isinstance(inner.gate, str):
        raise ValueError(
            f"{owner}: the inner {type(inner).__name__} has gate={inner.gate!r}. Mixtures of "
            "mixtures are trained as one tree: give the inner one a gate of mixexp.gates."
        )
    check_parts(inner, "classes" if is_classifier(outer) else "numbers")
    wanted = dict(LEFT_TO_OUTER)
    if hasattr(outer, "family"):
        wanted["family"] = outer.family
    for name, value in wanted.items():
        actual = getattr(inner, name, value)
        shared = name in MAY_BE_SAME and _same(actual, getattr(outer, name))
        linear = name == "gate_basis" and is_linear(actual)
        if not (shared or linear or _same(actual, value)):
            raise ValueError(
                f"{owner}: the inner {type(inner).__name__} has {name}={actual!r}. Mixtures of "
                f"mixtures are trained as one: set it in the outer mixture, and leave {name}="
                f"{value!r} in the inner one."
            )
    for gate in (outer.gate, inner.gate):
        if (gate is not None and not hasattr(gate, "start")) or hasattr(gate, "estimator"):
            raise ValueError(
                f"{owner}: gate {name_of(gate)} in a mixture of mixtures. A classifier cannot "
                "be one node of a tree of gates; use a gate of mixexp.gates."
            )


def flattened(mixture: BaseMixtureOfExperts, leaves: Leaves) -> Any:
    """Return the unfitted flat mixture of all innermost experts."""
    experts: Any = leaves.experts
    first = experts[0]
    if all(expert is first for expert in experts):
        experts = first
    elif any(expert is None for expert in experts):
        raise ValueError(
            f"{type(mixture).__name__}: some inner experts are None, the default linear model, "
            "and others are not. Give those an expert of their own, such as Ridge() or "
            "LogisticRegression()."
        )
    else:
        names = ["-".join(map(str, path)) for path in leaves.paths]
        experts = list(zip(names, experts, strict=True))
    columns = None if all(selection is None for selection in leaves.columns) else leaves.columns
    params: dict = {name: getattr(mixture, name) for name in mixture.get_params(deep=False)}
    params |= {
        "expert": experts,
        "n_experts": len(leaves.paths),
        "gate": NestedGate(leaves.paths, leaves.gates),
        "expert_features": columns,
    }
    return type(mixture)(**params)


def _check_start(mixture: BaseMixtureOfExperts, n_leaves: int) -> None:
    """Raise if `init` is an array with the wrong number of experts."""
    if isinstance(mixture.init, str) or hasattr(mixture.init, "get_params"):
        return
    start = np.asarray(mixture.init)
    wide = start.shape[1] if start.ndim == 2 else len(np.unique(start))
    if start.dtype != object and wide != n_leaves:
        raise ValueError(
            f"{type(mixture).__name__}: init is for {wide} experts, and this mixture of mixtures "
            f"has {n_leaves} innermost experts, which is where EM starts. Give labels or "
            "responsibilities for these, in the order of the mixtures they are in."
        )


def _start_of_fitted(
    mixture: BaseMixtureOfExperts, X: Any, y: Any, arguments: FitArguments, target: Target
) -> Any:
    """Return responsibilities (n, n_leaves) if all experts are fitted mixtures, else None.

    Copies of one fitted mixture are no start: they are identical.
    """
    models = outer_experts(mixture)
    listed = isinstance(mixture.expert, list | tuple) and isinstance(mixture.init, str)
    if not listed or not all(is_mixture(m) and hasattr(m, "experts_") for m in models):
        return None
    X = X if arguments.frame is None else arguments.frame
    y = y if target.classes is None else target.classes[y]
    outer = softmax([m.log_density(X, y, offset=arguments.offset) for m in models], axis=0)
    inner = [_innermost_resp(m, X, y, arguments.offset) for m in models]
    return np.hstack([p[:, None] * r for p, r in zip(outer, inner, strict=True)])


def _innermost_resp(mixture: BaseMixtureOfExperts, X: Any, y: Any, offset: Any) -> np.ndarray:
    """Return responsibilities (n, n_leaves) of a fitted mixture's innermost experts."""
    model = mixture._model.innermost
    return model.responsibilities(mixture._new_rows(X, y, offset))[:, : model.n_experts]


def adopt(mixture: BaseMixtureOfExperts, flat: Model, usage: np.ndarray, rules: InputRules) -> None:
    """Set gate, experts and usage of a mixture of mixtures from the fitted flat model."""
    gate: Any = flat.gate
    bank: Any = flat.bank
    noisy = can(gate, "without_noise")
    tree, leaf_bank = (gate.inner, bank.inner) if noisy else (gate, bank)
    groups = tree.leaves_at(1)
    root = _root(tree)
    templates = outer_experts(mixture)
    flat_experts = bank.fitted(getattr(mixture, "feature_names_in_", None))
    experts, children = [], []
    for leaves in groups:
        number = tree.paths_[leaves[0]][0]
        below = leaf_bank.select(leaves)
        if is_mixture(templates[number]):
            inner = replace(
                flat,
                gate=tree.below((number,)),
                bank=below,
                columns=columns_of(flat.columns, leaves),
                limits=None,
            )
            child = _fitted(templates[number], mixture, inner, usage[leaves], rules)
            experts.append(child)
            children.append(child)
        else:
            experts.append(flat_experts[leaves[0]])
            children.append(below)
    nested: Any = NestedBank(children, groups, len(usage), experts)
    model = replace(
        flat,
        gate=evolve(gate, inner=root) if noisy else root,
        bank=nested,
        pooling=mixture.pooling,
        flat=flat,
        limits=flat.limits if len(groups) > 1 else None,
    )
    publish(mixture, model, nested.merged(usage), rules)


#: Attributes copied from the flat mixture: the record of the fit.
RECORD = (
    "n_iter_",
    "n_passes_",
    "converged_",
    "lower_bound_",
    "lower_bounds_",
    "cross_fitted_",
    "restarts_",
    "_mixexp_version",
)

#: Attributes shared by all mixtures of one fit.
SHARED = ("n_features_in_", "feature_names_in_", "classes_", "_mixexp_version")


def _share(source: Any, target: Any) -> None:
    """Copy attributes that describe the data from another mixture."""
    for name in SHARED:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def _fitted(
    template: Any, outer: BaseMixtureOfExperts, model: Model, usage: np.ndarray, rules: InputRules
) -> Any:
    """Return an inner mixture, fitted, from the model of its innermost experts."""
    inner = clone(template)
    _share(outer, inner)
    inner.n_iter_, inner.converged_ = outer.n_iter_, outer.converged_
    usage = usage / usage.sum()
    if is_nested(inner):
        adopt(inner, model, usage, rules)
    else:
        inner_model = replace(model, gate=_root(model.gate), pooling=inner.pooling)
        publish(inner, inner_model, usage, rules)
    return inner


def _root(tree: Any) -> Any:
    """Return the gate at the root; after experts were dropped it may have a single child."""
    return tree.nodes_.get((), evolve(ConstantGate(), proba_=np.ones(1)))


def _same(value: Any, other: Any) -> bool:
    """Return whether two parameter values are equivalent; families may be copies."""
    if hasattr(value, "get_params") and type(value) is type(other):
        return bool(value.get_params() == other.get_params())
    same = value is other or value == other
    return same if isinstance(same, bool) else False


class NestedBank:
    """The experts of a mixture of mixtures, for prediction.

    Parameters
    ----------
    children : list
        Fitted mixtures, or banks of one expert.
    groups : list of ndarray
        The innermost experts of each child.
    n_columns : int
        Number of innermost experts, plus one with noise.
    experts : list
        Every expert as a fitted estimator.
    """

    family = None

    def __init__(self, children: list, groups: list[np.ndarray], n_columns: int, experts: list):
        self.children = children
        self.groups = groups
        self.n_noise = n_columns - sum(map(len, groups))
        self.experts = experts

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.children)

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m) or class probabilities (K, n_classes, m)."""
        if block.reached is None:
            return np.stack([_predicted(child, block) for child in self.children])
        outputs: Any = None
        for k, (child, reached) in enumerate(zip(self.children, block.reached, strict=True)):
            ids = np.flatnonzero(reached)
            if len(ids):
                found = _predicted(child, block.rows_at(ids))
                if outputs is None:
                    outputs = np.zeros((self.n_experts, len(found), block.n_rows))
                outputs[k][:, ids] = found
        return outputs

    def select(self, experts: np.ndarray) -> NestedBank:
        """Return the bank of some experts, in this order."""
        n_columns = sum(len(self.groups[k]) for k in experts) + self.n_noise
        return NestedBank(
            [self.children[k] for k in experts],
            [self.groups[k] for k in experts],
            n_columns,
            [self.experts[k] for k in experts],
        )

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts."""
        return list(self.experts)

    def merged(self, columns: np.ndarray) -> np.ndarray:
        """Return numbers (..., leaves) summed over the innermost experts of each expert."""
        summed = [columns[..., experts].sum(axis=-1) for experts in self.groups]
        noise = columns[..., columns.shape[-1] - self.n_noise :]
        return np.minimum(np.concatenate([np.stack(summed, axis=-1), noise], axis=-1), 1.0)

    def log_merged(self, logs: np.ndarray) -> np.ndarray:
        """Return log-sums (K or K + 1, m) of exponentials over the innermost experts of each."""
        summed = [np.logaddexp.reduce(logs[experts], axis=0) for experts in self.groups]
        return np.stack([*summed, *logs[len(logs) - self.n_noise :]])


def _predicted(child: Any, block: Block) -> np.ndarray:
    """Return the prediction of a mixture, or a bank of one expert, for a block, (q, m)."""
    if not is_mixture(child):
        return child.predict(block)[0]
    pooled = child._model.pooled_block(block, type(child).__name__)
    return pooled.reshape(block.n_rows, -1).T
