"""Pictures look as they did when they were last looked at."""

import numpy as np
import pytest
from _pictures import FEW, STORED, coarse, displays, share_that_differs

DISPLAYS = displays()


def stored(kind):
    from matplotlib.image import imread

    return imread(STORED / f"{kind}.png")[..., :3]


@pytest.mark.parametrize("kind", DISPLAYS)
def test_picture_is_the_stored_one(kind):
    assert share_that_differs(coarse(DISPLAYS[kind]), stored(kind)) <= FEW


def test_another_picture_is_found():
    display = displays()["curves"]
    display.expert_values = -display.expert_values
    assert share_that_differs(coarse(display), stored("curves")) > FEW
    display = displays()["regions"]
    display.weights = np.roll(display.weights, 1, axis=-1)
    assert share_that_differs(coarse(display), stored("regions")) > FEW
    for kind in DISPLAYS:
        assert all(share_that_differs(stored(kind), stored(k)) > FEW for k in DISPLAYS if k != kind)
