"""Where the dogs of the sample data set stand: grounds, clutter, shadows and light.

Everything here depends on the photo's own random numbers and on nothing about the dog.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from components.sources.sample.dogs import Colour
from components.sources.sample.drawing import SUPERSAMPLING

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Placed:
    """A drawn dog and where its top left corner goes, in supersampled pixels."""

    sprite: Image.Image
    left: int
    top: int


def photograph(placed: Sequence[Placed], frame: Size, rng: random.Random) -> Image.Image:
    """The dogs in a scene of their own, in the light of the day, `frame` pixels large."""
    width, height = (side * SUPERSAMPLING for side in frame)
    scene = _scene((width, height), rng)
    for it in placed:
        _cast_shadow(scene, it)
    for it in placed:
        scene.paste(it.sprite, (it.left, it.top), it.sprite)
    return _lit(scene.reduce(SUPERSAMPLING), rng)


def _cast_shadow(scene: Image.Image, placed: Placed) -> None:
    width, flat = placed.sprite.width, max(placed.sprite.width // 9, 4)
    shade = Image.new("L", (width + 4 * flat, 4 * flat))
    ImageDraw.Draw(shade).ellipse((2 * flat, flat, 2 * flat + width, 3 * flat), fill=120)
    shade = shade.filter(ImageFilter.BoxBlur(flat / 2))
    corner = (placed.left - 2 * flat, placed.top + placed.sprite.height - 5 * flat // 2)
    scene.paste((24, 22, 28), (*corner, corner[0] + shade.width, corner[1] + shade.height), shade)


_Painter = Callable[[ImageDraw.ImageDraw, Size, int, random.Random], None]
"""Paints one thing into a scene of a size, whose horizon is at a height."""


@dataclass(frozen=True)
class _Setting:
    """A kind of place: colours from far to near, and what lies about there."""

    far: tuple[Colour, Colour]
    """Sky or wall: at the top of the frame and at the horizon."""
    near: tuple[Colour, Colour]
    """Ground: at the horizon and at the bottom of the frame."""
    grain: int
    """Contrast of the ground's texture, in grey levels."""
    clutter: tuple[_Painter, ...]


def _scene(size: Size, rng: random.Random) -> Image.Image:
    setting = rng.choice(_SETTINGS)
    horizon = round(size[1] * rng.uniform(0.25, 0.6))
    scene = Image.new("RGB", size)
    scene.paste(_gradient((size[0], horizon), _tinted(setting.far, rng)), (0, 0))
    ground = _gradient((size[0], size[1] - horizon), _tinted(setting.near, rng))
    scene.paste(_grainy(ground, setting.grain, rng), (0, horizon))
    brush = ImageDraw.Draw(scene)
    for painter in setting.clutter:
        painter(brush, size, horizon, rng)
    for painter in rng.choices((_ball, _box_of_card, _post, _puddle), k=rng.randint(0, 3)):
        painter(brush, size, horizon, rng)
    return scene


def _tinted(colours: tuple[Colour, Colour], rng: random.Random) -> tuple[Colour, Colour]:
    """Both colours moved the same way, so that no two places of a kind look the same."""
    lighter = rng.randint(-20, 20)
    shift = [lighter + rng.randint(-8, 8) for _ in range(3)]
    first, second = (
        tuple(min(255, max(0, value + move)) for value, move in zip(colour, shift, strict=True))
        for colour in colours
    )
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def _gradient(size: Size, colours: tuple[Colour, Colour]) -> Image.Image:
    """From the first colour at the top to the second at the bottom."""
    column = np.linspace(colours[0], colours[1], size[1])[:, None, :]
    return Image.fromarray(column.astype(np.uint8)).resize(size)


