import collections
import dataclasses
import gzip
import hashlib
import http.server
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import download
from components.download import Patience
from components.sources.base import DataError, Remote

ROOT = Path(__file__).resolve().parents[2]
HASTY = Patience(tries=3, first_wait=0.001, most_wait=0.2, timeout=5.0)
CONTENT = bytes(range(256)) * 40  # 10,240 bytes, no two stretches of which are equal by chance
OTHER = CONTENT[::-1]
HALF = len(CONTENT) // 2


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass
class File:
    """What a server holds at a path, and how it answers for it."""

    content: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=lambda: {"ETag": '"v1"'})
    ranges: bool = True


@dataclasses.dataclass
class Seen:
    """A request that the server saw: its headers, and how much of the content it sent."""

    path: str
    headers: dict[str, str]
    sent: int = 0


class Site(http.server.ThreadingHTTPServer):
    """A server on loopback: each request to a path takes the next step of its script.

    Where the script is at its end, it serves the file, with ranges. `resume` lets stalled
    answers go on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, File] = {}
        self.scripts = collections.defaultdict[str, list[Callable[[Handler], None]]](list)
        self.seen: list[Seen] = []
        self.resume = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def offer(self, path: str, content: bytes = CONTENT, *steps, **options) -> str:
        """Holds a file, to be served after the steps; returns its URL."""
        self.files[path] = File(content, **options)
        self.scripts[path] = list(steps)
        return self.url(path)

    def ranges(self) -> list[str | None]:
        return [seen.headers.get("Range") for seen in self.seen]

    def sent(self) -> list[int]:
        return [seen.sent for seen in self.seen]

    def handle_error(self, request, address):
        """A client that goes away is part of many tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer takes 40 ms
    server: Site

    def do_GET(self):
        self.seen = Seen(self.path, dict(self.headers))
        self.server.seen.append(self.seen)
        script = self.server.scripts[self.path]
        (script.pop(0) if script else serve)(self)

    def log_message(self, *args):
        """Nothing to say."""

    def head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send(self, content: bytes) -> None:
        self.seen.sent += len(content)  # first: the client may be done before this thread goes on
        self.wfile.write(content)

    def start(self) -> int:
        """Sends the head that the request asks for; returns where in the file the body starts."""
        file = self.server.files[self.path]
        size, start = len(file.content), self._asked(file)
        if start > 0 and start >= size:
            self.head(416, {"Content-Range": f"bytes */{size}", "Content-Length": 0})
        elif start > 0:
            place = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
            self.head(206, {"Content-Length": size - start, **place, **file.headers})
        else:
            self.head(200, {"Content-Length": size, **file.headers})
        return start

    def _asked(self, file: File) -> int:
        held = self.headers.get("If-Range")
        if not file.ranges or held not in (None, *file.headers.values()):
            return 0
        return int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])


def serve(handler: Handler) -> None:
    """The file, or the range of it that is asked for."""
    start = handler.start()
    handler.send(handler.server.files[handler.path].content[start:])


def cut(count: int) -> Callable[[Handler], None]:
    """So many bytes of the answer, then the connection is closed."""

    def step(handler: Handler) -> None:
        start = handler.start()
        handler.send(handler.server.files[handler.path].content[start : start + count])
        handler.close_connection = True

    return step


def stall(count: int) -> Callable[[Handler], None]:
    """So many bytes of the answer, and the rest when the test says `resume`."""

    def step(handler: Handler) -> None:
        start = handler.start()
        content = handler.server.files[handler.path].content[start:]
        handler.send(content[:count])
        handler.server.resume.wait(30)
        handler.send(content[count:])

    return step


def silence(handler: Handler) -> None:
    """No answer until the test says `resume`."""
    handler.server.resume.wait(30)
    handler.close_connection = True


def answer(status: int, content: bytes = b"", **headers: object) -> Callable[[Handler], None]:
    """An answer as given; `_` in a header's name stands for a hyphen."""

    def step(handler: Handler) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(status, {"Content-Length": len(content), **named})
        handler.send(content)

    return step


def chunked(*chunks: bytes, whole: bool = True, status: int = 200, **headers: object):
    """An answer that announces no length; without its end where it is not `whole`."""

    def step(handler: Handler) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(status, {"Transfer-Encoding": "chunked", **named})
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n" % len(chunk))
            handler.send(chunk)
            handler.wfile.write(b"\r\n")
        handler.wfile.write(b"0\r\n\r\n" if whole else b"")
        handler.close_connection = not whole

    return step


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        site.resume.set()
        site.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "photo.jpg"


