"""Your own photos of known breeds: `breeds/<breed>/*`, one folder a breed, without boxes."""

from collections.abc import Iterable, Iterator, Sequence

from components.sources.base import Entry, Offer, Read, Remote, is_photo


class Breeds:
    """The `breeds/` folder. Photos show one dog, filling most of the frame."""

    name = "breeds"
    licence = "the user's own"
    layout = "breeds/<breed>/<photo>.jpg"
    # Not in the uncropped view: there, a photo without a box would be one without a dog.
    views: tuple[str, ...] = ("cropped",)
    public = False

    def claims(self, name: str) -> bool:
        """Every photo that lies in a breed's folder."""
        return name.count("/") == 1 and is_photo(name)

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo, with its folder's name as the breed."""
        for entry in entries:
            yield Offer(entry, breed=entry.name.split("/")[0])

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """Nothing: these are the user's own."""
        return ()
