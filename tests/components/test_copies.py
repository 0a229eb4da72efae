import dataclasses
import itertools
import random

import numpy as np
import pytest

from components import copies
from components.catalog import Photo
from components.copies import Groups
from components.sources.base import Reason
from components.sources.sample.dogs import BREEDS, make_dog
from components.sources.sample.drawing import draw_dog, make_pose
from components.sources.sample.scenes import Placed, photograph
from models import perceptual, pixels

BOX = ((1.0, 1.0, 9.0, 9.0),)


def row(name, sha256=None, phash="", **more):
    """A photo `name`, `<source>/<path>`; its bytes are its own unless said otherwise."""
    source = name.partition("/")[0]
    return Photo(name, source, "u", 0, 1, sha256 or f"sha of {name}", phash=phash, **more)


def phash(seed):
    return f"{random.Random(seed).getrandbits(256):064x}"


def turned(hash_, first, bits):
    """The hash with that many bits turned, from a place on."""
    return f"{int(hash_, 16) ^ (((1 << bits) - 1) << first):064x}"


def reasons(photos):
    return {photo.photo_id: photo.reason for photo in photos}


def orders(photos, number=24):
    """The rows in every order, or in the first ones of very many."""
    return itertools.islice(itertools.permutations(photos), number)


def by_id(photos):
    return sorted(photos, key=lambda photo: photo.photo_id)


def test_the_least_id_of_equal_photos_is_kept():
    marked = copies.mark([row("s/1", "a"), row("s/2", "b"), row("s/3", "a"), row("s/4", "a")])

    copy = Reason.EXACT_COPY
    assert [photo.reason for photo in marked] == [None, None, copy, copy]
    assert [photo.photo_id for photo in marked] == ["s/1", "s/2", "s/3", "s/4"]


def test_a_copy_of_a_rejected_photo_is_kept():
    bad = Reason.BAD_ANNOTATION

    marked = copies.mark(
        [row("s/1", "a", reason=bad), row("s/2", "a"), row("s/3", "a", reason=bad)]
    )

    assert [photo.reason for photo in marked] == [bad, None, bad]


def test_of_exact_copies_the_one_that_says_most_stays_whatever_the_order():
    photos = [
        row("a/plain", "same", breed="pug"),
        row("b/boxed", "same", breed="pug", bodies=BOX),
        row("y/dog", "same", dog_id="y/rex"),
        row("z/dog", "same", dog_id="z/rex"),
    ]

    for order in orders(photos):
        marked = copies.mark(order)
        assert [photo.photo_id for photo in marked if not photo.reason] == ["y/dog"]
        assert {photo.reason for photo in marked} == {None, Reason.EXACT_COPY}
        assert [photo.photo_id for photo in marked] == [photo.photo_id for photo in order]


def test_of_two_photos_without_dog_the_one_with_boxes_stays():
    marked = copies.mark([row("a/1", "same", breed="pug"), row("b/1", "same", bodies=BOX)])

    assert reasons(marked) == {"a/1": Reason.EXACT_COPY, "b/1": None}


def test_a_rejected_copy_says_of_which_photo_it_is_and_what_that_calls_the_dog():
    first, second = copies.mark(
        [row("a/1", "same", breed="pug"), row("b/1", "same", breed="Shih-Tzu")]
    )

    assert first == row("a/1", "same", breed="pug")
    assert second.detail == "of a/1, which says pug where this says Shih-Tzu"


def test_a_copy_that_says_the_same_says_only_of_which_photo_it_is():
    _, second = copies.mark([row("a/1", "same", breed="pug"), row("b/1", "same", breed="pug")])

    assert second.detail == "of a/1"


def test_a_dog_of_the_same_breed_is_no_other_word_for_it():
    """A photo that names the dog beside the breed does not contradict one with the breed alone."""
    known, copy = copies.mark(
        [row("a/1", "same", breed="pug", dog_id="a/rex"), row("b/1", "same", breed="pug")]
    )

    assert known.reason is None
    assert copy.detail == "of a/1"


def drawn(seed):
    rng = random.Random(seed)
    dog = draw_dog(make_dog(f"dog-{seed}", BREEDS[seed % len(BREEDS)]), make_pose(rng), 110)
    return np.asarray(photograph([Placed(dog, 80, 60)], (200, 150), rng))


