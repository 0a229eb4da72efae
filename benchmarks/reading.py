"""How long it takes to know that data have not changed: what every run does first.

    python benchmarks/reading.py                    20,000 files of 40 kB, and an archive of 800 MB
    python benchmarks/reading.py --files 2000

Beside it the least that any way has to do, `hashlib.sha256` over one file after another, on the
same files, in turns. They lie in the page cache: it is the work that is measured, not the disk.
"""

import hashlib
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import folds

_BYTES = 40_000


def make_files(folder: pathlib.Path, count: int) -> None:
    """Writes `count` different files as photos of dogs, a hundred a dog."""
    noise = os.urandom(_BYTES)
    for number in range(count):
        path = folder / "individuals" / f"dog-{number // 100}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "big") + noise)


def make_archive(folder: pathlib.Path, count: int) -> None:
    """Writes one file as large as the others together; reading does not look into it."""
    path = folder / "individuals" / "all.tar"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for _ in range(count):
            file.write(os.urandom(_BYTES))


def one_after_another(folder: pathlib.Path) -> None:
    """The sha256 of every file, in one thread."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _row(name: str, folder: pathlib.Path, repeats: int) -> str:
    from components import dataset

    known = dataset.Seen()
    ways = {
        "plain": lambda: one_after_another(folder),
        "read": lambda: dataset.read_dataset(str(folder)),
        "trusting": lambda: dataset.read_dataset(str(folder), known),
    }
    dataset.read_dataset(str(folder), known)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            taken[way].append(_seconds(work))
    plain, read, trusting = (statistics.median(taken[way]) for way in ways)
    return f"| {name} | {plain:.2f} | {read:.2f} | {plain / read:.2f} | {trusting:.2f} |"


def main() -> None:
    """Measures, and prints a table in Markdown."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="how many")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way")
    arguments = parser.read()
    size = arguments.files * _BYTES // 1_000_000
    with tempfile.TemporaryDirectory() as place:
        folders = [pathlib.Path(place) / name for name in ("files", "archive")]
        make_files(folders[0], arguments.files)
        make_archive(folders[1], arguments.files)
        print("| what | plain sha256, s | every run, s | ratio | --trust_mtime, s |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, folder in zip(
            (f"{arguments.files:,} files, {size} MB", f"one archive, {size} MB"),
            folders,
            strict=True,
        ):
            print(_row(name, folder, arguments.repeats), flush=True)
    print(f"\n{folds.load()}")


if __name__ == "__main__":
    main()
