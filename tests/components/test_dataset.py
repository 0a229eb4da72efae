import hashlib
import io
import os
import random
import struct
import tarfile
import threading
import unicodedata
import zipfile
import zlib

import pytest

from components import dataset
from components.catalog import Photo
from components.seen import Seen
from components.sources.base import DataError, Entry

PHOTO = b"photo " * 100
NOISE = random.Random(0).randbytes(5000)  # what does not get smaller by packing


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


def entries(folder):
    return dataset.entries(str(folder), dataset.read_dataset(str(folder)))


def names(folder):
    return [entry.name for entry in entries(folder)[0]]


def pack_tar(path, *members):
    """A tar of (name, bytes), names in bytes where they are no text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            item = tarfile.TarInfo(os.fsdecode(name))
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return path


def pack_zip(path, *members, method=zipfile.ZIP_DEFLATED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


PACK = {"tar": pack_tar, "zip": pack_zip}
BY_KIND = pytest.mark.parametrize("kind", PACK)


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


@BY_KIND
@pytest.mark.parametrize("name", ["all", "Fotos 2024", "größte Hunde", "images"])
def test_an_archive_of_any_name_is_one_container(name, kind, tmp_path):
    path = PACK[kind](tmp_path / "individuals" / f"{name}.{kind}", ("rex/1.jpg", PHOTO))

    found = dataset.read_dataset(str(tmp_path))

    assert found.ignored == ()
    assert found.containers == (
        dataset.Container(
            "individuals",
            f"individuals/{name}.{kind}",
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        ),
    )


@BY_KIND
def test_touching_and_moving_an_archive_leave_the_digest_and_a_new_name_does_not(kind, tmp_path):
    path = PACK[kind](tmp_path / "data" / "individuals" / f"all.{kind}", ("rex/1.jpg", PHOTO))
    before = digest(tmp_path / "data")

    os.utime(path, (1, 1))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    moved = digest(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "individuals"
    (folder / f"all.{kind}").rename(folder / f"other.{kind}")

    assert moved == before
    assert digest(tmp_path / "elsewhere") != before


@BY_KIND
def test_one_bit_of_an_archive_changes_the_digest(kind, tmp_path):
    path = PACK[kind](tmp_path / "individuals" / f"all.{kind}", ("rex/1.jpg", PHOTO))
    before, content = digest(tmp_path), bytearray(path.read_bytes())

    content[-1] ^= 1
    path.write_bytes(content)

    assert digest(tmp_path) != before


def test_an_archive_below_a_dogs_folder_is_foreign(data):
    pack_zip(data / "individuals" / "rex" / "more.zip", ("rex/9.jpg", PHOTO))

    assert dataset.read_dataset(str(data)).ignored == ("individuals/rex/more.zip",)


@pytest.mark.parametrize("name", ["._all.tar", "._all.zip", ".all.zip"])
def test_a_hidden_archive_is_foreign(name, data):
    (data / "individuals" / name).write_bytes(b"what a Mac leaves beside each file")

    found = dataset.read_dataset(str(data))

    assert found.ignored == (f"individuals/{name}",)
    assert len(dataset.entries(str(data), found)[0]) == 4


def test_files_of_no_source_are_counted_and_leave_the_digest(data):
    before = digest(data)
    (data / "notes.txt").write_text("not mine")
    (data / "individuals" / "list.csv").write_text("not mine")
    (data / "cats").mkdir()
    (data / "cats" / "tom.jpg").write_bytes(b"not mine")

    found = dataset.read_dataset(str(data))

    assert sorted(found.ignored) == ["cats", "individuals/list.csv", "notes.txt"]
    assert len(found.containers) == 4
    assert found.digest == before


def test_a_file_that_has_the_name_of_a_source_is_counted(data):
    (data / "breeds").write_text("a list, and no folder")

    assert dataset.read_dataset(str(data)).ignored == ("breeds",)


@pytest.mark.parametrize(
    "folder", ["individuals/.trash", "individuals/rex/.trash", "individuals/.AppleDouble"]
)
def test_a_hidden_folder_is_counted_and_not_looked_into(folder, data):
    before = digest(data)
    (data / folder).mkdir()
    (data / folder / "0.bmp").write_bytes(b"gone")
    (data / folder / "1.bmp").write_bytes(b"gone")

    found = dataset.read_dataset(str(data))

    assert found.ignored == (f"{folder}/",)
    assert len(found.containers) == 4
    assert found.digest == before


@pytest.mark.parametrize(
    "folder", ["Images/.trash", "Images/n1-pug/.trash", "Annotation/.trash", "Annotation/n1-pug/.t"]
)
def test_a_hidden_folder_is_nobodys_wherever_it_lies(folder, tmp_path):
    for name in ("Images/n1-pug/n1_1.jpg", "Annotation/n1-pug/n1_1", f"{folder}/n1_1"):
        (tmp_path / "stanford" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stanford" / name).write_bytes(b"x")

    found = dataset.read_dataset(str(tmp_path))

    assert found.ignored == (f"stanford/{folder}/",)
    assert len(found.containers) == 2


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


@pytest.mark.parametrize("name", [b"rex/caf\xe9.jpg", b"caf\xe9.txt"])
def test_a_name_in_an_archive_that_is_no_text_is_an_error_that_shows_it(name, tmp_path):
    pack_tar(tmp_path / "individuals" / "all.tar", (name, PHOTO))

    with pytest.raises(DataError, match=r"individuals/all\.tar: .*caf.*no UTF-8 text"):
        entries(tmp_path)


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

    with pytest.raises(
        DataError, match=r"holds no photos: expected stanford/images\.tar"
    ) as caught:
        dataset.read_dataset(str(tmp_path))

    message = str(caught.value)
    for layout in (
        "low-resolution.zip",
        "apa_dogs.csv",
        "breeds/<breed>/",
        "individuals/<dog id>/",
    ):
        assert layout in message
    found = {"cats/tom.jpg": "cats"}
    for name in names or ["nothing"]:
        assert found.get(name, name) in message.partition("found")[2]


def test_entries_are_in_the_order_of_their_paths_with_their_digests(data):
    found, left = entries(data)

    assert left == []
    assert [it.name for it in found] == ["bella/0.bmp", "bella/1.bmp", "rex/0.bmp", "rex/1.bmp"]
    for entry in found:
        content = (data / entry.container).read_bytes()
        assert (entry.offset, entry.size, entry.unpacked) == (0, len(content), 0)
        assert entry.sha256 == hashlib.sha256(content).hexdigest()


def test_the_members_of_a_tar_are_entries_where_they_lie(tmp_path):
    pack_tar(tmp_path / "individuals" / "all.tar", ("rex/1.jpg", PHOTO))

    (entry,), left = entries(tmp_path)

    assert entry == Entry(
        "individuals", "rex/1.jpg", "individuals/all.tar", 512, len(PHOTO),
        hashlib.sha256(PHOTO).hexdigest(),
    )  # fmt: skip
    assert left == []


def test_the_members_of_a_zip_are_entries_with_what_they_unpack_to(tmp_path):
    pack_zip(tmp_path / "individuals" / "all.zip", ("rex/1.jpg", PHOTO))

    (entry,), _ = entries(tmp_path)

    assert entry.name == "rex/1.jpg"
    assert entry.size < entry.unpacked == len(PHOTO)
    assert entry.sha256 == hashlib.sha256(PHOTO).hexdigest()


@BY_KIND
def test_members_that_nobody_claims_are_left_over_by_their_name(kind, tmp_path):
    foreign = ["README.md", "individuals/notes.txt", "a/b/c.jpg", "rex/._1.jpg", "rex/more.zip"]
    PACK[kind](
        tmp_path / "individuals" / f"all.{kind}",
        *((name, b"not mine") for name in foreign),
        ("rex/1.jpg", PHOTO),
    )

    found, left = entries(tmp_path)

    assert [entry.name for entry in found] == ["rex/1.jpg"]
    assert left == [f"individuals/all.{kind}/{name}" for name in foreign]


@BY_KIND
def test_a_file_without_bytes_is_an_entry_without_bytes(kind, tmp_path):
    PACK[kind](tmp_path / "individuals" / f"all.{kind}", ("rex/1.jpg", b""), ("rex/2.jpg", PHOTO))

    first, _ = entries(tmp_path)[0]

    assert first.sha256 == hashlib.sha256(b"").hexdigest()
    with dataset.Reader(str(tmp_path)) as reader:
        assert reader.entry(first) == b""


@BY_KIND
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("rex/1.jpg", "rex/1.jpg"),
        ("rex/1.jpg", "./rex//1.jpg"),
        ("rex/1.jpg", "individuals/rex/1.jpg"),
        ("individuals/rex/1.jpg", "rex/1.jpg"),
    ],
)
def test_a_name_twice_in_an_archive_is_an_error_that_names_both(first, second, kind, tmp_path):
    PACK[kind](tmp_path / "individuals" / f"all.{kind}", (first, PHOTO), (second, PHOTO))

    with pytest.raises(DataError, match=rf"individuals/all\.{kind} holds .*rex/1\.jpg twice: pack"):
        entries(tmp_path)


@BY_KIND
def test_a_name_in_a_folder_and_in_an_archive_is_an_error_that_names_both(kind, data):
    PACK[kind](data / "individuals" / f"all.{kind}", ("individuals/rex/0.bmp", PHOTO))

    with pytest.raises(
        DataError,
        match=rf"individuals/rex/0\.bmp lies both in individuals/all\.{kind} and in "
        r"individuals/rex/0\.bmp .*: remove one of the two",
    ):
        entries(data)


def test_a_name_in_two_archives_is_an_error_that_names_both(tmp_path):
    pack_tar(tmp_path / "individuals" / "a.tar", ("rex/1.jpg", PHOTO))
    pack_zip(tmp_path / "individuals" / "b.zip", ("rex/1.jpg", PHOTO))

    with pytest.raises(DataError, match=r"both in individuals/a\.tar and in individuals/b\.zip"):
        entries(tmp_path)


def test_two_sources_may_hold_the_same_name(tmp_path):
    for source in ("individuals", "breeds"):
        pack_tar(tmp_path / source / "all.tar", ("beagle/1.jpg", PHOTO))

    found, _ = entries(tmp_path)

    assert [(it.source, it.name) for it in found] == [
        ("breeds", "beagle/1.jpg"),
        ("individuals", "beagle/1.jpg"),
    ]


@BY_KIND
def test_foreign_names_may_stand_twice(kind, tmp_path):
    for archive in ("a", "b"):
        PACK[kind](
            tmp_path / "individuals" / f"{archive}.{kind}",
            ("README.md", b"not mine"),
            (f"{archive}/1.jpg", PHOTO),
        )

    assert entries(tmp_path)[1] == [
        f"individuals/a.{kind}/README.md",
        f"individuals/b.{kind}/README.md",
    ]


def with_field(path, place, value):
    """Changes a 32-bit field of the first central header of a zip."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + place, value)
    path.write_bytes(content)


