import dataclasses
import random

import numpy as np
import pytest

from components import ledger_checks
from components.catalog import Photo
from components.sources.base import Reason
from components.sources.sample.dogs import BREEDS, make_dog
from components.sources.sample.drawing import draw_dog, make_pose
from components.sources.sample.scenes import Placed, photograph
from models import perceptual, pixels, vocabulary


def photo(number, split, sha256=None, views=("cropped", "uncropped"), **more):
    return Photo(
        f"s/{number}", "s", "u", 0, 1, sha256 or f"sha-{number}", 30, 20, split=split, views=views,
        **more,
    )  # fmt: skip


def of_dog(number, split, dog, **more):
    return photo(number, split, dog_id=dog, views=("individual",), **more)


def whole_set():
    return [
        photo(number, split, breed="pug")
        for number, split in enumerate(["train", "train", "val", "test"])
    ]


def drawn(seed):
    """A dog in a scene, as the built-in sample draws it."""
    rng = random.Random(seed)
    dog = draw_dog(make_dog(f"dog-{seed}", BREEDS[seed % len(BREEDS)]), make_pose(rng), 110)
    return np.asarray(photograph([Placed(dog, 80, 60)], (200, 150), rng))


def hashed(data):
    return perceptual.hash_of(pixels.glance(data, perceptual.SIDE)[0])


@pytest.fixture
def looked_at(encoded):
    """A photo with the hash of a real JPEG of the picture `seed`."""

    def make(number, split, seed, quality=90, **more):
        phash = hashed(encoded(drawn(seed), quality=quality))
        return photo(number, split, f"sha-{seed}-{quality}", phash=phash, breed="pug", **more)

    return make


def test_a_clean_split_has_no_leak(looked_at):
    dogs = [of_dog(10, "train", "a"), of_dog(11, "train", "a"), of_dog(12, "test", "b")]
    pictures = [looked_at(20 + n, split, n) for n, split in enumerate(["train", "val", "test"] * 3)]

    assert ledger_checks.leaks([*whole_set(), *dogs, *pictures]) == []


def test_a_dog_in_two_splits_is_a_leak_that_names_dog_splits_and_photos():
    (problem,) = ledger_checks.leaks([of_dog(1, "test", "a"), of_dog(2, "train", "a")])

    assert problem == "dog a stands in test (s/1) and in train (s/2)"


def test_a_dog_in_all_splits_is_one_leak():
    rows = [of_dog(n, split, "a") for n, split in enumerate(["train", "val", "test", "train"])]

    assert ledger_checks.leaks(rows) == [
        "dog a stands in test (s/2) and in train (s/0, s/3) and in val (s/1)"
    ]


def test_one_photo_in_two_splits_is_a_leak():
    (problem,) = ledger_checks.leaks(
        [photo(1, "val", "same", breed="pug"), photo(2, "train", "same", breed="pug")]
    )

    assert problem == "one photo stands in train (s/2) and in val (s/1)"


def test_a_picture_that_was_encoded_again_in_two_splits_is_a_leak(looked_at):
    copy = looked_at("copy", "test", 1, quality=30)
    rows = [looked_at("original", "train", 1), copy, looked_at("other", "val", 2)]

    (problem,) = ledger_checks.leaks([*whole_set(), *rows])

    assert problem == "one picture, copied, stands in test (s/copy) and in train (s/original)"


def test_a_leak_is_found_whatever_the_groups_of_the_ledger_say(looked_at):
    rows = [
        looked_at(1, "train", 1, group="s/1"),
        looked_at(2, "test", 1, quality=30, group="s/2"),
        looked_at(3, "val", 3, group="s/3"),
        looked_at(4, "val", 4, group="s/3"),
    ]

    (problem,) = ledger_checks.leaks(rows)

    assert problem == "one picture, copied, stands in test (s/2) and in train (s/1)"


def test_near_copies_in_one_split_are_no_leak(looked_at):
    copies = [looked_at(f"copy-{quality}", "train", 1, quality) for quality in (30, 60, 90)]

    assert ledger_checks.leaks([*whole_set(), *copies]) == []


