"""A shared expert, added to the prediction of every routed one."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._estimators.targets import Numbers
from mixexp.experts import EstimatorBank, SharedBank, Trainer, linear_bank
from mixexp.families import Gaussian, StudentT
from mixexp.protocols import Rows, evolve
from mixexp.routing import Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NULL = DummyRegressor(strategy="constant", constant=0.0)
TREE = DecisionTreeRegressor(max_depth=3)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    special = np.where(X[:, :1] > 0, [0.5, 0.0, 1.0], [-0.5, 0.0, -1.0])
    y = X @ [3.0, -2.0, 1.0] + np.sum(X * special, axis=1) + 0.3 * rng.standard_normal(300)
    return X, y


def regressor(expert=None, **params):
    given = {"n_experts": 2, "n_init": 2, "bound_predictions": False, "random_state": 0}
    return MixtureOfExpertsRegressor(expert, **{**given, **params})


def reference(model, X, y, weight, alpha, alpha_shared):
    """Solve for shared and own coefficients at once: one dense weighted least squares."""
    resp = model.responsibilities(X, y)[:, :2] * weight[:, None]
    sigma, p = model.dispersions_, X.shape[1]
    size = p + 2 * (p + 1)
    gram, rhs = np.zeros((size, size)), np.zeros(size)
    for k in range(2):
        Z = np.zeros((len(X), size))
        start = p + k * (p + 1)
        Z[:, :p], Z[:, start], Z[:, start + 1 : start + 1 + p] = X, 1.0, X
        gram += Z.T @ (Z * (resp[:, [k]] / sigma[k] ** 2))
        rhs += Z.T @ (y * resp[:, k] / sigma[k] ** 2)
    own = [np.append(0.0, np.full(p, alpha / sigma[k] ** 2)) for k in range(2)]
    penalty = np.concatenate([np.full(p, alpha_shared * np.mean(sigma**-2.0)), *own])
    solution = np.linalg.solve(gram + np.diag(penalty), rhs)
    return solution[:p], solution[p:].reshape(2, p + 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("noise", [False, True])
def test_linear_experts_are_solved_for_jointly(data, weighted, noise):
    X, y = data
    weight = np.random.default_rng(1).integers(1, 4, len(X)).astype(float)
    weight = weight if weighted else np.ones(len(X))
    model = regressor(
        Ridge(5.0), shared_expert=Ridge(1.0), tol=0, max_iter=150, noise_expert=noise
    ).fit(X, y, weight)
    shared, own = reference(model, X, y, weight, 5.0, 1.0)
    assert_allclose(model.shared_expert_.coef_, shared, atol=1e-8)
    for expert, coefficients in zip(model.experts_, own, strict=True):
        intercept = expert.intercept_ + model.shared_expert_.intercept_
        assert_allclose(np.append(intercept, expert.coef_), coefficients, atol=1e-8)
    sums = np.stack([e.predict(X) for e in model.experts_], axis=1)
    sums += model.shared_expert_.predict(X)[:, None]
    assert_allclose(model.predict_experts(X), sums, atol=1e-10)
    # the dispersions' M-step has each expert's part of the shared penalty
    resp = model.responsibilities(X, y)[:, :2] * weight[:, None]
    squares = (resp * (y[:, None] - sums) ** 2).sum(axis=0)
    penalty = [5.0 * e.coef_ @ e.coef_ for e in model.experts_]
    shares = np.add(penalty, shared @ shared / 2)
    assert_allclose(model.dispersions_**2, (squares + shares) / resp.sum(axis=0), rtol=1e-8)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "laplace"])
@pytest.mark.parametrize("columns", [None, [[0, 1], [1, 2]]])
def test_the_bound_never_falls(data, family, columns):
    X, y = data
    model = regressor(
        Ridge(20.0),
        shared_expert=Ridge(0.5),
        family=family,
        expert_features=columns,
        tol=0,
        max_iter=40,
    )
    bounds = model.fit(X, y).lower_bounds_
    assert np.all(np.diff(bounds) >= -1e-9 * np.maximum(1, np.abs(bounds[1:])))
    assert np.any(model.shared_expert_.coef_ != 0)


def test_the_bound_is_likelihood_and_penalties(data):
    X, y = data
    model = regressor(Ridge(5.0), gate=None, shared_expert=Ridge(1.0), tol=0, max_iter=60)
    model.fit(X, y)
    sigma, shared = model.dispersions_, model.shared_expert_.coef_
    prior = sum(
        -(5.0 * e.coef_ @ e.coef_ + shared @ shared / 2) / (2 * s**2)
        for e, s in zip(model.experts_, sigma, strict=True)
    )
    prior += model.gate_.log_prior()
    bound = model.log_density(X, y).mean() + prior / len(X)
    assert_allclose(model.lower_bound_, bound, rtol=1e-10)


@pytest.mark.parametrize("shared", [Ridge(1.0), TREE], ids=["linear", "tree"])
def test_the_unit_of_y_does_not_matter(data, shared):
    X, y = data
    start, max_iter = (X[:, 0] > 0).astype(int), 4 if shared is TREE else 60
    params = {"tol": 0, "init": start, "max_iter": max_iter}
    if shared is TREE:  # folds depend on the content of rows
        params["cross_fit"] = False
    model = regressor(Ridge(5.0), shared_expert=shared, **params)
    one, million = (clone(model).fit(X, f * y).predict(X) / f for f in (1.0, 2.0**20))
    assert_allclose(million, one, atol=1e-8)


@pytest.mark.parametrize("routing", [None, TopK(1), Switch()], ids=str)
def test_alone_with_a_null_expert_it_is_itself(data, routing):
    X, y = data
    weight = np.random.default_rng(2).integers(1, 4, len(X))
    model = regressor(NULL, n_experts=1, shared_expert=Ridge(2.0), routing=routing)
    model.fit(X, y, weight)
    alone = Ridge(2.0).fit(X, y, sample_weight=weight)
    assert_allclose(model.predict(X), alone.predict(X), atol=1e-8)


def test_unpenalised_experts_leave_nothing_to_the_shared_one(data):
    X, y = data
    plain = regressor(LinearRegression(), tol=0, max_iter=60).fit(X, y)
    shared = regressor(LinearRegression(), shared_expert=Ridge(1.0), tol=0, max_iter=60).fit(X, y)
    assert_allclose(shared.shared_expert_.coef_, 0.0, atol=1e-8)
    assert_allclose(shared.predict(X), plain.predict(X), atol=1e-6)


@pytest.mark.parametrize(
    ("expert", "shared"),
    [
        (TREE, Ridge(1.0)),
        (None, TREE),
        (TREE, make_pipeline(StandardScaler(), Ridge(1.0))),
        (make_pipeline(StandardScaler(), Ridge(1.0)), DecisionTreeRegressor(max_depth=2)),
    ],
    ids=["trees on a line", "lines on a tree", "trees on a pipeline", "pipelines on a tree"],
)
@pytest.mark.parametrize("params", [{}, {"routing": TopK(1)}, {"noise_expert": True}], ids=str)
def test_experts_of_any_kind(data, expert, shared, params):
    X, y = data
    model = regressor(expert, shared_expert=shared, max_iter=5, **params).fit(X[:250], y[:250])
    own = np.stack([e.predict(X) for e in model.experts_], axis=1)
    sums = own + model.shared_expert_.predict(X)[:, None]
    assert_allclose(model.predict_experts(X), sums, atol=1e-10)
    assert_allclose(model.predict(X), (model.route(X) * sums).sum(axis=1), atol=1e-10)
    assert model.score(X[250:], y[250:]) > 0.6
    law = model.predict_distribution(X)
    assert_allclose(law.mean(), model.predict(X), atol=1e-9)
    if not params.get("noise_expert"):
        assert_allclose(np.log(law.pdf(y)), model.log_density(X, y), rtol=1e-6, atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict(X), model.predict(X), rtol=0, atol=0)
    assert_allclose(clone(model).fit(X[:250], y[:250]).predict(X), model.predict(X), atol=0)


def test_a_shared_line_helps_routed_trees(data):
    X, y = data
    train, test = slice(0, 200), slice(200, None)
    scores = [
        regressor(TREE, routing=TopK(1), shared_expert=shared).fit(X[train], y[train])
        for shared in (None, Ridge(1.0))
    ]
    without, having = (model.score(X[test], y[test]) for model in scores)
    assert having > without


def test_several_outputs(data):
    X, y = data
    both = np.column_stack([y, X @ [1.0, 1.0, 0.0]])
    model = regressor(Ridge(5.0), shared_expert=Ridge(1.0), tol=0, max_iter=40).fit(X, both)
    assert model.shared_expert_.coef_.shape == (2, 3)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    trees = regressor(TREE, shared_expert=Ridge(1.0), max_iter=3).fit(X, both)
    assert trees.predict(X).shape == both.shape


@pytest.mark.parametrize("kind", [Ridge, LinearRegression])
def test_the_intercept_may_be_the_shared_experts_alone(data, kind):
    X, y = data
    model = regressor(kind(fit_intercept=False), shared_expert=Ridge(), max_iter=60).fit(X, y + 100)
    assert abs(model.shared_expert_.intercept_ - 100) < 10
    assert model.score(X, y + 100) > 0.8


@pytest.mark.parametrize("alpha", [-1.0, np.nan])
def test_parameters_of_a_linear_shared_expert_are_checked(data, alpha):
    with pytest.raises(ValueError, match="alpha"):
        regressor(shared_expert=Ridge(alpha)).fit(*data)


def test_two_that_memorise(data):
    """The expert is fitted to what the shared one leaves of its own rows, and not out of fold."""
    X, y = data
    tree = DecisionTreeRegressor(random_state=0)
    model = regressor(tree, n_experts=1, shared_expert=KNeighborsRegressor(3), max_iter=2)
    with pytest.warns(UserWarning, match="sample_weight"):
        model.fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-9)


def test_estimators_without_weights_are_announced(data):
    with pytest.warns(UserWarning, match="shared_expert KNeighborsRegressor does not take"):
        regressor(shared_expert=KNeighborsRegressor(), max_iter=2).fit(*data)


def test_a_constant_output(data):
    """The shared expert leaves no residual there: its dispersion has a floor, too."""
    X, y = data[:2]
    model = MixtureOfExpertsRegressor(
        [("a", Ridge()), ("b", Ridge())],
        n_experts=2,
        shared_expert=Ridge(),
        n_init=1,
        max_iter=4,
        random_state=0,
    )
    with np.errstate(divide="raise", invalid="raise"):
        model.fit(X, np.column_stack([y, np.zeros(len(y))]))
    assert_allclose(model.predict(X)[:, 1], 0, atol=1e-12)


def test_offsets(data):
    X, y = data
    offset, start = np.linspace(-5, 5, len(X)), (X[:, 0] > 0).astype(int)
    for expert in (Ridge(5.0), TREE):
        params = {"cross_fit": False} if expert is TREE else {}  # folds depend on y
        model = regressor(expert, shared_expert=Ridge(1.0), max_iter=5, init=start, **params)
        plain = clone(model).fit(X, y).predict(X)
        shifted = clone(model).fit(X, y + offset, offset=offset).predict(X, offset=offset)
        assert_allclose(shifted - offset, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (regressor(shared_expert=LogisticRegression()), ": shared_expert must be a regr"),
        (regressor(regressor(), shared_expert=Ridge()), "an expert is a mixture"),
        (regressor(shared_expert=Ridge), "must be an instance"),
    ],
)
def test_refusals(data, model, message):
    X, y = data
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, np.round(np.abs(y)))


class Recorder(Ridge):
    """Keeps the targets and weights of its last fit in a list that copies share."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        Recorder.seen[:] = [y, sample_weight]
        return super().fit(X, y, sample_weight=sample_weight)


