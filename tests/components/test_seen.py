import pytest

from components import seen
from components.seen import Seen

STAMP = (600, 1_700_000_000_123_456_789)


def test_what_was_noted_is_known_by_path_and_stamp():
    known = Seen()

    known.note("individuals/rex/1.jpg", STAMP, "ab12")

    assert known.digest("individuals/rex/1.jpg", STAMP) == "ab12"


@pytest.mark.parametrize(
    ("path", "stamp"),
    [
        ("individuals/rex/2.jpg", STAMP),
        ("individuals/rex/1.jpg", (601, STAMP[1])),
        ("individuals/rex/1.jpg", (STAMP[0], STAMP[1] + 1)),  # a nanosecond later
        ("individuals/rex/1.jpg", (STAMP[0], STAMP[1] - 1)),
    ],
    ids=["name", "size", "later", "earlier"],
)
def test_another_name_size_or_time_is_not_known(path, stamp):
    known = Seen()
    known.note("individuals/rex/1.jpg", STAMP, "ab12")

    assert known.digest(path, stamp) is None


def test_the_last_note_counts():
    known, later = Seen(), (STAMP[0], STAMP[1] + 5)
    known.note("a", STAMP, "ab12")

    known.note("a", later, "cd34")

    assert known.digest("a", STAMP) is None
    assert known.digest("a", later) == "cd34"


def test_notes_come_back_as_they_were_written(tmp_path):
    known = Seen()
    known.note("stanford/images.tar", STAMP, "ab12")
    known.note('individuals/Bärli 1/\n"ü".jpg', (0, -1), "cd34")

    known.write(str(tmp_path / "new folder" / "seen.jsonl"))

    assert seen.read(str(tmp_path / "new folder" / "seen.jsonl")) == known
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["seen.jsonl"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff\xfe",
        b'["a", 1, 2, "ab12"]\n["b", 1, 2, "c',
        b'["a", 1, 2]\n',
        b"{}\n",
        b"7\n",
        b"null\n",
    ],
    ids=["no file", "empty", "no text", "half a line", "a value less", "object", "number", "null"],
)
def test_of_a_file_that_is_missing_or_damaged_nothing_is_known(content, tmp_path):
    if content is not None:
        (tmp_path / "seen.jsonl").write_bytes(content)

    assert seen.read(str(tmp_path / "seen.jsonl")) == Seen()
