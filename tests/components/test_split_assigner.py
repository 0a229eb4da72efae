import csv
import dataclasses
import io
import random
from collections import Counter

import pytest
from told import numbers

from components import artifacts, catalog, split_assigner
from components.catalog import SPLITS, VIEWS, Photo
from components.copies import Groups
from components.sources.base import DataError, Reason
from components.split_assigner import BREED_SHARES, DOG_SHARES, SplitAssigner

BOXED = ("cropped", "uncropped")


def photo(number, **more):
    return Photo(f"s/{number}.jpg", "s", f"s/{number}.jpg", 0, 1, f"sha-{number}", 30, 20, **more)


def of_breed(breed, number, **more):
    return photo(f"{breed}/{number}", breed=breed, views=BOXED, **more)


def of_dog(dog, number, **more):
    return photo(f"{dog}/{number}", dog_id=f"s/{dog}", views=("individual",), **more)


def splits(photos, **options):
    return {row.photo_id: row.split for row in split_assigner.assign(photos, **options)}


def by_hash(name, shares=BREED_SHARES):
    return split_assigner.split_of(split_assigner.place_of(name), shares)


def hashed(breed, number, split):
    """That many photos of a breed which the hash sends to one split."""
    candidates = (of_breed(breed, n) for n in range(100 * number))
    return [row for row in candidates if by_hash(row.photo_id) == split][:number]


def hashed_dogs(number, split):
    """That many dogs, of two photos each, which the hash sends to one split."""
    names = (f"dog{n}" for n in range(100 * number))
    dogs = [name for name in names if by_hash(f"s/{name}", DOG_SHARES) == split][:number]
    return [of_dog(name, n) for name in dogs for n in range(2)]


def moved(row):
    return row.detail.startswith("moved to ")