def test_every_leak_is_named(looked_at):
    rows = [
        of_dog(1, "test", "a"),
        of_dog(2, "train", "a"),
        photo(3, "val", "same"),
        photo(4, "train", "same"),
        looked_at(5, "val", 1),
        looked_at(6, "test", 1, quality=30),
        looked_at(7, "val", 2),
        looked_at(8, "train", 2, quality=30),
    ]

    assert ledger_checks.leaks(rows) == [
        "dog a stands in test (s/1) and in train (s/2)",
        "one photo stands in train (s/4) and in val (s/3)",
        "one picture, copied, stands in test (s/6) and in val (s/5)",
        "one picture, copied, stands in train (s/8) and in val (s/7)",
    ]


def test_a_rejected_copy_is_no_leak(looked_at):
    rows = [
        photo(1, "val", "same"),
        photo(2, None, "same", reason=Reason.EXACT_COPY),
        looked_at(3, "val", 1),
        looked_at(4, None, 1, quality=30, reason=Reason.NEAR_COPY),
    ]

    assert ledger_checks.leaks(rows) == []


def test_a_long_list_is_cut():
    dogs = [of_dog(number, "train", "a") for number in range(8)]

    (problem,) = ledger_checks.leaks([*dogs, of_dog(8, "test", "a")])

    assert problem == (
        "dog a stands in test (s/8) and in train (s/0, s/1, s/2, s/3, s/4 and 3 more)"
    )


