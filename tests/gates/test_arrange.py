"""Which region goes to which leaf, and how starts use it."""

import warnings
from itertools import combinations, permutations

import numpy as np
import pytest
from _problems import make_rows, random_resp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine import starts
from mixexp.gates import ConstantGate, HierarchicalGate, NestedGate
from mixexp.gates._arrange import _divided, _explained, _likeness, _swapped, arrangements


def paths_of(*branching):
    return [tuple(path) for path in np.ndindex(*branching)]


def stripes(x, k):
    """Return soft regions (K, n) from left to right."""
    edges = np.quantile(x, np.arange(1, k) / k)
    resp = np.eye(k)[np.searchsorted(edges, x)].T
    return 0.9 * resp + 0.1 / k


def order_of(paths, resp, rows):
    return arrangements(paths, resp, rows, rows.design(None))[0]


# ---------------------------------------------------------------- the measure


def test_likeness_is_what_least_squares_explains(rng):
    X, weight = rng.standard_normal((80, 2)), rng.exponential(size=80)
    rows = make_rows(X, weight=weight)
    resp = random_resp(rng, 5, 80) * weight
    (block,) = rows.blocks()
    matrix = block.matrix(rows.design(None))
    alike = _likeness(resp, matrix)
    mass, root = resp.sum(axis=0), np.sqrt(resp.sum(axis=0))
    for chosen in ([0], [1, 3], [0, 2, 4]):
        share = resp[chosen].sum(axis=0) / mass
        fit = np.linalg.lstsq(matrix.T * root[:, None], share * root, rcond=None)[0]
        explained = np.sum(mass * (matrix.T @ fit) ** 2)
        assert_allclose(alike[np.ix_(chosen, chosen)].sum(), explained, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[2, 2], [3, 3], [2, 2, 2], [4, 2], [1, 3]])
def test_divisions_are_the_best_there_are(sizes):
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(15):
        rng = np.random.default_rng(seed)
        rows = make_rows(rng.standard_normal((60, 3)))
        (block,) = rows.blocks()
        alike = _likeness(random_resp(rng, len(owner), 60, 3.0), block.matrix(rows.design(None)))
        best = max(
            _explained(alike, np.array(child)) for child in set(permutations(owner.tolist()))
        )
        found = _divided(alike, sizes, 1)[0]
        assert [len(own) for own in found] == sizes
        child = np.empty(len(owner), dtype=int)
        for c, own in enumerate(found):
            child[own] = c
        assert_allclose(_explained(alike, child), best, rtol=1e-7)


# ---------------------------------------------------------------- orders


def test_no_swap_is_left_that_explains_more(rng):
    for _ in range(20):
        root = rng.standard_normal((8, 8))
        alike, child = root @ root.T, rng.permutation(np.repeat([0, 1, 2], [3, 3, 2]))
        total = _swapped(alike, child)
        assert_allclose(total, _explained(alike, child))
        assert_array_equal(np.bincount(child), [3, 3, 2])
        for i, j in zip(*np.triu_indices(8, 1), strict=True):
            other = child.copy()
            other[[i, j]] = other[[j, i]]
            assert _explained(alike, other) <= total * (1 + 1e-8)


@pytest.mark.parametrize("branching", [(2, 2), (2, 2, 2), (2, 3), (4, 2), (1, 4), (4, 1)])
def test_neighbours_become_siblings(rng, branching):
    k = int(np.prod(branching))
    X = rng.uniform(-1, 1, (600, 2)) * [1.0, 1000.0]
    paths = paths_of(*branching)
    for _ in range(4):
        shuffled = rng.permutation(k)
        order = order_of(paths, stripes(X[:, 0], k)[shuffled], make_rows(X))
        assert sorted(order) == list(range(k))
        places = shuffled[order]  # of leaves, from left to right
        size = k
        for width in branching[:-1]:
            size //= width
            for run in places.reshape(-1, size):
                assert run.max() - run.min() == size - 1, (branching, places)


