"""How a dog of the sample data set is drawn: its outline in a pose, and the paint on it.

Body coordinates look at the dog from its right-hand side: x grows towards the nose, y grows
downwards, the origin is the middle of the torso. Head coordinates have their origin in the middle
of the skull and the skull's radius as unit. A dog that faces left is a mirrored one.
"""

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from components.sources.sample.dogs import Blob, Breed, Coat, Colour, Dog, TailShape, rng_of

SUPERSAMPLING = 2
"""Pixels drawn per pixel kept, along each axis."""

Points = NDArray[np.float64]
"""[n, 2] x and y of a polyline or polygon."""

_WHITE: Colour = (246, 243, 236)
_INSIDE_EAR: Colour = (205, 150, 140)
_EYE: Colour = (30, 20, 16)
_NOSE: Colour = (28, 24, 26)


@dataclass(frozen=True)
class Pose:
    """How a dog stands in one photo. Angles in degrees."""

    facing: Literal[-1, 1]
    """1 looks to the right of the photo, -1 to the left."""
    phase: float
    """Where in the stride the legs are, in radians."""
    stride: float
    """Largest swing of a leg."""
    neck: float
    nod: float
    wag: float
    tilt: float
    """Rotation of the whole dog, as from a camera not held level."""
    squeeze: float
    """Shortening of the dog's length by a turn towards the camera."""


@dataclass(frozen=True)
class Part:
    """Something painted in one go, in body coordinates."""

    shapes: tuple[Points, ...]
    """Polygons whose union the part covers."""
    colour: Colour
    markings: tuple[tuple[Points, Colour], ...] = ()
    """Polygons painted over the colour, in this order, inside the union only."""
    edged: bool = True
    """Whether a thin darker line sets the part off from what lies behind it."""


def make_pose(rng: random.Random) -> Pose:
    """A pose that depends on neither the dog nor the breed."""
    return Pose(
        facing=rng.choice((-1, 1)),
        phase=rng.uniform(0, 2 * math.pi),
        stride=rng.uniform(4, 24),
        neck=rng.uniform(-26, 14),
        nod=rng.uniform(-14, 18),
        wag=rng.uniform(-14, 14),
        tilt=rng.uniform(-5, 5),
        squeeze=rng.uniform(0.86, 1.0),
    )


def draw_dog(dog: Dog, pose: Pose, size: float) -> Image.Image:
    """The dog alone: RGBA, cropped to its silhouette, at `SUPERSAMPLING` times its size.

    Args:
        dog: who is drawn.
        pose: how it stands.
        size: longer side of the silhouette in pixels of the finished photo, about.

    Returns:
        An image whose opaque pixels are the dog; its bounding box is the whole image.
    """
    parts = _parts(dog, pose)
    corner, scale = _fit(parts, size * SUPERSAMPLING)
    painted = _paint(parts, corner, scale)
    finished = _with_fur(_with_relief(painted, scale), dog.breed.coat, rng_of(f"{dog.name}/fur"))
    return finished.crop(finished.getbbox())


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = (round(channel * factor) for channel in colour)
    return red, green, blue


def _blob_outline(blob: Blob) -> Points:
    """[n, 2] closed polygon in the coordinates of the part that carries the marking."""
    angles = np.linspace(0, 2 * math.pi, len(blob.rim), endpoint=False)
    radii = np.array(blob.rim)
    x = blob.x + blob.width * radii * np.cos(angles)
    y = blob.y + blob.height * radii * np.sin(angles)
    return _smooth(np.column_stack([x, y]), closed=True)


