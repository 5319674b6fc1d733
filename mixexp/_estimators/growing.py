"""Fits with ``n_experts="auto"``: the growing path, and the choice of a mixture on it."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from mixexp import __version__
from mixexp._checks import short
from mixexp._engine.growth import Growth, can_count, chosen, grown, searched
from mixexp._engine.search import SearchProblem
from mixexp._estimators import outcome, parts
from mixexp._estimators.assembly import FitArguments, assemble, with_n_experts
from mixexp._estimators.identity import data_identity
from mixexp._estimators.nesting import is_mixture
from mixexp._fitting import name_of
from mixexp._rows.inputs import one_each
from mixexp._rows.rows import Rows
from mixexp._threads import single_thread
from mixexp.gates import GaussianGate
from mixexp.partitions import Split
from mixexp.protocols import Target, can
from mixexp.selection import ExpertSelection

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["fit_growing", "settled"]

#: What "auto" goes by where parameters can be counted, and where not. Of the criteria that were
#: compared, AIC with a factor of 3 predicts best or about as well as the best on six tables; a
#: factor of 2 takes too many experts where rows are few, BIC too few, and warm cross-validation,
#: whose densities are as good, costs more.
CRITERION, OTHERWISE = "aic3", "cv"

#: The number that is always reached, and the numbers without a better one after which it ends. A
#: patience of 2, or going to 4 at least, takes more experts on three of four tables, and predicts
#: worse. A long path that climbs steeply (`STEEP`) has one number more.
LEAST, PATIENCE = 3, 1

#: All numbers are tried up to this one, and then each so many: a single expert more changes little,
#: and the path would end at the first that happens to be worse.
ALL_UP_TO, STEP = 16, 4

#: Columns up to which the gate sees splines, and quantiles, beside "auto". With more outputs of its
#: basis, the gates of several experts would have more coefficients than penalties are set for.
MOST_SPLINES, MOST_QUANTILES = 20, 50

#: Rows for each parameter that several experts need: with fewer, criteria that hold for many rows
#: reward whatever explains the noise. Ten rows of noise would get three experts.
ROWS_PER_PARAMETER = 3.0


def fit_growing(
    mixture: BaseMixtureOfExperts, X: Any, y: np.ndarray, arguments: FitArguments, target: Target
) -> Rows:
    """Fit mixtures of one expert, of two, and so on; store the best, and what they were judged by.

    Return the rows of the fit.

    1. Assemble rows and parts; what `with_automatic_basis` says of the gate holds for "auto".
    2. Go along the path until the criterion has not risen for a while.
    3. Search with the starts of `init` too, for the chosen number, and keep the better end.
    4. Store the model.

    `mixexp.selection` sets `_growth` before the fit to go along it in another way.
    """
    _refuse_what_cannot_grow(mixture, arguments)
    growth: Growth | None = mixture.__dict__.pop("_growth", None)
    seed = int(check_random_state(mixture.random_state).randint(2**31 - 1))
    watch = arguments.watch
    seed = seed if watch is None else watch.seed(seed)
    with single_thread():
        opened = mixture if growth else with_automatic_basis(mixture, _usual_basis(mixture, X))
        assembly = assemble(with_n_experts(opened, 1), X, y, arguments, target, seed)
        if watch is not None:
            identity = partial(data_identity, X, y, arguments, target)
            assembly = watch.assembled(mixture, assembly, target, identity)
        growth = _within(growth or _of_auto(mixture, assembly.problem), assembly.problem, mixture)
        path = list(grown(growth, Split(), assembly.problem_at))
        best = chosen(path, growth)
        k = path[best].n_experts
        if growth.searched and k > 1:
            path[best] = searched(path[best], assembly.problem_at(k), growth.criterion)
        outcome.store(mixture, path[best].run, path[best].restarts, assembly, target)
    mixture.selection_ = ExpertSelection.of(path, growth, best)
    mixture._mixexp_version = __version__
    return assembly.problem.rows


def with_automatic_basis(mixture: BaseMixtureOfExperts, basis: str) -> BaseMixtureOfExperts:
    """Return the mixture with what the gate's default basis stands for beside ``n_experts="auto"``.

    Borders may bend: a gate that is linear in skewed columns needs more experts than there are
    regions. `basis` is the name of what "auto" is for the columns of these rows.
    """
    opened = copy(mixture)
    if mixture.gate_basis == "auto":
        opened.gate_basis = basis
    return opened


def _usual_basis(mixture: BaseMixtureOfExperts, X: Any) -> str:
    """Return the name of the gate's default basis for these rows.

    Gaussians bend their borders themselves, and one of all splines has hundreds of covariances.
    """
    straight = parts.gate_is_classifier(mixture) or isinstance(mixture.gate, GaussianGate)
    if sp.issparse(X) or straight:
        return "linear"
    return _bent(X.shape[1])


def _bent(n_columns: int) -> str:
    """Return the name of the gate's default basis for so many dense columns."""
    if n_columns > MOST_QUANTILES:
        return "linear"
    return "spline" if n_columns <= MOST_SPLINES else "quantile"


