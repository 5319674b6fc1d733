"""Looking into fitted mixtures. Importing this package does not import matplotlib."""

from mixexp.inspection._calibration_display import CalibrationDisplay
from mixexp.inspection._conditional_density import ConditionalDensityDisplay
from mixexp.inspection._convergence_display import ConvergenceDisplay
from mixexp.inspection._describe import describe_experts
from mixexp.inspection._expert_profiles import ExpertProfilesDisplay
from mixexp.inspection._expert_regions import ExpertRegionsDisplay
from mixexp.inspection._gate_probabilities import GateProbabilitiesDisplay
from mixexp.inspection._gate_tree import column_names
from mixexp.inspection._gate_tree_display import GateTreeDisplay
from mixexp.inspection._report import report
from mixexp.inspection._responsibilities_display import ResponsibilitiesDisplay
from mixexp.inspection._routing_load_display import RoutingLoadDisplay
from mixexp.inspection._routing_report import routing_report
from mixexp.inspection._unwrap import unwrap

__all__ = [
    "CalibrationDisplay",
    "ConditionalDensityDisplay",
    "ConvergenceDisplay",
    "ExpertProfilesDisplay",
    "ExpertRegionsDisplay",
    "GateProbabilitiesDisplay",
    "GateTreeDisplay",
    "ResponsibilitiesDisplay",
    "RoutingLoadDisplay",
    "column_names",
    "describe_experts",
    "report",
    "routing_report",
    "unwrap",
]


def __dir__() -> list[str]:
    return __all__
