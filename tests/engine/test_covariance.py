"""The covariance of scores from score vectors, against its definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixexp._engine import covariance


@pytest.mark.parametrize("c", [3, 60])  # the second makes more columns than a block has
def test_score_vectors_give_the_covariance_by_its_definition(rng, monkeypatch, c):
    """Σ w (Σ_k r_k v_k v_kᵀ − s sᵀ) with s = Σ_k r_k v_k, stacked; runs of rows add up."""
    k, m = 3, 50
    vectors, mass = rng.standard_normal((k, c, m)), rng.uniform(0.5, 3, m)
    posterior = rng.dirichlet(np.ones(k), m).T
    runs = [slice(0, 20), slice(20, 45), slice(45, m)]
    monkeypatch.setattr(
        covariance, "score_vectors", lambda *_: ((rows, vectors[..., rows].copy()) for rows in runs)
    )
    sums = covariance.by_vectors(None, None, (None, None), posterior, mass)
    expected = np.zeros((k * c, k * c))
    for i in range(m):
        shares = posterior[:, i, None] * vectors[..., i]
        expected -= mass[i] * np.outer(shares, shares)
        for j in range(k):
            here = slice(j * c, (j + 1) * c)
            own = vectors[j, :, i]
            expected[here, here] += mass[i] * posterior[j, i] * np.outer(own, own)
    assert_allclose(covariance.from_vectors(sums), expected, atol=1e-10)
    gradient = np.einsum("i,ki,kci->kc", mass, posterior, vectors)
    assert_allclose(sums["gradient"], gradient, atol=1e-10)
