"""The order in which callbacks are told, and what a checkpoint knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mixexp._warn import warn

__all__ = ["Memory", "Standing", "saves", "taken_down"]


@dataclass(frozen=True)
class Standing:
    """Where callbacks stood when a checkpoint was written.

    Attributes
    ----------
    states : list of [str, state]
        Class and state of each callback; None for one without.
    place : int
        Number of the stages of the search before the long run that they were told of last.
    n_told : int
        Iterations of it that they had been told of.
    ended : bool
        Whether they had been told of its end.
    """

    states: list[Any]
    place: int = -1
    n_told: int = 0
    ended: bool = True

    @classmethod
    def of(cls, head: dict[str, Any]) -> Standing:
        """Return what the head of a checkpoint says."""
        return cls(list(head["callbacks"]), *head.get("told", ()))

    @property
    def as_json(self) -> dict[str, Any]:
        """What the head of a checkpoint says of it."""
        return {"callbacks": self.states, "told": [self.place, self.n_told, self.ended]}


class Memory:
    """What callbacks have heard of the long runs, and what they knew in a checkpoint.

    Parameters
    ----------
    callbacks : list
    root : task
        That of the fit, with which states are taken and given back.
    """

    def __init__(self, callbacks: Sequence[Any], root: Any):
        self._callbacks = callbacks
        self._root = root
        self._place, self._ended = -1, True
        # iterations that all callbacks know, and their states if some may know one more
        self._heard: tuple[int, list[Any] | None] = 0, None
        self._earlier: Standing | None = None  # until the fit has come to where it broke off
        self._pairs: list[tuple[Any, Any]] = []

    @property
    def n_told(self) -> int:
        """Iterations of the long run that all callbacks have heard of."""
        return self._heard[0]

    @property
    def has_states(self) -> bool:
        """Whether a callback has a state."""
        return any(map(_remembers, self._callbacks))

    @property
    def standing(self) -> Standing:
        """Where callbacks stand; before the fit has gone on, where they stood."""
        if self._earlier is not None:
            return self._earlier
        n_told, before = self._heard
        states = _states_of(self._callbacks, self._root) if before is None else before
        return Standing(states, self._place, n_told, self._ended)

    def resume(self, head: dict[str, Any], where: str) -> None:
        """Take over the head of a checkpoint; warn of callbacks that have come or gone."""
        self._earlier = Standing.of(head)
        self._pairs = _paired(self._callbacks, self._earlier.states, where)

    def begin(self, place: int) -> None:
        """Learn that a long run begins."""
        self._place, self._ended, self._heard = place, False, (0, None)

    def hearing(self) -> None:
        """Keep the states while an iteration is told: if that breaks off, it is told again."""
        self._heard = self._heard[0], _states_of(self._callbacks, self._root)

    def heard(self, number: int) -> None:
        """Learn that an iteration has been told."""
        self._heard = number, None

    def catch_up(self) -> None:
        """Give callbacks their states if the checkpoint was written in this long run."""
        if self._earlier is None:
            return
        if self._is_earlier and not self._earlier.ended:
            self._restore()
            self._heard = self._earlier.n_told, None
        self._earlier = None

    def recall(self, number: int) -> None:
        """Learn that a long run of so many iterations is recalled: callbacks know it, mostly."""
        if self._earlier is None:
            return
        if self._is_earlier and not self._earlier.ended:
            self.catch_up()
        else:
            self._heard = number, None

    def end(self) -> None:
        """Learn that callbacks have heard of the end of the long run."""
        self._ended = True
        if self._is_earlier:
            self.finish()

    def finish(self) -> None:
        """Give callbacks their states where nothing of the search is left to do."""
        if self._earlier is not None:
            self._restore()
            self._earlier = None

    @property
    def _is_earlier(self) -> bool:
        """Whether callbacks had heard of this long run last, before the checkpoint."""
        return self._earlier is not None and self._earlier.place == self._place

    def _restore(self) -> None:
        for callback, state in self._pairs:
            callback.restore(self._root, state)


def saves(callback: Any) -> bool:
    """Return whether a callback asks for checkpoints.

    Such callbacks are told last, so that a file holds the others as they are after an iteration,
    and taken down first, while the others still have their state.
    """
    return bool(getattr(callback, "saves", False))


def taken_down(mixture: Any, root: Any, callbacks: list[Any]) -> list[Exception]:
    """Call `teardown` of all callbacks, first of those that save, and return the errors."""
    errors = []
    for callback in sorted(callbacks, key=saves, reverse=True):
        try:
            callback.teardown(mixture, root)
        except Exception as error:
            errors.append(error)
    return errors


def _states_of(callbacks: Sequence[Any], context: Any) -> list[Any]:
    """Return class and state of callbacks, as they are now."""
    return [
        [_name_of(each), deepcopy(each.state(context)) if _remembers(each) else None]
        for each in callbacks
    ]


def _paired(callbacks: Sequence[Any], states: Sequence[Any], where: str) -> list[tuple[Any, Any]]:
    """Return the callbacks that a checkpoint has a state of, with it.

    States go by class, and by order where several callbacks have the same. One without a state, or
    a state without a callback, may be meant, but then the fit is another: this warns. `where` names
    the mixture and the checkpoint.
    """
    left = [(name, state) for name, state in states if state is not None]
    pairs = []
    for callback in filter(_remembers, callbacks):
        i = next((i for i, (name, _) in enumerate(left) if name == _name_of(callback)), None)
        if i is None:
            warn(
                f"{where} holds no state of the callback {_name_of(callback)}, which begins anew: "
                "it knows nothing of the iterations before, and may stop the fit elsewhere. If "
                "the interrupted fit had no such callback and you add it, that is as it should be."
            )
        else:
            pairs.append((callback, left.pop(i)[1]))
    for name, _ in left:
        warn(
            f"{where} holds the state of a callback {name}, and there is none to take it over: the "
            f"fit may end elsewhere than the interrupted one would have. Add {name} by "
            "set_callbacks, unless you mean to leave it out."
        )
    return pairs


def _remembers(callback: Any) -> bool:
    return hasattr(callback, "restore")


def _name_of(callback: Any) -> str:
    return type(callback).__name__
