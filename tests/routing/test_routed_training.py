"""Training under a router: bounds, and what is learnt from a bad start."""

import numpy as np
import pytest
from _routed import pieces, regressor
from numpy.testing import assert_allclose, assert_array_equal

import mixexp._engine.search
from mixexp._engine.assign import Hard
from mixexp._estimators.routed import Routes
from mixexp.gates import SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP
from mixexp.routing._assigners import Even, Queue

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LONG = {"max_iter": 100}


def falls(bounds):
    return np.min(np.diff(bounds), initial=0.0) < -1e-9


def unraced(problem, bank):
    return problem.start.candidates(problem, bank, [0])


@pytest.mark.parametrize("params", [{}, {"noise_expert": True}, {"gate": SoftmaxGate(0.0)}])
def test_classification_em_and_frozen_routes_climb(params, monkeypatch):
    X, y, _ = pieces(noise=1.0)
    model = regressor(routing=TopK(1), init=np.arange(240) % 4, **{**LONG, **params})
    assert not falls(model.fit(X, y).lower_bounds_)  # of the experts on frozen routes
    monkeypatch.setattr(mixexp._engine.search, "frozen", lambda problem, run: run)
    monkeypatch.setattr(mixexp._engine.search, "raced", unraced)
    model.fit(X, y)
    assert len(model.lower_bounds_) > 2 and not falls(model.lower_bounds_)


@pytest.mark.parametrize("router", [TopK(1), TopK(2), TopK(2, False, fallback="mean"), TopP(0.9)])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_bound_is_the_mean_log_density_and_the_priors(router, alpha):
    X, y, _ = pieces(noise=1.0)
    weight = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    model = regressor(routing=router, gate=SoftmaxGate(alpha)).fit(X, y, weight)
    gate, bank = model._model.dense_gate, model._model.bank
    priors = gate.log_prior() + bank.log_prior()
    total = model.log_density(X, y) @ weight + priors
    assert_allclose(model.lower_bound_, total / weight.sum(), rtol=1e-9)


def test_experts_of_frozen_routes_are_those_of_their_rows():
    """Each is the fit of a single expert to its rows."""
    from sklearn.linear_model import LinearRegression

    X, y, _ = pieces()
    model = regressor(LinearRegression(), routing=TopK(1), **LONG).fit(X, y)
    best = model.route(X).argmax(axis=1)
    for k, expert in enumerate(model.experts_):
        own = LinearRegression().fit(X[best == k], y[best == k])
        assert_allclose(expert.coef_, own.coef_, rtol=1e-6)
        rest = y[best == k] - own.predict(X[best == k])
        assert_allclose(model.dispersions_[k], np.sqrt(np.mean(rest**2)), rtol=1e-6)


#: A gate with which the iterations of EM are all there is to learn in.
FIXED = SoftmaxGate(alpha=0.3)


def fits(router, seed, noise):
    """Return R² and log-likelihood of new rows, from random responsibilities."""
    X, y, _ = pieces(800, 4, seed, noise)
    init = np.random.default_rng(seed + 50).dirichlet(np.ones(4), 400)
    params = {"init": init, "routing": router, "gate": FIXED}
    model = regressor(**{**LONG, **params}).fit(X[:400], y[:400])
    return model.score(X[400:], y[400:]), model.log_density(X[400:], y[400:]).mean()


@pytest.mark.parametrize(
    ("seed", "noise"),
    [(0, 0.3), *(pytest.param(s, v, marks=pytest.mark.slow) for s in (1, 2) for v in (0.3, 1.0))],
)
def test_training_leaves_a_bad_start(seed, noise):
    """Routed EM gains at least half of what dense EM gains from the same start.

    A row on the wrong side of a hard border has no density to speak of: hard routers are measured
    by squared errors.
    """
    X, y, _ = pieces(800, 4, seed, noise)
    init = np.random.default_rng(seed + 50).dirichlet(np.ones(4), 400)
    start = regressor(init=init, max_iter=1, gate=FIXED).fit(X[:400], y[:400])
    r2_start = start.score(X[400:], y[400:])
    low = start.log_density(X[400:], y[400:]).mean()
    r2, high = fits(None, seed, noise)
    assert high - low > 0.5
    for router in (TopK(2), TopP(0.8), ExpertChoice(), Threshold(0.3)):
        assert fits(router, seed, noise)[1] - low > 0.5 * (high - low), router
    for router in (TopK(1), Switch()):
        assert fits(router, seed, noise)[0] - r2_start > 0.5 * (r2 - r2_start), router


@pytest.mark.parametrize("router", [TopK(1), Switch()])
def test_a_bad_start_ends_where_the_truth_does(router):
    X, y, z = pieces(400, noise=0.2)
    init = np.random.default_rng(1).dirichlet(np.ones(4), 400)
    one = regressor(routing=router, init=init, **LONG).fit(X, y)
    two = regressor(routing=router, init=z, **LONG).fit(X, y)
    assert_allclose(one.lower_bound_, two.lower_bound_, atol=1e-3)


class Units:
    """What an assigner of all rows asks for."""

    def __init__(self, X, weight=None, labels=None):
        self.X, self.y, self.weight, self.labels = X, None, weight, labels


