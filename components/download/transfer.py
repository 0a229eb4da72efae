"""The way of one file from its server to its name: asked for until it is whole, then checked."""

import dataclasses
import http
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.download import answers, session
from components.download.crew import Crew
from components.download.part import Part
from components.download.patience import Hosts, Patience
from components.download.problems import RefusedError, TroubleError
from components.download.progress import Progress
from components.sources.base import DataError, Remote
from models.progress import log

if TYPE_CHECKING:
    from requests import Response, Session

_BLOCK = 1 << 20  # the most bytes that are held of a file


@dataclasses.dataclass(frozen=True)
class Call:
    """What the transfers of one call share."""

    crew: Crew
    patience: Patience
    hosts: Hosts
    progress: Progress


class Transfer:
    """The way of one file."""

    def __init__(self, call: Call, opened: "Session", remote: Remote):
        self._call = call
        self._session = opened
        self._remote = remote
        self._part = Part(remote)

    def run(self) -> str:
        """Fetches the file and returns its digest.

        Raises:
          RefusedError: it is not to be had.
          StoppedError: the call is over.
          OSError: the disk fails.
        """
        self._call.hosts.refuse_lost(session.host(self._remote.url))
        self._part.load()
        try:
            self._persist()
            sha256 = self._checked()
        except DataError as error:
            self._discard()
            raise RefusedError(str(error)) from error
        except RefusedError as refused:
            if refused.final:
                self._discard()
            raise
        self._call.crew.pulse()
        self._part.rename()
        return sha256

    def _discard(self) -> None:
        self._call.crew.pulse()
        self._part.remove()

    def _persist(self) -> None:
        """Tries until the part is whole, or patience ends."""
        patience = self._call.patience
        tries, furthest = 0, self._part.size
        while True:
            try:
                return self._attempt()
            except TroubleError as error:
                trouble = error
            # A server that always starts from zero and never ends must not look like progress.
            tries = 0 if self._part.size > furthest else tries + 1
            furthest = max(furthest, self._part.size)
            if tries >= patience.tries:
                self._call.hosts.gave_up(session.host(self._remote.url), str(trouble))
                raise RefusedError(str(trouble))
            wait = patience.wait(tries, trouble.wait)
            name = os.path.basename(self._remote.path)
            log.info("%s: %s; trying again in %.0f s", name, trouble, wait)
            self._call.crew.rest(wait)

    def _attempt(self) -> None:
        """One request, after which the part is whole."""
        timeout = self._call.patience.timeout
        url, headers = self._remote.url, self._part.wanted()
        with session.ask(self._session, url, headers, timeout) as response:
            self._call.crew.pulse()
            if not answers.is_trouble(response):
                self._call.hosts.heard(session.host(url))
            if response.status_code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._part.require_whole(response)
            else:
                self._place(response)
                self._receive(response)
        if self._part.total is not None and self._part.size < self._part.total:
            raise TroubleError(f"cut off at {self._part}")

    def _place(self, response: "Response") -> None:
        """Takes an answer for what it is: the rest of the part, or a new one.

        Raises:
          TroubleError: it is neither, but the next may be.
          RefusedError: neither, and the next will be no better, or there is no room for it.
        """
        answers.require_content(response)
        if response.status_code == http.HTTPStatus.PARTIAL_CONTENT:
            self._part.require_rest(response)
        else:
            self._part.begin(response)
        self._refuse_large(self._part.total or 0)
        self._require_room()
        self._call.progress.begin(self._remote.path, self._part.size, self._part.total)

    def _receive(self, response: "Response") -> None:
        with open(self._part.path, "ab") as file:
            for block in self._blocks(response):
                self._call.crew.pulse()
                self._refuse_surplus(self._part.size + len(block))
                self._part.append(file, block)
                self._call.progress.add(self._remote.path, len(block))

    def _blocks(self, response: "Response") -> Iterator[bytes]:
        """The content as it comes: no byte that came is lost when the connection is."""
        import urllib3

        try:
            while block := response.raw.read1(_BLOCK, decode_content=False):
                yield block
        except urllib3.exceptions.ReadTimeoutError as error:
            timeout = self._call.patience.timeout
            raise TroubleError(f"nothing came for {timeout:g} s at {self._part}") from error
        except urllib3.exceptions.HTTPError as error:
            raise TroubleError(f"cut off at {self._part}") from error

    def _refuse_surplus(self, size: int) -> None:
        total = self._part.total
        if total is not None and size > total:
            raise DataError(f"more came than the {total:,} bytes announced")
        self._refuse_large(size)

    def _refuse_large(self, size: int) -> None:
        if size > self._remote.most:
            raise RefusedError(
                f"too large: {size:,} bytes or more, at most {self._remote.most:,} expected", True
            )

    def _require_room(self) -> None:
        missing, free = (self._part.total or 0) - self._part.size, self._part.free()
        if missing > free:
            raise RefusedError(
                f"{missing:,} bytes are to come and only {free:,} are free on the disk of "
                f"{self._remote.path}: make room"
            )

    def _checked(self) -> str:
        """Digest of the part; raises DataError when it is not what it should be."""
        remote, sha256 = self._remote, self._part.digest.hexdigest()
        if remote.sha256 and sha256 != remote.sha256.lower():
            raise DataError(f"sha256 {sha256} came, expected {remote.sha256.lower()}")
        if remote.check:
            remote.check(self._part.path)
        return sha256
