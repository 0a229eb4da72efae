"""What every source promises. A new source needs its layouts here, and nothing else."""

import hashlib
import io
import tarfile

import pytest

from components import catalog, dataset
from components.sources.registry import SOURCES
from models import pixels

XML = (
    b"<annotation><object><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>18</ymax>"
    b"</bndbox></object></annotation>"
)


def stanford_files(photo):
    breeds = ["n02086240-Shih-Tzu", "n02099267-flat-coated_retriever"]
    files = {}
    for number, breed in enumerate(breeds * 2):
        name = f"{breed}/{breed.partition('-')[0]}_{number}"
        files[f"Images/{name}.jpg"] = photo(number)
        files[f"Annotation/{name}"] = XML
    return files


def individual_files(photo):
    return {f"{dog}/{n}.jpg": photo(10 * dog + n) for dog in (1, 2) for n in range(3)}


def unpacked(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def in_archives(folder, files):
    folder.mkdir(parents=True)
    for archive, part in (("images.tar", "Images"), ("annotation.tar", "Annotation")):
        with tarfile.open(folder / archive, "w") as tar:
            for name in sorted(name for name in files if name.startswith(part)):
                member = tarfile.TarInfo(name)
                member.size = len(files[name])
                tar.addfile(member, io.BytesIO(files[name]))


LAYOUTS = {
    "stanford": (stanford_files, [unpacked, in_archives]),
    "individuals": (individual_files, [unpacked]),
}
CASES = [(name, layout) for name, (_, layouts) in LAYOUTS.items() for layout in layouts]
BY_LAYOUT = pytest.mark.parametrize(
    ("name", "layout"), CASES, ids=[f"{name}-{layout.__name__}" for name, layout in CASES]
)
BY_NAME = pytest.mark.parametrize("name", SOURCES)


@pytest.fixture
def files(picture, encoded):
    return lambda name: LAYOUTS[name][0](lambda seed: encoded(picture(24, 32, seed)))


def entries_of(data):
    return list(dataset.entries(str(data), dataset.read_dataset(str(data))))


def offers_of(data, name):
    reader = dataset.Reader(str(data))
    return list(SOURCES[name].offers(entries_of(data), reader.entry))


def without_place(offer):
    return (
        offer.entry.name, offer.entry.sha256, offer.breed, offer.dog_id, offer.bodies, offer.problem
    )  # fmt: skip


def test_every_source_has_its_layouts_here():
    assert set(LAYOUTS) == set(SOURCES)


@BY_NAME
def test_a_source_says_what_it_is(name):
    source = SOURCES[name]

    assert source.name == name
    assert source.licence
    assert source.views
    assert set(source.views) <= set(catalog.VIEWS)


@BY_NAME
def test_a_source_without_files_has_no_containers(name):
    assert SOURCES[name].containers([]) == []


@BY_LAYOUT
def test_every_offered_photo_can_be_read_back(name, layout, files, tmp_path):
    layout(tmp_path / name, files(name))
    reader = dataset.Reader(str(tmp_path))

    offers = offers_of(tmp_path, name)

    assert offers
    for offer in offers:
        data = reader.entry(offer.entry)
        assert hashlib.sha256(data).hexdigest() == offer.entry.sha256
        assert pixels.decode(data).shape == (24, 32, 3)


@BY_LAYOUT
def test_every_offer_can_serve_its_views(name, layout, files, tmp_path):
    layout(tmp_path / name, files(name))

    for offer in offers_of(tmp_path, name):
        assert offer.problem is None
        assert offer.entry.source == name
        assert (offer.dog_id is not None) == ("individual" in SOURCES[name].views)
        assert (offer.breed is not None) == ("cropped" in SOURCES[name].views)


@BY_LAYOUT
def test_every_photo_is_offered_once_in_the_order_of_the_entries(name, layout, files, tmp_path):
    layout(tmp_path / name, files(name))
    photos = [entry.name for entry in entries_of(tmp_path) if entry.name.endswith(".jpg")]

    offered = [offer.entry.name for offer in offers_of(tmp_path, name)]

    assert offered == photos
    assert len(set(offered)) == len(offered)


@BY_LAYOUT
def test_all_layouts_give_the_same_offers(name, layout, files, tmp_path):
    first, *_ = LAYOUTS[name][1]
    first(tmp_path / "first" / name, files(name))
    layout(tmp_path / "other" / name, files(name))

    offers = offers_of(tmp_path / "other", name)

    expected = offers_of(tmp_path / "first", name)
    assert [without_place(it) for it in offers] == [without_place(it) for it in expected]


@BY_LAYOUT
def test_foreign_files_are_no_containers(name, layout, files, tmp_path):
    layout(tmp_path / name, files(name))
    paths = dataset._walk(str(tmp_path / name))
    foreign = ["README.txt", "licence.pdf", "photo.jpg", "old/notes/deep.jpg", ".DS_Store"]

    containers = SOURCES[name].containers([*paths, *foreign])

    assert containers == SOURCES[name].containers(paths) == sorted(paths)


@BY_LAYOUT
def test_the_order_of_the_paths_does_not_matter(name, layout, files, tmp_path):
    layout(tmp_path / name, files(name))
    paths = dataset._walk(str(tmp_path / name))

    assert SOURCES[name].containers(paths[::-1]) == SOURCES[name].containers(paths)
