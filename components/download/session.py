"""Asks servers over a worker's connection, and says what it means that no answer comes."""

import urllib.parse
from typing import TYPE_CHECKING, Any

from components.download.problems import RefusedError, TroubleError

if TYPE_CHECKING:
    from requests import Response, Session

_HEADERS = {"User-Agent": "spotted", "Accept": "*/*", "Accept-Encoding": "identity"}


def opened() -> "Session":
    """A session that keeps its connections, for one thread."""
    import requests

    session = requests.Session()
    session.headers.update(_HEADERS)
    session.hooks["response"].append(_refuse_other_redirects)
    return session


def ask(session: "Session", url: str, headers: dict[str, str], timeout: float) -> "Response":
    """Asks for a file, and follows redirects.

    Args:
      session: an opened one.
      url: http or https.
      headers: of the request, beside the usual ones.
      timeout: to connect, and from one piece of the answer to the next, seconds.

    Returns:
      The answer, its content still to come.

    Raises:
      TroubleError: no answer came, but may another time.
      RefusedError: none will come.
    """
    import requests
    import urllib3

    try:
        return session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.Timeout as error:
        place = _asked(error, url)
        raise TroubleError(f"no answer from {place} within {timeout:g} s") from error
    except requests.exceptions.InvalidProxyURL as error:
        raise RefusedError(
            f"the proxy that the environment names can't be used: {error}"
        ) from error
    except (requests.exceptions.InvalidURL, requests.TooManyRedirects) as error:
        raise RefusedError(f"{url} leads nowhere: {error}", final=True) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise TroubleError(f"no answer from {_asked(error, url)}: {_cause(error)}") from error
    except ValueError as error:  # a redirect to what is no URL at all
        raise RefusedError(f"{url} leads nowhere: {error}", final=True) from error


def host(url: str, base: str = "") -> str:
    """Host and port of a URL, which may be relative to another.

    Raises:
      RefusedError: it is no http or https URL.
    """
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, url))
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.netloc.rpartition("@")[2].lower()
    except ValueError:
        pass
    raise RefusedError(f"{url!r} is no http or https URL", final=True)


def _refuse_other_redirects(response: "Response", **_: Any) -> None:
    if response.is_redirect:
        host(response.headers["location"], response.url)


def _asked(error: Exception, url: str) -> str:
    """The host that gave no answer: another one after a redirect."""
    request = getattr(error, "request", None)
    return host(request.url if request else url)


def _cause(error: BaseException) -> str:
    """The system's own words, which libraries wrap several times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
