"""Decode, orient, crop, pad and resize a photo: one definition, in two engines.

`load` and `encode` are what ingestion runs (libjpeg-turbo and OpenCV); `fit_in_graph` is the same
as TensorFlow ops, for the inside of a SavedModel. Both pad to a square with `PAD`, interpolate
bilinearly, and average several interpolated pixels where a photo shrinks far. Both compute in the
same whole numbers, so that a JPEG that is served has, bit for bit, the pixels that its record has.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models.geometry import Box

PAD = 128  # mid grey: zero after scaling to [-1, 1], so a padded edge says nothing
JPEG_QUALITY = 96  # below it libjpeg-turbo takes a transform that differs from TensorFlow's
MOST_PIXELS = 100_000_000  # of one photo: a header may promise what no memory can hold
_RATIOS = (1, 2, 4, 8)  # how far both engines' decoders of JPEG reduce a photo
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_MIRRORED = (2, 4, 5, 7)  # those that are mirror images
_QUARTER_TURNS = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}  # and how far each is turned


class UnreadablePhotoError(ValueError):
    """The bytes are no photo that can be decoded to its last row."""


def decode(data: bytes) -> np.ndarray:
    """Decodes a whole photo, upright.

    Args:
      data: an encoded photo, JPEG or anything else that Pillow reads.

    Returns:
      uint8 [H, W, 3], RGB, the EXIF orientation applied.

    Raises:
      UnreadablePhotoError: truncated, empty or not a photo.
    """
    return _read(data, "RGB")[0]


def glance(data: bytes, smallest_side: int) -> tuple[np.ndarray, int, int]:
    """Reads a photo to its last row for little more than the cost of parsing it.

    Args:
      data: as `decode`.
      smallest_side: what comes back may be reduced, as long as both sides keep that many pixels.

    Returns:
      The upright photo as uint8 [h, w] luma, perhaps reduced; its width and height in full.

    Raises:
      UnreadablePhotoError: as `decode`; truncation is noticed.
    """
    image, width, height = _read(data, "GRAY", lambda width, height: (smallest_side, smallest_side))
    return image, width, height


def load(data: bytes, side: int, crop: Box | None = None) -> np.ndarray:
    """`fit(decode(data), side, crop)`, the pixels of large photos averaged by the decoder.

    The decoder of JPEG averages 2, 4 or 8 pixels in each direction for nothing. It is let to as
    long as twice the pixels that are wanted remain, so that `fit` still does the last step.

    Args:
      data: as `decode`.
      side: of the result, pixels.
      crop: the part to keep, in pixels of the upright photo; None keeps it whole.

    Returns:
      uint8 [side, side, 3].

    Raises:
      UnreadablePhotoError: as `decode`.
    """

    def reduced(width: int, height: int) -> tuple[int, int]:
        xmin, ymin, xmax, ymax = crop or (0, 0, width, height)
        longest = max(xmax - xmin, ymax - ymin)
        ratio = max(ratio for ratio in _RATIOS if ratio == 1 or longest >= 2 * side * ratio)
        return -(-width // ratio), -(-height // ratio)

    image, width, height = _read(data, "RGB", reduced)
    x, y = image.shape[1] / width, image.shape[0] / height
    part = crop and (crop[0] * x, crop[1] * y, crop[2] * x, crop[3] * y)
    rows, columns = _kept(height, width, crop)
    return fit(image, side, part, (rows.stop - rows.start, columns.stop - columns.start))


def _read(
    data: bytes, colours: str, smallest: Callable[[int, int], tuple[int, int]] | None = None
) -> tuple[np.ndarray, int, int]:
    """Decodes a photo upright, in RGB or GRAY, with its full width and height.

    `smallest` says, from the width and height as stored, how far a JPEG may be reduced.
    """
    try:
        header = _jpeg_header(data)
        if header is None:
            image, orientation = _read_other(data, colours)
            width, height = image.shape[1], image.shape[0]
        else:
            width, height = header
            least = smallest(width, height) if smallest else (width, height)
            image, orientation = _decode_jpeg(data, colours, *least), _orientation(data)
        if orientation in _SIDEWAYS:
            width, height = height, width
        return _upright(image, orientation), width, height
    except UnreadablePhotoError:
        raise
    except Exception as error:
        raise UnreadablePhotoError(_why(data, error)) from error


def _why(data: bytes, error: Exception) -> str:
    """What is wrong with bytes that can't be decoded, for people, the same each time."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "HEIC or AVIF, which are not read: convert it to JPEG"
    if data.lstrip()[:1] == b"<":
        return "HTML or XML, no photo"
    if type(error).__name__ == "UnidentifiedImageError":
        return "no photo of a kind that is known"
    return f"{type(error).__name__}: {error}"


