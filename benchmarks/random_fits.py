"""Random configurations of both estimators, to find what no test thought of.

    python benchmarks/random_fits.py --n 3000

Each fit draws data, gate, family, experts, starts, weights and the rest. It may end in a ValueError
or TypeError that names the class, and in nothing else that is raised. Of a fit that succeeds,
nothing may be NaN, probabilities sum to 1, the lower bound never falls where steps are those of a
likelihood, and `log_density` and `predict_distribution` are one density. Prints counts per option
and every failure with its seed; exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import time
import traceback
import warnings
from collections import Counter
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

#: A fall of the bound by more than this, relative to max(1, |bound|), is one.
FALL = 1e-8


def drawn_data(rng: np.random.Generator, classes: bool, family: str) -> tuple[Any, Any]:
    """Return X and y of a random kind."""
    n = int(rng.choice([8, 20, 50, 80, 150, 300], p=[0.05, 0.1, 0.2, 0.25, 0.25, 0.15]))
    d = int(rng.integers(1, 6))
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d)
    kind = rng.random()
    if kind < 0.1:
        X = np.round(X)
    elif kind < 0.15:
        X[:, 0] = 1.0
    elif kind < 0.2:
        X = np.repeat(X[: max(n // 2, 1)], 2, axis=0)[:n]
    side = X[:, 0] > np.median(X[:, 0])
    Z = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    line = np.where(side, 2 * Z[:, -1], 1 - Z[:, 0]) + 0.2 * rng.normal(size=len(X))
    if classes:
        return X, np.digitize(line, np.quantile(line, [0.4, 0.7][: int(rng.integers(1, 3))]))
    if family == "poisson":
        return X, rng.poisson(np.exp(np.clip(line, -4, 4))).astype(float)
    if family == "gamma":
        return X, np.exp(np.clip(line, -4, 4)) * rng.gamma(3.0, 1 / 3.0, len(X)) + 1e-6
    y = line * 10.0 ** rng.integers(-3, 4)
    if rng.random() < 0.15:
        y = np.round(y, 1)
    if rng.random() < 0.1:
        y = np.column_stack([y, Z[:, 0]])
    return X, y


def drawn_model(rng: np.random.Generator, classes: bool, family: str) -> tuple[Any, dict]:
    """Return an unfitted mixture and the names of what was drawn."""
    pick = {
        "experts": str(
            rng.choice(
                ["default", "linear", "bank", "tree", "neighbours", "pipeline", "network", "list"],
                p=[0.4, 0.15, 0.1, 0.08, 0.06, 0.08, 0.06, 0.07],
            )
        ),
        "gate": str(
            rng.choice(
                ["softmax", "unpenalised", "constant", "gaussian", "tree", "classifier"],
                p=[0.35, 0.1, 0.15, 0.15, 0.15, 0.1],
            )
        ),
        "n_experts": int(rng.choice([1, 2, 3, 4, 6], p=[0.1, 0.35, 0.25, 0.2, 0.1])),
        "init": str(rng.choice(["mixed", "kmeans", "random", "split", "tree", "clusterwise"])),
        "assignment": str(rng.choice(["soft", "hard", "stochastic"], p=[0.8, 0.1, 0.1])),
        "on_collapse": str(rng.choice(["reinit", "drop", "keep"])),
        "noise_expert": bool(rng.random() < 0.15),
        "pooling": str(rng.choice(["weighted", "argmax"])),
        "routing": str(
            rng.choice(
                ["dense", "TopK", "TopP", "Switch", "ExpertChoice", "Threshold", "fallback"],
                p=[0.58, *[0.07] * 6],
            )
        ),
        "shared": bool(rng.random() < 0.1),
    }
    k = pick["n_experts"]
    penalty = 10.0 ** rng.uniform(-3, 2)
    plain = (
        LogisticRegression(C=1 / penalty)
        if classes
        else PoissonRegressor(alpha=penalty)
        if family == "poisson"
        else Ridge(penalty)
    )
    tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(max_depth=3)
    near = (KNeighborsClassifier if classes else KNeighborsRegressor)(3)
    network = (MLPClassifier if classes else MLPRegressor)((4,), max_iter=20)
    experts: dict[str, Any] = {
        "default": None,
        "linear": LogisticRegression(C=100.0) if classes else LinearRegression(),
        "bank": plain,
        "tree": tree,
        "neighbours": near,
        "pipeline": make_pipeline(StandardScaler(), plain),
        "network": make_pipeline(StandardScaler(), network),
        "list": [("plain", plain), *((f"tree{i}", tree) for i in range(1, k))],
    }
    gates: dict[str, Any] = {
        "softmax": SoftmaxGate(penalty, usage_prior=float(rng.choice([0.0, 0.0, 3.0]))),
        "unpenalised": SoftmaxGate(0.0),
        "constant": ConstantGate(),
        "gaussian": GaussianGate(str(rng.choice(["full", "tied", "diag", "spherical"]))),
        "tree": HierarchicalGate((2, k // 2) if k % 2 == 0 and k > 2 else (k,)),
        "classifier": EstimatorGate(GaussianNB()),
    }
    params = {name: pick[name] for name in list(pick)[2:] if name not in ("routing", "shared")}
    params |= {"expert": experts[pick["experts"]], "gate": gates[pick["gate"]]}
    params |= {"routing": drawn_router(rng, pick["routing"], k)}
    if params["routing"] is not None and params["routing"].hard:
        params["assignment"] = "soft"
    if pick["shared"]:
        params["shared_expert"] = plain
    slow = pick["experts"] in ("tree", "neighbours", "pipeline", "network", "list")
    params |= {"n_init": 2, "random_state": int(rng.integers(1000)), "max_iter": 8 if slow else 200}
    if classes:
        return MixtureOfExpertsClassifier(**params), pick
    return MixtureOfExpertsRegressor(**params, family=family), pick


def drawn_router(rng: np.random.Generator, name: str, k: int) -> Any:
    """Return a router with random options, None for a dense mixture."""
    count = int(rng.integers(1, k + 1))
    balance = [None, None, "bias", "assignment"][int(rng.integers(4))]
    options = {
        "balance": balance,
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


def faults_of(model: Any, X: np.ndarray, y: np.ndarray, climbs: bool) -> list[str]:
    """Return what is wrong with a fitted mixture."""
    faults = []
    gate, resp = model.gate_proba(X), model.responsibilities(X, y)
    density, prediction = model.log_density(X, y), model.predict(X)
    numbers = {"gate_proba": gate, "responsibilities": resp, "log_density": density}
    if hasattr(model, "predict_proba"):
        numbers["predict_proba"] = model.predict_proba(X)
        if np.any(numbers["predict_proba"] > 1):
            faults.append("a probability above 1")
    else:
        numbers["predict"] = prediction
    for name, values in numbers.items():
        if np.any(np.isnan(values)):
            faults.append(f"NaN in {name}")
    numbers["route"] = model.route(X)
    faults += [
        f"{name} does not sum to 1"
        for name in ("gate_proba", "responsibilities", "predict_proba", "route")
        if name in numbers and not np.allclose(numbers[name].sum(axis=1), 1, atol=1e-8)
    ]
    bounds = model.lower_bounds_
    if climbs and np.any(np.diff(bounds) < -FALL * np.maximum(1, np.abs(bounds[:-1]))):
        faults.append(f"the bound fell by {-np.diff(bounds).min():.3g}")
    if hasattr(model, "sample_y") and not model.noise_expert:
        with np.errstate(divide="ignore"):
            other = np.log(model.predict_distribution(X).pdf(y))
        other = other if other.ndim == 1 else other.sum(axis=1)
        several = y.ndim == 2 and len(model.experts_) > 1  # a marginal for each output
        seen = np.isfinite(density) & np.isfinite(other)
        if not several and not np.allclose(density[seen], other[seen], atol=1e-6, rtol=1e-6):
            faults.append("log_density and predict_distribution differ")
    return faults


def run(seed: int, counts: Counter) -> list[str]:
    """Return the faults of one configuration, with its options counted."""
    rng = np.random.default_rng(seed)
    classes = bool(rng.random() < 0.35)
    family = str(rng.choice(["gaussian", "student_t", "laplace", "poisson", "gamma"]))
    X, y = drawn_data(rng, classes, family)
    model, pick = drawn_model(rng, classes, family)
    weighted = rng.random() < 0.3
    grouped = rng.random() < 0.1 and pick["gate"] == "constant"
    fit: dict[str, Any] = {"sample_weight": rng.integers(0, 4, len(X))} if weighted else {}
    fit |= {"groups": np.arange(len(X)) // 3} if grouped else {}
    counts.update(f"{name}={value}" for name, value in pick.items())
    counts.update([f"family={'classes' if classes else family}"])
    counts.update([f"weights={weighted}", f"groups={grouped}"])
    counts.update(["K >= 2, n >= 50"] if pick["n_experts"] > 1 and len(X) >= 50 else [])
    owner = type(model).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="mixexp")
        try:
            model.fit(X, y, **fit)
            counts.update(["fitted", *(["converged"] if model.converged_ else [])])
            parts = (model._model.gate, model._model.dense_gate, model._model.bank)
            climbs = all(part.monotone for part in parts) and pick["assignment"] == "soft"
            return faults_of(model, X, y, climbs)
        except (ValueError, TypeError) as error:
            counts.update(["refused"])
            named = owner in str(error) or "Gate" in str(error) or "y" in str(error).split()
            return [] if named else [f"{type(error).__name__} names nothing: {error}"]
        except Exception:
            return [traceback.format_exc(limit=-3)]


def main() -> int:
    """Run, print, and return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--minutes", type=float, default=40.0, help="stop after this long")
    options = parser.parse_args()
    counts: Counter = Counter()
    n_faults, began, done = 0, time.monotonic(), 0
    for seed in range(options.first, options.first + options.n):
        faults = run(seed, counts)
        done += 1
        n_faults += bool(faults)
        for fault in faults:
            print(f"seed {seed}: {fault}", flush=True)
        if time.monotonic() - began > 60 * options.minutes:
            break
    for option, count in sorted(counts.items()):
        print(f"{count:6d}  {option}")
    print(f"{done} configurations of {options.n}, {n_faults} with faults")
    return 1 if n_faults or done < options.n else 0


if __name__ == "__main__":
    raise SystemExit(main())