def settled(mixture: BaseMixtureOfExperts) -> dict[str, Any]:
    """Return parameters for a refit of the mixture that a fit with "auto" has come to."""
    if mixture.n_experts == "auto":
        basis = "linear" if mixture.gate_basis_ is None else _bent(mixture.n_features_in_)
        mixture = with_automatic_basis(mixture, basis)
    return {"n_experts": mixture.n_experts_, "gate_basis": mixture.gate_basis}


def _numbers(most: int) -> tuple[int, ...]:
    """Return the numbers of experts that are tried: all up to `ALL_UP_TO`, then every `STEP`-th."""
    coarse = [*range(ALL_UP_TO + STEP, most, STEP), most]
    return (*range(1, min(most, ALL_UP_TO) + 1), *(k for k in coarse if k > ALL_UP_TO))


def _of_auto(mixture: BaseMixtureOfExperts, problem: SearchProblem) -> Growth:
    """Return the path of "auto"."""
    numbers = _numbers(mixture.max_experts)
    criterion = CRITERION if can_count(problem) else OTHERWISE
    return Growth(
        numbers, criterion, PATIENCE, LEAST, one_se=True, rows_per_parameter=ROWS_PER_PARAMETER
    )


def _within(growth: Growth, problem: SearchProblem, mixture: BaseMixtureOfExperts) -> Growth:
    """Return the path up to as many experts as there are rows, or groups, to begin from."""
    if growth.criterion != "cv" and not can_count(problem):
        raise ValueError(
            f"{parts.owner_of(mixture)}: criterion={growth.criterion!r} needs the number of "
            "parameters, which gate or experts do not have; a test of the likelihood ratio does "
            "too. Choose by select_n_experts with criterion='cv'."
        )
    most = problem.rows.units.n_rows
    numbers = tuple(k for k in growth.numbers if k <= most)
    if not numbers:
        raise ValueError(
            f"{parts.owner_of(mixture)}: {most} distinct rows with positive weight are fewer than "
            f"{growth.numbers[0]} experts, the smallest number to try. Lower n_experts."
        )
    return replace(growth, numbers=numbers)


def _refuse_what_cannot_grow(mixture: BaseMixtureOfExperts, arguments: FitArguments) -> None:
    """Raise if a parameter or argument is for one number of experts."""
    owner = parts.owner_of(mixture)
    what = ""
    if isinstance(mixture.expert, list | tuple):
        what = "expert is a list of as many experts"
    elif not isinstance(mixture.init, str):
        what = f"init={short(mixture.init)} is a start for one number of experts"
    elif arguments.labels is not None:
        what = "expert_labels name the experts"
    elif mixture.routing is not None:
        what = f"routing={mixture.routing!r} is for a given number of experts"
    elif mixture.warm_up is not None and not isinstance(mixture.warm_up, str):
        what = "warm_up is a mixture of a given number of experts"
    elif can(mixture.gate, "leaves_at") or hasattr(mixture.gate, "branching"):
        what = f"gate={mixture.gate!r} has a given number of leaves"
    elif is_mixture(mixture.expert):
        what = f"expert={name_of(mixture.expert)} is a mixture itself"
    else:
        for name in ("expert_features", "gate_features"):
            if one_each(getattr(mixture, name)):
                what = f"{name} is a list of one selection for each expert"
    if what:
        raise ValueError(
            f"{owner}: n_experts='auto' tries several numbers, and {what}. Give n_experts as an "
            "integer, or leave that parameter out."
        )
