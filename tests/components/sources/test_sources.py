"""What every source promises. A new source needs an example here, and nothing else.

Each example is laid out in every way its files may lie: unpacked, in the archives of its public
place, or packed by the user as any tar or zip, with or without the name of the source's folder in
front. Nobody may be able to tell the difference.
"""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import posixpath
import tarfile
import threading
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import scipy.io

from components import archives, catalog, dataset, download
from components.download import Patience
from components.sources.base import Reason
from components.sources.registry import SOURCES
from models import pixels, vocabulary

HEIGHT, WIDTH = 24, 32
FOREIGN = ("README.md", "licence.pdf", ".DS_Store", "a/b/c/deep.jpg", "__MACOSX/._photo.jpg")
NOTHING = {
    "breed": None,
    "dog_id": None,
    "bodies": (),
    "head_box": None,
    "listed": None,
    "problem": None,
}


@dataclasses.dataclass(frozen=True)
class Example:
    """A small source.

    Attributes:
      files: those that the source claims, by their path inside it.
      offers: what is known of each photo beyond NOTHING, by its path.
      breeds: the breeds that are offered -> their canonical names, None for one that is unknown.
      foreign: files among them that it does not claim.
    """

    files: dict[str, bytes]
    offers: dict[str, dict[str, object]]
    breeds: dict[str, str | None]
    foreign: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way to lay files out: which archive each lies in, "" for none, and under which name."""

    archive: Callable[[str], str]
    inside: str = "{}"
    method: int = zipfile.ZIP_DEFLATED

    def lay(self, folder, files):
        """Puts files into the folder of a source."""
        packed: dict[str, dict[str, bytes]] = {}
        for name, data in sorted(files.items()):
            archive = self.archive(name)
            if archive:
                member = self.inside.format(name)
                packed.setdefault(archive, {})[member] = data
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        for archive, members in packed.items():
            folder.mkdir(parents=True, exist_ok=True)
            if archive.lower().endswith(".tar"):
                write_tar(folder / archive, members)
            else:
                write_zip(folder / archive, members, self.method)


def folders_of(members):
    """The folders of some files, as archives list them."""
    found = {posixpath.dirname(name) for name in members}
    return sorted(f"{name}/" for name in found if name not in ("", "."))


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for folder in folders_of(members):
            item = tarfile.TarInfo(folder)
            item.type = tarfile.DIRTYPE
            tar.addfile(item)
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            tar.addfile(item, io.BytesIO(data))


def write_zip(path, members, method):
    with zipfile.ZipFile(path, "w", method) as archive:
        for folder in folders_of(members):
            archive.writestr(folder, b"")
        for name, data in members.items():
            archive.writestr(name, data)


def stanford(photo):
    xml = (
        b"<annotation><filename>%s</filename><object><name>dog</name><bndbox><xmin>2</xmin>"
        b"<ymin>3</ymin><xmax>20</xmax><ymax>18</ymax></bndbox></object></annotation>"
    )
    shih, flat, curly, tan = (
        "n02086240-Shih-Tzu/n02086240_1",
        "n02099267-flat-coated_retriever/n02099267_2",
        "n02099429-curly-coated_retriever/n02099429_3",
        "n02089078-black-and-tan_coonhound/n02089078_4",
    )
    two = xml.replace(b"</object>", b"</object>" + xml[xml.index(b"<object>") : -13], 1)
    outside = xml.replace(b">20<", b">2000<")
    body = (2.0, 3.0, 20.0, 18.0)
    return Example(
        files={
            **{f"Images/{name}.jpg": photo(seed) for seed, name in enumerate((shih, flat, tan))},
            f"Images/{curly}.jpg": photo(3, "PNG"),  # as n02105855_2933.jpg is one
            f"Annotation/{shih}": two,
            f"Annotation/{flat}": xml,
            f"Annotation/{curly}": outside,
            "train_list.mat": split_list(f"{shih}.jpg", f"{flat}.jpg"),
            "test_list.mat": split_list(f"{curly}.jpg"),
        },
        offers={
            f"Images/{shih}.jpg": {"breed": "Shih-Tzu", "bodies": (body, body), "listed": "train"},
            f"Images/{flat}.jpg": {
                "breed": "flat-coated_retriever", "bodies": (body,), "listed": "train"
            },
            f"Images/{curly}.jpg": {
                "breed": "curly-coated_retriever",
                "bodies": ((2.0, 3.0, 2000.0, 18.0),),
                "listed": "test",
            },
            f"Images/{tan}.jpg": {
                "breed": "black-and-tan_coonhound", "problem": Reason.BAD_ANNOTATION
            },
        },
        breeds={
            "Shih-Tzu": "Shih-Tzu",
            "flat-coated_retriever": "flat-coated retriever",
            "curly-coated_retriever": "curly-coated retriever",
            "black-and-tan_coonhound": "black-and-tan coonhound",
        },
        foreign=(
            "file_list.mat",
            "Images/n02086240-Shih-Tzu/Thumbs.db",
            "Images/n02086240-Shih-Tzu/._n02086240_1.jpg",
            "Annotation/n02086240-Shih-Tzu/.DS_Store",
        ),
    )  # fmt: skip


def split_list(*names):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"file_list": np.array([[name] for name in names], object)})
    return buffer.getvalue()


def tsinghua(photo):
    def dog(body, head):
        return "<object>" + box("headbndbox", head) + box("bodybndbox", body) + "</object>"

    def box(tag, edges):
        named = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
        return f"<{tag}>" + "".join(f"<{edge}>{at}</{edge}>" for edge, at in named) + f"</{tag}>"

    def xml(*dogs):
        return f"<annotation>{''.join(dogs)}</annotation>".encode()

    large, its_head, small, other = (2, 3, 20, 18), (3, 4, 8, 9), (1, 1, 6, 5), (2, 2, 4, 4)
    airedale, shih = "200-n000008-Airedale/n107026.jpg", "200-n000013-Shih_Tzu/n120000.jpeg"
    fila, bare = "209-n000094-Fila Braziliero/n1.jpg", "200-n000008-Airedale/n107027.jpg"
    return Example(
        files={
            **{
                f"low-resolution/{name}": photo(seed)
                for seed, name in enumerate((airedale, shih, fila, bare))
            },
            f"Low-Annotations/{airedale}.xml": xml(dog(small, other), dog(large, its_head)),
            f"Low-Annotations/{shih}.xml": xml(dog(large, its_head)),
            f"Low-Annotations/{fila}.xml": xml(dog(large, its_head)).replace(b"head", b"tail"),
            "train.lst": f".//{airedale}\n.//{fila}\n".encode(),
            "validation.lst": f".//{shih}\n".encode(),
        },
        offers={
            f"low-resolution/{airedale}": {
                "breed": "Airedale", "bodies": (small, large), "head_box": its_head,
                "listed": "train",
            },
            f"low-resolution/{shih}": {
                "breed": "Shih_Tzu", "bodies": (large,), "head_box": its_head, "listed": "test"
            },
            f"low-resolution/{fila}": {
                "breed": "Fila Braziliero", "bodies": (large,), "listed": "train"
            },
            f"low-resolution/{bare}": {"breed": "Airedale", "problem": Reason.BAD_ANNOTATION},
        },
        breeds={
            "Airedale": "Airedale", "Shih_Tzu": "Shih-Tzu", "Fila Braziliero": "Fila Brasileiro"
        },
        foreign=(
            "low-resolution/loose.jpg",
            "low-resolution/200-n000008-Airedale/._n107026.jpg",
            "Low-Annotations/200-n000008-Airedale/Thumbs.db",
        ),
    )  # fmt: skip


def austin(photo):
    dogs = (
        "\ufeffAnimalID,AnimalInternal-ID,AnimalName,AnimalType,AnimalBreed\n"
        'A1,101,Rex,Dog,"Retriever, Golden"\n'
        'A2,102,NULL,Dog,"Chihuahua, Short Coat /Mix"\n'
        "A3,103,Tom,Cat,Tabby\n"
    )
    host = "https://live-cdn.shelterluv.com"
    urls = "AnimalInternal-ID,PhotoUrl\n" + "".join(
        f"{line}\n"
        for line in (
            f"101,{host}/a/1.JPG", f"102,{host}/b/1.png?size=1", f"101,{host}/a/2.jpg",
            f"103,{host}/c/1",
        )
    )  # fmt: skip
    rex = {"dog_id": "austin/101", "breed": "Retriever, Golden"}
    return Example(
        files={
            "apa_dogs.csv": dogs.encode(),
            "apa_photos.csv": urls.encode(),
            "not_downloaded.csv": b"file,url,problem\n101_2.jpg,x,HTTP 404 Not Found\n",
            "photos/101_1.jpg": photo(1),
            "photos/102_1.png": photo(2, "PNG"),
            "photos/103_1.jpg": photo(3),
            "photos/999_1.jpg": photo(4),
        },
        offers={
            "photos/101_1.jpg": rex,
            "photos/101_2": {**rex, "problem": Reason.NOT_DOWNLOADED},
            "photos/102_1.png": {
                "dog_id": "austin/102", "breed": "Chihuahua, Short Coat /Mix"
            },
            "photos/103_1.jpg": {
                "dog_id": "austin/103", "breed": "Tabby", "problem": Reason.NOT_A_DOG
            },
            "photos/999_1.jpg": {"problem": Reason.BAD_ANNOTATION},
        },
        breeds={
            "Retriever, Golden": "golden retriever",
            "Chihuahua, Short Coat /Mix": vocabulary.MIXED,
            "Tabby": None,
        },
        foreign=("photos/._101_1.jpg", "notes.csv"),
    )  # fmt: skip


def breeds(photo):
    return Example(
        files={
            "Golden_Retriever/1.jpg": photo(1),
            "Golden_Retriever/ü 2.JPEG": photo(2),
            "Retriever, Curly-Coated/1.png": photo(3, "PNG"),
            "my own/1.jpg": photo(4),
        },
        offers={
            "Golden_Retriever/1.jpg": {"breed": "Golden_Retriever"},
            "Golden_Retriever/ü 2.JPEG": {"breed": "Golden_Retriever"},
            "Retriever, Curly-Coated/1.png": {"breed": "Retriever, Curly-Coated"},
            "my own/1.jpg": {"breed": "my own"},
        },
        breeds={
            "Golden_Retriever": "golden retriever",
            "Retriever, Curly-Coated": "curly-coated retriever",
            "my own": None,
        },
        foreign=("loose.jpg", "Golden_Retriever/._1.jpg", "Golden_Retriever/notes.txt"),
    )


def individuals(photo):
    return Example(
        files={
            "rex/1.jpg": photo(1),
            "rex/2.png": photo(2, "PNG"),
            "Bärli 7/1.JPG": photo(3),
            "Bärli 7/1.bmp": photo(4, "BMP"),
        },
        offers={
            "rex/1.jpg": {"dog_id": "individuals/rex"},
            "rex/2.png": {"dog_id": "individuals/rex"},
            "Bärli 7/1.JPG": {"dog_id": "individuals/Bärli 7"},
            "Bärli 7/1.bmp": {"dog_id": "individuals/Bärli 7"},
        },
        breeds={},
        foreign=("loose.jpg", "rex/._1.jpg", "rex/notes.txt"),
    )


EXAMPLES = {
    "stanford": stanford,
    "tsinghua": tsinghua,
    "austin": austin,
    "breeds": breeds,
    "individuals": individuals,
}


def nowhere(name):
    return ""


def always(archive):
    return lambda name: archive


def by_folder(archives):
    """Files go into the archive of their first folder, others stay as they are."""
    return lambda name: archives.get(name.partition("/")[0], "")


def stanfords_archive(name):
    if name.endswith(".mat"):
        return "lists.tar"
    return by_folder({"Images": "images.tar", "Annotation": "annotation.tar"})(name)


TSINGHUAS = by_folder(
    {"low-resolution": "low-resolution.zip", "Low-Annotations": "low-annotations.zip"}
)
UNPACKED = Layout(nowhere)


def layouts_of(name):
    """Every way a source's files may lie."""
    own = {
        "stanford": {"upstream": Layout(stanfords_archive)},
        "tsinghua": {
            "upstream": Layout(TSINGHUAS),
            "upstream, stored": Layout(TSINGHUAS, method=zipfile.ZIP_STORED),
        },
        "austin": {"photos packed": Layout(by_folder({"photos": "photos.tar"}))},
    }.get(name, {})
    packed = {
        "tar": Layout(always("all.tar")),
        "tar with its folder": Layout(always("Fotos 2024.TAR"), name + "/{}"),
        "tar with dots": Layout(always("all.tar"), "./{}"),
        "tar with dots and its folder": Layout(always("all.tar"), "./" + name + "//{}"),
        "zip": Layout(always("ö.zip")),
        "zip with its folder": Layout(always("Backup.ZIP"), name + "/{}"),
        "zip, stored": Layout(always("all.zip"), method=zipfile.ZIP_STORED),
        "two archives": Layout(lambda member: "b.zip" if "2" in member else "a.tar"),
        "half of it packed": Layout(lambda member: "a.zip" if "1" in member else ""),
    }
    return {"unpacked": UNPACKED, **own, **packed}