def _smooth(points: Points, *, closed: bool, steps: int = 6) -> Points:
    """A Catmull-Rom curve through the points, `steps` samples for each of its spans."""
    before, after = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate([before, points, after])
    p0, p1, p2, p3 = (padded[k : len(padded) - 3 + k, None, :] for k in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    spans: Points = curve.reshape(-1, 2)
    return spans if closed else np.concatenate([spans, points[-1:]])


def _ellipse(x: float, y: float, width: float, height: float) -> Points:
    angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    return np.column_stack([x + width * np.cos(angles), y + height * np.sin(angles)])


def _limb(points: Points, widths: Sequence[float]) -> Points:
    """The polygon round a curve through `points` that is `widths` wide at each of them."""
    curve = _smooth(points, closed=False)
    along = np.linspace(0, len(widths) - 1, len(curve))
    half = np.interp(along, np.arange(len(widths)), widths)[:, None] / 2
    normal = _normals(curve)
    return np.concatenate([curve + half * normal, (curve - half * normal)[::-1]])


def _normals(curve: Points) -> Points:
    """[n, 2] unit vectors to the left of the way along the curve."""
    ahead = np.gradient(curve, axis=0)
    length = np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    return np.asarray(np.column_stack([ahead[:, 1], -ahead[:, 0]]) / length)


def _resampled(outline: Points, spacing: float) -> Points:
    """Points at even steps along a closed polygon."""
    closed = np.concatenate([outline, outline[:1]])
    steps = np.diff(closed, axis=0)
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    at = np.linspace(0, walked[-1], max(8, int(walked[-1] / spacing)), endpoint=False)
    return np.column_stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)])


def _furred(outline: Points, coat: Coat, rng: random.Random) -> Points:
    """The outline with the coat's tufts or curls standing off it."""
    if coat == "smooth":
        return outline
    spacing, height = {"dense": (2.2, 1.6), "shaggy": (2.6, 3.6), "curly": (1.6, 2.0)}[coat]
    even = _resampled(outline, spacing)
    if coat == "curly":
        rise = np.abs(np.sin(np.arange(len(even)) * math.pi / 5)) * height
    else:
        rise = np.array([rng.uniform(0.3, 1) * (k % 2) * height for k in range(len(even))])
    return np.asarray(even + rise[:, None] * _outward(even))


def _outward(outline: Points) -> Points:
    """[n, 2] unit vectors that leave a closed polygon, whichever way round it runs."""
    x, y = outline.T
    area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    return _normals(outline) * (1 if area > 0 else -1)


def _turned(points: Points, degrees: float) -> Points:
    """Rotated about the origin; a positive angle lifts what lies ahead."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cos, -sin], [sin, cos]]))


def _parts(dog: Dog, pose: Pose) -> list[Part]:
    """The whole dog from back to front, posed, in body units."""
    rng = rng_of(f"{dog.name}/outline")
    far_legs = [_leg(dog, pose, index, rng) for index in (0, 1)]
    near_legs = [_leg(dog, pose, index, rng) for index in (2, 3)]
    parts = [*far_legs, _tail(dog, pose, rng), *near_legs, _trunk(dog, pose, rng)]
    parts += _head(dog, pose, rng)
    return [_posed(part, pose) for part in parts]


def _posed(part: Part, pose: Pose) -> Part:
    """The part turned, squeezed and mirrored as the whole dog is."""
    scale = np.array([pose.facing * pose.squeeze, 1.0])

    def place(points: Points) -> Points:
        return np.asarray(_turned(points, pose.tilt) * scale)

    return Part(
        tuple(place(shape) for shape in part.shapes),
        part.colour,
        tuple((place(shape), colour) for shape, colour in part.markings),
        part.edged,
    )


def _half_size(dog: Dog) -> Points:
    """[2] half the torso's length and depth."""
    return np.array([dog.breed.length * dog.stretch, dog.breed.depth]) / 2


def _torso(dog: Dog) -> Points:
    """The torso's outline from the rump along the back, down the chest and along the belly."""
    rise = dog.breed.tuck
    outline = [
        (-1.0, -0.62), (-0.5, -0.9), (0.1, -0.86), (0.7, -1.0), (1.03, -0.5), (1.06, 0.05),
        (0.8, 0.8), (0.35, 1.0 - 0.1 * rise), (-0.2, 0.9 - 0.7 * rise), (-0.5, 0.78 - 0.75 * rise),
        (-0.78, 0.75 - 0.35 * rise), (-1.06, 0.3 - 0.1 * rise), (-1.12, -0.2),
    ]  # fmt: skip
    return _smooth(np.array(outline), closed=True) * _half_size(dog)


