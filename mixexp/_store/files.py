"""Files of arrays and JSON, replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any
from uuid import uuid4

import numpy as np

from mixexp._store.codec import Decoder, Encoder, NotPlainError

__all__ = ["DAMAGED", "is_pickled", "read", "replace_file", "unpacked", "written"]

Known = Sequence[tuple[str, Any]]

#: Written first into every file, with the version of its layout.
FORMAT, LAYOUT = "mixexp checkpoint", 1

#: What reading a damaged file may raise, from zip archives, headers of arrays, and JSON.
DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    IndexError,
    NotImplementedError,
    RecursionError,
    TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

#: Names of the entries of a file: the head, and the content as JSON or as a pickle.
HEAD, PLAIN, PICKLE = "head", "content", "pickle"


def written(head: dict[str, Any], content: Any, known: Known, trusted: bool) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    head : dict
        What JSON can hold: what the content belongs to.
    content : object
        Plain, or pickled if `trusted` and not plain.
    known : sequence of (str, object)
        Objects that the reader has too, by name.
    trusted : bool

    Raises
    ------
    NotPlainError
        If the content is not plain, and not `trusted`.
    """
    entries: dict[str, np.ndarray] = {}
    encoder = Encoder(known)
    try:
        entries[PLAIN] = _text(encoder.encode(content))
        entries |= {f"a{i}": array for i, array in enumerate(encoder.arrays)}
    except NotPlainError:
        if not trusted:
            raise
        entries = {PICKLE: _bytes(_pickled(content, known))}
    about = {"format": FORMAT, "layout": LAYOUT, **head}
    buffer = BytesIO()
    try:
        np.savez(buffer, **{HEAD: _text(about)}, **entries)  # type: ignore[arg-type]
    except ValueError as error:  # an archive that was interrupted cannot be closed
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
    return buffer.getvalue()


def read(path: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the head of a file, and its other entries; nothing is unpickled.

    Raises
    ------
    ValueError
        If it is no such file, or of another layout.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            entries = dict(archive)
        head = json.loads(bytes(entries.pop(HEAD)).decode())
        if head["format"] != FORMAT:
            raise ValueError(head["format"])
    except DAMAGED as error:
        raise ValueError(f"{os.fspath(path)} is not a checkpoint of mixexp ({error})") from error
    if head["layout"] != LAYOUT:
        raise ValueError(
            f"{os.fspath(path)} has layout {head['layout']}, and this mixexp reads layout {LAYOUT}"
        )
    return head, entries


def is_pickled(entries: dict[str, np.ndarray]) -> bool:
    """Return whether the content of a file runs code when it is read."""
    return PICKLE in entries


def unpacked(entries: dict[str, np.ndarray], known: Known) -> Any:
    """Return the content of a file; one that `is_pickled` only if the user trusts it."""
    by_name = dict(reversed(known))
    if is_pickled(entries):
        return _Unpickler(BytesIO(bytes(entries[PICKLE])), by_name).load()
    data = json.loads(bytes(entries[PLAIN]).decode())
    return Decoder(by_name, [entries[f"a{i}"] for i in range(len(entries) - 1)]).decode(data)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that there is the old one or the new one, whatever happens.

    The bytes go to a file beside it and to the disk; then that takes its name. If one of these
    steps fails, the old file is as it was, and nothing is left beside it.
    """
    path = path.resolve()  # a link stays one
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name reach the disk, where folders can be synced: the file itself has."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)


def _text(value: Any) -> np.ndarray:
    return _bytes(json.dumps(value).encode())


class _Pickler(pickle.Pickler):
    """Writes known objects as their names, and arrays with their layout in memory.

    The last bits of a product may hang on it, as of scikit-learn's `coef_`, which is a part of a
    larger array.
    """

    def __init__(self, file: BytesIO, known: Known):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = {id(value): name for name, value in known}

    def persistent_id(self, value: Any) -> str | None:
        """Return the name of a known object."""
        return self._known.get(id(value))

    def reducer_override(self, value: Any) -> Any:
        """Return how an array with gaps in memory is made again."""
        plain = type(value) is np.ndarray and not value.dtype.hasobject and value.size
        if not plain or value.flags.forc or min(value.strides, default=0) <= 0:
            return NotImplemented
        return _strided, (np.ascontiguousarray(value), value.strides)


def _strided(values: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """Return values in an array with these strides."""
    last = sum((n - 1) * stride for n, stride in zip(values.shape, strides, strict=True))
    buffer = np.zeros(last + values.itemsize, dtype=np.uint8)
    array = np.ndarray(values.shape, values.dtype, buffer, strides=strides)
    array[...] = values
    return array


class _Unpickler(pickle.Unpickler):
    """Reads known objects by their names."""

    def __init__(self, file: BytesIO, known: dict[str, Any]):
        super().__init__(file)
        self._known = known

    def persistent_load(self, name: str) -> Any:
        """Return a known object."""
        return self._known[name]


def _pickled(content: Any, known: Known) -> bytes:
    buffer = BytesIO()
    _Pickler(buffer, known).dump(content)
    return buffer.getvalue()