CASES = {
    f"{name}: {kind}": (name, layout)
    for name in EXAMPLES
    for kind, layout in layouts_of(name).items()
}
BY_LAYOUT = pytest.mark.parametrize(("name", "layout"), CASES.values(), ids=CASES)
BY_NAME = pytest.mark.parametrize("name", SOURCES)
PUBLIC = pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name].public])


@pytest.fixture(scope="module")
def example(picture, encoded):
    def photo(seed, kind="JPEG"):
        return encoded(picture(HEIGHT, WIDTH, seed), kind)

    return functools.cache(lambda name: EXAMPLES[name](photo))


def entries_of(data):
    return dataset.entries(str(data), dataset.read_dataset(str(data)))


def offers_of(data, name):
    entries, _ = entries_of(data)
    with dataset.Reader(str(data)) as reader:
        return list(SOURCES[name].offers(entries, reader.entry))


def known_of(offers):
    """What offers say beside where their photos lie, by the photo's path."""
    return {offer.entry.name: {key: getattr(offer, key) for key in NOTHING} for offer in offers}


def expected_of(example):
    return {name: {**NOTHING, **known} for name, known in example.offers.items()}


def test_every_source_has_an_example():
    assert set(EXAMPLES) == set(SOURCES)


@BY_NAME
def test_a_source_says_what_it_is(name):
    source = SOURCES[name]

    assert source.name == name
    assert source.licence
    assert source.layout.startswith(f"{name}/")
    assert source.views
    assert set(source.views) <= set(catalog.VIEWS)
    assert source.public in (True, False)


