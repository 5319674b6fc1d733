"""Shared parts of families: links between mean and linear predictor, and small sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

__all__ = [
    "LARGEST_ETA",
    "LARGEST_SLOPE",
    "SMALLEST_MEAN",
    "SMALL_TAIL",
    "FamilyDerivatives",
    "IdentityLink",
    "LogLink",
    "log_probability",
    "nested_sum",
    "on_or_above",
    "over_outputs",
    "root_mean_square",
    "weighted_sum",
]

#: Smallest mean of a log link, as the linear predictor of 0 would be -inf. It is far below any
#: unit that targets may have, such as farads.
SMALLEST_MEAN = 1e-300

#: Linear predictors of a log link are clipped to ± this: means stay finite and above 0 however far
#: from the training data.
LARGEST_ETA = 700.0

#: Bound of scores and curvatures of log links. Where they overflow, density and responsibility are
#: 0; 0 times this is 0, while 0 times inf would be NaN in the sums over rows.
LARGEST_SLOPE = 1e100


#: Smallest and largest dispersion: squares, and their inverses, stay finite. An exact fit to tiny
#: targets may have less, and an expert with next to no rows more.
SMALLEST_ROOT, LARGEST_ROOT = 1e-153, 1e153

#: Probabilities below this are computed on the log scale, as those of scipy lose their digits.
SMALL_TAIL = 1e-290

#: Terms of `nested_sum` before the rest is taken as a geometric series.
N_TERMS = 100

#: Optional methods of a family, which predictive distributions need.
OF_DISTRIBUTIONS = ("variance", "pdf", "cdf", "quantile", "sample")


class FamilyDerivatives(NamedTuple):
    """First and second derivatives of log p(y), what a family's `derivatives` returns.

    They are by the linear predictor η and the logarithms of the family's P parameters, of m rows
    and K experts.

    Parameters
    ----------
    by_eta : ndarray of shape (K, n_outputs, m)
        ∂ log p / ∂η.
    by_logs : ndarray of shape (P, K, n_outputs, m)
        ∂ log p / ∂ log-parameter.
    curvature : ndarray of shape (K, n_outputs, m)
        −∂² log p / ∂η², the exact one.
    crossed : ndarray of shape (P, K, n_outputs, m)
        −∂² log p / ∂η ∂ log-parameter.
    of_logs : ndarray of shape (P, P, K, n_outputs, m)
        −∂² log p / ∂ log-parameter ∂ log-parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.families import Gaussian
    >>> y, eta, parameters = np.array([[1.0]]), np.zeros((1, 1, 1)), np.full((1, 1, 1), 2.0)
    >>> found = Gaussian().derivatives(y, eta, parameters)  # z / σ, z² − 1
    >>> float(found.by_eta[0, 0, 0]), float(found.by_logs[0, 0, 0, 0])
    (0.25, -0.75)
    """

    by_eta: np.ndarray
    by_logs: np.ndarray
    curvature: np.ndarray
    crossed: np.ndarray
    of_logs: np.ndarray


class Link:
    """Defaults of families: one dispersion per expert and output."""

    #: "dispersions", if there is one, comes first.
    parameter_names: tuple[str, ...] = ("dispersions",)
    #: Whether y is a count, and the density a probability.
    discrete = False
    #: Whether curvatures differ between rows; if not, `evaluate` returns None for them.
    curved = False
    #: Whether an estimator's weights are responsibility times curvature.
    reweights = False
    #: Whether the dispersion is a scale: penalties are in units of its square, and it may not be 0.
    scaled = True

    def check(self, y: np.ndarray, owner: str) -> None:
        """Accept any y (n_outputs, n)."""

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return parameters to start from, (n_parameters, K, n_outputs): ones."""
        return np.ones((len(self.parameter_names), n_experts, n_outputs))

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of free parameters."""
        return len(self.parameter_names) * n_experts * n_outputs

    if not TYPE_CHECKING:  # with it, a type checker would accept any attribute

        def __getattr__(self, name: str) -> Any:
            """Name the missing method of a predictive distribution, and its documentation.

            Python calls this only for attributes that are not found otherwise.
            """
            owner = type(self).__name__
            if name in OF_DISTRIBUTIONS:
                raise AttributeError(
                    f"the family {owner} has no method {name}, which predict_distribution and "
                    "sample_y use; docs/own_family.md says how to write it."
                )
            raise AttributeError(f"{owner!r} object has no attribute {name!r}")


class IdentityLink(Link):
    """Base of families whose experts predict the mean, or location, itself.

    A subclass has a `name` and the methods `evaluate`, `statistics` and `update`; with `variance`,
    `pdf`, `cdf`, `quantile` and `sample` it serves predictive distributions too, and `logpdf`,
    `logcdf`, `sf` and `expectation` make their tails and moments exact.
    ``docs/own_family.md`` builds one.

    Examples
    --------
    >>> from mixexp.families import IdentityLink, Laplace
    >>> isinstance(Laplace(), IdentityLink)
    True
    """

    link = "identity"

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean of a linear predictor: itself."""
        return eta

    def eta(self, mean: np.ndarray) -> np.ndarray:
        """Return the linear predictor of a mean: itself."""
        return mean

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return parameters (P, K, n_outputs) moved into the range of `update`."""
        return on_or_above(parameters, floor)

    def supports(self, y: np.ndarray) -> np.ndarray:
        """Return where y is in the family's support: everywhere."""
        return np.ones(np.shape(y), dtype=bool)

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return targets (n_outputs, n) and weight factor for an estimator without offset."""
        return y - offset, None


class LogLink(Link):
    """Base of families whose experts predict the logarithm of the mean.

    A subclass has a `name` and the methods `evaluate`, `statistics` and `update`; see
    `IdentityLink`.

    Examples
    --------
    >>> from mixexp.families import LogLink, Poisson
    >>> isinstance(Poisson(), LogLink)
    True
    """

    link = "log"

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean of a linear predictor: its exponential, finite and above 0."""
        return np.exp(np.clip(eta, -LARGEST_ETA, LARGEST_ETA))

    def eta(self, mean: np.ndarray) -> np.ndarray:
        """Return the logarithm of a mean, which is raised to `SMALLEST_MEAN` if it is less."""
        return np.log(np.maximum(mean, SMALLEST_MEAN))

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return parameters (P, K, n_outputs) moved into the range of `update`."""
        return on_or_above(parameters, floor)

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return targets (n_outputs, n) and weight factor for an estimator without offset."""
        return y / np.exp(offset), None