def fetch_one(url: str, path: Path, patience: Patience = HASTY, **options) -> download.Fetched:
    (fetched,) = download.fetch([Remote(url, str(path), **options)], "photos", 1, patience)
    return fetched


def part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def state(path: Path) -> Path:
    return path.with_name(path.name + ".part.json")


def records(path: Path) -> dict[str, dict]:
    return json.loads((path.parent / "downloads.json").read_text())


def leave_part(url: str, path: Path, content: bytes, validator: str = '"v1"') -> None:
    """What a call that was killed leaves of a file."""
    path.parent.mkdir()
    part(path).write_bytes(content)
    told = {"url": url, "validator": validator, "total": len(CONTENT)}
    state(path).write_text(json.dumps(told))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def holds(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size >= size


def assert_there(fetched: download.Fetched, path: Path, content: bytes = CONTENT) -> None:
    assert fetched.problem == ""
    assert not fetched.final
    assert fetched.sha256 == sha256(content)
    assert path.read_bytes() == content
    assert not part(path).exists()
    assert not state(path).exists()


def assert_refused(fetched: download.Fetched, path: Path, problem: str, final: bool) -> None:
    assert problem in fetched.problem
    assert "\n" not in fetched.problem
    assert fetched.final == final
    assert fetched.sha256 == ""
    assert not path.exists()


# A whole file


def test_a_file_comes_whole_and_is_recorded(site, path):
    url = site.offer("/photo.jpg")

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert records(path) == {
        "photo.jpg": {"url": url, "bytes": len(CONTENT), "sha256": sha256(CONTENT)}
    }
    assert sorted(os.listdir(path.parent)) == ["downloads.json", "photo.jpg"]


def test_the_request_says_who_asks_and_takes_the_content_as_it_is(site, path):
    fetch_one(site.offer("/photo.jpg"), path)

    headers = site.seen[0].headers
    assert headers["User-Agent"] == "spotted"
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers


def test_an_empty_file_is_a_file(site, path):
    assert_there(fetch_one(site.offer("/photo.jpg", b""), path), path, b"")


def test_a_file_of_several_blocks_comes_whole(site, path):
    content = CONTENT * 300

    fetched = fetch_one(site.offer("/photo.jpg", content), path, sha256=sha256(content).upper())

    assert_there(fetched, path, content)


def test_without_a_length_the_end_of_the_stream_is_the_end(site, path):
    url = site.offer("/photo.jpg", CONTENT, chunked(CONTENT[:100], CONTENT[100:]))

    assert_there(fetch_one(url, path), path)


def test_a_length_beside_chunks_says_nothing(site, path):
    url = site.offer("/photo.jpg", CONTENT, chunked(CONTENT, Content_Length=7))

    assert_there(fetch_one(url, path), path)


def test_a_redirect_is_followed(site, path):
    site.offer("/new.jpg")
    url = site.offer("/photo.jpg", b"", answer(302, Location="/new.jpg"))

    assert_there(fetch_one(url, path), path)


def test_a_file_that_passes_its_check_gets_its_name_afterwards(site, path):
    checked = []

    def check(place):
        checked.append((place, Path(place).read_bytes() == CONTENT, path.exists()))

    fetched = fetch_one(site.offer("/photo.jpg"), path, check=check)

    assert checked == [(str(part(path)), True, False)]
    assert_there(fetched, path)


# Cut off, in the same call


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": '"v1"'}, id="etag"),
        pytest.param({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, id="date"),
        pytest.param({}, id="no validator"),
    ],
)
def test_a_cut_connection_goes_on_where_it_was_cut(headers, site, path):
    url = site.offer("/photo.jpg", CONTENT, cut(4000), headers=headers)

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert site.ranges() == [None, "bytes=4000-"]
    assert site.seen[1].headers.get("If-Range") == next(iter(headers.values()), None)
    assert site.sent() == [4000, len(CONTENT) - 4000]


