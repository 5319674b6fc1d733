"""A gate with one more expert, the noise, that is equally likely everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

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

    # what is about the experts alone is the inner gate's
    n_gram_weights = Forward()
    design = Forward()
    log_prior = Forward()
    log_marginal = Forward()
    cross_fitted = Forward()
    depth = Forward()
    leaves_at = Forward()
    expert_columns = Forward()
    flat = Forward()
    arrangements = Forward()
    takes_missing = Forward()
    featureless = Forward()
    ordered = Forward()
    nested = Forward()
    estimator = Forward()

    # it is put around a classifier that has been given what its fits need
    with_fitting = Hidden()

    # parameters and fitted attributes of the gates of mixexp.gates
    alpha = Forward()
    branching = Forward()
    covariance_type = Forward()
    missing = Forward()
    temperature = Forward()
    usage_prior = Forward()
    coef_ = Forward()
    intercept_ = Forward()
    indicator_coef_ = Forward()
    indicator_features_ = Forward()
    n_features_in_ = Forward()
    proba_ = Forward()
    weights_ = Forward()
    means_ = Forward()
    covariances_ = Forward()
    nodes_ = Forward()
    paths_ = Forward()
    children = Forward()
    split_texts = Forward()
    estimator_ = Forward()
    experts_of_labels_ = Forward()

    def _of_experts(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities without the part that is noise, or with it shared."""
        if can(self.inner, "log_marginal"):
            return block, resp[:-1] + resp[-1] * block.recall(self)
        return block.reweighted(resp[:-1].sum(axis=0)), resp[:-1]

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the inner gate's weight rows."""
        self.inner.gram_weights(*self._of_experts(block, resp), out)

    def _with(self, inner: Any) -> NoiseGate:
        return evolve(self, inner=inner)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> NoiseGate:
        """Return the gate between some experts, the noise last among them."""
        return self._with(self.inner.select(experts[:-1]))

    @if_inner_can("toward")
    def toward(self, new: NoiseGate, t: float) -> NoiseGate:
        """Return the gate a share t of the way to `new`; the noise keeps its step."""
        return evolve(new, inner=self.inner.toward(new.inner, t))

    @if_inner_can("damped")
    def damped(self, new: NoiseGate) -> NoiseGate:
        """Return the gate with a shorter next step than that to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else self._with(inner)

    @if_inner_can("bounded")
    def bounded(self) -> NoiseGate:
        """Return the gate with the inner one's next step under a bound of the curvature."""
        return self._with(self.inner.bounded())

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> NoiseGate:
        """Return the gate as it predicts for new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> NoiseGate:
        """Return the gate for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    @if_inner_can("trimmed")
    def trimmed(self) -> NoiseGate:
        """Return the gate without what it only knew of the training rows."""
        return self._with(self.inner.trimmed())

    @if_inner_can("set_params")
    def set_params(self, **params: Any) -> NoiseGate:
        """Set parameters of the inner gate, such as its temperature.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self
        """
        self.inner.set_params(**params)
        return self

    @if_inner_can("to_text")
    def to_text(self, *args: Any, **kwargs: Any) -> str:
        """Return the inner gate in words, and the share of the noise.

        Parameters
        ----------
        *args, **kwargs
            As the inner gate's `to_text` takes them.

        Returns
        -------
        str
        """
        text = self.inner.to_text(*args, **kwargs)
        return f"{text}\nnoise: a share of {self.noise_share_:.2g} everywhere"

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
        return int(self.inner.n_parameters) + 1  # no number where the inner gate has none

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
        return NoiseSums(
            self.inner.statistics(*self._of_experts(block, resp)),
            np.array([resp[-1].sum(), resp.sum()]),
        )

    def update(self, statistics: Any, rows: Rows) -> NoiseGate:
        """Return the gate after the M-step."""
        noise, total = statistics.mass
        share = float(np.clip(noise / total, SMALLEST, 1 - SMALLEST))
        return evolve(self, inner=self.inner.update(statistics.inner, rows), noise_share_=share)

    @if_inner_can("get_parameters")
    def get_parameters(self) -> np.ndarray:
        """Return the inner gate's parameters and the log-odds of the noise."""
        odds = np.log(self.noise_share_) - np.log1p(-self.noise_share_)
        return np.append(self.inner.get_parameters(), odds)

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> NoiseGate:
        """Return the gate with these parameters."""
        share = float(np.clip(1 / (1 + np.exp(-vector[-1])), SMALLEST, 1 - SMALLEST))
        return evolve(self, inner=self.inner.set_parameters(vector[:-1]), noise_share_=share)


class NoiseSums:
    """Statistics of the inner gate and of the noise, which add together."""

    def __init__(self, inner: Any, mass: np.ndarray):
        self.inner = inner
        self.mass = mass

    def __iadd__(self, other: NoiseSums) -> NoiseSums:
        self.inner += other.inner
        self.mass = self.mass + other.mass
        return self

    def __add__(self, other: NoiseSums) -> NoiseSums:
        return NoiseSums(self.inner + other.inner, self.mass + other.mass)

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self.inner[name] = value