def _jpeg_header(data: bytes) -> tuple[int, int] | None:
    """(width, height) as stored of a JPEG that the fast decoder takes; None of anything else."""
    import simplejpeg

    if not simplejpeg.is_jpeg(data):
        return None
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    return (width, height) if colours in ("YCbCr", "Gray", "RGB") else None


def _orientation(jpeg: bytes) -> int:
    """The EXIF orientation of a JPEG, which is nearly always not given at all."""
    if jpeg.find(b"Exif\0\0", 0, 1 << 16) < 0:
        return 1
    from PIL import Image

    orientation: int = Image.open(io.BytesIO(jpeg)).getexif().get(0x0112, 1)
    return orientation


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnreadablePhotoError(f"{width} x {height} pixels, {MOST_PIXELS:,} is the most")


def _decode_jpeg(data: bytes, colours: str, least_width: int, least_height: int) -> np.ndarray:
    import simplejpeg

    image: np.ndarray = simplejpeg.decode_jpeg(
        data, colorspace=colours, strict=True, min_width=least_width, min_height=least_height
    )
    return image[..., 0] if colours == "GRAY" else image


def _read_other(data: bytes, colours: str) -> tuple[np.ndarray, int]:
    """What Pillow makes of a photo, as stored, and its orientation."""
    import cv2
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    _check_size(*image.size)
    rgb = _to_rgb(image)
    grey = colours == "GRAY"
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if grey else rgb, image.getexif().get(0x0112, 1)


def _to_rgb(image: Any) -> np.ndarray:
    """Any Pillow mode as RGB; 16-bit greys are scaled, transparent pixels become the padding."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image, np.float32) / (257 if image.mode.startswith("I") else 1)
        return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (PAD, PAD, PAD, 255)), image)
    return np.asarray(image.convert("RGB"))


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (TIFF 6.0, tag 274: 1 upright, 2 to 8 mirrored or turned)."""
    if orientation in _MIRRORED:
        image = image[:, ::-1]
    quarter_turns = _QUARTER_TURNS.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if orientation != 1 else image


def square(height: int, width: int, side: int) -> tuple[int, int, int, int]:
    """Places a photo in a square: (new height, new width, rows above, columns to the left)."""
    scale = side / max(height, width)
    new_height = min(side, max(1, int(height * scale + 0.5)))
    new_width = min(side, max(1, int(width * scale + 0.5)))
    return new_height, new_width, (side - new_height) // 2, (side - new_width) // 2


def steps(length: int, new: int) -> int:
    """How many interpolated pixels are averaged into one, along a side that shrinks.

    Bilinear interpolation takes in two pixels, so it averages as well as an area mean does as long
    as it moves on by at most the square root of 2 pixels; beyond that several are averaged.
    """
    return max(1, math.ceil(length / new / math.sqrt(2)))


def _kept(height: int, width: int, crop: Box | None) -> tuple[slice, slice]:
    """The rows and the columns of a photo that a crop keeps, one at least of each."""
    if not crop:
        return slice(0, height), slice(0, width)
    xmin, ymin, xmax, ymax = (int(edge + 0.5) for edge in crop)
    xmin, ymin = min(xmin, width - 1), min(ymin, height - 1)
    return (
        slice(ymin, min(height, max(ymax, ymin + 1))),
        slice(xmin, min(width, max(xmax, xmin + 1))),
    )


