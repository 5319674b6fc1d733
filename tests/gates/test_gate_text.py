"""A gate's text says what the gate computes."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from _problems import make_rows
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.exceptions import NotFittedError

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import load_tone
from mixexp.gates import HierarchicalGate, NoiseGate, SoftmaxGate
from mixexp.gates._text import Score, Wording
from mixexp.inspection._units import ColumnName, Origin

#: Enough digits to compute with what is written.
EXACT = {"decimals": 12, "max_terms": 10}

TREES = [(2,), (4,), (2, 2), (3, 2), (2, 3), (2, 2, 2), (1, 2), (2, 1)]


def table(rng, n=40, d=3, missing=False):
    X = rng.standard_normal((n, d)) * 10.0 ** np.arange(d) + 2.0
    if missing:
        X[rng.random(n) < 0.3, 1] = np.nan
    return X


def at_random(gate, X, rng, columns=None, n_experts=None):
    """Return a gate for rows X with coefficients drawn at random, and the rows."""
    if n_experts is None:
        n_experts = int(np.prod(gate.branching))
    rows = make_rows(X)
    rows.missing = bool(np.isnan(X).any())
    gate = gate.start(rows, n_experts, columns)
    return gate.set_parameters(rng.standard_normal(len(gate.get_parameters()))), rows


def log_proba(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def evaluate(words, X, means):
    """Return the values (n,) of a sum in words: an independent reader of the text."""
    words = re.sub(r"missing\(x(\d+)\)", r"np.isnan(X[:,\1])", words)
    words = re.sub(r"(?<![\w.\[])x(\d+)", r"np.where(np.isnan(X[:,\1]),means[\1],X[:,\1])", words)
    words = re.sub(r"([\d.]) np", r"\1 * np", words)
    return eval(words) + np.zeros(len(X))


def proba_of_text(text, X):
    """Return gate probabilities (n, K) as the lines of a text say."""
    means = np.nanmean(X, axis=0)
    stack, lines = [], []
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, says = line.strip().partition(": ")
        score = re.search(r"score ([^;]*)", says)
        split = re.search(r"(\S+) where (.*) > 0, otherwise (\S+)", says)
        leaf = re.search(r"expert (\d+)", says)
        stack[depth:] = [len(lines)]
        parent = stack[depth - 1] if depth else None
        lines.append((name, parent, score and score[1], split, leaf and int(leaf[1])))
    log_p = [np.zeros(len(X)) for _ in lines]
    for i, (_, parent, _, _, _) in enumerate(lines):
        if parent is None:
            continue
        siblings = [j for j, line in enumerate(lines) if line[1] == parent]
        if len(siblings) == 1:
            own = 0.0
        elif len(siblings) == 2:
            split = lines[parent][3]
            assert lines[siblings[0]][0] == split[1]
            assert lines[siblings[1]][0] == split[3]
            sign = 1 if i == siblings[0] else -1
            own = -np.logaddexp(0, -sign * evaluate(split[2], X, means))
        else:
            scores = np.array([evaluate(lines[j][2], X, means) for j in siblings])
            own = np.log(softmax(scores, axis=0))[siblings.index(i)]
        log_p[i] = log_p[parent] + own
    leaves = {line[4]: p for line, p in zip(lines, log_p, strict=True) if line[4] is not None}
    assert sorted(leaves) == list(range(len(leaves)))
    return np.exp([leaves[k] for k in sorted(leaves)])


@pytest.mark.parametrize("branching", TREES)
@pytest.mark.parametrize("missing", [False, True])
def test_text_of_a_tree_is_the_gate(rng, branching, missing):
    X = table(rng, missing=missing)
    gate, rows = at_random(HierarchicalGate(branching, temperature=1.7), X, rng)
    text = gate.to_text(**EXACT)
    assert_allclose(proba_of_text(text, X), np.exp(log_proba(gate, rows)), rtol=1e-6, atol=1e-9)
    assert ("missing(x1)" in text) == missing


@pytest.mark.parametrize("kept", [[0, 1, 3], [3, 4, 7], [5], [2, 3], [0, 2, 4, 5, 6]])
def test_text_of_a_tree_without_some_experts(rng, kept):
    X = table(rng)
    gate, rows = at_random(HierarchicalGate((2, 2, 2)), X, rng)
    gate = gate.select(np.array(kept))
    text = gate.to_text(**EXACT)
    assert_allclose(proba_of_text(text, X), np.exp(log_proba(gate, rows)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_text_of_a_softmax_is_the_gate(rng, k):
    X = table(rng)
    gate, rows = at_random(SoftmaxGate(temperature=0.6), X, rng, n_experts=k)
    text = gate.to_text(**EXACT)
    assert len(text.splitlines()) == k + 1
    assert_allclose(proba_of_text(text, X), np.exp(log_proba(gate, rows)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("k", [2, 3])
def test_text_in_units_of_the_input_is_the_gate(rng, k):
    """Columns that were scaled by transformers before: the text speaks of what they were."""
    X = table(rng)
    slopes, intercepts = np.array([0.2, 1.0, -5.0]), np.array([3.0, -2.0, 0.5])
    origins = [Origin(f"x{j}", f"x{j}", slopes[j], intercepts[j]) for j in range(3)]
    gate, rows = at_random(SoftmaxGate(), X, rng, n_experts=k)
    text = gate.to_text(list(map(ColumnName.of, origins)), **EXACT)
    proba = proba_of_text(text, (X - intercepts) / slopes)
    assert_allclose(proba, np.exp(log_proba(gate, rows)), rtol=1e-6, atol=1e-9)


def test_permuted_experts_are_named_at_their_leaves(rng):
    gate, rows = at_random(HierarchicalGate((2, 2)), table(rng), rng)
    gate = gate.select(np.array([2, 0, 3, 1]))
    text = gate.to_text(**EXACT)
    assert "1.0: expert 0" in text
    assert_allclose(proba_of_text(text, rows.X), np.exp(log_proba(gate, rows)), rtol=1e-6)


def test_columns_of_the_gate_have_the_names_of_the_input(rng):
    X = table(rng)
    gate, _ = at_random(SoftmaxGate(), X, rng, columns=np.array([2]), n_experts=2)
    words = gate.to_text(["a", "b", "c"])
    assert re.match(r"root: 0 where -?[\d.]+ c [+-] [\d.]+ > 0, otherwise 1\n", words)
    own = [np.array([0]), np.array([1]), np.array([0])]
    gate = SoftmaxGate().start(make_rows(X), 3, own)
    seen = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]])
    gate = gate.set_parameters((rng.standard_normal((3, 3)) * seen).ravel())
    first, second, third = gate.to_text(["a", "b", "c"]).splitlines()[1:]
    assert " a " in first and " b " not in first
    assert " b " in second and " a " not in second


def test_constant_columns_are_left_out(rng):
    X = table(rng)
    X[:, 1] = 5.0
    gate, _ = at_random(SoftmaxGate(), X, rng, n_experts=2)
    assert "x1" not in gate.to_text(max_terms=3)


def test_largest_terms_come_first_and_the_rest_counts_at_its_mean(rng):
    X = table(rng, n=200)  # standard deviations 1, 10 and 100
    gate = SoftmaxGate().start(make_rows(X), 2, None)
    gate = gate.set_parameters(np.array([0, 0, 0, 0, 3.0, -0.5, 2.0, 1.0]))
    slopes = -np.diff(gate.coef_, axis=0)[0]
    order = np.array([1, 2, 0])
    text = gate.to_text(**EXACT)
    assert [int(j) for j in re.findall(r"x(\d)", text)] == order.tolist()
    short = gate.to_text(decimals=12, max_terms=1).splitlines()[0]
    assert short.endswith("> 0 (2 terms at mean), otherwise 1")
    said = evaluate(re.search(r"where (.*) > 0", short)[1], X, X.mean(axis=0))
    full = X @ slopes - np.diff(gate.intercept_)
    assert_allclose(said.mean(), full.mean(), rtol=1e-6)
    assert_allclose(np.polyfit(X[:, order[0]], said, 1)[0], slopes[order[0]], rtol=1e-9)
    assert gate.to_text(max_terms=2).splitlines()[0].endswith("(1 term at mean), otherwise 1")


def test_splits_in_words_hold_where_the_first_is_more_likely(rng):
    X = table(rng)
    gate, rows = at_random(SoftmaxGate(), X, rng, n_experts=2)
    words, otherwise = gate.split_texts(**EXACT)
    assert otherwise == "otherwise"
    sum_, sign, border = re.fullmatch(r"(.*) ([<>]) (\S+)", words).groups()
    above = evaluate(sum_, X, X.mean(axis=0)) > float(border)
    more_likely = log_proba(gate, rows)[0] > log_proba(gate, rows)[1]
    np.testing.assert_array_equal(above if sign == ">" else ~above, more_likely)
    assert 0 < more_likely.sum() < len(X)
    assert words[0] == "x" and gate.split_texts(max_terms=1)[0].count(" + ... ") == 1

    gate, rows = at_random(SoftmaxGate(), X, rng, n_experts=3)
    scores = [
        evaluate(w.removeprefix("score "), X, X.mean(axis=0)) for w in gate.split_texts(**EXACT)
    ]
    assert_allclose(softmax(scores, axis=0), np.exp(log_proba(gate, rows)), rtol=1e-6)
    assert at_random(SoftmaxGate(), X, rng, n_experts=1)[0].split_texts() == [""]


def test_one_transformed_column_has_its_border_in_units_of_the_input(rng):
    X = rng.standard_normal((40, 2))
    log = [Origin(f"x{j}", f"x{j}").ordered(f"log x{j}", np.exp).scaled(-0.5, 1.0) for j in (0, 1)]
    names = list(map(ColumnName.of, log))
    gate, rows = at_random(SoftmaxGate(), X[:, :1], rng, n_experts=2)
    border = re.fullmatch(r"x0 ([<>]) (\S+)", gate.split_texts(names[:1], decimals=12)[0])
    inputs = np.exp((X[:, 0] - 1.0) / -0.5)
    above = inputs > float(border[2])
    more_likely = log_proba(gate, rows)[0] > log_proba(gate, rows)[1]
    np.testing.assert_array_equal(above if border[1] == ">" else ~above, more_likely)
    assert 0 < more_likely.sum() < len(X)
    gate, _ = at_random(SoftmaxGate(), X, rng, n_experts=2)  # of two there is no such border
    assert re.match(r"log x\d [+-] \S+ log x\d [<>] ", gate.split_texts(names, decimals=3)[0])


def test_a_gate_without_slopes(rng):
    gate = SoftmaxGate().start(make_rows(table(rng)), 2, None)
    assert gate.to_text().splitlines()[0] == "root: 0 where 0.00 > 0, otherwise 1"
    assert gate.split_texts() == ["log-odds 0.00 everywhere", "otherwise"]


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1.234, 2, "1.23"),
        (-0.5, 2, "-0.50"),
        (0.0123, 2, "0.012"),
        (0.000456, 2, "0.00046"),
        (0.0, 2, "0.00"),
        (123456.7, 1, "123456.7"),
        (1.5e7, 2, "1.5e+07"),
        (0.4, 0, "0.4"),
        (12.4, 0, "12"),
        (2e-9, 2, "2e-09"),
    ],
)
def test_small_numbers_keep_their_digits(value, decimals, text):
    assert Wording([], decimals, 4).number(value) == text


def test_noise_has_a_line_of_its_own():
    X, y = load_tone(return_X_y=True)
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, n_init=1, random_state=0)
    text = model.fit(X, y).gate_.to_text(decimals=1)
    share = model.gate_.noise_share_
    assert isinstance(model.gate_, NoiseGate)
    assert text.splitlines()[-1] == f"noise: a share of {share:.2g} everywhere"
    assert text.splitlines()[:-1] == model.gate_.inner.to_text(decimals=1).splitlines()


BAD = [
    ({"feature_names": ["a", "b"]}, r"feature_names=\['a', 'b'\] is not a list of 3 names"),
    ({"feature_names": ["a"] * 4}, "feature_names"),
    ({"feature_names": "abc"}, "feature_names='abc' is not a list"),
    ({"feature_names": 3}, "feature_names=3 is not a list"),
    ({"decimals": -1}, "decimals must be a whole number of at least 0, got -1"),
    ({"decimals": 1.5}, "decimals"),
    ({"max_terms": 0}, "max_terms must be a whole number of at least 1, got 0"),
    ({"max_terms": True}, "max_terms"),
]


@pytest.mark.parametrize("gate", [SoftmaxGate(), HierarchicalGate((2, 1))])
@pytest.mark.parametrize(("parameters", "message"), BAD)
def test_bad_parameters(rng, gate, parameters, message):
    started, _ = at_random(gate, table(rng), rng, columns=np.array([0, 1]), n_experts=2)
    with pytest.raises(ValueError, match=rf"^{type(gate).__name__}: {message}"):
        started.to_text(**parameters)


@pytest.mark.parametrize("gate", [SoftmaxGate(), HierarchicalGate()])
def test_gates_that_are_not_fitted(gate):
    with pytest.raises(NotFittedError, match=rf"^{type(gate).__name__}: this gate is not fitted"):
        gate.to_text()


@pytest.mark.parametrize(("constant", "said"), [(5e-10, 0.0), (5e-9, 5e-9)])
def test_a_constant_beside_large_terms_is_rounding(constant, said):
    design = SimpleNamespace(scale=np.array([10.0]), center=np.zeros(1))
    wording = Wording(["x"], decimals=2, max_terms=3)
    assert Score.of(np.ones(1), constant, design, ["x"], wording).constant == said


@pytest.mark.parametrize(("decimals", "n_terms"), [(0, 1), (2, 1), (3, 2), (12, 2)])
def test_terms_that_no_decimal_shows_are_left_at_their_mean(decimals, n_terms):
    design = SimpleNamespace(scale=np.array([1.0, 1.0]), center=np.array([0.0, 2000.0]))
    wording = Wording(["x", "year"], decimals=decimals, max_terms=4)
    score = Score.of(np.array([-5.0, 4e-4]), 1.0, design, wording.names, wording)
    assert len(score.slopes) == n_terms and score.n_left_out == 0
    assert_allclose(score.constant, 1.0 if n_terms == 2 else 1.0 + 4e-4 * 2000)


def test_a_column_far_from_zero_stays_in_the_text(rng):
    """Its constant is that at 0, a hundred billion spreads away."""
    X = rng.standard_normal((150, 2))
    y = np.abs(X[:, 0]) + 0.1 * rng.standard_normal(150)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0)
    gate = model.fit(X + [1e11, 0.0], y).gate_
    assert " t " in gate.to_text(["t", "b"])
    assert gate.split_texts(["t", "b"])[0].startswith("t ")
