"""Objects of mixexp as plain data and arrays, and back, with the same bits.

Reading makes objects of classes that mixexp itself defines, and nothing else. Their attributes are
data: none takes the place of a method, and functions cannot be named, so that no file chooses what
is called. Parts of mixexp that unpickle are out of reach. What is not plain, such as a fitted
estimator, is `NotPlainError`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["Decoder", "Encoder", "NotPlainError", "foreign_in", "instances_in"]

#: Modules whose classes may be named in a file, and those of them that read pickles or write files.
OWN = "mixexp."
OUT_OF_REACH = ("mixexp._rows.cluster.", "mixexp._store.", "mixexp.callbacks.")

#: Values that JSON holds as they are. Floats keep their bits: Python writes the shortest text that
#: reads as the same number.
PLAIN = (bool, int, float, str, type(None))

#: Containers that are written as a list of their entries.
SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


#: Bases of classes whose objects hold more than their attributes; dicts are seen to.
NOT_PLAIN = (Enum, list, tuple, set, frozenset, str, bytes, int, float, np.ndarray)


class NotPlainError(TypeError):
    """An object that cannot be written as plain data."""


def foreign_in(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what is `NotPlainError` in an object, with a name that says where it is."""
    try:
        Encoder(()).encode(value)
    except NotPlainError:
        if isinstance(value, list | tuple):
            for i, entry in enumerate(value):
                yield from foreign_in(entry, f"{name}[{i}]")
        elif isinstance(value, dict):
            for key, entry in value.items():
                yield from foreign_in(entry, f"{name}[{key!r}]")
        elif _is_own(type(value)) and hasattr(value, "__dict__"):
            for key, entry in vars(value).items():
                yield from foreign_in(entry, f"{name}.{key}")
        else:
            yield name, value


