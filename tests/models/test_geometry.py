import pytest

from models import geometry


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((0.0, 0.0, 4.0, 3.0), 12.0),
        ((10.5, 20.0, 12.0, 24.0), 6.0),  # 1.5 * 4
        ((5.0, 5.0, 5.0, 9.0), 0.0),
    ],
)
def test_area_is_width_times_height(box, area):
    assert geometry.area(box) == area


@pytest.mark.parametrize(
    ("box", "margin", "widened"),
    [
        # A box of 20 x 10: a margin of 0.1 is 2 pixels on each of its four sides.
        ((30.0, 40.0, 50.0, 50.0), 0.1, (28.0, 38.0, 52.0, 52.0)),
        # A box of 8 x 16: a margin of 0.25 is 4 pixels.
        ((30.0, 40.0, 38.0, 56.0), 0.25, (26.0, 36.0, 42.0, 60.0)),
        ((30.5, 40.0, 32.5, 41.0), 0.5, (29.5, 39.0, 33.5, 42.0)),
    ],
)
def test_a_margin_is_a_share_of_the_longer_side_on_every_side(box, margin, widened):
    assert geometry.widened(box, margin, 100, 80) == pytest.approx(widened)


def test_no_margin_changes_nothing():
    box = (0.0, 12.5, 99.0, 80.0)

    assert geometry.widened(box, 0.0, 100, 80) == box


@pytest.mark.parametrize(
    ("box", "widened"),
    [
        ((5.0, 30.0, 25.0, 40.0), (0, 20.0, 35.0, 50.0)),  # 10 more would be -5 on the left
        ((30.0, 5.0, 50.0, 15.0), (20.0, 0, 60.0, 25.0)),
        ((75.0, 30.0, 95.0, 40.0), (65.0, 20.0, 100, 50.0)),
        ((30.0, 65.0, 50.0, 75.0), (20.0, 55.0, 60.0, 80)),
        ((0.0, 0.0, 100.0, 80.0), (0, 0, 100, 80)),
    ],
)
def test_a_margin_is_cut_at_the_frame(box, widened):
    assert geometry.widened(box, 0.5, 100, 80) == pytest.approx(widened)
