"""Fits with ``gate="auto"``: the kind of gate that explains held-out rows best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.tree import DecisionTreeClassifier

from mixexp._columns import as_numbers
from mixexp._compat import check_weights, rows_of
from mixexp._estimators import parts
from mixexp._estimators.class_weight import with_class_weight
from mixexp._estimators.known_rows import validated
from mixexp._estimators.outcome import OF_EARLIER_FITS
from mixexp._rows.inputs import checked_groups
from mixexp._rows.maps import kept_dtypes
from mixexp._rows.sketch import hashed_uniform, row_hashes, smallest
from mixexp._warn import silence, silenced
from mixexp._weights import as_counts
from mixexp.gates import EstimatorGate, GaussianGate, SoftmaxGate

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["chooses_gate", "chosen_gate", "fit_choosing_gate"]

#: Distinct rows that candidates are compared on, as many as starts run on.
MOST_ROWS = 8192

#: Share of these rows that is held out.
HELD_OUT = 0.25

#: Number of experts that candidates are compared with where their number is "auto" too.
USUAL = 4

#: Smallest share of the weight in a leaf of the tree, which is the gate of one region.
LEAF = 0.01


def chooses_gate(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether the kind of gate is to be chosen."""
    return isinstance(mixture.gate, str)


def fit_choosing_gate(
    mixture: BaseMixtureOfExperts, X: Any, y: Any, arguments: dict, resume_from: Any = None
) -> Any:
    """Fit with the gate of largest held-out log-density; store the comparison.

    1. Split the rows of the sketch by their content, groups as a whole; rows without weight, of
       class weights too, are in neither part.
    2. Fit the mixture with each kind of gate to one part, and take log-densities of the other.
    3. Choose the first within one standard error of the best.
    4. Fit with it to all rows.

    Callbacks follow the last of these fits.

    Parameters
    ----------
    mixture : mixture
    X, y : array-like
        As they came to `fit`.
    arguments : dict
        Further arguments of `fit`, by name.
    resume_from : path-like or Checkpoint, default=None
        Where the last fit goes on from.
    """
    owner = parts.owner_of(mixture)
    candidates = _candidates(mixture)
    checked = _checked(mixture, X, y)
    weight = _counts(mixture, *checked, y, arguments.get("sample_weight"))
    groups = checked_groups(arguments.get("groups"), checked[0], owner)
    train, test = _split(*checked, weight, groups, is_classifier(mixture))
    densities: dict[str, np.ndarray] = {}
    errors = dict.fromkeys(candidates, "")
    for name, options in candidates.items():
        try:
            densities[name] = _held_out(mixture, options, X, y, arguments, weight, train, test)
        except (TypeError, ValueError) as error:  # a gate that does not go with these data
            errors[name] = str(error)
    if not densities:
        with silenced(silence(Warning)):  # what is wrong with all rows is said of all rows
            _with(mixture, candidates["softmax"]).set_callbacks().fit(X, y, **arguments)
        raise ValueError(_too_few(owner, len(train), len(test), errors["softmax"]))
    weight = None if weight is None or groups is not None else weight[test]
    best = _chosen(densities, weight)
    winner = _with(mixture, candidates[best])
    if "_parent_callback_ctx" in vars(mixture):  # of a search whose callbacks are handed down
        winner._parent_callback_ctx = vars(mixture)["_parent_callback_ctx"]
    if "_growth" in mixture.__dict__:
        winner._growth = mixture.__dict__.pop("_growth")
    if mixture.warm_start:  # goes on from what the mixture was fitted to
        _take_over(winner, mixture)
    winner.fit(X, y, resume_from=resume_from, **arguments)
    _take_over(mixture, winner)
    means = {name: float(np.average(d, weights=weight)) for name, d in densities.items()}
    mixture.gate_results_ = {
        "gate": list(candidates),
        "log_density": np.array([means.get(name, np.nan) for name in candidates]),
        "error": list(errors.values()),
        "best_index": list(candidates).index(best),
    }
    return mixture


def chosen_gate(mixture: BaseMixtureOfExperts) -> dict[str, Any]:
    """Return the parameters that a fit with ``gate="auto"`` has chosen; none for another gate."""
    if not chooses_gate(mixture):
        return {}
    results = mixture.gate_results_
    return _candidates(mixture)[results["gate"][results["best_index"]]]


def _candidates(mixture: BaseMixtureOfExperts) -> dict[str, dict[str, Any]]:
    """Return parameters by the name of the kind, simplest first."""
    softmax = SoftmaxGate()
    tree = DecisionTreeClassifier(min_weight_fraction_leaf=LEAF, random_state=0)
    found: dict[str, dict[str, Any]] = {}
    if mixture.gate_basis == "auto":
        found["softmax"] = {"gate": softmax, "gate_basis": "linear"}
        found["softmax on quantiles"] = {"gate": softmax, "gate_basis": "quantile"}
        found["gaussian"] = {"gate": GaussianGate(), "gate_basis": "linear"}
        found["tree"] = {"gate": EstimatorGate(tree), "gate_basis": "linear"}
    else:
        found["softmax"] = {"gate": softmax}
        found["gaussian"] = {"gate": GaussianGate()}
        if isinstance(mixture.gate_basis, str) and mixture.gate_basis == "linear":
            found["tree"] = {"gate": EstimatorGate(tree)}
    return found