def _grainy(ground: Image.Image, contrast: int, rng: random.Random) -> Image.Image:
    """The ground with a texture stretched sideways, as ground seen at a low angle."""
    width, height = ground.size
    columns, rows = width // 6, height // 3
    noise = Image.frombytes("L", (columns, rows), rng.randbytes(columns * rows))
    darkening = noise.point([255 - contrast * level // 255 for level in range(256)])
    texture = darkening.resize(ground.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(ground, Image.merge("RGB", (texture,) * 3))


def _any_colour(rng: random.Random) -> Colour:
    """Muted, as most things outdoors and in rooms are."""
    grey = rng.randint(60, 210)
    red, green, blue = (grey + rng.randint(-40, 40) for _ in range(3))
    return red, green, blue


def _on_ground(size: Size, horizon: int, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(size[0]), rng.randrange(horizon, size[1])


def _ball(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x, y = _on_ground(size, horizon, rng)
    radius = rng.randint(6, 16)
    brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_any_colour(rng))
    brush.arc((x - radius, y - radius, x + radius, y + radius), 20, 150, (30, 30, 30), 2)


def _box_of_card(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x, width, height = rng.randrange(size[0]), rng.randint(30, 80), rng.randint(25, 80)
    base = min(horizon + rng.randint(4, 30), size[1])
    brush.rectangle(
        (x, base - height, x + width, base), fill=_any_colour(rng), outline=(60, 55, 50)
    )
    brush.line((x, base - height // 2, x + width, base - height // 2), fill=(70, 62, 55))


def _post(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x, width = rng.randrange(size[0]), rng.randint(5, 14)
    brush.rectangle((x, 0, x + width, horizon + rng.randint(2, 20)), fill=_any_colour(rng))


def _puddle(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x, y = _on_ground(size, horizon, rng)
    wide = rng.randint(20, 70)
    brush.ellipse((x - wide, y - wide // 5, x + wide, y + wide // 5), fill=_any_colour(rng))


def _trees(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 5)):
        x, radius = rng.randrange(size[0]), rng.randint(18, 48)
        top = horizon - rng.randint(20, 70)
        brush.rectangle((x - 4, top, x + 4, horizon + 4), fill=(88, 66, 48))
        green = (rng.randint(40, 90), rng.randint(85, 135), rng.randint(40, 80))
        brush.ellipse((x - radius, top - radius, x + radius, top + radius), fill=green)


def _blades(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    for _ in range(120):
        x, y = _on_ground(size, horizon, rng)
        shade = rng.randint(-25, 25)
        colour = (86 + shade, 132 + shade, 62 + shade)
        brush.line((x, y, x + rng.randint(-3, 3), y - rng.randint(4, 10)), fill=colour)


def _houses(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x = -rng.randrange(60)
    while x < size[0]:
        width, height = rng.randint(60, 130), rng.randint(40, 140)
        brush.rectangle((x, horizon - height, x + width, horizon), fill=_any_colour(rng))
        for left in range(x + 10, x + width - 20, 28):
            brush.rectangle(
                (left, horizon - height + 12, left + 13, horizon - height + 32), "#34414f"
            )
        x += width


def _slabs(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    middle, apart = rng.randrange(size[0]), rng.randint(40, 80)
    joint = (112, 108, 104)
    for index in range(-8, 9):
        ends = (middle + index * apart // 2, horizon, middle + index * apart * 2, size[1])
        brush.line(ends, fill=joint, width=2)
    for share in (0.12, 0.3, 0.58, 0.9):
        y = horizon + round(share * (size[1] - horizon))
        brush.line((0, y, size[0], y), fill=joint, width=2)


def _boards(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    brush.rectangle((0, horizon - 10, size[0], horizon), fill=(232, 226, 216))
    _slabs(brush, size, horizon + rng.randint(1, 3), rng)


def _furniture(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    x, width, height = rng.randrange(-40, size[0]), rng.randint(90, 170), rng.randint(45, 80)
    colour = _any_colour(rng)
    brush.rounded_rectangle((x, horizon - height, x + width, horizon + 12), 12, fill=colour)
    left, top = rng.randrange(size[0]), rng.randint(4, 20)
    wide = rng.randint(40, 80)
    brush.rectangle((left, top, left + wide, top + 45), _any_colour(rng), (90, 70, 50), 4)
    brush.ellipse((left + 8, top + 10, left + wide - 8, top + 36), fill=_any_colour(rng))


def _sea(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    depth = rng.randint(14, 40)
    blue = (rng.randint(30, 80), rng.randint(110, 150), rng.randint(150, 190))
    brush.rectangle((0, horizon - depth, size[0], horizon), fill=blue)
    for _ in range(12):
        x, y = rng.randrange(size[0]), horizon - rng.randrange(depth)
        brush.line((x, y, x + rng.randint(15, 50), y), fill=(214, 228, 232), width=2)
    brush.line((0, horizon, size[0], horizon), fill=(240, 244, 240), width=5)


def _drifts(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    for _ in range(6):
        x, y = _on_ground(size, horizon, rng)
        wide = rng.randint(40, 120)
        brush.chord((x - wide, y - wide // 4, x + wide, y + wide // 4), 180, 360, (244, 247, 250))


def _firs(brush: ImageDraw.ImageDraw, size: Size, horizon: int, rng: random.Random) -> None:
    for _ in range(rng.randint(2, 7)):
        x, height = rng.randrange(size[0]), rng.randint(40, 110)
        green = (rng.randint(30, 60), rng.randint(70, 100), rng.randint(55, 85))
        crown = [(x, horizon - height), (x - height // 3, horizon), (x + height // 3, horizon)]
        brush.polygon(crown, fill=green)


_SETTINGS = (
    _Setting(
        ((120, 172, 222), (206, 222, 232)), ((126, 164, 90), (92, 138, 62)), 70, (_trees, _blades)
    ),
    _Setting(
        ((168, 184, 204), (214, 214, 212)),
        ((150, 146, 142), (172, 168, 162)),
        50,
        (_houses, _slabs),
    ),
    _Setting(
        ((206, 190, 166), (222, 208, 186)),
        ((150, 108, 74), (178, 132, 92)),
        36,
        (_furniture, _boards),
    ),
    _Setting(((104, 170, 220), (198, 224, 236)), ((214, 194, 150), (226, 208, 166)), 44, (_sea,)),
    _Setting(
        ((164, 182, 206), (222, 228, 236)), ((212, 220, 230), (232, 236, 242)), 26, (_firs, _drifts)
    ),
)
"""Grass, pavement, room, beach, snow."""


def _lit(photo: Image.Image, rng: random.Random) -> Image.Image:
    """The photo under its own light: exposure, warmth, a shade across it, noise, a little blur."""
    if rng.random() < 0.3:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7)))
    warmth = rng.uniform(-0.08, 0.08)
    light = rng.uniform(0.8, 1.15) * np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    noise = np.random.default_rng(rng.getrandbits(64))
    pixels = np.asarray(photo, np.float32) * light * _shade(photo.size, rng)
    grain = noise.standard_normal((photo.height, photo.width, 1), np.float32)
    pixels += rng.uniform(0, 6) * grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _shade(size: Size, rng: random.Random) -> NDArray[np.float32]:
    """[height, width, 1] factors up to 1 that fall off evenly in some direction."""
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.3)
    across = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)[None, :] * math.cos(angle)
    down = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)[:, None] * math.sin(angle)
    factors = 1 - depth * (0.5 + (across + down) / math.sqrt(2))
    return factors[:, :, None].astype(np.float32)
