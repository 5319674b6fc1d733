"""Predictions given known targets of a group, against Bayes' rule in loops."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from scipy.stats import norm, poisson
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, SoftmaxGate
from mixexp.routing import TopK

N_GROUPS = 50


@pytest.fixture
def panel(rng):
    """Return X (the group's feature, the row's), y and groups; rows of two kinds of groups."""
    groups = np.repeat(np.arange(N_GROUPS), rng.integers(2, 7, N_GROUPS))
    feature = rng.standard_normal(N_GROUPS)
    z = rng.random(N_GROUPS) < 1 / (1 + np.exp(-2 * feature))
    x = rng.standard_normal(len(groups))
    y = np.where(z[groups], 1 + x, -0.5 - x) + 0.7 * rng.standard_normal(len(groups))
    order = rng.permutation(len(groups))
    return np.column_stack([feature[groups], x])[order], y[order], groups[order]


@pytest.fixture
def parts(panel, rng):
    """Return known rows, then further rows; of the first five groups nothing is known."""
    X, y, groups = panel
    known = (rng.random(len(y)) < 0.5) & (groups >= 5)
    return (X[known], y[known], groups[known]), (X[~known], y[~known], groups[~known])


def mixture(**options):
    options = {"gate_features": [0], "random_state": 0, "n_init": 3, **options}
    return MixtureOfExpertsRegressor(n_experts=2, **options)


def slow_weights(model, log_density, known, new, weight=None):
    """Return the posterior of each new row, group by group, row by row."""
    X, y, groups = known
    gate = model.route(new[0])
    found = np.empty_like(gate)
    logs = log_density(X, y)
    for i, group in enumerate(new[2]):
        joint = np.log(gate[i])
        for j in np.flatnonzero(groups == group):
            joint = joint + logs[j] * (1 if weight is None else weight[j])
        found[i] = softmax(joint)
    return found


def normal_log_density(model):
    return lambda X, y: norm.logpdf(y[:, None], model.predict_experts(X), model.dispersions_)


def test_weights_mean_and_distribution_are_those_of_bayes(panel, parts):
    known, new = parts
    model = mixture(bound_predictions=False).fit(panel[0], panel[1], groups=panel[2])
    given = model.given(known[0], known[1], groups=known[2])
    weights = slow_weights(model, normal_log_density(model), known, new)
    assert_allclose(given.weights(new[0], groups=new[2]), weights, atol=1e-12)
    outputs = model.predict_experts(new[0])
    mean = np.sum(weights * outputs, axis=1)
    assert_allclose(given.predict(new[0], groups=new[2]), mean)
    law = given.predict_distribution(new[0], groups=new[2])
    assert_allclose(law.mean(), mean)
    density = np.sum(weights * norm.pdf(new[1][:, None], outputs, model.dispersions_), axis=1)
    assert_allclose(law.pdf(new[1]), density)


def test_the_density_of_a_group_is_a_product_of_predictions(panel):
    """Chain rule: rows predicted one after the other give the joint density of the group."""
    X, y, groups = panel
    model = mixture().fit(X, y, groups=groups)
    rows = np.flatnonzero(groups == groups[0])
    total = model.predict_distribution(X[rows[:1]]).logpdf(y[rows[:1]])[0]
    for i in range(1, len(rows)):
        given = model.given(X[rows[:i]], y[rows[:i]], groups=groups[rows[:i]])
        law = given.predict_distribution(X[rows[[i]]], groups=groups[rows[[i]]])
        total += law.logpdf(y[rows[[i]]])[0]
    assert_allclose(total, model.log_density(X[rows], y[rows], groups=groups[rows])[0])


def test_a_group_without_known_rows_is_predicted_by_the_gate(panel, parts):
    known, new = parts
    model = mixture().fit(panel[0], panel[1], groups=panel[2])
    given = model.given(known[0], known[1], groups=known[2])
    unknown = new[2] < 5
    assert unknown.any()
    assert_array_equal(
        given.predict(new[0], groups=new[2])[unknown], model.predict(new[0])[unknown]
    )
    assert_array_equal(given.weights(new[0], groups=new[2])[unknown], model.route(new[0])[unknown])


def test_what_is_known_makes_up_for_a_gate_that_sees_nothing(panel, parts):
    """By half of log 2 at least, the entropy of a fair choice between two experts."""
    known, new = parts
    model = mixture(gate=ConstantGate(), gate_features=None)
    model.fit(panel[0], panel[1], groups=panel[2])
    given = model.given(known[0], known[1], groups=known[2])
    heard = np.isin(new[2], known[2])
    weights = given.weights(new[0][heard], groups=new[2][heard])
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
    assert entropy.mean() < np.log(2) / 2
    law = given.predict_distribution(new[0][heard], groups=new[2][heard])
    alone = model.predict_distribution(new[0][heard])
    assert law.logpdf(new[1][heard]).mean() > alone.logpdf(new[1][heard]).mean()


def test_order_and_cutting_of_rows_change_nothing(panel, parts, rng):
    known, new = parts
    model = mixture().fit(panel[0], panel[1], groups=panel[2])
    whole = model.given(known[0], known[1], groups=known[2]).predict(new[0], groups=new[2])
    order = rng.permutation(len(known[1]))
    given = model.given(*(part[order] for part in known[:2]), groups=known[2][order])
    shuffled = rng.permutation(len(new[1]))
    found = given.predict(new[0][shuffled], groups=new[2][shuffled])
    assert_allclose(found, whole[shuffled], rtol=1e-12)
    one_by_one = [given.predict(new[0][[i]], groups=new[2][[i]])[0] for i in range(10)]
    assert_allclose(one_by_one, whole[:10], rtol=1e-12)


def test_weights_of_rows_are_frequencies(panel, parts, rng):
    known, new = parts
    model = mixture().fit(panel[0], panel[1], groups=panel[2])
    counts = rng.integers(0, 3, len(known[1]))
    given = model.given(known[0], known[1], groups=known[2], sample_weight=counts)
    X, y, groups = (np.repeat(part, counts, axis=0) for part in known)
    assert_allclose(
        given.weights(new[0], groups=new[2]),
        model.given(X, y, groups=groups).weights(new[0], groups=new[2]),
        atol=1e-12,
    )
    slow = slow_weights(model, normal_log_density(model), known, new, counts)
    assert_allclose(given.weights(new[0], groups=new[2]), slow, atol=1e-12)


def test_classes(panel, rng):
    X, _, groups = panel
    kind = rng.random(N_GROUPS) < 0.5
    p = 1 / (1 + np.exp(-np.where(kind[groups], 4, -4) * X[:, 1]))
    y = np.where(rng.random(len(X)) < p, "yes", "no")
    model = MixtureOfExpertsClassifier(n_experts=2, gate=ConstantGate(), random_state=0)
    model.fit(X, y, groups=groups)
    known = rng.random(len(y)) < 0.6
    parts = (X[known], y[known], groups[known]), (X[~known], y[~known], groups[~known])

    def log_density(X, y):
        code = (y == "yes").astype(int)
        return np.log(model.predict_experts(X)[np.arange(len(y)), :, code])

    weights = slow_weights(model, log_density, *parts)
    given = model.given(*parts[0][:2], groups=parts[0][2])
    proba = np.einsum("nk,nkc->nc", weights, model.predict_experts(parts[1][0]))
    found = given.predict_proba(parts[1][0], groups=parts[1][2])
    assert_allclose(found, proba, atol=1e-10)
    assert_array_equal(
        given.predict(parts[1][0], groups=parts[1][2]), model.classes_[proba.argmax(axis=1)]
    )
    law = given.predict_distribution(parts[1][0], groups=parts[1][2])
    assert_allclose(law.proba(), proba, atol=1e-10)
    right = np.mean(given.predict(parts[1][0], groups=parts[1][2]) == parts[1][1])
    assert right > model.score(parts[1][0], parts[1][1])
    assert not hasattr(mixture().fit(X, p).given(X, p, groups=groups), "predict_proba")


def test_counts_with_an_offset(panel, rng):
    X, _, groups = panel
    offset = rng.uniform(0, 2, len(X))
    kind = rng.random(N_GROUPS) < 0.5
    y = rng.poisson(np.exp(offset + np.where(kind[groups], 1.0, -1.0)))
    model = mixture(family="poisson", gate=ConstantGate(), gate_features=None)
    model.fit(X, y, groups=groups, offset=offset)
    known = rng.random(len(y)) < 0.5
    parts = (X[known], y[known], groups[known]), (X[~known], y[~known], groups[~known])
    given = model.given(*parts[0][:2], groups=parts[0][2], offset=offset[known])
    rate = lambda X, offset: model.predict_experts(X, offset=offset)  # noqa: E731
    log_density = lambda X, y: poisson.logpmf(y[:, None], rate(X, offset[known]))  # noqa: E731
    weights = slow_weights(model, log_density, *parts)
    found = given.predict_distribution(parts[1][0], groups=parts[1][2], offset=offset[~known])
    mean = np.sum(weights * rate(parts[1][0], offset[~known]), axis=1)
    assert_allclose(found.mean(), mean, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"noise_expert": True},
        {"routing": TopK(1)},
        {"routing": TopK(1, renormalise=False, fallback=LinearRegression())},
        {"shared_expert": LinearRegression()},
        {"expert": MixtureOfExpertsRegressor(n_experts=2), "gate_features": None, "n_init": 1},
        {"expert": DecisionTreeRegressor(max_depth=2, random_state=0), "max_iter": 5},
        {"pooling": "argmax"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_kind_of_mixture_predicts_as_itself_without_knowledge(options, panel):
    """And with one known row, the weights are the responsibilities of that row."""
    X, y, _ = panel
    model = mixture(**options).fit(X, y)
    groups = np.arange(len(X))
    none = model.given(X[:1], y[:1], groups=[-1])
    assert_allclose(none.predict(X, groups=groups), model.predict(X), rtol=1e-12, atol=1e-15)
    law, usual = none.predict_distribution(X, groups=groups), model.predict_distribution(X)
    assert_allclose(law.pdf(y), usual.pdf(y), rtol=1e-12)
    given = model.given(X, y, groups=groups)
    weights = given.weights(X, groups=groups)
    assert_allclose(weights.sum(axis=1), 1)
    resp = model.responsibilities(X, y)
    if options.get("noise_expert"):
        resp = resp[:, :-1] / resp[:, :-1].sum(axis=1, keepdims=True)
    if isinstance(options.get("expert"), MixtureOfExpertsRegressor):
        weights = weights.reshape(len(X), 2, 2).sum(axis=2)
    assert_allclose(weights, resp, atol=1e-9)
    assert np.isfinite(given.predict(X, groups=groups)).all()


def test_groups_may_be_text_and_rows_a_frame(panel, parts):
    known, new = parts
    frame = lambda X: pd.DataFrame(X, columns=["group", "row"])  # noqa: E731
    name = lambda groups: np.array([f"patient {g}" for g in groups])  # noqa: E731
    model = mixture(gate_features=["group"]).fit(frame(panel[0]), panel[1], groups=panel[2])
    numbers = model.given(frame(known[0]), known[1], groups=known[2])
    texts = model.given(frame(known[0]), known[1], groups=name(known[2]))
    assert_array_equal(
        numbers.predict(frame(new[0]), groups=new[2]),
        texts.predict(frame(new[0]), groups=name(new[2])),
    )


def test_targets_far_from_all_experts_do_not_underflow(panel):
    X, y, groups = panel
    model = mixture(gate=SoftmaxGate()).fit(X, y, groups=groups)
    given = model.given(X[:1], [1e6], groups=[7])
    weights = given.weights(X[:1], groups=[7])
    assert_allclose(weights.sum(), 1)
    assert weights.max() > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X, y, g: m.given(X, y, groups=None), "groups=None"),
        (lambda m, X, y, g: m.given(X, y, groups=g[:3]), "groups has shape"),
        (lambda m, X, y, g: m.given(X, y, groups=np.zeros(len(y))), "feature 0 of the gate"),
        (lambda m, X, y, g: m.given(X, y, groups=g).predict(X, groups=None), "groups=None"),
        (lambda m, X, y, g: m.given(X, y, groups=g).predict(X, groups=g[::-1]), "the gate tells"),
        (lambda m, X, y, g: m.given(X, y[:3], groups=g), "inconsistent numbers of samples"),
    ],
)
def test_wrong_arguments(call, message, panel):
    X, y, groups = panel
    model = mixture().fit(X, y, groups=groups)
    with pytest.raises(ValueError, match=message):
        call(model, X, y, groups)


def test_labels_of_another_kind_are_refused(panel, parts):
    X, y, groups = panel
    known, new = parts
    given = mixture().fit(X, y, groups=groups).given(known[0], known[1], groups=known[2])
    with pytest.raises(ValueError, match=r"groups has labels such as '.*numbers and text"):
        given.predict(new[0], groups=new[2].astype(str))