def test_public_are_those_that_can_be_fetched():
    assert [name for name in SOURCES if SOURCES[name].public] == ["stanford", "tsinghua", "austin"]


@BY_LAYOUT
def test_all_layouts_give_the_same_offers(name, layout, example, tmp_path):
    layout.lay(tmp_path / name, example(name).files)

    offers = offers_of(tmp_path, name)

    assert known_of(offers) == expected_of(example(name))
    assert len(offers) == len(example(name).offers)


@BY_LAYOUT
def test_every_file_is_the_same_wherever_it_lies(name, layout, example, tmp_path):
    files = example(name).files
    layout.lay(tmp_path / name, files)

    entries, left = entries_of(tmp_path)

    found = {entry.name: entry.sha256 for entry in entries}
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert len(entries) == len(files)
    assert {entry.source for entry in entries} == {name}
    assert left == []


@BY_LAYOUT
def test_every_offered_photo_that_is_there_can_be_read_back(name, layout, example, tmp_path):
    layout.lay(tmp_path / name, example(name).files)

    offers = [it for it in offers_of(tmp_path, name) if it.problem != Reason.NOT_DOWNLOADED]

    assert len(offers) >= 4
    with dataset.Reader(str(tmp_path)) as reader:
        for offer in offers:
            data = reader.entry(offer.entry)
            assert hashlib.sha256(data).hexdigest() == offer.entry.sha256
            assert pixels.decode(data).shape == (HEIGHT, WIDTH, 3)


