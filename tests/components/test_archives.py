"""Archives are read where they lie; those that are damaged or hostile are refused by name."""

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import random
import signal
import struct
import tarfile
import zipfile
import zlib

import pytest

from components import archives
from components.sources.base import DataError

FILES = {
    "Images/a/1.jpg": bytes(range(256)) * 3,
    "Images/a/2.jpg": b"\xff\xd8" * 500,
    "Images/ü b/3.jpg": b"one",
    "Images/" + "deep/" * 60 + "4.jpg": b"a name that no plain header holds",
}
THREE = {f"Images/n1-x/{number}.jpg": bytes([number + 1]) * 600 for number in range(3)}
TAR_BLOCK = 512
MEMBER = 3 * TAR_BLOCK  # one of THREE in a tar: a block of header and two of data

# Where the fields of a zip's central header lie: (offset, struct format).
NEEDED, FLAGS, METHOD = (6, "<H"), (8, "<H"), (10, "<H")
PACKED, UNPACKED, NAME_SIZE = (20, "<L"), (24, "<L"), (28, "<H")
ATTRIBUTES, HEADER = (38, "<L"), (42, "<L")


def tar_of(files, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """A stream that can't go back, as a zip's writer meets it in a pipe."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data)
        return len(data)


def streamed_zip_of(files):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return pipe.content


def zip64_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    return buffer.getvalue()


def commented_zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = b"photos of my dogs"
    return buffer.getvalue()


def stored_zip_of(files):
    return zip_of(files, zipfile.ZIP_STORED)


def self_extracting_zip_of(files):
    return b"#!/bin/sh\nexec unzip $0\n" + zip_of(files)


def gnu_tar_of(files):
    return tar_of(files, tarfile.GNU_FORMAT)


KINDS = {
    "pax": ("a.tar", tar_of),
    "gnu": ("a.tar", gnu_tar_of),
    "deflated": ("a.zip", zip_of),
    "stored": ("a.zip", stored_zip_of),
    "streamed": ("a.zip", streamed_zip_of),
    "zip64": ("a.zip", zip64_of),
    "commented": ("a.zip", commented_zip_of),
    "self-extracting": ("a.zip", self_extracting_zip_of),
}
BY_KIND = pytest.mark.parametrize(("name", "pack"), KINDS.values(), ids=KINDS)
BY_ENDING = pytest.mark.parametrize(
    ("name", "pack"), [("a.tar", tar_of), ("a.zip", zip_of)], ids=["tar", "zip"]
)


def central(data, number=0):
    """Where the central header of a zip's member starts."""
    place = -1
    for _ in range(number + 1):
        place = data.index(b"PK\x01\x02", place + 1)
    return place


def with_field(data, field, value, number=0):
    """A zip with another value in the central header of one of its members."""
    changed = bytearray(data)
    struct.pack_into(field[1], changed, central(data, number) + field[0], value)
    return bytes(changed)


def tar_item(kind, data=b"", **options):
    """A tar of one good photo and one other member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("good.jpg"))
        member = tarfile.TarInfo("odd.jpg")
        member.type, member.size = kind, len(data)
        for name, value in options.items():
            setattr(member, name, value)
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def signed(header):
    """A tar header with the checksum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def header_of(name, size):
    """A tar header whose size field holds any 12 bytes."""
    header = tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)
    return signed(header[:124] + size + header[136:])


def written(path, data):
    path.write_bytes(data)
    return str(path)


def contents(path):
    """Every member's name and bytes, in order."""
    with open(path, "rb") as file:
        whole = file.read()
    return [
        (it.name, archives.inflate(whole[it.offset : it.offset + it.size], it.unpacked))
        for it in archives.members(path)
    ]


