"""Experts that are dropped while cheap ones find the partition."""

import pytest
from _routed import pieces, regressor
from sklearn.tree import DecisionTreeRegressor

from mixexp.gates import ConstantGate
from mixexp.routing import TopK


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("listed", [False, True])
def test_costly_experts_are_as_many_as_are_left(listed):
    X, y = pieces()[:2]
    tree = DecisionTreeRegressor(max_depth=2)
    expert = [(f"tree{k}", tree) for k in range(4)] if listed else tree
    model = regressor(expert=expert, routing=TopK(1), gate=ConstantGate(), on_collapse="drop").fit(
        X, y
    )
    # a constant gate sends all rows to one expert; only experts that are alike are dropped
    assert len(model.experts_) == 4 if listed else len(model.experts_) < 4
    assert sorted(model.routing_.loads_)[-1] == len(X)
    assert model.route(X).shape == (len(X), len(model.experts_))
