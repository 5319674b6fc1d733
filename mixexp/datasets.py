"""Data sets for mixtures of experts: generators with known truth and small real tables."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.utils import Bunch, check_random_state, check_scalar

from mixexp._tables import check_flag, load_auto_mpg, load_concrete, load_ethanol, load_tone

__all__ = [
    "load_auto_mpg",
    "load_concrete",
    "load_ethanol",
    "load_tone",
    "make_box_tree",
    "make_inverse_sine",
    "make_piecewise_linear",
    "make_random_experts",
    "make_softmax_mixture",
]

#: Rows per expert, and sweeps over them, with which `make_softmax_mixture` balances its gate:
#: enough for every expert to get about its share.
_SKETCH_ROWS, _SKETCH_SWEEPS = 100, 50

#: Gates that `make_random_experts` draws at most.
_MOST_GATES = 1000

#: x + 0.3 sin(2 pi x) turns where its derivative, 1 + 0.6 pi cos(2 pi x), is zero.
_TURN = float(np.arccos(-1 / (0.6 * np.pi)) / (2 * np.pi))

#: Smallest noise for which `make_inverse_sine` computes its truth: an interval found by bisection
#: to 1e-16 then has a length accurate to about 1e-9, even if the noise is 0.
_NARROWEST = 1e-7


#: Where `make_box_tree` cuts a side: between these shares of its length.
_INNER = (0.4, 0.6)


def _check_number(
    caller: str, name: str, value: Any, kind: type, low: float, remedy: str, *, at_low: bool = True
) -> None:
    """Raise unless a parameter is a finite number of a kind, at least (or above) `low`."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be a number, not a bool.")
        bounds = "both" if at_low else "neither"
        check_scalar(value, name, kind, min_val=low, include_boundaries=bounds)
        if not np.isfinite(value):
            raise ValueError(f"{name} must be finite.")
    except (TypeError, ValueError) as error:
        message = f"{caller}: {name}={value!r} is not valid; give {remedy}."
        raise type(error)(message) from error


def _check_counts(caller: str, low: int = 1, **counts: Any) -> None:
    """Raise unless parameters are integers of at least `low`."""
    for name, value in counts.items():
        _check_number(caller, name, value, Integral, low, f"an integer of at least {low}")


def _check_noise(caller: str, noise: Any, n_experts: int, *, zero: bool = True) -> np.ndarray:
    """Return the noise of every expert (K,), given as one number or one per expert."""
    if np.ndim(noise) == 0:
        noise = [noise] * n_experts
    elif np.shape(noise) != (n_experts,):
        raise ValueError(
            f"{caller}: noise={noise!r} has shape {np.shape(noise)}; give one number, or "
            f"{n_experts} numbers, one for each expert or region."
        )
    remedy = f"a finite number {'of at least' if zero else 'above'} 0"
    for value in noise:
        _check_number(caller, "noise", value, Real, 0, remedy, at_low=zero)
    return np.array(noise, dtype=np.float64)


