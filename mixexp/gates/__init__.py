"""Gates: models of which expert is responsible."""

from mixexp.gates._constant import ConstantGate
from mixexp.gates._estimator import EstimatorGate
from mixexp.gates._gaussian import GaussianGate
from mixexp.gates._hierarchical import HierarchicalGate
from mixexp.gates._nested import NestedGate
from mixexp.gates._noise import NoiseGate, ZeroGate
from mixexp.gates._softmax import SoftmaxGate

__all__ = [
    "ConstantGate",
    "EstimatorGate",
    "GaussianGate",
    "HierarchicalGate",
    "NestedGate",
    "SoftmaxGate",
]

#: Every gate without required arguments; the shared tests run over this list.
GATES = [SoftmaxGate, ConstantGate, GaussianGate, HierarchicalGate]


def __dir__() -> list[str]:
    return __all__
