"""A gate with one more expert, the noise, that is equally likely everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._blocks import Block, Rows
from mixexp._protocols import can, evolve

__all__ = ["NoiseGate"]

#: Smallest share of the noise, and of all else.
SMALLEST = 1e-12


class NoiseGate:
    """Noise with a constant share s, the last expert; the inner gate divides up the rest.

    g_k(x) = (1 − s) g̃_k(x). As one more class of a softmax the noise could not have a constant
    probability next to experts whose regions have sharp borders. The share's M-step is in closed
    form; the inner gate's is that for rows of weight w (1 − r_noise). All that is not about the
    noise is asked of the inner gate.

    A generative inner gate is a model of x too, and the x of noise is drawn from the same p(x) as
    any other. Noise then says nothing about which cluster x is from: log p(x), written as
    log Σ_k exp(log a_k N_k(x)), is bounded from below by Jensen's inequality at the present g̃(x),
    and the inner gate's M-step is that for responsibilities r_k + r_noise g̃_k(x), on full weights.

    Parameters
    ----------
    inner : Gate
        Started, of K experts.
    share : float
        Of the noise.

    Attributes
    ----------
    noise_share_ : float

    References
    ----------
    Banfield & Raftery (1993), Model-based Gaussian and non-Gaussian clustering, Biometrics 49:
    noise with a constant share.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0)
    >>> bool(0 < model.fit(X, y).gate_.noise_share_ < 0.1)
    True
    """

    def __init__(self, inner: Any, share: float):
        self.inner = inner
        self.noise_share_ = share

    def __repr__(self) -> str:
        return f"NoiseGate({self.inner!r}, {self.noise_share_:.3g})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("inner", "get_params"):
            raise AttributeError(name)
        found = getattr(self.inner, name)
        if name == "gram_weights":
            return lambda block, resp, out: found(*self._of_experts(block, resp), out)
        if name == "select":
            return lambda experts: evolve(self, inner=found(experts[:-1]))
        if name == "toward":
            return lambda new, t: evolve(new, inner=found(new.inner, t))
        if name == "to_text":
            return lambda *args, **kwargs: (
                f"{found(*args, **kwargs)}\nnoise: a share of {self.noise_share_:.2g} everywhere"
            )
        if name == "damped":
            return self._damped
        if name in ("bounded", "finished", "measured", "trimmed"):
            return lambda *args: evolve(self, inner=found(*args))
        return found

    def _damped(self, new: NoiseGate) -> NoiseGate:
        """Return the gate with a shorter next step than that to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else evolve(self, inner=inner)

    def _of_experts(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities without the part that is noise, or with it shared."""
        if can(self.inner, "log_marginal"):
            return block, resp[:-1] + resp[-1] * block.recall(self)
        return block.reweighted(resp[:-1].sum(axis=0)), resp[:-1]

    def without_noise(self) -> Any:
        """Return the inner gate."""
        return self.inner

    @property
    def monotone(self) -> bool:
        """Whether the inner gate is."""
        return bool(self.inner.monotone)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return int(self.inner.n_parameters) + 1

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x) with that of the noise last, (K + 1, m)."""
        log_prob = self.inner.log_prob(block)
        if can(self.inner, "log_marginal"):
            block.keep(self, np.exp(log_prob))
        log_prob = log_prob + np.log1p(-self.noise_share_)
        noise = np.full((1, block.n_rows), np.log(self.noise_share_))
        return np.concatenate([log_prob, noise])

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics, and the weight of the noise and of all."""
        return Both(
            self.inner.statistics(*self._of_experts(block, resp)),
            np.array([resp[-1].sum(), resp.sum()]),
        )

    def update(self, statistics: Any, rows: Rows) -> NoiseGate:
        """Return the gate after the M-step."""
        noise, total = statistics.mass
        share = float(np.clip(noise / total, SMALLEST, 1 - SMALLEST))
        return evolve(self, inner=self.inner.update(statistics.inner, rows), noise_share_=share)

    def get_parameters(self) -> np.ndarray:
        """Return the inner gate's parameters and the log-odds of the noise."""
        odds = np.log(self.noise_share_) - np.log1p(-self.noise_share_)
        return np.append(self.inner.get_parameters(), odds)

    def set_parameters(self, vector: np.ndarray) -> NoiseGate:
        """Return the gate with these parameters."""
        share = float(np.clip(1 / (1 + np.exp(-vector[-1])), SMALLEST, 1 - SMALLEST))
        return evolve(self, inner=self.inner.set_parameters(vector[:-1]), noise_share_=share)


class Both:
    """Statistics of the inner gate and of the noise, which add together."""

    def __init__(self, inner: Any, mass: np.ndarray):
        self.inner = inner
        self.mass = mass

    def __iadd__(self, other: Both) -> Both:
        self.inner += other.inner
        self.mass = self.mass + other.mass
        return self

    def __add__(self, other: Both) -> Both:
        return Both(self.inner + other.inner, self.mass + other.mass)

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self.inner[name] = value
