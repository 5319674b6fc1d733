"""The bank of linear experts: K ridge regressions in closed form."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone

from mixexp._blocks import Block, Design, Rows
from mixexp._numerics import solve_psd, unpack_symmetric
from mixexp._protocols import Family, Sums, evolve

__all__ = ["LinearBank"]

#: The floor of a dispersion, as a share of that of the one-expert fit.
FLOOR_SHARE = 1e-3

#: An expert with less than this share of all weight keeps its parameters.
EMPTY_SHARE = 1e-14


class LinearBank:
    """K linear models of one or more outputs, each with its own coefficients.

    The M-step of expert k is a weighted ridge regression, written as a step from the present
    coefficients: (Σ r x xᵀ + Λ) d = Σ r e x − Λ θ with residuals e, so that sums of squares are
    never differences of large numbers. The penalty is in units of the squared dispersion, as in
    `sklearn.linear_model.Ridge`: log-prior −θᵀΛθ / (2σ²), and σ² = (Σ r e² + θᵀΛθ) / Σ r.

    Parameters
    ----------
    template : estimator
        What `fitted` returns copies of.
    design : Design
    alpha : float
        Strength of the ridge penalty.
    input_units : bool
        Whether the penalty is on coefficients in input units, else on those of scaled columns.
    family : Family
    floor : ndarray of shape (n_outputs,)
        Smallest dispersions of a one-expert fit: what rounding of y leaves.
    """

    monotone = True

    def __init__(
        self,
        template: BaseEstimator,
        design: Design,
        *,
        alpha: float,
        input_units: bool,
        family: Family,
        floor: np.ndarray,
    ):
        self.template = template
        self.design = design
        self.penalty = design.penalty(alpha, input_units=input_units)
        self.family = family
        self.theta = np.zeros((1, len(floor), design.size))
        self.dispersions = np.ones((1, len(floor)))
        self.floor = floor

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.theta)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: coefficients of columns that vary, and dispersions."""
        k, q, p = self.theta.shape
        columns = p - int(np.sum(self.design.scale == 0))
        return k * q * columns + self.family.n_parameters(k, q)

    @property
    def on_floor(self) -> np.ndarray:
        """Whether an expert's dispersion sits on its floor, (K,)."""
        return np.any(self.dispersions <= self.floor * (1 + 1e-9), axis=1)

    def replicate(self, n_experts: int) -> LinearBank:
        """Return K copies of a one-expert bank, whose dispersion sets the floor."""
        return evolve(
            self,
            theta=np.repeat(self.theta, n_experts, axis=0),
            dispersions=np.repeat(self.dispersions, n_experts, axis=0),
            floor=np.maximum(FLOOR_SHARE * self.dispersions[0], self.floor),
        )

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m)."""
        k, q, p = self.theta.shape
        return (self.theta.reshape(k * q, p) @ block.matrix(self.design)).reshape(k, q, -1)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        log_prob, score = self.family.evaluate(block.y, self.predict(block), self.dispersions)
        block.keep(self, score)
        return log_prob

    def deviance(self, block: Block) -> np.ndarray:
        """Return squared residuals in units of the floor, which all experts share, (K, m)."""
        return (((block.y - self.predict(block)) / self.floor[:, None]) ** 2).sum(axis=1)

    def log_prior(self) -> float:
        """Return the log-prior: minus the penalty in units of the squared dispersion."""
        return -0.5 * float(np.sum(self.penalty * self.theta**2 / self.dispersions[..., None] ** 2))

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows: one an expert."""
        return len(self.theta)

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the weight rows: the responsibilities."""
        out[:] = resp

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return Σ r e x, Σ r e² and Σ r."""
        k, q, p = self.theta.shape
        score = block.recall(self)
        weighted = resp[:, None] * score
        sums = Sums(
            gradient=(weighted.reshape(k * q, -1) @ block.matrix(self.design).T).reshape(k, q, p),
            scatter=self.family.scatter(score, weighted),
        )
        if not self.design.intercept:  # else the Gram matrix has it
            sums["mass"] = resp.sum(axis=1)
        return sums

    def update(self, statistics: Sums, rows: Rows) -> LinearBank:
        """Return the bank after the M-step."""
        gram = unpack_symmetric(statistics["gram"], self.design.size)
        mass = gram[:, 0, 0] if self.design.intercept else statistics["mass"]
        alive = mass > EMPTY_SHARE * mass.sum()
        theta = self.theta.copy()
        scatter = statistics["scatter"].copy()
        for k in np.flatnonzero(alive):
            gradient = statistics["gradient"][k]
            rhs = gradient - self.penalty * theta[k]
            step = solve_psd(gram[k] + np.diag(self.penalty), rhs.T).T
            theta[k] += step
            scatter[k] += np.sum((step @ gram[k] - 2 * gradient) * step, axis=1)
        scatter = np.maximum(scatter, 0.0) + np.sum(self.penalty * theta**2, axis=2)
        dispersions = self.family.dispersion(scatter, np.where(alive, mass, 1.0), self.floor)
        if not getattr(self.family, "shared", False):
            dispersions[~alive] = self.dispersions[~alive]
        return evolve(self, theta=theta, dispersions=dispersions)

    def toward(self, new: LinearBank, t: float) -> LinearBank:
        """Return `new`: a closed form keeps its step."""
        return new

    def bounded(self) -> LinearBank:
        """Return this bank: a closed form cannot lower the bound."""
        return self

    def get_parameters(self) -> np.ndarray:
        """Return coefficients and log dispersions as one vector."""
        return np.concatenate([self.theta.ravel(), np.log(self.dispersions).ravel()])

    def set_parameters(self, vector: np.ndarray) -> LinearBank:
        """Return the bank with these parameters, dispersions on or above their floor."""
        theta, logs = np.split(vector, [self.theta.size])
        dispersions = np.exp(logs).reshape(self.dispersions.shape)
        return evolve(
            self,
            theta=theta.reshape(self.theta.shape),
            dispersions=np.maximum(dispersions, self.floor),
        )

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts as fitted scikit-learn estimators."""
        slopes, intercepts = self.design.to_input_units(self.theta)
        single = self.theta.shape[1] == 1
        experts = []
        for coef, intercept in zip(slopes, intercepts, strict=True):
            expert = clone(self.template)
            expert.coef_ = coef[0] if single else coef
            expert.intercept_ = float(intercept[0]) if single else intercept
            if not self.design.intercept:
                expert.intercept_ = 0.0
            expert.n_features_in_ = len(self.design.columns)
            if feature_names is not None:
                expert.feature_names_in_ = feature_names
            experts.append(expert)
        return experts
