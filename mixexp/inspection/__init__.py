"""Looking into fitted mixtures. Importing this package does not import matplotlib."""

from mixexp.inspection._calibration_display import CalibrationDisplay
from mixexp.inspection._conditions import Rule
from mixexp.inspection._describe import describe_experts
from mixexp.inspection._descriptions import ExpertDescription, ExpertDescriptions
from mixexp.inspection._effects import Effect
from mixexp.inspection._expert_regions import ExpertRegionsDisplay
from mixexp.inspection._gate_tree_display import GateTreeDisplay
from mixexp.inspection._routing_load_display import RoutingLoadDisplay
from mixexp.inspection._routing_report import routing_report
from mixexp.inspection._rules import Region
from mixexp.inspection._unwrap import unwrap

__all__ = [
    "CalibrationDisplay",
    "Effect",
    "ExpertDescription",
    "ExpertDescriptions",
    "ExpertRegionsDisplay",
    "GateTreeDisplay",
    "Region",
    "RoutingLoadDisplay",
    "Rule",
    "describe_experts",
    "routing_report",
    "unwrap",
]


def __dir__() -> list[str]:
    return __all__