CRC, UNPACKED = 16, 24


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_its_checksum_belies_is_an_error_that_names_it(method, tmp_path):
    path = pack_zip(tmp_path / "individuals" / "all.zip", ("rex/1.jpg", PHOTO), method=method)

    with_field(path, CRC, zlib.crc32(PHOTO) ^ 1)

    with pytest.raises(
        DataError, match=r"individuals/all\.zip: rex/1\.jpg is damaged .*CRC.*fetch"
    ):
        entries(tmp_path)


def test_a_stored_member_with_one_wrong_bit_is_an_error_that_names_it(tmp_path):
    path = pack_zip(
        tmp_path / "individuals" / "all.zip", ("rex/1.jpg", PHOTO), method=zipfile.ZIP_STORED
    )
    content = bytearray(path.read_bytes())

    content[content.index(PHOTO) + 7] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"individuals/all\.zip: rex/1\.jpg is damaged .*CRC"):
        entries(tmp_path)


def test_a_packed_member_with_one_wrong_bit_is_an_error_that_names_it(tmp_path):
    path = pack_zip(tmp_path / "individuals" / "all.zip", ("rex/1.jpg", NOISE))
    content = bytearray(path.read_bytes())

    content[2000] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"individuals/all\.zip: rex/1\.jpg .*fetch the archive"):
        entries(tmp_path)


