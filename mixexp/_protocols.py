"""The few shapes that hold the library together. Read this file first.

Every EM iteration is a map over row blocks, a sum, and a small update. A *part* is a gate or a
bank of K experts. A bank sees rows; a gate sees *units*, which are the rows or, where rows are
grouped, one row a group. Parts are values: `update` returns a new part and leaves the old one as it
was, so going back to an earlier state means keeping a reference.

Optional capabilities are found by name and asked for with `can`:

``gram_weights(block, resp, out)`` and ``n_gram_weights``
    Write the weight rows (q, m) whose Gram matrix Σ_i w_qi x_i x_iᵀ the part needs on its
    ``design``. The engine stacks the requests of parts with the same design into one matrix
    product and adds the packed result to the part's statistics under ``"gram"``.
    ``n_gram_weights`` may be 0.
``log_marginal(block)``
    Only of a generative gate, which is a model of x too: log p(x), (m,), of the rows of a block
    that its ``log_prob`` has seen. The E-step adds it to the objective, which then is the joint
    log p(x, y), and the gate's M-step climbs Σ r (log g + log p(x)). It changes no responsibility.
``get_parameters()`` and ``set_parameters(v)``
    A flat, unconstrained vector; ``set_parameters`` returns a new part.
``toward(new, t)``
    The part that is a share t of the way to `new` where its step was a Newton step, and all of
    the way where it was in closed form: what the safeguard goes back to.
``bounded()``
    The same part with its next step under a bound of the curvature that cannot lower the
    objective.
``deviance(block)``
    Misfit of each expert (K, m) in a unit that all experts share: what clusterwise starts
    compare.
``select(experts)``
    The part of some of the experts, in that order: for experts that are dropped or reordered.
``finished(rows)``
    The part as it predicts for new rows: called once, for the state that is returned.
``trimmed()``
    The same part without what it only knew of the training rows.
``measured(rows)``
    The part that knows what it needs of the rows before a pass over them, such as the usage
    under a prior on it.
``depth``, ``flat(rows)``, ``arrangements(resp, rows)``
    Of a gate that is a tree: its levels, a gate between the same experts that is none, for starts,
    and orders (n_orders, K) of regions, given by responsibilities (K, n), that suit the tree.
``leaves_at(level)``
    The experts below each node of a level of the tree.
``expert_columns``
    The columns that each expert sees, a list, where they may have columns of their own.
``takes_missing``
    False where a gate takes no NaN, which is then refused by name.
``matching(statistics, rows)``
    The region that each expert of a bank fits best, where experts differ in kind.
``without_noise()``
    A gate without the share of the noise expert.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from mixexp._blocks import Block, Rows

__all__ = [
    "ExpertBank",
    "Family",
    "Gate",
    "Part",
    "Partition",
    "ShortRun",
    "StartContext",
    "Sums",
    "can",
    "evolve",
]

P = TypeVar("P")


class Sums(dict):
    """Statistics that add: the sums of two blocks are those of their union."""

    def __iadd__(self, other: Sums) -> Sums:
        for name, value in other.items():
            self[name] += value
        return self

    def __add__(self, other: Sums) -> Sums:
        return Sums({name: value + other[name] for name, value in self.items()})


@runtime_checkable
class Part(Protocol):
    """A gate or a bank of experts."""

    #: Whether `update` is (a safeguarded step of) the M-step of a likelihood, so that the
    #: lower bound climbs.
    monotone: bool

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), or log p_k(y | x), for the rows of a block: (K, m)."""

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return what the M-step needs of these rows; `resp` (K, m) carries the row weights."""

    def update(self: P, statistics: Any, rows: Rows) -> P:
        """Return the part after the M-step, given the sum over blocks and access to rows."""


class Gate(Part, Protocol):
    """The model of which expert is responsible, from x alone."""

    def start(self, rows: Rows, n_experts: int, columns: Any) -> Gate:
        """Return a part for these rows in which all experts are equally likely.

        `columns` is None for all features, positions, or a list of positions for each expert.
        """


class ExpertBank(Part, Protocol):
    """K models of y given x."""

    n_experts: int

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m) or class probabilities (K, n_classes, m)."""

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts as fitted scikit-learn estimators; names are those of X."""


class Family(Protocol):
    """Turns an expert's prediction into a density of y.

    With a method ``supports(y)``, where y is a value that it can have, densities are 0 elsewhere
    whatever `evaluate` says; y = 1 is a value that every family has.

    Shapes: y is (n_outputs, m); the linear predictor eta, score and curvature are
    (K, n_outputs, m); parameters are (P, K, n_outputs), one row for each of `parameter_names`.
    `mixexp.families` says what else a family has: link, range check, moments, distribution.
    """

    name: str

    #: "identity" or "log".
    link: str

    #: "dispersions" comes first where there is one.
    parameter_names: tuple[str, ...]

    #: Whether `evaluate` gives a curvature.
    curved: bool

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return parameters to start from."""

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of free parameters."""

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean, or location, of a linear predictor."""

    def eta(self, mean: np.ndarray) -> np.ndarray:
        """Return the linear predictor of a mean."""

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log p(y) (K, m), score, and curvature or None where it is 1.

        Score and curvature are the first and minus the second derivative of log p by eta, both
        times the squared dispersion; the curvature may be an expected or a majorising one.
        """

    def statistics(
        self, score: np.ndarray, curvature: Any, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return the additive statistics of the parameters, (S, K, n_outputs).

        `weighted` is the score times the responsibilities. The first one is twice the deviance in
        units of the squared dispersion: a bank adds to it what its step and its penalty change.
        """

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return parameters from statistics and the experts' weight (K,)."""