def test_a_weak_etag_vouches_for_no_byte(site, path):
    headers = {"ETag": 'W/"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}

    fetch_one(site.offer("/photo.jpg", CONTENT, cut(4000), headers=headers), path)

    assert site.seen[1].headers["If-Range"] == headers["Last-Modified"]


def test_tries_count_only_while_nothing_comes(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[cut(1000)] * 9)

    fetched = fetch_one(url, path, dataclasses.replace(HASTY, tries=2))

    assert_there(fetched, path)
    assert sum(site.sent()) == len(CONTENT)


def test_a_stream_that_stalls_is_cut_and_goes_on(site, path):
    url = site.offer("/photo.jpg", CONTENT, stall(4000))

    fetched = fetch_one(url, path, dataclasses.replace(HASTY, timeout=0.1))

    assert_there(fetched, path)
    assert site.ranges() == [None, "bytes=4000-"]


def test_a_server_without_ranges_starts_from_zero(site, path):
    url = site.offer("/photo.jpg", CONTENT, cut(4000), ranges=False)

    assert_there(fetch_one(url, path), path)
    assert site.sent() == [4000, len(CONTENT)]


def test_a_server_that_starts_from_zero_and_always_cuts_is_given_up(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[cut(4000)] * 20, ranges=False)

    fetched = fetch_one(url, path)

    assert_refused(fetched, path, "cut off at 4,000 of 10,240 bytes", final=False)
    assert len(site.seen) == 1 + HASTY.tries


def test_a_length_that_is_too_large_ends_as_cut_off(site, path):
    short = answer(200, CONTENT, Content_Length=len(CONTENT) + 7, Connection="close")
    none = answer(206, Content_Range="bytes 10240-10246/10247", Content_Length=7)

    def closing(handler):
        none(handler)
        handler.close_connection = True

    def closing_short(handler):
        short(handler)
        handler.close_connection = True

    url = site.offer("/photo.jpg", CONTENT, closing_short, *[closing] * 5)

    fetched = fetch_one(url, path)

    assert_refused(fetched, path, "cut off at 10,240 of 10,247 bytes", final=False)


def test_what_comes_behind_the_announced_length_gets_into_no_file(site, tmp_path):
    long = answer(200, CONTENT + OTHER, Content_Length=len(CONTENT))
    urls = [site.offer("/first.jpg", CONTENT, long), site.offer("/second.jpg", OTHER)]
    remotes = [Remote(url, str(tmp_path / url[-10:].strip("/"))) for url in urls]

    first, second = download.fetch(remotes, "photos", 1, HASTY)

    assert_there(first, Path(first.remote.path), CONTENT)
    assert_there(second, Path(second.remote.path), OTHER)


def test_more_than_was_announced_is_refused(site, path):
    rest = chunked(CONTENT[4000:], b"more", status=206, Content_Range="bytes 4000-10239/10240")
    url = site.offer("/photo.jpg", CONTENT, cut(4000), rest)

    fetched = fetch_one(url, path)

    assert_refused(fetched, path, "more came than the 10,240 bytes announced", final=False)
    assert not part(path).exists()


def test_a_broken_chunked_stream_is_not_whole(site, path):
    url = site.offer("/photo.jpg", CONTENT, chunked(CONTENT[:4000], whole=False, ETag='"v1"'))

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert site.ranges() == [None, "bytes=4000-"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content_Range": "bytes 3999-10239/10240"}, id="another start"),
        pytest.param({"Content_Range": "bytes 4000-10239/10241"}, id="another length"),
        pytest.param({"Content_Range": "bytes 4000-10239/*"}, id="no length"),
        pytest.param({"Content_Range": f"bytes 4000-9/{'9' * 5000}"}, id="absurd"),
        pytest.param({}, id="no range"),
        pytest.param({"Content_Range": "bytes 4000-10239/10240", "ETag": '"v2"'}, id="other file"),
    ],
)
def test_a_range_that_is_not_the_rest_starts_the_file_over(headers, site, path):
    wrong = answer(206, OTHER[4000:], **headers)

    fetched = fetch_one(site.offer("/photo.jpg", CONTENT, cut(4000), wrong), path)

    assert_there(fetched, path)
    assert site.ranges() == [None, "bytes=4000-", None]


def test_a_range_that_ends_early_is_gone_on_with(site, path):
    some = answer(206, CONTENT[4000:5000], Content_Range="bytes 4000-4999/10240")

    fetched = fetch_one(site.offer("/photo.jpg", CONTENT, cut(4000), some), path)

    assert_there(fetched, path)
    assert site.ranges() == [None, "bytes=4000-", "bytes=5000-"]


def test_a_server_that_sends_no_range_that_fits_is_given_up(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[answer(206, CONTENT)] * 5)

    assert_refused(fetch_one(url, path), path, "HTTP 206 with range ''", final=False)


# Cut off, in an earlier call


