"""What cannot go together is refused in one sentence that names parameter, value and remedy."""

import numpy as np
import pytest
from _routed import CountingRidge, class_pieces, classifier, pieces, regressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, GaussianGate
from mixexp.routing import ROUTERS, ExpertChoice, Switch, Threshold, TopK, TopP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y, _ = pieces(60)

INVALID = {
    "k 5": (TopK(5), r"TopK: k must be a whole number from 1 to n_experts=4, got 5"),
    "k 0": (TopK(0), "TopK: k must be a whole number from 1"),
    "k 2.0": (TopK(2.0), r"TopK: k must be a whole number.* got 2\.0"),
    "k True": (TopK(True), "TopK: k must be a whole number.* got True"),
    "k None": (TopK(None), "TopK: k must be a whole number.* got None"),
    "renormalise 1": (TopK(2, 1), "TopK: renormalise must be True or False, got 1"),
    "no fallback": (TopK(2, False), "renormalise=False leaves weight to a fallback.*Set fallback"),
    "useless fallback": (TopK(2, fallback="mean"), "fallback='mean', to which no weight would go"),
    "fallback median": (TopK(2, False, fallback="median"), "fallback='median'.*'mean' or an est"),
    "fallback 3": (TopK(2, False, fallback=3), "fallback=3 of the router must be 'mean' or an"),
    "fallback class": (TopK(2, False, fallback=Ridge), "Ridge"),
    "balance": (TopK(2, balance="even"), r"balance must be None or one of .* got 'even'"),
    "jitter 1": (TopK(2, jitter=1), "TopK: jitter must be a number from 0.0 to 0.999, got 1"),
    "jitter -1": (Switch(jitter=-0.1), "Switch: jitter must be a number"),
    "jitter str": (TopP(jitter="0.1"), r"TopP: jitter must be a number.* got '0\.1'"),
    "jitter nan": (TopP(jitter=np.nan), "TopP: jitter must be a number.* got nan"),
    "temperature 0": (TopK(2, temperature=0), "temperature must be a number at least.* got 0"),
    "temperature True": (Threshold(temperature=True), "temperature must be a number.* got True"),
    "overlap": (TopK(1, overlap=2), "TopK: overlap must be a number from 0.0 to 1.0, got 2"),
    "overlap of 2": (TopK(2, overlap=0.1), "overlap is for k=1.*Set overlap=0"),
    "mass": (TopP(0.0), r"TopP: mass must be a number .* got 0\.0"),
    "mass 2": (TopP(2), "TopP: mass must be a number .* got 2"),
    "min_proba": (Threshold(-0.1), "Threshold: min_proba must be a number from 0.0 to 1.0"),
    "capacity 0": (Switch(0), "Switch: capacity_factor must be a number"),
    "capacity": (Switch(0.9), r"capacity_factor=0\.9 leaves rows.*at least 1, or overflow"),
    "overflow": (Switch(overflow="drop"), "overflow must be 'next' or 'fallback', got 'drop'"),
    "switch, no fallback": (Switch(0.5, "fallback"), "overflow='fallback' leaves weight.*Set"),
    "expert choice": (ExpertChoice(5), r"ExpertChoice: capacity_factor must be .*4\.0, got 5"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_parameters_of_routers(case):
    router, message = INVALID[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        regressor(routing=router).fit(X, Y)
    text = str(caught.value)
    assert text.startswith("MixtureOfExpertsRegressor: ")
    assert len(text) < 350


@pytest.mark.parametrize("kind", ROUTERS)
def test_routers_keep_their_parameters_as_they_were_given(kind):
    given = {name: object() for name in kind().get_params()}
    assert kind(**given).get_params(deep=False) == given


@pytest.mark.parametrize("router", [TopK, Switch])
def test_a_class_is_no_router(router):
    with pytest.raises((TypeError, ValueError), match=r"routing.*instance"):
        regressor(routing=router).fit(X, Y)


@pytest.mark.parametrize("routing", ["top_k", 2, Ridge(), ConstantGate(), object()])
def test_what_is_no_router(routing):
    with pytest.raises((TypeError, ValueError), match="routing"):
        regressor(routing=routing).fit(X, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"routing": TopK(1), "assignment": "hard"},
            r"assignment='hard', and TopK\(k=1\) assigns rows itself. Set assignment='soft'",
        ),
        ({"routing": Switch(), "assignment": "stochastic"}, "assignment='stochastic'.*Set"),
        ({"warm_up": MixtureOfExpertsRegressor()}, "warm_up is for experts.*Set warm_up='auto'"),
        ({"routing": TopK(2), "n_refits": 2}, "n_refits=2 is for experts.*one by one.*Set"),
        (
            {"routing": TopK(2), "n_refits": 2, "expert": DecisionTreeRegressor(), "warm_up": None},
            "n_refits=2 is for fits with a warm-up.*Set n_refits='auto'",
        ),
        ({"n_refits": 0}, "n_refits"),
        ({"n_refits": 1.5}, "n_refits"),
        ({"warm_up": "linear"}, "warm_up"),
        (
            {"routing": TopK(2, False, fallback="mean"), "gate": GaussianGate()},
            "fallback expert takes rows away.*Use SoftmaxGate",
        ),
        (
            {"routing": TopK(2, jitter=0.1), "gate": LogisticRegression()},
            r"jitter=0\.1 multiplies.*Set jitter=0",
        ),
        (
            {"routing": TopK(2, balance="prior"), "gate": LogisticRegression()},
            "balance='prior' needs a gate with usage_prior.*balance='bias'",
        ),
        (
            {"routing": TopK(2, balance="prior"), "gate": GaussianGate()},
            None,
        ),
    ],
)
def test_what_cannot_go_together(params, message):
    if message is None:
        regressor(**params, max_iter=2)
        return
    with pytest.raises((ValueError, TypeError), match=message):
        regressor(**params).fit(X, Y)