class ShortRun(NamedTuple):
    """What a start learns from a few EM iterations.

    `resp` (k, n) are responsibilities, `bound` the lower bound, `log_density` (n,) is
    log p(y | x), a group's divided among its rows; `flagged` says whether a dispersion is on its
    floor, so that the bound means little.
    """

    resp: np.ndarray
    bound: float
    log_density: np.ndarray
    flagged: bool


class StartContext(Protocol):
    """What a start may ask for.

    `turn` counts the starts of a fit: the first one, 0, may do what is best, the others may differ
    from it.
    """

    rows: Rows
    n_experts: int
    turn: int

    @property
    def features(self) -> np.ndarray:
        """Scaled features of the rows, (n, n_features)."""

    @property
    def targets(self) -> np.ndarray:
        """Scaled targets or class indicators of the rows, (n, n_targets)."""

    def fit_experts(self, resp: np.ndarray) -> Any:
        """Return a bank fitted on weighted rows; `resp` is (K, n)."""

    def deviance(self, bank: Any) -> np.ndarray:
        """Return every expert's misfit of every row, (K, n)."""

    def short_run(self, resp: np.ndarray, n_iter: int) -> ShortRun:
        """Return the end of a short EM run of the first k experts, from responsibilities (k, n)."""


class Partition(Protocol):
    """A start: responsibilities from which EM sets out.

    A start that is made of others may have ``bound(rows, resolve)``, which returns it ready for a
    fit to these rows: `resolve` turns whatever `init` may be into a start or responsibilities.

    With an attribute ``numbered`` that is true, it numbers the experts as the user did; labels of
    some rows (`expert_labels`) then do not renumber its regions.
    """

    #: Whether another seed gives another start.
    random: bool

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""


def can(part: object, *names: str) -> bool:
    """Return whether a part has these optional capabilities."""
    return all(hasattr(part, name) for name in names)


def evolve(part: P, **attributes: Any) -> P:
    """Return a shallow copy of a part with some attributes replaced."""
    new = copy.copy(part)
    vars(new).update(attributes)
    return new