def test_a_later_call_goes_on_where_an_earlier_one_was_killed(site, path):
    url = site.offer("/photo.jpg")
    leave_part(url, path, CONTENT[:HALF])

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert site.ranges() == [f"bytes={HALF}-"]
    assert site.sent() == [len(CONTENT) - HALF]


def test_a_killed_process_leaves_a_part_that_the_next_goes_on_with(site, path):
    url = site.offer("/photo.jpg", CONTENT, stall(HALF))
    code = "import sys; from components import download; from components.sources import base; "
    code += "download.fetch([base.Remote(sys.argv[1], sys.argv[2])], 'photos')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    child = subprocess.Popen([sys.executable, "-c", code, url, str(path)], env=environment)
    wait_until(lambda: holds(part(path), HALF))
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = sorted(os.listdir(path.parent))
    fetched = fetch_one(url, path)

    assert left == ["photo.jpg.part", "photo.jpg.part.json"]
    assert_there(fetched, path)
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert site.seen[1].sent == len(CONTENT) - HALF


def test_a_part_of_a_file_that_changed_is_thrown_away(site, path):
    url = site.offer("/photo.jpg", OTHER, headers={"ETag": '"v2"'})
    leave_part(url, path, CONTENT[:HALF])

    fetched = fetch_one(url, path)

    assert_there(fetched, path, OTHER)
    assert site.seen[0].headers["If-Range"] == '"v1"'
    assert site.sent() == [len(OTHER)]


def test_a_part_that_nothing_vouches_for_is_thrown_away(site, path):
    url = site.offer("/photo.jpg", headers={})
    leave_part(url, path, OTHER[:HALF], validator="")

    assert_there(fetch_one(url, path), path)
    assert site.ranges() == [None]


def test_a_part_from_another_url_is_thrown_away(site, path):
    leave_part(site.url("/elsewhere.jpg"), path, OTHER[:HALF])

    assert_there(fetch_one(site.offer("/photo.jpg"), path), path)
    assert site.ranges() == [None]


@pytest.mark.parametrize("text", ["", '{"url": "htt', "[]"])
def test_a_part_with_a_damaged_note_is_thrown_away(text, site, path):
    url = site.offer("/photo.jpg")
    leave_part(url, path, OTHER[:HALF])
    state(path).write_text(text)

    assert_there(fetch_one(url, path), path)


def test_a_note_without_its_part_is_harmless(site, path):
    url = site.offer("/photo.jpg")
    leave_part(url, path, b"")
    part(path).unlink()

    assert_there(fetch_one(url, path), path)


def test_a_whole_part_needs_only_its_name(site, path):
    url = site.offer("/photo.jpg")
    leave_part(url, path, CONTENT)

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert site.sent() == [0]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(site, path):
    url = site.offer("/photo.jpg")
    leave_part(url, path, CONTENT + b"more")

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert site.ranges() == ["bytes=10244-", None]


def test_a_server_that_has_no_range_at_all_is_given_up(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[answer(416)] * 5)

    fetched = fetch_one(url, path)

    assert_refused(fetched, path, "HTTP 416 Requested Range Not Satisfiable", final=False)


# What a server refuses


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (403, "HTTP 403 Forbidden"),
        (404, "HTTP 404 Not Found"),
        (410, "HTTP 410 Gone"),
        (204, "HTTP 204 No Content"),
        (499, "HTTP 499"),
    ],
)
def test_a_refusal_is_final_and_asked_for_once(status, problem, site, path):
    url = site.offer("/photo.jpg", CONTENT, answer(status))
    leave_part(url, path, CONTENT[:HALF])

    fetched = fetch_one(url, path)

    assert fetched.problem == problem
    assert_refused(fetched, path, problem, final=True)
    assert len(site.seen) == 1
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(status, site, path):
    url = site.offer("/photo.jpg", CONTENT, answer(status), answer(status))

    assert_there(fetch_one(url, path), path)
    assert len(site.seen) == 3


def test_a_server_that_stays_in_trouble_is_given_up(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[answer(500, b"sorry")] * 9)

    fetched = fetch_one(url, path)

    assert_refused(fetched, path, "HTTP 500 Internal Server Error", final=False)
    assert len(site.seen) == HASTY.tries


