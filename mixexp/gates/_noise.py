"""A gate with an extra expert, the noise, that is equally likely everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

__all__ = ["NoiseGate", "ZeroGate"]

#: Smallest share of the noise, and of its complement.
SMALLEST = 1e-12


class NoiseGate:
    """Noise with a constant share s as the last expert; the inner gate divides the rest.

    g_k(x) = (1 − s) g̃_k(x). As an extra class of a softmax, the noise could not have a constant
    probability next to experts whose regions have sharp borders. The M-step of the share has a
    closed form; the M-step of the inner gate uses rows of weight w (1 − r_noise). Everything
    unrelated to the noise is forwarded to the inner gate.

    A generative inner gate also models x, and noise rows draw x from the same p(x) as all others.
    Noise then carries no information about the cluster of x: log p(x), written as
    log Σ_k exp(log a_k N_k(x)), is bounded from below by Jensen's inequality at the current g̃(x),
    and the inner gate's M-step uses responsibilities r_k + r_noise g̃_k(x) and full weights.

    Parameters
    ----------
    inner : Gate
        After `start`, with K experts.
    share : float
        Share of the noise.

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

    #: What `to_text` calls the last expert.
    what = "noise"

    def __init__(self, inner: Any, share: float):
        self.inner = inner
        self.noise_share_ = share

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, {self.noise_share_:.3g})"

    # attributes that concern the experts alone come from the inner gate
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

    # an inner classifier has its fit settings before it is wrapped
    with_fitting = Hidden()

    # the share of the noise is not among its parameters
    scores = Hidden()
    slope = Hidden()
    tuned = Hidden()
    loosened = Hidden()
    limited = Hidden()
    penalised_as = Hidden()

    # a router, which is inside, is the one to descend a tree
    descended = Hidden()

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

    def _without_noise_rows(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities with noise excluded, or shared among the experts."""
        if can(self.inner, "log_marginal"):
            return block, resp[:-1] + resp[-1] * block.recall(self)
        return block.reweighted(resp[:-1].sum(axis=0)), resp[:-1]

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the inner gate's weight rows."""
        self.inner.gram_weights(*self._without_noise_rows(block, resp), out)

    def _with(self, inner: Any) -> NoiseGate:
        return evolve(self, inner=inner)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> NoiseGate:
        """Return the gate restricted to these experts, of which the noise is the last."""
        return self._with(self.inner.select(experts[:-1]))

    @if_inner_can("toward")
    def toward(self, new: NoiseGate, t: float) -> NoiseGate:
        """Return the gate a fraction t of the way to `new`; the noise takes its full step."""
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("damped")
    def damped(self, new: NoiseGate) -> NoiseGate:
        """Return the gate with a next step shorter than the one to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else self._with(inner)

    @if_inner_can("bounded")
    def bounded(self) -> NoiseGate:
        """Return the gate with the next step of the inner gate under a curvature bound."""
        return self._with(self.inner.bounded())

    @if_inner_can("ranked")
    def ranked(self, rows: Rows) -> NoiseGate:
        """Return the gate whose inner gate has counted the columns that the rows can tell apart."""
        return evolve(self, inner=self.inner.ranked(rows))

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> NoiseGate:
        """Return the gate ready to predict new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> NoiseGate:
        """Return the gate for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    @if_inner_can("trimmed")
    def trimmed(self) -> NoiseGate:
        """Return the gate without its record of the training rows."""
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
        """Return the inner gate as text, and the share of the noise.

        Parameters
        ----------
        *args, **kwargs
            Arguments of the inner gate's `to_text`.

        Returns
        -------
        str
        """
        text = self.inner.to_text(*args, **kwargs)
        return f"{text}\n{self.what}: a share of {self.noise_share_:.2g} everywhere"

    @if_inner_can("surveyed")
    def surveyed(self, rows: Rows) -> NoiseGate:
        """Return the gate after the inner one's look at all rows."""
        return self._with(self.inner.surveyed(rows))

    @if_inner_can("without_routing")
    def without_routing(self) -> NoiseGate:
        """Return the noise around the gate without its router."""
        return self._with(self.inner.without_routing())

    @if_inner_can("climbed")
    def climbed(self, block: Block, resp: np.ndarray) -> np.ndarray:
        """Return the log-probabilities that the M-step raises, the noise's last."""
        return self._with_noise(self.inner.climbed(block, resp[:-1]))

    def without_noise(self) -> Any:
        """Return the inner gate."""
        return self.inner

    @property
    def monotone(self) -> bool:
        """Whether the inner gate is monotone."""
        return bool(self.inner.monotone)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return int(self.inner.n_parameters) + 1  # fails if the inner gate has no such number

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), the noise last, (K + 1, m)."""
        log_prob = self.inner.log_prob(block)
        if can(self.inner, "log_marginal"):
            block.keep(self, np.exp(log_prob))
        return self._with_noise(log_prob)

    def _with_noise(self, log_prob: np.ndarray) -> np.ndarray:
        """Return log-probabilities (K, m) with the noise's share, (K + 1, m)."""
        noise = np.full((1, log_prob.shape[1]), np.log(self.noise_share_))
        return np.concatenate([log_prob + np.log1p(-self.noise_share_), noise])

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics, the weight of the noise and the total weight."""
        return NoiseSums(
            self.inner.statistics(*self._without_noise_rows(block, resp)),
            np.array([resp[-1].sum(), resp.sum()]),
        )

    def update(self, statistics: Any, rows: Rows) -> NoiseGate:
        """Return the gate after the M-step."""
        noise, total = statistics.mass
        share = float(np.clip(noise / total, SMALLEST, 1 - SMALLEST))
        return evolve(self, inner=self.inner.update(statistics.inner, rows), noise_share_=share)

    @if_inner_can("recentred")
    def recentred(self, statistics: Any, before: NoiseGate) -> tuple[NoiseGate, Any]:
        """Return the gate, and the statistics at the inner gate's coefficients."""
        inner, sums = self.inner.recentred(statistics.inner, before.inner)
        return self._with(inner), NoiseSums(sums, statistics.mass)

    @if_inner_can("softened")
    def softened(self, share: float) -> NoiseGate:
        """Return the gate whose inner one has this share of its coefficients."""
        return self._with(self.inner.softened(share))

    @if_inner_can("begun")
    def begun(self, rows: Rows) -> NoiseGate:
        """Return the gate whose inner one has coefficients of columns that begin to vary."""
        return self._with(self.inner.begun(rows))

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


