"""Scores of predictive distributions and of gates; which columns decide and predict."""

from mixexp.metrics._distributions import (
    calibration,
    crps,
    log_score,
    log_score_scorer,
    neg_crps_scorer,
    pit,
)
from mixexp.metrics._gates import effective_n_experts, gate_entropy, gate_regret, oracle_score
from mixexp.metrics._importances import expert_importance, gate_importance

__all__ = [
    "calibration",
    "crps",
    "effective_n_experts",
    "expert_importance",
    "gate_entropy",
    "gate_importance",
    "gate_regret",
    "log_score",
    "log_score_scorer",
    "neg_crps_scorer",
    "oracle_score",
    "pit",
]


def __dir__() -> list[str]:
    return __all__
