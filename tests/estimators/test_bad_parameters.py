"""Bad parameters: an error that names the parameter, its value and the remedy."""

import numpy as np
import pytest
from _bad_input import CLASSIFIER, REGRESSOR, Case, N, check, every, frame
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import DBSCAN, KMeans
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp.families import Gaussian
from mixexp.gates import SoftmaxGate


class NoWeights(RegressorMixin, BaseEstimator):
    """A regressor whose fit takes no weights."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Plain:
    """No estimator at all."""


half = np.arange(N) % 2
uneven = np.full((N, 2), 0.5)
uneven[4] = 0.3
missing = np.full((N, 2), 0.5)
missing[4, 0] = np.nan
negative = np.full((N, 2), 0.5)
negative[4] = [-0.5, 1.5]

CASES = [
    # ------------------------------ init
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
    # ------------------------------ other names
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
    # ------------------------------ expert
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
    # ------------------------------ gate
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
    # ------------------------------ numbers
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
            "n_jobs": [0, 1.5, "two"],
        }.items()
        for value in values
    ),
    # ------------------------------ features
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
            (
                "a short mask",
                [True, False],
                "for each of the 3 columns. Give",
                lambda X, y: (X, y, None),
            ),
            ("an empty mask", [False] * 3, "selects no columns", lambda X, y: (X, y, None)),
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
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every(CASES)
def test_bad_parameters(kind, case):
    check(kind, case)
