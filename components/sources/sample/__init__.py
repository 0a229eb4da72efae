"""The sample data set: drawn dogs in the layouts of the real sources, for a run without `--data`.

    <folder>/stanford/images.tar          uncropped scenes, laid out as Stanford Dogs
    <folder>/stanford/annotation.tar      their PASCAL-VOC boxes
    <folder>/individuals/<dog id>/*.jpg   several photos of each of some dogs, cropped round the dog

A breed sets shape and coat; every dog has markings of its own; pose, light and background belong
to the photo alone, so that nothing but the dog tells which dog or breed it is. Each random choice
comes from a hash of a stable name: drawing twice gives the same bytes.

Two Stanford photos are bad on purpose, so that a run shows its reject ledger at work:
`TRUNCATED_PHOTO` ends half-way, and the box of `PHOTO_WITH_BOX_OUTSIDE` leaves its frame.
"""

import io
import logging
import math
import os
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from components.sources.sample.dogs import BREEDS, Breed, Dog, make_dog, rng_of
from components.sources.sample.drawing import SUPERSAMPLING, draw_dog, make_pose
from components.sources.sample.scenes import Placed, Size, photograph

PHOTOS_PER_BREED = 50
DOGS_PER_BREED = 9
PHOTOS_PER_DOG = 7
TRUNCATED_PHOTO = "n02099601_7"
"""A golden retriever whose JPEG is cut to half its bytes."""
PHOTO_WITH_BOX_OUTSIDE = "n02110185_31"
"""A husky whose annotated box lies wholly to the right of the frame."""

_TWO_DOGS_SHARE = 0.06
_JPEG_QUALITY = 88
_PROGRESS_EVERY = 50

_progress = logging.getLogger("spotted.progress")