def test_equal_counts_are_no_problem():
    counts = {"train": 2, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == []


@pytest.mark.parametrize("found", [1, 3])
def test_examples_that_are_missing_or_too_many_are_a_problem(found):
    counts = {"train": found, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == [
        f"cropped: train has {found} Examples, the ledger says 2"
    ]


def test_a_split_without_examples_is_a_problem():
    counts = {"train": 2, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == [
        "cropped: val has 0 Examples, the ledger says 1"
    ]


def test_an_empty_split_is_a_problem_though_the_counts_agree():
    rows = [photo for photo in whole_set() if photo.split != "val"]

    problems = ledger_checks.count_mismatches(rows, "cropped", {"train": 2, "val": 0, "test": 1})

    assert problems == ["cropped: the split val is empty: add photos"]


def test_photos_of_other_views_and_rejected_ones_do_not_count():
    others = [of_dog(10, "train", "a"), photo(11, None, breed="pug", reason=Reason.UNREADABLE)]
    counts = {"train": 2, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches([*whole_set(), *others], "uncropped", counts) == []


def test_each_view_is_counted_by_itself():
    rows = [*whole_set(), of_dog(10, "train", "a"), of_dog(11, "val", "b"), of_dog(12, "test", "c")]
    one_each = {"train": 1, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(rows, "individual", one_each) == []
    assert ledger_checks.count_mismatches(rows, "cropped", one_each) == [
        "cropped: train has 1 Examples, the ledger says 2"
    ]


BOUNDS = ledger_checks.Bounds(
    share=0.05, rejected=0.25, copies=0.05, dogs=0.01, relabelled=0.01, lost=0.2, same_data=0.05,
    tiny=48, dark=0.1, flat=1.0, grey=0.01,
)  # fmt: skip


def pugs(train, val, test, **more):
    """That many photos in each split, each by itself."""
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [photo(n, split, **{"breed": "pug", **more}) for n, split in enumerate(splits)]


def dogs_of(photos, train, val, test):
    """That many dogs in each split, each with that many photos."""
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [
        of_dog(f"{dog}-{n}", split, f"d{dog}")
        for dog, split in enumerate(splits)
        for n in range(photos)
    ]


def test_a_unit_is_a_dog_a_group_of_near_copies_or_a_photo_of_its_own():
    rows = [
        photo(1, "train", dog_id="a"),
        photo(2, "train", dog_id="a", group="g"),
        photo(3, "train", group="g"),
        photo(4, "val", group="h"),
        photo(5, "val", group="h"),
        photo(6, "test"),
        photo(7, None, reason=Reason.UNREADABLE),
        of_dog(8, "test", "b"),
    ]

    found = ledger_checks.units(rows, "cropped")

    assert sorted(found, key=lambda unit: unit.split) == [
        ledger_checks.Unit(1, "test", dog=False),
        ledger_checks.Unit(3, "train", dog=True),
        ledger_checks.Unit(2, "val", dog=False),
    ]
    assert ledger_checks.units(rows, "individual") == [ledger_checks.Unit(1, "test", dog=True)]


@pytest.mark.parametrize(
    ("sizes", "worth"),
    [
        ([], 0.0),
        ([20], 1.0),  # twenty photos of one dog are worth one
        ([1] * 7, 7.0),
        ([5] * 7, 7.0),
        ([3, 1], 1.6),  # (3 + 1)² / (3² + 1²)
        ([1, 2, 3], 36 / 14),
    ],
)
def test_photos_are_worth_as_many_as_are_independent(sizes, worth):
    found = [ledger_checks.Unit(size, "val", dog=True) for size in sizes]
    others = [ledger_checks.Unit(9, "train", dog=True)]

    assert ledger_checks.effective([*found, *others], "val") == pytest.approx(worth)


@pytest.mark.parametrize("shares", [(70, 15, 15), (88, 6, 6), (52, 24, 24), (60, 30, 10)])
def test_shares_that_chance_gives_are_even(shares):
    # Of 100 photos train has 70 %, give or take 5 %, 3 * √(100 * 0.7 * 0.3) / 100 = 13.7 %, and for
    # skewness |1 - 2 * 0.7| * 8 / 6 / 100 = 0.5 %; val and test have 15 %, give or take 5 %,
    # 3 * √(100 * 0.15 * 0.85) / 100 = 10.7 %, and |1 - 2 * 0.15| * 8 / 6 / 100 = 0.9 %.
    assert ledger_checks.uneven_shares(pugs(*shares), "cropped", 0.05) == []


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ((90, 5, 5), "train has 90% of the 100 photos, expected 70%, give or take 19%"),
        ((50, 25, 25), "train has 50% of the 100 photos, expected 70%, give or take 19%"),
        ((60, 32, 8), "val has 32% of the 100 photos, expected 15%, give or take 17%"),
        ((60, 8, 32), "test has 32% of the 100 photos, expected 15%, give or take 17%"),
    ],
)
def test_shares_beyond_chance_are_a_problem(shares, problem):
    assert ledger_checks.uneven_shares(pugs(*shares), "cropped", 0.05) == [f"cropped: {problem}"]


@pytest.mark.parametrize(("train", "number"), [(84, 0), (85, 1)])
def test_without_a_tolerance_chance_alone_is_granted(train, number):
    rows = pugs(train, (100 - train) // 2, 100 - train - (100 - train) // 2)

    assert len(ledger_checks.uneven_shares(rows, "cropped", 0.0)) == number


@pytest.mark.parametrize(
    ("photos", "shares", "problems"),
    [
        # 100 dogs, a photo each: 80 %, give or take 5 %, 3 * √(100 * 0.8 * 0.2) / 100 = 12 %, and
        # for skewness |1 - 2 * 0.8| * 8 / 6 / 100 = 0.8 %.
        (1, (64, 18, 18), []),
        (
            1,
            (62, 19, 19),
            ["train has 62% of the 100 photos, expected 80%, give or take 18%"],
        ),
        # 10 dogs of 10 photos, which no split parts: 5 %, 3 * √(10 * 10² * 0.16) / 100 = 37.9 %,
        # and 10 * 0.8 % = 8 %.
        (10, (4, 3, 3), []),
        (10, (2, 4, 4), ["train has 20% of the 100 photos, expected 80%, give or take 51%"]),
    ],
)
def test_dogs_have_shares_of_their_own_and_count_whole(photos, shares, problems):
    rows = dogs_of(photos, *shares)

    found = ledger_checks.uneven_shares(rows, "individual", 0.05)

    assert found == [f"individual: {problem}" for problem in problems]


def test_what_is_expected_of_dogs_and_others_together_is_in_between():
    # 100 photos of breeds and 100 of dogs, all in train: (100 * 0.7 + 100 * 0.8) / 200 = 75 %.
    dogs = [photo(f"dog-{n}", "train", dog_id=f"d{n}") for n in range(100)]

    first, *_ = ledger_checks.uneven_shares([*pugs(100, 0, 0), *dogs], "cropped", 0.05)

    assert first.startswith("cropped: train has 100% of the 200 photos, expected 75%")


@pytest.mark.parametrize("rows", [[], pugs(1, 0, 0), pugs(3, 0, 0)])
def test_of_a_few_photos_no_share_is_uneven(rows):
    assert ledger_checks.uneven_shares(rows, "cropped", 0.05) == []


@pytest.mark.parametrize(
    ("splits", "problems"),
    [
        ((14, 3, 3), []),
        ((20, 0, 0), ["no photo of pug in val and test (train 20, val 0, test 0 photos)"]),
        ((17, 3, 0), ["no photo of pug in test (train 17, val 3, test 0 photos)"]),
        ((19, 0, 0), []),  # too few to be in every split
    ],
)
def test_a_breed_of_twenty_photos_stands_in_every_split(splits, problems):
    beagles = [photo(f"b{n}", split, breed="beagle") for n, split in enumerate(["train"] * 19)]

    found, _ = ledger_checks.missing_breeds([*pugs(*splits), *beagles], "cropped")

    assert found == [f"cropped: {problem}" for problem in problems]


@pytest.mark.parametrize(("groups", "problems", "warnings"), [(2, 0, 1), (3, 1, 0)])
def test_a_breed_of_fewer_than_three_units_cannot_stand_in_every_split(groups, problems, warnings):
    rows = [photo(n, "train", breed="pug", group=f"g{n % groups}") for n in range(30)]

    found = ledger_checks.missing_breeds(rows, "cropped")

    assert tuple(map(len, found)) == (problems, warnings)


def test_a_breed_of_known_dogs_or_in_its_sources_list_may_lack_a_split():
    dogs = [photo(n, "train", breed="pug", dog_id=f"d{n % 5}") for n in range(30)]
    listed = [photo(f"l{n}", "train", breed="beagle", listed="train") for n in range(30)]

    problems, warnings = ledger_checks.missing_breeds([*dogs, *listed], "cropped", upstream=True)

    assert problems == []
    assert len(warnings) == 2
    assert len(ledger_checks.missing_breeds(listed, "cropped", upstream=False)[0]) == 1


def test_breeds_of_fewer_than_twenty_photos_are_named_fewest_first():
    rows = [
        photo(f"{breed}{n}", "train", breed=breed)
        for breed, number in (("beagle", 20), ("pug", 19), ("whippet", 2))
        for n in range(number)
    ]

    assert ledger_checks.few_photos(rows, "cropped") == [
        "cropped: 2 breeds have fewer than 20 photos: whippet (2), pug (19)"
    ]
    assert ledger_checks.few_photos(rows, "uncropped")[0].startswith("uncropped: 2 breeds")
    assert ledger_checks.few_photos(rows[:20], "cropped") == []


def rejected(reason, number, first=1000):
    return [photo(first + n, None, reason=reason) for n in range(number)]


@pytest.mark.parametrize(
    ("good", "faults", "number"),
    [
        (9, 3, 0),  # a quarter
        (8, 3, 1),
        (0, 2, 0),  # fewer than three say nothing
        (0, 3, 1),
    ],
)
def test_more_faults_than_a_quarter_of_a_source_are_a_problem(good, faults, number):
    rows = [*pugs(good, 0, 0), *rejected(Reason.UNREADABLE, faults)]

    assert len(ledger_checks.mostly_rejected(rows, 0.25)) == number


def test_faults_are_named_with_their_numbers():
    reasons = (
        Reason.UNREADABLE, Reason.BAD_ANNOTATION, Reason.BOX_OUTSIDE_FRAME, Reason.UNKNOWN_BREED,
    )  # fmt: skip
    rows = [
        row
        for place, reason in enumerate(reasons)
        for row in rejected(reason, place + 1, first=100 * place)
    ]

    assert ledger_checks.mostly_rejected([*pugs(10, 0, 0), *rows], 0.25) == [
        "s: 10 of 20 photos can't be used (bad_annotation 2, box_outside_frame 3, unknown_breed "
        "4, unreadable 1), at most 25% may be so"
    ]


@pytest.mark.parametrize(
    "reason",
    [Reason.EXACT_COPY, Reason.NEAR_COPY, Reason.NOT_DOWNLOADED, Reason.NOT_A_DOG],
)
def test_copies_dead_links_and_cats_are_no_fault(reason):
    assert ledger_checks.mostly_rejected(rejected(reason, 9), 0.25) == []


def test_each_source_is_judged_by_itself():
    good = [Photo(f"t/{n}", "t", "u", 0, 1, f"t{n}", split="train") for n in range(100)]

    (problem,) = ledger_checks.mostly_rejected([*good, *rejected(Reason.UNREADABLE, 5)], 0.25)

    assert problem.startswith("s: 5 of 5 photos")


def test_a_dog_id_that_two_sources_use_is_a_problem():
    other = Photo("t/1", "t", "u", 0, 1, "t1", dog_id="a", split="train")
    rows = [of_dog(1, "train", "a"), of_dog(2, "train", "a"), of_dog(3, "val", "b"), other]

    assert ledger_checks.shared_dog_ids(rows) == ["dog a is in 2 sources: s/1 and t/1"]
    assert ledger_checks.shared_dog_ids(rows[:3]) == []


def test_a_rejected_photo_of_another_source_shares_no_dog_id():
    other = Photo("t/1", "t", "u", 0, 1, "t1", dog_id="a", reason=Reason.EXACT_COPY)

    assert ledger_checks.shared_dog_ids([of_dog(1, "train", "a"), other]) == []


def copied(original, number, **more):
    return photo(
        f"copy-{number}", None, reason=Reason.EXACT_COPY, copy_of=original.photo_id, **more
    )


def breeds_and_copies(agreeing, disagreeing):
    """One photo of a pug; copies of it that say pug, and others that say beagle."""
    pug = photo(0, "train", breed="pug")
    breeds = ["pug"] * agreeing + ["beagle"] * disagreeing
    return [pug, *(copied(pug, n, breed=breed) for n, breed in enumerate(breeds))]


@pytest.mark.parametrize(
    ("agreeing", "disagreeing", "problems", "warnings"),
    [
        (57, 3, 0, 1),  # 3 of 60: 5 %
        (56, 3, 1, 0),
        (0, 2, 0, 1),  # fewer than three say nothing
        (60, 0, 0, 0),
    ],
)
def test_copies_that_name_another_breed(agreeing, disagreeing, problems, warnings):
    rows = breeds_and_copies(agreeing, disagreeing)

    found = ledger_checks.disagreeing_copies(rows, BOUNDS)

    assert tuple(map(len, found)) == (problems, warnings)


def test_copies_that_disagree_are_named_with_both_breeds():
    (problem,), _ = ledger_checks.disagreeing_copies(breeds_and_copies(1, 3), BOUNDS)

    assert problem == (
        "3 of 4 copies name another breed than the photo that they are copies of, at most "
        "5% may: s/copy-1 (beagle), s/0 (pug); s/copy-2 (beagle), s/0 (pug); "
        "s/copy-3 (beagle), s/0 (pug)"
    )


@pytest.mark.parametrize("breed", [None, vocabulary.MIXED])
@pytest.mark.parametrize("of_copy", [True, False])
def test_who_does_not_know_the_breed_does_not_disagree(breed, of_copy):
    kept, copy = ("pug", breed) if of_copy else (breed, "pug")
    pug = photo(0, "train", breed=kept)

    copies = [copied(pug, n, breed=copy) for n in range(9)]

    assert ledger_checks.disagreeing_copies([pug, *copies], BOUNDS) == ([], [])


@pytest.mark.parametrize(
    ("others", "pairs", "problems", "warnings"), [(299, 3, 0, 1), (298, 3, 1, 0), (9, 2, 0, 1)]
)
def test_dogs_that_share_a_photo(others, pairs, problems, warnings):
    # With `rex` 300 dogs, or 299: three pairs of them are 1 %, or more; two say nothing.
    rex = of_dog(0, "train", "rex")
    rows = [rex, *(of_dog(n + 1, "train", f"d{n}") for n in range(others))]
    copies = [copied(rex, n, dog_id=f"d{n}") for n in range(pairs)]

    found = ledger_checks.disagreeing_copies([*rows, *copies], BOUNDS)

    assert tuple(map(len, found)) == (problems, warnings)


def test_two_names_of_one_dog_are_one_pair_however_many_photos_they_share():
    rex, max_ = of_dog(0, "train", "rex"), of_dog(1, "train", "max")
    shared = [copied(rex, 1, dog_id="max"), copied(max_, 2, dog_id="rex")]
    own = copied(rex, 3, dog_id="rex")

    _, (warning,) = ledger_checks.disagreeing_copies([rex, max_, *shared, own], BOUNDS)

    assert warning.startswith("1 pair of dogs shares a photo, so they are one dog or the photo is")
    assert "max and rex (s/copy-2, s/1)" in warning


def test_near_copies_of_one_source_that_name_two_dogs_are_told():
    rex = [of_dog(n, "train", "rex", group="s/0") for n in range(2)]
    other = of_dog(2, "train", "max", group="s/0")

    problems, (warning,) = ledger_checks.disagreeing_copies([*rex, other], BOUNDS)

    assert problems == []
    assert "max and rex (s/2, s/0)" in warning


def test_a_breed_of_which_nothing_is_left_is_a_problem():
    beagles = [photo(f"b{n}", "train", breed="beagle") for n in range(19)]
    before = [*pugs(20, 0, 0), *beagles]

    assert ledger_checks.lost_breeds([], before, "cropped") == [
        "cropped: pug has no photo any more, it had 20 in the last blessed run"
    ]
    assert ledger_checks.lost_breeds(before[:1], before, "cropped") == []


def test_a_copy_of_a_photo_that_is_not_there_says_nothing():
    copy = copied(photo(0, "train", breed="pug"), 1, breed="beagle", dog_id="rex")

    assert ledger_checks.disagreeing_copies([copy], BOUNDS) == ([], [])


@pytest.mark.parametrize(("there", "same"), [(0, False), (1, False), (2, True), (20, True)])
def test_data_are_the_same_when_more_than_a_twentieth_is_there(there, same):
    before = pugs(20, 0, 0)

    assert ledger_checks.same_data(before[:there], before, 0.05) == same


def test_photos_are_there_by_name_or_by_content():
    before = pugs(20, 0, 0)
    edited = [photo(n, "train", f"other-{n}") for n in range(2)]
    renamed = [photo(f"new-{n}", "train", f"sha-{n}") for n in range(2)]

    assert ledger_checks.same_data(edited, before, 0.05)
    assert ledger_checks.same_data(renamed, before, 0.05)
    assert not ledger_checks.same_data([photo("new", "train", "new")], before, 0.05)


def test_photos_that_were_rejected_then_do_not_count():
    before = [*pugs(1, 0, 0), *rejected(Reason.UNREADABLE, 99)]

    assert ledger_checks.same_data(before[:1], before, 0.05)
    assert not ledger_checks.same_data(before[1:], before, 0.05)


def test_no_photos_are_not_the_same_data():
    assert not ledger_checks.same_data(pugs(9, 0, 0), [], 0.05)


@pytest.mark.parametrize(("same", "changed", "number"), [(297, 3, 0), (296, 3, 1), (0, 2, 0)])
def test_more_new_labels_than_one_in_a_hundred_are_a_problem(same, changed, number):
    before = pugs(same + changed, 0, 0)
    now = [*before[:same], *(photo(same + n, "train", breed="beagle") for n in range(changed))]

    assert len(ledger_checks.relabelled(now, before, 0.01)) == number


def test_new_labels_are_named_with_the_old_ones_whatever_the_files_are_called_now():
    before = [
        photo(1, "train", breed="pug"),
        of_dog(2, "train", "rex"),
        photo(3, "val", breed="pug"),
        photo(4, "val", breed="pug"),
    ]
    now = [
        photo("a", "train", "sha-1", breed="beagle"),
        of_dog("b", "train", "max", sha256="sha-2"),
        photo("c", "val", "sha-3"),
        photo("d", "test", "sha-4", breed="pug"),
    ]

    assert ledger_checks.relabelled(now, before, 0.01) == [
        "s: 3 of 4 photos have another label than in the last blessed run, at most 1% may: "
        "s/a (pug, now beagle); s/b (rex, now max); s/c (pug, now no label)"
    ]


def test_other_bytes_and_rejected_photos_have_no_old_label():
    before = [photo(n, "train", breed="pug") for n in range(3)]
    edited = [photo(n, "train", f"other-{n}", breed="beagle") for n in range(3)]
    gone = [photo(n, None, breed="beagle", reason=Reason.NEAR_COPY) for n in range(3)]

    assert ledger_checks.relabelled([*edited, *gone], before, 0.01) == []


@pytest.mark.parametrize(("kept", "gone", "number"), [(12, 3, 0), (11, 3, 1), (0, 2, 0)])
def test_more_lost_photos_than_a_fifth_are_a_problem(kept, gone, number):
    before = pugs(kept + gone, 0, 0)

    assert len(ledger_checks.lost(before[:kept], before, 0.2)) == number


def test_lost_photos_are_named_and_what_is_new_makes_up_for_none():
    new = [photo(f"new-{n}", "train") for n in range(50)]

    assert ledger_checks.lost(new, pugs(7, 0, 0), 0.2) == [
        "s: 7 of 7 photos of the last blessed run are not accepted any more, at most 20% may be "
        "gone: s/0, s/1, s/2, s/3, s/4 and 2 more"
    ]


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        ({"number": "renamed"}, False),
        ({"sha256": "edited"}, False),
        ({"split": None, "reason": Reason.EXACT_COPY, "copy_of": "s/9"}, False),
        (
            {"number": "new", "split": None, "reason": Reason.EXACT_COPY, "copy_of": "s/9"},
            False,
        ),
        ({"split": None, "reason": Reason.UNREADABLE}, True),
        ({"split": None, "reason": Reason.NOT_DOWNLOADED}, True),
        ({"number": "other", "sha256": "other"}, True),
    ],
    ids=[
        "renamed",
        "edited",
        "a copy",
        "a renamed copy",
        "unreadable",
        "not downloaded",
        "not there",
    ],
)
def test_a_photo_is_lost_when_neither_it_nor_its_bytes_are_of_use(now, lost):
    before = pugs(3, 0, 0)
    rows = [photo(**{"number": n, "split": "train", "sha256": f"sha-{n}"} | now) for n in range(3)]

    assert bool(ledger_checks.lost(rows, before, 0.2)) == lost


@pytest.mark.parametrize(
    ("view", "bodies", "size", "side"),
    [
        ("cropped", ((0.0, 0.0, 47.0, 20.0),), (300, 200), 47),
        ("cropped", ((0.0, 0.0, 20.0, 48.0),), (300, 200), None),
        (
            "cropped",
            ((0.0, 0.0, 9.0, 9.0), (0.0, 0.0, 60.0, 60.0)),
            (300, 200),
            None,
        ),  # the largest
        ("cropped", (), (47, 30), 47),  # no box: the photo
        ("cropped", (), (48, 30), None),
        ("individual", ((0.0, 0.0, 9.0, 9.0),), (48, 30), None),  # the view has whole photos
    ],
)
def test_a_dog_that_is_smaller_than_it_should_be_is_named(view, bodies, size, side):
    width, height = size
    row = dataclasses.replace(
        photo(1, "train", views=(view,)), bodies=bodies, width=width, height=height
    )

    assert ledger_checks.tiny_dogs([row, photo(2, None)], view, 48) == (
        [f"{view}: in 1 photo the dog is smaller than 48 pixels: s/1 ({side})"] if side else []
    )


def test_some_names_are_in_order_and_the_rest_is_counted():
    assert ledger_checks.some(["b", "a"]) == "a, b"
    assert ledger_checks.some(["b", "a"], None, "; ") == "b; a"
    assert ledger_checks.some(list("gfedcba")) == "a, b, c, d, e and 2 more"