def hashed(data):
    return perceptual.hash_of(pixels.glance(data, perceptual.SIDE)[0])


def test_a_photo_encoded_again_in_another_source_is_a_near_copy(encoded):
    photos = [
        row("stanford/1", phash=hashed(encoded(drawn(1), quality=95)), breed="pug", bodies=BOX),
        row("tsinghua/1", phash=hashed(encoded(drawn(1), quality=30)), breed="Shiba", bodies=BOX),
        row("tsinghua/2", phash=hashed(encoded(drawn(2), quality=30)), breed="Shiba", bodies=BOX),
    ]

    for order in orders(photos):
        original, copy, other = by_id(copies.mark(order))
        assert (original.reason, original.group) == (None, "stanford/1")
        assert (copy.reason, copy.group) == (Reason.NEAR_COPY, None)
        assert copy.detail == "of stanford/1, which says pug where this says Shiba"
        assert other == photos[2]


def test_of_near_copies_the_one_that_says_most_stays():
    photos = [
        row("a/1", phash=phash(0), breed="pug"),
        row("b/1", phash=phash(0), breed="pug", bodies=BOX),
        row("c/1", phash=turned(phash(0), 0, 3), dog_id="c/rex"),
    ]

    for order in orders(photos):
        near = Reason.NEAR_COPY
        assert reasons(copies.mark(order)) == {"a/1": near, "b/1": near, "c/1": None}


def test_near_copies_inside_a_source_all_stay_as_one_group():
    photos = [
        row("s/2", phash=phash(0)),
        row("s/1", phash=turned(phash(0), 0, 40)),
        row("s/3", phash=phash(0), bodies=BOX),
        row("s/4", phash=phash(1)),
    ]

    for order in orders(photos):
        one, two, three, other = by_id(copies.mark(order))
        assert {photo.reason for photo in (one, two, three, other)} == {None}
        assert {one.group, two.group, three.group} == {"s/3"}  # it says most
        assert other.group is None


@pytest.mark.parametrize(("bits", "near"), [(perceptual.NEAR, True), (perceptual.NEAR + 1, False)])
def test_how_near_is_near(bits, near):
    one, other = copies.mark(
        [row("s/1", phash=phash(0)), row("s/2", phash=turned(phash(0), 100, bits))]
    )

    assert (one.group, other.group) == (("s/1", "s/1") if near else (None, None))


def test_a_chain_of_near_copies_is_one_group():
    # a is 30 bits from b, b is 30 from c, and so on, but a is 60 from c and 120 from e.
    chain = [row(f"s/{name}", phash=turned(phash(0), 0, 30 * n)) for n, name in enumerate("abcde")]

    for order in orders(chain, 120):
        assert {photo.group for photo in copies.mark(order)} == {"s/a"}


def test_a_chain_over_two_sources_keeps_those_of_the_originals_source():
    chain = [
        row("s/1", phash=phash(0)),
        row("t/1", phash=turned(phash(0), 0, 30)),
        row("s/2", phash=turned(phash(0), 0, 60)),
    ]

    for order in orders(chain):
        first, second, between = by_id(copies.mark(order))
        assert (first.reason, second.reason) == (None, None)
        assert (first.group, second.group) == ("s/1", "s/1")
        assert (between.reason, between.detail) == (Reason.NEAR_COPY, "of s/1")


def test_rejected_photos_take_no_part():
    bad = [
        row("a/1", "same", phash(0), dog_id="a/rex", reason=Reason.BOX_OUTSIDE_FRAME),
        row("a/2", phash=turned(phash(0), 0, 30), reason=Reason.UNKNOWN_BREED, detail="as it was"),
    ]
    # Without the rejected photo between them these two are 60 bits apart.
    good = [row("b/1", "same", phash(0)), row("b/2", phash=turned(phash(0), 0, 60))]

    marked = copies.mark([*bad, *good])

    assert marked == [*bad, *good]


def test_an_exact_copy_is_no_near_copy_as_well():
    marked = copies.mark([row("a/1", "same", phash(0)), row("a/2", "same", phash(0))])

    assert marked[0] == row("a/1", "same", phash(0))
    assert (marked[1].reason, marked[1].group) == (Reason.EXACT_COPY, None)


def test_photos_without_a_hash_never_match():
    photos = [row(f"{source}/{number}") for source in "ab" for number in range(3)]

    assert copies.mark(photos) == photos