Box = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax in pixels of the finished photo."""


def draw(folder: str | os.PathLike[str]) -> None:
    """Draw the whole sample data set into `folder`, which is empty or does not exist yet."""
    _draw_stanford(Path(folder) / "stanford")
    _draw_individuals(Path(folder) / "individuals")


def _draw_stanford(folder: Path) -> None:
    images: dict[str, bytes] = {}
    annotations: dict[str, bytes] = {}
    for done, (breed, name) in enumerate(_stanford_photos()):
        _report(done)
        image, boxes = _breed_photo(breed, name)
        jpeg = _jpeg(image)
        if name == TRUNCATED_PHOTO:
            jpeg = jpeg[: len(jpeg) // 2]
        if name == PHOTO_WITH_BOX_OUTSIDE:
            boxes = [_beyond_frame(box, image.width) for box in boxes]
        images[f"Images/{breed.folder}/{name}.jpg"] = jpeg
        xml = _annotation(breed, name, image.size, boxes)
        annotations[f"Annotation/{breed.folder}/{name}"] = xml.encode()
    folder.mkdir(parents=True, exist_ok=True)
    _write_tar(folder / "images.tar", images)
    _write_tar(folder / "annotation.tar", annotations)


def _draw_individuals(folder: Path) -> None:
    already = len(BREEDS) * PHOTOS_PER_BREED
    for done, (dog, number) in enumerate(_individual_photos(), start=already):
        _report(done)
        path = folder / dog.name / f"{dog.name}_{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(_individual_photo(dog, f"{dog.name}/photo-{number}")))


def _stanford_photos() -> Iterator[tuple[Breed, str]]:
    for breed in BREEDS:
        for number in range(1, PHOTOS_PER_BREED + 1):
            yield breed, f"{breed.wnid}_{number}"


def _individual_photos() -> Iterator[tuple[Dog, int]]:
    for dog in individuals():
        for number in range(1, PHOTOS_PER_DOG + 1):
            yield dog, number


def individuals() -> list[Dog]:
    """The dogs under `individuals/`, in an order of breeds that their ids do not give away."""
    breeds = list(BREEDS) * DOGS_PER_BREED
    rng_of("individuals").shuffle(breeds)
    return [make_dog(f"dog-{number:03d}", breed) for number, breed in enumerate(breeds, start=1)]


def _report(done: int) -> None:
    total = len(BREEDS) * (PHOTOS_PER_BREED + DOGS_PER_BREED * PHOTOS_PER_DOG)
    if (done + 1) % _PROGRESS_EVERY == 0 or done + 1 == total:
        _progress.info("drawing photo %d of %d", done + 1, total)


def _breed_photo(breed: Breed, name: str) -> tuple[Image.Image, list[Box]]:
    """An uncropped scene with one dog of the breed, rarely two, and the box of each."""
    rng = rng_of(f"stanford/{name}")
    long, short = rng.randint(190, 212), rng.randint(142, 160)
    count = 2 if rng.random() < _TWO_DOGS_SHARE else 1
    frame = (short, long) if count == 1 and rng.random() < 0.2 else (long, short)
    dogs = [make_dog(f"{name}/dog-{index}", breed) for index in range(count)]
    largest = 0.8 * min(frame[1], frame[0] / count)
    sprites = [draw_dog(dog, make_pose(rng), rng.uniform(0.8, 1) * largest) for dog in dogs]
    placed = [_place(sprite, frame, (i, count), rng) for i, sprite in enumerate(sprites)]
    return photograph(placed, frame, rng), [_box(it, frame) for it in placed]


def _individual_photo(dog: Dog, name: str) -> Image.Image:
    """A photo of the dog, cropped about as roughly as a detector would."""
    rng = rng_of(name)
    sprite = draw_dog(dog, make_pose(rng), rng.uniform(120, 136))
    width, height = (side / SUPERSAMPLING for side in sprite.size)
    left, top, right, bottom = (rng.uniform(0.02, 0.1) * max(width, height) for _ in range(4))
    frame = (round(left + width + right), round(top + height + bottom))
    place = Placed(sprite, round(left * SUPERSAMPLING), round(top * SUPERSAMPLING))
    return photograph([place], frame, rng)


def _place(sprite: Image.Image, frame: Size, slot: tuple[int, int], rng: random.Random) -> Placed:
    """Somewhere in the lower part of the dog's own share of the frame's width."""
    index, count = slot
    width, height = (side * SUPERSAMPLING for side in frame)
    room = max(width // count - sprite.width, 1)
    left = index * width // count + rng.randrange(room)
    lowest = height - sprite.height - 4
    return Placed(sprite, left, rng.randint(round(0.5 * lowest), lowest))


def _box(placed: Placed, frame: Size) -> Box:
    left, top = placed.left / SUPERSAMPLING, placed.top / SUPERSAMPLING
    right = left + placed.sprite.width / SUPERSAMPLING
    bottom = top + placed.sprite.height / SUPERSAMPLING
    return (
        math.floor(left),
        math.floor(top),
        min(math.ceil(right), frame[0]),
        min(math.ceil(bottom), frame[1]),
    )


def _beyond_frame(box: Box, width: int) -> Box:
    xmin, ymin, xmax, ymax = box
    return xmin + width, ymin, xmax + width, ymax


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _annotation(breed: Breed, name: str, size: Size, boxes: Sequence[Box]) -> str:
    """PASCAL-VOC as Stanford Dogs writes it: one `object` a dog, no file extension in the name."""
    objects = "".join(_object(breed, box) for box in boxes)
    return (
        "<annotation>\n"
        f"\t<folder>{breed.wnid.removeprefix('n')}</folder>\n"
        f"\t<filename>{escape(name)}</filename>\n"
        "\t<source>\n\t\t<database>ImageNet database</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{size[0]}</width>\n\t\t<height>{size[1]}</height>\n"
        "\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segment>0</segment>\n{objects}</annotation>\n"
    )


def _object(breed: Breed, box: Box) -> str:
    corners = "".join(
        f"\t\t\t<{corner}>{value}</{corner}>\n"
        for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"\t<object>\n\t\t<name>{escape(breed.name)}</name>\n\t\t<pose>Unspecified</pose>\n"
        "\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n"
        f"\t\t<bndbox>\n{corners}\t\t</bndbox>\n\t</object>\n"
    )


def _write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """A plain tar whose bytes depend on the members alone, not on the day or the user."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(members[name]), 0o644, 0
            entry.uid = entry.gid = 0
            archive.addfile(entry, io.BytesIO(members[name]))