def test_a_fallback_of_the_wrong_kind():
    with pytest.raises((TypeError, ValueError), match=r"fallback must be a regressor.*LogisticR"):
        regressor(routing=TopK(1, False, fallback=LogisticRegression())).fit(X, Y)
    x, y = class_pieces(60)
    with pytest.raises((TypeError, ValueError), match=r"fallback must be a classifier.*Ridge"):
        classifier(routing=TopK(1, False, fallback=Ridge())).fit(x, y)


def test_a_failed_fit_changes_nothing():
    model = regressor(routing=TopK(2)).fit(X, Y)
    before = model.route(X)
    with pytest.raises(ValueError, match="k must be"):
        model.set_params(routing__k=9).fit(X, Y)
    assert np.array_equal(model.route(X), before)


class Failing(CountingRidge):
    """Fails in `fit`."""

    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("no")


@pytest.mark.parametrize("name", ["shared_expert", "fallback"])
@pytest.mark.parametrize("expert", [DecisionTreeRegressor(max_depth=2), CountingRidge()])
def test_those_behind_the_experts_are_named_as_such(name, expert):
    """Where they fail, and where they do not take missing values: in `fit` and afterwards."""

    def model(other):
        if name == "shared_expert":
            return regressor(expert, routing=TopK(1), shared_expert=other)
        return regressor(expert, routing=TopK(1, False, fallback=other))

    with pytest.raises(ValueError, match=f": {name} Failing failed at EM iteration"):
        model(Failing()).fit(X, Y)
    fitted = model(Ridge()).fit(X, Y)
    holes = np.where(np.arange(X.size).reshape(X.shape) == 7, np.nan, X)
    with pytest.raises(ValueError, match=rf"Input X.*{name} Ridge cannot take missing values"):
        fitted.predict(holes)
    if isinstance(expert, DecisionTreeRegressor):
        with pytest.raises(ValueError, match=f": {name} Ridge cannot take missing values"):
            model(Ridge()).fit(holes, Y)


def test_a_mixture_does_not_warm_itself_up():
    model = regressor(routing=TopK(1))
    model.set_params(expert=DecisionTreeRegressor(max_depth=2), warm_up=model)
    with pytest.raises(ValueError, match="warm_up is the mixture itself"):
        model.fit(X, Y)