class ZeroGate(NoiseGate):
    """A share of zeros as the last expert; the inner gate divides the rest, as in `NoiseGate`.

    Parameters
    ----------
    inner : Gate
        After `start`, with K experts.
    share : float
        Share of the zeros that no other expert has to explain.

    Attributes
    ----------
    zero_share_ : float

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, with an application to defects in
    manufacturing, Technometrics 34.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (500, 1))
    >>> y = np.where(rng.random(500) < 0.3, 0, rng.poisson(np.exp(1 + X[:, 0])))
    >>> model = MixtureOfExpertsRegressor(
    ...     n_experts=1, family="poisson", zero_expert=True, random_state=0
    ... ).fit(X, y)
    >>> bool(abs(model.gate_.zero_share_ - 0.3) < 0.06)
    True
    """

    what = "zero"

    @property
    def zero_share_(self) -> float:
        """Share of the zeros."""
        return self.noise_share_


class NoiseSums:
    """Additive statistics of the inner gate and the noise."""

    def __init__(self, inner: Any, mass: np.ndarray):
        self.inner = inner
        self.mass = mass

    def __iadd__(self, other: NoiseSums) -> NoiseSums:
        self.inner += other.inner
        self.mass = self.mass + other.mass
        return self

    def __add__(self, other: NoiseSums) -> NoiseSums:
        return NoiseSums(self.inner + other.inner, self.mass + other.mass)

    def scaled(self, factor: float) -> NoiseSums:
        """Return the statistics of rows whose weights are multiplied by a factor."""
        return NoiseSums(self.inner.scaled(factor), factor * self.mass)

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self.inner[name] = value
