import numpy as np

from components import pair_scores


def names(count, photos=2):
    ids = [f"s/{number}" for number in range(count)]
    return ids, [f"dog-{number // photos}" for number in range(count)]


def at_angles(*degrees):
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


def others(dogs):
    """For every photo some photo of another dog, here one that is half of the photos further on."""
    half = len(dogs) // 2
    nearest = (np.arange(len(dogs)) + half) % len(dogs)
    assert all(dogs[near] != dogs[photo] for photo, near in enumerate(nearest))
    return nearest


def test_few_photos_give_every_pair_once():
    first, second = pair_scores.choose_pairs(*names(4), np.zeros(4, int))

    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_many_photos_give_at_most_half_of_either_kind():
    # 300 photos of 3 dogs: 3 * 4,950 = 14,850 pairs of the same dog, 30,000 of others.
    ids, dogs = names(300, photos=100)

    first, second = pair_scores.choose_pairs(ids, dogs, others(dogs))

    same = np.array(dogs)[first] == np.array(dogs)[second]
    assert same.sum() == (~same).sum() == pair_scores.MOST_PAIRS // 2
    assert (first < second).all()
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(first)


def test_all_pairs_of_the_same_dog_are_kept_while_they_are_few():
    ids, dogs = names(300)

    first, second = pair_scores.choose_pairs(ids, dogs, others(dogs))

    same = np.array(dogs)[first] == np.array(dogs)[second]
    assert same.sum() == 150
    assert (~same).sum() == pair_scores.MOST_PAIRS // 2


def test_all_hard_negatives_are_kept():
    ids, dogs = names(300)
    nearest = others(dogs)

    first, second = pair_scores.choose_pairs(ids, dogs, nearest)

    chosen = set(zip(first.tolist(), second.tolist(), strict=True))
    assert {tuple(sorted((photo, int(near)))) for photo, near in enumerate(nearest)} <= chosen


def test_the_draw_depends_on_the_photos_alone():
    ids, dogs = names(300)
    renamed = [f"t/{number}" for number in range(300)]

    nearest = others(dogs)
    drawn, again = (pair_scores.choose_pairs(ids, dogs, nearest) for _ in range(2))
    other = pair_scores.choose_pairs(renamed, dogs, nearest)

    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)


def test_the_nearest_other_is_never_the_same_dog():
    embeddings = at_angles(0, 5, 12, 90)

    nearest = pair_scores.nearest_others(embeddings, ["a", "a", "b", "b"])

    assert nearest.tolist() == [2, 2, 1, 1]


def test_pairs_of_one_dog_and_look_alikes_are_hard():
    # Seen from a0 and a5 the nearest other dog is b12; from b12 it is a5, from b90 c80, from c80
    # b90. So the hard negatives are a0-b12, a5-b12 and b90-c80.
    dogs = ["a", "a", "b", "b", "c"]
    first, second = np.triu_indices(5, k=1)

    nearest = pair_scores.nearest_others(at_angles(0, 5, 12, 90, 80), dogs)
    sets = pair_scores.pair_sets(first, second, dogs, nearest, [""] * 5)

    found = zip(first.tolist(), second.tolist(), sets, strict=True)
    hard = [(a, b) for a, b, kinds in found if "hard" in kinds]
    assert hard == [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]


def test_every_pair_is_in_the_set_all():
    ids, dogs = names(6)
    nearest = pair_scores.nearest_others(at_angles(*range(0, 60, 10)), dogs)
    first, second = pair_scores.choose_pairs(ids, dogs, nearest)

    sets = list(pair_scores.pair_sets(first, second, dogs, nearest, [""] * 6))

    assert len(sets) == 15
    assert all(kinds[0] == "all" for kinds in sets)
    assert any(kinds == ["all", "other_breed"] for kinds in sets)


def test_negatives_are_split_by_whether_both_dogs_are_of_one_known_breed():
    dogs, breeds = ["a", "a", "b", "c", "d"], ["Pug", "Pug", "Pug", "", ""]
    first, second = np.triu_indices(5, k=1)

    sets = pair_scores.pair_sets(first, second, dogs, np.zeros(5, int), breeds)

    found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), sets, strict=True))
    of_one_breed = {pair for pair, kinds in found.items() if "same_breed" in kinds}
    of_others = {pair for pair, kinds in found.items() if "other_breed" in kinds}
    assert of_one_breed == {(0, 1), (0, 2), (1, 2)}  # the positive is in both
    assert of_others == set(found) - {(0, 2), (1, 2)}
