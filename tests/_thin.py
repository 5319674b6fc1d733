"""Products of many options: a part of them in every run, all of them in `.ci/nightly`."""

from itertools import product

import pytest


def name_of(option):
    return getattr(option, "__name__", None) or str(option)


def thinned(*axes, every, always=()):
    """Return all combinations of options for `parametrize`, most of them marked slow.

    Combinations whose positions add up to a multiple of `every` stay in the fast run, as do those
    with an option of `always`. Each option of each axis has to be among them.
    """
    axes = [list(axis) for axis in axes]
    parameters, fast = [], []
    for at in product(*(range(len(axis)) for axis in axes)):
        options = [axis[i] for axis, i in zip(axes, at, strict=True)]
        names = [name_of(option) for option in options]
        kept = sum(at) % every == 0 or any(name in always for name in names)
        if kept:
            fast.append(at)
        marks = () if kept else pytest.mark.slow
        parameters.append(pytest.param(*options, id="-".join(names), marks=marks))
    for axis, seen in zip(axes, zip(*fast, strict=True), strict=True):
        missing = [name_of(axis[i]) for i in set(range(len(axis))) - set(seen)]
        assert not missing, f"every={every} leaves {missing} out of the fast run"
    return parameters
