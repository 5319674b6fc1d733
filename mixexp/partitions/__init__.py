"""Partitions: responsibilities from which EM starts."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mixexp.partitions._centers import NearestCenter
from mixexp.partitions._checked import CheckedStart
from mixexp.partitions._clusters import FromEstimator, KMeansStart, RandomStart
from mixexp.partitions._clusterwise import Clusterwise
from mixexp.partitions._feature_groups import FeatureGroups
from mixexp.partitions._labels import one_hot
from mixexp.partitions._mixed import MixedStart
from mixexp.partitions._model_tree import ModelTreeStart
from mixexp.partitions._split import Split, Stage, grow
from mixexp.partitions._tree import TreeStart

__all__ = [
    "Clusterwise",
    "FeatureGroups",
    "FromEstimator",
    "KMeansStart",
    "MixedStart",
    "ModelTreeStart",
    "NearestCenter",
    "RandomStart",
    "Split",
    "TreeStart",
]

#: The starts that a mixture accepts by name.
PARTITIONS: dict[str, Callable[[], Any]] = {
    "clusterwise": Clusterwise,
    "kmeans": KMeansStart,
    "kmeans_xy": partial(KMeansStart, on="Xy"),
    "mixed": MixedStart,
    "model_tree": ModelTreeStart,
    "random": RandomStart,
    "split": Split,
    "tree": TreeStart,
}

#: One of every start, for three experts and two features; the shared tests run over this list.
STARTS = [
    *(make() for make in PARTITIONS.values()),
    NearestCenter([[-1.0, -1.0], [0.0, 1.0], [1.0, 0.0]]),
    FeatureGroups([[0], [1], [0, 1]]),
]


def __dir__() -> list[str]:
    return __all__