@pytest.mark.parametrize("promised", [1, len(PHOTO) - 1, len(PHOTO) + 1])
def test_a_member_that_unpacks_to_more_or_less_than_promised_is_an_error(promised, tmp_path):
    path = pack_zip(tmp_path / "individuals" / "all.zip", ("rex/1.jpg", PHOTO))

    with_field(path, UNPACKED, promised)

    with pytest.raises(DataError, match=rf"all\.zip: rex/1\.jpg .* {promised} bytes .*fetch"):
        entries(tmp_path)


def test_a_bomb_is_an_error_that_names_it(tmp_path):
    path = pack_zip(tmp_path / "individuals" / "all.zip", ("rex/1.jpg", bytes(50_000_000)))

    with_field(path, UNPACKED, 1000)

    with pytest.raises(DataError, match=r"individuals/all\.zip: rex/1\.jpg .* 1,000 bytes"):
        entries(tmp_path)


@BY_KIND
def test_an_archive_that_was_cut_is_an_error_that_names_it(kind, tmp_path):
    path = PACK[kind](tmp_path / "individuals" / f"all.{kind}", ("rex/1.jpg", NOISE))

    path.write_bytes(path.read_bytes()[:3000])

    with pytest.raises(DataError, match=rf"individuals/all\.{kind}: expected a whole tar"):
        entries(tmp_path)


