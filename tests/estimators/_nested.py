"""Mixtures of mixtures, and four lines to fit them on."""

import numpy as np
from numpy.testing import assert_allclose

from mixexp import MixtureOfExpertsRegressor

SHORT = {"n_init": 1, "max_iter": 6, "tol": 0.0, "random_state": 0}
PAIR = MixtureOfExpertsRegressor(n_experts=2)


def four_lines(rng):
    """Return X, y of four lines, one a quadrant, and the quadrants."""
    X = rng.uniform(-1, 1, (300, 2))
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    lines = np.array([[4.0, 1, 0], [-4, 0, 2], [0, -4, 1], [9, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(300), X]), lines[quadrant])
    return X, y + 0.2 * rng.standard_normal(300), quadrant


def nested(expert=PAIR, n_experts=2, kind=MixtureOfExpertsRegressor, **options):
    return kind(expert, n_experts=n_experts, **{**SHORT, **options})


def check_equal(model, flat, X, y, **more):
    """Check that a mixture of mixtures and a flat one under a tree are the same model."""
    assert_allclose(model.lower_bounds_, flat.lower_bounds_, rtol=1e-9)
    assert_allclose(
        model.log_density(X, y, **more), flat.log_density(X, y, **more), rtol=1e-8, atol=1e-8
    )
    assert_allclose(model.predict(X), flat.predict(X), rtol=1e-8, atol=1e-8)
    k = len(flat.experts_)
    for ours, whole in (
        (model.gate_proba(X), flat.gate_proba(X)),
        (model.responsibilities(X, y, **more), flat.responsibilities(X, y, **more)),
        (model.usage_[None], flat.usage_[None]),
    ):
        pairs = whole[:, :k].reshape(len(whole), 2, -1).sum(axis=2)
        assert_allclose(ours, np.column_stack([pairs, whole[:, k:]]), atol=1e-8)
    assert_allclose(model.gate_proba(X), flat.gate_proba(X, level=1), atol=1e-8)


def leaves_of(model):
    """Return the innermost fitted experts, from left to right."""
    if not hasattr(model, "experts_"):
        return [model]
    return [leaf for expert in model.experts_ for leaf in leaves_of(expert)]
