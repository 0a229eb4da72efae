"""Random changes of training photos: small seeded TensorFlow ops, and named policies of them.

What a policy does to one photo is few passes over its pixels, for on a machine whose cores train as
well every one of them is paid for. Turning, shearing and shifting are one lookup of nearest pixels;
cropping and zooming one bilinear interpolation; contrast and colour one multiplication and one
addition, done on rows of side * 3 numbers (over an axis of three they take several times as long).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from models import pixels

MIXES = ("none", "mixup", "cutmix", "both")
_MIXUP_ALPHA = 0.2  # of the Beta distribution: the paper's for ImageNet
_CUTMIX_ALPHA = 1.0  # likewise: any share is as likely
_SAMPLED = 16  # a side of the points whose mean stands for that of a photo
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

# RandAugment's operations that move pixels, at their widest (AutoAugment, arXiv:1805.09501, table
# 6): radians, slopes, and shares of the side.
_WIDEST = {
    "rotate": math.radians(30),
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 0.45,
    "translate_y": 0.45,
}
_WIDEST_FACTOR = 0.9  # brightness, contrast and saturation go from 0.1 to 1.9
_MOST_BITS_LOST = 4  # to posterizing
OPERATIONS = (
    "identity",
    *_WIDEST,
    "brightness",
    "contrast",
    "saturation",
    "posterize",
    "solarize",
    "autocontrast",
)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What may happen to a photo.

    Attributes:
      mirror: every other photo is mirrored.
      smallest_crop: a square of at least that share of the side is cut out, and enlarged again.
      contrast: differences from the photo's mean are multiplied by 1 - contrast to 1 + contrast.
      colour: each channel is multiplied by 1 - colour to 1 + colour.
      erasing: the share of photos that have a rectangle filled with grey (Random Erasing,
        arXiv:1708.04896).
      erased: the least and the largest height and width of it, as shares of the side.
      operations: N of RandAugment (arXiv:1909.13719), drawn anew for each photo.
      magnitude: M of RandAugment, as a share of the widest ranges.
    """

    mirror: bool = True
    smallest_crop: float = 1.0
    contrast: float = 0.0
    colour: float = 0.0
    erasing: float = 0.0
    erased: tuple[float, float] = (0.15, 0.45)
    operations: int = 0
    magnitude: float = 0.0


POLICIES = {
    "none": Policy(mirror=False),
    # A crop much tighter cuts off ears, and makes training photos unlike test photos.
    "light": Policy(smallest_crop=0.85, contrast=0.25, colour=0.2),
    "standard": Policy(
        smallest_crop=0.7, contrast=0.3, colour=0.2, erasing=0.25, erased=(0.1, 0.3)
    ),
    # The paper's figures for a ResNet-50 on ImageNet: two operations of magnitude 9 of 30.
    "randaugment": Policy(smallest_crop=0.85, operations=2, magnitude=0.3),
    "identity": Policy(smallest_crop=0.75, contrast=0.3, colour=0.2, erasing=0.5),
}


def get(name: str) -> Policy:
    """Returns a named policy.

    Raises:
      ValueError: no such name; the message lists those that there are.
    """
    if name not in POLICIES:
        raise ValueError(f"unknown augmentation {name!r}; known: {', '.join(POLICIES)}")
    return POLICIES[name]


def apply(policy: str, image: Any, seed: Any) -> Any:
    """Changes one photo at random, as a policy says.

    Args:
      policy: a name in POLICIES.
      image: uint8 or float32 [side, side, 3] in [0, 255]; uint8 costs less.
      seed: int [2]; the same seed gives the same result.

    Returns:
      float32 [side, side, 3] in [0, 255].

    Raises:
      ValueError: no such policy.
    """
    import tensorflow as tf

    chosen, image = get(policy), tf.convert_to_tensor(image)
    side = int(image.shape[0])
    sizes = [3, 1, 4, 5, chosen.operations, chosen.operations]
    draws = tf.split(tf.random.stateless_uniform([sum(sizes)], seed), sizes)
    window, flip, light, rectangle, picks, signs = draws
    operations = tf.cast(picks * len(OPERATIONS), tf.int32)
    strengths = tf.sign(signs - 0.5) * chosen.magnitude
    if chosen.operations:
        image = _move_as_drawn(image, operations, strengths)
    if chosen.smallest_crop < 1:
        image = _cut_as_drawn(image, chosen.smallest_crop, window)
    if chosen.mirror:
        image = _maybe(flip[0] < 0.5, mirror, image)
    image = resize(image, side)
    for place in range(chosen.operations):
        image = _recolour_as_drawn(image, operations[place], strengths[place], chosen.magnitude)
    if chosen.contrast or chosen.colour:
        factors = 1 + (2 * light - 1) * tf.constant([chosen.contrast] + 3 * [chosen.colour])
        image = relight(image, factors[0], factors[1:])
    if chosen.erasing:
        erased = functools.partial(_erase_as_drawn, chosen.erased, rectangle[1:])
        image = _maybe(rectangle[0] < chosen.erasing, erased, image)
    return tf.ensure_shape(image, [side, side, 3])