def on_or_above(parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return parameters (P, K, n_outputs) with dispersions, which come first, raised to a floor."""
    parameters = parameters.copy()
    np.maximum(parameters[:1], floor, out=parameters[:1])
    return parameters


def log_probability(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return log P(Y ≤ y) from that probability and P(Y > y); none below log `SMALL_TAIL`."""
    return np.where(
        below > 0.5, np.log1p(-np.minimum(above, 0.5)), np.log(np.maximum(below, SMALL_TAIL))
    )


def nested_sum(ratio: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return 1 + r(0) (1 + r(1) (1 + …)), where the ratios r(n) of terms are between 0 and 1.

    The tails of distributions are such sums times the density, where they leave the range of
    doubles. The ratios change slowly there: after `N_TERMS` they are taken as equal.
    """
    total = 1 / (1 - ratio(N_TERMS))
    for n in range(N_TERMS - 1, -1, -1):
        total = 1 + ratio(n) * total
    return total


def over_outputs(log_prob: np.ndarray) -> np.ndarray:
    """Return the sum (K, m) over outputs of (K, n_outputs, m); a view if there is one output."""
    return log_prob[:, 0] if log_prob.shape[1] == 1 else log_prob.sum(axis=1)


def weighted_sum(weighted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums over rows of products of two (K, n_outputs, m): (K, n_outputs)."""
    return np.einsum("kqm,kqm->kq", weighted, values)


def root_mean_square(total: np.ndarray, mass: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return √(total / mass), none below `floor`; a total below 0 is rounding."""
    root = np.sqrt(np.maximum(total, 0.0)) / np.sqrt(mass)[:, None]  # the quotient may overflow
    return np.clip(root, np.maximum(floor, SMALLEST_ROOT), LARGEST_ROOT)