def test_trouble_keeps_the_part(site, path):
    url = site.offer("/photo.jpg", CONTENT, cut(4000), *[answer(503)] * 9)

    fetched = fetch_one(url, path)
    site.scripts["/photo.jpg"].clear()
    again = fetch_one(url, path)

    assert_refused(fetched, Path(f"{path}.never"), "HTTP 503 Service Unavailable", final=False)
    assert_there(again, path)
    assert site.seen[-1].sent == len(CONTENT) - 4000


def test_waits_double_up_to_a_bound(site, path):
    times = []
    steps = [lambda handler: (times.append(time.monotonic()), answer(500)(handler))] * 5
    patience = Patience(tries=5, first_wait=0.05, most_wait=0.1)

    fetch_one(site.offer("/photo.jpg", CONTENT, *steps), path, patience)

    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    for wait, expected in zip(waits, [0.05, 0.1, 0.1, 0.1], strict=True):
        assert expected <= wait < expected + 1


@pytest.mark.parametrize("header", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_says_how_long_to_wait_within_bounds(header, site, path):
    url = site.offer("/photo.jpg", CONTENT, answer(429, Retry_After=header))
    start = time.monotonic()

    fetched = fetch_one(url, path)

    assert_there(fetched, path)
    assert HASTY.most_wait <= time.monotonic() - start < 5


@pytest.mark.parametrize(
    "header", ["0", "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 2001 00:00:00"]
)
def test_a_server_may_say_not_to_wait(header, site, path):
    url = site.offer("/photo.jpg", CONTENT, answer(429, Retry_After=header))
    patience = Patience(first_wait=60)

    assert_there(fetch_one(url, path, patience), path)


def test_a_wait_that_says_nothing_is_the_usual_one(site, path):
    url = site.offer("/photo.jpg", CONTENT, answer(429, Retry_After="soon"))

    assert_there(fetch_one(url, path), path)


def test_a_server_that_does_not_answer_is_given_up(site, path):
    url = site.offer("/photo.jpg", CONTENT, *[silence] * 9)

    fetched = fetch_one(url, path, Patience(tries=2, first_wait=0.001, timeout=0.05))

    place = f"127.0.0.1:{site.server_port}"
    assert_refused(fetched, path, f"no answer from {place} within 0.05 s", final=False)
    assert len(site.seen) == 2


def test_a_host_that_is_down_is_named_with_the_reason(site, path):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unheard.getsockname()[1]}"

        fetched = fetch_one(f"http://{place}/photo.jpg", path)

    assert_refused(fetched, path, f"no answer from {place}: Connection refused", final=False)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "file:///etc/passwd", "photo.jpg", "http://", "http://[", ""]
)
def test_only_http_is_fetched(url, site, path):
    assert_refused(fetch_one(url, path), path, f"{url!r} is no http or https URL", final=True)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("file:///etc/passwd", "'file:///etc/passwd' is no http or https URL"),
        ("ftp://example.org/a", "'ftp://example.org/a' is no http or https URL"),
        ("http://[", "'http://[' is no http or https URL"),
        ("/\xff", "leads nowhere"),
        ("/photo.jpg", "leads nowhere: Exceeded 30 redirects"),
    ],
)
def test_a_redirect_to_nowhere_is_refused(target, problem, site, path):
    url = site.offer("/photo.jpg", CONTENT, *[answer(302, Location=target)] * 40)

    assert_refused(fetch_one(url, path), path, problem, final=True)


def test_content_that_comes_packed_is_refused(site, path):
    packed = answer(200, gzip.compress(CONTENT), Content_Encoding="gzip")

    fetched = fetch_one(site.offer("/photo.jpg", CONTENT, packed), path)

    assert_refused(fetched, path, "encoded as 'gzip'", final=False)


# What we refuse


def test_another_digest_than_expected_is_refused(site, path):
    fetched = fetch_one(site.offer("/photo.jpg", OTHER), path, sha256=sha256(CONTENT))

    problem = f"sha256 {sha256(OTHER)} came, expected {sha256(CONTENT)}"
    assert_refused(fetched, path, problem, final=False)
    assert os.listdir(path.parent) == []


def test_content_that_fails_its_check_is_refused(site, path):
    def check(place):
        raise DataError(f"{place}: expected an archive")

    fetched = fetch_one(site.offer("/photo.jpg"), path, check=check)

    assert_refused(fetched, path, f"{part(path)}: expected an archive", final=False)
    assert os.listdir(path.parent) == []


