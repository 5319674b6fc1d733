"""The protocols that hold the library together. Read this file first.

Every EM iteration is a map over row blocks, a sum, and a small update. A *part* is a gate or a
bank of K experts. A bank sees rows; a gate sees *units*, which are the rows or, where rows are
grouped, one row per group. Parts are values: `update` returns a new part and leaves the old one
unchanged, and keeping a reference is enough to go back to an earlier state.

The protocols below list required methods. `CAPABILITIES` lists optional ones: the library asks for
each by name (`can`), in one place, and falls back if it is missing. A part that wraps another must
handle every capability: define it, forward it (`Forward`, `if_inner_can`), or hide it (`Hidden`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from sklearn.utils.metaestimators import available_if

from mixexp._derivatives import ParameterSpace, PriorDerivatives, Scores
from mixexp._rows.blocks import Block
from mixexp._rows.designs import Design, Units
from mixexp._rows.rows import Rows

__all__ = [
    "CAPABILITIES",
    "Block",
    "Capability",
    "Design",
    "ExpertBank",
    "Family",
    "Forward",
    "Gate",
    "Hidden",
    "ParameterSpace",
    "Part",
    "Partition",
    "PriorDerivatives",
    "Router",
    "Rows",
    "Scores",
    "ShortRun",
    "StartContext",
    "Sums",
    "Target",
    "Units",
    "can",
    "check_part",
    "evolve",
    "has_scale",
    "if_inner_can",
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

    def scaled(self, factor: float) -> Sums:
        """Return the statistics of rows whose weights are multiplied by a factor."""
        return Sums({name: factor * value for name, value in self.items()})


@runtime_checkable
class Part(Protocol):
    """A gate or a bank of experts.

    What is called with a block may run for several blocks at once, in threads, and must not change
    the part.
    """

    #: Whether `update` is (a safeguarded step of) the M-step of a likelihood, which never lowers
    #: the bound.
    monotone: bool

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), or log p_k(y | x), for the rows of a block: (K, m)."""

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return statistics for the M-step; `resp` (K, m) carries the row weights.

        `block.recall(self)` returns the value that `log_prob` passed to `block.keep(self, ...)`.
        """

    def update(self: P, statistics: Any, rows: Rows) -> P:
        """Return the part after the M-step, given the sum over blocks and access to rows."""


class Gate(Part, Protocol):
    """The model of which expert is responsible, from x alone."""

    def start(self, rows: Rows, n_experts: int, columns: Any) -> Gate:
        """Return a part for these rows in which all experts are equally likely.

        `columns` is None for all features, positions, a list of positions for each expert, or
        positions with a basis (`gate_basis`); `rows.design` takes all but the list.
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

    Derive from `mixexp.families.IdentityLink` or `LogLink`: they have all but `name`, `evaluate`,
    `statistics` and `update`. Shapes: y is (n_outputs, m); the linear predictor eta, score and
    curvature are (K, n_outputs, m); parameters are (P, K, n_outputs), one row for each of
    `parameter_names`.

    With an optional method ``supports(y)``, a mask of possible values, densities are 0 elsewhere
    whatever `evaluate` returns; y = 1 must be possible for every family. With an optional method
    ``derivatives(y, eta, parameters)`` (`FamilyDerivatives`) fits end with Newton steps, and
    ``bounds(floor)`` then gives the least and the largest parameters where more than dispersions
    are bounded. A method ``parameter_sums(y, eta, parameters, resp)`` takes the place of
    `statistics` where score and curvature do not say enough; `update` is then taken for a Newton
    step of the parameters' logarithms, which is shortened with the experts' steps. Where an
    attribute ``scaled`` is False the dispersion is no scale: penalties are not in its unit.
    """

    name: str

    #: "identity" or "log"; "logit" is the binomial family's alone, whose y (2, m) has trials.
    link: str

    #: "dispersions" comes first where there is one.
    parameter_names: tuple[str, ...]

    #: Whether `evaluate` gives a curvature.
    curved: bool

    #: Whether y is a count, and the density a probability.
    discrete: bool

    #: Whether an estimator's weights are responsibility times curvature.
    reweights: bool

    def check(self, y: np.ndarray, owner: str) -> None:
        """Raise a ValueError if y (n_outputs, n) is invalid for this family."""

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return parameters to start from."""

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of free parameters."""

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return parameters clipped to the range that `update` keeps, given a floor."""

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean, or location, of a linear predictor."""

    def eta(self, mean: np.ndarray) -> np.ndarray:
        """Return the linear predictor of a mean."""

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return targets and weight factor (or None) for an estimator without an offset."""

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log p(y) (K, m), score, and curvature, None if it is 1.

        Score and curvature are the first and minus the second derivative of log p by eta, both
        times the squared dispersion; the curvature may be an expected or a majorising one.
        """

    def statistics(
        self, score: np.ndarray, curvature: Any, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return the additive statistics of the parameters, (S, K, n_outputs).

        `weighted` is the score times the responsibilities. The first statistic is twice the
        deviance in units of the squared dispersion; a bank adds the changes by its step and its
        penalty.
        """

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return parameters from statistics and the experts' weight (K,)."""


