"""Drawn problems and mixtures: hypothesis chooses the options, a seed the numbers.

A case is its options (`picks`): `build` makes the same data and mixture of them again, so that a
failure is told by one dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.experts import ExpertPool
from mixexp.families import StudentT
from mixexp.gates import ConstantGate, EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

#: Columns and targets are multiplied by powers of ten up to this, and down to its inverse.
FARTHEST = 150

#: How often a number of rows from 50 stands in the list for once of those below: one case in ten is
#: refused and one in five does not converge, and half of all must be of size and converge.
LARGE_TIMES = 8

#: Experts that are fitted one by one: their fits are cut short, for they take the time.
ONE_BY_ONE = ("tree", "neighbours", "pipeline", "network", "list", "pool")

#: A value, and how often it stands in the list that is drawn from.
OPTIONS: dict[str, dict[Any, int]] = {
    "kind": {"numbers": 2, "classes": 1},
    "n_experts": {1: 1, 2: 6, 3: 4, 4: 2, 6: 1},
    "columns": {
        **{"plain": 8, "rounded": 1, "duplicate": 1, "constant": 1, "collinear": 1},
        **{"repeated rows": 1, "binary": 1, "one far row": 1, "offset": 1},
    },
    "scale": {"one": 10, "mixed": 4, "tiny": 1, "huge": 1, "spread": 2},
    "dtype": {"float64": 8, "float32": 1, "int64": 1, "fortran": 1, "csr": 1, "frame": 1},
    "weights": {"none": 8, "counts": 2, "zeros": 1, "fractions": 1, "tiny": 1, "uneven": 1},
    "gate": {
        **{"softmax": 6, "unpenalised": 2, "sparse": 1, "auto alpha": 1, "usage prior": 1},
        **{"constant": 3, "full": 1, "tied": 1, "diag": 1, "spherical": 1, "tree": 2},
        **{"classifier": 1},
    },
    "experts": {
        **{"default": 10, "linear": 4, "penalised": 2, "tree": 1, "neighbours": 1},
        **{"pipeline": 1, "network": 1, "list": 1, "pool": 1},
    },
    "init": {
        **{"mixed": 3, "kmeans": 2, "random": 2, "split": 1, "tree": 1, "clusterwise": 1},
        **{"model_tree": 1, "kmeans_xy": 1, "given": 2, "labels": 1},
    },
    "assignment": {"soft": 8, "hard": 1, "stochastic": 1},
    "on_collapse": {"reinit": 3, "drop": 1, "keep": 1},
    "fixed": {"none": 8, "noise": 1, "zero": 1},
    "pooling": {"weighted": 3, "argmax": 1},
    "routing": {
        **{"dense": 12, "TopK": 1, "TopP": 1, "Switch": 1, "ExpertChoice": 1, "Threshold": 1},
        **{"fallback": 1},
    },
    "shared": {False: 8, True: 1},
    "expert_basis": {"linear": 8, "quantile": 1, "spline": 1},
    "gate_basis": {"linear": 6, "quantile": 1, "spline": 1},
    "acceleration": {"auto": 3, None: 1},
    "extra": {"none": 10, "groups": 1, "offset": 1, "expert labels": 1},
    "cross_fit": {"auto": 2, False: 2, 2: 1},
}

OF_NUMBERS: dict[str, dict[Any, int]] = {
    "family": {
        **{"gaussian": 5, "student_t": 2, "laplace": 1, "poisson": 2, "negative_binomial": 1},
        **{"gamma": 2, "binomial": 1},
    },
    "target": {"plain": 8, "ties": 1, "constant": 1, "exact": 1, "huge": 1, "tiny": 1, "two": 1},
}

OF_CLASSES: dict[str, dict[Any, int]] = {
    "n_classes": {2: 3, 3: 2, 4: 1, 1: 0},
    "labels": {"ints": 3, "strings": 1, "bools": 1, "floats": 1, "far ints": 1},
    "target": {"plain": 4, "separable": 1, "noise": 1, "one rare": 1},
}


def picks(**fixed: Any) -> st.SearchStrategy:
    """Return a strategy for the options of a case, of which some are given."""

    @st.composite
    def drawn(draw: Any) -> dict[str, Any]:
        return _chosen(lambda values: draw(st.sampled_from(values)), fixed)

    return drawn()


def drawn_picks(rng: np.random.Generator) -> dict[str, Any]:
    """Return options that are drawn independently: hypothesis repeats and mutates its own."""
    return _chosen(lambda values: values[int(rng.integers(len(values)))], {})


def first_options(kind: str) -> dict[str, Any]:
    """Return the first value of every option, which is the simplest."""
    return _chosen(lambda values: values[0], {"kind": kind})


def _chosen(choose: Callable[[Any], Any], fixed: dict[str, Any]) -> dict[str, Any]:
    """Return options, each by `choose` from a list, or as given."""
    chosen: dict[str, Any] = {}
    sizes = {n: LARGE_TIMES if n >= 50 else 1 for n in range(10, 81)}
    tables = [OPTIONS, None, {"n": sizes, "d": {1: 1, 2: 2, 3: 2, 4: 1}}]
    for table in tables:
        of_kind = OF_CLASSES if chosen.get("kind") == "classes" else OF_NUMBERS
        for name, values in (of_kind if table is None else table).items():
            listed = [value for value, times in values.items() for _ in range(times)]
            chosen[name] = fixed[name] if name in fixed else choose(listed)
    return {**chosen, "seed": choose(range(2**16))}


@dataclass(frozen=True)
class Case:
    """Data, arguments of `fit` and an unfitted mixture."""

    picks: dict[str, Any]
    X: Any
    y: np.ndarray
    fit: dict[str, Any]
    model: Any

    @property
    def climbs(self) -> bool:
        """Whether a fitted mixture's bound never falls."""
        of = self.model._model
        parts = (of.gate, of.dense_gate, of.bank)
        return all(part.monotone for part in parts) and self.picks["assignment"] == "soft"