def _neck_line(dog: Dog, pose: Pose) -> Points:
    """[2, 2] where the neck leaves the torso, and the middle of the skull."""
    start = _half_size(dog) * np.array([0.72, -0.35])
    reach = np.array([[dog.breed.neck + 0.25 * dog.breed.depth, 0.0]])
    return np.concatenate(
        [start[None], start + _turned(reach, dog.breed.neck_angle + 0.7 * pose.neck)]
    )


def _trunk(dog: Dog, pose: Pose, rng: random.Random) -> Part:
    """Torso and neck as one part, so that markings run on from one to the other."""
    line = _neck_line(dog, pose)
    neck = _limb(line, (0.85 * dog.breed.depth, dog.breed.neck_width))
    shapes = tuple(_furred(shape, dog.breed.coat, rng) for shape in (_torso(dog), neck))
    markings = tuple((_blob_outline(blob) * _half_size(dog), blob.colour) for blob in dog.body)
    return Part(shapes, dog.colour, markings)


def _leg(dog: Dog, pose: Pose, index: int, rng: random.Random) -> Part:
    """One leg; index 0 and 1 are the far hind and fore leg, 2 and 3 the near ones."""
    breed, fore, near = dog.breed, index % 2 == 1, index >= 2
    line = _leg_line(dog, fore=fore)
    swing = pose.stride * math.sin(pose.phase + (math.pi if fore == near else 0.0))
    nudge = np.array([0.0 if near else 0.09 * breed.length, 0.0])
    hip = _half_size(dog) * np.array([0.62 if fore else -0.72, 0.1]) + nudge * (-1 if fore else 1)
    top = 1.6 if fore else 2.3
    widths = tuple(breed.bone * wide for wide in (top, 0.75 * top, breed.cuff, 0.95))
    shape = _furred(_turned(_limb(line, widths), swing) + hip, breed.coat, rng)
    paw = _turned(line[-1:], swing)[0] + hip + np.array([0.3 * breed.bone, -0.2 * breed.bone])
    foot = _ellipse(paw[0], paw[1], 0.85 * breed.bone, 0.5 * breed.bone)
    light = 1.0 if near else 0.78
    share, colour = dog.socks[index]
    sock = _sock_shape(line, share, 1.5 * max(breed.cuff, 1) * breed.bone)
    markings = ((_turned(sock, swing) + hip, _darker(colour, light)),) if share else ()
    return Part((shape, foot), _darker(dog.colour, light), markings)


def _leg_line(dog: Dog, *, fore: bool) -> Points:
    """[4, 2] hip, knee, hock and foot of a leg that hangs straight, from its hip."""
    height = 0.45 * dog.breed.depth + dog.breed.leg * dog.stretch
    if fore:
        return np.array([(0, 0), (-0.05, 0.45), (0.0, 0.78), (0.0, 1.0)]) * height
    return np.array([(0, 0), (0.1, 0.42), (-0.13, 0.74), (-0.08, 1.0)]) * height


def _sock_shape(line: Points, share: float, width: float) -> Points:
    """A polygon that covers the lowest `share` of a leg, wide enough to cover its paw."""
    height = line[-1, 1]
    top = (1 - share) * height
    left, right = line[:, 0].min() - width, line[:, 0].max() + 1.5 * width
    return np.array([(left, top), (right, top), (right, 1.2 * height), (left, 1.2 * height)])


_TAILS: dict[TailShape, tuple[tuple[tuple[float, float], ...], tuple[float, ...]]] = {
    "sabre": (((0, 0), (-0.14, -0.12), (-0.22, -0.36), (-0.18, -0.55)), (0.12, 0.11, 0.1, 0.05)),
    "plumed": (((0, 0), (-0.16, -0.02), (-0.31, -0.06), (-0.44, -0.24)), (0.1, 0.19, 0.25, 0.06)),
    "curled": (
        ((0, 0), (-0.15, -0.14), (-0.12, -0.36), (0.08, -0.44), (0.2, -0.28), (0.12, -0.14)),
        (0.14, 0.19, 0.22, 0.22, 0.19, 0.08),
    ),
    "docked": (((0, 0), (-0.07, -0.04), (-0.11, -0.07)), (0.11, 0.1, 0.06)),
    "whip": (((0, 0), (-0.14, 0.1), (-0.22, 0.34), (-0.36, 0.42)), (0.07, 0.06, 0.05, 0.03)),
    "pompon": (((0, 0), (-0.06, -0.15), (-0.1, -0.32), (-0.11, -0.44)), (0.07, 0.07, 0.2, 0.2)),
}
"""Middle line from the root, and width along it, both in torso lengths."""