def test_the_order_that_was_given_is_kept_where_it_is_as_good_as_any(rng):
    X = rng.standard_normal((50, 2))
    resp = np.full((4, 50), 0.25)
    assert_array_equal(order_of(paths_of(2, 2), resp, make_rows(X)), np.arange(4))


def test_ragged_trees(rng):
    X = rng.uniform(-1, 1, (400, 1))
    paths = [(0, 0), (0, 1), (0, 2), (1,)]
    order = order_of(paths, stripes(X[:, 0], 4)[[2, 0, 3, 1]], make_rows(X))
    assert sorted(order) == [0, 1, 2, 3]
    places = np.array([2, 0, 3, 1])[order]
    assert places[3] in (0, 3)  # the leaf of its own is at one of the ends
    assert order_of([()], np.ones((1, 400)), make_rows(X)).tolist() == [0]
    order = order_of([(0, 1), (1, 0), (0, 0), (1, 1)], stripes(X[:, 0], 4), make_rows(X))
    assert {frozenset(order[[0, 2]].tolist()), frozenset(order[[1, 3]].tolist())} == {
        frozenset({0, 1}),
        frozenset({2, 3}),
    }


def test_weights_are_repetitions(rng):
    X, weight = rng.standard_normal((80, 3)), rng.integers(1, 5, size=80)
    resp = random_resp(rng, 8, 80, 3.0)
    weighted, repeated = make_rows(X, weight=weight * 1.0), make_rows(np.repeat(X, weight, axis=0))
    a = order_of(paths_of(2, 2, 2), resp, weighted)
    b = order_of(paths_of(2, 2, 2), np.repeat(resp, weight, axis=1), repeated)
    assert_array_equal(a, b)
    plain = order_of(paths_of(2, 2, 2), resp, make_rows(X))
    assert not np.array_equal(a, plain)  # so that weights matter here


@pytest.mark.parametrize("problem", ["empty region", "collinear", "constant", "one row"])
def test_awkward_data(rng, problem):
    X, resp = rng.standard_normal((60, 2)), random_resp(rng, 4, 60)
    if problem == "empty region":
        resp[1:] = 0.0
    if problem == "collinear":
        X[:, 1] = 2 * X[:, 0]
    if problem == "constant":
        X[:] = 7.0
    if problem == "one row":
        X, resp = X[:1], resp[:, :1]
    order = order_of(paths_of(2, 2), resp, make_rows(X))
    assert sorted(order) == [0, 1, 2, 3]


def test_trees_without_features_keep_the_order(rng):
    rows = make_rows(rng.standard_normal((40, 1)))
    gates = {(): ConstantGate(), (0,): ConstantGate(), (1,): ConstantGate()}
    gate = NestedGate(paths_of(2, 2), gates).start(rows, 4, None)
    assert_array_equal(gate.arrangements(random_resp(rng, 4, 40), rows), [np.arange(4)])
    assert isinstance(gate.flat(rows), ConstantGate)


# ---------------------------------------------------------------- in a fit


def tree_problem(rng, n=600):
    """Return X, y of four lines under a tree, the regions, and group-wise constant X[:, 0]."""
    X = rng.uniform(-1, 1, (n, 2))
    left = X[:, 0] < 0
    region = np.where(left, X[:, 1] > 0, 2 + (X[:, 1] > -0.3 + X[:, 0])).astype(int)
    lines = np.array([[4.0, 1, 0], [-4, 0, 2], [0, -4, 1], [9, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(n), X]), lines[region])
    return X, y + 0.2 * rng.standard_normal(n), region


def spied(monkeypatch):
    """Return a list that gets what each start passes to the arrangement, and its result."""
    calls = []
    plain = starts.arranged

    def spy(gate, gate_without_noise, context, resp):
        found = plain(gate, gate_without_noise, context, resp)
        calls.append((resp, found, context.rows))
        return found

    monkeypatch.setattr(starts, "arranged", spy)
    return calls