def build(chosen: dict[str, Any]) -> Case:
    """Return the case of these options."""
    rng = np.random.default_rng(chosen["seed"])
    Z = _columns(rng, chosen)
    X = _typed(Z, rng, chosen)
    line = _line(Z, rng)
    classes = chosen["kind"] == "classes"
    y = _labels(line, rng, chosen) if classes else _numbers(line, rng, chosen)
    fit = _arguments(rng, chosen)
    params = _params(rng, chosen)
    kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    return Case(chosen, X, y, fit, kind(**params))


# ---------------------------------------------------------------- data


def _columns(rng: np.random.Generator, chosen: dict[str, Any]) -> np.ndarray:
    """Return columns of about unit scale, (n, d)."""
    Z = rng.normal(size=(chosen["n"], chosen["d"]))
    kind = chosen["columns"]
    if kind == "rounded":
        return np.round(Z)
    if kind == "binary":
        return (Z > 0).astype(float)
    if kind == "repeated rows":
        return Z[rng.integers(0, max(len(Z) // 3, 1), len(Z))]
    if kind == "duplicate":
        Z[:, 0] = Z[:, -1]
    if kind == "constant":
        Z[:, 0] = 3.0
    if kind == "collinear":
        Z[:, 0] = Z.sum(axis=1)
    if kind == "one far row":
        Z[0] *= 1e6
    if kind == "offset":
        Z += 1e6
    return Z


def _typed(Z: np.ndarray, rng: np.random.Generator, chosen: dict[str, Any]) -> Any:
    """Return the columns in their units and in a container of some dtype."""
    d = Z.shape[1]
    power = {
        "one": np.zeros(d),
        "mixed": rng.integers(-3, 4, d),
        "tiny": np.full(d, -FARTHEST),
        "huge": np.full(d, FARTHEST),
        "spread": rng.integers(-FARTHEST, FARTHEST + 1, d),
    }[chosen["scale"]]
    dtype = chosen["dtype"]
    if dtype in ("float32", "int64"):  # of a smaller range
        power = np.clip(power, *((-20, 20) if dtype == "float32" else (0, 9)))
    X = Z * 10.0**power
    if dtype in ("float32", "int64"):
        return X.astype(dtype)
    if dtype == "fortran":
        return np.asfortranarray(X)
    if dtype == "frame":
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(d)])
    return csr_array(X) if dtype == "csr" else X


def _line(Z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a broken line over the columns, with noise."""
    spread = np.where(np.ptp(Z, axis=0) > 0, Z.std(axis=0), 1.0)
    U = (Z - Z.mean(axis=0)) / spread
    side = Z[:, 0] > np.median(Z[:, 0])
    return np.where(side, 2 * U[:, -1], 1 - U[:, 0]) + 0.2 * rng.normal(size=len(Z))


def _numbers(line: np.ndarray, rng: np.random.Generator, chosen: dict[str, Any]) -> np.ndarray:
    """Return a target that the family allows."""
    family, target = chosen["family"], chosen["target"]
    if target == "exact":
        line = np.round(line * 2) / 2
    mean = np.exp(np.clip(line, -4, 4))
    if target == "huge" and family != "gamma":
        mean = mean * 1e6
    if family == "binomial":
        trials = rng.integers(1, 10, len(line))
        hits = rng.binomial(trials, 1 / (1 + np.exp(-np.clip(line, -4, 4))))
        return np.column_stack([hits, trials - hits]).astype(float)
    if family in ("poisson", "negative_binomial"):
        y = rng.poisson(mean).astype(float)
    elif family == "gamma":
        y = mean * rng.gamma(3.0, 1 / 3.0, len(line)) + 1e-6
    else:
        y = line
    if target == "constant":
        y = np.full(len(y), 2.0)
    if target == "ties":
        y = np.round(y) + (family == "gamma")
    if target in ("huge", "tiny") and family not in ("poisson", "negative_binomial"):
        y = y * 10.0 ** (FARTHEST if target == "huge" else -FARTHEST)
    return np.column_stack([y, y[::-1]]) if target == "two" else y


def _labels(line: np.ndarray, rng: np.random.Generator, chosen: dict[str, Any]) -> np.ndarray:
    """Return class labels."""
    c, target = chosen["n_classes"], chosen["target"]
    if target == "noise":
        codes = rng.integers(0, c, len(line))
    else:
        codes = np.digitize(line, np.quantile(line, np.arange(1, c) / c))
    if target == "plain":
        codes = np.where(rng.random(len(line)) < 0.1, rng.integers(0, c, len(line)), codes)
    if target == "one rare":
        codes = np.minimum(codes, c - 2)
        codes[0] = c - 1
    names = {
        "ints": np.arange(c),
        "strings": np.array(["b", "a", "d", "c"])[:c],
        "bools": np.arange(c) > 0,
        "floats": np.arange(c) - 1.0,
        "far ints": np.array([-5, 10**9, 3, 0])[:c],
    }[chosen["labels"]]
    return names[codes]


def _arguments(rng: np.random.Generator, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return weights and other arguments of `fit`."""
    n = chosen["n"]
    weight = {
        "none": None,
        "counts": rng.integers(1, 4, n),
        "zeros": rng.integers(0, 3, n),
        "fractions": rng.uniform(0.1, 2.0, n),
        "tiny": rng.uniform(0.5, 1.0, n) * 1e-150,
        "uneven": 10.0 ** rng.uniform(-8, 8, n),
    }[chosen["weights"]]
    fit: dict[str, Any] = {} if weight is None else {"sample_weight": weight}
    if chosen["extra"] == "groups" and chosen["gate"] == "constant":
        fit["groups"] = np.arange(n) // 3
    if chosen["extra"] == "offset" and chosen["kind"] == "numbers":
        fit["offset"] = rng.normal(size=n)
    if chosen["extra"] == "expert labels" and chosen["routing"] == "dense":
        known = np.full(n, -1)
        known[:: max(n // 5, 1)] = rng.integers(0, chosen["n_experts"])
        fit["expert_labels"] = known
    return fit


# ---------------------------------------------------------------- mixtures


def _params(rng: np.random.Generator, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the mixture."""
    k, slow = chosen["n_experts"], chosen["experts"] in ONE_BY_ONE
    taken = ("n_experts", "assignment", "on_collapse", "pooling", "acceleration", "cross_fit")
    params = {name: chosen[name] for name in (*taken, "expert_basis", "gate_basis")}
    if slow:
        params["expert_basis"] = "linear"
    if not slow or (chosen["experts"] == "pool" and not params["cross_fit"]):
        params["cross_fit"] = "auto"
    if chosen["gate"] == "classifier":
        params["gate_basis"] = "linear"
    plain, expert = _experts(rng, chosen)
    params |= {"expert": expert, "gate": _gate(rng, chosen["gate"], k)}
    params |= {"routing": _router(rng, chosen["routing"], k)}
    params |= {"init": _start(rng, chosen), "n_init": 1, "random_state": chosen["seed"] % 1000}
    slow = slow or chosen["gate"] == "classifier"
    params |= {"max_iter": 6 if slow else 200, "tol": 1e-3 if slow else 1e-5}
    if params["routing"] is not None and params["routing"].hard:
        params["assignment"] = "soft"
    if chosen["shared"]:
        params["shared_expert"] = plain
    if chosen["kind"] == "numbers":
        params["family"] = StudentT(4.0) if chosen["seed"] % 7 == 0 else chosen["family"]
        params["family"] = params["family"] if chosen["family"] == "student_t" else chosen["family"]
        params["zero_expert"] = chosen["fixed"] == "zero" and chosen["family"] in (
            "poisson",
            "negative_binomial",
        )
    params["noise_expert"] = chosen["fixed"] == "noise"
    return params


def _experts(rng: np.random.Generator, chosen: dict[str, Any]) -> tuple[Any, Any]:
    """Return a plain linear expert of the kind, and the template that was drawn."""
    classes, k = chosen["kind"] == "classes", chosen["n_experts"]
    logs = not classes and chosen["family"] in ("poisson", "negative_binomial")
    penalty = 10.0 ** rng.uniform(-3, 2)
    plain: Any = Ridge(penalty)
    if classes:
        plain = LogisticRegression(C=1 / penalty)
    elif logs:
        plain = PoissonRegressor(alpha=penalty)
    tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(max_depth=2)
    network = (MLPClassifier if classes else MLPRegressor)(hidden_layer_sizes=(3,), max_iter=10)
    templates: dict[str, Any] = {
        "default": None,
        "linear": LogisticRegression(C=100.0) if classes else LinearRegression(),
        "penalised": plain,
        "tree": tree,
        "neighbours": (KNeighborsClassifier if classes else KNeighborsRegressor)(3),
        "pipeline": make_pipeline(StandardScaler(with_mean=chosen["dtype"] != "csr"), plain),
        "network": make_pipeline(StandardScaler(with_mean=chosen["dtype"] != "csr"), network),
        "list": [("plain", plain), *((f"tree{i}", tree) for i in range(1, k))],
        "pool": ExpertPool([("plain", plain), ("tree", tree)]),
    }
    return plain, templates[chosen["experts"]]


def _gate(rng: np.random.Generator, name: str, k: int) -> Any:
    """Return a gate."""
    penalty = 10.0 ** rng.uniform(-3, 2)
    gates: dict[str, Any] = {
        "softmax": lambda: SoftmaxGate(penalty, temperature=float(rng.choice([1.0, 1.0, 0.5]))),
        "unpenalised": lambda: SoftmaxGate(0.0),
        "sparse": lambda: SoftmaxGate(penalty, l1_ratio=0.5),
        "auto alpha": lambda: SoftmaxGate("auto"),
        "usage prior": lambda: SoftmaxGate(penalty, usage_prior=2.0),
        "constant": ConstantGate,
        "tree": lambda: HierarchicalGate((2, k // 2) if k % 2 == 0 and k > 2 else (k,), penalty),
        "classifier": lambda: EstimatorGate(GaussianNB()),
    }
    return gates[name]() if name in gates else GaussianGate(name)


def _router(rng: np.random.Generator, name: str, k: int) -> Any:
    """Return a router with random options, None for a dense mixture."""
    count = int(rng.integers(1, k + 1))
    options: dict[str, Any] = {
        "balance": [None, None, "bias", "assignment"][int(rng.integers(4))],
        "jitter": float(rng.choice([0.0, 0.0, 0.1])),
        "temperature": float(rng.choice([1.0, 1.0, 0.5, 2.0])),
    }
    own = {name: options[name] for name in ("jitter", "temperature")}
    routers: dict[str, Any] = {
        "dense": lambda: None,
        "TopK": lambda: TopK(count, **options),
        "TopP": lambda: TopP(float(rng.uniform(0.3, 1.0)), **options),
        "Switch": lambda: Switch(float(rng.uniform(1.0, 2.0)), **options),
        "ExpertChoice": lambda: ExpertChoice(float(rng.uniform(0.5, k)), **own),
        "Threshold": lambda: Threshold(float(rng.uniform(0.0, 0.6)), **options),
        "fallback": lambda: TopK(count, renormalise=False, fallback="mean", **options),
    }
    return routers[name]()


def _start(rng: np.random.Generator, chosen: dict[str, Any]) -> Any:
    """Return a start: a name, responsibilities or labels."""
    n, k = chosen["n"], chosen["n_experts"]
    if chosen["init"] == "given":
        return rng.dirichlet(np.ones(k), n)
    if chosen["init"] == "labels":
        return np.arange(n) % k
    return chosen["init"]