@pytest.mark.parametrize("name", ["all.tar.gz", "all.7z", "all.rar"])
def test_an_archive_of_another_kind_is_an_error_and_not_left_over(name, data):
    (data / "individuals" / name).write_bytes(NOISE)

    with pytest.raises(DataError, match=rf"individuals/{name}: expected a whole tar .not compress"):
        entries(data)


def test_reader_goes_from_file_to_file_and_back(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    (tmp_path / "b").write_bytes(bytes(range(100, 200)))
    reader = dataset.Reader(str(tmp_path))

    read = [reader("a", 10, 3), reader("a", 0, 2), reader("b", 1, 1), reader("a", 99, 1)]
    reader.close()

    assert [list(part) for part in read] == [[10, 11, 12], [0, 1], [101], [99]]
    assert list(reader("b", 0, 2)) == [100, 101]
    reader.close()


def test_reader_unpacks_what_is_packed(tmp_path):
    packed = zlib.compress(PHOTO)[2:-4]
    (tmp_path / "a").write_bytes(b"before" + packed + b"behind")

    with dataset.Reader(str(tmp_path)) as reader:
        assert reader("a", 6, len(packed), len(PHOTO)) == PHOTO
        assert reader("a", 6, len(packed)) == packed


@pytest.mark.parametrize("promised", [1, len(PHOTO) - 1, len(PHOTO) + 1])
def test_reader_refuses_what_unpacks_to_another_length(promised, tmp_path):
    packed = zlib.compress(PHOTO)[2:-4]
    (tmp_path / "a").write_bytes(packed)

    with dataset.Reader(str(tmp_path)) as reader, pytest.raises(ValueError, match="unpacks to"):
        reader("a", 0, len(packed), promised)


def test_reader_says_that_a_file_is_gone(tmp_path):
    with dataset.Reader(str(tmp_path)) as reader, pytest.raises(FileNotFoundError):
        reader("gone.jpg", 0, 5)


def test_reader_serves_several_threads(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 50_000)
    wrong = []

    with dataset.Reader(str(tmp_path)) as reader:

        def read(name):
            for place in range(300):
                if reader(name, place, 100) != name.encode() * 100:
                    wrong.append(name)

        threads = [threading.Thread(target=read, args=(name,)) for name in "abab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


def test_what_a_download_leaves_beside_its_files_is_no_foreign_file(data):
    (data / "individuals" / "downloads.json").write_text("{}")
    (data / "individuals" / "not_downloaded.csv").write_text("file,url,problem\n")
    (data / "individuals" / "1.jpg.part").write_bytes(b"half a photo")

    assert dataset.read_dataset(str(data)).ignored == ("individuals/1.jpg.part",)


def test_half_a_download_of_an_archive_is_an_error_that_says_how_to_go_on(data):
    (data / "stanford").mkdir()
    (data / "stanford" / "images.tar.part").write_bytes(b"half an archive")

    with pytest.raises(
        DataError, match=r"images\.tar\.part is half a download.*--download stanford"
    ):
        dataset.read_dataset(str(data))


@pytest.mark.parametrize("written", ["Zoë", unicodedata.normalize("NFD", "Zoë")])
def test_a_name_is_the_same_id_however_it_is_written(written, data):
    (data / "individuals" / written).mkdir()
    (data / "individuals" / written / "1.bmp").write_bytes(b"photo")

    entries, _ = dataset.entries(str(data), dataset.read_dataset(str(data)))

    assert unicodedata.normalize("NFC", "Zoë/1.bmp") in {entry.name for entry in entries}


@pytest.mark.parametrize("inside", ["", "individuals/"])
def test_an_archive_beside_the_folders_is_the_source_that_it_is_named_after(inside, data, tmp_path):
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed" / "individuals.zip", "w") as archive:
        for path in sorted((data / "individuals").rglob("*.bmp")):
            archive.write(path, inside + str(path.relative_to(data / "individuals")))

    packed = dataset.read_dataset(str(tmp_path / "packed"))

    loose, _ = dataset.entries(str(data), dataset.read_dataset(str(data)))
    found, left = dataset.entries(str(tmp_path / "packed"), packed)
    assert packed.sources == ["individuals"]
    assert left == []
    assert [(e.name, e.sha256) for e in found] == [(e.name, e.sha256) for e in loose]


def sha256(data):
    return hashlib.sha256(data)


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        (b"", []),
        (b"abc", [b"abc"]),
        (b"abcd", [b"abcd"]),
        (b"abcde", [b"abcd", b"e"]),
        (b"abcdefghij", [b"abcd", b"efgh", b"ij"]),
    ],
)
def test_a_digest_in_blocks_is_that_of_the_digests_of_the_blocks(content, blocks, tmp_path):
    (tmp_path / "file").write_bytes(content)

    digest = dataset.digest_in_blocks(str(tmp_path / "file"), block=4)

    assert digest == sha256(b"".join(sha256(block).digest() for block in blocks)).hexdigest()


