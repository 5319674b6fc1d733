"""Gates: models of which expert is responsible."""

from mixexp.gates._constant import ConstantGate
from mixexp.gates._softmax import SoftmaxGate

__all__ = ["GATES", "ConstantGate", "SoftmaxGate"]

#: Every gate; the shared tests run over this list.
GATES = [SoftmaxGate, ConstantGate]
