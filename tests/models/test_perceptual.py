import random

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from components.sources.sample.dogs import BREEDS, make_dog
from components.sources.sample.drawing import draw_dog, make_pose
from components.sources.sample.scenes import Placed, photograph
from models import perceptual, pixels

DIGITS = perceptual.BITS // 4


def distance(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def hashed(data):
    return perceptual.hash_of(pixels.glance(data, perceptual.SIDE)[0])


def detailed(seed):
    """A picture with detail of every size, less of it the finer it is, as photos have it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((240, 320, 3))
    for cells in (4, 8, 16, 32, 64, 128):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        image += np.asarray(noise.resize((320, 240), Image.Resampling.BICUBIC)) / cells
    return (image * 2).clip(0, 255).astype(np.uint8)


def drawn(seed):
    """A dog in a scene, as the built-in sample draws it."""
    rng = random.Random(seed)
    dog = draw_dog(make_dog(f"dog-{seed}", BREEDS[seed % len(BREEDS)]), make_pose(rng), 110)
    return np.asarray(photograph([Placed(dog, 80, 60)], (200, 150), rng))


@pytest.fixture(scope="module")
def pictures(picture):
    """Lists of uint8 [H, W, 3] by their kind; two of them are real photos."""
    noise = np.random.default_rng(0)
    smooth = [picture(240, 320, seed) for seed in range(12)]
    noisy = [image + noise.normal(0, 80, image.shape) for image in smooth]
    return {
        "noisy": [image.clip(0, 255).astype(np.uint8) for image in noisy],
        "detailed": [detailed(seed) for seed in range(12)],
        "drawn": [drawn(seed) for seed in range(16)],
        "photo": [np.asarray(image) for image in load_sample_images().images],
    }


BY_KIND = pytest.mark.parametrize("kind", ["noisy", "detailed", "drawn", "photo"])


def scaled(image, factor):
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def brightened(image):
    return (image * 1.15 + 10).clip(0, 255).astype(np.uint8)


COPIES = {
    "quality 30": (lambda image: image, {"quality": 30}),
    "half": (lambda image: scaled(image, 0.5), {}),
    "enlarged": (lambda image: scaled(image, 1.5), {}),
    "grey": (lambda image: np.asarray(Image.fromarray(image).convert("L")), {}),
    "brightened": (brightened, {}),
}


def test_a_hash_is_64_hexadecimal_digits(picture):
    found = perceptual.hash_of(picture(64, 80)[..., 0])

    assert len(found) == DIGITS == 64
    assert int(found, 16) >= 0


def test_the_same_picture_has_the_same_hash(picture, encoded):
    assert hashed(encoded(picture(240, 320, 7))) == hashed(encoded(picture(240, 320, 7)))


def test_the_bits_are_the_signs_of_the_lowest_frequencies():
    # cos(pi * (2x + 1) * 3 / 64) along 32 columns is the third frequency of a DCT-II alone. It is
    # the fourth bit of the first row, after the mean's, which every picture that is not black has.
    wave = np.cos(np.pi * (2 * np.arange(32) + 1) * 3 / 64)
    grey = np.tile(128 + 100 * wave, (32, 1)).round().astype(np.uint8)

    bits = f"{int(perceptual.hash_of(grey), 16):0256b}"
    inverse = f"{int(perceptual.hash_of(255 - grey), 16):0256b}"

    assert bits[0] == inverse[0] == "1"
    assert (bits[3], inverse[3]) == ("1", "0")


@pytest.mark.parametrize("copy", COPIES)
@BY_KIND
def test_a_copy_of_a_picture_is_near_to_it(kind, copy, pictures, encoded):
    change, options = COPIES[copy]

    distances = [
        distance(
            hashed(encoded(image, quality=90)),
            hashed(encoded(change(image), **{"quality": 90, **options})),
        )
        for image in pictures[kind]
    ]

    assert max(distances) <= perceptual.NEAR


@BY_KIND
def test_a_copy_in_another_format_is_near_to_it(kind, pictures, encoded):
    for image in pictures[kind]:
        original = hashed(encoded(image, quality=90))

        assert distance(original, hashed(encoded(image, "PNG"))) <= perceptual.NEAR
        assert distance(original, hashed(encoded(image, "WEBP"))) <= perceptual.NEAR


def test_a_copy_with_its_turn_in_the_exif_is_near_to_it(pictures, encoded):
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    image = pictures["photo"][0]

    upright = hashed(encoded(image, quality=90))
    lying = hashed(encoded(np.rot90(image), quality=90, exif=turned))

    assert distance(upright, lying) <= perceptual.NEAR


def test_different_pictures_are_not_near(picture, pictures, encoded):
    smooth = [picture(240, 320, seed) for seed in range(30)]
    images = [*smooth, *(image for images in pictures.values() for image in images)]
    hashes = [hashed(encoded(image, quality=90)) for image in images]

    nearest = min(
        distance(one, other) for place, one in enumerate(hashes) for other in hashes[:place]
    )

    assert nearest > perceptual.NEAR
    assert list(perceptual.near_pairs(hashes)) == []


def flipped(hash_, bits, rng):
    """The hash with that many of its bits turned."""
    mask = sum(1 << place for place in rng.sample(range(perceptual.BITS), bits))
    return f"{int(hash_, 16) ^ mask:0{DIGITS}x}"


def brute_force(hashes):
    """Every near pair by comparing the bits of each two hashes, a row at a time."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    ones = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)
    for one in range(len(hashes)):
        apart = ones[packed[one] ^ packed[one + 1 :]].sum(1, dtype=np.int64)
        for more in np.flatnonzero(apart <= perceptual.NEAR):
            yield one, one + 1 + int(more)


@pytest.fixture(scope="module")
def planted():
    """Hashes of more than two blocks on a side, and the near pairs that stand among them.

    Every planted hash has a neighbour at `NEAR` bits, which counts, and one at one bit more.
    """
    rng = random.Random(3)
    hashes = [f"{rng.getrandbits(perceptual.BITS):0{DIGITS}x}" for _ in range(4500)]
    pairs = set()
    # Inside a block, over each border of a block, from the first block to the last, and both ends.
    for one, near, far in [
        (0, 4499, 1),
        (17, 1900, 18),
        (2047, 2048, 2046),
        (2049, 4095, 4097),
        (4094, 4096, 4093),
        (5, 4300, 2500),
        (4400, 4401, 4402),
    ]:
        hashes[near] = flipped(hashes[one], perceptual.NEAR, rng)
        hashes[far] = flipped(hashes[one], perceptual.NEAR + 1, rng)
        pairs.add((one, near))
    return hashes, pairs


def test_near_pairs_are_those_within_near_bits(planted):
    hashes, pairs = planted

    found = list(perceptual.near_pairs(hashes))

    assert len(hashes) > 2 * perceptual._BLOCK
    assert set(found) >= pairs
    assert len(found) == len(set(found))
    assert sorted(found) == list(brute_force(hashes))


def test_one_bit_more_than_near_is_far(planted):
    hashes, pairs = planted

    # Two random hashes of 256 bits differ in 128, give or take 8: none comes near by chance.
    assert set(perceptual.near_pairs(hashes)) == pairs


def test_equal_hashes_are_a_pair_each_two_of_them():
    same = ["0f" * 32] * 3

    assert list(perceptual.near_pairs(same)) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("hashes", [[], ["ab" * 32]])
def test_less_than_two_hashes_have_no_pair(hashes):
    assert list(perceptual.near_pairs(hashes)) == []


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_has_no_hash(level):
    assert perceptual.hash_of(np.full((64, 96), level, np.uint8)) == ""