@contextlib.contextmanager
def within(seconds):
    def late(*_):
        pytest.fail(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refusal(path):
    """The message with which an archive is refused: it names the file and says what to do."""
    with within(2), pytest.raises(DataError) as caught:
        archives.members(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "fetch it again" in message
    assert "unpack it yourself" in message
    return message


@BY_KIND
def test_members_are_read_back_from_where_they_lie(name, pack, tmp_path):
    path = written(tmp_path / name, pack(FILES))

    assert contents(path) == list(FILES.items())


@BY_KIND
def test_a_zip_says_what_its_members_have_to_hash_to(name, pack, tmp_path):
    path = written(tmp_path / name, pack(FILES))

    found = [member.crc for member in archives.members(path)]

    crcs = [zlib.crc32(data) for data in FILES.values()]
    assert found == (crcs if name.endswith(".zip") else [None] * len(FILES))


@BY_KIND
def test_an_empty_file_is_read_back_empty(name, pack, tmp_path):
    path = written(tmp_path / name, pack({"1.jpg": b"", "2.jpg": b"two"}))

    assert contents(path) == [("1.jpg", b""), ("2.jpg", b"two")]


@BY_KIND
def test_an_archive_may_be_empty(name, pack, tmp_path):
    path = written(tmp_path / name, pack({}))

    assert archives.members(path) == []


@BY_ENDING
def test_folders_are_no_members(name, pack, tmp_path):
    folders = {"Images/": b"", "Images/a/": b""}
    if name.endswith(".tar"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for folder in folders:
                member = tarfile.TarInfo(folder)
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
        data = buffer.getvalue()
    else:
        data = pack(folders)

    assert archives.members(written(tmp_path / name, data)) == []


@BY_ENDING
@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("./a//b.jpg", "a/b.jpg"),
        ("././b.jpg", "b.jpg"),
        ("a/./b.jpg", "a/b.jpg"),
        ("a/../c/b.jpg", "c/b.jpg"),
        ("..a/b..jpg", "..a/b..jpg"),
        ("a b/ü.jpg", "a b/ü.jpg"),
    ],
)
def test_names_are_normalised(held, said, name, pack, tmp_path):
    path = written(tmp_path / name, pack({held: b"photo"}))

    assert contents(path) == [(said, b"photo")]


@BY_ENDING
@pytest.mark.parametrize(
    "held",
    ["../x.jpg", "a/../../x.jpg", "/x.jpg", "//x.jpg", "..\\x.jpg", "a\\b.jpg", "..", "."],
)
def test_a_name_that_leads_elsewhere_is_refused(held, name, pack, tmp_path):
    path = written(tmp_path / name, pack({"good.jpg": b"photo", held: b"photo"}))

    message = refusal(path)

    assert repr(held) in message
    assert "its folder" in message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tar_item(tarfile.SYMTYPE, linkname="/etc/passwd"), id="symlink"),
        pytest.param(tar_item(tarfile.LNKTYPE, linkname="good.jpg"), id="hardlink"),
        pytest.param(tar_item(tarfile.FIFOTYPE), id="fifo"),
        pytest.param(tar_item(tarfile.CHRTYPE, devmajor=1, devminor=5), id="character device"),
        pytest.param(tar_item(tarfile.BLKTYPE, devmajor=8, devminor=0), id="block device"),
        pytest.param(tar_item(tarfile.GNUTYPE_SPARSE, b"photo"), id="GNU sparse"),
        pytest.param(
            tar_item(
                tarfile.REGTYPE,
                b"1\n0\n5\n".ljust(TAR_BLOCK, b"\0") + b"photo",
                pax_headers={
                    "GNU.sparse.major": "1",
                    "GNU.sparse.minor": "0",
                    "GNU.sparse.name": "odd.jpg",
                    "GNU.sparse.realsize": "5",
                },
            ),
            id="pax sparse",
        ),
        pytest.param(
            tar_item(
                tarfile.REGTYPE,
                b"photo",
                pax_headers={"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,5"},
            ),
            id="pax sparse of a petabyte",
        ),
        pytest.param(tar_item(b"V"), id="volume header"),
    ],
)
def test_a_tar_holds_files_only(data, tmp_path):
    message = refusal(written(tmp_path / "a.tar", data))

    assert "'odd.jpg' in it is a link, a device or sparse" in message


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777])
def test_a_zip_holds_files_only(mode, tmp_path):
    data = zip_of({"odd.jpg": b"/etc/passwd"})

    message = refusal(written(tmp_path / "a.zip", with_field(data, ATTRIBUTES, mode << 16)))

    assert "'odd.jpg' in it is a link or a device" in message


