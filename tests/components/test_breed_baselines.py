import numpy as np
import pytest

from components import breed_baselines, colours
from models import examples

RED, GREEN, BLUE = (220, 10, 10), (10, 220, 10), (10, 10, 220)


@pytest.fixture
def split(tmp_path, write_split, encoded):
    """Writes one-coloured photos: (name, [(colour, label), ...]) -> the split's folder."""

    def write(name, photos):
        rows = []
        for number, (colour, label) in enumerate(photos):
            image = np.full((16, 16, 3), colour, np.uint8)
            rows.append(
                examples.serialize(
                    {
                        examples.PHOTO_ID: f"{name}/{number}",
                        examples.ENCODED: encoded(image, "PNG"),
                        examples.LABEL: label,
                    }
                )
            )
        return write_split(tmp_path / f"Split-{name}", rows)

    return write


def test_baselines_by_hand(split):
    train = split("train", [(RED, 3), (RED, 3), (RED, 3), (GREEN, 5), (GREEN, 5), (BLUE, 5)])
    # The commonest is 3, as often as 5, with the least label: right twice of four. By colour: red
    # is 3 (right, wrong), green is 5 (right), and so is blue, for 3 never is (wrong).
    test = split("test", [(RED, 3), (RED, 5), (GREEN, 5), (BLUE, 3)])

    assert breed_baselines.measure(train, test) == {
        "majority": {"top1": 0.5},
        "histogram": {"top1": 0.5},
    }


def test_a_breed_without_training_photos_is_never_right(split):
    train = split("train", [(RED, 1), (GREEN, 2), (GREEN, 2)])
    test = split("test", [(RED, 0), (RED, 1), (BLUE, 7)])

    found = breed_baselines.measure(train, test)

    assert found["majority"]["top1"] == 0.0
    assert found["histogram"]["top1"] == pytest.approx(1 / 3)


def test_more_photos_than_a_batch_are_all_counted(split, monkeypatch):
    photos = [((number * 5, 40, 200), number % 3) for number in range(10)]
    folder = split("train", photos)
    whole = breed_baselines.breed_means(folder)
    monkeypatch.setattr(breed_baselines, "_BATCH", 4)

    means, counts = breed_baselines.breed_means(folder)

    assert counts.tolist() == [4, 3, 3]
    assert means == pytest.approx(whole[0])


def test_means_are_those_of_the_histograms_and_distances_are_euclidean(split):
    folder = split("train", [(RED, 0), (GREEN, 0), (BLUE, 2)])
    photos = [examples.encoded_image(data) for _, data in examples.scan(folder)]
    histograms = colours.histograms(photos)

    means, counts = breed_baselines.breed_means(folder)
    found = breed_baselines.distances(histograms, means)

    assert counts.tolist() == [2, 0, 1]
    assert means[0] == pytest.approx(histograms[:2].mean(axis=0))
    wanted = [np.square(histograms - mean).sum(axis=1) for mean in (means[0], means[2])]
    assert found[:, [0, 2]] == pytest.approx(np.stack(wanted, axis=1), abs=1e-6)
    assert np.isinf(found[:, 1]).all()
