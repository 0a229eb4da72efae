import numpy as np
import pytest

from components import retrieval


def unit(array):
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def pack(dogs=40, photos=4, width=16, noise=0.8, seed=0):
    """Photos that scatter around their dog."""
    random = np.random.default_rng(seed)
    centres = np.repeat(unit(random.normal(size=(dogs, width))), photos, axis=0)
    scattered = centres + noise * unit(random.normal(size=(dogs * photos, width)))
    return unit(scattered), [f"dog-{number // photos:05d}" for number in range(dogs * photos)]


def looked_up(embeddings, dogs):
    """The searches of `retrieval.search`, one by one and in plain words: (right, others)."""
    names = sorted(set(dogs))
    random = np.random.default_rng(0)
    draws = min(retrieval.DRAWS, -(-retrieval.SEARCHES // (len(dogs) - len(names))))
    for _ in range(draws):
        gallery = {}
        for photo in random.permutation(len(dogs)):
            gallery.setdefault(dogs[photo], photo)
        for photo in sorted(set(range(len(dogs))) - set(gallery.values())):
            scores = {
                name: float(np.float32(embeddings[photo] @ embeddings[gallery[name]]))
                for name in names
            }
            right = scores.pop(dogs[photo])
            yield right, np.array(list(scores.values()))


@pytest.fixture(scope="module")
def measured():
    return retrieval.search(*pack())


@pytest.fixture(scope="module")
def expected():
    return list(looked_up(*pack()))


@pytest.mark.parametrize("k", retrieval.RANKS)
def test_recall_is_that_of_plain_loops(measured, expected, k):
    hits = [(others >= right).sum() < k for right, others in expected]

    assert measured.recall(k) == pytest.approx(np.mean(hits), abs=1e-9)


def test_an_interval_of_a_recall_takes_whole_dogs():
    # 200 dogs of five photos, of which 150 always see themselves first, and 50 always another dog:
    # a share of three quarters of 200, and not of the 800 probes that the dogs have.
    dogs = [f"dog-{number // 5:03d}" for number in range(1000)]
    found = retrieval.search(np.eye(200, dtype=np.float32).repeat(5, axis=0), dogs)
    found.before[-1] = found.dog >= 150

    low, high = found.interval(found.among(1))

    error = (0.75 * 0.25 / 200) ** 0.5
    assert found.recall(1) == pytest.approx(0.75)
    assert (low, high) == pytest.approx((0.75 - 1.96 * error, 0.75 + 1.96 * error), abs=error / 4)


def test_no_searches_have_no_interval():
    found = retrieval.search(unit(np.ones((2, 3))), ["a", "b"])

    assert np.isnan(found.interval(found.among(1))).all()


def test_the_median_rank_is_that_of_plain_loops(measured, expected):
    ranks = [(others >= right).sum() + 1 for right, others in expected]

    assert measured.median_rank() == np.median(ranks)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_alarms_and_finds_are_those_of_plain_loops(measured, expected, threshold):
    alarms = [others.max() >= threshold for _, others in expected]
    finds = [right > others.max() and right >= threshold for right, others in expected]

    assert measured.false_alarm(threshold) == pytest.approx(np.mean(alarms), abs=1e-9)
    assert measured.found(threshold) == pytest.approx(np.mean(finds), abs=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
def test_a_threshold_keeps_its_rate_and_is_the_least_that_does(measured, rate):
    threshold = measured.threshold(rate)

    assert measured.false_alarm(threshold) <= rate
    assert measured.false_alarm(np.nextafter(threshold, -np.inf)) > rate


def test_every_alarm_allowed_needs_no_threshold(measured):
    assert measured.threshold(1.0) == -np.inf


def test_in_a_smaller_gallery_dogs_are_found_more_often_and_alarms_are_rarer():
    measured = retrieval.search(*pack(dogs=120, noise=1.5))

    assert measured.sizes == [10, 30, 100, 120]
    recalls = [measured.gallery(place).recall(1) for place in range(4)]
    alarms = [measured.gallery(place).false_alarm(0.6) for place in range(4)]
    assert recalls == sorted(recalls, reverse=True)
    assert alarms == sorted(alarms)
    # Of a gallery of ten, drawn from other dogs of the same kind: as if there were no more.
    ten = retrieval.search(*pack(dogs=10, photos=100, noise=1.5, seed=1))
    assert recalls[0] == pytest.approx(ten.recall(1), abs=0.05)


@pytest.mark.parametrize("size", [600, 1000])
def test_an_extrapolation_comes_near_what_a_larger_gallery_gives(size):
    embeddings, dogs = pack(dogs=size, width=32, noise=1.5)
    some = 4 * 100
    small = retrieval.search(embeddings[:some], dogs[:some])
    large = retrieval.search(embeddings, dogs)

    beyond = small.beyond(size)

    for k in retrieval.RANKS:
        assert beyond.recall(k) == pytest.approx(large.recall(k), abs=0.04)
    assert large.recall(1) < small.recall(1) - 0.1  # there is something to foresee
    assert beyond.false_alarm(0.6) == pytest.approx(large.false_alarm(0.6), abs=0.04)
    assert beyond.threshold(0.05) == pytest.approx(large.threshold(0.05), abs=0.03)


def test_a_filter_leaves_out_dogs_of_other_classes():
    # Four dogs; the photos of dog 0 look more like dog 1, which is of another breed.
    embeddings = unit(np.array([[1, 0], [0.6, 0.8], [0.65, 0.75], [0.66, 0.75], [0, 1], [0.1, 1]]))
    dogs = ["0", "0", "1", "1", "2", "2"]
    breeds = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]], bool)

    plain = retrieval.search(embeddings, dogs)
    filtered = retrieval.search(embeddings, dogs, allowed=breeds)

    assert plain.recall(1) < 0.8
    assert filtered.recall(1) == 1.0


