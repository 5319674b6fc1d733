"""Checkpoints as fits read them: what they belong to, and what they hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import sklearn

from mixexp import __version__
from mixexp._checks import short
from mixexp._estimators.identity import parameters_of
from mixexp._estimators.parts import owner_of
from mixexp._store.files import DAMAGED, is_pickled, read, unpacked
from mixexp._warn import warn

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["Resumed", "head_of", "read_checkpoint"]

#: Libraries that a fit computes with: with another version, numbers may differ in the last bits.
LIBRARIES = {"numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__}


def head_of(
    mixture: BaseMixtureOfExperts, seed: int, identity: str, finished: bool
) -> dict[str, Any]:
    """Return what a checkpoint belongs to, as JSON holds it."""
    return {
        "mixexp": __version__,
        "libraries": LIBRARIES,
        "class": owner_of(mixture),
        "parameters": parameters_of(mixture),
        "data": identity,
        "seed": seed,
        "finished": finished,
    }


#: What the head of a checkpoint must say.
REQUIRED = {"mixexp", "libraries", "class", "parameters", "data", "seed", "callbacks"}


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a fit goes on from; its content has not been looked at yet."""

    owner: str
    path: str
    head: dict[str, Any]
    entries: dict[str, np.ndarray]

    @property
    def seed(self) -> int:
        """The seed of the fit."""
        return int(self.head["seed"])

    @property
    def states(self) -> list[Any]:
        """The class and state of every callback."""
        return list(self.head["callbacks"])

    def content(self, known: list[tuple[str, Any]], identity: str) -> tuple[list[Any], Any]:
        """Return the stages of the search and the run in progress; raise for other data."""
        where = f"{self.owner}: resume_from={self.path!r}"
        if self.head["data"] != identity:
            raise ValueError(
                f"{where} was written by a fit to other data ({short(self.head['data'])}; these "
                f"are {short(identity)}). Give the rows, weights, groups and offsets of it, in "
                "the same order, or leave resume_from out to begin anew."
            )
        try:
            stages, run = unpacked(self.entries, known)
        except DAMAGED as error:
            raise ValueError(f"{where} cannot be read: {error}. Begin anew without it.") from error
        return [tuple(stage) for stage in stages], run


def read_checkpoint(mixture: BaseMixtureOfExperts, source: Any) -> Resumed:
    """Return a checkpoint, a path or a `Checkpoint`; raise if it is not of this mixture."""
    owner, trusted = owner_of(mixture), bool(getattr(source, "trusted", False))
    try:
        path = os.fspath(getattr(source, "path", source))
    except TypeError as error:
        raise TypeError(
            f"{owner}: resume_from={short(source)} is neither a path nor a Checkpoint."
        ) from error
    where = f"{owner}: resume_from={path!r}"
    try:
        head, entries = read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{where} does not exist. Leave resume_from out to begin anew."
        ) from error
    except OSError as error:
        raise type(error)(f"{where} cannot be read: {error.strerror}. Give the file.") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}. Begin anew without it.") from error
    missing = sorted(REQUIRED - set(head))
    if missing:
        raise ValueError(f"{where} does not say its {', '.join(missing)}. Begin anew without it.")
    _refuse_other(mixture, head, where)
    if is_pickled(entries) and not trusted:
        raise ValueError(
            f"{where} holds a pickle, which runs code when it is read. If nobody else could write "
            "it, give resume_from=Checkpoint(path, trusted=True)."
        )
    if head["libraries"] != LIBRARIES:
        warn(
            f"{where} was written with {head['libraries']}, and these are {LIBRARIES}: numbers may "
            "differ in their last bits from those of an uninterrupted fit."
        )
    return Resumed(owner, path, head, entries)


def _refuse_other(mixture: BaseMixtureOfExperts, head: dict[str, Any], where: str) -> None:
    """Raise if a checkpoint is of another version, class, or parameters."""
    if head["mixexp"] != __version__:
        raise ValueError(
            f"{where} was written by mixexp {head['mixexp']}, and this is {__version__}, whose "
            "states differ. Go on with that version, or begin anew without it."
        )
    if head["class"] != owner_of(mixture):
        raise ValueError(f"{where} is of a {head['class']}. Begin anew without it.")
    now, before = parameters_of(mixture), head["parameters"]
    other = [
        f"{name}={before.get(name, ['', 'none'])[1]}, not {now[name][1]}"
        for name in now
        if before.get(name, [None])[0] != now[name][0]
    ]
    if other:
        raise ValueError(
            f"{where} was written by a fit with {'; '.join(other)}. Set the parameters of that "
            "fit, or begin anew without it."
        )