def instances_in(value: Any, kind: type, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the instances of a class in an object, with a name that says where each is."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from instances_in(entry, kind, f"{name}[{i}]")
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from instances_in(entry, kind, f"{name}[{key!r}]")
    elif _is_own(type(value)) and hasattr(value, "__dict__"):
        for key, entry in vars(value).items():
            yield from instances_in(entry, kind, f"{name}.{key}")


def _is_own(value: Any) -> bool:
    return _is_in_reach(value.__module__) and "<" not in value.__qualname__


def _is_in_reach(module: str) -> bool:
    """Return whether a file may name classes of a module."""
    return f"{module}.".startswith(OWN) and not f"{module}.".startswith(OUT_OF_REACH)


class Encoder:
    """Turns objects into plain data, with the arrays beside.

    Parameters
    ----------
    known : iterable of (str, object)
        Objects that the reader has too: they are written as their name, which several may share
        that serve alike.

    Attributes
    ----------
    arrays : list of ndarray
        What the data refer to by number.
    """

    def __init__(self, known: Iterable[tuple[str, Any]]):
        self._known = {id(value): name for name, value in known}
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is of one object only while that is alive
        self.arrays: list[np.ndarray] = []

    def encode(self, value: Any) -> Any:
        """Return plain data for a value; an object that occurs twice is written once."""
        if id(value) in self._known:
            return {"known": self._known[id(value)]}
        if type(value) in PLAIN:
            return value
        if id(value) in self._seen:
            return {"seen": self._seen[id(value)]}
        data = self._encoded(value)
        self._seen[id(value)] = data["id"] = len(self._kept)
        self._kept.append(value)
        return data

    def _encoded(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        for name, sequence in SEQUENCES.items():
            if kind is sequence:
                return {name: [self.encode(entry) for entry in value]}
        if kind is dict:
            return {"dict": self._items(value)}
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        if isinstance(value, tuple) and hasattr(kind, "_make") and _is_own(kind):  # a named tuple
            entries = [self.encode(entry) for entry in value]
            return {"object": [kind.__module__, kind.__qualname__], "entries": entries}
        if kind is slice:
            return {"slice": [self.encode(x) for x in (value.start, value.stop, value.step)]}
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, type) and _is_own(value):
            return {"name": [value.__module__, value.__qualname__]}
        if not _is_own(kind) or not hasattr(value, "__dict__") or isinstance(value, NOT_PLAIN):
            raise NotPlainError(f"{kind.__module__}.{kind.__qualname__}")
        attributes = _stated(value)
        if not all(_is_data(kind, name) for name in attributes):
            raise NotPlainError(f"{kind.__module__}.{kind.__qualname__}")
        data: dict[str, Any] = {
            "object": [kind.__module__, kind.__qualname__],
            "state": {name: self.encode(attribute) for name, attribute in attributes.items()},
        }
        if isinstance(value, dict):
            data["items"] = self._items(value)
        return data

    def _items(self, value: dict) -> list[list[Any]]:
        return [[self.encode(key), self.encode(entry)] for key, entry in value.items()]

    def _array(self, value: Any) -> dict[str, Any]:
        """Return the number of an array; the order of its axes in memory is kept, as sums are."""
        if isinstance(value, np.generic):
            self.arrays.append(np.asarray(value))
            return {"scalar": len(self.arrays) - 1}
        if type(value) is not np.ndarray:
            raise NotPlainError(f"{type(value).__module__}.{type(value).__qualname__}")
        if value.dtype.hasobject:
            entries = [self.encode(entry) for entry in value.ravel().tolist()]
            return {"objects": entries, "shape": list(value.shape)}
        order = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
        self.arrays.append(np.ascontiguousarray(value.transpose(order)))
        return {"array": len(self.arrays) - 1, "axes": order, "writeable": value.flags.writeable}


class Decoder:
    """Turns plain data and arrays into objects.

    Parameters
    ----------
    known : dict of str to object
        As for the `Encoder`, at the reader; one for each name.
    arrays : list of ndarray
    """

    def __init__(self, known: dict[str, Any], arrays: list[np.ndarray]):
        self._known = known
        self._arrays = arrays
        self._seen: dict[int, Any] = {}

    def decode(self, data: Any) -> Any:
        """Return the value; raise `ValueError` where the data name something unknown."""
        if not isinstance(data, dict):
            return data
        if "known" in data:
            if data["known"] not in self._known:
                raise ValueError(f"it refers to {data['known']!r}, which this fit does not have")
            return self._known[data["known"]]
        if "seen" in data:
            return self._seen[data["seen"]]
        value = self._seen[data["id"]] = self._decoded(data)
        return value

    def _decoded(self, data: dict[str, Any]) -> Any:
        for name, sequence in SEQUENCES.items():
            if name in data:
                return sequence(self.decode(entry) for entry in data[name])
        if "dict" in data:
            return {self.decode(key): self.decode(entry) for key, entry in data["dict"]}
        if "scalar" in data:
            return self._arrays[data["scalar"]][()]
        if "array" in data:
            array = self._arrays[data["array"]].transpose(np.argsort(data["axes"]))
            array.flags.writeable = data["writeable"]
            return array
        if "objects" in data:
            array = np.empty(len(data["objects"]), dtype=object)
            array[:] = [self.decode(entry) for entry in data["objects"]]
            return array.reshape(data["shape"])
        if "slice" in data:
            return slice(*map(self.decode, data["slice"]))
        if "dtype" in data:
            return np.dtype(data["dtype"])
        if "name" in data:
            return _named(*data["name"])
        cls = _named(*data["object"])
        if "entries" in data:
            return tuple.__new__(cls, map(self.decode, data["entries"]))
        shadowed = [name for name in data["state"] if not _is_data(cls, name)]
        if shadowed:
            raise ValueError(f"it gives {data['object'][1]} a {shadowed[0]} of its own")
        value: Any = object.__new__(cls) if not issubclass(cls, dict) else dict.__new__(cls)
        vars(value).update({name: self.decode(each) for name, each in data["state"].items()})
        for key, entry in data.get("items", ()):
            value[self.decode(key)] = self.decode(entry)
        return value


def _stated(value: Any) -> dict[str, Any]:
    """Return the attributes of an object without those that it has computed from the others."""
    kind = type(value)
    return {
        name: attribute
        for name, attribute in vars(value).items()
        if not isinstance(inspect.getattr_static(kind, name, None), cached_property)
    }


def _is_data(cls: type, name: str) -> bool:
    """Return whether an object of a class may have an attribute of its own by this name.

    That is the case unless the class has something else by it than a default value: a method, say.
    """
    default = inspect.getattr_static(cls, name, None)
    return type(default) in PLAIN and not (name.startswith("__") and name.endswith("__"))


def _named(module: str, name: str) -> type:
    """Return a class that mixexp defines."""
    if not _is_in_reach(module):
        raise ValueError(f"it names {module}.{name}, which is not mixexp's")
    try:
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = vars(value)[part]
    except (ImportError, KeyError) as error:
        raise ValueError(f"it names {module}.{name}, which this mixexp does not have") from error
    if not isinstance(value, type) or value.__module__ != module:
        raise ValueError(f"it names {module}.{name}, which is not mixexp's")
    return value
