"""Bad input, all of it: a clear error, or a sound result where scikit-learn gives one too."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import DBSCAN, KMeans
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Gaussian
from mixexp.gates import SoftmaxGate

MIXTURES = {"Regressor": MixtureOfExpertsRegressor, "Classifier": MixtureOfExpertsClassifier}
BOTH, REGRESSOR, CLASSIFIER = tuple(MIXTURES), ("Regressor",), ("Classifier",)


def sound_data(kind, n=60):
    """Rows that every mixture can be fitted on."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 3))
    score = np.where(X[:, 0] > 0, 2 * X[:, 1], -X[:, 1]) + 0.3 * rng.standard_normal(n)
    return X, score if kind == "Regressor" else (score > 0).astype(int)


def fit(model, X, y, weight):
    return model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)


def after_fit(method: Callable) -> Callable:
    """Fit on sound rows, then call a method with the input in question."""

    def call(model, X, y, weight):
        kind = "Regressor" if hasattr(model, "family") else "Classifier"
        model.fit(*sound_data(kind))
        return method(model, X, y)

    return call


@dataclass
class Case:
    """One kind of input, and what has to come of it.

    `message` None means that a finite result has to, with a `warning` where there is one; `{name}`
    in both is the class of the mixture.
    """

    name: str
    message: str | None
    kinds: tuple[str, ...] = BOTH
    error: Any = ValueError
    data: Callable = lambda X, y: (X, y, None)
    call: Callable = fit
    parameters: dict = field(default_factory=dict)
    warning: str | None = None


def with_value(value):
    """Put a value into X."""

    def data(X, y):
        X = X.copy()
        X[3, 1] = value
        return X, y, None

    return data


def with_target(value):
    def data(X, y):
        y = y.astype(float)
        y[3] = value
        return X, y, None

    return data


def with_weight(change):
    """Weights of one, changed."""

    def data(X, y):
        return X, y, change(np.ones(len(y)))

    return data


def at(index, value):
    def change(a):
        a = np.array(a)
        a[index] = value
        return a

    return change


