"""How a lost-dog service finds, and how it errs: identification in a closed and in an open set.

A gallery holds a template of every missing dog; each photo that somebody sends in is a probe. In
the closed set the probe's dog is in the gallery, and counts by its rank; in the open set it is not,
and whatever passes the threshold is a false alarm: a family's wrong hope. (Terms: ISO/IEC 19795-1;
Grother and Ngan, NIST IR 8009, 2014.)
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

RANKS = (1, 5, 10)
DRAWS = 100  # of the gallery; fewer where `SEARCHES` are enough
SEARCHES = 100_000
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
PHOTOS = (1, 2, 3, 5)
_RESAMPLES = 1000
_ROWS = 1024  # probes whose similarities are held at a time
_TAIL = 1_000_000  # scores of other dogs that an extrapolation is drawn from


@dataclasses.dataclass
class Searches:
    """What became of every probe of some draws.

    Attributes:
      sizes: of the galleries, ascending; the last one holds every dog.
      before: how many other dogs of such a gallery stand before the right one, int [sizes, S];
        ties count against the model.
      right: the score of the right dog, float [S]; -inf where it was left out.
      best: the best score of another dog, float [sizes, S].
      mean, spread: of the scores of the other dogs, float [S].
      kept: the share of the other dogs that a filter lets through, float [S].
      tail: scores of other dogs, less the mean of their probe, over its spread; sorted float [T].
      dog: whose photo the probe is, int [S].
    """

    sizes: Sequence[int]
    before: np.ndarray
    right: np.ndarray
    best: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    kept: np.ndarray
    tail: np.ndarray
    dog: np.ndarray

    def gallery(self, place: int) -> "Searches":
        """The same in the gallery of `sizes[place]` dogs alone."""
        parts = {"before": self.before[[place]], "best": self.best[[place]]}
        return dataclasses.replace(self, sizes=[self.sizes[place]], **parts)

    def recall(self, k: int) -> float:
        """The share of probes whose dog is among the first k, in the largest gallery."""
        return _share(self.among(k))

    def interval(self, hits: np.ndarray) -> tuple[float, float]:
        """The 95 % interval of a share of the probes, for other dogs of the same kind.

        Bootstrap by dog, whose probes come and go together (Efron and Tibshirani, 1993).

        Args:
          hits: which probes count, bool [S].
        """
        hits, probes = np.bincount(self.dog, hits), np.bincount(self.dog)
        hits, probes = hits[probes > 0], probes[probes > 0]
        if not probes.size:
            return math.nan, math.nan
        equal = np.full(len(probes), 1 / len(probes))
        times = np.random.default_rng(0).multinomial(len(probes), equal, size=_RESAMPLES)
        low, high = np.percentile(times @ hits / (times @ probes), (2.5, 97.5))
        return float(low), float(high)

    def among(self, k: int) -> np.ndarray:
        """Which probes have their dog among the first k: bool [S]."""
        return np.asarray((self.before[-1] < k) & np.isfinite(self.right))

    def identified(self, threshold: float) -> np.ndarray:
        """Which probes have their dog first, where it reaches the threshold: bool [S]."""
        return np.asarray((self.before[-1] < 1) & (self.right >= threshold))

    def alarmed(self, threshold: float) -> np.ndarray:
        """Of which probes another dog reaches the threshold: bool [S]."""
        return ~(self.best[-1] < threshold)

    def median_rank(self) -> float:
        """The median place of the right dog, 1 is first; inf where it is left out too often."""
        if not self.right.size:
            return float("inf")
        rank = np.where(np.isfinite(self.right), self.before[-1] + 1.0, np.inf)
        return float(np.median(rank))

    def false_alarm(self, threshold: float) -> float:
        """How often another dog reaches the threshold when the right one is not there."""
        return _share(self.alarmed(threshold))

    def found(self, threshold: float) -> float:
        """How often the right dog comes first and reaches the threshold: true identification."""
        return _share(self.identified(threshold))

    def threshold(self, rate: float) -> float:
        """The least threshold whose false-alarm rate is at most `rate`."""
        best = np.sort(self.best[-1])[::-1]
        if not best.size:
            return float("inf")
        allowed = int(rate * best.size)
        return float(np.nextafter(best[allowed], np.inf)) if allowed < best.size else -np.inf

    def beyond(self, size: int) -> "Beyond":
        """The same for a gallery of more dogs than there are, by extrapolation."""
        return Beyond(self, size)


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if hits.size else 0.0


@dataclasses.dataclass(frozen=True)
class Beyond:
    """Searches of a gallery that is larger than the one that was measured.

    Each further dog scores as a random one of those that are there: the scores of a probe's other
    dogs, standardised, are pooled over all probes, and the gallery is filled up by draws from the
    pool. What comes of infinitely many such draws is computed, not drawn: the number of dogs before
    the right one is binomial. (That all probes have one shape of tail is an assumption, and that
    dogs from elsewhere look no more alike than these is another.)

    Attributes:
      measured: the searches that it is drawn from.
      size: of the gallery, dogs.
    """

    measured: Searches
    size: int

    def _share(self, scores: Any) -> np.ndarray:
        """How likely another dog reaches a score, for every search: float [S]."""
        own = self.measured
        standard = (scores - own.mean) / own.spread
        above = len(own.tail) - np.searchsorted(own.tail, standard, side="left")
        return np.asarray(own.kept * above / max(len(own.tail), 1))

    def recall(self, k: int) -> float:
        """As `Searches.recall`."""
        from scipy import stats

        own = self.measured
        if not own.right.size:
            return 0.0
        there = np.isfinite(own.right)
        share = self._share(np.where(there, own.right, np.inf))
        return float((there * stats.binom.cdf(k - 1, self.size - 1, share)).mean())

    def false_alarm(self, threshold: float) -> float:
        """As `Searches.false_alarm`."""
        if not self.measured.right.size:
            return 0.0
        return float((1 - (1 - self._share(threshold)) ** self.size).mean())

    def threshold(self, rate: float) -> float:
        """As `Searches.threshold`, by bisection."""
        own = self.measured
        if not own.right.size:
            return float("inf")
        low, high = -2.0, 2.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self.false_alarm(middle) <= rate else (middle, high)
        return high


def search(
    embeddings: np.ndarray,
    dogs: Sequence[str],
    photos: int = 1,
    allowed: np.ndarray | None = None,
) -> Searches:
    """Draws galleries and looks every other photo up in them.

    Args:
      embeddings: float [N, D], unit length.
      dogs: [N].
      photos: of each dog in the gallery, whose mean is its template; a dog that has no more gives
        all but one of them, and one photo alone is never a probe.
      allowed: bool [N, K], the classes that a filter sees in each photo: a probe is compared with
        the dogs that share one with it. Without it with all of them.
    """
    names, dog = np.unique(np.asarray(dogs), return_inverse=True)
    count = len(names)
    sizes = [size for size in SIZES if size < count] + [count]
    random, shuffle = np.random.default_rng(0), np.random.default_rng(1)
    probes = len(dog) - count
    draws = min(DRAWS, max(1, -(-SEARCHES // max(probes, 1))))
    taken = max(1, _TAIL // max(1, draws * probes))
    parts = [
        part
        for _ in range(draws)
        for part in _draw(embeddings, dog, photos, allowed, sizes, taken, random, shuffle)
    ]
    joined = [np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)]
    before, right, best, mean, spread, kept, tail, whose = joined
    return Searches(sizes, before, right, best, mean, spread, kept, np.sort(tail), whose)


def _draw(
    embeddings: np.ndarray,
    dog: np.ndarray,
    photos: int,
    allowed: np.ndarray | None,
    sizes: Sequence[int],
    taken: int,
    random: np.random.Generator,
    shuffle: np.random.Generator,
) -> Any:
    """One gallery: the parts of `Searches`, some rows at a time."""
    order = random.permutation(len(dog))
    grouped = order[np.argsort(dog[order], kind="stable")]
    counts = np.bincount(dog)
    place = np.arange(len(dog)) - np.repeat(np.cumsum(counts) - counts, counts)
    own = np.minimum(photos, np.maximum(counts - 1, 1))
    inside = place < np.repeat(own, counts)
    chosen, probes = grouped[inside], np.sort(grouped[~inside])
    starts = np.cumsum(own) - own
    templates = np.add.reduceat(embeddings[chosen], starts, axis=0)
    templates /= np.maximum(np.linalg.norm(templates, axis=1, keepdims=True), 1e-12)
    seen = None if allowed is None else np.logical_or.reduceat(allowed[chosen], starts, axis=0)
    columns = shuffle.permutation(len(counts))
    where = np.argsort(columns)
    for start in range(0, max(len(probes), 1), _ROWS):
        rows = probes[start : start + _ROWS]
        scores = (embeddings[rows] @ templates[columns].T).astype(np.float64)
        if allowed is not None and seen is not None:
            scores[~(allowed[rows].astype(int) @ seen[columns].T.astype(int) > 0)] = -np.inf
        yield *_of(scores, where[dog[rows]], sizes, taken), dog[rows]


def _of(scores: np.ndarray, place: np.ndarray, sizes: Sequence[int], taken: int) -> Any:
    """What becomes of some probes.

    Args:
      scores: float [S, dogs], the dogs in random order.
      place: of the right dog among them, int [S].
      sizes: of the galleries.
      taken: how many scores of other dogs go into the tail, of each probe.
    """
    rows = np.arange(len(scores))
    right = scores[rows, place]
    scores[rows, place] = scores[:, -1]  # the others, still in random order
    others = scores[:, :-1]
    ahead = ~(others < right[:, np.newaxis])
    before = np.stack([ahead[:, : size - 1].sum(axis=1) for size in sizes])
    best = np.stack([others[:, :size].max(axis=1, initial=-np.inf) for size in sizes])
    there = np.isfinite(others)
    counted = np.maximum(there.sum(axis=1), 1)
    mean = np.where(there, others, 0).sum(axis=1) / counted
    spread = np.sqrt((np.where(there, others - mean[:, np.newaxis], 0) ** 2).sum(axis=1) / counted)
    spread = np.maximum(spread, 1e-12)
    some = ((others - mean[:, np.newaxis]) / spread[:, np.newaxis])[:, :taken]
    kept = there.mean(axis=1) if others.shape[1] else np.zeros(len(rows))
    return before, right, best, mean, spread, kept, some[np.isfinite(some)]
