"""What several families need: links between mean and linear predictor, and small sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = [
    "LARGEST_ETA",
    "LARGEST_SLOPE",
    "SMALLEST_MEAN",
    "IdentityLink",
    "LogLink",
    "on_or_above",
    "over_outputs",
    "root_mean_square",
    "weighted_sum",
]

#: Smallest mean that a log link takes: the linear predictor of 0 would be -inf. It is no judgement
#: of what is small: targets may be in farads.
SMALLEST_MEAN = 1e-300

#: Linear predictors of a log link are held between minus this and this: means stay finite and above
#: 0 however far from the training data they are asked for.
LARGEST_ETA = 700.0

#: Bound of scores and curvatures of log links. Where they overflow the density is 0, and the
#: responsibility 0 times this is 0, where 0 times inf is NaN in the sums of all rows.
LARGEST_SLOPE = 1e100


#: Methods that a family may do without, and what then does not work.
OF_DISTRIBUTIONS = ("variance", "pdf", "cdf", "quantile", "sample")


class Link:
    """What families have unless they say otherwise: one dispersion per expert and output."""

    #: "dispersions" comes first where there is one.
    parameter_names: tuple[str, ...] = ("dispersions",)
    #: Whether y is a count, and the density a probability.
    discrete = False
    #: Whether curvatures differ between rows; else `evaluate` gives None for them.
    curved = False
    #: Whether an estimator's weights are responsibility times curvature.
    reweights = False

    def check(self, y: np.ndarray, owner: str) -> None:
        """Accept any y (n_outputs, n)."""

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return parameters to start from, (n_parameters, K, n_outputs): ones."""
        return np.ones((len(self.parameter_names), n_experts, n_outputs))

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of free parameters."""
        return len(self.parameter_names) * n_experts * n_outputs

    if not TYPE_CHECKING:  # a type checker would take it that every name is there

        def __getattr__(self, name: str) -> Any:
            """Say which method of a predictive distribution is missing, and where it is described.

            Python asks it for names that are not found otherwise only.
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
    `pdf`, `cdf`, `quantile` and `sample` it serves predictive distributions too.
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
        """Return parameters (P, K, n_outputs) moved to where `update` keeps them."""
        return on_or_above(parameters, floor)

    def supports(self, y: np.ndarray) -> np.ndarray:
        """Return where y is a value that the family can have: everywhere."""
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
        """Return the logarithm of a mean, which counts as `SMALLEST_MEAN` where it is less."""
        return np.log(np.maximum(mean, SMALLEST_MEAN))

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return parameters (P, K, n_outputs) moved to where `update` keeps them."""
        return on_or_above(parameters, floor)

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return targets (n_outputs, n) and weight factor for an estimator without offset."""
        return y / np.exp(offset), None


def on_or_above(parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return parameters (P, K, n_outputs) with dispersions, the first of them, above a floor."""
    parameters = parameters.copy()
    np.maximum(parameters[:1], floor, out=parameters[:1])
    return parameters


def over_outputs(log_prob: np.ndarray) -> np.ndarray:
    """Return the sum over outputs of (K, n_outputs, m): (K, m), a view where there is one."""
    return log_prob[:, 0] if log_prob.shape[1] == 1 else log_prob.sum(axis=1)


def weighted_sum(weighted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums over rows of products of two (K, n_outputs, m): (K, n_outputs)."""
    return np.einsum("kqm,kqm->kq", weighted, values)


def root_mean_square(total: np.ndarray, mass: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return √(total / mass), none below `floor`; a total below 0 is rounding."""
    return np.maximum(np.sqrt(np.maximum(total, 0.0) / mass[:, None]), floor)