@BY_LAYOUT
def test_every_file_is_claimed_or_left_over_and_counted(name, layout, example, tmp_path):
    files = example(name).files
    foreign = dict.fromkeys((*FOREIGN, *example(name).foreign), b"not mine")
    layout.lay(tmp_path / name, {**files, **foreign})

    found = dataset.read_dataset(str(tmp_path))
    entries, left = dataset.entries(str(tmp_path), found)

    assert {entry.name for entry in entries} == set(files)
    assert len(entries) + len(left) + len(found.ignored) == len(files) + len(foreign)
    for path in foreign:
        assert any(said.endswith(path) for said in (*left, *found.ignored)), path


@BY_LAYOUT
def test_foreign_files_change_no_offer(name, layout, example, tmp_path):
    foreign = dict.fromkeys((*FOREIGN, *example(name).foreign), b"not mine")
    layout.lay(tmp_path / name, {**example(name).files, **foreign})

    assert known_of(offers_of(tmp_path, name)) == expected_of(example(name))


@BY_LAYOUT
def test_what_lies_in_a_hidden_folder_is_offered_from_no_layout(name, layout, example, tmp_path):
    files = example(name).files
    hidden = {f".trash/{path}": data for path, data in files.items()}
    hidden |= {posixpath.join(posixpath.dirname(path), ".trash", "x.jpg"): b"" for path in files}
    hidden |= {".trash/1.jpg": b"gone", "photos/.trash/1.jpg": b"gone"}
    layout.lay(tmp_path / name, {**files, **hidden})

    entries, _ = entries_of(tmp_path)

    assert {entry.name for entry in entries} == set(files)
    assert known_of(offers_of(tmp_path, name)) == expected_of(example(name))