def fit(
    image: np.ndarray,
    side: int,
    crop: Box | None = None,
    shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """Crops, pads to a square and resizes with antialiasing.

    Args:
      image: uint8 [H, W, 3].
      side: the side of the result, in pixels.
      crop: the part to keep, in pixels of `image`; None keeps it whole.
      shape: (height, width) of the part that is kept before the decoder reduced it, which has
        rounded them: they say where in the square it goes.

    Returns:
      uint8 [side, side, 3].
    """
    import cv2

    image = image[_kept(image.shape[0], image.shape[1], crop)]
    height, width = image.shape[:2]
    new_height, new_width, top, left = square(*(shape or (height, width)), side)
    times = steps(max(height, width), side)
    exact = cv2.INTER_LINEAR_EXACT
    fine = cv2.resize(image, (new_width * times, new_height * times), interpolation=exact)
    if times > 1:
        fine = cv2.resize(fine, (new_width, new_height), interpolation=cv2.INTER_AREA)
    canvas = np.full((side, side, 3), PAD, np.uint8)
    canvas[top : top + new_height, left : left + new_width] = fine
    return canvas


def fit_in_graph(data: Any, side: int) -> Any:
    """`decode(encode(load(data, side)))` as TensorFlow ops, for a SavedModel's `image_bytes`.

    A model has learned from records, so what it is asked about passes through a record's JPEG too.
    A JPEG of just that size is one already, and is taken as it is.

    Args:
      data: scalar tf.string, an encoded JPEG, PNG, GIF or BMP.
      side: the side of the result, in pixels.

    Returns:
      float32 [side, side, 3], whole numbers in [0, 255]; of JPEGs and PNGs exactly what their
      record decodes to, but for CMYK JPEGs (some levels apart) and PNGs with an EXIF orientation
      (not turned here); of other kinds within a step or two of it.

    Raises:
      tf.errors.InvalidArgumentError: when it runs: no such photo, one cut short, or one whose
        header promises more than `MOST_PIXELS`, for which no memory is taken.
    """
    import tensorflow as tf

    with tf.control_dependencies([_check_size_in_graph(data)]):
        data = tf.identity(data)
    image, shape = _decode_in_graph(data, side)
    orientation = _orientation_in_graph(data)
    sideways = tf.reduce_any(tf.equal(orientation, list(_SIDEWAYS)))
    shape = tf.where(sideways, shape[::-1], shape)
    image = _upright_in_graph(image, orientation)
    image.set_shape([None, None, 3])
    recorded = _is_jpeg(data) & tf.reduce_all(tf.equal(shape, side))
    result = tf.cond(
        recorded, lambda: image, lambda: _recorded_in_graph(_square_in_graph(image, shape, side))
    )
    return tf.ensure_shape(tf.cast(result, tf.float32), [side, side, 3])


def _square_in_graph(image: Any, shape: Any, side: int) -> Any:
    """`fit` as TensorFlow ops: uint8 [side, side, 3] of uint8 [H, W, 3], [h, w] in full."""
    import tensorflow as tf

    full = tf.cast(shape, tf.float64)
    new = tf.cast(full * (side / tf.reduce_max(full)) + 0.5, tf.int32)
    new = tf.clip_by_value(new, 1, side)
    longest = tf.cast(tf.reduce_max(tf.shape(image)), tf.float64)
    times = tf.maximum(1, tf.cast(tf.math.ceil(longest / side / math.sqrt(2)), tf.int32))
    fine = _stretch_in_graph(tf.cast(image, tf.int32), new * times)
    sums = tf.reduce_sum(tf.reshape(fine, [new[0], times, new[1], times, 3]), axis=[1, 3])
    mean = tf.round(tf.cast(sums, tf.float32) * (1 / tf.cast(times**2, tf.float32)))
    # Of four pixels OpenCV rounds a half up, of more to the even number.
    mean = tf.where(times == 2, tf.bitwise.right_shift(sums + 2, 2), tf.cast(mean, tf.int32))
    before = (side - new) // 2
    after = side - new - before
    padding = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    return tf.cast(tf.pad(mean, padding, constant_values=PAD), tf.uint8)


def _stretch_in_graph(image: Any, new: Any) -> Any:
    """OpenCV's INTER_LINEAR_EXACT, whose weights are whole 256ths: int32 [H, W, 3] to [h, w, 3]."""
    import tensorflow as tf

    for axis in (0, 1):
        length = tf.cast(tf.shape(image)[axis], tf.float64)
        middle = tf.cast(tf.range(new[axis]), tf.float64) + 0.5
        place = middle * (length / tf.cast(new[axis], tf.float64)) - 0.5
        place = tf.clip_by_value(place, 0, length - 1)
        first = tf.cast(place, tf.int32)
        second = tf.minimum(first + 1, tf.shape(image)[axis] - 1)
        weight = tf.cast(tf.round((place - tf.floor(place)) * 256), tf.int32)
        weight = weight[:, None, None] if axis == 0 else weight[:, None]
        image = tf.gather(image, first, axis=axis) * (256 - weight) + (
            tf.gather(image, second, axis=axis) * weight
        )
    return tf.bitwise.right_shift(image + (1 << 15), 16)


def _recorded_in_graph(image: Any) -> Any:
    """`decode(encode(image))` as TensorFlow ops: uint8 [side, side, 3]."""
    import tensorflow as tf

    data = tf.io.encode_jpeg(image, "rgb", JPEG_QUALITY, chroma_downsampling=False)
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _is_jpeg(data: Any) -> Any:
    import tensorflow as tf

    return tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff")


def _is_png(data: Any) -> Any:
    import tensorflow as tf

    return tf.equal(tf.strings.substr(data, 0, 3), b"\x89PN")


def _check_size_in_graph(data: Any) -> Any:
    """`_check_size` as TensorFlow ops: an assertion, to be a control dependency of the decoding."""
    import tensorflow as tf

    size = _size_in_graph(data)
    text = f"{{}} x {{}} pixels, {MOST_PIXELS:,} is the most"
    message = tf.strings.format(text, (size[0], size[1]))
    return tf.debugging.Assert(tf.reduce_prod(size) <= MOST_PIXELS, [message])


def _size_in_graph(data: Any) -> Any:
    """The width and height that a header promises: int64 [2], zeros of what is no photo.

    A PNG has them in its 17th to 24th byte, the first of each the highest; a GIF in two bytes each
    from the 7th on, and a BMP in four from the 19th (its height below 0 where it begins at the
    top), the lowest first.
    """
    import tensorflow as tf

    head = tf.strings.substr(data, 0, 26) + bytes(26)

    def numbers(start: int, width: int, kind: Any, little: bool = True) -> Any:
        part = tf.strings.substr(head, start, 2 * width)
        return tf.abs(tf.cast(tf.io.decode_raw(part, kind, little_endian=little), tf.int64))

    def begins(text: bytes) -> Any:
        return tf.equal(tf.strings.substr(head, 0, len(text)), text)

    kinds = [
        (_is_jpeg(data), lambda: tf.cast(tf.io.extract_jpeg_shape(data)[1::-1], tf.int64)),
        (_is_png(data), lambda: numbers(16, 4, tf.int32, little=False)),
        (begins(b"GIF"), lambda: numbers(6, 2, tf.uint16)),
        (begins(b"BM"), lambda: numbers(18, 4, tf.int32)),
    ]
    size = tf.case(kinds, default=lambda: tf.zeros([2], tf.int64))
    return tf.ensure_shape(size, [2])


def _decode_in_graph(data: Any, side: int) -> tuple[Any, Any]:
    """A photo as stored, and its height and width in full: uint8 [H, W, 3], int32 [2].

    A JPEG comes reduced as far as `load` lets it; the transparent pixels of a PNG become the
    padding.
    """
    import tensorflow as tf

    def png() -> Any:
        image = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
        opaque = image[..., 3:] / 255
        return whole(tf.cast(tf.round(image[..., :3] * opaque + PAD * (1 - opaque)), tf.uint8))

    def jpeg() -> Any:
        shape = tf.io.extract_jpeg_shape(data)[:2]
        far = tf.reduce_max(shape) >= [2 * side * ratio for ratio in _RATIOS[1:]]
        reduced = [
            lambda ratio=ratio: tf.io.decode_jpeg(
                data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
            )
            for ratio in _RATIOS
        ]
        return tf.switch_case(tf.reduce_sum(tf.cast(far, tf.int32)), reduced), shape

    def other() -> Any:
        return whole(tf.io.decode_image(data, channels=3, expand_animations=False))

    def whole(image: Any) -> Any:
        return image, tf.shape(image)[:2]

    image, shape = tf.case([(_is_jpeg(data), jpeg), (_is_png(data), png)], default=other)
    return image, tf.ensure_shape(shape, [2])


def _orientation_in_graph(data: Any) -> Any:
    """The EXIF orientation of a JPEG, int32, 1 where it says nothing.

    Format: Exif 2.3 and TIFF 6.0. After the six bytes "Exif", 0, 0 the byte order, the place of
    the first directory, its length, and entries of 12 bytes: tag, type, count, value.
    """
    import tensorflow as tf

    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, 1 << 16), tf.uint8), tf.int32)
    head = tf.concat([head, tf.zeros([64], tf.int32)], axis=0)
    size = tf.size(head)
    marker = [head[shift : size - 5 + shift] for shift in range(6)]
    found = tf.reduce_all(tf.equal(tf.stack(marker, 1), list(b"Exif\0\0")), axis=1)
    start = tf.cast(tf.argmax(found), tf.int32) + 6
    little = tf.equal(head[start], ord("I"))

    def number(places: Any, width: int) -> Any:
        """Reads integers of `width` bytes; beyond the head there are zeros."""
        steps = tf.range(width)
        order = tf.where(little, steps, width - 1 - steps)
        at = tf.clip_by_value(places[..., None] + order, 0, size - 1)
        return tf.reduce_sum(tf.bitwise.left_shift(tf.gather(head, at), 8 * steps), axis=-1)

    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 256))
    is_orientation = tf.equal(number(entries, 2), 0x0112)
    value = tf.reduce_max(tf.where(is_orientation, number(entries + 8, 2), 1), axis=0)
    sensible = tf.reduce_any(found) & tf.reduce_any(is_orientation) & (value >= 1) & (value <= 8)
    return tf.where(sensible, value, 1)


