"""Copies of photos, across all sources: exact ones and near ones.

An exact copy has the very bytes of another photo and is used once. A near copy shows the same
picture, encoded or scaled or retouched again: across sources it is used once; inside a source all
are kept, as one group that no split may part.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from components.catalog import Photo
from components.sources.base import Reason
from models import perceptual
from models.vocabulary import MIXED


class Groups:
    """Disjoint sets of names (union-find), each known by the least of them."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Puts the sets of two names together."""
        first, second = sorted((self.of(one), self.of(other)))
        self._parents[second] = first

    def of(self, name: str) -> str:
        """The least name of the set that holds a name."""
        parent = self._parents.setdefault(name, name)
        while parent != name:
            self._parents[name] = self._parents[parent]  # halves the way for the next time
            name, parent = parent, self._parents[parent]
        return name


def mark(photos: Sequence[Photo]) -> list[Photo]:
    """Rejects the photos that are there twice, and groups the near copies that stay.

    Of copies, the photo that says most of its dog stays: one that names the dog before one that
    has boxes before one that has neither; of equals, the one with the least id. It takes over what
    the others know and it does not.
    """
    marked = list(photos)
    first: dict[str, int] = {}
    for place in sorted(range(len(photos)), key=lambda place: _rank(photos[place])):
        photo = photos[place]
        kept = first.setdefault(photo.sha256, place) if not photo.reason else place
        if kept != place:
            marked[place] = _copy(photo, Reason.EXACT_COPY, marked[kept])
            marked[kept] = _richer(marked[kept], photo)
    return _mark_near(marked)


def _richer(kept: Photo, copy: Photo) -> Photo:
    """A photo with what its exact copy knows and it does not."""
    kept = _listed_as(kept, copy)
    if not copy.breed or kept.breed not in (None, MIXED):
        return kept
    return dataclasses.replace(
        kept,
        breed=copy.breed,
        bodies=kept.bodies or copy.bodies,
        head_box=kept.head_box or copy.head_box,
        views=tuple(dict.fromkeys((*kept.views, *copy.views))),
    )


def _listed_as(kept: Photo, copy: Photo) -> Photo:
    """A picture that any source lists as test is a test picture."""
    listed = "test" if "test" in (kept.listed, copy.listed) else kept.listed or copy.listed
    return dataclasses.replace(kept, listed=listed)


def _rank(photo: Photo) -> tuple[bool, bool, str]:
    return photo.dog_id is None, not photo.bodies, photo.photo_id


def _copy(photo: Photo, reason: Reason, original: Photo) -> Photo:
    """The rejected row; it says so where the two disagree about what is shown."""
    pairs = ((photo.dog_id, original.dog_id), (photo.breed, original.breed))
    other = "".join(
        f", which says {said} where this says {own}"
        for own, said in pairs
        if own and said and own != said
    )
    return dataclasses.replace(
        photo,
        reason=reason,
        detail=f"of {original.photo_id}{other}",
        group=None,
        copy_of=original.photo_id,
    )


def _mark_near(photos: list[Photo]) -> list[Photo]:
    groups = near_groups(photos)
    members: dict[str, list[Photo]] = {}
    for photo in photos:
        if photo.photo_id in groups:
            members.setdefault(groups[photo.photo_id], []).append(photo)
    marked: dict[str, Photo] = {}
    for found in members.values():
        marked |= _mark_group(found)
    return [marked.get(photo.photo_id, photo) for photo in photos]


def _mark_group(photos: Sequence[Photo]) -> dict[str, Photo]:
    """The near copies of one picture: those of the best one's source stay, as a group."""
    original = min(photos, key=_rank)
    for photo in photos:
        original = _listed_as(original, photo)
    return {
        photo.photo_id: dataclasses.replace(_listed_as(photo, original), group=original.photo_id)
        if photo.source == original.source
        else _copy(photo, Reason.NEAR_COPY, original)
        for photo in photos
    }


def near_groups(photos: Iterable[Photo]) -> dict[str, str]:
    """For each accepted photo that has near copies: its id -> the least id of its group."""
    of_hash: dict[str, list[str]] = {}
    for photo in photos:
        if photo.phash and not photo.reason:
            of_hash.setdefault(photo.phash, []).append(photo.photo_id)
    groups = Groups()
    near = {name for names in of_hash.values() if len(names) > 1 for name in names}
    for first, *others in of_hash.values():
        for name in others:
            groups.join(first, name)
    hashes = list(of_hash)
    for one, other in perceptual.near_pairs(hashes):
        groups.join(of_hash[hashes[one]][0], of_hash[hashes[other]][0])
        near.update(of_hash[hashes[one]], of_hash[hashes[other]])
    return {name: groups.of(name) for name in near}
