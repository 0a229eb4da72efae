import hashlib
import os
import tarfile

import pytest

from components import dataset
from components.sources.base import DataError


@pytest.fixture
def data(tmp_path, picture, encoded):
    folder = tmp_path / "data"
    for dog in ("rex", "bella"):
        (folder / "individuals" / dog).mkdir(parents=True)
        for number in range(2):
            photo = encoded(picture(8, 8, number + len(dog)), "BMP")
            (folder / "individuals" / dog / f"{number}.bmp").write_bytes(photo)
    return folder


def digest(folder):
    return dataset.read_dataset(str(folder)).digest


def test_touching_and_moving_leave_the_digest(data, tmp_path):
    before = digest(data)

    for path in data.rglob("*.bmp"):
        os.utime(path, (1, 1))
    data.rename(tmp_path / "elsewhere")

    assert digest(tmp_path / "elsewhere") == before


def test_a_link_to_the_folder_has_its_digest(data, tmp_path):
    (tmp_path / "link").symlink_to(data, target_is_directory=True)

    assert digest(tmp_path / "link") == digest(data)


def test_one_pixel_changes_the_digest_though_size_and_time_stay(data):
    before, path = digest(data), data / "individuals" / "rex" / "0.bmp"
    times, content = path.stat(), bytearray(path.read_bytes())

    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert digest(data) != before


def test_a_new_name_changes_the_digest(data):
    before = digest(data)

    (data / "individuals" / "rex").rename(data / "individuals" / "max")

    assert digest(data) != before


def test_two_photos_that_change_places_change_the_digest(data):
    before, folder = digest(data), data / "individuals" / "rex"

    (folder / "0.bmp").rename(folder / "aside")
    (folder / "1.bmp").rename(folder / "0.bmp")
    (folder / "aside").rename(folder / "1.bmp")

    assert digest(data) != before


def test_files_of_no_source_are_counted_and_leave_the_digest(data):
    before = digest(data)
    (data / "notes.txt").write_text("not mine")
    (data / "individuals" / "list.csv").write_text("not mine")
    (data / "cats").mkdir()
    (data / "cats" / "tom.jpg").write_bytes(b"not mine")

    found = dataset.read_dataset(str(data))

    assert len(found.ignored) == 3
    assert len(found.containers) == 4
    assert found.digest == before


def test_hidden_folders_are_not_looked_into(data):
    trash = data / "individuals" / ".trash"
    trash.mkdir()
    (trash / "0.bmp").write_bytes(b"gone")

    assert dataset.read_dataset(str(data)).ignored == ()
    assert len(dataset.read_dataset(str(data)).containers) == 4


def test_a_link_that_leads_back_is_followed_once(data):
    before = digest(data)

    (data / "individuals" / "rex" / "loop").symlink_to(data / "individuals")

    assert digest(data) == before


def test_a_photo_that_cannot_be_read_is_left_to_the_ledger(data):
    (data / "individuals" / "rex" / "lost.jpg").symlink_to(data / "nowhere.jpg")

    found = dataset.read_dataset(str(data))

    (lost,) = [item for item in found.containers if item.path.endswith("lost.jpg")]
    assert lost.sha256 == dataset.UNREADABLE


def test_an_archive_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "stanford").mkdir()
    for name in ("images.tar", "annotation.tar"):
        (tmp_path / "stanford" / name).symlink_to(tmp_path / "nowhere.tar")

    with pytest.raises(DataError, match=r"stanford/annotation\.tar can't be read"):
        dataset.read_dataset(str(tmp_path))


def test_a_file_name_that_is_no_text_is_an_error_that_shows_it(data):
    name = os.fsencode(data / "individuals" / "rex") + b"/caf\xe9.jpg"
    with open(name, "wb") as file:
        file.write(b"photo")

    with pytest.raises(DataError, match=r"caf.*no UTF-8 text: rename it"):
        dataset.read_dataset(str(data))


def test_an_archive_that_holds_a_name_twice_is_an_error(tmp_path):
    (tmp_path / "stanford").mkdir()
    for archive in ("images.tar", "annotation.tar"):
        with tarfile.open(tmp_path / "stanford" / archive, "w") as tar:
            for _ in range(2):
                tar.addfile(tarfile.TarInfo(f"{archive}/n1_1.jpg"))

    with pytest.raises(DataError, match=r"n1_1\.jpg twice"):
        list(dataset.entries(str(tmp_path), dataset.read_dataset(str(tmp_path))))


def test_a_container_says_what_it_holds(data):
    path = data / "individuals" / "bella" / "0.bmp"

    first = dataset.read_dataset(str(data)).containers[0]

    assert first == dataset.Container(
        "individuals",
        "individuals/bella/0.bmp",
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    assert dataset.read_dataset(str(data)).sources == ["individuals"]


@pytest.mark.parametrize("names", [[], ["cats/tom.jpg", "readme.txt"], ["individuals/loose.jpg"]])
def test_a_folder_without_photos_is_an_error_that_says_what_is_expected(names, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    with pytest.raises(DataError, match=r"expected stanford.images\.tar .* or individuals"):
        dataset.read_dataset(str(tmp_path))


def test_entries_are_in_the_order_of_their_paths_with_their_digests(data):
    entries = list(dataset.entries(str(data), dataset.read_dataset(str(data))))

    names = [entry.name for entry in entries]
    assert names == ["bella/0.bmp", "bella/1.bmp", "rex/0.bmp", "rex/1.bmp"]
    for entry in entries:
        content = (data / entry.container).read_bytes()
        assert (entry.offset, entry.size) == (0, len(content))
        assert entry.sha256 == hashlib.sha256(content).hexdigest()


def test_reader_goes_from_file_to_file_and_back(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    (tmp_path / "b").write_bytes(bytes(range(100, 200)))
    reader = dataset.Reader(str(tmp_path))

    read = [reader("a", 10, 3), reader("a", 0, 2), reader("b", 1, 1), reader("a", 99, 1)]
    reader.close()

    assert [list(part) for part in read] == [[10, 11, 12], [0, 1], [101], [99]]
    assert list(reader("b", 0, 2)) == [100, 101]
