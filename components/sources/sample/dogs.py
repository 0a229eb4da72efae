"""The dogs of the sample data set: what a breed looks like, and what is one dog's own.

Lengths are in body units: a medium-sized torso is 100 of them long. Places on the body are told
in half torso lengths and depths from its middle, places on the head in skull radii from the
middle of the skull; x grows towards the nose, y downwards. A dog carries the same markings on
both sides.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Coat = Literal["smooth", "dense", "shaggy", "curly"]
EarShape = Literal["floppy", "pricked", "rose"]
TailShape = Literal["sabre", "plumed", "curled", "docked", "whip", "pompon"]

_BLACK: Colour = (32, 29, 30)
_WHITE: Colour = (246, 243, 236)
_TAN: Colour = (188, 118, 58)
_RUST: Colour = (142, 66, 30)
_CHOCOLATE: Colour = (78, 46, 32)
_GREY: Colour = (120, 124, 132)
_SILVER: Colour = (162, 168, 178)


@dataclass(frozen=True)
class Breed:
    """What all dogs of a breed share. Lengths in body units, angles in degrees."""

    wnid: str
    name: str
    length: float
    depth: float
    tuck: float
    """How far the belly rises towards the flank, as a share of the depth."""
    leg: float
    """Length of the legs below the chest."""
    bone: float
    """Thickness of the lower leg."""
    cuff: float
    """Thickness at the hock relative to the lower leg; above one for a clipped poodle's cuffs."""
    neck: float
    neck_width: float
    neck_angle: float
    head: float
    """Radius of the skull."""
    muzzle: float
    """Length of the muzzle in skull radii."""
    muzzle_depth: float
    topknot: float
    """Height of the hair above the skull, in skull radii."""
    ear: EarShape
    ear_length: float
    tail: TailShape
    coat: Coat
    colour: Colour
    under: Colour
    """Colour of belly, chest and cheek."""
    markings: tuple[Colour, ...]
    """Colours that the markings of single dogs are drawn from."""

    @property
    def folder(self) -> str:
        """Name of the breed's folder in Stanford Dogs."""
        return f"{self.wnid}-{self.name}"


