import io
import math
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps, JpegImagePlugin

from models import pixels

ORIENTATION = 0x0112
SHAPES = [
    (300, 200),
    (200, 300),
    (64, 64),
    (65, 64),
    (10, 24),
    (33, 7),
    (1, 50),
    (50, 1),
    (500, 3),
    (1, 1),
]


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def reopened(data):
    return Image.open(io.BytesIO(data))


def furthest(first, second):
    return np.abs(np.asarray(first, np.float32) - np.asarray(second, np.float32)).max()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation, picture, encoded):
    data = encoded(picture(24, 40), quality=95, exif=exif(orientation))
    upright = np.asarray(ImageOps.exif_transpose(reopened(data)))

    image = pixels.decode(data)

    assert image.shape == upright.shape
    assert furthest(image, upright) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_of_the_header_is_that_of_the_upright_photo(orientation, picture, encoded):
    data = encoded(picture(24, 40), exif=exif(orientation))

    _, width, height = pixels.glance(data, 1)

    assert (height, width, 3) == pixels.decode(data).shape


def test_orientation_of_a_png_is_undone(picture, encoded):
    stored = picture(24, 40)

    image = pixels.decode(encoded(stored, "PNG", exif=exif(6)))

    assert np.array_equal(image, np.rot90(stored, -1))  # 6: turn a quarter clockwise


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation, picture, encoded):
    assert pixels.decode(encoded(picture(24, 40), exif=exif(orientation))).shape == (24, 40, 3)


def test_garbled_exif_does_not_make_a_photo_unreadable(picture, encoded):
    data = encoded(picture(24, 40))
    segment = b"Exif\0\0garbage"
    marker = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big")

    assert pixels.decode(data[:2] + marker + segment + data[2:]).shape == (24, 40, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_greyscale_becomes_three_equal_channels(kind, encoded):
    grey = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))

    image = pixels.decode(encoded(grey, kind, **({"quality": 100} if kind == "JPEG" else {})))

    assert image.shape == (20, 30, 3)
    assert np.ptp(image, axis=2).max() == 0
    assert furthest(image[..., 0], grey) <= 2


def test_cmyk_jpeg_keeps_its_colour(encoded):
    colour = np.full((16, 16, 3), (200, 60, 30), np.uint8)

    image = pixels.decode(encoded(Image.fromarray(colour).convert("CMYK"), quality=100))

    assert furthest(image, colour) <= 6


def test_transparent_palette_colour_becomes_the_padding(encoded):
    indices = np.zeros((8, 8), np.uint8)
    indices[:, 4:] = 1
    image = Image.fromarray(indices, "P")
    image.putpalette([255, 0, 0, 10, 20, 30])

    decoded = pixels.decode(encoded(image, "PNG", transparency=0))

    assert (decoded[:, :4] == pixels.PAD).all()
    assert (decoded[:, 4:] == (10, 20, 30)).all()


def test_half_transparent_pixels_mix_with_the_padding(encoded):
    # 200 * 128/255 + 128 * 127/255 = 164.1
    rgba = np.full((4, 4, 4), (200, 200, 200, 128), np.uint8)

    assert furthest(pixels.decode(encoded(rgba, "PNG")), 164) <= 1


def test_sixteen_bit_grey_is_scaled_to_eight(encoded):
    # 65535 / 257 = 255 and 51400 / 257 = 200
    grey = np.array([[0, 51400, 65535]], np.uint16)

    image = pixels.decode(encoded(Image.fromarray(grey), "PNG"))

    assert image.tolist() == [[[0, 0, 0], [200, 200, 200], [255, 255, 255]]]


READS = [pixels.decode, lambda data: pixels.glance(data, 1), lambda data: pixels.load(data, 32)]
BY_READ = pytest.mark.parametrize("read", READS, ids=["decode", "glance", "load"])


@BY_READ
@pytest.mark.parametrize("share", [0.98, 0.9, 0.5, 0.1])
def test_a_truncated_jpeg_is_unreadable(share, read, picture, encoded):
    data = encoded(picture(200, 300), quality=90)

    with pytest.raises(pixels.UnreadablePhotoError):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_other_truncated_photos_are_unreadable(kind, picture, encoded):
    data = encoded(picture(200, 300), kind)

    with pytest.raises(pixels.UnreadablePhotoError):
        pixels.decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"this is no photo", b"\xff\xd8\xff"])