@pytest.mark.parametrize("mode", [0, 0o100644, 0o644])
def test_a_file_of_a_zip_may_say_so_or_nothing(mode, tmp_path):
    data = with_field(zip_of({"a.jpg": b"photo"}), ATTRIBUTES, mode << 16)

    assert contents(written(tmp_path / "a.zip", data)) == [("a.jpg", b"photo")]


def test_an_encrypted_zip_is_refused(tmp_path):
    data = with_field(zip_of(FILES), FLAGS, 1, number=1)

    assert "'Images/a/2.jpg' in it is encrypted" in refusal(written(tmp_path / "a.zip", data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_by_another_method_is_refused(method, tmp_path):
    path = written(tmp_path / "a.zip", zip_of({"a.jpg": b"photo"}, method))

    assert "'a.jpg' in it is packed by an unknown method" in refusal(path)


@pytest.mark.parametrize("number", [1, 9, 93, 99])
def test_a_zip_packed_by_a_method_that_nobody_here_knows_is_refused(number, tmp_path):
    data = with_field(zip_of({"a.jpg": b"photo"}), METHOD, number)

    assert "'a.jpg' in it is packed by an unknown method" in refusal(
        written(tmp_path / "a.zip", data)
    )


def test_a_zip_of_a_later_version_is_refused(tmp_path):
    data = with_field(zip_of({"a.jpg": b"photo"}), NEEDED, 99)

    refusal(written(tmp_path / "a.zip", data))


def test_a_zip_whose_names_are_no_text_though_it_says_so_is_refused(tmp_path):
    data = zip_of({"ü.jpg": b"photo"}).replace("ü".encode(), b"\xff\xfe")

    refusal(written(tmp_path / "a.zip", data))


def test_a_zips_member_without_a_name_is_refused(tmp_path):
    data = zip_of({"a.jpg": b"photo"}).replace(b"a.jpg", b"\0.jpg")

    refusal(written(tmp_path / "a.zip", data))


def test_a_stored_file_has_one_size(tmp_path):
    data = with_field(zip_of({"a.jpg": b"photo"}, zipfile.ZIP_STORED), UNPACKED, 500)

    assert "'a.jpg' in it has two sizes" in refusal(written(tmp_path / "a.zip", data))


def test_the_largest_member_is_a_whole_one(tmp_path):
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        file.write(header_of("a.jpg", b"%011o\0" % archives.MOST_BYTES))
        file.truncate(TAR_BLOCK + archives.MOST_BYTES + 2 * TAR_BLOCK)

    (member,) = archives.members(str(path))

    assert (member.offset, member.size) == (TAR_BLOCK, archives.MOST_BYTES)


def test_a_tars_member_of_more_bytes_than_any_photo_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        file.write(header_of("a.jpg", b"%011o\0" % (archives.MOST_BYTES + TAR_BLOCK)))
        file.truncate(archives.MOST_BYTES + 4 * TAR_BLOCK)

    assert "'a.jpg' in it has 268,435,968 bytes, 268,435,456 is most" in refusal(str(path))


@pytest.mark.parametrize("size", [archives.MOST_BYTES + 1, (1 << 32) - 2])
def test_a_zips_member_of_more_bytes_than_any_photo_is_refused(size, tmp_path):
    data = with_field(zip_of({"a.jpg": b"photo"}), UNPACKED, size)

    assert f"'a.jpg' in it has {size:,} bytes" in refusal(written(tmp_path / "a.zip", data))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(b"%011o\0" % (1 << 20), id="a megabyte"),
        pytest.param(b"\x80" + (1 << 60).to_bytes(11, "big"), id="an exabyte"),
        pytest.param(b"\x80" + b"\xff" * 11, id="as many as the field holds"),
    ],
)
def test_a_tar_that_promises_more_than_it_has_is_refused(size, tmp_path):
    data = header_of("a.jpg", size) + bytes(20 * TAR_BLOCK)

    assert "it ends inside 'a.jpg'" in refusal(written(tmp_path / "a.tar", data))


