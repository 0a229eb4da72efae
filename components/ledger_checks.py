"""What DataGate asks of the ledger: rows of photos, no pixels, no statistics.

A check returns sentences, one a problem, that say what, where and how many; none when all is well.
"""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from components import catalog, copies, split_assigner
from components.catalog import SPLITS, Photo
from components.sources.base import Reason
from components.split_assigner import BREED_SHARES, DOG_SHARES, WHOLE_BREED

SIGMAS = 3  # standard deviations that chance is granted
_SHOWN = 5  # examples of a problem that a message lists
_ALWAYS = 3  # photos (or dogs) from which on a share says something
# What a source should seldom hold. Copies, dead links and cats are no fault of a source.
_FAULTS = {
    Reason.UNREADABLE,
    Reason.BAD_ANNOTATION,
    Reason.BOX_OUTSIDE_FRAME,
    Reason.UNKNOWN_BREED,
}


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much of what is wrong a data set may hold, as shares; `pipeline.gates` sets them.

    Attributes:
      share: by which a split's share may miss the intended one, chance aside.
      rejected: of a source's photos that may be unreadable, badly annotated, or of unknown breeds.
      copies: of the copies of photos that may name another breed than the photo.
      dogs: of the dogs that may share a photo with another dog.
      relabelled: of the photos that may have another label than in the last blessed run.
      lost: of a source's photos of the last blessed run that may be gone.
      same_data: of the last blessed run's photos that have to be there for the two to be compared.
      tiny: side of a dog below which a warning is given, pixels of the original.
      dark: brightness likewise, 0 to 1.
      flat: sharpness likewise, log10 of 1 + the variance of the Laplacian.
      grey: saturation likewise, 0 to 1.
    """

    share: float
    rejected: float
    copies: float
    dogs: float
    relabelled: float
    lost: float
    same_data: float
    tiny: int
    dark: float
    flat: float
    grey: float


def leaks(photos: Sequence[Photo]) -> list[str]:
    """Names every dog, exact copy and near copy that stands in more than one split.

    Near copies are found anew from the hashes: the gate takes nobody's word for it.
    """
    accepted = [photo for photo in photos if photo.split]
    near = copies.near_groups(accepted)
    problems = _parted("dog {}", accepted, lambda photo: photo.dog_id)
    exact = _parted("one photo", accepted, lambda photo: photo.sha256)
    nearly = _parted("one picture, copied,", accepted, lambda photo: near.get(photo.photo_id))
    return problems + exact + nearly


def _parted(what: str, photos: Iterable[Photo], key_of: Callable[[Photo], str | None]) -> list[str]:
    """The keys whose photos stand in more than one split, with photos of each."""
    of_key: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for photo in photos:
        key = key_of(photo)
        if key:
            of_key[key].setdefault(str(photo.split), []).append(photo.photo_id)
    return [
        f"{what.format(key)} stands in "
        + " and in ".join(f"{split} ({some(names)})" for split, names in sorted(found.items()))
        for key, found in of_key.items()
        if len(found) > 1
    ]


def count_mismatches(photos: Iterable[Photo], view: str, examples: Mapping[str, int]) -> list[str]:
    """Compares the number of Examples with the ledger, split by split; none may be empty."""
    expected = Counter(photo.split for photo in photos if catalog.in_view(photo, view))
    problems = []
    for split in SPLITS:
        if not expected[split]:
            problems.append(f"{view}: the split {split} is empty: add photos")
        if examples.get(split, 0) != expected[split]:
            problems.append(
                f"{view}: {split} has {examples.get(split, 0)} Examples, "
                f"the ledger says {expected[split]}"
            )
    return problems


@dataclasses.dataclass(frozen=True)
class Unit:
    """Photos of a view that no split may part: how many, where, and whether of a known dog."""

    photos: int
    split: str
    dog: bool


def units(photos: Iterable[Photo], view: str) -> list[Unit]:
    """The units of a view, as SplitAssigner made them."""
    rows = [photo for photo in photos if catalog.in_view(photo, view)]
    return [
        Unit(len(unit), str(unit[0].split), any(photo.dog_id for photo in unit))
        for unit in split_assigner.units(rows).values()
    ]


def effective(found: Iterable[Unit], split: str) -> float:
    """How many photos of their own a split's photos are worth (Kish's effective sample size).

    Photos of one dog, and near copies, are alike: they say little more than one of them.
    """
    sizes = [unit.photos for unit in found if unit.split == split]
    return sum(sizes) ** 2 / sum(size**2 for size in sizes) if sizes else 0.0


def uneven_shares(photos: Sequence[Photo], view: str, tolerance: float) -> list[str]:
    """Compares the share of each split with what the hash should give.

    Args:
      photos: the ledger.
      view: whose photos are counted.
      tolerance: by which a share may miss, on top of three standard deviations of chance.
    """
    found = units(photos, view)
    total = sum(unit.photos for unit in found)
    problems = []
    for place, split in enumerate(SPLITS):
        shares = [(unit, (DOG_SHARES if unit.dog else BREED_SHARES)[place]) for unit in found]
        expected = sum(unit.photos * share for unit, share in shares) / max(1, total)
        variance = sum(unit.photos**2 * share * (1 - share) for unit, share in shares)
        third = sum(
            unit.photos**3 * share * (1 - share) * (1 - 2 * share) for unit, share in shares
        )
        bound = tolerance + _seldom(variance, third) / max(1, total)
        share = sum(unit.photos for unit in found if unit.split == split) / max(1, total)
        if abs(share - expected) > bound:
            problems.append(
                f"{view}: {split} has {share:.0%} of the {total} photos, expected "
                f"{expected:.0%}, give or take {bound:.0%}"
            )
    return problems


def _seldom(variance: float, third: float) -> float:
    """What a sum seldom misses its mean by: standard deviations, and what its skewness adds.

    Args:
      variance: of the sum.
      third: its third central moment (Cornish and Fisher, 1938).
    """
    if not variance:
        return 0.0
    return SIGMAS * math.sqrt(variance) + abs(third) / variance * (SIGMAS**2 - 1) / 6


def missing_breeds(
    photos: Sequence[Photo], view: str, upstream: bool = False
) -> tuple[list[str], list[str]]:
    """The breeds of `WHOLE_BREED` photos or more that a split has none of.

    Args:
      photos: the ledger.
      view: whose photos are counted.
      upstream: the splits are those of the sources' own lists.

    Returns:
      The problems: breeds that SplitAssigner promises to every split. And the warnings: those that
      it can't, because their photos are of few dogs, or near copies, or listed by their source.
    """
    promised = split_assigner.whole_breeds(photos, upstream)
    problems: list[str] = []
    warnings: list[str] = []
    for breed, rows in sorted(_of_breed(photos, view).items()):
        splits = Counter(photo.split for photo in rows)
        missing = [split for split in SPLITS if not splits[split]]
        if missing and len(rows) >= WHOLE_BREED:
            there = ", ".join(f"{split} {splits[split]}" for split in SPLITS)
            (problems if breed in promised else warnings).append(
                f"{view}: no photo of {breed} in {' and '.join(missing)} ({there} photos)"
            )
    return problems, warnings


def few_photos(photos: Sequence[Photo], view: str) -> list[str]:
    """The breeds of fewer than `WHOLE_BREED` photos."""
    few = {
        breed: len(rows)
        for breed, rows in _of_breed(photos, view).items()
        if len(rows) < WHOLE_BREED
    }
    named = [f"{breed} ({number})" for breed, number in sorted(few.items(), key=lambda x: x[1])]
    if not few:
        return []
    many = "1 breed has" if len(few) == 1 else f"{len(few)} breeds have"
    return [f"{view}: {many} fewer than {WHOLE_BREED} photos: {some(named, None)}"]


def _of_breed(photos: Iterable[Photo], view: str) -> dict[str, list[Photo]]:
    rows: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.breed and catalog.in_view(photo, view):
            rows[photo.breed].append(photo)
    return dict(rows)


def mostly_rejected(photos: Iterable[Photo], bound: float) -> list[str]:
    """The sources of which a larger share than `bound` could not be used."""
    problems = []
    for source, row in catalog.count(photos).items():
        reasons = {reason: n for reason, n in row["reasons"].items() if reason in _FAULTS}
        number = sum(reasons.values())
        if _too_many(number, row["offered"], bound):
            named = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items()))
            problems.append(
                f"{source}: {number} of {row['offered']} photos can't be used ({named}), "
                f"at most {bound:.0%} may be so"
            )
    return problems


def shared_dog_ids(photos: Iterable[Photo]) -> list[str]:
    """The dog ids that photos of more than one source have: an id names one dog."""
    sources: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for photo in photos:
        if photo.split and photo.dog_id:
            sources[photo.dog_id].setdefault(photo.source, photo.photo_id)
    return [
        f"dog {dog} is in {len(found)} sources: {' and '.join(sorted(found.values()))}"
        for dog, found in sorted(sources.items())
        if len(found) > 1
    ]


def disagreeing_copies(photos: Sequence[Photo], bounds: Bounds) -> tuple[list[str], list[str]]:
    """Compares what a photo and its exact and near copies are said to show.

    Returns:
      The problems, more than the bounds allow; and the warnings, fewer.
    """
    rows = {photo.photo_id: photo for photo in photos}
    first = ((photo, photo.copy_of or photo.group) for photo in photos)
    pairs = [(photo, rows[name]) for photo, name in first if name in rows and rows[name] != photo]
    breeds = [(copy, kept) for copy, kept in pairs if _known(copy.breed) and _known(kept.breed)]
    other = [
        f"{copy.photo_id} ({copy.breed}), {kept.photo_id} ({kept.breed})"
        for copy, kept in breeds
        if copy.breed != kept.breed
    ]
    dogs = len({photo.dog_id for photo in photos if photo.split and photo.dog_id})
    twice = {
        tuple(sorted((str(copy.dog_id), str(kept.dog_id)))): f"{copy.photo_id}, {kept.photo_id}"
        for copy, kept in pairs
        if copy.dog_id and kept.dog_id and copy.dog_id != kept.dog_id
    }
    shared = [f"{one} and {two} ({names})" for (one, two), names in sorted(twice.items())]
    found = (
        (f"{len(other)} of {len(breeds)} copies name another breed than the photo that they "
         f"are copies of, at most {bounds.copies:.0%} may: {some(other, sep='; ')}",
         len(other), _too_many(len(other), len(breeds), bounds.copies)),
        (f"{len(shared)} pair{' of dogs shares' if len(shared) == 1 else 's of dogs share'} a "
         f"photo, so they are one dog or the photo is of neither; at most {bounds.dogs:.0%} of the "
         f"dogs may: {some(shared, sep='; ')}",
         len(shared), _too_many(len(shared), dogs, bounds.dogs)),
    )  # fmt: skip
    problems = [text for text, number, wrong in found if number and wrong]
    return problems, [text for text, number, wrong in found if number and not wrong]


def _known(breed: str | None) -> bool:
    return breed is not None and breed != copies.MIXED


def same_data(photos: Sequence[Photo], before: Sequence[Photo], bound: float) -> bool:
    """Whether enough of the photos of an earlier run are there, by name or by content."""
    names = {photo.photo_id for photo in photos}
    contents = {photo.sha256 for photo in photos}
    accepted = [photo for photo in before if photo.split]
    there = sum(photo.photo_id in names or photo.sha256 in contents for photo in accepted)
    return there > bound * len(accepted)


def relabelled(photos: Sequence[Photo], before: Sequence[Photo], bound: float) -> list[str]:
    """The sources in which photos have another breed or dog than the same bytes had before.

    Not where nothing was known: a breed that the vocabulary learns is no noise.
    """
    then = {photo.sha256: photo for photo in before if photo.split}
    both = [(photo, then[photo.sha256]) for photo in photos if photo.split and photo.sha256 in then]
    problems = []
    for source in sorted({photo.source for photo, _ in both}):
        own = [(now, old) for now, old in both if now.source == source]
        changed = [
            f"{now.photo_id} ({_label(old)}, now {_label(now)})"
            for now, old in own
            if _contradicts(now, old)
        ]
        if _too_many(len(changed), len(own), bound):
            problems.append(
                f"{source}: {len(changed)} of {len(own)} photos have another label than in the "
                f"last blessed run, at most {bound:.0%} may: {some(changed, sep='; ')}"
            )
    return problems


def _contradicts(now: Photo, old: Photo) -> bool:
    """Whether what was known of a photo is another thing now, or gone; to know more is none."""
    pairs = ((now.breed, old.breed), (now.dog_id, old.dog_id))
    return any(_known(then) and then != found for found, then in pairs)


def _label(photo: Photo) -> str:
    return " ".join(filter(None, (photo.breed, photo.dog_id))) or "no label"


def lost(photos: Sequence[Photo], before: Sequence[Photo], bound: float) -> list[str]:
    """The sources that lack more photos of an earlier run than `bound` allows."""
    names = {photo.photo_id for photo in photos if photo.split or photo.copy_of}
    contents = {photo.sha256 for photo in photos if photo.split or photo.copy_of}
    gone: defaultdict[str, list[str]] = defaultdict(list)
    accepted = [photo for photo in before if photo.split]
    for photo in accepted:
        if photo.photo_id not in names and photo.sha256 not in contents:
            gone[photo.source].append(photo.photo_id)
    total = Counter(photo.source for photo in accepted)
    return [
        f"{source}: {len(missing)} of {total[source]} photos of the last blessed run are not "
        f"accepted any more, at most {bound:.0%} may be gone: {some(missing)}"
        for source, missing in sorted(gone.items())
        if _too_many(len(missing), total[source], bound)
    ]


def lost_breeds(photos: Sequence[Photo], before: Sequence[Photo], view: str) -> list[str]:
    """The breeds of `WHOLE_BREED` photos or more in an earlier run of which none is left."""
    there = _of_breed(photos, view)
    return [
        f"{view}: {breed} has no photo any more, it had {len(rows)} in the last blessed run"
        for breed, rows in sorted(_of_breed(before, view).items())
        if len(rows) >= WHOLE_BREED and breed not in there
    ]


def tiny_dogs(photos: Iterable[Photo], view: str, side: int) -> list[str]:
    """The photos in which the dog is smaller than `side`, pixels of the original."""
    tiny = [
        f"{photo.photo_id} ({_side(photo, view):.0f})"
        for photo in photos
        if catalog.in_view(photo, view) and _side(photo, view) < side
    ]
    if not tiny:
        return []
    where = "1 photo" if len(tiny) == 1 else f"{len(tiny)} photos"
    return [f"{view}: in {where} the dog is smaller than {side} pixels: {some(tiny)}"]


def _side(photo: Photo, view: str) -> float:
    """The longer side of the dog, or of the photo where no box says where it is."""
    if photo.body_box is None or view == "individual":
        return max(photo.width, photo.height)
    xmin, ymin, xmax, ymax = photo.body_box
    return max(xmax - xmin, ymax - ymin)


def _too_many(number: int, total: int, bound: float) -> bool:
    return number >= _ALWAYS and number > bound * total


def some(names: Sequence[str], order: Callable[[str], str] | None = str, sep: str = ", ") -> str:
    """The first names, in order unless that is None, and how many more there are."""
    shown = sorted(names, key=order)[:_SHOWN] if order else names[:_SHOWN]
    more = len(names) - _SHOWN
    return sep.join(shown) + (f" and {more} more" if more > 0 else "")
