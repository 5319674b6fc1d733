"""The predictive distribution of a mixture of experts for classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import entr

from mixexp.distribution._arguments import checked_index, checked_number, checked_rng

__all__ = ["ClassDistribution"]

OWNER = "ClassDistribution"


class ClassDistribution:
    """Distribution of the class for each of n rows: Σ_k w_k P_k(class).

    Made by `MixtureOfExpertsClassifier.predict_distribution`. Its uncertainty has two parts:
    what the experts are unsure of themselves, and what they disagree on:

        entropy = expected_entropy + mutual_information

    the entropy of the mixture, the mean entropy of the experts under the gate, and the mutual
    information of class and expert given x. All are in nats.

    ``len(law)`` is n, and ``law[rows]`` the distribution of some rows, which are chosen as in an
    array: by number, slice, mask or indices.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Rows sum to 1.
    probabilities : ndarray of shape (n, n_experts, n_classes)
        Class probabilities of each expert; those without weight may be anything.
    classes : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.distribution import ClassDistribution
    >>> experts = np.array([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> law = ClassDistribution(np.full((2, 2), 0.5), experts, np.array(["no", "yes"]))

    Both rows are as uncertain as can be, the first as the experts do not know, the second as they
    contradict each other:

    >>> law.entropy().round(3)
    array([0.693, 0.693])
    >>> law.expected_entropy().round(3)
    array([0.693, 0.   ])
    >>> law.mutual_information().round(3)
    array([0.   , 0.693])
    """

    def __init__(self, weights: np.ndarray, probabilities: np.ndarray, classes: np.ndarray):
        self.weights = weights
        self.probabilities = probabilities
        self.classes = classes

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: Any) -> ClassDistribution:
        numbers = np.atleast_1d(np.arange(len(self))[rows])
        return ClassDistribution(self.weights[numbers], self.probabilities[numbers], self.classes)

    def component(self, k: int) -> ClassDistribution:
        """Return the distribution that one expert gives.

        Parameters
        ----------
        k : int
            Index of the expert, a column of `weights`.

        Returns
        -------
        ClassDistribution
            Of one expert with weight 1. Under routing, experts that are fitted one by one are not
            asked about rows that do not reach them; there it has no meaning.
        """
        one = [checked_index(k, self.weights.shape[1], OWNER)]
        return ClassDistribution(np.ones((len(self), 1)), self.probabilities[:, one], self.classes)

    def _of_experts(self) -> np.ndarray:
        """Return the experts' probabilities, 0 where they have no weight."""
        return np.where(self.weights[..., None] > 0, self.probabilities, 0.0)

    def proba(self) -> np.ndarray:
        """Return class probabilities, (n, n_classes)."""
        return np.minimum(np.einsum("nk,nkc->nc", self.weights, self._of_experts()), 1.0)

    def log_proba(self) -> np.ndarray:
        """Return the logarithm of `proba`, −inf where that is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.proba())

    def mode(self) -> np.ndarray:
        """Return the most probable class, (n,); of equally probable ones the first."""
        return self.classes[self.proba().argmax(axis=1)]

    def entropy(self) -> np.ndarray:
        """Return the entropy of the class, (n,)."""
        return entr(self.proba()).sum(axis=1)

    def expected_entropy(self) -> np.ndarray:
        """Return the mean entropy of the experts, (n,): what each is unsure of."""
        return np.einsum("nk,nkc->n", self.weights, entr(self._of_experts()))

    def mutual_information(self) -> np.ndarray:
        """Return the mutual information of class and expert, (n,): what the experts disagree on.

        It is the mean divergence of the experts from their mixture, and so never below 0.
        """
        experts, proba = self._of_experts(), self.proba()[:, None]
        inside = (experts > 0) & (proba > 0)
        ratio = np.divide(experts, proba, out=np.ones(experts.shape), where=inside)
        information = np.einsum("nk,nkc->n", self.weights, experts * np.log(ratio))
        return np.maximum(information, 0.0)  # a sum of terms of both signs may round below 0

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw classes, (n, n_samples)."""
        n_samples = checked_number(n_samples, OWNER)
        rng = checked_rng(random_state, OWNER)
        below = np.cumsum(self.proba(), axis=1)[:, :-1, None]
        drawn = (below <= rng.uniform(size=(len(self), 1, n_samples))).sum(axis=1)
        return self.classes[drawn]

    def to_frame(self, *, index: Any = None) -> Any:
        """Return probabilities, their entropy and its two parts as a pandas data frame.

        Parameters
        ----------
        index : array-like of shape (n,), default=None
            Row labels; None means 0, 1, ...

        Returns
        -------
        pandas.DataFrame
            One line per row; a column for each class, then `entropy`, `expected_entropy` and
            `mutual_information`.
        """
        import pandas as pd

        frame = pd.DataFrame(self.proba(), index=index, columns=list(self.classes))
        for name in ("entropy", "expected_entropy", "mutual_information"):
            frame[name] = getattr(self, name)()
        return frame