def test_all_photos_of_a_dog_go_to_one_split():
    photos = [of_dog(number // 7, number) for number in range(700)]

    of_dogs = {}
    for row in split_assigner.assign(photos):
        of_dogs.setdefault(row.dog_id, set()).add(row.split)

    assert {len(found) for found in of_dogs.values()} == {1}
    assert {split for found in of_dogs.values() for split in found} == set(SPLITS)


def test_near_copies_go_to_one_split():
    photos = [of_breed("pug", n, group=f"s/pug/{n // 3 * 3}.jpg") for n in range(600)]

    groups = {}
    for row in split_assigner.assign(photos):
        groups.setdefault(row.group, set()).add(row.split)

    assert {len(found) for found in groups.values()} == {1}
    assert {split for found in groups.values() for split in found} == set(SPLITS)


def test_two_dogs_on_near_copies_of_one_picture_stay_together():
    # Rex and Ada were photographed in a row; so were Ada and Bo.
    def rows(seed):
        rex, ada, bo = (f"{name}{seed}" for name in ("rex", "ada", "bo"))
        return [
            of_dog(rex, 1),
            of_dog(rex, 2, group=f"s/{rex}/2.jpg"),
            of_dog(ada, 1, group=f"s/{rex}/2.jpg"),
            of_dog(ada, 2, group=f"s/{ada}/2.jpg"),
            of_dog(bo, 1, group=f"s/{ada}/2.jpg"),
            of_dog(bo, 2),
        ]

    found = [set(splits(rows(seed)).values()) for seed in range(100)]

    assert {len(split) for split in found} == {1}
    assert {split for (split,) in found} == set(SPLITS)


def test_a_unit_goes_where_the_hash_of_its_least_id_says():
    photos = [
        *(of_breed("pug", n) for n in range(10)),
        *(of_dog("rex", n) for n in range(3)),
        of_dog("zoe", 1, group="s/rex/9.jpg"),
        of_dog("rex", 9, group="s/rex/9.jpg"),
    ]

    found = splits(photos)

    for n in range(10):
        assert found[f"s/pug/{n}.jpg"] == by_hash(f"s/pug/{n}.jpg")
    dogs = [name for name in found if "pug" not in name]
    assert {found[name] for name in dogs} == {by_hash("s/rex", DOG_SHARES)}


def drawn_photos(seed):
    """Photos at random: breeds below and above 20 photos, dogs, near copies, rejected ones."""
    rng = random.Random(seed)
    photos = []
    for breed in (f"{seed}-{number}" for number in range(30)):
        for number in range(rng.choice([3, 15, 19, 20, 21, 22, 40])):
            group = f"s/{breed}/{number // 2 * 2}.jpg" if rng.random() < 0.2 else None
            photos.append(of_breed(breed, number, group=group))
    for dog in range(30):
        group = f"s/{seed}-dog{dog // 2 * 2}/0.jpg" if rng.random() < 0.1 else None
        photos += [of_dog(f"{seed}-dog{dog}", n, group=group) for n in range(rng.randint(1, 6))]
    rejected = {"split": None, "reason": Reason.NEAR_COPY, "group": None}
    return [dataclasses.replace(row, **rejected) if rng.random() < 0.05 else row for row in photos]


def units(photos):
    """The name of each accepted photo's unit: the least id that its dog and group are joined to."""
    groups = Groups()
    for row in photos:
        if row.dog_id and row.group:
            groups.join(row.dog_id, row.group)
    return {
        row.photo_id: groups.of(row.dog_id or row.group or row.photo_id)
        for row in photos
        if not row.reason
    }


@pytest.mark.parametrize("seed", range(20))
def test_a_photo_stands_where_its_hash_says_or_says_where_it_was_moved(seed):
    photos = drawn_photos(seed)
    names = units(photos)

    rows = split_assigner.assign(photos)

    for row in rows:
        if not row.reason:
            shares = DOG_SHARES if row.dog_id else BREED_SHARES
            stays = row.split == by_hash(names[row.photo_id], shares)
            assert stays != moved(row)
            what = "two dogs" if row.dog_id else f"a photo of {row.breed}"
            told = f"moved to {row.split}, which the hash left without {what}"
            assert row.detail == (told if moved(row) else "")


@pytest.mark.parametrize("seed", range(40))
def test_adding_photos_never_moves_one_but_to_complete_a_breed(seed):
    rng = random.Random(seed)
    photos = drawn_photos(seed)
    names = units(photos)
    share = rng.choice([0.3, 0.9])
    kept = {name for name in sorted(set(names.values())) if rng.random() < share}
    # What joins two dogs is there before: those that an added photo joins are another matter.
    joined = {names[row.photo_id] for row in photos if row.dog_id and row.group and not row.reason}
    few = [
        row
        for row in photos
        if names.get(row.photo_id) in kept and (names[row.photo_id] in joined or rng.random() < 0.9)
    ]
    many = rng.sample(photos, len(photos))

    before = {row.photo_id: row for row in split_assigner.assign(few)}
    after = {row.photo_id: row for row in split_assigner.assign(many)}

    changed = [name for name, row in before.items() if after[name].split != row.split]
    assert all(moved(before[name]) or moved(after[name]) for name in changed)
    for breed in {before[name].breed for name in changed if before[name].breed}:
        assert sum(row.breed == breed for row in after.values() if not row.reason) >= 20


def test_a_breed_that_grows_to_twenty_moves_only_what_completes_it():
    *nineteen, last = hashed("pug", 20, "train")

    before = splits(nineteen)
    after = split_assigner.assign([*nineteen, last])

    assert set(before.values()) == {"train"}
    assert {row.split for row in after if moved(row)} == {"val", "test"}
    assert {row.split for row in after if not moved(row)} == {"train"}
    assert sum(map(moved, after)) == 2


def test_a_photo_that_was_moved_goes_back_when_another_comes_to_stand_for_it():
    pugs = hashed("pug", 20, "train")
    more = [*hashed("pug", 1, "val"), *hashed("pug", 1, "test")]

    rows = split_assigner.assign([*pugs, *more])

    assert not any(map(moved, rows))
    assert all(row.split == by_hash(row.photo_id) for row in rows)


def test_adding_photos_to_small_breeds_and_dogs_never_moves_one():
    rows = [of_breed(str(breed), n) for breed in range(60) for n in range(19)]
    rows += [of_dog(f"dog{dog}", n) for dog in range(60) for n in range(19)]
    few = rows[::3]

    before, after = splits(few), splits(rows[::-1])

    assert {name: after[name] for name in before} == before


def test_other_breeds_and_dogs_never_move_a_completed_breed():
    pugs = hashed("pug", 20, "train")
    others = [*(of_breed("Shiba", n) for n in range(50)), *(of_dog("rex", n) for n in range(9))]

    alone = split_assigner.assign(pugs)
    together = split_assigner.assign([*others, *pugs])

    assert [row for row in together if row.breed == "pug"] == alone
    assert sum(map(moved, alone)) == 2


@pytest.mark.parametrize("size", range(20, 61))
def test_every_breed_of_twenty_photos_or_more_stands_in_every_split(size):
    photos = [of_breed(f"{size}-{seed}", n) for seed in range(60) for n in range(size)]
    found = {row.breed: set() for row in photos}
    for row in photos:
        found[row.breed].add(by_hash(row.photo_id))

    rows = split_assigner.assign(photos)

    counts = split_assigner.breed_counts(rows)
    assert len(counts) == 60
    assert all(counts[breed][split] >= 1 for breed in counts for split in SPLITS)
    assert split_assigner.evenness(rows)["incomplete"] == []
    assert sum(map(moved, rows)) == sum(len(SPLITS) - len(splits) for splits in found.values())


def test_a_breed_of_nineteen_is_left_to_the_hash():
    photos = [of_breed(str(seed), n) for seed in range(200) for n in range(19)]

    rows = split_assigner.assign(photos)

    assert all(row.split == by_hash(row.photo_id) for row in rows)
    assert not any(map(moved, rows))
    assert any(not n[split] for n in split_assigner.breed_counts(rows).values() for split in SPLITS)


@pytest.mark.parametrize("lacking", [("test",), ("val",), ("val", "test"), ("train", "val")])
def test_a_breed_gets_the_photo_whose_hash_comes_nearest(lacking):
    given = [split for split in SPLITS if split not in lacking]
    photos = [row for split in given for row in hashed("pug", 20, split)]
    middles = {"train": 0.0, "val": 0.775, "test": 1.0}

    rows = split_assigner.assign(photos)

    went = [row for row in rows if moved(row)]
    assert sorted(row.split for row in went) == sorted(lacking)
    for row in went:
        others = [it.photo_id for it in rows if not moved(it)]
        apart = {
            name: abs(split_assigner.place_of(name) - middles[row.split])
            for name in (*others, row.photo_id)
        }
        assert min(apart, key=apart.get) == row.photo_id
        assert row.detail == f"moved to {row.split}, which the hash left without a photo of pug"


def test_a_group_of_near_copies_is_moved_as_one():
    last = max(hashed("pug", 30, "train"), key=lambda row: split_assigner.place_of(row.photo_id))
    group = [dataclasses.replace(of_breed("pug", f"copy{n}"), group=last.photo_id) for n in "ab"]
    alone = [row for row in hashed("pug", 30, "train") if row != last]

    rows = split_assigner.assign([*alone, dataclasses.replace(last, group=last.photo_id), *group])

    assert {row.split for row in rows if row.group} == {"test"}
    assert all(moved(row) for row in rows if row.group)


def test_a_rejected_photo_does_not_make_a_breed_whole():
    photos = hashed("pug", 19, "train")

    rows = split_assigner.assign([*photos, of_breed("pug", "bad", reason=Reason.UNREADABLE)])

    assert {row.split for row in rows} == {"train", None}


def test_photos_of_dogs_are_not_moved_for_their_breed():
    photos = [
        dataclasses.replace(row, photo_id=f"{row.photo_id}/{n}", breed="pug", views=VIEWS)
        for row in hashed_dogs(9, "train")
        for n in range(3)
    ]

    rows = split_assigner.assign(photos)

    assert len(rows) > split_assigner.WHOLE_BREED
    assert {row.split for row in rows} == {"train"}


@pytest.mark.parametrize("number", range(10, 41, 3))
def test_of_ten_dogs_or_more_two_stand_in_every_split(number):
    for seed in range(40):
        names = [f"{number}-{seed}-{dog}" for dog in range(number)]
        found = Counter(by_hash(f"s/{name}", DOG_SHARES) for name in names)

        rows = split_assigner.assign([of_dog(name, n) for name in names for n in range(2)])

        stand = Counter(split for _, split in {(row.dog_id, row.split) for row in rows})
        assert min(stand[split] for split in SPLITS) >= 2
        missing = sum(max(0, 2 - found[split]) for split in SPLITS)
        assert len({row.dog_id for row in rows if moved(row)}) == missing
        assert stand.total() == number


def test_nine_dogs_are_left_to_the_hash():
    rows = split_assigner.assign(hashed_dogs(9, "train"))

    assert {row.split for row in rows} == {"train"}
    assert not any(map(moved, rows))


def test_the_tenth_dog_moves_only_those_that_complete_the_set():
    rows = split_assigner.assign(hashed_dogs(10, "train"))

    went = [row for row in rows if moved(row)]
    assert sorted(row.split for row in went) == ["test"] * 4 + ["val"] * 4  # two photos a dog
    assert {row.split for row in rows if not moved(row)} == {"train"}
    # The last dogs in the order of their places stood nearest to test, and the next ones to val.
    places = sorted({row.dog_id for row in rows}, key=split_assigner.place_of)
    assert {row.dog_id for row in went if row.split == "test"} == set(places[-2:])
    assert {row.dog_id for row in went if row.split == "val"} == set(places[-4:-2])
    assert {row.detail for row in went} == {
        "moved to test, which the hash left without two dogs",
        "moved to val, which the hash left without two dogs",
    }


def test_the_dogs_that_go_to_val_stood_nearest_to_its_middle():
    # Dogs go to val from 0.8 to 0.9.
    photos = [*hashed_dogs(20, "train"), *hashed_dogs(20, "test")]
    apart = {row.dog_id: abs(split_assigner.place_of(row.dog_id) - 0.85) for row in photos}

    rows = split_assigner.assign(photos)

    assert {row.dog_id for row in rows if moved(row)} == set(sorted(apart, key=apart.get)[:2])
    assert {row.split for row in rows if moved(row)} == {"val"}


def test_dogs_that_were_moved_go_back_when_others_come_to_stand_for_them():
    more = [*hashed_dogs(2, "val"), *hashed_dogs(2, "test")]

    rows = split_assigner.assign([*hashed_dogs(10, "train"), *more])

    assert not any(map(moved, rows))


def test_two_dogs_on_one_picture_still_count_as_two():
    """As a breed is counted in photos, however they are grouped."""
    dogs = hashed_dogs(10, "train")
    group = min(row.photo_id for row in (dogs[0], dogs[2]))
    joined = [
        dataclasses.replace(row, group=group) if place in (0, 2) else row
        for place, row in enumerate(dogs)
    ]

    rows = split_assigner.assign(joined)

    assert len({row.dog_id for row in rows}) == split_assigner.ENOUGH_DOGS
    assert {row.split for row in rows} == set(SPLITS)


def test_a_photo_that_is_a_near_copy_of_another_breeds_counts_for_its_own():
    """Labels disagree about near copies; a breed of 20 photos is one of 20 all the same."""
    pugs = hashed("pug", 20, "train")
    shared = dataclasses.replace(pugs[0], group=pugs[0].photo_id)
    other = of_breed("Shiba", 1, group=pugs[0].photo_id)

    rows = split_assigner.assign([shared, other, *pugs[1:]])

    assert {row.split for row in rows if row.breed == "pug"} == set(SPLITS)
    assert len({row.split for row in rows if row.group}) == 1


@pytest.mark.parametrize(
    ("shares", "make"),
    [(BREED_SHARES, lambda n: of_breed("pug", n)), (DOG_SHARES, lambda n: of_dog(n, 1))],
)
def test_shares_are_met_over_ten_thousand(shares, make):
    photos = [make(number) for number in range(10_000)]

    counts = Counter(splits(photos).values())

    # The standard deviation of a share is 0.005 at the most.
    for split, share in zip(SPLITS, shares, strict=True):
        assert counts[split] / 10_000 == pytest.approx(share, abs=0.015)


def test_the_shares_are_whole():
    assert sum(BREED_SHARES) == pytest.approx(1.0)
    assert sum(DOG_SHARES) == pytest.approx(1.0)


def test_a_place_is_known_for_ever():
    # sha256("a") starts with ca978112, sha256("b") with 3e23e816, sha256("hello") with 2cf24dba.
    assert split_assigner.place_of("a") == pytest.approx(0xCA978112 / 2**32)
    assert split_assigner.place_of("b") == pytest.approx(0x3E23E816 / 2**32)
    assert split_assigner.place_of("hello") == pytest.approx(0x2CF24DBA / 2**32)


def test_a_split_is_known_for_ever():
    # The places of a, b and hello: 0.79, 0.24, 0.17.
    halves = (0.2, 0.5, 0.3)

    assert by_hash("a", halves) == "test"
    assert by_hash("b", halves) == "val"
    assert by_hash("hello", halves) == "train"


@pytest.mark.parametrize(
    ("place", "split"),
    [
        (0.0, "train"),
        (0.699, "train"),
        (0.701, "val"),
        (0.849, "val"),
        (0.851, "test"),
        (0.999, "test"),
    ],
)
def test_places_are_divided_up_in_order(place, split):
    assert split_assigner.split_of(place, BREED_SHARES) == split


def test_a_rejected_photo_gets_no_split():
    rejected = photo(1, breed="pug", reason=Reason.UNREADABLE, detail="as it was")

    assert split_assigner.assign([rejected]) == [rejected]


@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_accepted_photo_has_one_split_and_the_rest_a_reason(seed, upstream):
    photos = [dataclasses.replace(row, listed="train") for row in drawn_photos(seed)]

    rows = split_assigner.assign(photos, upstream=upstream)

    assert [row.photo_id for row in rows] == [row.photo_id for row in photos]
    assert all(row.split in SPLITS for row in rows if not row.reason)
    assert all(row.split is None for row in rows if row.reason)


def test_without_the_flag_the_sources_lists_mean_nothing():
    photos = [of_breed("pug", n) for n in range(15)]
    listed = [dataclasses.replace(row, listed="test") for row in photos]

    assert splits(listed) == splits(photos)


def test_a_photo_that_is_listed_as_test_goes_to_test():
    photos = [of_breed(str(n % 9), n, listed="test") for n in range(300)]

    assert set(splits(photos, upstream=True).values()) == {"test"}


def test_photos_that_are_listed_as_train_go_to_train_or_val():
    photos = [of_breed(str(n % 9), n, listed="train") for n in range(10_000)]

    counts = Counter(splits(photos, upstream=True).values())

    # 0.70 / 0.85 = 0.8235; the standard deviation is 0.004.
    assert counts["train"] / 10_000 == pytest.approx(0.70 / 0.85, abs=0.012)
    assert counts["val"] / 10_000 == pytest.approx(0.15 / 0.85, abs=0.012)
    assert counts["test"] == 0


def test_photos_that_no_list_names_go_by_their_hash():
    listed = [of_breed("pug", n, listed="train") for n in range(5)]
    unlisted = [of_breed("pug", n) for n in range(5, 300)]

    found = splits([*listed, *unlisted, of_dog("rex", 1)], upstream=True)

    assert all(found[row.photo_id] == by_hash(row.photo_id) for row in unlisted)
    assert found["s/rex/1.jpg"] == by_hash("s/rex", DOG_SHARES)


def test_near_copies_with_one_that_is_listed_as_test_go_to_test_whole():
    photos = [
        of_breed("pug", 1, group="s/pug/1.jpg", listed="train"),
        of_breed("pug", 2, group="s/pug/1.jpg", listed="test"),
        of_breed("pug", 3, group="s/pug/1.jpg"),
        *(of_breed("pug", n, listed="train") for n in range(4, 60)),
    ]

    found = splits(photos, upstream=True)

    assert [found[f"s/pug/{n}.jpg"] for n in (1, 2, 3)] == ["test"] * 3
    assert "test" not in [found[f"s/pug/{n}.jpg"] for n in range(4, 60)]


def test_near_copies_with_one_that_is_listed_as_train_never_go_to_test():
    photos = [
        of_breed("pug", n, group=f"s/pug/{n // 2 * 2}.jpg", listed="train" if n % 2 else None)
        for n in range(600)
    ]

    assert set(splits(photos, upstream=True).values()) == {"train", "val"}


def test_the_sources_split_is_not_completed_but_the_dogs_are():
    photos = [of_breed("pug", n, listed="train") for n in range(60)]

    rows = split_assigner.assign([*photos, *hashed_dogs(10, "train")], upstream=True)

    assert not any(moved(row) for row in rows if not row.dog_id)
    assert {row.split for row in rows if row.dog_id} == {"train", "val", "test"}
    assert split_assigner.evenness(rows)["incomplete"] == ["pug"]


@pytest.mark.parametrize(
    "photos",
    [
        [],
        [of_breed("pug", n) for n in range(30)],
        [of_breed("pug", 1, listed="test", reason=Reason.UNREADABLE), of_breed("pug", 2)],
    ],
)
def test_no_list_at_all_is_an_error_that_names_the_flag(photos):
    with pytest.raises(DataError, match=r"^--upstream_splits: no photo is in a split list"):
        split_assigner.assign(photos, upstream=True)


def counted(breed, train, val, test):
    """Rows with their splits, as many of each as said."""
    numbers = {"train": train, "val": val, "test": test}
    return [
        of_breed(breed, f"{split}{n}", split=split)
        for split in SPLITS
        for n in range(numbers[split])
    ]


def test_evenness_is_the_least_median_and_greatest_share():
    rows = [
        *counted("a", 14, 3, 3),  # of 20: val 0.15, test 0.15
        *counted("b", 17, 1, 7),  # of 25: val 0.04, test 0.28
        *counted("c", 24, 12, 4),  # of 40: val 0.3, test 0.1
        *counted("d", 10, 0, 9),  # of 19: too few to count
        of_breed("a", "bad", reason=Reason.UNREADABLE),
        of_dog("rex", 1, split="val"),
    ]

    assert split_assigner.evenness(rows) == {
        "breeds": 4,
        "val": [0.04, 0.15, 0.3],
        "test": [0.1, 0.15, 0.28],
        "incomplete": [],
    }


def test_evenness_names_the_breeds_that_lack_a_split():
    rows = [*counted("b", 20, 0, 1), *counted("a", 0, 21, 7), *counted("c", 14, 3, 3)]

    found = split_assigner.evenness(rows)

    assert found["incomplete"] == ["a", "b"]
    # b: 0 and 1 of 21; a: 21 and 7 of 28; c: 3 and 3 of 20.
    assert found["val"] == [0.0, 0.15, 0.75]
    assert found["test"] == [0.048, 0.15, 0.25]


def test_evenness_of_no_large_breed_says_how_many_there_are():
    assert split_assigner.evenness(counted("a", 1, 1, 1)) == {"breeds": 1, "incomplete": []}
    assert split_assigner.evenness([]) == {"breeds": 0, "incomplete": []}


def test_a_breed_of_two_groups_stays_incomplete():
    groups = [of_breed("pug", n, group=f"s/pug/{n % 2}.jpg") for n in range(30)]
    whole = [of_breed("Shiba", n) for n in range(30)]

    rows = split_assigner.assign([*groups, *whole])

    assert split_assigner.evenness(rows)["incomplete"] == ["pug"]


def test_a_breed_of_three_groups_is_completed():
    groups = [of_breed("pug", n, group=f"s/pug/{n % 3}.jpg") for n in range(30)]

    counts = split_assigner.breed_counts(split_assigner.assign(groups))

    assert counts == {"pug": {"train": 10, "val": 10, "test": 10}}


def test_breeds_are_counted_by_split_as_the_breed_model_gets_them():
    rows = [
        *counted("b, c", 2, 1, 0),
        *counted("a", 0, 1, 3),
        of_breed("a", "bad", reason=Reason.UNREADABLE),
        of_dog("rex", 1, breed="a", split="train"),
    ]

    assert split_assigner.breed_table(rows) == 'breed,train,val,test\na,0,1,3\n"b, c",2,1,0\n'


def test_the_manifest_lists_the_photos_of_its_view_and_split():
    rows = [
        photo(1, breed="black, tan", split="train", views=BOXED, group="s/0.jpg"),
        photo(2, breed="pug", split="val", views=BOXED),
        photo(3, dog_id="dogs/rex", split="train", views=("individual",)),
        photo(4, breed="pug", reason=Reason.UNREADABLE, views=BOXED),
    ]

    breeds = split_assigner.manifest(rows, "cropped", "train")
    dogs = split_assigner.manifest(rows, "individual", "train")

    assert breeds == (
        "filename,label,source,uri,sha256,width,height,group\n"
        's/1.jpg,"black, tan",s,s/1.jpg,sha-1,30,20,s/0.jpg\n'
    )
    assert [row["label"] for row in csv.DictReader(io.StringIO(dogs))] == ["dogs/rex"]
    assert [row["group"] for row in csv.DictReader(io.StringIO(dogs))] == [""]


def test_a_dog_of_known_breed_is_labelled_by_the_view():
    both = [photo(1, breed="pug", dog_id="dogs/rex", split="test", views=VIEWS)]

    labels = {
        view: next(csv.DictReader(io.StringIO(split_assigner.manifest(both, view, "test"))))[
            "label"
        ]
        for view in ("uncropped", "individual")
    }

    assert labels == {"uncropped": "pug", "individual": "dogs/rex"}


@pytest.fixture
def node(tmp_path):
    """Runs the component over rows: upstream -> (the artifact, its folder)."""

    def run(rows, upstream=0):
        offered, splits = artifacts.PhotoCatalog(), artifacts.SplitManifest()
        offered.uri, splits.uri = str(tmp_path / "photos"), str(tmp_path / "splits")
        for folder in (offered.uri, splits.uri):
            (tmp_path / folder).mkdir()
        catalog.write(offered.uri, rows)
        executor = SplitAssigner.EXECUTOR_SPEC.executor_class()
        executor.Do(
            {"photos": [offered]}, {"splits": [splits]}, {"upstream": upstream, "code": "c"}
        )
        return splits, tmp_path / "splits"

    return run


def test_the_node_writes_the_ledger_and_a_table_for_each_view_and_split(node):
    photos = drawn_photos(1)

    splits, folder = node(photos)

    rows = list(catalog.read(str(folder)))
    assert rows == split_assigner.assign(photos)
    assert numbers(splits, "offered", "accepted", "rejected") == (
        len(photos),
        sum(1 for row in rows if row.split),
        sum(1 for row in rows if row.reason),
    )
    tables = {f"{view}-{split}.csv" for view in VIEWS for split in SPLITS}
    assert {path.name for path in folder.iterdir()} == {
        "photos-00000.jsonl",
        "breeds.csv",
        "rejected.csv",
        *tables,
    }
    listed = Counter()
    for name in tables:
        with open(folder / name, newline="") as file:
            table = list(csv.DictReader(file))
        listed.update(row["filename"] for row in table)
        assert set(table[0]) == {
            "filename", "label", "source", "uri", "sha256", "width", "height", "group"
        }  # fmt: skip
    assert listed == {row.photo_id: len(row.views) for row in rows if row.split}
    assert (folder / "breeds.csv").read_text() == split_assigner.breed_table(rows)


def test_the_node_keeps_to_the_sources_lists_where_it_is_told_to(node):
    photos = [of_breed("pug", n, listed="test") for n in range(9)]

    _, folder = node(photos, upstream=1)

    assert {row.split for row in catalog.read(str(folder))} == {"test"}


def test_the_rejected_are_listed_with_reason_and_what_was_found():
    rows = [photo(1, split="train"), photo(2, reason=Reason.UNREADABLE, detail="an empty file")]

    assert split_assigner.rejects(rows) == (
        "filename,source,reason,detail\ns/2.jpg,s,unreadable,an empty file\n"
    )
