"""Values of `expert`: a template, a list of (named) templates, or a pool of candidates."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import get_tags

from mixexp._fitting import CALIBRATE, name_of, will_have

__all__ = [
    "ExpertPool",
    "candidates_of",
    "check_expert",
    "check_single_output",
    "named",
    "with_params",
]


class ExpertPool(BaseEstimator):
    """Candidates from which each expert takes the best fit for its region.

    In each EM iteration every candidate is cross-fitted on every region, and the one with the
    highest responsibility-weighted log-density on held-out rows becomes that region's expert.
    Once the choice for all experts has stayed the same twice in a row it is final, and the other
    candidates are no longer fitted.

    Parameters
    ----------
    candidates : list of estimators or of (name, estimator)
        Two or more regressors, or two or more classifiers.

    Notes
    -----
    Choosing the kind of expert per region follows the mixture of experts in SMT (Bouhlel et al.
    2019, Advances in Engineering Software 135), which compares the kinds by their test error.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.svm import SVR
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.experts import ExpertPool
    >>> X = np.random.default_rng(0).uniform(-2, 2, (200, 1))
    >>> y = np.where(X[:, 0] < 0, 4 + 2 * X[:, 0], np.sin(6 * X[:, 0]))
    >>> pool = ExpertPool([Ridge(0.1), SVR(C=10)])
    >>> model = MixtureOfExpertsRegressor(pool, n_experts=2, random_state=0).fit(X, y)
    >>> sorted(type(expert).__name__ for expert in model.experts_)
    ['Ridge', 'SVR']
    """

    def __init__(self, candidates: list):
        self.candidates = candidates

    def get_params(self, deep: bool = True) -> dict:
        """Return parameters; `deep` includes the candidates', as ``name__parameter``."""
        params = super().get_params(deep=False)
        if deep and isinstance(self.candidates, list | tuple):
            for name, estimator in named(self.candidates):
                params[name] = estimator
                if hasattr(estimator, "get_params"):
                    inner = estimator.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> ExpertPool:
        """Set parameters of the pool or of its candidates."""
        if "candidates" in params:
            self.candidates = params.pop("candidates")
        self.candidates = with_params(self.candidates, params, "ExpertPool")
        return self


def named(candidates: Any) -> list[tuple[str, Any]]:
    """Return (name, estimator) pairs; unnamed estimators get a numbered class name."""
    pairs: list[tuple[str, Any]] = []
    for candidate in candidates:
        if isinstance(candidate, tuple) and len(candidate) == 2:
            pairs.append(candidate)
            continue
        stem = type(candidate).__name__.lower()
        taken = sum(name == stem or name.startswith(f"{stem}-") for name, _ in pairs)
        pairs.append((f"{stem}-{taken + 1}" if taken else stem, candidate))
    return pairs


def with_params(candidates: Any, params: dict, owner: str) -> Any:
    """Set parameters ``name`` and ``name__parameter`` in a list of candidates; return the list."""
    pairs = named(candidates)
    names = [name for name, _ in pairs]
    candidates = list(candidates)
    for key, value in sorted(params.items()):
        name, _, inner = key.partition("__")
        if name not in names:
            raise ValueError(
                f"Invalid parameter {key!r} for {owner}: its estimators are named {names}."
            )
        i = names.index(name)
        if inner:
            estimator = candidates[i][1] if isinstance(candidates[i], tuple) else candidates[i]
            if not hasattr(estimator, "set_params"):
                raise ValueError(
                    f"{owner}: {key} cannot be set, because {name} is {estimator!r}, which has no "
                    f"parameter {inner!r}. Give {name} as an estimator that has it."
                )
            estimator.set_params(**{inner: value})
        else:
            candidates[i] = (name, value) if isinstance(candidates[i], tuple) else value
    return candidates