@pytest.mark.parametrize("back", [1, TAR_BLOCK, 2 * TAR_BLOCK, 1 << 60])
def test_a_tar_with_a_size_below_zero_is_refused_at_once(back, tmp_path):
    first = header_of("a.jpg", b"%011o\0" % 5) + b"photo".ljust(TAR_BLOCK, b"\0")
    turned = header_of("b.jpg", b"\xff" + (256**11 - back).to_bytes(11, "big"))

    refusal(written(tmp_path / "a.tar", first + turned + bytes(4 * TAR_BLOCK)))


def test_a_pax_size_below_zero_is_refused_at_once(tmp_path):
    data = bytearray(tar_item(tarfile.REGTYPE, b"", pax_headers={"size": "-1536"}))

    refusal(written(tmp_path / "a.tar", bytes(data)))


def test_a_tar_of_headers_upon_headers_is_refused(tmp_path):
    longer = signed(tarfile.TarInfo("x").tobuf()[:156] + b"L" + tarfile.TarInfo("x").tobuf()[157:])

    refusal(written(tmp_path / "a.tar", longer * 5000 + bytes(2 * TAR_BLOCK)))


def test_a_zip_that_points_outside_itself_is_refused(tmp_path):
    refusal(written(tmp_path / "a.zip", with_field(zip_of(FILES), HEADER, 1 << 31)))


def test_a_zip_that_lists_fewer_files_than_it_counts_is_refused(tmp_path):
    # The first name swallows the others: they would be missing without a word.
    refusal(written(tmp_path / "a.zip", with_field(zip_of(THREE), NAME_SIZE, 60_000)))


@pytest.mark.parametrize("place", [1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_zip64_that_points_outside_itself_is_refused(place, tmp_path):
    data = zip_of({"a.jpg": b"photo"})
    start = central(data)
    extra = struct.pack("<HHQ", 1, 8, place)
    data = with_field(data, HEADER, 0xFFFFFFFF)
    data = with_field(data, (30, "<H"), len(extra))
    end = data.rindex(b"PK\x05\x06")
    record = bytearray(data[end:])
    struct.pack_into("<L", record, 12, end - start + len(extra))

    refusal(written(tmp_path / "a.zip", data[:end] + extra + bytes(record)))


def test_an_archive_that_would_unpack_without_end_is_refused(tmp_path):
    files = {f"{number}.jpg": b"photo" for number in range(5)}
    data = zip_of(files)
    for number in range(5):
        data = with_field(data, UNPACKED, archives.MOST_BYTES, number)

    message = refusal(written(tmp_path / "a.zip", data))

    assert f"its {len(data):,} bytes would unpack to 1,342,177,280" in message


def test_an_archive_of_photos_that_pack_well_is_none_without_end(tmp_path):
    path = written(tmp_path / "a.zip", zip_of({"drawing.bmp": bytes(5_000_000)}))

    assert contents(path) == [("drawing.bmp", bytes(5_000_000))]


def test_members_that_share_their_bytes_are_refused(tmp_path):
    files = {"1.jpg": b"photo one", "2.jpg": b"photo two"}
    data = with_field(zip_of(files), HEADER, 0, number=1)

    message = refusal(written(tmp_path / "a.zip", data))

    assert "'1.jpg' and '2.jpg' in it share bytes" in message


def test_a_member_that_reaches_into_the_next_is_refused(tmp_path):
    data = zip_of({"1.jpg": b"photo one", "2.jpg": b"photo two"}, zipfile.ZIP_STORED)
    for field in (PACKED, UNPACKED):
        data = with_field(data, field, 60)

    message = refusal(written(tmp_path / "a.zip", data))

    assert "'1.jpg' and '2.jpg' in it share bytes" in message


def test_a_member_that_reaches_beyond_the_end_is_refused(tmp_path):
    data = zip_of({"1.jpg": b"photo"}, zipfile.ZIP_STORED)
    for field in (PACKED, UNPACKED):
        data = with_field(data, field, 5000)

    assert "it ends inside '1.jpg'" in refusal(written(tmp_path / "a.zip", data))


def three():
    return tar_of(THREE, tarfile.USTAR_FORMAT)


def damaged(data, place):
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:900], id="cut inside a photo"),
        pytest.param(lambda data: data[: MEMBER + TAR_BLOCK + 600], id="cut after a photo"),
        pytest.param(lambda data: data[: 2 * MEMBER], id="cut between photos"),
        pytest.param(lambda data: data[: MEMBER + 100], id="cut inside a header"),
        pytest.param(lambda data: data[: 3 * MEMBER], id="cut before its end"),
        pytest.param(lambda data: damaged(data, 10), id="first header damaged"),
        pytest.param(lambda data: damaged(data, MEMBER + 10), id="second header damaged"),
        pytest.param(lambda data: damaged(data, MEMBER + 130), id="second size damaged"),
        pytest.param(lambda data: data[:MEMBER] + data[MEMBER + 99 :], id="bytes lost between"),
        pytest.param(
            lambda data: data[:MEMBER] + bytes(TAR_BLOCK) + data[MEMBER + TAR_BLOCK :],
            id="a header lost",
        ),
        pytest.param(
            lambda data: data[:MEMBER] + bytes(2 * MEMBER) + data[3 * MEMBER :] + data,
            id="a stretch lost, and more behind it",
        ),
        pytest.param(lambda data: data + data, id="two in one file"),
    ],
)
def test_a_tar_that_is_not_whole_is_refused(spoil, tmp_path):
    refusal(written(tmp_path / "a.tar", spoil(three())))