class Target(Protocol):
    """The kind of target: numbers with a family, or classes."""

    @property
    def width(self) -> int:
        """Number of outputs, or of classes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row's prediction."""

    @property
    def classes(self) -> Any:
        """Labels (n_classes,), None for numbers."""

    @property
    def family(self) -> Any:
        """Density of numbers around an expert's prediction, None for classes."""

    def encode(self, y: np.ndarray, owner: str) -> np.ndarray:
        """Return checked training targets as `Rows` holds them."""

    def refuse_extreme(self, extremes: np.ndarray, owner: str) -> None:
        """Raise if targets of this range (n_outputs, 2) are too large or close to be squared."""

    def encode_new(self, y: Any, X: Any, owner: str) -> np.ndarray:
        """Return targets to score, as `Rows` holds them."""

    def counted(self, y: Any, trials: Any, owner: str) -> Any:
        """Return y, joined with its numbers of trials if there are some."""

    def refuse_impossible(self, y: np.ndarray, owner: str) -> None:
        """Raise if no expert can have produced y."""

    def possible(self, y: np.ndarray) -> np.ndarray | None:
        """Return a mask (m,) of possible y; None if all are."""

    def shaped(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs (n, K, width) as ``(n, K, *shape)``."""

    def noise(self, y: np.ndarray, owner: str) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-density of the noise expert and its support: low and high."""

    def offset(self, offset: Any, X: Any, owner: str, batch: str | None) -> np.ndarray | None:
        """Return a checked offset as `Rows` holds it."""


class Router(Protocol):
    """Determines the experts that a row reaches, and their weights, in training and prediction.

    Derive from `mixexp.routing.BaseRouter`: it has all but the parameters and `chosen`
    (docs/own_router.md).
    """

    #: Whether a last row of weights belongs to a fallback expert.
    needs_fallback: bool

    #: Whether training gives each row to one expert, and freezes the routes at its end.
    hard: bool

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""

    def weights(self, log_gate: np.ndarray) -> np.ndarray:
        """Return routing weights (K, m) from log g_k(x) (K, m); columns sum to 1.

        `log_gate` may be overwritten. Its columns need not be normalised.
        """


class ShortRun(NamedTuple):
    """Result of a few EM iterations, for a start.

    `resp` (k, n) are responsibilities, `bound` the lower bound, `log_density` (n,) is
    log p(y | x), a group's divided among its rows; `flagged` says whether an expert interpolates a
    few rows, which makes the bound meaningless. `state` holds the parameters at the end.
    """

    resp: np.ndarray
    bound: float
    log_density: np.ndarray
    flagged: bool
    state: Any = None


class StartContext(Protocol):
    """Data and services available to a start.

    `turn` counts the starts of a fit: the first, 0, may use the best guess, later ones may vary.
    """

    rows: Rows
    n_experts: int
    turn: int

    @property
    def features(self) -> np.ndarray:
        """Scaled features of the rows, (n, n_features); of wide rows, principal scores."""

    @property
    def targets(self) -> np.ndarray:
        """Scaled targets or class indicators of the rows, (n, n_targets)."""

    def fit_experts(self, resp: np.ndarray) -> Any:
        """Return a bank fitted on weighted rows; `resp` is (K, n)."""

    def deviance(self, bank: Any) -> np.ndarray:
        """Return every expert's misfit of every row, (K, n)."""

    def short_run(self, resp: np.ndarray, n_iter: int) -> ShortRun:
        """Return the end of a short EM run of the first k experts, from responsibilities (k, n)."""

    def best_run(
        self, starts: list[np.ndarray], n_compared: int, n_iter: int, least: float = -np.inf
    ) -> ShortRun:
        """Return the run that is best after `n_compared` iterations, after `n_iter` of them.

        Flagged ones come last. It may end early if its bound will hardly come to `least`.
        """

    def first_rows(self, n_rows: int) -> StartContext:
        """Return the context of about so many rows, the first ones: a random sample."""

    def posteriors(self, run: ShortRun) -> np.ndarray:
        """Return the responsibilities (k, n) of all rows at the end of a run on the first ones."""


class Partition(Protocol):
    """A start: initial responsibilities for EM.

    A compound start may have ``bound(resolve)``, which returns it ready for a fit: `resolve` turns
    any valid `init` into a start.

    If an attribute ``numbered`` is true, regions already follow the user's numbering of experts;
    labels of some rows (`expert_labels`) then do not renumber them.

    If an attribute ``varied`` is true, starts are of several kinds; fewer than `n_init` are then
    run if some agree, or if further ones bring nothing better.
    """

    #: Whether the start depends on the seed; False if missing.
    random: bool

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""


class Capability(NamedTuple):
    """An optional method or attribute of a part.

    `of` says which parts may have it: "part" (gates and banks), "gate" or "bank".
    """

    of: str
    purpose: str


#: All optional members of parts. A wrapper must handle every entry that concerns it.
CAPABILITIES: dict[str, Capability] = {
    "gram_weights": Capability(
        "part",
        "(block, resp, out): write the weight rows (q, m) whose Gram matrices Σ_i w_qi x_i x_iᵀ "
        "the part needs on its `design`. The engine stacks the requests of all parts with that "
        "design into one matrix product and adds the packed result to the statistics as 'gram'.",
    ),
    "n_gram_weights": Capability("part", "The number q of those rows; it may be 0."),
    "design": Capability("part", "The columns the part works on; see `Rows.design`."),
    "log_prior": Capability("part", "(): log-prior of the parameters; it enters the lower bound."),
    "n_parameters": Capability("part", "Number of free parameters, for aic, bic and icl."),
    "get_parameters": Capability("part", "(): the parameters as one unconstrained vector."),
    "set_parameters": Capability("part", "(vector): the part with these parameters."),
    "scores": Capability(
        "part",
        "(block, resp): first and second derivatives of the log-probabilities by the parameters "
        "(`Scores`), for the observed information. With it come the attribute `parameter_space` "
        "and, with a prior, the method `prior_derivatives()`.",
    ),
    "slope": Capability(
        "part",
        "(statistics): the gradient (P,) by the parameters of what the M-step raises, penalty "
        "included, and about the diagonal of minus its Hessian, (P,); None where the prior has "
        "edges, and for steps under a bound. Quasi-Newton steps use it for many coefficients.",
    ),
    "tuned": Capability(
        "part",
        "(statistics, rows): the part with its penalty's strength set by its evidence, between "
        "M-steps; `strengths` is an array of those it sets. Where they are many, `n_strengths` is "
        "how many parameters they count as.",
    ),
    "ranked": Capability(
        "part",
        "(rows): the part after a fit to these rows, with `n_parameters` that leaves out "
        "coefficients of columns that are sums of others, where no penalty determines them.",
    ),
    "underdetermined": Capability(
        "bank",
        "(rows): whether rows are so few for the coefficients that the evidence has to set the "
        "penalty of one expert (`tuned`) before there are several.",
    ),
    "strength_path": Capability(
        "bank",
        "(rows): where rows are few, strengths of the penalty (S,) from strong to weak, of which "
        "left-out rows choose that of one expert, and not its evidence.",
    ),
    "chosen_at": Capability(
        "bank",
        "(strength, missed=None): the bank with this strength, which left-out rows have chosen, "
        "and of one expert the mean squares (n_outputs,) by which it misses them: where rows are "
        "few, `tuned` leaves that of one expert, and makes that of several hardly weaker.",
    ),
    "left_out": Capability(
        "bank",
        "(rows): the residuals of one expert, by its strength, of rows left out one by one: "
        "`residuals(strength)`, (n_outputs, n), and `mean_squares(strength)` with their errors.",
    ),
    "dispersed": Capability(
        "bank",
        "(statistics, rows): the bank with dispersions that allow for the errors of coefficients.",
    ),
    "gate_limit": Capability(
        "bank", "(rows): the largest penalty that the evidence of a gate beside it may set."
    ),
    "limited": Capability(
        "gate", "(strength): the gate whose evidence sets penalties of at most this strength."
    ),
    "loosened": Capability(
        "part",
        "(): the part with penalties no stronger than those it began with, which its evidence has "
        "set; rows to come may need what those of the start did not (`partial_fit`).",
    ),
    "penalised_as": Capability(
        "gate",
        "(other): the gate with the penalties that the evidence has set for another gate of its "
        "kind; itself where they do not fit. A gate that begins anew in the same fit takes them.",
    ),
    "toward": Capability(
        "part",
        "(new, t): the part a share t of the way to `new` where its step was a Newton step; `new` "
        "itself where the step was in closed form. It is what the safeguard goes back to where "
        "there is no `damped`.",
    ),
    "damped": Capability(
        "part",
        "(new): the same part with a shorter next step than that to `new`, turned towards the "
        "gradient, which `update` then takes from the same statistics; the part itself where the "
        "step was in closed form. It is what the safeguard tries first. Parts remember how much "
        "damping helped.",
    ),
    "bounded": Capability(
        "part",
        "(): the same part with its next step under a bound of the curvature that cannot lower the "
        "objective.",
    ),
    "recentred": Capability(
        "part",
        "(statistics, before): this part, ready for the statistics of any rows, and statistics "
        "that were taken at the coefficients of `before` as they would be at its own, by their "
        "quadratic model. Online EM averages them over time; they have a method `scaled`.",
    ),
    "begun": Capability(
        "part",
        "(rows): the part with coefficients, 0 so far, of the columns that were constant in the "
        "rows it was made for and vary in these (`partial_fit`); itself where there are none.",
    ),
    "softened": Capability(
        "gate",
        "(share): the gate with this share of its coefficients. Borders that drifted "
        "(`partial_fit`) may be so steep that hardly a row says where they should be.",
    ),
    "expert_columns": Capability(
        "part",
        "The columns that each expert sees, a list: what is left where experts are dropped.",
    ),
    "select": Capability(
        "part", "(experts): the part of some experts, in this order: to drop and to reorder them."
    ),
    "measured": Capability(
        "part",
        "(rows): the part with what it needs to know of the rows before a pass over them, such as "
        "the usage under a prior on it.",
    ),
    "finished": Capability(
        "part", "(rows): the part as it predicts for new rows; called once, for the final state."
    ),
    "trimmed": Capability("part", "(): the part without what it only knew of the training rows."),
    "cross_fitted": Capability("part", "Whether its densities of training rows are out of fold."),
    "climbed": Capability(
        "gate",
        "(block): the log-probabilities whose Σ r log g the M-step raises, where they are not "
        "those of `log_prob`, as under routing.",
    ),
    "surveyed": Capability(
        "gate",
        "(rows): the gate after a look at all rows at its current parameters, before an E-step, as "
        "routers take that balance loads.",
    ),
    "without_routing": Capability("gate", "(): the gate without its router."),
    "descended": Capability(
        "gate",
        "(block, kept): of a tree, log g_k(x) (K, m) where only kept nodes are gone on from, and "
        "−inf elsewhere. `kept` takes log-probabilities (J, m) of nodes and leaves and returns a "
        "mask, or None for all.",
    ),
    "log_marginal": Capability(
        "gate",
        "(block): of a generative gate, log p(x) (m,) of the rows of a block that `log_prob` has "
        "seen. The E-step adds it to the objective, which is then the joint log p(x, y), and the "
        "gate's M-step climbs Σ r (log g + log p(x)). It changes no responsibility.",
    ),
    "coef_": Capability(
        "gate", "Slopes of a linear gate, whose likelihood has no maximum where it separates."
    ),
    "depth": Capability("gate", "Levels of a tree; a gate without it has one."),
    "leaves_at": Capability("gate", "(level): the experts below each node of a level of the tree."),
    "flat": Capability("gate", "(rows): of a tree, a gate between its experts that is none."),
    "arrangements": Capability(
        "gate", "(resp, rows): of a tree, orders (n_orders, K) of regions (K, n) that suit it."
    ),
    "without_noise": Capability("gate", "(): the gate without the share of the noise expert."),
    "with_fitting": Capability(
        "gate",
        "(n_folds, seed, n_jobs, owner): of a gate that is a classifier, the gate with what its "
        "fits need. Starts run with a softmax gate in its place.",
    ),
    "estimator": Capability("gate", "The classifier of such a gate."),
    "takes_missing": Capability(
        "gate", "Whether NaN is taken; a gate from outside mixexp without it takes none."
    ),
    "featureless": Capability("gate", "True where features may differ within groups."),
    "ordered": Capability("gate", "True where the experts have places that may not change."),
    "nested": Capability("gate", "True where the user's mixtures of mixtures made the tree."),
    "family": Capability("bank", "The family of numbers; None for classes."),
    "parameters": Capability("bank", "The family's parameters (P, K, n_outputs)."),
    "replicate": Capability("bank", "(n_experts): of one expert, K copies; it sets the floor."),
    "deviance": Capability(
        "bank",
        "(block): misfit of each expert (K, m) in a unit that all experts share, for starts.",
    ),
    "floor": Capability("bank", "Smallest dispersions (n_outputs,)."),
    "with_floor": Capability(
        "bank",
        "(floor): the bank with smallest dispersions, (n_outputs,) or for each expert "
        "(K, n_outputs): the resolution of y, and experts that would go through few rows.",
    ),
    "ceiling": Capability("bank", "Largest dispersions (n_outputs,), or None."),
    "with_ceiling": Capability(
        "bank", "(ceiling): the bank with largest dispersions: wider experts are noise."
    ),
    "n_coefficients": Capability("bank", "Coefficients of an output of each expert, (K,)."),
    "on_floor": Capability("bank", "Whether an expert's dispersion sits on its floor, (K,)."),
    "matching": Capability(
        "bank",
        "(statistics, rows): the region that each expert fits best, where experts differ in kind.",
    ),
    "with_common": Capability(
        "bank",
        "(rows): the bank after an M-step in which all experts are one model of all rows, as a "
        "rival whose bound is comparable; None where it is not.",
    ),
    "calibration": Capability("bank", "Calibration of cross-fitted class probabilities, or None."),
    "predicted_rows": Capability(
        "bank",
        "Mask (n,) of the training rows whose predictions are known after a fit, None for all.",
    ),
    "trainer": Capability("bank", "How the estimators of a batch bank are fitted."),
    "merged": Capability(
        "bank", "(columns): of a mixture of mixtures, columns of leaves summed by expert."
    ),
}

#: Required members of each kind of object.
REQUIRED: dict[str, tuple[str, ...]] = {
    "gate": ("get_params", "start"),
    "part": ("log_prob", "statistics", "update", "monotone"),
    "family": (
        *("name", "link", "parameter_names", "curved", "discrete", "reweights", "check", "initial"),
        *("n_parameters", "mean", "eta", "without_offset", "evaluate", "statistics", "update"),
    ),
    "start": ("responsibilities",),
    "router": ("check", "weights", "surveyed", "select", "started", "needs_fallback"),
}

#: Required attributes that are not methods.
ATTRIBUTES = (
    *("monotone", "needs_fallback"),
    *("name", "link", "parameter_names", "curved", "discrete", "reweights"),
)

#: Documentation pages on writing one.
PAGES = {
    "family": "docs/own_family.md",
    "start": "docs/own_start.md",
    "router": "docs/own_router.md",
}

#: Remedies for missing members.
REMEDIES = {
    "family": " Derive from IdentityLink or LogLink of mixexp.families: they have all but `name`, "
    "`evaluate`, `statistics` and `update`.",
    "router": " Derive from mixexp.routing.BaseRouter: it has all but `chosen`.",
}


def check_part(value: Any, kind: str, owner: str, what: str) -> None:
    """Raise if an object lacks required members of its kind.

    Parameters
    ----------
    value : object
    kind : {"gate", "part", "family", "start", "router"}
    owner : str
        The class that messages name.
    what : str
        The object's name for the user: "family", "`start` of the gate".

    Raises
    ------
    TypeError
        With the missing names and the page that explains them.
    """
    if isinstance(value, type):
        raise TypeError(
            f"{owner}: {what} must be an instance, got the class {value.__name__}. Write "
            f"{value.__name__}()."
        )
    missing = [
        name
        for name in REQUIRED[kind]
        if not (
            hasattr(value, name) if name in ATTRIBUTES else callable(getattr(value, name, None))
        )
    ]
    if missing:
        page = PAGES.get(kind, "docs/own_gate.md")
        raise TypeError(
            f"{owner}: {what} {type(value).__name__} has no {' and no '.join(missing)}; {page} "
            f"says what each is for.{REMEDIES.get(kind, '')}"
        )


def can(part: object, *names: str) -> bool:
    """Return whether a part has these optional capabilities."""
    for name in names:  # noqa: SIM110 - in every pass; `all` takes three times as long
        if not hasattr(part, name):
            return False
    return True


def has_scale(family: Family) -> bool:
    """Return whether a family has dispersions that are scales, which an exact fit sends to 0."""
    return "dispersions" in family.parameter_names and getattr(family, "scaled", True)


def evolve(part: P, **attributes: Any) -> P:
    """Return a shallow copy of a part with some attributes replaced.

    It has the same attributes, whatever the part leaves out where it is pickled.
    """
    new = object.__new__(type(part))
    vars(new).update(vars(part), **attributes)
    return new


class Forward:
    """A capability that a wrapper forwards to its `inner` part, if that has it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        """Return the inner part's attribute; raise AttributeError if it has none."""
        return self if wrapper is None else getattr(wrapper.inner, self.name)


class Hidden:
    """A capability that a wrapper lacks, even if its inner part has it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        """Raise an AttributeError, so that `can` says no."""
        if wrapper is None:
            return self
        raise AttributeError(f"{type(wrapper).__name__} has no {self.name}")


def if_inner_can(name: str) -> Callable[[Callable], Any]:
    """Return a decorator for wrapper methods that exist if the inner part has `name`."""
    return available_if(lambda wrapper: hasattr(wrapper.inner, name))


def __dir__() -> list[str]:
    return __all__