def _maybe(condition: Any, change: Callable[[Any], Any], image: Any) -> Any:
    import tensorflow as tf

    return tf.cond(condition, lambda: change(image), lambda: image)


def mirror(image: Any) -> Any:
    """An image [side, side, 3] with its columns reversed."""
    import tensorflow as tf

    return tf.reverse(image, [1])


def resize(image: Any, side: int) -> Any:
    """An image [height, width, 3] of any type, interpolated bilinearly to float32 [side, side, 3].

    An image that has that side already keeps its pixels.
    """
    import tensorflow as tf

    if image.shape[:2] == (side, side):
        return tf.cast(image, tf.float32)
    batch = image[None]
    return tf.raw_ops.ResizeBilinear(images=batch, size=[side, side], half_pixel_centers=True)[0]


def _cut_as_drawn(image: Any, smallest: float, draws: Any) -> Any:
    """Cuts out a square of `smallest` of the side or more; `draws` are uniform [3]."""
    import tensorflow as tf

    side = image.shape[0]
    least = int(side * smallest)
    size = least + tf.cast(draws[0] * (side + 1 - least), tf.int32)
    top, left = tf.unstack(tf.cast(draws[1:] * tf.cast(side + 1 - size, tf.float32), tf.int32))
    return image[top : top + size, left : left + size]


def relight(image: Any, contrast: Any, gains: Any) -> Any:
    """Changes contrast, then colours, in one multiplication and one addition.

    Args:
      image: float32 [side, side, 3] in [0, 255].
      contrast: scalar; what each channel's difference from its mean is multiplied by. The mean is
        that of at most 16 x 16 points.
      gains: float32 [3]; what the channels are multiplied by afterwards.

    Returns:
      float32 [side, side, 3], cut to [0, 255].
    """
    import tensorflow as tf

    mean = tf.reduce_mean(resize(image, min(_SAMPLED, image.shape[0])), axis=[0, 1])
    return _affine(image, contrast * gains, (1 - contrast) * gains * mean)


def _affine(image: Any, gains: Any, offsets: Any) -> Any:
    """Each channel times its gain plus its offset, both [3], cut to [0, 255]."""
    import tensorflow as tf

    side = image.shape[0]
    rows = tf.reshape(image, [side, 3 * side])
    rows = rows * tf.tile(gains, [side]) + tf.tile(offsets, [side])
    return tf.reshape(tf.clip_by_value(rows, 0.0, 255.0), [side, side, 3])


def saturate(image: Any, factor: Any) -> Any:
    """Multiplies every pixel's difference from its own luma; 0 makes the photo grey.

    Args:
      image: float32 [side, side, 3] in [0, 255].
      factor: scalar.

    Returns:
      float32 [side, side, 3], cut to [0, 255].
    """
    import tensorflow as tf

    side = image.shape[0]
    matrix = factor * tf.eye(3) + (1 - factor) * tf.constant([_LUMA] * 3, tf.float32)
    mixed = tf.matmul(tf.reshape(image, [-1, 3]), matrix, transpose_b=True)
    return tf.reshape(tf.clip_by_value(mixed, 0.0, 255.0), [side, side, 3])


def posterize(image: Any, lost_bits: int) -> Any:
    """Sets the lowest bits of every number of a float32 image to 0."""
    import tensorflow as tf

    step = 2.0**lost_bits
    return tf.floor(image * (1 / step)) * step


def solarize(image: Any, threshold: float) -> Any:
    """Turns every number x of a float32 image that is `threshold` or more into 255 - x.

    From one less on it does so gradually: a choice between two numbers for each number of a photo
    takes longer than everything else that a policy does.
    """
    import tensorflow as tf

    turned = tf.clip_by_value(image - (threshold - 1), 0.0, 1.0)
    return image + turned * (255.0 - 2 * image)


