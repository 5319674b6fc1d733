"""The layout of checkpoints: objects of mixexp come back with their bits, and nothing else does."""

import json
import zipfile
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mixexp._newton import NewtonStep
from mixexp._store.codec import Decoder, Encoder, NotPlainError, foreign_in
from mixexp._store.files import read, unpacked, written
from mixexp.callbacks import Checkpoint
from mixexp.families import Gaussian
from mixexp.gates import SoftmaxGate
from mixexp.inspection._units import ColumnName, Origin
from mixexp.protocols import Sums


def there_and_back(value, known=()):
    encoder = Encoder(known)
    data = json.loads(json.dumps(encoder.encode(value)))
    return Decoder(dict(known), encoder.arrays).decode(data)


def test_values_keep_their_kind_and_bits():
    values = [
        None,
        True,
        3,
        0.1 + 0.2,
        -0.0,
        np.inf,
        "é",
        (1, [2]),
        {(1, 2): "a"},
        {3},
        slice(1, 9),
    ]
    back = there_and_back(values)
    assert back == values and [type(v) for v in back] == [type(v) for v in values]
    assert np.signbit(back[4]) and np.isnan(there_and_back(np.nan))
    assert there_and_back(np.float32(0.1)) == np.float32(0.1)
    assert there_and_back(np.dtype("f4")) == np.dtype("f4")
    assert there_and_back(np.array(["a", None], dtype=object)).tolist() == ["a", None]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_arrays_keep_the_order_of_their_axes_in_memory(order, tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(order)
    for writeable in (True, False):
        array.flags.writeable = writeable
        (tmp_path / "f").write_bytes(written({}, array, [], trusted=False))
        back = unpacked(read(tmp_path / "f")[1], [])
        assert np.array_equal(back, array) and back.strides == array.strides
        assert back.dtype == array.dtype and back.flags.writeable == writeable


def test_objects_that_occur_twice_are_one():
    gate = SoftmaxGate(alpha=0.5)
    one, other, sums = there_and_back([gate, gate, Sums(a=np.ones(2), b=gate)])
    assert one is other is sums["b"] and one.alpha == 0.5 and type(sums) is Sums
    step = there_and_back(NewtonStep(*range(len(NewtonStep._fields))))
    assert type(step) is NewtonStep and step[1] == 1


def test_objects_are_told_apart_after_they_are_gone():
    encoder = Encoder(())
    data = [encoder.encode([i]) for i in range(5)]  # each list takes the place of the last one
    assert list(map(Decoder({}, []).decode, data)) == [[i] for i in range(5)]


def test_known_objects_are_written_as_names():
    template = object()
    assert there_and_back([template], [("template", template)]) == [template]
    with pytest.raises(ValueError, match=r"'template', which this fit does not have"):
        Decoder({}, []).decode({"known": "template"})
    gate = SoftmaxGate()
    gate.extra = {"k": [template]}
    assert list(foreign_in([gate], "g")) == [("g[0].extra['k'][0]", template)]


class Mine(Gaussian):
    """A user's part."""


def inner():
    """A function that nobody can find by its name."""


inner.__module__, inner.__qualname__ = "mixexp.gates", "outer.<locals>.inner"


@pytest.mark.parametrize(
    "value",
    [
        *(Mine(), object(), print, np.random.default_rng(0), lambda: 1, inner),
        ColumnName.of(Origin("a", "a")),  # more than its attributes: a string
    ],
)
def test_what_is_not_plain_is_written_only_as_a_pickle(value):
    with pytest.raises(NotPlainError):
        Encoder(()).encode([value])


@pytest.mark.parametrize(
    "data",
    [
        {"name": ["os", "system"]},
        {"name": ["mixexp._engine.em", "np"]},
        {"name": ["mixexp.gates", "none"]},
        {"object": ["builtins", "object"], "state": {}},
        {"object": ["mixexp._engine.em", "run_em"], "state": {}},
        {"name": ["mixexp._engine.em", "run_em"]},
        {"name": ["mixexp._rows.cluster", "_evaluated"]},
        {"object": ["mixexp.callbacks._checkpoint", "Checkpoint"], "state": {}},
        {"object": ["mixexp._rows.source", "zlib.compress"], "state": {}},
    ],
)
def test_a_file_names_only_what_mixexp_defines(data):
    with pytest.raises(ValueError, match=r"is not mixexp's|does not have"):
        Decoder({}, []).decode({**data, "id": 0})


@pytest.mark.parametrize("name", ["_density", "log_prob", "family", "__class__"])
def test_a_file_puts_nothing_in_the_place_of_a_method(name):
    bank = ["mixexp.experts._component", "ComponentBank"]
    if name == "_density":
        bank = ["mixexp.experts._estimator", "EstimatorBank"]
    with pytest.raises(ValueError, match=f"gives {bank[1]} a {name} of its own"):
        Decoder({}, []).decode({"object": bank, "state": {name: 1}, "id": 0})


@pytest.mark.parametrize(
    ("head", "message"), [({"format": "other"}, "is not a checkpoint"), ({"layout": 0}, "layout 0")]
)
def test_files_of_another_format_or_layout_are_refused(head, message, tmp_path):
    (tmp_path / "f").write_bytes(written(head, [], [], trusted=False))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "f")


def test_reading_unpickles_nothing(tmp_path):
    with np.load(BytesIO(written({}, [], [], trusted=False))) as archive:
        entries = dict(archive)
    np.savez(tmp_path / "f.npz", **entries, a0=np.array([slice(1)], dtype=object))
    with pytest.raises(ValueError, match="is not a checkpoint"):
        read(tmp_path / "f.npz")


def test_a_pickle_keeps_known_objects(tmp_path):
    template, mine = SoftmaxGate(), Mine()
    (tmp_path / "f").write_bytes(written({}, [mine, template], [("t", template)], trusted=True))
    _, entries = read(tmp_path / "f")
    back, same = unpacked(entries, [("t", template)])
    assert same is template and type(back) is Mine


def test_an_interrupt_while_an_archive_is_written_stays_one(monkeypatch):
    plain = zipfile.ZipFile._open_to_write

    def opened(*args, **kwargs):
        plain(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "_open_to_write", opened)
    with pytest.raises(KeyboardInterrupt):
        written({}, [np.zeros(3)], [], trusted=False)


@pytest.mark.parametrize("part", [np.s_[:, :2], np.s_[::3]], ids=["columns", "rows"])
def test_pickled_arrays_keep_their_gaps_in_memory(part):
    coef = np.arange(12.0).reshape(4, 3)[part]
    content = [SimpleNamespace(coef_=coef), np.arange(3)[::-1]]
    with np.load(BytesIO(written({}, content, [], trusted=True))) as archive:
        found = unpacked({"pickle": archive["pickle"]}, [])
    assert found[0].coef_.strides == coef.strides
    assert_array_equal(found[0].coef_, coef)
    assert_array_equal(found[1], content[1])


def test_what_could_not_be_read_is_not_written():
    gate = SoftmaxGate()
    gate.start = 1  # in the place of a method
    for value in (gate, Checkpoint("none")):
        with pytest.raises(NotPlainError):
            Encoder(()).encode(value)
