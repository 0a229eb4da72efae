import logging

from models import progress


def test_the_end_of_the_work_is_reported_with_its_note(caplog):
    rate = progress.Rate("reading", 3, "files")

    with caplog.at_level(logging.INFO, logger="spotted.progress"):
        rate.add(1)
        rate.add(2, "loss 0.5")

    last = caplog.messages[-1]
    assert last.startswith("reading 3/3 files · ")
    assert last.endswith("/s · loss 0.5")


def test_workers_on_the_same_work_share_one_counter(tmp_path):
    first = progress.shared("writing", 10, str(tmp_path / "a"))

    assert progress.shared("writing", 10, str(tmp_path / "a")) is first
    assert progress.shared("writing", 10, str(tmp_path / "b")) is not first