def test_a_block_is_read_whole_though_in_parts(tmp_path):
    content, block = random.Random(0).randbytes(11 << 20), 5 << 20  # parts are of 4 MiB
    (tmp_path / "file").write_bytes(content)

    digest = dataset.digest_in_blocks(str(tmp_path / "file"), block)

    parts = [content[start : start + block] for start in range(0, len(content), block)]
    assert digest == sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()


def sparse(path, size):
    """A file of zeros that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def test_an_archive_is_digested_in_blocks_when_it_is_larger_than_one(tmp_path):
    large = sparse(tmp_path / "individuals" / "large.tar", dataset.BLOCK + 5)
    small = pack_tar(tmp_path / "individuals" / "small.tar", ("rex/1.jpg", PHOTO))

    found = {item.path: item.sha256 for item in dataset.read_dataset(str(tmp_path)).containers}

    block = bytes(dataset.BLOCK)
    by_hand = sha256(sha256(block).digest() + sha256(bytes(5)).digest()).hexdigest()
    assert found == {
        "individuals/large.tar": by_hand,
        "individuals/small.tar": sha256(small.read_bytes()).hexdigest(),
    }
    assert dataset.digest_of_archive(str(large)) == by_hand
    assert dataset.digest_of_archive(str(small)) == found["individuals/small.tar"]


def test_what_is_no_archive_has_its_plain_sha256_however_large_it_is(tmp_path):
    path = sparse(tmp_path / "individuals" / "rex" / "huge.jpg", dataset.BLOCK + 5)

    ((entry,), _) = entries(tmp_path)

    assert entry.sha256 == dataset.sha256_of_file(str(path))


def test_a_photo_has_one_digest_loose_and_packed(tmp_path):
    (tmp_path / "individuals" / "rex").mkdir(parents=True)
    (tmp_path / "individuals" / "rex" / "1.jpg").write_bytes(PHOTO)
    pack_tar(tmp_path / "individuals" / "a.tar", ("bella/1.jpg", PHOTO))
    pack_zip(tmp_path / "individuals" / "b.zip", ("max/1.jpg", PHOTO))

    found, _ = entries(tmp_path)

    assert {entry.name: entry.sha256 for entry in found} == dict.fromkeys(
        ("bella/1.jpg", "max/1.jpg", "rex/1.jpg"), sha256(PHOTO).hexdigest()
    )


REX = "individuals/rex/0.bmp"


@pytest.fixture
def rewritten(data):
    """Writes other bytes over a photo, of the same size."""

    def write(stamp_kept):
        path = data / REX
        times, content = path.stat(), bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        later = times.st_mtime_ns + (0 if stamp_kept else 1)
        os.utime(path, ns=(times.st_atime_ns, later))
        return hashlib.sha256(content).hexdigest()

    return write


def test_every_file_that_was_read_is_noted(data):
    known = Seen()

    found = dataset.read_dataset(str(data), known)

    assert {path: digest for path, (_, digest) in known.digests.items()} == {
        item.path: item.sha256 for item in found.containers
    }


def test_a_file_of_known_size_and_time_is_not_read(data, rewritten):
    known = Seen()
    before = dataset.read_dataset(str(data), known)

    rewritten(stamp_kept=True)

    assert dataset.read_dataset(str(data), known) == before
    assert dataset.read_dataset(str(data)).digest != before.digest


def test_a_file_of_another_time_is_read_and_noted(data, rewritten):
    known = Seen()
    dataset.read_dataset(str(data), known)

    digest = rewritten(stamp_kept=False)

    found = dataset.read_dataset(str(data), known)
    assert found == dataset.read_dataset(str(data))
    assert known.digests[REX][1] == digest


def test_only_what_is_known_goes_unread(data, rewritten):
    known = Seen()
    dataset.read_dataset(str(data), known)
    del known.digests[REX]

    rewritten(stamp_kept=True)

    assert dataset.read_dataset(str(data), known) == dataset.read_dataset(str(data))


def test_that_a_photo_could_not_be_read_is_not_remembered(data):
    os.remove(data / REX)
    os.symlink("/proc/self/mem", data / REX)  # a regular file that can't be read, by anybody
    known = Seen()

    found = dataset.read_dataset(str(data), known)

    assert {item.path: item.sha256 for item in found.containers}[REX] == dataset.UNREADABLE
    assert REX not in known.digests
    assert len(known.digests) == 3


def test_a_listing_comes_back_as_it_was_written(data, tmp_path):
    (data / "individuals" / "Bärli \n1").mkdir()
    (data / "individuals" / "Bärli \n1" / "ü.jpg").symlink_to(data / "nowhere.jpg")
    (data / "notes.txt").write_text("not mine")
    found = dataset.read_dataset(str(data))

    found.write(str(tmp_path / "listing.jsonl"))
    listed = dataset.Dataset.read(str(tmp_path / "listing.jsonl"))

    assert listed.containers == found.containers
    assert listed.digest == found.digest
    assert not list(tmp_path.glob("*.partial"))


def test_a_data_version_is_the_beginning_of_the_digest():
    assert dataset.version_of("0123456789abcdef" * 4) == "0123456789ab"


@pytest.fixture
def row(tmp_path):
    """A photo and an entry of bytes that lie behind 8 others, packed where a length is given."""

    def make(data, digest, unpacked=0):
        (tmp_path / "held").write_bytes(b"in front" + data)
        return (
            Photo("s/1.jpg", "s", "held", 8, len(data), digest, unpacked=unpacked),
            Entry("s", "1.jpg", "held", 8, len(data), digest, unpacked),
        )

    return make


@pytest.mark.parametrize("unpacked", [0, len(PHOTO)], ids=["plain", "packed"])
def test_reader_gives_the_bytes_that_were_digested(unpacked, row, tmp_path):
    data = zlib.compress(PHOTO, wbits=-15) if unpacked else PHOTO

    photo, entry = row(data, sha256(PHOTO).hexdigest(), unpacked)

    with dataset.Reader(str(tmp_path)) as reader:
        assert reader.photo(photo) == reader.entry(entry) == PHOTO


@pytest.mark.parametrize("unpacked", [0, 4], ids=["plain", "packed"])
def test_reader_refuses_other_bytes_and_says_what_to_do(unpacked, row, tmp_path):
    data = zlib.compress(b"abcd", wbits=-15) if unpacked else b"abcd"

    photo, entry = row(data, sha256(b"abce").hexdigest(), unpacked)

    changed = r"/held is not what it was when the run began .*start the run again, without --trust"
    with dataset.Reader(str(tmp_path)) as reader:
        with pytest.raises(DataError, match=changed):
            reader.photo(photo)
        with pytest.raises(DataError, match=changed):
            reader.entry(entry)


def test_reader_refuses_a_file_that_was_cut_short(row, tmp_path):
    photo, _ = row(PHOTO, sha256(PHOTO).hexdigest())
    os.truncate(tmp_path / "held", 100)

    with dataset.Reader(str(tmp_path)) as reader, pytest.raises(DataError, match="not what it was"):
        reader.photo(photo)


def test_reader_does_not_open_what_could_not_be_read_when_the_run_began(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it waits for a writer, forever

    photo = Photo("s/1.jpg", "s", "pipe.jpg", 0, 0, dataset.UNREADABLE)

    with dataset.Reader(str(tmp_path)) as reader, pytest.raises(OSError, match=r"pipe\.jpg could"):
        reader.photo(photo)