def _tail(dog: Dog, pose: Pose, rng: random.Random) -> Part:
    middle, widths = _TAILS[dog.breed.tail]
    length = dog.breed.length
    root = _half_size(dog) * np.array([-0.98, -0.5])
    line = _turned(np.array(middle), pose.wag) * length
    wide = [width * length for width in widths]
    shape = _furred(_limb(line, wide) + root, dog.breed.coat, rng)
    end = line[-1] + root
    cap = _ellipse(end[0], end[1], 0.5 * wide[-1], 0.5 * wide[-1])
    return Part((shape, cap), dog.colour, _tail_tip(dog, line + root, wide))


def _tail_tip(dog: Dog, line: Points, widths: Sequence[float]) -> tuple[tuple[Points, Colour], ...]:
    share, colour = dog.tail_tip
    if not share:
        return ()
    curve = _smooth(line, closed=False)
    tip = curve[min(round((1 - share) * len(curve)), len(curve) - 2) :]
    wide = max(widths) + 4
    beyond = tip[-1] + (tip[-1] - tip[-2]) / np.linalg.norm(tip[-1] - tip[-2]) * wide / 2
    return ((_limb(np.concatenate([tip, beyond[None]]), (wide,) * (len(tip) + 1)), colour),)


def _head(dog: Dog, pose: Pose, rng: random.Random) -> list[Part]:
    """Far ear, skull with muzzle, near ear, eye and nose."""
    breed = dog.breed
    middle = _neck_line(dog, pose)[1]

    def place(points: Points) -> Points:
        turned = _turned(points, 0.45 * pose.neck + pose.nod - 12)
        return np.asarray(turned * breed.head + middle)

    near, far = dog.ears
    ear = _ear(breed)
    coat: Coat = breed.coat if breed.ear == "floppy" else "smooth"
    skull = _furred(place(_skull(breed)), "dense" if breed.coat == "shaggy" else breed.coat, rng)
    far_ear = place(ear + np.array([0.42, -0.06]))
    near_ear = _furred(place(ear), coat, rng)
    inside = (place(_inner_ear(ear)), _INSIDE_EAR)
    tip = 0.8 + breed.muzzle
    return [
        Part((far_ear,), _darker(far, 0.78)),
        Part(
            (skull,),
            dog.colour,
            tuple((place(_blob_outline(blob)), blob.colour) for blob in dog.head),
        ),
        Part((near_ear,), near, (inside,) if breed.ear == "pricked" else ()),
        Part((place(_ellipse(0.5, -0.28, 0.19, 0.19)),), _WHITE, edged=False),
        Part((place(_ellipse(0.52, -0.27, 0.15, 0.16)),), _EYE, edged=False),
        Part((place(_ellipse(tip + 0.03, -0.03, 0.2, 0.17)),), _NOSE, edged=False),
    ]


def _skull(breed: Breed) -> Points:
    """Outline of skull and muzzle in head coordinates."""
    tip, deep = 0.8 + breed.muzzle, breed.muzzle_depth
    outline = [
        (-0.98, 0.05), (-0.72, -0.7), (0.0, -1.0 - breed.topknot), (0.6, -0.75),
        (0.88, -0.34), (tip, -0.18), (tip + 0.14, 0.05), (tip - 0.08, 0.1 + 0.7 * deep),
        (0.75, 0.3 + 0.6 * deep), (0.1, 0.9), (-0.6, 0.78),
    ]  # fmt: skip
    return _smooth(np.array(outline), closed=True)