def test_a_file_that_is_announced_as_too_large_is_not_begun(site, path):
    url = site.offer("/photo.jpg", CONTENT, stall(0))

    fetched = fetch_one(url, path, most=len(CONTENT) - 1)

    assert_refused(fetched, path, "too large: 10,240 bytes or more, at most 10,239", final=True)
    assert len(site.seen) == 1
    assert os.listdir(path.parent) == []


def test_a_file_that_grows_too_large_is_refused(site, path):
    url = site.offer("/photo.jpg", CONTENT, chunked(CONTENT[:4000], CONTENT[4000:]))

    fetched = fetch_one(url, path, most=4000)

    assert_refused(fetched, path, "at most 4,000 expected", final=True)
    assert os.listdir(path.parent) == []


def test_a_file_of_the_largest_size_allowed_is_fetched(site, path):
    assert_there(fetch_one(site.offer("/photo.jpg"), path, most=len(CONTENT)), path)


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(site, path):
    size = shutil.disk_usage("/").total + shutil.disk_usage(path.parents[1]).total
    url = site.offer("/photo.jpg", CONTENT, answer(200, Content_Length=size))

    fetched = fetch_one(url, path, most=size)

    assert_refused(fetched, path, f"{size:,} bytes are to come and only ", final=False)


def test_a_path_that_can_not_be_written_is_named(site, path):
    path.parent.write_text("a file where a folder should be")

    fetched = fetch_one(site.offer("/photo.jpg"), path)

    assert_refused(fetched, path, str(path.parent), final=False)


def test_two_files_of_the_same_path_are_a_mistake(site, path):
    remotes = [
        Remote(site.url("/a"), str(path)),
        Remote(site.url("/b"), f"{path.parent}/./photo.jpg"),
    ]

    with pytest.raises(ValueError, match=r"photo\.jpg: both .*/a and .*/b would go there"):
        download.fetch(remotes, "photos")

    assert site.seen == []


# Already there


def test_a_file_that_was_fetched_is_not_fetched_again(site, path):
    url = site.offer("/photo.jpg")
    fetch_one(url, path)

    again = fetch_one(url, path)

    assert_there(again, path)
    assert len(site.seen) == 1


@pytest.mark.parametrize("content", [OTHER, CONTENT[:HALF]], ids=["content", "size"])
def test_a_fetched_file_that_was_altered_is_fetched_anew(content, site, path):
    url = site.offer("/photo.jpg")
    fetch_one(url, path)
    path.write_bytes(content)

    again = fetch_one(url, path)

    assert_there(again, path)
    assert len(site.seen) == 2


def test_a_fetched_file_of_which_another_version_is_wanted_is_fetched_anew(site, path):
    fetch_one(site.offer("/photo.jpg"), path)
    url = site.offer("/photo.jpg", OTHER)

    again = fetch_one(url, path, sha256=sha256(OTHER))

    assert_there(again, path, OTHER)
    assert records(path)["photo.jpg"]["sha256"] == sha256(OTHER)


@pytest.mark.parametrize("expected", ["", sha256(OTHER)], ids=["no digest", "its digest"])
def test_a_file_of_somebodys_own_counts_as_there(expected, site, path):
    path.parent.mkdir()
    path.write_bytes(OTHER)

    fetched = fetch_one(site.offer("/photo.jpg"), path, sha256=expected)

    assert_there(fetched, path, OTHER)
    assert site.seen == []
    assert not (path.parent / "downloads.json").exists()


def test_a_file_of_somebodys_own_with_another_digest_stays(site, path):
    path.parent.mkdir()
    path.write_bytes(OTHER)

    fetched = fetch_one(site.offer("/photo.jpg"), path, sha256=sha256(CONTENT))

    assert f"{path} has sha256 {sha256(OTHER)}, expected {sha256(CONTENT)}" in fetched.problem
    assert fetched.sha256 == ""
    assert path.read_bytes() == OTHER
    assert site.seen == []


def test_records_of_other_files_stay(site, path):
    fetch_one(site.offer("/photo.jpg"), path)

    fetch_one(site.offer("/other.jpg", OTHER), path.with_name("other.jpg"))

    assert sorted(records(path)) == ["other.jpg", "photo.jpg"]


@pytest.mark.parametrize("text", ["{", "[]", '{"photo.jpg": {"url": "x"}}', '{"photo.jpg": 1}'])
def test_records_that_can_not_be_read_end_the_call_before_it_begins(text, site, path):
    path.parent.mkdir()
    (path.parent / "downloads.json").write_text(text)

    with pytest.raises(DataError, match=r"downloads\.json: expected url, bytes and sha256"):
        fetch_one(site.offer("/photo.jpg"), path)

    assert site.seen == []


