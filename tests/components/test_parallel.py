import threading

import pytest

from components import parallel


def test_results_come_in_the_order_of_the_items():
    assert list(parallel.each(lambda item: item * item, range(95))) == [n * n for n in range(95)]


@pytest.mark.parametrize("batch", [1, 7, 95, 1000])
def test_results_are_the_same_in_batches_of_any_size(batch):
    found = parallel.each(lambda item: item * item, range(95), batch=batch)

    assert list(found) == [n * n for n in range(95)]


def test_in_batches_of_one_no_item_waits_for_another_of_its_batch(monkeypatch):
    # Two items that only finish together: in one batch the first would wait for the second.
    monkeypatch.setattr(parallel, "cores", lambda: 2)  # one core is given no thread of its own
    together = threading.Barrier(2, timeout=20)

    assert sorted(parallel.each(lambda item: together.wait(), range(2), batch=1)) == [0, 1]


def test_nothing_gives_nothing():
    assert list(parallel.each(str, [])) == []


def test_an_error_reaches_the_caller():
    def half(item):
        if item == 33:
            raise ValueError("the 33rd")
        return item

    with pytest.raises(ValueError, match="the 33rd"):
        list(parallel.each(half, range(95)))


def test_as_many_work_at_once_as_there_are_cores():
    # On one core the caller's own thread does the work.
    expected = 1 if parallel.cores() == 1 else parallel.cores() + 1
    together = threading.Barrier(expected, timeout=20)

    def meet(item):
        return item % parallel.BATCH or together.wait() >= 0

    assert len(list(parallel.each(meet, range(expected * parallel.BATCH)))) > 0