@BY_LAYOUT
def test_photos_are_offered_in_the_order_of_the_entries(name, layout, example, tmp_path):
    layout.lay(tmp_path / name, example(name).files)
    entries, _ = entries_of(tmp_path)

    offered = [offer.entry.name for offer in offers_of(tmp_path, name)]

    present = [entry.name for entry in entries if entry.name in example(name).offers]
    assert [it for it in offered if it in present] == present
    assert len(set(offered)) == len(offered)


@BY_LAYOUT
def test_the_breeds_that_are_offered_are_found_in_the_vocabulary(
    name, layout, example, vocabulary_text, tmp_path
):
    layout.lay(tmp_path / name, example(name).files)
    table = vocabulary.parse(vocabulary_text)

    offered = {offer.breed for offer in offers_of(tmp_path, name) if offer.breed is not None}

    assert {breed: table.canonical(name, breed) for breed in offered} == example(name).breeds


@BY_NAME
def test_every_offer_can_serve_the_views_of_its_source(name, example, tmp_path):
    UNPACKED.lay(tmp_path / name, example(name).files)

    for offer in offers_of(tmp_path, name):
        if offer.problem is None:
            assert (offer.dog_id is not None) == ("individual" in SOURCES[name].views)
            if "cropped" in SOURCES[name].views:
                assert offer.breed


@BY_NAME
def test_a_source_without_files_is_no_matter(name, example, tmp_path):
    other = next(it for it in EXAMPLES if it != name)
    UNPACKED.lay(tmp_path / other, example(other).files)
    UNPACKED.lay(tmp_path / name, {"README.md": b"nothing here yet"})

    found = dataset.read_dataset(str(tmp_path))
    entries, _ = dataset.entries(str(tmp_path), found)

    assert found.sources == [other]
    assert {entry.source for entry in entries} == {other}


@BY_NAME
@pytest.mark.parametrize("archive", ["all.tar", "all.zip"])
def test_an_archive_of_foreign_files_offers_nothing_and_counts_them(
    archive, name, example, tmp_path
):
    other = next(it for it in EXAMPLES if it != name)
    UNPACKED.lay(tmp_path / other, example(other).files)
    Layout(always(archive)).lay(tmp_path / name, dict.fromkeys(FOREIGN, b"not mine"))

    entries, left = entries_of(tmp_path)

    assert {entry.source for entry in entries} == {other}
    assert sorted(left) == sorted(f"{name}/{archive}/{path}" for path in FOREIGN)


@BY_NAME
def test_each_file_of_the_example_is_claimed_and_nothing_foreign(name, example):
    source = SOURCES[name]

    assert [path for path in example(name).files if not source.claims(path)] == []
    assert [path for path in (*FOREIGN, *example(name).foreign) if source.claims(path)] == []