def _ear(breed: Breed) -> Points:
    """Outline of the near ear in head coordinates."""
    long = breed.ear_length
    if breed.ear == "floppy":
        outline = [
            (-0.45, -0.75), (0.0, -0.6), (0.1, 0.1), (0.0, 0.2 + 0.7 * long),
            (-0.4, 0.3 + 0.75 * long), (-0.75, 0.1 + 0.6 * long), (-0.75, -0.3),
        ]  # fmt: skip
    elif breed.ear == "pricked":
        outline = [
            (-0.8, -0.35), (-0.75, -0.8 - 0.4 * long), (-0.5, -0.9 - long),
            (-0.2, -0.9 - 0.5 * long), (0.1, -0.75), (-0.3, -0.4),
        ]  # fmt: skip
    else:
        outline = [
            (-0.05, -0.7), (-0.5, -0.95), (-1.0, -0.85), (-1.0 - 0.45 * long, -0.35),
            (-0.85, -0.2), (-0.4, -0.2),
        ]  # fmt: skip
    return _smooth(np.array(outline), closed=True)


def _inner_ear(ear: Points) -> Points:
    middle = ear.mean(axis=0)
    return np.asarray(middle + (ear - middle) * np.array([0.4, 0.6]))


def _fit(parts: Sequence[Part], longest: float) -> tuple[Points, float]:
    """Top left corner in body units, and pixels a unit that make the longer side `longest`."""
    points = np.concatenate([shape for part in parts for shape in part.shapes])
    low, high = points.min(axis=0), points.max(axis=0)
    return low, longest / float((high - low).max())


def _paint(parts: Sequence[Part], corner: Points, scale: float) -> Image.Image:
    """Paint the parts over each other on a clear canvas, with a margin for blurring."""
    margin = 8
    points = np.concatenate([shape for part in parts for shape in part.shapes])
    width, height = np.ceil((points.max(axis=0) - corner) * scale).astype(int) + 2 * margin
    canvas = Image.new("RGBA", (int(width), int(height)))

    def pixels(shape: Points) -> list[float]:
        flat: list[float] = ((shape - corner) * scale + margin).ravel().tolist()
        return flat

    for part in parts:
        _paint_part(canvas, part, pixels)
    return canvas


def _paint_part(canvas: Image.Image, part: Part, pixels: Callable[[Points], list[float]]) -> None:
    outlines = [pixels(shape) for shape in part.shapes]
    if part.edged:
        pen = ImageDraw.Draw(canvas)
        for outline in outlines:
            pen.line(outline + outline[:4], fill=(*_darker(part.colour, 0.55), 255), width=3)
    inside = Image.new("L", canvas.size)
    mask, layer = ImageDraw.Draw(inside), Image.new("RGB", canvas.size, part.colour)
    for outline in outlines:
        mask.polygon(outline, fill=255)
    brush = ImageDraw.Draw(layer)
    for shape, colour in part.markings:
        brush.polygon(pixels(shape), fill=colour)
    canvas.paste(layer, mask=inside)


def _with_relief(dog: Image.Image, scale: float) -> Image.Image:
    """Darken towards the lower rim, as light from above does on a round body."""
    inside = dog.getchannel("A").filter(ImageFilter.BoxBlur(5 * scale))
    lifted = ImageChops.offset(inside, 0, -round(4 * scale))
    return _multiplied(dog, lifted.point([165 + round(90 * level / 255) for level in range(256)]))


def _with_fur(dog: Image.Image, coat: Coat, rng: random.Random) -> Image.Image:
    tile = _fur_tile(coat)
    left = rng.randrange(tile.width - dog.width)
    top = rng.randrange(tile.height - dog.height)
    return _multiplied(dog, tile.crop((left, top, left + dog.width, top + dog.height)))


def _multiplied(dog: Image.Image, light: Image.Image) -> Image.Image:
    """The dog with its colours scaled by `light` / 255; its silhouette stays."""
    shaded = ImageChops.multiply(dog.convert("RGB"), Image.merge("RGB", (light,) * 3))
    shaded.putalpha(dog.getchannel("A"))
    return shaded


@functools.cache
def _fur_tile(coat: Coat) -> Image.Image:
    """A grey texture, brightest 255, larger than any dog: streaks, curls or hardly anything."""
    side = 640
    noise = np.random.default_rng(int(rng_of(f"fur/{coat}").random() * 2**32))
    depth, size = {
        "smooth": (14, (side // 2, side // 2)),
        "dense": (34, (side // 2, side // 5)),
        "shaggy": (58, (side // 3, side // 9)),
        "curly": (64, (side // 6, side // 6)),
    }[coat]
    coarse = 255 - noise.integers(0, depth, size=(size[1], size[0])).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