@BY_READ
def test_bytes_that_are_no_photo_are_unreadable(read, data):
    with pytest.raises(pixels.UnreadablePhotoError):
        read(data)


@BY_READ
def test_a_header_that_promises_a_giant_is_unreadable(read, picture, encoded):
    data = encoded(picture(8, 8), "PNG")
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + data[24:29]
    checked = header + struct.pack(">I", zlib.crc32(header))

    with pytest.raises(pixels.UnreadablePhotoError):
        read(data[:12] + checked + data[33:])


def test_a_glance_may_come_back_reduced_but_no_smaller_than_asked(picture, encoded):
    grey, width, height = pixels.glance(encoded(picture(800, 1000)), smallest_side=100)

    assert (width, height) == (1000, 800)
    assert 100 <= grey.shape[0] < 800
    assert 100 <= grey.shape[1] < 1000


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_glance_sees_the_luma(kind, picture, encoded):
    stored = picture(64, 96)

    grey, width, height = pixels.glance(encoded(stored, kind), smallest_side=64)

    assert (width, height) == (96, 64)
    assert furthest(grey, stored @ np.array([0.299, 0.587, 0.114])) <= 6


@pytest.mark.parametrize("crop", [None, (300.0, 100.0, 1500.0, 900.0), (10.0, 20.0, 60.0, 90.0)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_load_is_fit_of_the_whole_photo_or_nearly_so(crop, orientation, picture, encoded):
    data = encoded(picture(1200, 1600), quality=95, exif=exif(orientation))

    loaded = pixels.load(data, 64, crop)

    assert furthest(loaded, pixels.fit(pixels.decode(data), 64, crop)) <= 6


@pytest.mark.parametrize("shape", [(900, 1199), (601, 803), (1201, 2001), (1607, 907), (333, 1001)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_load_pads_as_fit_does_however_the_decoder_rounds(shape, orientation, encoded):
    """White all over, so that a row of padding too many or too few is 127 off."""
    data = encoded(np.full((*shape, 3), 255, np.uint8), exif=exif(orientation))

    for crop in (None, (11.0, 7.0, 590.0, 301.0)):
        expected = pixels.fit(pixels.decode(data), 64, crop)
        assert np.array_equal(pixels.load(data, 64, crop), expected)


def test_a_photo_is_recognised_by_its_bytes(picture, encoded):
    stored = picture(9, 5)

    assert np.array_equal(pixels.decode(encoded(stored, "PNG")), stored)


@pytest.mark.parametrize(
    ("shape", "placed"),
    [
        ((100, 50), (20, 10, 0, 5)),  # portrait: full height, 5 columns on each side
        ((50, 100), (10, 20, 5, 0)),
        ((10, 10), (20, 20, 0, 0)),
        ((1, 1000), (1, 20, 9, 0)),  # at least one row stays; 19 rows to fill: 9 above, 10 below
        ((1000, 1), (20, 1, 0, 9)),
    ],
)
def test_square_places_a_photo_in_the_middle(shape, placed):
    assert pixels.square(*shape, 20) == placed


def test_fit_pads_with_mid_grey():
    image = pixels.fit(np.full((40, 20, 3), 200, np.uint8), 20)

    assert (image[:, 5:15] == 200).all()
    assert (np.delete(image, np.s_[5:15], axis=1) == 128).all()


def test_fit_averages_areas_when_it_shrinks():
    # Each 2 x 2 block holds 0, 100, 100 and 200: the mean is 100.
    block = np.array([[0, 100], [100, 200]], np.uint8)
    image = np.repeat(np.tile(block, (8, 8))[..., None], 3, axis=2)

    assert (pixels.fit(image, 8) == 100).all()


@pytest.mark.parametrize("length", [20, 23, 27, 31, 38, 45, 64, 100])
def test_a_fine_pattern_averages_out_about_as_well_as_by_an_area_mean(length):
    """Stripes of one pixel can't be shown; what is left of them says how good a filter is."""
    stripes = np.zeros((length, length, 3), np.uint8)
    stripes[:, ::2] = 200
    area = cv2.resize(stripes, (16, 16), interpolation=cv2.INTER_AREA)

    assert furthest(pixels.fit(stripes, 16), 100) <= furthest(area, 100) + 15


def test_fit_keeps_the_crop_alone():
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 40:60] = 250

    assert (pixels.fit(image, 16, crop=(40.0, 10.0, 60.0, 30.0)) == 250).all()


@pytest.mark.parametrize("crop", [(99.2, 0.0, 99.4, 50.0), (99.6, 0.0, 100.0, 50.0)])
def test_a_box_thinner_than_a_pixel_still_gives_a_photo(crop, picture):
    assert pixels.fit(picture(50, 100), 32, crop).shape == (32, 32, 3)


def recorded(data, side):
    """What a trainer reads of a photo."""
    return pixels.decode(pixels.encode(pixels.load(data, side)))


def served(data, side):
    """What a SavedModel makes of a photo."""
    return pixels.fit_in_graph(tf.constant(data), side).numpy()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_served_photo_has_the_pixels_of_its_record(shape, kind, picture, encoded):
    data = encoded(picture(*shape), kind)

    assert served(data, 48).dtype == np.float32
    assert np.array_equal(served(data, 48), recorded(data, 48))


@pytest.mark.parametrize("side", [32, 50, 64])
def test_that_holds_whatever_the_size_and_the_way_of_compressing(side, encoded):
    """Sizes at random, from photos that grow to those that the decoder reduces to an eighth."""
    random = np.random.default_rng(side)
    for number in range(30):
        height, width = random.integers(1, 40 if number % 3 == 0 else 800, 2)
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        quality, subsampling = int(random.integers(50, 100)), number % 3
        data = encoded(
            cv2.GaussianBlur(noise, (0, 0), 1.0),
            quality=quality,
            subsampling=subsampling,
            exif=exif(1 + number % 8),
        )

        assert np.array_equal(served(data, side), recorded(data, side)), (height, width, number)


def test_a_record_is_served_as_it_is(picture, encoded):
    """A second compression would change it, and the evaluation reads records."""
    record = encoded(picture(64, 64), quality=60)

    assert np.array_equal(served(record, 64), pixels.decode(record))
    assert not np.array_equal(recorded(record, 64), pixels.decode(record))


# Where a header has the width and the height, and how: in a JPEG, the height comes first.
HEADERS = {"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<Ii")}


def promising(width, height, kind, picture, encoded, **options):
    """A small photo whose header says that it has another size."""
    data = bytearray(encoded(picture(64, 64), kind, **options))
    place, numbers = HEADERS.get(kind, (0, ""))
    if kind == "JPEG":
        frame = data.find(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
        place, numbers, width, height = frame + 5, ">HH", height, width
    struct.pack_into(numbers, data, place, width, height)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", *HEADERS])
@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (30_000, 40_000)])
def test_a_served_giant_is_refused_by_its_header(width, height, kind, picture, encoded):
    data = promising(width, height, kind, picture, encoded)

    says = f"{width} x {height} pixels, 100,000,000 is the most"
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        served(data, 48)


def test_a_served_bitmap_may_begin_at_its_top(picture, encoded):
    flipped = picture(64, 64)[::-1]
    data = bytearray(encoded(flipped, "BMP"))
    struct.pack_into("<i", data, 22, -64)

    assert furthest(served(bytes(data), 64), served(encoded(flipped[::-1], "BMP"), 64)) == 0


def test_no_memory_is_taken_for_a_giant(picture, encoded):
    """A decoder of progressive JPEGs would take 5 GB for this header before it reads on."""
    data = promising(30_000, 30_000, "JPEG", picture, encoded, progressive=True)
    in_graph = tf.function(lambda data: pixels.fit_in_graph(data, 48))
    in_graph(tf.constant(encoded(picture(64, 64))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(tf.errors.InvalidArgumentError, match="30000 x 30000 pixels"):
        in_graph(tf.constant(data))

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize("share", [0.98, 0.5, 0.1])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_served_photo_that_is_cut_short_is_refused(share, kind, picture, encoded):
    data = encoded(picture(64, 64), kind)

    with pytest.raises(tf.errors.InvalidArgumentError):
        served(data[: int(len(data) * share)], 64)


def test_both_engines_agree_on_grey_and_sixteen_bit_photos(picture, encoded):
    grey = picture(40, 30)[..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)

    for data in (encoded(grey, "PNG"), encoded(deep, "PNG"), encoded(grey)):
        assert furthest(served(data, 32), recorded(data, 32)) == 0


def test_both_engines_put_transparent_pixels_on_the_padding(picture, encoded):
    rgba = np.dstack([picture(32, 32), np.full((32, 32), 0, np.uint8)])

    assert furthest(served(encoded(rgba, "PNG"), 48), pixels.PAD) <= 1


def test_both_engines_mix_half_transparent_pixels_alike(picture, encoded):
    rgba = np.dstack([picture(32, 32), np.full((32, 32), 100, np.uint8)])
    data = encoded(rgba, "PNG")

    assert furthest(served(data, 32), recorded(data, 32)) <= 3  # Pillow rounds in whole numbers


def test_encode_writes_no_metadata_and_full_colour(picture, encoded):
    tags = Image.Exif()
    tags.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    tags[0x010E] = "where the dog lives"
    data = encoded(picture(40, 40), exif=tags.tobytes())

    written = pixels.encode(pixels.decode(data))

    assert b"where the dog lives" in data
    assert b"Exif" not in written
    assert len(reopened(written).getexif()) == 0
    assert JpegImagePlugin.get_sampling(reopened(written)) == 0  # 4:4:4


def test_encode_keeps_the_picture(picture):
    image = picture(48, 64)

    assert furthest(pixels.decode(pixels.encode(image)), image) <= 8


def test_encode_takes_a_view_that_is_not_contiguous(picture):
    image = picture(48, 64)[:, ::-1]

    assert furthest(pixels.decode(pixels.encode(image)), image) <= 8


@pytest.mark.parametrize(
    ("colour", "luma"),
    [
        ((0, 0, 0), 0.0),
        ((255, 255, 255), 1.0),
        ((255, 0, 0), 0.299),
        ((0, 255, 0), 0.587),
        ((0, 0, 255), 0.114),
    ],
)
def test_brightness_is_the_mean_luma(colour, luma):
    brightness, _, _ = pixels.quality(np.full((3, 5, 3), colour, np.uint8))

    assert brightness == pytest.approx(luma, abs=0.002)


def test_sharpness_is_the_logarithm_of_the_variance_of_the_laplacian():
    # One pixel of 100 on black: the Laplacian is -400 there, 100 at its 4 neighbours and 0 at the
    # other 20 pixels. Its mean is 0, its variance (400² + 4 * 100²) / 25 = 8000.
    image = np.zeros((5, 5, 3), np.uint8)
    image[2, 2] = 100

    assert pixels.quality(image)[1] == pytest.approx(math.log10(8001))
    assert pixels.quality(np.full((5, 5, 3), 77, np.uint8))[1] == 0.0


def test_no_photo_is_sharper_than_a_chessboard():
    # Black and white pixels in turn: the Laplacian is 4 * 255 everywhere, its sign in turn too, so
    # its variance is 1020²: log10(1 + 1020²) = 6.017.
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.repeat(board[..., np.newaxis], 3, axis=2).astype(np.uint8)

    assert pixels.quality(image)[1] == pytest.approx(6.0172, abs=1e-3)


@pytest.mark.parametrize(
    ("colours", "saturation"),
    [
        ([(77, 77, 77)], 0.0),
        ([(255, 255, 255), (0, 0, 0)], 0.0),
        ([(255, 0, 0)], 1.0),
        ([(0, 0, 255), (0, 0, 0)], 0.5),
        ([(200, 149, 98), (10, 61, 112)], 0.4),  # 102 / 255, whichever channel is the largest
        ([(51, 0, 0), (0, 102, 0), (0, 0, 153)], 0.4),  # (0.2 + 0.4 + 0.6) / 3
    ],
)
def test_saturation_is_the_mean_difference_of_the_channels(colours, saturation):
    image = np.array([colours] * 4, np.uint8)

    assert pixels.quality(image)[2] == pytest.approx(saturation, abs=1e-6)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC or AVIF"),
        (b" <!DOCTYPE html><p>gone", "HTML or XML"),
        (b"this is no photo", "no photo of a kind that is known"),
    ],
)
def test_what_is_wrong_with_bytes_is_said_for_people(data, words):
    with pytest.raises(pixels.UnreadablePhotoError, match=words):
        pixels.glance(data, 64)
