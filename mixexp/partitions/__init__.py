"""Partitions: responsibilities from which EM sets out."""

from mixexp.partitions._clusters import FromEstimator, KMeansStart, RandomStart, one_hot
from mixexp.partitions._clusterwise import Clusterwise

__all__ = ["PARTITIONS", "Clusterwise", "FromEstimator", "KMeansStart", "RandomStart", "one_hot"]

#: The starts that a mixture accepts by name; the shared tests run over this list.
PARTITIONS = {"clusterwise": Clusterwise, "kmeans": KMeansStart, "random": RandomStart}