class NoWeights(RegressorMixin, BaseEstimator):
    """A regressor whose fit takes no weights."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Plain:
    """No estimator at all."""


def frame(X, y):
    return pd.DataFrame(X, columns=["a", "b", "c"]), y, None


N = 60
half = np.arange(N) % 2
uneven = np.full((N, 2), 0.5)
uneven[4] = 0.3
missing = np.full((N, 2), 0.5)
missing[4, 0] = np.nan
negative = np.full((N, 2), 0.5)
negative[4] = [-0.5, 1.5]

CASES = [
    # ------------------------------------------------------------------ X
    Case("NaN in X", "Input X contains NaN.*{name}", data=with_value(np.nan)),
    Case("inf in X", "Input X contains infinity", data=with_value(np.inf)),
    Case("no rows", "Found array with 0 sample", data=lambda X, y: (X[:0], y[:0], None)),
    Case("no columns", "0 feature", data=lambda X, y: (X[:, :0], y, None)),
    Case(
        "one row",
        "{name}: n_samples=1 .*fewer than n_experts=2",
        REGRESSOR,
        data=lambda X, y: (X[:1], y[:1], None),
    ),
    Case(
        "one row of a class",
        "{name}: the data contain one class only",
        CLASSIFIER,
        data=lambda X, y: (X[:1], y[:1], None),
    ),
    Case(
        "more experts than rows",
        "{name}: n_samples=5 .*fewer than n_experts=7.*Lower n_experts",
        data=lambda X, y: (X[:5], y[:5], None),
        parameters={"n_experts": 7},
    ),
    Case("one dimension", "Expected 2D array, got 1D", data=lambda X, y: (X[:, 0], y, None)),
    Case("three dimensions", "dim 3|3 dim", data=lambda X, y: (X[:, :, None], y, None)),
    Case(
        "words in X",
        "could not convert string",
        data=lambda X, y: (np.char.add(X.astype(str), "a"), y, None),
    ),
    Case("numbers as words in X", None, data=lambda X, y: (X.astype(str).astype(object), y, None)),
    Case("complex X", "Complex data not supported", data=lambda X, y: (X + 1j, y, None)),
    Case(
        "sparse X for a dense expert",
        "Sparse data was passed",
        REGRESSOR,
        error=TypeError,
        data=lambda X, y: (sp.csr_array(X), y, None),
        parameters={"expert": HistGradientBoostingRegressor()},
    ),
    Case("a constant column", None, data=lambda X, y: (np.c_[X, np.full(N, 7.0)], y, None)),
    Case("a column of zeros", None, data=lambda X, y: (np.c_[X, np.zeros(N)], y, None)),
    Case("a column twice", None, data=lambda X, y: (np.c_[X, X[:, 0]], y, None)),
    Case("all columns constant", None, data=lambda X, y: (np.full((N, 3), 5.0), y, None)),
    Case("all columns zero", None, data=lambda X, y: (np.zeros((N, 2)), y, None)),
    Case(
        "all columns constant, unpenalised",
        None,
        REGRESSOR,
        data=lambda X, y: (np.full((N, 3), 5.0), y, None),
        parameters={"expert": LinearRegression(), "gate": SoftmaxGate(alpha=0)},
    ),
    # ------------------------------------------------------------------ y
    Case("no y", "requires y to be passed", data=lambda X, y: (X, None, None)),
    Case("NaN in y", "y contains NaN", data=with_target(np.nan)),
    Case("inf in y", "y contains infinity", data=with_target(np.inf)),
    Case("y too short", "inconsistent numbers of samples", data=lambda X, y: (X, y[:-1], None)),
    Case(
        "words in y",
        "could not convert string|dtype='numeric'",
        REGRESSOR,
        data=lambda X, y: (X, np.where(y > 0, "a", "b"), None),
    ),
    Case("y of no columns", "0 feature", REGRESSOR, data=lambda X, y: (X, y[:, None][:, :0], None)),
    Case(
        "y of three dimensions", "dim 3", REGRESSOR, data=lambda X, y: (X, y[:, None, None], None)
    ),
    Case(
        "huge y",
        "Rescale X and y|too large",
        REGRESSOR,
        data=lambda X, y: (X, 1e200 * y, None),
    ),
    Case("large y", None, REGRESSOR, data=lambda X, y: (X, 1e100 * y, None)),
    Case("small y", None, REGRESSOR, data=lambda X, y: (X, 1e-100 * y, None)),
    Case("constant y", None, REGRESSOR, data=lambda X, y: (X, np.full(N, 3.0), None)),
    Case("y of zeros", None, REGRESSOR, data=lambda X, y: (X, np.zeros(N), None)),
    Case("a perfect line", None, REGRESSOR, data=lambda X, y: (X, 1 + X @ [1.0, 2.0, 3.0], None)),
    Case(
        "one class",
        "{name}: the data contain one class only, .*at least 2",
        CLASSIFIER,
        data=lambda X, y: (X, np.ones(N, dtype=int), None),
    ),
    Case(
        "one class by weight",
        "{name}: the data contain one class only",
        CLASSIFIER,
        data=lambda X, y: (X, y, (y == 1).astype(float)),
    ),
    Case(
        "continuous y",
        "Unknown label type: continuous",
        CLASSIFIER,
        data=lambda X, y: (X, y + 0.5 * X[:, 0], None),
    ),
    Case(
        "y of two columns",
        r"y should be a 1d array|Multioutput target|shape \(60, 2\)",
        CLASSIFIER,
        data=lambda X, y: (X, np.c_[y, 1 - y], None),
    ),
    Case(
        "classes of several types",
        "uniformly strings or numbers|mix of label|not supported between|Unknown label type",
        CLASSIFIER,
        error=(ValueError, TypeError),
        data=lambda X, y: (X, np.where(y == 1, "one", y.astype(object)), None),
    ),
    # ------------------------------------------------------------ weights
    Case(
        "all weights zero",
        "{name}: sample_weight is zero for all 60 rows|weights must contain at least one non-zero",
        data=with_weight(np.zeros_like),
    ),
    Case(
        "negative weights",
        "Negative values in data passed to `?sample_weight",
        data=with_weight(at(2, -1.0)),
    ),
    Case("NaN weights", "Input sample_weight contains NaN", data=with_weight(at(2, np.nan))),
    Case("inf weights", "Input sample_weight contains infinity", data=with_weight(at(2, np.inf))),
    Case(
        "too few weights",
        r"sample_weight.shape == \(59,\), expected \(60,\)",
        data=with_weight(lambda w: w[1:]),
    ),
    Case(
        "weights of two dimensions",
        "[Ss]ample.?weights? must be 1D",
        data=with_weight(lambda w: w[:, None]),
    ),
    Case(
        "words as weights", "could not convert string", data=with_weight(lambda w: np.full(N, "a"))
    ),
    Case("one number as weight", None, data=lambda X, y: (X, y, 2.0)),
    Case(
        "weights leave too few rows",
        "{name}: n_samples=1 rows with positive weight are fewer",
        REGRESSOR,
        data=with_weight(lambda w: np.eye(N)[0]),
    ),
    Case("boolean weights", None, data=with_weight(lambda w: np.arange(N) % 3 > 0)),
    # --------------------------------------------------------------- init
    Case(
        "init: unknown name",
        "'init' parameter of {name} must be .*'clusterwise'.*Got 'best'",
        parameters={"init": "best"},
    ),
    Case("init: too few labels", r"{name}: init has shape \(59,\)", parameters={"init": half[1:]}),
    Case(
        "init: one label",
        "{name}: init has 1 distinct labels and n_experts=2",
        parameters={"init": np.zeros(N)},
    ),
    Case(
        "init: three labels",
        "{name}: init has 3 distinct labels and n_experts=2.*n_experts=3",
        parameters={"init": np.arange(N) % 3},
    ),
    Case(
        "init: wrong columns",
        r"{name}: init has shape \(60, 3\).*\(60, 2\)",
        parameters={"init": np.full((N, 3), 1 / 3)},
    ),
    Case(
        "init: transposed",
        r"{name}: init has shape \(2, 60\).*\(60, 2\)",
        parameters={"init": np.full((2, N), 0.5)},
    ),
    Case(
        "init: sums below one",
        "{name}: init .*rows that sum to 1.*0.6",
        parameters={"init": uneven},
    ),
    Case("init: negative", "{name}: init .*nonnegative.*-0.5", parameters={"init": negative}),
    Case("init: NaN", "init contains NaN", parameters={"init": missing}),
    Case(
        "init: NaN labels",
        "init.*NaN",
        parameters={"init": np.where(np.arange(N) == 5, np.nan, half)},
    ),
    Case(
        "init: labels without weight",
        "{name}: init .*(labels|weight)",
        data=lambda X, y: (X, y, np.where(half == 1, 1.0, 0.0)),
        parameters={"init": half},
    ),
    Case("init: words", None, parameters={"init": np.where(half == 1, "a", "b")}),
    Case("init: a number", "'init' parameter of {name}", parameters={"init": 3}),
    Case("init: None", "'init' parameter of {name}", parameters={"init": None}),
    Case(
        "init: a class",
        "{name}: init|'init' parameter of {name}",
        error=(ValueError, TypeError),
        parameters={"init": KMeans},
    ),
    Case(
        "init: other number of clusters",
        "{name}: init=KMeans.*gave 3 groups .*n_experts=2",
        parameters={"init": KMeans(3, random_state=0)},
    ),
    Case(
        "init: no clusters",
        "{name}: init=DBSCAN.*gave 1 groups",
        parameters={"init": DBSCAN(eps=1e-9)},
    ),
    # -------------------------------------------------------- other names
    Case(
        "pooling: unknown name",
        "'pooling' parameter of {name} must be .*'weighted'.*Got 'mean'",
        parameters={"pooling": "mean"},
    ),
    Case("pooling: a number", "'pooling' parameter of {name}", parameters={"pooling": 1}),
    Case(
        "pooling: wrong shape",
        r"{name}: pooling=.*returned shape .*must return \(60",
        parameters={"pooling": lambda weights, outputs: outputs[:, 0][:5]},
        call=lambda model, X, y, weight: model.fit(X, y).predict(X),
    ),
    Case(
        "pooling: no probabilities",
        "{name}: pooling=.*not probabilities",
        CLASSIFIER,
        parameters={"pooling": lambda weights, outputs: 2 * outputs[:, 0]},
        call=lambda model, X, y, weight: model.fit(X, y).predict(X),
    ),
    Case(
        "pooling: NaN",
        "{name}: pooling=",
        CLASSIFIER,
        parameters={"pooling": lambda weights, outputs: np.nan * outputs[:, 0]},
        call=lambda model, X, y, weight: model.fit(X, y).predict(X),
    ),
    Case(
        "assignment: unknown name",
        "'assignment' parameter of {name} must be .*'hard'.*Got 'firm'",
        parameters={"assignment": "firm"},
    ),
    Case(
        "family: unknown name",
        "'family' parameter of {name} must be .*'gaussian'.*Got 'normal'",
        REGRESSOR,
        parameters={"family": "normal"},
    ),
    Case(
        "family: a class",
        "'family' parameter of {name}|{name}: family",
        REGRESSOR,
        error=(ValueError, TypeError),
        parameters={"family": Gaussian},
    ),
    Case(
        "class_weight: unknown name",
        "'class_weight' parameter of {name}.*'balanced'",
        CLASSIFIER,
        parameters={"class_weight": "fair"},
    ),
    Case(
        "class_weight: unknown class", "[Cc]lass", CLASSIFIER, parameters={"class_weight": {7: 2.0}}
    ),
    Case(
        "class_weight: negative",
        "{name}.*class_weight|class_weight.*negative",
        CLASSIFIER,
        parameters={"class_weight": {1: -2.0}},
    ),
    # ------------------------------------------------------------- expert
    Case(
        "expert: no estimator",
        "{name}: expert must be a scikit-learn estimator|'expert' parameter of {name}",
        error=(TypeError, ValueError),
        parameters={"expert": Plain()},
    ),
    Case(
        "expert: a name",
        "{name}: expert must be a scikit-learn estimator|'expert' parameter of {name}",
        error=(TypeError, ValueError),
        parameters={"expert": "ridge"},
    ),
    Case(
        "expert: a class, not an instance",
        "{name}: expert must be .*instance",
        error=TypeError,
        parameters={"expert": Ridge},
    ),
    Case(
        "expert: a classifier",
        "{name}: expert must be a regressor such as .*got LogisticRegression",
        REGRESSOR,
        error=TypeError,
        parameters={"expert": LogisticRegression()},
    ),
    Case(
        "expert: a regressor",
        "{name}: expert must be a classifier such as .*got Ridge",
        CLASSIFIER,
        error=TypeError,
        parameters={"expert": Ridge()},
    ),
    Case(
        "expert: a pipeline with a classifier",
        "{name}: expert must be a regressor",
        REGRESSOR,
        error=TypeError,
        parameters={"expert": make_pipeline(StandardScaler(), LogisticRegression())},
    ),
    Case(
        "expert: a pipeline with a regressor",
        "{name}: expert must be a classifier",
        CLASSIFIER,
        error=TypeError,
        parameters={"expert": make_pipeline(StandardScaler(), Ridge())},
    ),
    *(
        Case(f"expert: {what}", message, kinds, error=TypeError, parameters={"expert": expert})
        for what, expert in {
            "a transformer": StandardScaler(),
            "an empty pipeline end": make_pipeline(StandardScaler(), "passthrough"),
        }.items()
        for kinds, message in [
            (REGRESSOR, f"{{name}}: expert {type(expert).__name__} has no predict;"),
            (CLASSIFIER, f"{{name}}: expert must be a classifier .*got {type(expert).__name__}"),
        ]
    ),
    Case(
        "expert: no sample_weight",
        None,
        REGRESSOR,
        warning="{name}: expert NoWeights does not take sample_weight in fit.*drawn",
        parameters={"expert": NoWeights()},
    ),
    Case(
        "expert: no sample_weight, a classifier",
        None,
        CLASSIFIER,
        warning="{name}: expert KNeighborsClassifier does not take sample_weight in fit.*drawn",
        parameters={"expert": KNeighborsClassifier()},
    ),
    Case(
        "expert: no sample_weight at the end of a pipeline",
        None,
        REGRESSOR,
        warning=r"{name}: expert Pipeline\(KNeighborsRegressor\) does not take sample_weight",
        parameters={"expert": make_pipeline(StandardScaler(), KNeighborsRegressor())},
    ),
    Case(
        "expert: no predict_proba",
        "{name}: expert SVC has no predict_proba",
        CLASSIFIER,
        error=TypeError,
        parameters={"expert": SVC()},
    ),
    Case(
        "expert: bad parameter of a bank",
        "'alpha' parameter of Ridge",
        REGRESSOR,
        parameters={"expert": Ridge(alpha=-1.0)},
    ),
    Case(
        "expert: bad parameter of a classifier's bank",
        "'C' parameter of LogisticRegression",
        CLASSIFIER,
        parameters={"expert": LogisticRegression(C=-1.0)},
    ),
    Case(
        "expert: bad parameter of an estimator",
        "'max_depth' parameter of DecisionTreeRegressor",
        REGRESSOR,
        parameters={"expert": DecisionTreeRegressor(max_depth=-1)},
    ),
    Case(
        "expert: bad parameter of a classifying estimator",
        "'max_depth' parameter of DecisionTreeClassifier",
        CLASSIFIER,
        parameters={"expert": DecisionTreeClassifier(max_depth=-1)},
    ),
    # --------------------------------------------------------------- gate
    Case("gate: no gate", "'gate' parameter of {name}", parameters={"gate": Plain()}),
    Case("gate: a name", "'gate' parameter of {name}", parameters={"gate": "softmax"}),
    Case(
        "gate: a class, not an instance",
        "'gate' parameter of {name}|{name}: gate",
        error=(TypeError, ValueError),
        parameters={"gate": SoftmaxGate},
    ),
    Case(
        "gate: a regressor",
        "{name}: gate .*classifier.*got Ridge",
        error=TypeError,
        parameters={"gate": Ridge()},
    ),
    Case(
        "gate: negative alpha",
        r"SoftmaxGate: alpha must be .*got -1",
        parameters={"gate": SoftmaxGate(alpha=-1)},
    ),
    Case(
        "gate: alpha a word",
        "SoftmaxGate: alpha must be .*got 'x'",
        parameters={"gate": SoftmaxGate(alpha="x")},
    ),
    Case(
        "gate: alpha NaN",
        "SoftmaxGate: alpha must be .*got nan",
        parameters={"gate": SoftmaxGate(alpha=np.nan)},
    ),
    Case(
        "gate: alpha infinite",
        "SoftmaxGate: alpha must be .*got inf",
        parameters={"gate": SoftmaxGate(alpha=np.inf)},
    ),
    Case(
        "gate: alpha None",
        "SoftmaxGate: alpha must be .*got None",
        parameters={"gate": SoftmaxGate(alpha=None)},
    ),
    # ------------------------------------------------------------ numbers
    *(
        Case(
            f"{name}={value!r}",
            f"'{name}' parameter of {{name}} must be .*Got",
            parameters={name: value},
        )
        for name, values in {
            "n_experts": [0, -1, 2.5, True, "2", None, np.nan],
            "n_init": [0, 1.5, None],
            "max_iter": [0, 10.5, None],
            "tol": [-1e-9, "small", None, np.nan, np.inf],
            "random_state": [-1, "seed", 1.5],
            "n_jobs": [1.5, "two"],
        }.items()
        for value in values
    ),
    # ----------------------------------------------------------- features
    *(
        Case(
            f"{name}: {what}", f"{{name}}: {name}=.*{message}", data=data, parameters={name: value}
        )
        for name in ("expert_features", "gate_features")
        for what, value, message, data in [
            ("out of range", [0, 3], "columns", lambda X, y: (X, y, None)),
            ("below the range", [-4], "columns", lambda X, y: (X, y, None)),
            ("floats", [0.5], "columns", lambda X, y: (X, y, None)),
            ("an empty list", [], "selects no columns", lambda X, y: (X, y, None)),
            ("an empty slice", slice(3, None), "selects no columns", lambda X, y: (X, y, None)),
            ("an empty mask", [False] * 3, "selects no columns", lambda X, y: (X, y, None)),
            ("a short mask", [True, False], "columns", lambda X, y: (X, y, None)),
            ("twice", [0, 1, 0], "twice", lambda X, y: (X, y, None)),
            ("twice, by sign", [0, -3], "twice", lambda X, y: (X, y, None)),
            (
                "names without a frame",
                ["a"],
                "column names of a data frame|columns",
                lambda X, y: (X, y, None),
            ),
            ("unknown names", ["a", "z"], "columns", frame),
            ("a name twice", ["a", "a"], "twice", frame),
            ("a callable that fails", lambda X: ["z"], "columns", frame),
        ]
    ),
    # ---------------------------------------------------------- after fit
    *(
        Case(
            f"{method} before fit",
            "{name} instance is not fitted",
            kinds,
            error=NotFittedError,
            call=lambda model, X, y, weight, method=method: getattr(model, method)(
                *((X, y) if method in ("responsibilities", "log_density", "score") else (X,))
            ),
        )
        for method, kinds in {
            "predict": BOTH,
            "gate_proba": BOTH,
            "predict_experts": BOTH,
            "route": BOTH,
            "responsibilities": BOTH,
            "log_density": BOTH,
            "score": BOTH,
            "predict_proba": CLASSIFIER,
            "predict_log_proba": CLASSIFIER,
        }.items()
    ),
    Case(
        "predict: other number of features",
        "X has 2 features, but {name} is expecting 3",
        call=after_fit(lambda model, X, y: model.predict(X[:, :2])),
    ),
    Case(
        "predict: NaN",
        "Input X contains NaN",
        data=with_value(np.nan),
        call=after_fit(lambda model, X, y: model.predict(X)),
    ),
    Case("predict: no rows", "0 sample", call=after_fit(lambda model, X, y: model.predict(X[:0]))),
    Case(
        "predict: one row as a vector",
        "Expected 2D array",
        call=after_fit(lambda model, X, y: model.predict(X[0])),
    ),
    Case(
        "predict: wrong names",
        "feature names",
        data=frame,
        call=lambda model, X, y, weight: model.fit(X, y).predict(X.rename(columns={"a": "z"})),
    ),
    Case(
        "log_density: too few targets",
        "inconsistent numbers of samples",
        call=after_fit(lambda model, X, y: model.log_density(X, y[1:])),
    ),
    Case(
        "log_density: unknown label",
        "{name}: y has labels that were not seen in fit.*7",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.log_density(X, np.where(y == 1, 7, y))),
    ),
    Case(
        "log_density: labels of another type",
        "{name}: y has labels that were not seen in fit",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.log_density(X, np.where(y == 1, "one", "zero"))),
    ),
    Case(
        "log_density: NaN",
        "y contains NaN",
        REGRESSOR,
        call=after_fit(lambda model, X, y: model.log_density(X, np.full(N, np.nan))),
    ),
    Case(
        "log_density: more outputs than in fit",
        r"{name}: y has shape \(60, 2\)",
        REGRESSOR,
        call=after_fit(lambda model, X, y: model.log_density(X, np.c_[y, y])),
    ),
    Case(
        "responsibilities: unknown label",
        "{name}: y has labels that were not seen in fit",
        CLASSIFIER,
        call=after_fit(lambda model, X, y: model.responsibilities(X, y + 1)),
    ),
]


def outputs(model, X):
    names = ["gate_proba", "predict_experts", "predict_proba"]
    return [getattr(model, name)(X) for name in names if hasattr(model, name)] + [
        np.asarray(model.predict(X), dtype=float)
    ]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "kind, case",
    [(kind, case) for case in CASES for kind in case.kinds],
    ids=[f"{kind}-{case.name}" for case in CASES for kind in case.kinds],
)
def test_bad_input(kind, case):
    X, y, weight = case.data(*sound_data(kind))
    parameters = {"n_experts": 2, "n_init": 2, "random_state": 0, **case.parameters}
    model = MIXTURES[kind](**parameters)
    if case.message is None:
        expected = nullcontext()
        if case.warning is not None:
            message = case.warning.replace("{name}", f"MixtureOfExperts{kind}")
            expected = pytest.warns(UserWarning, match=message)
        with expected:
            fit(model, X, y, weight)
        for output in outputs(model, X):
            assert np.all(np.isfinite(output))
        assert np.isfinite(model.lower_bound_)
        return
    message = "(?s)" + case.message.replace("{name}", f"MixtureOfExperts{kind}")
    with pytest.raises(case.error, match=message):
        case.call(model, X, y, weight)