@pytest.mark.parametrize("family", [Gaussian(), StudentT(4.0)], ids=["gaussian", "student_t"])
def test_what_the_shared_expert_is_fitted_to(data, family):
    """The residuals' mean, by precision; weights in units of the pooled dispersion."""
    X, y = data
    weight = np.random.default_rng(3).integers(1, 4, len(X)).astype(float)
    rows = Rows(X, y[None], weight, training=True)
    target = Numbers(family, ())
    inner = linear_bank(None, rows, None, target).replicate(2)
    rng = np.random.default_rng(4)
    vector = rng.standard_normal(inner.get_parameters().size)
    inner = inner.set_parameters(vector)
    sigma = np.array([0.5, 3.0])
    parameters = inner.parameters.copy()
    parameters[0, :, 0] = sigma
    inner = evolve(inner, parameters=parameters)
    trainer = Trainer(
        [[("shared", Recorder())]],
        [None],
        classes=None,
        family=Gaussian(),
        n_outputs=1,
        n_jobs=None,
        seed=0,
        owner="M",
    )
    resp = rng.dirichlet(np.ones(2), len(X)).T * weight
    bank = SharedBank(inner, EstimatorBank(trainer, 0)).update([resp], rows)
    residual = y - bank.inner.predict(next(rows.blocks()))[:, 0]
    precision = 1.0 / bank.inner.parameters[0] ** 2
    part = resp * precision
    if family.curved:
        z = residual**2 * precision
        part = part * 5.0 / (4.0 + z)
    fitted_y, fitted_weight = Recorder.seen
    assert_allclose(fitted_y, (part * residual).sum(axis=0) / part.sum(axis=0), rtol=1e-8)
    assert_allclose(fitted_weight, part.sum(axis=0) / precision.mean(), rtol=1e-8)


def test_the_bound_of_trees_is_their_likelihood(data):
    X, y = data
    model = regressor(TREE, shared_expert=Ridge(1.0), cross_fit=False, max_iter=3).fit(X, y)
    bound = model.log_density(X, y).mean() + model.gate_.log_prior() / len(X)
    assert_allclose(model.lower_bound_, bound, rtol=1e-8)