def test_a_filter_that_errs_loses_the_right_dog_and_counts_it():
    embeddings, dogs = pack(dogs=4, photos=2, noise=0.01)
    breeds = np.eye(2, dtype=bool)[[0, 1, 0, 0, 0, 0, 0, 0]]  # one photo of dog 0 looks like b

    filtered = retrieval.search(embeddings, dogs, allowed=breeds)

    assert filtered.recall(10) == pytest.approx(3 / 4)
    assert filtered.found(-1.0) == pytest.approx(3 / 4)
    assert filtered.median_rank() == 1.0


def test_more_photos_of_the_missing_dog_find_it_more_often():
    embeddings, dogs = pack(dogs=60, photos=6, noise=1.5)

    recalls = [retrieval.search(embeddings, dogs, photos=n).recall(1) for n in (1, 2, 4)]

    assert recalls[0] + 0.05 < recalls[1] < recalls[2]


def test_a_template_is_the_mean_of_its_photos():
    # Dog a looks to both sides of the probe, dog b stands still: alone, a's photos are farther.
    degrees = np.radians([40, -40, 0, 25, 25, 25])
    embeddings = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    dogs = ["a", "a", "a", "b", "b", "b"]

    found = retrieval.search(embeddings, dogs, photos=2)

    # The probe at 0: its template is at 0, b at 25. At 40: template at -20. At -40: at 20.
    assert found.before[-1].reshape(-1, 2)[:, 1].tolist().count(0) == len(found.right) // 2
    assert 0.5 < found.recall(1) < 1.0


def test_nothing_to_look_up_finds_nothing_and_alarms_nobody():
    found = retrieval.search(unit(np.eye(3)), ["a", "b", "c"])

    assert (found.recall(1), found.false_alarm(0.5), found.found(0.5)) == (0.0, 0.0, 0.0)
    assert found.median_rank() == np.inf
    assert found.beyond(1000).recall(1) == 0.0


def test_scores_that_are_no_numbers_find_nothing_and_alarm_always():
    embeddings, dogs = pack(dogs=5)

    found = retrieval.search(np.full_like(embeddings, np.nan), dogs)

    assert found.recall(5) == 0.0
    assert found.false_alarm(0.99) == 1.0
    assert found.found(0.1) == 0.0