def _check_seed(caller: str, random_state: Any) -> np.random.RandomState:
    """Return a random number generator like scikit-learn; errors name the caller."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"{caller}: random_state={random_state!r} cannot seed a generator; give None, an "
            "integer from 0 to 2**32 - 1 or a numpy.random.RandomState."
        ) from error


def _draw_columns(rng: np.random.RandomState, proba: np.ndarray) -> np.ndarray:
    """Draw a column index for each row of the probabilities (n, K)."""
    below = np.cumsum(proba, axis=1) < rng.uniform(size=(len(proba), 1))
    # Rounding may leave the last sum a little under 1.
    return np.minimum(below.sum(axis=1), proba.shape[1] - 1)


def make_piecewise_linear(
    n_samples: int = 300,
    n_features: int = 1,
    n_regions: int = 3,
    *,
    noise: Any = 0.1,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    """Generate a linear function with different coefficients in each of several regions.

    X is uniform on [-1, 1]. The first feature is cut into `n_regions` intervals of equal length.
    Each interval has its own linear expert, and the slope in the first feature changes sign from
    one interval to the next. The function jumps at the cuts. This is a mixture of experts with a
    hard gate.

    Parameters
    ----------
    n_samples : int, default=300
        Number of rows.
    n_features : int, default=1
        Number of features.
    n_regions : int, default=3
        Number of regions.
    noise : float or array-like of shape (n_regions,), default=0.1
        Standard deviation of the normal noise, one for all regions or one for each.
    random_state : int, RandomState instance or None, default=None
        Seed. For an integer seed the truth does not depend on `n_samples`; to get test rows,
        generate more rows and split them.
    return_truth : bool, default=False
        If True, also return the truth.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The target.
    truth : :class:`~sklearn.utils.Bunch`
        Only if ``return_truth=True``: `gate_coef`, `gate_intercept`, `expert_coef`,
        `expert_intercept`, `dispersions`, `labels`, `gate_proba` and `mean`, as in
        :func:`make_softmax_mixture`, and the `cuts` (n_regions - 1,) of the first feature. A row
        belongs to the region of largest gate score ``X @ gate_coef.T + gate_intercept``; its
        gate probability is 1 there and 0 elsewhere.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid; the message names it.

    Examples
    --------
    >>> from mixexp.datasets import make_piecewise_linear
    >>> X, y, truth = make_piecewise_linear(random_state=0, return_truth=True)
    >>> X.shape, y.shape
    ((300, 1), (300,))
    >>> truth.cuts.round(3)
    array([-0.333,  0.333])
    """
    name = "make_piecewise_linear"
    _check_counts(name, n_samples=n_samples, n_features=n_features, n_regions=n_regions)
    dispersions = _check_noise(name, noise, n_regions)
    check_flag(name, "return_truth", return_truth)
    rng = _check_seed(name, random_state)

    ends = np.linspace(-1, 1, n_regions + 1)
    coef = rng.normal(size=(n_regions, n_features))
    signs = rng.choice([-1, 1]) * (-1) ** np.arange(n_regions)
    coef[:, 0] = signs * rng.uniform(1, 3, size=n_regions)
    # Levels are drawn at the centres of the regions: at 0, jumps would grow towards the ends.
    intercept = rng.normal(size=n_regions) - coef[:, 0] * (ends[1:] + ends[:-1]) / 2
    # Gate score k exceeds score k - 1 where the first feature exceeds the cut between the two.
    gate_coef = np.zeros((n_regions, n_features))
    gate_coef[:, 0] = np.arange(n_regions)
    gate_intercept = -np.cumsum(np.append(0.0, ends[1:-1]))

    X = rng.uniform(-1, 1, size=(n_samples, n_features))
    labels = np.argmax(X @ gate_coef.T + gate_intercept, axis=1)
    mean = np.sum(X * coef[labels], axis=1) + intercept[labels]
    y = mean + dispersions[labels] * rng.normal(size=n_samples)
    truth = Bunch(
        gate_coef=gate_coef,
        gate_intercept=gate_intercept,
        expert_coef=coef,
        expert_intercept=intercept,
        dispersions=dispersions,
        cuts=ends[1:-1],
        labels=labels,
        gate_proba=np.eye(n_regions)[labels],
        mean=mean,
    )
    return (X, y, truth) if return_truth else (X, y)


def make_box_tree(
    n_samples: int = 3000,
    n_features: int = 2,
    depth: int = 3,
    *,
    noise: Any = 0.1,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    """Generate a linear function with other coefficients in each box of a tree of splits.

    X is uniform on [-1, 1]. A tree cuts the cube into 2^depth boxes: every node cuts a side of its
    box, drawn at random, at 40 to 60 % of its length. Each box has its own linear expert, and the
    function jumps at the cuts. This is a hierarchical mixture of experts with hard gates.

    Parameters
    ----------
    n_samples : int, default=3000
        Number of rows.
    n_features : int, default=2
        Number of features.
    depth : int, default=3
        Number of levels of the tree.
    noise : float or array-like of shape (2**depth,), default=0.1
        Standard deviation of the normal noise, one for all boxes or one for each.
    random_state : int, RandomState instance or None, default=None
        Seed. For an integer seed the truth does not depend on `n_samples`.
    return_truth : bool, default=False
        If True, also return the truth.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The target.
    truth : :class:`~sklearn.utils.Bunch`
        Only if ``return_truth=True``: `expert_coef`, `expert_intercept`, `dispersions`, `labels`,
        `gate_proba` (1 in a row's box, 0 elsewhere) and `mean`, as in
        :func:`make_softmax_mixture`, and the nodes level by level, as in a heap: `features` and
        `cuts` (2**depth - 1,). Below node i, node 2 i + 1 holds what is at most the cut, and node
        2 i + 2 the rest; boxes are numbered from left to right.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid; the message names it.

    Examples
    --------
    >>> from mixexp.datasets import make_box_tree
    >>> X, y, truth = make_box_tree(depth=2, random_state=1, return_truth=True)
    >>> truth.features, truth.cuts.round(2)
    (array([1, 1, 0]), array([ 0.17, -0.5 ,  0.2 ]))
    """
    name = "make_box_tree"
    _check_counts(name, n_samples=n_samples, n_features=n_features, depth=depth)
    n_nodes, n_boxes = 2**depth - 1, 2**depth
    dispersions = _check_noise(name, noise, n_boxes)
    check_flag(name, "return_truth", return_truth)
    rng = _check_seed(name, random_state)

    features = rng.randint(n_features, size=n_nodes)
    shares = rng.uniform(*_INNER, size=n_nodes)
    low, high = -np.ones((2 * n_nodes + 1, n_features)), np.ones((2 * n_nodes + 1, n_features))
    cuts = np.empty(n_nodes)
    for node, (j, share) in enumerate(zip(features, shares, strict=True)):
        cuts[node] = low[node, j] + share * (high[node, j] - low[node, j])
        left, right = 2 * node + 1, 2 * node + 2
        low[[left, right]], high[[left, right]] = low[node], high[node]
        high[left, j] = low[right, j] = cuts[node]
    coef = rng.normal(size=(n_boxes, n_features))
    intercept = rng.normal(size=n_boxes)

    X = rng.uniform(-1, 1, size=(n_samples, n_features))
    nodes = np.zeros(n_samples, dtype=int)
    for _ in range(depth):
        right = X[np.arange(n_samples), features[nodes]] > cuts[nodes]
        nodes = 2 * nodes + 1 + right
    labels = nodes - n_nodes
    mean = np.sum(X * coef[labels], axis=1) + intercept[labels]
    y = mean + dispersions[labels] * rng.normal(size=n_samples)
    truth = Bunch(
        features=features,
        cuts=cuts,
        expert_coef=coef,
        expert_intercept=intercept,
        dispersions=dispersions,
        labels=labels,
        gate_proba=np.eye(n_boxes)[labels],
        mean=mean,
    )
    return (X, y, truth) if return_truth else (X, y)


def _balanced_gate(
    rng: np.random.RandomState, n_experts: int, n_features: int, sharpness: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return expert centres (K, d), and the coefficients and intercepts of a balanced gate."""
    sketch = rng.normal(size=(_SKETCH_ROWS * n_experts, n_features))
    centres = sketch[:n_experts].copy()
    for _ in range(_SKETCH_SWEEPS):  # k-means, for well-separated centres
        nearest = np.argmax(sketch @ centres.T - (centres**2).sum(axis=1) / 2, axis=1)
        for k in np.unique(nearest):
            centres[k] = sketch[nearest == k].mean(axis=0)
    coef = sharpness * (centres - centres[0])
    intercept = -sharpness * (centres**2).sum(axis=1) / 2
    for _ in range(_SKETCH_SWEEPS):
        usage = softmax(sketch @ coef.T + intercept, axis=1).mean(axis=0)
        # The intercept of an expert without rows grows in steps rather than to infinity.
        intercept -= np.log(np.maximum(n_experts * usage, 0.1))
    return centres, coef, intercept - intercept[0]


def make_softmax_mixture(
    n_samples: int = 500,
    n_features: int = 2,
    n_experts: int = 3,
    *,
    task: str = "regression",
    n_classes: int = 2,
    noise: Any = 0.3,
    sharpness: float = 5.0,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    """Generate a mixture of linear or logistic experts with a softmax gate.

    X is standard normal. Each expert has a centre, and its gate score is `sharpness` times the
    inner product of the row with that centre, plus an intercept that makes all experts about
    equally frequent unless the gate is very sharp. The coefficients of the experts and their
    levels at the centres are standard normal. For each row, an expert is drawn from the softmax of
    the gate scores, then y from that expert. In classification, some classes may not occur.

    Parameters
    ----------
    n_samples : int, default=500
        Number of rows.
    n_features : int, default=2
        Number of features.
    n_experts : int, default=3
        Number of experts.
    task : {"regression", "classification"}, default="regression"
        Linear experts with normal noise, or logistic experts.
    n_classes : int, default=2
        Number of classes, used in classification only.
    noise : float or array-like of shape (n_experts,), default=0.3
        In regression, the standard deviation of the noise, one for all experts or one for each.
        In classification, the scale of the Gumbel noise added to the linear scores of the
        classes, of which the largest wins: log-odds are scores divided by `noise`, which must
        be positive.
    sharpness : float, default=5.0
        Sharpness of the gate: 0 gives equal gate probabilities everywhere; large values give
        each expert a region with sharp boundaries.
    random_state : int, RandomState instance or None, default=None
        Seed. For an integer seed the truth does not depend on `n_samples`; to get test rows,
        generate more rows and split them.
    return_truth : bool, default=False
        If True, also return the truth.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The target, float64; in classification, integers from 0 to ``n_classes - 1``.
    truth : :class:`~sklearn.utils.Bunch`
        Only if ``return_truth=True``, with these attributes.

        gate_coef : ndarray of shape (n_experts, n_features)
            Coefficients of the gate; those of the first expert are 0.
        gate_intercept : ndarray of shape (n_experts,)
            Intercepts of the gate; that of the first expert is 0.
        expert_coef : ndarray of shape (n_experts[, n_classes], n_features)
            Coefficients of the experts; those of the first class are 0.
        expert_intercept : ndarray of shape (n_experts[, n_classes])
            Intercepts of the experts; that of the first class is 0.
        dispersions : ndarray of shape (n_experts,) or None
            Standard deviations of the noise; None in classification.
        labels : ndarray of shape (n_samples,)
            The expert that produced each row.
        gate_proba : ndarray of shape (n_samples, n_experts)
            Gate probabilities of each row.
        mean : ndarray of shape (n_samples,)
            The regression function E(y | x) of each row; only in regression.
        class_proba : ndarray of shape (n_samples, n_classes)
            P(y | x) of each row; only in classification.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid; the message names it.

    References
    ----------
    Jacobs, R. A., Jordan, M. I., Nowlan, S. J. and Hinton, G. E. (1991). Adaptive mixtures of
    local experts. Neural Computation, 3(1), 79-87.

    Examples
    --------
    >>> from mixexp.datasets import make_softmax_mixture
    >>> X, y, truth = make_softmax_mixture(random_state=0, return_truth=True)
    >>> X.shape, truth.gate_proba.shape
    ((500, 2), (500, 3))
    >>> X, y = make_softmax_mixture(task="classification", n_classes=4, random_state=0)
    >>> sorted(set(y.tolist()))
    [0, 1, 2, 3]
    """
    name = "make_softmax_mixture"
    _check_counts(name, n_samples=n_samples, n_features=n_features, n_experts=n_experts)
    _check_counts(name, low=2, n_classes=n_classes)
    if task not in ("regression", "classification"):
        raise ValueError(
            f"{name}: task={task!r} is not valid; give 'regression' or 'classification'."
        )
    classify = task == "classification"
    noise = _check_noise(name, noise, n_experts, zero=not classify)
    _check_number(name, "sharpness", sharpness, Real, 0, "a finite number of at least 0")
    check_flag(name, "return_truth", return_truth)
    rng = _check_seed(name, random_state)

    centres, gate_coef, gate_intercept = _balanced_gate(rng, n_experts, n_features, sharpness)
    # One score per expert, or per class of each expert; the first class is the reference.
    scores = (n_experts, n_classes) if classify else (n_experts,)
    coef = rng.normal(size=(*scores, n_features))
    # Levels are drawn at the centres: at 0, an expert's classes could all lie elsewhere.
    intercept = rng.normal(size=scores) - np.einsum("k...d,kd->k...", coef, centres)
    if classify:
        coef = (coef - coef[:, :1]) / noise[:, None, None]
        intercept = (intercept - intercept[:, :1]) / noise[:, None]

    X = rng.normal(size=(n_samples, n_features))
    gate_proba = softmax(X @ gate_coef.T + gate_intercept, axis=1)
    labels = _draw_columns(rng, gate_proba)
    rows = np.arange(n_samples)
    # (n, K), or (n, K, n_classes)
    predictions = np.tensordot(X, coef, axes=(1, -1)) + intercept
    truth = Bunch(
        gate_coef=gate_coef,
        gate_intercept=gate_intercept,
        expert_coef=coef,
        expert_intercept=intercept,
        dispersions=None if classify else noise,
        labels=labels,
        gate_proba=gate_proba,
    )
    if classify:
        expert_proba = softmax(predictions, axis=2)
        truth.class_proba = np.einsum("nk,nkc->nc", gate_proba, expert_proba)
        y = _draw_columns(rng, expert_proba[rows, labels])
    else:
        truth.mean = np.sum(gate_proba * predictions, axis=1)
        y = predictions[rows, labels] + noise[labels] * rng.normal(size=n_samples)
    return (X, y, truth) if return_truth else (X, y)


def make_random_experts(
    n_samples: int = 1000,
    n_features: int = 3,
    n_experts: int = 3,
    *,
    noise: float = 0.3,
    slope: float = 3.0,
    least_usage: float = 0.05,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    """Generate linear experts in random regions: problems whose number of experts is to be found.

    X is standard normal. The gate's slopes are random directions of one length, its intercepts 0;
    coefficients and intercepts of the experts are standard normal. For each row, an expert is drawn
    from the gate, then y from that expert. Unlike in `make_softmax_mixture`, regions differ in
    size, and noise is in proportion to what an expert explains.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    n_features : int, default=3
        Number of features.
    n_experts : int, default=3
        Number of experts.
    noise : float, default=0.3
        Standard deviation of an expert's noise, as a share of that of its means over all x.
    slope : float, default=3.0
        Length of the gate's slopes of each expert.
    least_usage : float, default=0.05
        Gates with an expert that has a smaller mean probability are drawn again. At most half of
        an equal share.
    random_state : int, RandomState instance or None, default=None
        Seed.
    return_truth : bool, default=False
        If True, also return the truth.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The target.
    truth : :class:`~sklearn.utils.Bunch`
        Only if ``return_truth=True``: `gate_coef`, `expert_coef` (n_experts, n_features),
        `expert_intercept`, `dispersions` (n_experts,), `labels` (n_samples,) and `gate_proba`
        (n_samples, n_experts).

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid; the message names it.

    Examples
    --------
    >>> from mixexp.datasets import make_random_experts
    >>> X, y, truth = make_random_experts(n_experts=4, random_state=0, return_truth=True)
    >>> X.shape, truth.gate_proba.shape
    ((1000, 3), (1000, 4))
    """
    name = "make_random_experts"
    _check_counts(name, n_samples=n_samples, n_features=n_features, n_experts=n_experts)
    for parameter, value in {"noise": noise, "slope": slope, "least_usage": least_usage}.items():
        _check_number(name, parameter, value, Real, 0, "a finite number of at least 0")
    if least_usage > 0.5 / n_experts:
        raise ValueError(
            f"{name}: least_usage={least_usage!r} is more than half of an equal share of "
            f"{n_experts} experts; give at most {0.5 / n_experts:.3g}."
        )
    check_flag(name, "return_truth", return_truth)
    rng = _check_seed(name, random_state)
    X = rng.normal(size=(n_samples, n_features))
    for _ in range(_MOST_GATES):
        gate_coef = rng.normal(size=(n_experts, n_features))
        gate_coef *= slope / np.linalg.norm(gate_coef, axis=1, keepdims=True)
        gate_proba = softmax(X @ gate_coef.T, axis=1)
        if gate_proba.mean(axis=0).min() >= least_usage:
            break
    else:
        raise ValueError(
            f"{name}: no gate was found that gives {n_experts} experts a share of "
            f"least_usage={least_usage!r} each; lower it, or give more features."
        )
    coef = rng.normal(size=(n_experts, n_features))
    intercept = rng.normal(size=n_experts)
    dispersions = noise * np.linalg.norm(coef, axis=1)
    labels = _draw_columns(rng, gate_proba)
    rows = np.arange(n_samples)
    mean = (X @ coef.T + intercept)[rows, labels]
    y = mean + dispersions[labels] * rng.normal(size=n_samples)
    truth = Bunch(
        gate_coef=gate_coef,
        expert_coef=coef,
        expert_intercept=intercept,
        dispersions=dispersions,
        labels=labels,
        gate_proba=gate_proba,
    )
    return (X, y, truth) if return_truth else (X, y)


def _forward(x: Any) -> Any:
    """Bishop's function x + 0.3 sin(2 pi x)."""
    return x + 0.3 * np.sin(2 * np.pi * np.asarray(x))


def _invert(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Invert `_forward` on an interval where it is monotone; clip values outside its range."""
    rising = _forward(high) > _forward(low)
    left, right = np.full(values.shape, low), np.full(values.shape, high)
    for _ in range(60):  # bisection: 2**-60 is below the spacing of doubles
        middle = (left + right) / 2
        go_right = (_forward(middle) < values) == rising
        left, right = np.where(go_right, middle, left), np.where(go_right, right, middle)
    return (left + right) / 2


def make_inverse_sine(
    n_samples: int = 300,
    *,
    noise: Any = 0.1,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    """Generate Bishop's inverse problem: one input, up to three separate solutions.

    x is uniform on (0, 1), and t = x + 0.3 sin(2 pi x) + e with e uniform on (-noise, noise). The
    forward problem, t from x, is an ordinary regression. This function returns the inverse
    problem, x from t: X is t and y is x. The function has two turning points and three branches,
    and for t around 0.35 and 0.65 the regression function lies between branches, where there are
    no data.

    Parameters
    ----------
    n_samples : int, default=300
        Number of rows.
    noise : float, default=0.1
        Half the width of the uniform noise.
    random_state : int, RandomState instance or None, default=None
        Seed.
    return_truth : bool, default=False
        If True, also return the truth.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The input t.
    y : ndarray of shape (n_samples,)
        The target x.
    truth : :class:`~sklearn.utils.Bunch`
        Only if ``return_truth=True``, with these attributes.

        forward : callable
            The function from x to t without noise.
        turning_points : ndarray of shape (2,)
            Turning points in x: the ends of the middle branch.
        labels : ndarray of shape (n_samples,)
            The branch (0, 1 or 2) of each row.
        intervals : ndarray of shape (n_samples, 3, 2)
            Given t, x is uniform on the union of three intervals, one per branch. These are
            their lower and upper ends, equal if a branch cannot have produced t.
        gate_proba : ndarray of shape (n_samples, 3)
            P(branch | t): the share of each interval in their total length.
        mean : ndarray of shape (n_samples,)
            The regression function E(x | t) of each row.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid; the message names it.

    Notes
    -----
    With a noise below 1e-7, the intervals are those of a noise of 1e-7.

    References
    ----------
    Bishop, C. M. (1994). Mixture density networks. Technical report NCRG/94/004, Aston
    University.

    Examples
    --------
    >>> from mixexp.datasets import make_inverse_sine
    >>> X, y, truth = make_inverse_sine(random_state=0, return_truth=True)
    >>> bool(abs(X[:, 0] - truth.forward(y)).max() <= 0.1)
    True
    >>> truth.turning_points.round(3)
    array([0.339, 0.661])
    """
    name = "make_inverse_sine"
    _check_counts(name, n_samples=n_samples)
    _check_number(name, "noise", noise, Real, 0, "a finite number of at least 0")
    check_flag(name, "return_truth", return_truth)
    rng = _check_seed(name, random_state)

    x = rng.uniform(size=n_samples)
    t = _forward(x) + rng.uniform(-noise, noise, size=n_samples)
    if not return_truth:
        return t[:, None], x
    ends = np.array([0.0, _TURN, 1 - _TURN, 1.0])
    width = max(noise, _NARROWEST)
    branches = list(zip(ends[:-1], ends[1:], strict=True))
    limits = [[_invert(t + w, *branch) for w in (-width, width)] for branch in branches]
    # (branch, limit, row) to (row, branch, limit); the middle branch falls, so its limits swap.
    intervals = np.sort(np.transpose(limits, (2, 0, 1)), axis=2)
    lengths = intervals[:, :, 1] - intervals[:, :, 0]
    gate_proba = lengths / lengths.sum(axis=1, keepdims=True)
    truth = Bunch(
        forward=_forward,
        turning_points=ends[1:-1],
        labels=np.searchsorted(ends[1:-1], x),
        intervals=intervals,
        gate_proba=gate_proba,
        mean=np.sum(gate_proba * intervals.mean(axis=2), axis=1),
    )
    return t[:, None], x, truth


def __dir__() -> list[str]:
    return __all__