def test_marking_again_changes_nothing():
    photos = [
        row("a/1", "same", phash(0)),
        row("a/2", "same", phash(0)),
        row("a/3", phash=turned(phash(0), 0, 5)),
        row("b/1", phash=turned(phash(0), 0, 9)),
    ]

    marked = copies.mark(photos)

    assert copies.mark(marked) == marked


def test_many_photos_with_one_hash_are_one_group():
    photos = [row(f"s/{number:04d}", phash=phash(0)) for number in range(2000)]

    assert {photo.group for photo in copies.mark(photos)} == {"s/0000"}


def test_groups_are_known_by_their_least_id():
    photos = [
        row("t/9", phash=phash(0)),
        row("s/5", phash=turned(phash(0), 0, 20)),
        row("s/7", phash=turned(phash(0), 0, 40)),
        row("s/1", phash=phash(1)),
    ]

    for order in orders(photos):
        assert copies.near_groups(order) == {"t/9": "s/5", "s/5": "s/5", "s/7": "s/5"}


def test_near_groups_leave_out_what_was_rejected():
    photos = [row("s/1", phash=phash(0)), row("s/2", phash=phash(0))]

    rejected = dataclasses.replace(photos[0], reason=Reason.NEAR_COPY)

    assert copies.near_groups([rejected, photos[1]]) == {}


def test_a_name_that_was_never_joined_is_its_own_group():
    assert Groups().of("a") == "a"


def test_the_least_name_wins_whatever_the_order():
    joins = [("d", "c"), ("b", "e"), ("e", "d"), ("x", "y")]

    for order in orders(joins):
        for flip in (False, True):
            groups = Groups()
            for one, other in order:
                groups.join(*((other, one) if flip else (one, other)))
            assert {groups.of(name) for name in "bcde"} == {"b"}
            assert {groups.of(name) for name in "xy"} == {"x"}
            assert groups.of("a") == "a"


def test_joining_twice_or_with_itself_changes_nothing():
    groups = Groups()
    for one, other in [("b", "a"), ("a", "b"), ("a", "a"), ("c", "c")]:
        groups.join(one, other)

    assert [groups.of(name) for name in "abc"] == ["a", "a", "c"]


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_the_connected_parts(seed):
    rng = random.Random(seed)
    names = [f"{number:03d}" for number in range(200)]
    joins = [tuple(rng.sample(names, 2)) for _ in range(120)]
    groups = Groups()
    for one, other in joins:
        groups.join(one, other)

    least = {name: name for name in names}
    for _ in names:  # the least name walks over one join at least with each round
        for one, other in joins:
            least[one] = least[other] = min(least[one], least[other])

    assert {name: groups.of(name) for name in names} == least


def test_a_long_chain_is_no_deep_recursion():
    groups = Groups()
    for number in range(20_000, 0, -1):
        groups.join(f"{number:05d}", f"{number - 1:05d}")

    assert groups.of("20000") == "00000"


def test_the_photo_that_stays_takes_over_what_its_exact_copy_knows():
    dog = Photo("individuals/rex/1.jpg", "individuals", "u", 0, 1, "same", dog_id="individuals/rex",
                views=("individual",))  # fmt: skip
    boxed = Photo("stanford/1.jpg", "stanford", "u", 0, 1, "same", breed="pug", listed="test",
                  bodies=((1.0, 2.0, 3.0, 4.0),), views=("cropped", "uncropped"))  # fmt: skip

    kept, rejected = copies.mark([dog, boxed])

    assert rejected.reason == Reason.EXACT_COPY
    assert (kept.dog_id, kept.breed, kept.listed) == ("individuals/rex", "pug", "test")
    assert kept.bodies == boxed.bodies
    assert kept.views == ("individual", "cropped", "uncropped")


def test_a_picture_that_any_source_lists_as_test_is_listed_so():
    phash = "0f" * 32
    stanford = Photo("stanford/1.jpg", "stanford", "u", 0, 1, "a", phash=phash, listed="train")
    tsinghua = Photo("tsinghua/1.jpg", "tsinghua", "u", 0, 1, "b", phash=phash, listed="test")

    kept, rejected = copies.mark([stanford, tsinghua])

    assert rejected.reason == Reason.NEAR_COPY
    assert (kept.reason, kept.listed) == (None, "test")