def _upright_in_graph(image: Any, orientation: Any) -> Any:
    """`_upright` as TensorFlow ops: mirrored first, then turned."""
    import tensorflow as tf

    mirrored = tf.reduce_any(tf.equal(orientation, list(_MIRRORED)))
    image = tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)
    turns = tf.gather([_QUARTER_TURNS.get(value, 0) for value in range(9)], orientation)
    return tf.image.rot90(image, turns)


def encode(image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3] RGB as a JPEG without metadata and without chroma subsampling."""
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=JPEG_QUALITY, colorsubsampling="444"
    )
    return data


def quality(image: np.ndarray) -> tuple[float, float, float]:
    """How bright, how sharp and how colourful a photo is.

    Args:
      image: uint8 [H, W, 3].

    Returns:
      The mean luma, in [0, 1] (ITU-R BT.601 weights); the sharpness, log10 of 1 + the variance of
      the Laplacian of the luma (Pech-Pacheco et al., 2000), 0 to 6.1; the saturation, the mean
      difference between a pixel's largest and least channel, in [0, 1].
    """
    import cv2

    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(luma, cv2.CV_16S)
    variance = cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - cv2.mean(edges)[0] ** 2
    red, green, blue = cv2.split(image)
    most = cv2.max(cv2.max(red, green), blue)
    least = cv2.min(cv2.min(red, green), blue)
    saturation = (cv2.mean(most)[0] - cv2.mean(least)[0]) / 255
    return cv2.mean(luma)[0] / 255, math.log10(1 + max(0.0, variance)), saturation