def candidates_of(expert: Any, n_experts: int, owner: str) -> list[list[tuple[str, Any]]]:
    """Return the named candidates of each expert, of length `n_experts`."""
    if isinstance(expert, ExpertPool):
        return [named(expert.candidates)] * n_experts
    if not isinstance(expert, list | tuple):
        return [[(type(expert).__name__.lower(), expert)]] * n_experts
    if len(expert) != n_experts:
        raise ValueError(
            f"{owner}: expert is a list of {len(expert)} experts, and n_experts={n_experts}. Set "
            f"n_experts={len(expert)}; to let each region choose, use ExpertPool(expert)."
        )
    return [
        named(inner.candidates) if isinstance(inner, ExpertPool) else [(name, inner)]
        for name, inner in named(expert)
    ]


def check_expert(expert: Any, owner: str, *, classifier: bool, name: str = "expert") -> None:
    """Raise if a parameter, `expert` or another, is not valid for this kind of mixture."""
    if isinstance(expert, ExpertPool):
        pairs = _checked_pairs(expert.candidates, "ExpertPool.candidates", owner)
        if len(pairs) < 2:
            raise ValueError(
                f"{owner}: ExpertPool has {len(pairs)} candidates and needs two or more. With one, "
                "give it as expert itself."
            )
    elif isinstance(expert, list | tuple):
        pairs = _checked_pairs(expert, "expert", owner)
    else:
        pairs = [("", expert)]
    for _, inner in pairs:
        if isinstance(inner, ExpertPool):
            check_expert(inner, owner, classifier=classifier)
        else:
            _check_template(inner, f"{owner}: {name}", classifier=classifier)


def _checked_pairs(candidates: Any, parameter: str, owner: str) -> list[tuple[str, Any]]:
    if not isinstance(candidates, list | tuple) or len(candidates) == 0:
        raise TypeError(
            f"{owner}: {parameter} must be a list of estimators or of (name, estimator), got "
            f"{candidates!r}."
        )
    pairs = named(candidates)
    names = [name for name, _ in pairs]
    for name in names:
        if not isinstance(name, str) or "__" in name or not name or names.count(name) > 1:
            raise ValueError(
                f"{owner}: {parameter} has the name {name!r}. Names must be different strings "
                "without a double underscore."
            )
    return pairs


def _check_template(expert: Any, who: str, *, classifier: bool) -> None:
    name = type(expert).__name__
    if isinstance(expert, type) or not (hasattr(expert, "fit") and hasattr(expert, "get_params")):
        raise TypeError(
            f"{who} must be a scikit-learn estimator (an instance with fit, predict and "
            f"get_params), got {expert!r}."
        )
    kind = get_tags(expert).estimator_type
    if kind not in (None, "classifier", "regressor"):
        group = kind.replace("_", " ")
        article = "an" if group[0] in "aeiou" else "a"
        raise TypeError(
            f"{who} {name_of(expert)} is {article} {group}, which does not learn y. To start "
            f"from its groups, give init={name_of(expert)}(...); here use a "
            f"{'classifier' if classifier else 'regressor'}."
        )
    if is_classifier(expert) != classifier:
        wanted, example = (
            ("classifier", "LogisticRegression()") if classifier else ("regressor", "Ridge()")
        )
        raise TypeError(f"{who} must be a {wanted} such as {example}, got {name}.")
    if not will_have(expert, "predict"):
        raise TypeError(f"{who} {name} has no predict; choose an estimator that has it.")
    if classifier and not will_have(expert, "predict_proba"):
        raise TypeError(
            f"{who} {name_of(expert)} has no predict_proba, which the density of a class "
            f"needs. {CALIBRATE}"
        )


def check_single_output(expert: Any, owner: str) -> None:
    """Raise if an estimator does not support a single output."""
    if not get_tags(expert).target_tags.single_output:
        raise TypeError(
            f"{owner}: expert {name_of(expert)} is made for several outputs, and y has one. Use "
            "the estimator for one output, or give y of shape (n_samples, n_outputs)."
        )