@BY_NAME
@pytest.mark.parametrize(
    "path",
    [
        "",
        "README",
        "README.md",
        "readme.txt",
        "LICENSE",
        ".DS_Store",
        "._x.jpg",
        "x.jpg",
        "rex/._x.jpg",
        "rex/x.txt",
        "rex/x",
        "rex/x.jpg.part",
        "a/b/x.jpg",
        "a/b/c/x.jpg",
        "all.tar",
        "all.zip",
    ],
)
def test_no_source_claims_what_is_hidden_too_deep_or_no_photo(path, name):
    assert not SOURCES[name].claims(path)


@BY_NAME
def test_a_hidden_file_beside_one_that_is_claimed_is_not(name, example):
    beside = [posixpath.split(path) for path in example(name).files]
    hidden = [posixpath.join(folder, f"._{file}") for folder, file in beside]

    assert [path for path in hidden if SOURCES[name].claims(path)] == []


@BY_NAME
def test_an_example_one_folder_deeper_is_not_claimed(name, example):
    lists = (".mat", ".lst")  # may lie anywhere
    photos = [path for path in example(name).files if not path.endswith(lists)]
    deeper = [f"more/{path}" for path in photos]
    inside = [
        posixpath.join(posixpath.dirname(path), "more", posixpath.basename(path))
        for path in photos
        if "/" in path
    ]

    assert [path for path in deeper + inside if SOURCES[name].claims(path)] == []


@pytest.mark.parametrize("name", ["stanford", "tsinghua"])
def test_what_lies_there_unpacked_is_not_fetched(name, example, tmp_path):
    UNPACKED.lay(tmp_path, example(name).files)

    assert SOURCES[name].remotes(str(tmp_path), "") == []


@BY_NAME
def test_only_a_public_source_has_something_to_fetch(name, example, tmp_path):
    tables = {path: data for path, data in example(name).files.items() if path.endswith(".csv")}
    UNPACKED.lay(tmp_path, tables)

    remotes = SOURCES[name].remotes(str(tmp_path), "")

    assert bool(remotes) == SOURCES[name].public
    for remote in remotes:
        assert remote.url.startswith(("http://", "https://"))
        assert remote.path.startswith(f"{tmp_path}/")
    assert len({remote.path for remote in remotes}) == len(remotes)


@PUBLIC
def test_what_is_fetched_is_claimed_or_an_archive(name, example, tmp_path):
    UNPACKED.lay(tmp_path / "here", example(name).files)

    remotes = SOURCES[name].remotes(str(tmp_path / "here"), "")

    inside = [posixpath.relpath(remote.path, str(tmp_path / "here")) for remote in remotes]
    for path in inside:
        packed = "/" not in path and archives.is_archive(path)
        assert packed or SOURCES[name].claims(path), path


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Nothing to say."""


@contextlib.contextmanager
def served(folder):
    """The files of a folder over HTTP, for a while; gives its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def put_on_mirror(folder, name, files):
    """Lays out what a source's public place holds; returns what a user has beforehand."""
    if name == "austin":
        photos = {"a/1.JPG": "101_1.jpg", "b/1.png": "102_1.png", "c/1": "103_1.jpg"}
        UNPACKED.lay(folder, {place: files[f"photos/{it}"] for place, it in photos.items()})
        return {it: files[it] for it in ("apa_dogs.csv", "apa_photos.csv")}
    layouts_of(name)["upstream"].lay(folder, files)
    return {}


@PUBLIC
def test_what_was_fetched_from_a_mirror_is_a_layout(name, example, tmp_path):
    here = tmp_path / "data" / name
    here.mkdir(parents=True)
    UNPACKED.lay(here, put_on_mirror(tmp_path / "mirror", name, example(name).files))

    with served(tmp_path / "mirror") as mirror:
        remotes = SOURCES[name].remotes(str(here), mirror)
        fetched = download.fetch(remotes, name, patience=Patience(tries=2, first_wait=0.01))

    dead = {posixpath.basename(it.remote.path): it.problem for it in fetched if it.problem}
    assert set(dead) == ({"101_2.jpg"} if name == "austin" else set())
    expected = expected_of(example(name))
    expected.pop("photos/999_1.jpg", None)  # no address leads to it
    found = known_of(offers_of(tmp_path / "data", name))
    if name == "tsinghua":  # its lists have no place that is known
        expected = {path: {**known, "listed": None} for path, known in expected.items()}
    assert found == expected