@pytest.mark.parametrize("setting", ["plain", "weights", "noise", "prior"])
def test_starts_are_arranged(rng, monkeypatch, setting):
    X, y, region = tree_problem(rng)
    calls = spied(monkeypatch)
    weight = rng.integers(0, 3, size=600) if setting == "weights" else None
    gate = HierarchicalGate(usage_prior=3.0 if setting == "prior" else 0.0)
    noise = setting == "noise"
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=gate, n_init=3, noise_expert=noise, max_iter=60, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=weight)
    assert len(calls) == 3
    for resp, found, rows in calls:
        assert found.shape == resp.shape == (4, rows.n_rows)
        assert np.all(found >= 0)
        assert_allclose(found.sum(axis=0), 1.0, rtol=1e-9)
    # regions of one half of the plane have one parent
    own = model.responsibilities(X, y)[:, :4].argmax(axis=1)
    expert = [np.bincount(own[region == r], minlength=4).argmax() for r in range(4)]
    assert sorted(expert) == [0, 1, 2, 3]
    assert expert[0] // 2 == expert[1] // 2


def test_groups_stay_together(rng, monkeypatch):
    X, y, _ = tree_problem(rng)
    groups = np.arange(600) // 3
    X = X[groups * 3]
    calls = spied(monkeypatch)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), n_init=2, max_iter=3, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, groups=groups)
    assert len(calls) == 2
    for _, found, rows in calls:
        assert_allclose(rows.shared(found), found, atol=1e-12)


@pytest.mark.parametrize("setting", ["labels", "init", "one level", "own columns"])
def test_what_the_user_numbered_is_not_arranged(rng, monkeypatch, setting):
    X, y, region = tree_problem(rng)
    calls = spied(monkeypatch)
    fit, options = {}, {}
    gate = HierarchicalGate((4,) if setting == "one level" else (2, 2))
    if setting == "labels":
        fit["expert_labels"] = np.where(np.arange(600) % 10 == 0, region, -1)
    if setting == "init":
        options["init"] = region
    if setting == "own columns":  # a region was found by the expert that sees its columns
        options["expert_features"] = [[0], [1], [0], [0, 1]]
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=gate, n_init=2, max_iter=3, random_state=0, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, **fit)
    assert not calls


def test_regions_are_found_by_a_gate_of_the_same_strength(rng):
    rows = make_rows(rng.standard_normal((40, 2)))
    gate = HierarchicalGate((2, 2), alpha=2.0, temperature=3.0).start(rows, 4, None)
    flat = gate.flat(rows)
    assert (flat.alpha, flat.temperature) == (2.0, 3.0)
    (block,) = rows.blocks()
    assert_allclose(softmax(flat.log_prob(block), axis=0), 0.25)
    assert flat.design is gate.design


def test_divisions_come_best_first_and_none_twice(rng):
    sums = rng.standard_normal((6, 3))
    alike = sums @ sums.T
    found = _divided(alike, [3, 3], 8)
    gains = [sum(alike[np.ix_(own, own)].sum() for own in division) for division in found]
    assert gains == sorted(gains, reverse=True)
    names = {frozenset(map(frozenset, division)) for division in found}
    assert len(names) == len(found) == 8
    best = max(
        alike[np.ix_(half, half)].sum() + alike[np.ix_(rest, rest)].sum()
        for half in map(list, combinations(range(6), 3))
        for rest in [[k for k in range(6) if k not in half]]
    )
    assert_allclose(gains[0], best)


@pytest.mark.slow
def test_the_order_is_that_in_which_the_tree_can_say_best_which_region_is_where(rng):
    # four bands side by side, of very different width: a linear discriminant goes by the rows far
    # out, a gate by the borders
    X = rng.uniform(0, 1, (600, 1))
    band = np.digitize(X[:, 0], [0.05, 0.1, 0.15])
    y = np.array([0.0, 5.0, -5.0, 9.0])[band] + 0.1 * rng.standard_normal(600)
    gate = HierarchicalGate((2, 2))
    model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
    given = clone(model).set_params(init=band).fit(X, y)
    assert model.lower_bound_ >= given.lower_bound_ - 1e-6
