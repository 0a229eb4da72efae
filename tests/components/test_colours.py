import numpy as np
import pytest

from components import colours


def test_a_colour_histogram_by_hand(encoded):
    # Half of the photo black, half white: two bins of a half each, whose roots have length 1.
    image = np.zeros((8, 8, 3), np.uint8)
    image[4:] = 255

    black, both = colours.histograms([encoded(image * 0, "PNG"), encoded(image, "PNG")])

    assert np.flatnonzero(both).tolist() == [0, 511]
    assert both @ both == pytest.approx(1)
    assert black @ both == pytest.approx(0.5**0.5)
