"""Rootograms and confusion are those of the responsibilities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp.inspection import ResponsibilitiesDisplay
from mixexp.inspection._responsibilities_display import confusion_of, rootogram_of

RESP = np.array([[0.9, 0.1, 0.0], [0.55, 0.45, 0.0], [0.0, 1.0, 0.0]])


def test_rootogram_leaves_out_what_is_negligible():
    counts = rootogram_of(RESP, np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.5, 1.0]))
    assert_array_equal(counts, [[0, 2], [2, 2], [0, 0]])


def test_confusion_is_a_mean_over_own_rows():
    confusion = confusion_of(RESP, np.array([3.0, 1.0, 1.0]))
    assert_allclose(confusion[0], [(3 * 0.9 + 0.55) / 4, (3 * 0.1 + 0.45) / 4, 0])
    assert_allclose(confusion[1], [0, 1, 0])
    assert np.isnan(confusion[2]).all()


def test_picture_of_a_mixture(model, data):
    X, y = data
    display = ResponsibilitiesDisplay.from_estimator(model, X, y, n_bins=4)
    resp = model.responsibilities(X, y)
    ones = np.ones(len(y))
    assert_array_equal(display.counts, rootogram_of(resp, ones, np.linspace(0, 1, 5)))
    assert_array_equal(display.confusion, confusion_of(resp, ones))
    heights = np.array([[-bar.get_height() for bar in bars] for bars in display.bars_])
    assert_allclose(heights / heights.max(), np.sqrt(display.counts / display.counts.max()))
    shown = [int(text.get_text()) for text in display.cell_texts_]
    expected = display.confusion[display.confusion >= 0.005]
    assert_allclose(shown, 100 * expected, atol=0.5)
    with pytest.raises(ValueError, match="n_bins=1 is not valid"):
        ResponsibilitiesDisplay.from_estimator(model, X, y, n_bins=1)
