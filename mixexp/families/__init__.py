"""Families: the density of y around an expert's prediction."""

from mixexp.families._binomial import Binomial
from mixexp.families._categorical import Calibration
from mixexp.families._common import FamilyDerivatives, IdentityLink, LogLink
from mixexp.families._gamma import Gamma
from mixexp.families._gaussian import Gaussian
from mixexp.families._laplace import Laplace
from mixexp.families._negative_binomial import NegativeBinomial
from mixexp.families._poisson import Poisson
from mixexp.families._student_t import StudentT

__all__ = [
    "Binomial",
    "FamilyDerivatives",
    "Gamma",
    "Gaussian",
    "IdentityLink",
    "Laplace",
    "LogLink",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
]

#: The families that a regressor accepts by name; the shared tests run over this list.
FAMILIES = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "laplace": Laplace,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "gamma": Gamma,
    "binomial": Binomial,
}


def __dir__() -> list[str]:
    return __all__
