"""What a refused model got most wrong: photos and pairs for whoever asks why."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models import examples, export

SHOWN = 5
_BATCH = 64


def of_pairs(split: str, part: str = "") -> list[str]:
    """The pairs whose score is furthest from the truth.

    Args:
      split: folder of the pairs' tf.Examples.
      part: a slice such as "pair/set:hard"; "" is all.

    Returns:
      `SHOWN` lines at most, the worst first.
    """
    wrong = (
        (
            abs(pair[examples.PAIR_LABEL][0] - pair[examples.PAIR_SCORE][0]),
            f"{pair[examples.PAIR_A][0]} and {pair[examples.PAIR_B][0]}: "
            f"{'one dog' if pair[examples.PAIR_LABEL][0] else 'two dogs'}, "
            f"same_dog {pair[examples.PAIR_SCORE][0]:.3f}",
        )
        for pair in _in(split, part)
    )
    return [text for off, text in heapq.nlargest(SHOWN, wrong) if not off <= 0.5]


def of_photos(split: str, model: str, part: str = "") -> list[str]:
    """The photos that are most surely taken for a wrong breed.

    Args:
      split: folder of the photos' tf.Examples.
      model: folder of the breed model's SavedModel.
      part: a slice such as "source:stanford"; "" is all.

    Returns:
      `SHOWN` lines at most, the worst first.
    """
    import tensorflow as tf

    answer = tf.saved_model.load(model).signatures["classify"]
    photos = export.training_photos(model)
    wrong: list[tuple[float, str]] = []
    for batch in _batches(_in(split, part, photos)):
        said = answer(image_bytes=tf.constant([photo[examples.ENCODED][0] for photo in batch]))
        first = said["classes"].numpy()[:, 0], said["probabilities"].numpy()[:, 0]
        for photo, name, sure in zip(batch, *first, strict=True):
            true = photo[examples.BREED][0]
            if name.decode() != true:
                sure = float(np.nan_to_num(sure, nan=1.0))
                told = (
                    f"{photo[examples.PHOTO_ID][0]}: {true}, taken for {name.decode()} ({sure:.3f})"
                )
                wrong.append((sure, told))
        wrong = heapq.nlargest(SHOWN, wrong)
    return [text for _, text in wrong]


def _in(
    split: str, part: str, photos: Mapping[str, int] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The Examples of a slice, as lists of values by feature; text is str, photos are bytes.

    Args:
      split: folder of the tf.Examples.
      part: the slice; "" is all.
      photos: how many a breed model was trained on, by breed.
    """
    import tensorflow as tf

    feature, _, value = part.partition(":")
    for _, data in examples.scan(split):
        found = {
            name: _values(name, kinds)
            for name, kinds in tf.train.Example.FromString(data).features.feature.items()
        }
        values = found.get(feature, ())
        if part and not values:
            values = [examples.buckets(examples.facts(data), photos).get(feature)]
        if not part or value in map(str, values):
            yield found


def _values(name: str, feature: Any) -> Sequence[Any]:
    if feature.bytes_list.value and name != examples.ENCODED:
        return [text.decode() for text in feature.bytes_list.value]
    for kind in (feature.bytes_list, feature.int64_list, feature.float_list):
        if kind.value:
            return list(kind.value)
    return []


def _batches(rows: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