def autocontrast(image: Any) -> Any:
    """Stretches every channel of float32 [side, side, 3] to [0, 255]; a flat one stays as it is."""
    import tensorflow as tf

    side = image.shape[0]
    rows = tf.reshape(image, [side, 3 * side])
    least = tf.reduce_min(tf.reshape(tf.reduce_min(rows, axis=0), [side, 3]), axis=0)
    most = tf.reduce_max(tf.reshape(tf.reduce_max(rows, axis=0), [side, 3]), axis=0)
    flat = most - least < 1
    gains = tf.where(flat, 1.0, 255 / tf.maximum(most - least, 1.0))
    return _affine(image, gains, tf.where(flat, 0.0, -least * gains))


def move(image: Any, turn: Any, shears: Any, shifts: Any) -> Any:
    """Turns, shears and shifts an image about its centre, by looking up the nearest pixels.

    Args:
      image: uint8 or float32 [side, side, 3].
      turn: scalar, radians.
      shears: [2]; slope along x for each row, and along y for each column.
      shifts: [2]; along x and y, shares of the side.

    Returns:
      As `image`: the pixel at p, counted from the centre as (x, y), shows what was at
      R(turn) [[1, shear_x], [shear_y, 1]] p + shift, or mid grey where nothing was.
    """
    import tensorflow as tf

    side = int(image.shape[0])
    cos, sin, centre = tf.cos(turn), tf.sin(turn), (side - 1) / 2
    line = tf.range(side, dtype=tf.float32) - centre
    x = (cos - sin * shears[1]) * line + (cos * shears[0] - sin) * line[:, None]
    y = (sin + cos * shears[1]) * line + (sin * shears[0] + cos) * line[:, None]
    column = tf.cast(tf.floor(x + (shifts[0] * side + centre + 0.5)), tf.int32)
    row = tf.cast(tf.floor(y + (shifts[1] * side + centre + 0.5)), tf.int32)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    grey = tf.cast(tf.fill([1, 3], pixels.PAD), image.dtype)
    colours = tf.concat([tf.reshape(image, [-1, 3]), grey], axis=0)
    return tf.gather(colours, tf.where(inside, row * side + column, side * side))


def _move_as_drawn(image: Any, operations: Any, strengths: Any) -> Any:
    """Does those of the drawn operations that move pixels: all of them together, or nothing."""
    import tensorflow as tf

    places = tf.one_hot(operations - OPERATIONS.index("rotate"), len(_WIDEST))
    amounts = tf.reduce_sum(places * strengths[:, None], axis=0) * list(_WIDEST.values())
    return _maybe(
        tf.reduce_any(amounts != 0),
        lambda still: move(still, amounts[0], amounts[1:3], amounts[3:]),
        image,
    )


def _recolour_as_drawn(image: Any, operation: Any, strength: Any, magnitude: float) -> Any:
    """Does a drawn operation if it is one of colour; `strength` is plus or minus `magnitude`."""
    import tensorflow as tf

    factor, ones = 1 + strength * _WIDEST_FACTOR, tf.ones([3])
    changes = {
        "brightness": lambda: relight(image, 1.0, factor * ones),
        "contrast": lambda: relight(image, factor, ones),
        "saturation": lambda: saturate(image, factor),
        "posterize": lambda: posterize(image, round(_MOST_BITS_LOST * magnitude)),
        "solarize": lambda: solarize(image, 256 * (1 - magnitude)),
        "autocontrast": lambda: autocontrast(image),
    }
    branches = [changes.get(name, lambda: image) for name in OPERATIONS]
    return tf.switch_case(operation, branches)


def erase(image: Any, top: Any, left: Any, height: Any, width: Any) -> Any:
    """Fills a rectangle of float32 [side, side, 3], given in pixels as int32, with mid grey."""
    import tensorflow as tf

    patch = tf.fill([1, height, 3 * width], float(pixels.PAD))
    return _paste(image[None], patch, top, left)[0]


def _erase_as_drawn(sides: tuple[float, float], draws: Any, image: Any) -> Any:
    """Erases a rectangle whose sides are between two shares; `draws` are uniform [4]."""
    import tensorflow as tf

    side, (least, most) = image.shape[0], sides
    size = tf.cast((least + (most - least) * draws[:2]) * side, tf.int32)
    corner = tf.cast(draws[2:] * tf.cast(side + 1 - size, tf.float32), tf.int32)
    return erase(image, corner[0], corner[1], size[0], size[1])


