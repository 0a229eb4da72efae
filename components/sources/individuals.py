"""Your own photos of individual dogs: `individuals/<dog id>/*`, one folder a dog."""

from collections.abc import Iterable, Iterator, Sequence

from components.sources.base import Entry, Offer, Read, Remote, is_photo


class Individuals:
    """The `individuals/` folder. Photos show one dog, filling most of the frame."""

    name = "individuals"
    licence = "the user's own"
    layout = "individuals/<dog id>/<photo>.jpg"
    views: tuple[str, ...] = ("individual",)
    public = False

    def claims(self, name: str) -> bool:
        """Every photo that lies in a dog's folder."""
        return name.count("/") == 1 and is_photo(name)

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo, with its folder's name as the dog's."""
        for entry in entries:
            yield Offer(entry, dog_id=f"{self.name}/{entry.name.split('/')[0]}")

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """Nothing: these are the user's own."""
        return ()