def test_even_assignment_evens_out_and_keeps_the_noise():
    rng = np.random.default_rng(0)
    joint = rng.standard_normal((4, 300)) + np.array([3.0, 0.0, -1.0, -2.0])[:, None]
    weight = rng.integers(1, 4, 300).astype(float)
    units = Units(rng.standard_normal((300, 2)), weight)
    resp, density = Even(False).assign_all(joint.copy(), units)
    assert_allclose(density, np.logaddexp.reduce(joint, axis=0))
    assert_allclose(resp.sum(axis=0), 1.0)
    assert_allclose(resp @ weight, weight.sum() / 4, rtol=0.03)
    noisy, _ = Even(True).assign_all(joint.copy(), units)
    soft = np.exp(joint - density)
    assert_allclose(noisy[-1], soft[-1], rtol=1e-12)
    assert_allclose(noisy.sum(axis=0), 1.0)
    assert np.ptp((noisy @ weight)[:3]) < 0.03 * (noisy @ weight)[:3].mean()


@pytest.mark.parametrize("balance", [None, "bias", "assignment"])
def test_the_queue_of_training(balance):
    rng = np.random.default_rng(1)
    joint = rng.standard_normal((3, 200)) + np.array([2.0, 0.0, -1.0])[:, None]
    units = Units(rng.standard_normal((200, 2)))
    router = Switch(1.25, balance=balance)
    resp, objective = Queue(router, False).assign_all(joint.copy(), units)
    assert_allclose(resp.sum(axis=0), 1.0)
    assert resp.sum(axis=1).max() <= (67 if balance == "assignment" else 84)
    assert_allclose(objective, (resp * joint).sum(axis=0))
    if balance is None:  # the surest rows keep their expert
        first = joint.argmax(axis=0) == 0
        top = np.exp(joint - np.logaddexp.reduce(joint, axis=0)).max(axis=0)
        kept = first & (resp[0] == 1)
        assert top[kept].min() >= top[first & ~kept].max()
    limitless, _ = Queue(TopK(1), False).assign_all(joint.copy(), units)
    assert np.array_equal(limitless.argmax(axis=0), joint.argmax(axis=0))


@pytest.mark.parametrize("noise", [False, True])
def test_without_limits_it_is_classification_em(noise):
    """Which needs no look at all rows at once, and climbs under the safeguard."""
    for router in (TopK(1), Switch(np.inf), TopK(1, balance="prior")):
        assert isinstance(Routes(router, 3, noise, None, 0).assigner, Hard)
    for router in (Switch(), TopK(1, balance="bias"), Switch(np.inf, balance="assignment")):
        assert isinstance(Routes(router, 3, noise, None, 0).assigner, Queue)
    joint = np.random.default_rng(2).standard_normal((4, 200))
    units = Units(np.random.default_rng(3).standard_normal((200, 2)))
    resp, objective = Queue(TopK(1), noise).assign_all(joint.copy(), units)
    plain, plain_objective = Hard()(joint.copy(), None, 0)
    assert_allclose(resp, plain)
    assert_allclose(objective, plain_objective)


def test_rows_that_noise_explains_do_not_queue():
    joint = np.array([[0.0, 0.0, 0.0, -9.0], [-1.0, -1.0, -1.0, -8.0], [-5.0, -5.0, 1.0, 0.0]])
    units = Units(np.arange(8.0).reshape(4, 2))
    resp, _ = Queue(Switch(1.0), True).assign_all(joint, units)
    assert_allclose(resp[2], [0, 0, 1, 1])
    assert_allclose(resp.sum(axis=1), [1, 1, 2])  # capacity 1 each of the two rows that queue


def test_overlap_lets_experts_learn_beyond_their_border():
    X, y, _ = pieces()
    from _routed import CountingRidge

    plain = regressor(CountingRidge(), routing=TopK(1)).fit(X, y)
    model = regressor(CountingRidge(), routing=TopK(1, overlap=0.2)).fit(X, y)
    n_own, n_plain = model.routing_.loads_, plain.routing_.loads_
    assert_allclose(n_own, n_plain)
    for expert, n in zip(model.experts_, n_own, strict=True):
        assert expert.n_fitted_ == n + np.floor(0.2 * n)
    assert np.all((model.route(X) > 0).sum(axis=1) == 1)
    linear = regressor(routing=Switch(overlap=0.3)).fit(X, y)
    assert np.isfinite(linear.lower_bound_)


@pytest.mark.parametrize("router", [TopK(1, overlap=0.5), Switch(overlap=0.5)], ids=str)
def test_overlap_leaves_labelled_rows_to_their_expert(router):
    X, y, z = pieces()
    from _routed import CountingRidge

    labels = np.where(np.arange(len(X)) % 2, z, -1)
    model = regressor(CountingRidge(), routing=router).fit(X, y, expert_labels=labels)
    for k, expert in enumerate(model.experts_):
        learned = (X[:, None] == expert.X_fitted_).all(axis=2).any(axis=1)
        assert_array_equal(learned[labels >= 0], labels[labels >= 0] == k)


def test_passes_of_dense_and_routed_runs_count_beside_those_on_frozen_routes(monkeypatch):
    last, original = [], mixexp._engine.routed.run_or_recall

    def spied(*args):
        last.append(original(*args))
        last.append(last[-1].n_passes)
        return last[-2]

    monkeypatch.setattr(mixexp._engine.routed, "run_or_recall", spied)
    X, y, _ = pieces()
    model = regressor(routing=TopK(1)).fit(X, y)
    assert model.n_passes_ > last[-1] + 5


def test_all_mass_is_every_expert():
    scores = np.array([[0.7, 1.0], [0.3, 0.0]])
    assert TopP(1.0).chosen(scores).all()
    assert_array_equal(TopP(0.999).chosen(scores), [[True, True], [True, False]])


def test_experts_choose_as_many_rows_as_they_have_room_for():
    X, y, _ = pieces()
    routed = regressor(routing=ExpertChoice(1.0), gate=FIXED).fit(X, y).route(X) > 0
    assert routed.sum(axis=0).max() <= 2 * len(X) / 4  # and each row has its likeliest expert
    assert routed.mean() < 0.4