def _paste(images: Any, patch: Any, top: Any, left: Any) -> Any:
    """Puts `patch` [N, height, width * 3] into images [N, side, side, 3], by copying rows."""
    import tensorflow as tf

    side, shape = images.shape[1], tf.shape(patch)
    rows = tf.reshape(images, [-1, side, 3 * side])
    bottom, start, end = top + shape[1], 3 * left, 3 * left + shape[2]
    band = rows[:, top:bottom]
    band = tf.concat([band[..., :start], patch, band[..., end:]], axis=2)
    rows = tf.concat([rows[:, :top], band, rows[:, bottom:]], axis=1)
    return tf.ensure_shape(tf.reshape(rows, tf.shape(images)), images.shape)


def check_mix(kind: str) -> None:
    """Sees that a way of mixing is one.

    Raises:
      ValueError: no such name; the message lists those that there are.
    """
    if kind not in MIXES:
        raise ValueError(f"unknown mixing of photos {kind!r}; known: {', '.join(MIXES)}")


def mix(kind: str, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
    """Mixes every photo of a batch with the one before it, and their targets likewise.

    Args:
      kind: a name in MIXES; "both" takes one of the two for each batch.
      images: float32 [N, side, side, 3].
      targets: float32 [N, C].
      seed: int [2]; the same seed gives the same result.

    Returns:
      images and targets, of the same shapes and types.

    Raises:
      ValueError: no such kind.
    """
    import tensorflow as tf

    check_mix(kind)
    seeds = tf.unstack(tf.random.split(seed, 3))

    def mixed_up() -> tuple[Any, Any]:
        return mixup(images, targets, _beta(_MIXUP_ALPHA, seeds[0]))

    def cut_and_mixed() -> tuple[Any, Any]:
        centre = tf.random.stateless_uniform([2], seeds[1])
        return cutmix(images, targets, _beta(_CUTMIX_ALPHA, seeds[0]), centre)

    if kind == "none":
        return images, targets
    if kind == "both":
        heads = tf.random.stateless_uniform([], seeds[2]) < 0.5
        return tf.cond(heads, mixed_up, cut_and_mixed)
    return mixed_up() if kind == "mixup" else cut_and_mixed()


def _beta(alpha: float, seed: Any) -> Any:
    """A number of the distribution Beta(alpha, alpha)."""
    import tensorflow as tf

    first, second = tf.unstack(tf.random.stateless_gamma([2], seed, alpha))
    return tf.math.divide_no_nan(first, first + second)


def mixup(images: Any, targets: Any, share: Any) -> tuple[Any, Any]:
    """Fades the photo before each into it (arXiv:1710.09412).

    Args:
      images: float32 [N, side, side, 3].
      targets: float32 [N, C].
      share: scalar in [0, 1]; how much remains of each photo and of its target.

    Returns:
      images and targets, of the same shapes.
    """
    return _faded(images, share), _faded(targets, share)


def _faded(values: Any, share: Any) -> Any:
    import tensorflow as tf

    return values * share + tf.roll(values, 1, axis=0) * (1 - share)


def cutmix(images: Any, targets: Any, share: Any, centre: Any) -> tuple[Any, Any]:
    """Pastes a part of the photo before each over the same part of it (arXiv:1905.04899).

    Args:
      images: float32 [N, side, side, 3].
      targets: float32 [N, C].
      share: scalar in [0, 1]; how much of the area remains, if the part does not leave the frame.
      centre: float32 [2], of the part (y, x), as shares of the side.

    Returns:
      images and targets, of the same shapes; the targets by the area that really was pasted.
    """
    import tensorflow as tf

    side = images.shape[1]
    middle = tf.cast(centre * side, tf.int32)
    half = tf.cast(tf.sqrt(1 - share) * side / 2, tf.int32)
    first, last = tf.maximum(middle - half, 0), tf.minimum(middle + half, side)
    size = last - first
    part = images[:, first[0] : last[0], first[1] : last[1]]
    patch = tf.reshape(tf.roll(part, 1, axis=0), [tf.shape(images)[0], size[0], 3 * size[1]])
    pasted = tf.cast(size[0] * size[1], tf.float32) / side**2
    return _paste(images, patch, first[0], first[1]), _faded(targets, 1 - pasted)
