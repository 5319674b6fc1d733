"""What all methods of a mixture of densities share: components, rows, outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from mixexp._checks import as_numbers
from mixexp.distribution._arguments import checked_index
from mixexp.distribution._families import component_values, log_mixed, mixed
from mixexp.distribution._quadrature import as_wide, by_blocks

__all__ = ["OWNER", "BaseMixture"]

#: The class that messages name.
OWNER = "MixtureDistribution"


class BaseMixture:
    """Weights, means and family parameters of the components of each row."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, parameters: np.ndarray, family: Any):
        self.weights = weights
        self.means = means
        self.parameters = parameters
        self.family = family

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: Any) -> Self:
        numbers = np.atleast_1d(np.arange(len(self))[rows])
        parameters = self.parameters[:, numbers] if self._by_row else self.parameters
        return type(self)(self.weights[numbers], self.means[numbers], parameters, self.family)

    @property
    def _by_row(self) -> bool:
        """Whether parameters differ by row, as numbers of trials do."""
        return self.parameters.ndim > self.means.ndim

    def component(self, k: int) -> Self:
        """Return the distribution of y if it comes from one expert.

        Parameters
        ----------
        k : int
            Index of the component, a column of `weights`.

        Returns
        -------
        distribution
            Of one component with weight 1. Under routing, experts that are fitted one by one are
            not asked about rows that do not reach them; there it has no meaning.
        """
        one = [checked_index(k, self.weights.shape[1], OWNER)]
        weights = np.ones((len(self), 1))
        parameters = self.parameters[:, :, one] if self._by_row else self.parameters[:, one]
        return type(self)(weights, self.means[:, one], parameters, self.family)

    def _finite_means(self) -> np.ndarray:
        """Return the means; 1, valid for any family, where an expert has no weight.

        Such an expert may predict inf, and inf − inf is NaN.
        """
        weights = self.weights.reshape(*self.weights.shape, *(1,) * (self.means.ndim - 2))
        return np.where(weights > 0, self.means, 1.0)

    def _each(self, name: str, y: np.ndarray | None = None) -> np.ndarray:
        """Return what a method of the family says of each component."""
        return component_values(name, self.family, y, self._finite_means(), self.parameters)

    def at(self, name: str, points: np.ndarray) -> np.ndarray:
        """Return a function of a law of one output at many points per row.

        Parameters
        ----------
        name : {"pdf", "logpdf", "cdf", "logcdf", "sf"}
            Which function.
        points : ndarray of shape (n, n_points)
            Values of y.

        Returns
        -------
        ndarray of shape (n, n_points)
        """
        means, parameters = self._finite_means()[..., None], self.parameters[..., None]
        values = component_values(name, self.family, points[:, None], means, parameters)
        return (log_mixed if name.startswith("log") else mixed)(self.weights, values)

    def _by_output(self, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        """Return a function of laws of one output for each output, (n[, n_outputs], ...)."""
        if self.means.ndim == 2:
            return by_blocks(self, function, *arrays)
        found = []
        for output in range(self.means.shape[2]):
            means, parameters = self.means[..., output], self.parameters[..., output]
            law = type(self)(self.weights, means, parameters, self.family)
            found.append(by_blocks(law, function, *(array[:, output] for array in arrays)))
        return np.stack(as_wide(found), axis=1)

    def _checked(self, y: Any) -> np.ndarray:
        """Return values of y, (n[, n_outputs])."""
        shape = (len(self.means), *self.means.shape[2:])
        y = as_numbers(y, "y", OWNER, f"Give one number a row, shape {shape}.")
        if np.any(np.isnan(y)):
            raise ValueError(f"{OWNER}: y contains NaN. Leave these rows out.")
        if y.shape == (*shape, 2) and self.family.name == "binomial":
            raise ValueError(
                f"{OWNER}: y has shape {y.shape}, and for family 'binomial' this is the "
                "distribution of one trial, 0 or 1, or of as many as predict_distribution is given "
                "by trials=. Give the successes alone, or ask log_density of the mixture."
            )
        try:
            return np.broadcast_to(y, shape)
        except ValueError as error:
            raise ValueError(
                f"{OWNER}: y has shape {y.shape} and must fit {shape}, one value a row; call once "
                "for each value of a grid."
            ) from error
