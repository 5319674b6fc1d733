"""Families: the density of y around an expert's prediction."""

from mixexp.families._gaussian import Gaussian

__all__ = ["FAMILIES", "Gaussian"]

#: The families that a regressor accepts by name; the shared tests run over this list.
FAMILIES = {"gaussian": Gaussian}
