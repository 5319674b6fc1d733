"""scikit-learn's HTML view of mixtures: gate and experts as boxes, a link to the page."""

import html
import re

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import estimator_html_repr

from mixexp import CascadeRegressor, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

ADDRESS = "https://mixexp.github.io/mixexp/api/generated/mixexp."


def boxes(estimator):
    """Return the names on the boxes of a mixture's parts."""
    text = html.unescape(estimator_html_repr(estimator))
    return re.findall(r">((?:gate|expert\w*|routing): [\w ]+)<", text)


def mixture(**params):
    return MixtureOfExpertsRegressor(**({"n_init": 1, "max_iter": 2, "random_state": 0} | params))


@pytest.fixture(scope="module")
def data():
    X = np.random.default_rng(0).normal(size=(150, 2))
    return X, np.abs(X[:, 0])


def test_before_a_fit():
    assert boxes(mixture()) == ["gate: default", "expert: default"]
    parts = mixture(expert=Ridge(), gate=SoftmaxGate())
    assert boxes(parts) == ["gate: SoftmaxGate", "expert: Ridge"]
    several = mixture(expert=[("tree", DecisionTreeRegressor()), Ridge()], n_experts=2)
    names = ["expert__tree: DecisionTreeRegressor", "expert__ridge: Ridge"]
    assert boxes(several) == ["gate: default", *names]
    assert {name.split(":")[0] for name in names} <= set(several.get_params())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_after_a_fit(data):
    made = make_pipeline(StandardScaler(), mixture(n_experts=2)).fit(*data)
    assert boxes(made) == ["gate: SoftmaxGate", "expert: Ridge", "expert: Ridge"]
    many = mixture(n_experts=15, on_collapse="keep").fit(*data)
    assert boxes(many)[1:] == ["expert: Ridge"] * 12 + ["expert: and 3 more"]


def test_links_to_the_page():
    for made in (mixture(), CascadeRegressor(Ridge(), mixture())):
        assert f'href="{ADDRESS}{type(made).__name__}.html"' in estimator_html_repr(made)