BREEDS = (
    Breed(
        "n02088364", "beagle",
        length=92, depth=46, tuck=0.2, leg=38, bone=14, cuff=1.0,
        neck=36, neck_width=32, neck_angle=48, head=21, muzzle=0.8, muzzle_depth=0.62, topknot=0,
        ear="floppy", ear_length=1.0, tail="sabre", coat="smooth",
        colour=(196, 132, 74), under=(232, 212, 184), markings=(_BLACK, _WHITE, _RUST),
    ),
    Breed(
        "n02099601", "golden_retriever",
        length=102, depth=50, tuck=0.1, leg=44, bone=16, cuff=1.15,
        neck=38, neck_width=38, neck_angle=48, head=23, muzzle=0.9, muzzle_depth=0.66, topknot=0,
        ear="floppy", ear_length=0.65, tail="plumed", coat="shaggy",
        colour=(218, 164, 86), under=(236, 202, 142), markings=(_WHITE, _RUST, _CHOCOLATE),
    ),
    Breed(
        "n02110185", "Siberian_husky",
        length=96, depth=46, tuck=0.2, leg=48, bone=15, cuff=1.0,
        neck=36, neck_width=38, neck_angle=48, head=20, muzzle=0.85, muzzle_depth=0.5, topknot=0,
        ear="pricked", ear_length=0.75, tail="curled", coat="dense",
        colour=(136, 142, 152), under=(238, 238, 236), markings=(_BLACK, _WHITE, _RUST),
    ),
    Breed(
        "n02113023", "Pembroke",
        length=116, depth=46, tuck=0.05, leg=18, bone=16, cuff=1.0,
        neck=36, neck_width=36, neck_angle=50, head=22, muzzle=0.85, muzzle_depth=0.46, topknot=0,
        ear="pricked", ear_length=1.1, tail="docked", coat="dense",
        colour=(206, 128, 62), under=(244, 234, 216), markings=(_WHITE, _BLACK, _RUST),
    ),
    Breed(
        "n02096585", "Boston_bull",
        length=78, depth=44, tuck=0.3, leg=40, bone=12, cuff=0.9,
        neck=24, neck_width=27, neck_angle=58, head=24, muzzle=0.24, muzzle_depth=0.85, topknot=0,
        ear="pricked", ear_length=0.55, tail="docked", coat="smooth",
        colour=(54, 46, 46), under=(84, 70, 64), markings=(_WHITE, _TAN, _SILVER),
    ),
    Breed(
        "n02113799", "standard_poodle",
        length=80, depth=44, tuck=0.2, leg=58, bone=13, cuff=1.75,
        neck=46, neck_width=30, neck_angle=66, head=18, muzzle=1.3, muzzle_depth=0.42, topknot=0.7,
        ear="floppy", ear_length=1.3, tail="pompon", coat="curly",
        colour=(206, 160, 128), under=(220, 180, 150), markings=(_BLACK, _WHITE, _RUST),
    ),
    Breed(
        "n02091032", "Italian_greyhound",
        length=88, depth=40, tuck=0.75, leg=60, bone=8.5, cuff=0.85,
        neck=48, neck_width=17, neck_angle=56, head=16, muzzle=1.3, muzzle_depth=0.42, topknot=0,
        ear="rose", ear_length=1.0, tail="whip", coat="smooth",
        colour=(164, 152, 150), under=(192, 182, 178), markings=(_WHITE, _BLACK, _TAN),
    ),
    Breed(
        "n02111889", "Samoyed",
        length=92, depth=58, tuck=0.05, leg=36, bone=18, cuff=1.1,
        neck=34, neck_width=50, neck_angle=46, head=22, muzzle=0.6, muzzle_depth=0.56, topknot=0.08,
        ear="pricked", ear_length=0.45, tail="curled", coat="shaggy",
        colour=(240, 236, 226), under=(248, 246, 240), markings=(_TAN, _GREY, _CHOCOLATE),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Blob:
    """A marking: an ellipse with a wavy rim, in the coordinates of the part that carries it."""

    x: float
    y: float
    width: float
    height: float
    rim: tuple[float, ...]
    """Radius at equal angles, relative to the ellipse."""
    colour: Colour


@dataclass(frozen=True)
class Dog:
    """One animal: its breed's shape, slightly varied, and markings of its own."""

    name: str
    breed: Breed
    colour: Colour
    stretch: float
    """Length of torso and legs relative to the breed's."""
    body: tuple[Blob, ...]
    """x in half torso lengths, y in half torso depths."""
    head: tuple[Blob, ...]
    ears: tuple[Colour, Colour]
    """Near ear, far ear."""
    socks: tuple[tuple[float, Colour], ...]
    """For far hind, far fore, near hind, near fore: share of the leg it covers, colour."""
    tail_tip: tuple[float, Colour]
    """Share of the tail it covers, colour."""


def rng_of(name: str) -> random.Random:
    """A generator that depends on the name alone, the same in every process."""
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def make_dog(name: str, breed: Breed) -> Dog:
    """The dog of that name: everything that stays the same in all of its photos."""
    rng = rng_of(f"{name}/markings")
    return Dog(
        name=name,
        breed=breed,
        colour=_varied(breed.colour, rng),
        stretch=rng.uniform(0.95, 1.05),
        body=_body_markings(breed, rng),
        head=_head_markings(breed, rng),
        ears=(_own_or_marked(breed, rng), _own_or_marked(breed, rng)),
        socks=tuple(_sock(breed, rng) for _ in range(4)),
        tail_tip=(rng.choice((0.0, 0.4, 0.6, 1.0)), rng.choice(breed.markings)),
    )


def _varied(colour: Colour, rng: random.Random) -> Colour:
    factor = rng.uniform(0.94, 1.06)
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def _blob(
    rng: random.Random, x: float, y: float, width: float, height: float, colour: Colour
) -> Blob:
    rim = tuple(rng.uniform(0.84, 1.16) for _ in range(9))
    return Blob(x, y, width, height, rim, colour)


def _own_or_marked(breed: Breed, rng: random.Random) -> Colour:
    return rng.choice((breed.colour, *breed.markings))


def _sock(breed: Breed, rng: random.Random) -> tuple[float, Colour]:
    share = rng.choice((0.0, 0.0, rng.uniform(0.25, 0.35), rng.uniform(0.5, 0.65)))
    return share, rng.choice(breed.markings)


def _saddle(rng: random.Random, colour: Colour) -> list[Blob]:
    width = rng.uniform(0.45, 0.8)
    return [_blob(rng, rng.uniform(-0.3, 0.2), -0.75, width, rng.uniform(0.7, 1.1), colour)]


def _belt(rng: random.Random, colour: Colour) -> list[Blob]:
    return [_blob(rng, rng.uniform(-0.35, 0.4), 0, rng.uniform(0.17, 0.3), 1.6, colour)]


def _rear(rng: random.Random, colour: Colour) -> list[Blob]:
    return [_blob(rng, -1.0, 0, rng.uniform(0.55, 0.9), 1.7, colour)]


def _cape(rng: random.Random, colour: Colour) -> list[Blob]:
    return [_blob(rng, 0.95, -0.5, rng.uniform(0.55, 0.85), 1.9, colour)]


def _patches(rng: random.Random, colour: Colour) -> list[Blob]:
    return [_patch(rng, x, colour) for x in rng.sample((-0.75, -0.3, 0.15, 0.6), k=3)]


def _patch(rng: random.Random, x: float, colour: Colour) -> Blob:
    y = rng.uniform(-0.5, 0.35)
    return _blob(rng, x, y, rng.uniform(0.2, 0.32), rng.uniform(0.35, 0.6), colour)


def _spots(rng: random.Random, colour: Colour) -> list[Blob]:
    places = [(x, y) for x in (-0.8, -0.5, -0.2, 0.1, 0.4, 0.7) for y in (-0.55, 0.0, 0.5)]
    return [
        _blob(rng, x + rng.uniform(-0.07, 0.07), y, 0.11, rng.uniform(0.2, 0.26), colour)
        for x, y in rng.sample(places, k=rng.randint(6, 9))
    ]


_PATTERNS: tuple[Callable[[random.Random, Colour], list[Blob]], ...] = (
    _saddle,
    _belt,
    _rear,
    _cape,
    _patches,
    _spots,
)


def _body_markings(breed: Breed, rng: random.Random) -> tuple[Blob, ...]:
    """The breed's lighter belly, then two patterns of two colours."""
    belly = _blob(rng, 0.25, 1.05, 1.15, 0.45, breed.under)
    first, second = rng.sample(_PATTERNS, k=2)
    colours = rng.sample(breed.markings, k=2)
    return (belly, *first(rng, colours[0]), *second(rng, colours[1]))


def _head_markings(breed: Breed, rng: random.Random) -> tuple[Blob, ...]:
    """The breed's lighter cheek, then one or two markings of the dog's own."""
    tip = 0.8 + breed.muzzle
    cheek = _blob(rng, 0.55 * tip, 0.75, 0.8 * tip, 0.5, breed.under)
    places = {
        "eye patch": (0.38, -0.3, 0.6, 0.6),
        "muzzle": (tip, 0.2, 0.3 + 0.55 * breed.muzzle, 0.85),
        "hood": (-0.7, -0.5, 0.95, 1.1),
        "crown": (0.1, -1.0, 0.75, 0.55 + breed.topknot),
    }
    chosen = rng.sample(sorted(places), k=rng.choice((1, 2, 2)))
    own = (_blob(rng, *places[place], rng.choice(breed.markings)) for place in chosen)
    return (cheek, *own)
