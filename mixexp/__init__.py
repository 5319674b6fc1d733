"""Mixtures of experts for scikit-learn."""

__version__ = "0.1.0"

from mixexp._classifier import MixtureOfExpertsClassifier
from mixexp._regressor import MixtureOfExpertsRegressor

__all__ = ["MixtureOfExpertsClassifier", "MixtureOfExpertsRegressor", "__version__"]
