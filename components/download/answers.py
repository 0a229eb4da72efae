"""What the head of an answer says: its status, and what its headers tell of the content."""

import contextlib
import email.utils
import http
import re
import time
from datetime import UTC
from typing import TYPE_CHECKING

from components.download.problems import RefusedError, TroubleError

if TYPE_CHECKING:
    from requests import Response

_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_NUMBER = r"([0-9]{1,18})"  # what a header may say of bytes, and no more digits than make sense


def is_trouble(response: "Response") -> bool:
    """Whether the server may do better another time."""
    return response.status_code in _RETRIED


def require_content(response: "Response") -> None:
    """Makes sure that an answer has content, as it is.

    Raises:
      TroubleError: another try may have.
      RefusedError: no try will.
    """
    if is_trouble(response):
        raise TroubleError(status(response), _seconds(response.headers.get("Retry-After", "")))
    if response.status_code not in (http.HTTPStatus.OK, http.HTTPStatus.PARTIAL_CONTENT):
        raise RefusedError(status(response), final=response.status_code < 500)
    coding = response.headers.get("Content-Encoding", "identity")
    if coding.lower() not in ("", "identity"):
        raise RefusedError(f"the content came encoded as {coding!r}, though asked for as it is")


def status(response: "Response") -> str:
    """The status, for people."""
    with contextlib.suppress(ValueError):
        return f"HTTP {response.status_code} {http.HTTPStatus(response.status_code).phrase}"
    return f"HTTP {response.status_code}"


def length(response: "Response") -> int | None:
    """Bytes of the content as announced."""
    text = response.headers.get("Content-Length", "")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return int(text) if re.fullmatch(_NUMBER, text) and not chunked else None


def validator(response: "Response") -> str:
    """What vouches for every byte of the content: a strong ETag, a date, or "" for nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def content_range(response: "Response") -> str:
    """Which bytes of the whole the content is, as the server says it."""
    return response.headers.get("Content-Range", "")


def start_and_total(response: "Response") -> tuple[int, int] | None:
    """Where the content starts in the whole, and bytes of the whole; None when it says nothing."""
    place = re.fullmatch(rf"bytes {_NUMBER}-\d+/{_NUMBER}", content_range(response))
    return (int(place[1]), int(place[2])) if place else None


def unsatisfied_total(response: "Response") -> int | None:
    """Bytes of the whole, of which the range that was asked for is no part."""
    place = re.fullmatch(rf"bytes \*/{_NUMBER}", content_range(response))
    return int(place[1]) if place else None


def _seconds(text: str) -> float | None:
    """Seconds of a Retry-After header, which may be a date; None when it says nothing."""
    if text.isdecimal():
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time())
