"""The covariance of scores from score vectors, against its definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import covariance, information
from mixexp.datasets import make_piecewise_linear
from mixexp.protocols import Rows


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


@pytest.mark.parametrize("basis", ["linear", "quantile"])  # one design, and two
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_both_ways_give_the_same_covariance(monkeypatch, basis, n_classes):
    X, y = make_piecewise_linear(150, 2, noise=0.5, random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 2, 150)
    if n_classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
        model = MixtureOfExpertsClassifier(n_experts=3, gate_basis=basis, random_state=0)
    else:
        model = MixtureOfExpertsRegressor(
            n_experts=3, family="student_t", gate_basis=basis, random_state=0
        )
    model.fit(X, y, sample_weight=weight)
    rows = Rows(X, y if n_classes else y[None], weight, training=True)
    monkeypatch.setattr(covariance, "TILE_ITEMS", 1)  # several tiles of 64 rows
    chosen = []
    monkeypatch.setattr(information, "pairs_are_cheaper", lambda *_: chosen[-1])
    found = []
    for pairs in (True, False):
        chosen.append(pairs)
        found.append(model._model.information(rows))
    scale = np.abs(found[1].observed).max()
    assert_allclose(found[0].observed, found[1].observed, atol=1e-10 * scale)
    assert_allclose(found[0].complete, found[1].complete, atol=1e-10 * scale)
    assert_allclose(found[0].gradient, found[1].gradient, atol=1e-8)


def test_the_cheaper_way_is_chosen():
    """Half of the products of one design; of two, pairs cost more where predictors are many."""
    assert covariance.pairs_are_cheaper(4, [(2, 11)], 1)
    assert covariance.pairs_are_cheaper(8, [(1, 21), (1, 11)], 1)
    assert not covariance.pairs_are_cheaper(4, [(1, 3), (25, 3)], 0)