# Many files


def many(site: Site, folder: Path, count: int) -> list[Remote]:
    return [
        Remote(site.offer(f"/{index}.jpg", b"%d" % index * 50), str(folder / f"{index}.jpg"))
        for index in range(count)
    ]


def test_nothing_to_fetch_is_nothing(site):
    assert download.fetch([], "photos") == []


def test_of_many_files_the_dead_ones_are_told_in_order(site, tmp_path, caplog):
    remotes = many(site, tmp_path, 60)
    for index in range(0, 60, 7):
        site.scripts[f"/{index}.jpg"] = [answer(404)]
    site.scripts["/1.jpg"] = [cut(10)]

    with caplog.at_level(logging.INFO, logger="spotted.progress"):
        results = download.fetch(remotes, "fetching photos", 8, HASTY)

    assert [result.remote for result in results] == remotes
    dead = [index for index, result in enumerate(results) if result.problem]
    assert dead == list(range(0, 60, 7))
    assert all(results[index].final for index in dead)
    for index in set(range(60)) - set(dead):
        assert_there(results[index], tmp_path / f"{index}.jpg", b"%d" % index * 50)
    assert len(records(tmp_path / "0.jpg")) == 60 - len(dead)
    assert len(os.listdir(tmp_path)) == 60 - len(dead) + 1
    assert caplog.messages[-1].startswith("fetching photos 60/60 files · ")
    assert caplog.messages[-1].endswith(f" · {len(dead)} failed")


def test_files_come_at_the_same_time(site, tmp_path):
    remotes = many(site, tmp_path, 4)
    together = threading.Barrier(4)

    def step(handler):
        together.wait(30)
        serve(handler)

    for remote in remotes:
        site.scripts[remote.url[len(site.url("")) :]] = [step]

    results = download.fetch(remotes, "photos", 4, HASTY)

    assert [result.problem for result in results] == [""] * 4


def test_a_worker_keeps_its_connection(site, tmp_path):
    remotes = many(site, tmp_path, 20)
    ports = set()

    def step(handler):
        ports.add(handler.client_address)
        serve(handler)

    for index in range(20):
        site.scripts[f"/{index}.jpg"] = [step]

    download.fetch(remotes, "photos", 2, HASTY)

    assert len(ports) <= 2


def test_records_of_many_files_are_not_written_for_each(site, tmp_path):
    remotes = many(site, tmp_path, 60)
    written = set()

    def step(handler):
        if (tmp_path / "downloads.json").exists():
            written.add((tmp_path / "downloads.json").stat().st_mtime_ns)
        time.sleep(0.02)
        serve(handler)

    for index in range(60):
        site.scripts[f"/{index}.jpg"] = [step]
    start = time.monotonic()

    download.fetch(remotes, "photos", 1, HASTY)

    assert 1 <= len(written) <= time.monotonic() - start
    assert len(records(tmp_path / "0.jpg")) == 60


def test_folders_have_records_of_their_own(site, tmp_path):
    remotes = [
        Remote(site.offer("/a.jpg"), str(tmp_path / "a" / "photo.jpg")),
        Remote(site.offer("/b.jpg", OTHER), str(tmp_path / "b" / "photo.jpg")),
    ]

    download.fetch(remotes, "photos", 2, HASTY)

    for folder, content in [("a", CONTENT), ("b", OTHER)]:
        path = tmp_path / folder / "photo.jpg"
        assert records(path)["photo.jpg"]["sha256"] == sha256(content)


def test_a_dead_host_is_not_waited_for_again_for_each_of_many_files(site, tmp_path):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unheard.getsockname()[1]}"
        dead = [Remote(f"http://{place}/{n}.jpg", str(tmp_path / f"{n}.png")) for n in range(12)]

        results = download.fetch([*dead, *many(site, tmp_path, 3)], "photos", 1, HASTY)

    refused = f"no answer from {place}: Connection refused"
    assert [result.problem for result in results[:8]] == [refused] * 8
    skipped = f"not tried: {place} failed for 8 files in a row, with: {refused}"
    assert [result.problem for result in results[8:12]] == [skipped] * 4
    assert not any(result.final for result in results)
    assert [result.problem for result in results[12:]] == [""] * 3


