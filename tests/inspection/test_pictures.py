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


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("kind", [k for k in DISPLAYS if k != "loads"])  # above the bars there
def test_legends_and_notes_cover_nothing(kind, layout, plt):
    figure, ax = plt.subplots(layout=layout)
    display = displays()[kind].plot(ax)
    figure.canvas.draw()
    place, whole = ax.get_window_extent(), figure.bbox
    for name in ("legend_", "note_"):
        artist = getattr(display, name, None)
        if artist is None:
            continue
        box = artist.get_window_extent()
        assert not box.overlaps(place), name
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0, name
        label = ax.xaxis.label.get_window_extent()
        assert box.y1 <= label.y0 + 1 or not box.overlaps(label), name