@pytest.mark.parametrize("size", range(0, 3 * MEMBER, 64))
def test_a_tar_is_refused_wherever_it_was_cut(size, tmp_path):
    refusal(written(tmp_path / "a.tar", three()[:size]))


@pytest.mark.parametrize(
    "pack", [zip_of, stored_zip_of, streamed_zip_of], ids=lambda it: it.__name__
)
def test_a_zip_is_refused_wherever_it_was_cut(pack, tmp_path):
    data = pack(THREE)

    for size in range(len(data)):
        refusal(written(tmp_path / "a.zip", data[:size]))


@pytest.mark.parametrize("start", [0, 3, 40, 300])
def test_a_zip_that_lost_bytes_in_between_is_refused(start, tmp_path):
    data = stored_zip_of(THREE)

    refusal(written(tmp_path / "a.zip", data[:start] + data[start + 20 :]))


def test_a_zip_with_a_damaged_header_in_front_of_a_photo_is_refused(tmp_path):
    data = zip_of({"1.jpg": b"one", "2.jpg": b"two"})
    second = data.index(b"PK\x03\x04", 1)

    message = refusal(written(tmp_path / "a.zip", damaged(data, second)))

    assert "it is damaged in front of '2.jpg'" in message


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tar.gz", gzip.compress(three())),
        ("a.tgz", gzip.compress(three())),
        ("a.tar.bz2", bz2.compress(three())),
        ("a.tar.xz", lzma.compress(three())),
        ("a.tar", gzip.compress(three())),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(range(256)) * 4),
        ("a.rar", b"Rar!\x1a\x07\x01\x00" + bytes(range(256)) * 4),
    ],
)
def test_an_archive_of_another_kind_is_refused_with_the_kinds_that_are_read(name, data, tmp_path):
    message = refusal(written(tmp_path / name, data))

    assert "expected a whole tar (not compressed) or zip" in message


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"<html><title>404 not found</title></html>\n" * 50, id="web page"),
        pytest.param(b"404", id="a word"),
        pytest.param(bytes(range(256)) * 20, id="noise"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", id="LFS pointer"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(data, name, tmp_path):
    message = refusal(written(tmp_path / name, data))

    assert "expected a whole tar (not compressed) or zip" in message


def test_a_tar_named_zip_is_refused(tmp_path):
    refusal(written(tmp_path / "a.zip", three()))


def test_a_zip_beyond_four_gigabytes_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with open(path, "w+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("first.jpg", b"one")
        archive.fp.seek(5 << 30)  # a hole in the file, which costs no disk
        archive.start_dir = archive.fp.tell()
        archive.writestr("last.jpg", b"two")

    first, last = archives.members(str(path))

    assert first.offset < 1 << 32 < last.offset
    with open(path, "rb") as file:
        file.seek(last.offset)
        assert file.read(last.size) == b"two"


@pytest.mark.parametrize("position", range(0, TAR_BLOCK, 4))
def test_any_header_of_a_tar_gives_members_or_a_refusal(position, tmp_path):
    data = three()
    header = data[MEMBER : MEMBER + TAR_BLOCK]

    for place, value in itertools.product(range(position, position + 4), (0, 45, 55, 128, 255)):
        changed = signed(header[:place] + bytes([value]) + header[place + 1 :])
        path = written(tmp_path / "a.tar", data[:MEMBER] + changed + data[MEMBER + TAR_BLOCK :])
        with within(2), contextlib.suppress(DataError):
            assert len(archives.members(path)) <= len(THREE)


@pytest.mark.parametrize("name", KINDS)
def test_any_damage_gives_members_or_a_refusal(name, tmp_path):
    file, pack = KINDS[name]
    data = pack({f"{number}.jpg": bytes([number]) * 40 for number in range(3)})
    dice = random.Random(name)

    for _ in range(800):
        changed = bytearray(data)
        for _ in range(dice.choice([1, 1, 2, 4])):
            # Most of what matters in a zip stands at its end.
            place = len(data) - 1 - int(len(data) * dice.random() ** 2)
            changed[max(place, 0)] = dice.choice([0, 1, 127, 128, 254, 255, dice.randrange(256)])
        path = written(tmp_path / file, bytes(changed))
        with within(2), contextlib.suppress(DataError):
            archives.members(path)


@pytest.mark.parametrize(
    ("data", "size", "says"),
    [
        pytest.param(zlib.compress(b"photo" * 100)[2:-4], 499, "unpacks to other", id="longer"),
        pytest.param(zlib.compress(b"photo" * 100)[2:-4], 501, "unpacks to other", id="shorter"),
        pytest.param(zlib.compress(b"photo" * 100)[2:-6], 500, "unpacks to other", id="cut"),
        pytest.param(zlib.compress(bytes(50_000_000))[2:-4], 10, "unpacks to other", id="bomb"),
        pytest.param(b"\xff" * 50, 500, "damaged in its archive", id="noise"),
        pytest.param(b"", 500, "unpacks to other", id="nothing"),
    ],
)
def test_what_unpacks_to_another_length_is_an_error(data, size, says):
    with pytest.raises(ValueError, match=says):
        archives.inflate(data, size)


def test_what_is_stored_is_left_as_it_is():
    assert archives.inflate(b"photo", 0) == b"photo"


@pytest.mark.parametrize(
    "name",
    ["a.tar", "a.zip", "A.ZIP", "a b.Tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.txz", "a.7z"],
)
def test_an_archive_is_known_by_its_ending(name):
    assert archives.is_archive(name)


@pytest.mark.parametrize("name", ["a.jpg", "tar", "zip", "a.zip.part", "a.tar.part", "archive.csv"])
def test_another_file_is_no_archive(name):
    assert not archives.is_archive(name)


@pytest.mark.parametrize(("name", "pack"), [("A.TAR", tar_of), ("A.Zip", zip_of)])
def test_the_case_of_an_ending_does_not_matter(name, pack, tmp_path):
    path = written(tmp_path / name, pack(FILES))

    assert contents(path) == list(FILES.items())


@BY_KIND
def test_a_check_passes_a_whole_archive(name, pack, tmp_path):
    assert archives.check(written(tmp_path / name, pack(FILES))) is None


@BY_KIND
def test_a_check_passes_a_download_that_has_not_its_name_yet(name, pack, tmp_path):
    assert archives.check(written(tmp_path / f"{name}.part", pack(FILES))) is None


@BY_ENDING
def test_a_check_refuses_what_is_cut(name, pack, tmp_path):
    data = pack(THREE)
    path = written(tmp_path / name, data[: len(data) // 3])

    with pytest.raises(DataError, match="expected a whole"):
        archives.check(path)


def test_a_zip_that_does_not_say_that_its_names_are_utf_8_is_read_so_all_the_same(tmp_path):
    data = bytearray(zip_of({"Zoë/1.jpg": b"photo"}))
    for start, flags in ((0, 6), (data.index(b"PK\x01\x02"), 8)):
        data[start + flags + 1] &= ~0x08  # the high byte of the flags holds 0x800

    (member,) = archives.members(written(tmp_path / "a.zip", bytes(data)))

    assert member.name == "Zoë/1.jpg"
