"""From cosines to probabilities, and whether a probability keeps what it says."""

import dataclasses

import numpy as np

PULL = 1e-3  # towards a flat curve, in standard deviations of the cosine
STEPS = 50  # of Newton's method; a handful do


def probability(cosines: np.ndarray, fit: tuple[float, float]) -> np.ndarray:
    """P(same dog) = sigmoid(scale * cosine + offset), float [P], of what `calibrate` fitted."""
    scale, offset = fit
    return np.asarray(1 / (1 + np.exp(-(scale * np.asarray(cosines) + offset))))


def balanced(same: np.ndarray) -> np.ndarray:
    """Weights under which pairs of the same dog and of different dogs sum to a half each.

    Args:
      same: bool [P].

    Returns:
      float [P]; all of it goes to the one kind when the other is missing.
    """
    return _alike(np.asarray(same, bool).astype(int))


def balanced_dogs(dogs_a: np.ndarray, dogs_b: np.ndarray) -> np.ndarray:
    """Weights as `balanced`, in which every dog, and every two dogs, count alike within their kind.

    A dog with twenty photos has 190 pairs of its own and one with three has three: by pairs, the
    curve of a few validation dogs would be that of the most photographed one.

    Args:
      dogs_a: [P], the dog on each pair's first photo.
      dogs_b: [P], the dog on its second.

    Returns:
      float [P], summing to 1.
    """
    names, index = np.unique(np.concatenate([dogs_a, dogs_b]), return_inverse=True)
    first, second = np.sort(index.reshape(2, -1), axis=0)
    group, pairs = np.unique(first * len(names) + second, return_inverse=True)
    of_one_dog = (group // len(names) == group % len(names)).astype(int)
    return (_alike(of_one_dog) / np.bincount(pairs))[pairs]


def _alike(kind: np.ndarray) -> np.ndarray:
    """Weights [P] that sum to 1, the same sum for each kind (int [P]) that there is."""
    count = np.bincount(kind)
    return np.asarray(1 / count[kind] / np.count_nonzero(count))


def calibrate(
    cosines: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Fits P(same dog) = sigmoid(scale * cosine + offset) on pairs (Platt, 1999).

    With weights of either kind above, 0.5 is where both are as likely when one in two pairs is the
    same dog. Newton's method on the weighted log-likelihood of the standardised cosine, with a
    slight pull to 0 that keeps perfectly separated pairs finite and is the same however narrow the
    range is that the cosines fill.

    Args:
      cosines: float [P].
      same: bool [P], both kinds present.
      weights: float [P] >= 0; None for `balanced`.

    Returns:
      (scale, offset).
    """
    weights = balanced(same) if weights is None else weights / weights.sum()
    centre = weights @ cosines
    spread = max(np.sqrt(weights @ np.square(cosines - centre)), 1e-6)
    inputs = np.stack([(cosines - centre) / spread, np.ones_like(cosines)], axis=1)
    inputs, pull = inputs.astype(np.float64), np.diag([PULL, 1e-6])
    parameters = np.zeros(2)
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ parameters, -30, 30)))
        gradient = inputs.T @ (weights * (probability - same)) + pull @ parameters
        curvature = (inputs.T * (weights * probability * (1 - probability))) @ inputs + pull
        parameters -= np.linalg.solve(curvature, gradient)
    scale = parameters[0] / spread
    return float(scale), float(parameters[1] - scale * centre)


@dataclasses.dataclass(frozen=True)
class Bin:
    """One row of a reliability table.

    Attributes:
      low: its lower edge, which belongs to the bin before it.
      high: its upper edge, which belongs to it.
      predicted: the weighted mean of the probabilities in it.
      observed: the weighted share of pairs in it that are the same dog.
      weight: its share of all weight.
    """

    low: float
    high: float
    predicted: float
    observed: float
    weight: float


def reliability(
    probability: np.ndarray,
    same: np.ndarray,
    weights: np.ndarray | None = None,
    bins: int = 10,
) -> list[Bin]:
    """The reliability diagram's table (Guo et al., 2017, arXiv:1706.04599).

    Args:
      probability: float [P] in 0..1, that a pair is the same dog.
      same: bool [P].
      weights: float [P] >= 0, for example `balanced(same)`; None for every pair alike.
      bins: how many of equal width.

    Returns:
      The bins that hold anything, in order.

    Raises:
      ValueError: no pairs, or a probability that is none.
    """
    probability, same = np.asarray(probability, np.float64), np.asarray(same, np.float64)
    if not probability.size:
        raise ValueError("no pairs to compare probabilities with")
    if not ((probability >= 0) & (probability <= 1)).all():
        wrong = probability[~((probability >= 0) & (probability <= 1))][0]
        raise ValueError(f"a probability lies in 0..1, found {wrong}")
    weights = np.ones_like(probability) if weights is None else weights
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], probability)
    held, predicted, observed = (
        np.bincount(place, weights * values, minlength=bins) for values in (1.0, probability, same)
    )
    return [
        Bin(
            float(edges[index]),
            float(edges[index + 1]),
            float(predicted[index] / held[index]),
            float(observed[index] / held[index]),
            float(held[index] / held.sum()),
        )
        for index in np.flatnonzero(held)
    ]


def expected_calibration_error(
    probability: np.ndarray,
    same: np.ndarray,
    weights: np.ndarray | None = None,
    bins: int = 10,
) -> float:
    """How far the probabilities lie from what is observed (Naeini et al., 2015), in 0..1.

    Args and Raises: as `reliability`, whose bins' distances are averaged by weight.

    Returns:
      0 at the best; 1, the worst, when a probability is no number, as of a model that broke.
    """
    if not np.isfinite(probability).all():
        return 1.0
    table = reliability(probability, same, weights, bins)
    return sum(row.weight * abs(row.observed - row.predicted) for row in table)