def _with(mixture: BaseMixtureOfExperts, options: dict[str, Any]) -> Any:
    """Return an unfitted mixture with other parameters."""
    return clone(mixture).set_params(**options)


def _checked(mixture: BaseMixtureOfExperts, X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Return X and y as numbers, to tell rows by."""
    table = as_numbers(X)
    numeric = not is_classifier(mixture)
    X, y = validated(clone(mixture), table.X, y, kept_dtypes(table.X), numeric=numeric)
    return X, y if numeric else np.unique(y, return_inverse=True)[1]


def _counts(
    mixture: BaseMixtureOfExperts, X: Any, codes: np.ndarray, y: Any, sample_weight: Any
) -> np.ndarray | None:
    """Return checked weights as a fit takes them, class weights included; None if there are none.

    `codes` are the numbers of the classes, if y has classes.
    """
    owner, weight = parts.owner_of(mixture), None
    if sample_weight is not None:
        weight = check_weights(sample_weight, X, owner)
    if is_classifier(mixture):
        weight = with_class_weight(mixture.class_weight, np.unique(y), codes, weight, owner)
    if weight is None or not np.any(weight):  # the fit says so
        return None
    with silenced(silence(Warning)):  # the last fit says that they were rescaled
        return as_counts(weight, mixture)


def _split(
    X: Any, y: np.ndarray, weight: np.ndarray | None, groups: np.ndarray | None, classes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to fit and to hold out: equal rows, and groups, stay together.

    Neither part is empty unless all rows are equal, and a class is not held out as a whole.
    `groups` are numbers 0, 1, and so on.
    """
    hashes = row_hashes(X, y.T, 0)
    rows = np.arange(len(hashes)) if weight is None else np.flatnonzero(weight)
    if groups is not None:
        least = np.full(groups.max() + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(least, groups[rows], hashes[rows])
        hashes = least[groups]
    few = smallest(hashes[rows], MOST_ROWS)
    kept = rows if few is None else rows[few]
    if classes and few is not None:  # a rare class may not be among the few
        lost = hashes[rows[np.isin(y[rows], np.setdiff1d(y[rows], y[kept]))]]
        kept = np.union1d(kept, rows[np.isin(hashes[rows], lost)])
    uniform = hashed_uniform(hashes[kept], 1)
    held_out = uniform < np.clip(HELD_OUT, np.nextafter(uniform.min(), 1), uniform.max())
    if classes:
        lost = np.setdiff1d(y[kept], y[kept[~held_out]])
        held_out &= ~np.isin(uniform, uniform[np.isin(y[kept], lost)])
    return kept[~held_out], kept[held_out]


def _too_few(owner: str, n_train: int, n_test: int, why: str) -> str:
    return (
        f"{owner}: gate='auto' compares gates that are fitted to some of the rows on the others, "
        f"and of these rows {n_train} and {n_test} are too few: {why} Give more distinct rows or "
        "groups, or set gate."
    )


def _take_over(mixture: BaseMixtureOfExperts, fitted: Any) -> None:
    """Set the attributes of a fitted mixture, and drop those of an earlier fit."""
    given = mixture.get_params(deep=False)
    own = mixture.__dict__
    fitted_names = [name for name in own if name.endswith("_") and not name.startswith("_")]
    for name in (*fitted_names, *OF_EARLIER_FITS):
        own.pop(name, None)
    own.update({name: value for name, value in vars(fitted).items() if name not in given})


def _held_out(
    mixture: BaseMixtureOfExperts,
    options: dict[str, Any],
    X: Any,
    y: Any,
    arguments: dict,
    weight: np.ndarray | None,
    train: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Return log-densities of held-out rows, or of groups, in which weights count rows."""
    n = len(y)
    candidate = _with(mixture, options).set_callbacks()
    candidate.set_params(init=rows_of(mixture.init, train, n))
    if mixture.random_state is None:  # a fit that is resumed has to choose as before
        candidate.set_params(random_state=0)
    if mixture.n_experts == "auto":
        candidate.set_params(n_experts=min(USUAL, mixture.max_experts))
    given = {name: rows_of(value, train, n) for name, value in arguments.items()}
    offset, groups, trials = (
        rows_of(arguments.get(name), test, n) for name in ("offset", "groups", "trials")
    )
    with silenced(silence(Warning)):  # of fits to parts of the rows; the last one may warn
        candidate.fit(rows_of(X, train, n), rows_of(y, train, n), **given)
    density: np.ndarray = candidate._density(
        rows_of(X, test, n),
        candidate._counted(rows_of(y, test, n), trials),
        None if weight is None else weight[test],
        offset,
        groups,
    )
    return density


def _chosen(densities: dict[str, np.ndarray], weight: np.ndarray | None) -> str:
    """Return the first candidate within one standard error of the best."""
    best = max(densities, key=lambda name: float(np.average(densities[name], weights=weight)))
    for name, density in densities.items():
        difference = densities[best] - density
        mean = np.average(difference, weights=weight)
        variance = np.average((difference - mean) ** 2, weights=weight)
        n = len(difference) if weight is None else weight.sum()
        if mean <= np.sqrt(variance / n):
            return name
    return best