def test_a_host_that_answers_in_between_is_tried_for_each_file(site, tmp_path):
    remotes = many(site, tmp_path, 20)
    for index in set(range(20)) - {5, 12}:
        site.scripts[f"/{index}.jpg"] = [answer(503)] * 9

    results = download.fetch(remotes, "photos", 1, HASTY)

    problems = {result.problem for result in results}
    assert problems == {"", "HTTP 503 Service Unavailable"}


def test_a_large_file_tells_its_bytes_and_seconds(site, path, caplog):
    content = bytes(3_000_000)

    with caplog.at_level(logging.INFO, logger="spotted.progress"):
        fetch_one(site.offer("/photo.jpg", content, cut(1_000_000)), path)

    assert caplog.messages[-1].startswith("photos 3/3 MB · ")
    assert caplog.messages[-1].endswith(" MB/s · 0 s left")


# At any time


def test_the_name_stands_only_for_the_whole_file(site, path):
    found = []

    def step(handler):
        handler.start()
        handler.send(CONTENT[:100])
        wait_until(lambda: holds(part(path), 100))
        found.append((path.exists(), json.loads(state(path).read_text())["total"]))
        handler.send(CONTENT[100:])

    fetched = fetch_one(site.offer("/photo.jpg", CONTENT, step), path)

    assert found == [(False, len(CONTENT))]
    assert site.ranges() == [None]
    assert_there(fetched, path)


def test_an_altered_file_keeps_its_name_until_the_new_one_is_whole(site, path):
    fetch_one(site.offer("/photo.jpg"), path)
    path.write_bytes(b"altered")

    fetched = fetch_one(site.offer("/photo.jpg", OTHER, cut(4000), answer(404)), path)

    assert fetched.problem == "HTTP 404 Not Found"
    assert path.read_bytes() == b"altered"


class Interrupted(Exception):  # noqa: N818
    pass


@pytest.fixture
def interrupt():
    """Raises in the main thread, from a signal handler, as soon as something is true."""

    def handler(number, frame):
        raise Interrupted

    def when(true):
        wait_until(true)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    kept = signal.signal(signal.SIGUSR1, handler)
    yield lambda true: threading.Thread(target=when, args=(true,), daemon=True).start()
    signal.signal(signal.SIGUSR1, kept)


def test_an_interrupt_ends_the_call_and_the_next_goes_on(interrupt, site, path):
    url = site.offer("/photo.jpg", CONTENT, stall(HALF))
    before = threading.active_count()
    interrupt(lambda: holds(part(path), HALF))
    start = time.monotonic()

    with pytest.raises(Interrupted):
        fetch_one(url, path, Patience())

    assert time.monotonic() - start < 10
    assert part(path).stat().st_size == HALF
    # What still comes to the worker that was left behind goes nowhere.
    site.resume.set()
    wait_until(lambda: site.sent() == [len(CONTENT)] and threading.active_count() <= before)
    assert part(path).read_bytes() == CONTENT[:HALF]
    assert_there(fetch_one(url, path), path)
    assert site.ranges() == [None, f"bytes={HALF}-"]


def test_an_interrupt_ends_a_wait_between_tries_and_keeps_the_records(interrupt, site, tmp_path):
    remotes = many(site, tmp_path, 3)
    site.scripts["/2.jpg"] = [answer(503)]
    before = threading.active_count()
    # The pause lets the worker read the answer and begin its wait.
    interrupt(lambda: len(site.seen) == 3 and time.sleep(0.2) is None)
    start = time.monotonic()

    with pytest.raises(Interrupted):
        download.fetch(remotes, "photos", 1, Patience(first_wait=300, most_wait=300))

    assert time.monotonic() - start < 10
    wait_until(lambda: threading.active_count() <= before)
    assert sorted(records(tmp_path / "0.jpg")) == ["0.jpg", "1.jpg"]


def test_a_mistake_in_a_check_reaches_the_caller_at_once(site, tmp_path):
    remotes = many(site, tmp_path, 200)
    raised = threading.Event()

    def check(place):
        raised.set()
        raise RuntimeError("a mistake")

    def step(handler):
        raised.wait(30)
        serve(handler)

    remotes[0] = dataclasses.replace(remotes[0], check=check)
    site.scripts["/1.jpg"] = [step]

    with pytest.raises(RuntimeError, match="a mistake"):
        download.fetch(remotes, "photos", 2, HASTY)

    assert len(site.seen) < 200


def test_the_module_is_light():
    code = (
        "import sys, components.download; print('requests' in sys.modules, 'numpy' in sys.modules)"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert printed.split() == ["False", "False"]
