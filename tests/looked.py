"""A page, looked at in a real browser: clicked through at two widths, and asked about itself."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

WIDTHS = {1280: "light", 390: "dark"}
PHONE = {390: "dark"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GRAVE = ("serious", "critical")  # of axe's impacts
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@dataclasses.dataclass
class Seen:
    """What became of a page at one width.

    Attributes:
      said: on its console, and errors that nothing caught.
      asked: the addresses that it loaded, but data of its own.
      dialogs: that it opened.
      wide: how much wider it is than the window, pixels.
      findings: axe's, those that are grave.
      sections: that its navigation led to.
      drawn: how many of its charts were drawn.
      charts: how many it has.
    """

    said: list[str] = dataclasses.field(default_factory=list)
    asked: list[str] = dataclasses.field(default_factory=list)
    dialogs: list[str] = dataclasses.field(default_factory=list)
    wide: int = 0
    findings: list[str] = dataclasses.field(default_factory=list)
    sections: list[str] = dataclasses.field(default_factory=list)
    drawn: int = 0
    charts: int = 0


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


def look(opened: Any, address: str, width: int, scheme: str = "light") -> Seen:
    """Opens a page and clicks through all of it.

    Args:
      opened: of `browser`.
      address: a file's or a server's.
      width: of the window, pixels.
      scheme: light or dark.
    """
    from axe_playwright_python.sync_playwright import Axe

    seen = Seen()
    page = opened.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("console", lambda told: seen.said.append(told.text))
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("dialog", lambda told: (seen.dialogs.append(told.message), told.dismiss()))
    page.on("request", lambda request: seen.asked.append(request.url))
    page.goto(address)
    if page.locator("summary").count():  # one by keyboard, the others as a click does
        first = "document.querySelector('details').open"
        before = page.evaluate(first)
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(first) != before
    closed = "document.querySelectorAll('details:not([open]) > summary')"
    page.evaluate(f"{closed}.forEach(summary => summary.click())")
    for link in page.locator('nav a[href^="#"]').all():
        link.click()
        seen.sections.append(link.get_attribute("href"))
        page.wait_for_timeout(50)
    page.evaluate("document.querySelectorAll('th button').forEach(button => button.click())")
    plots = page.locator(".plot")
    for place in range(plots.count()):
        page.evaluate("it => document.querySelectorAll('.plot')[it].scrollIntoView()", place)
        page.wait_for_timeout(20)
    if plots.count():
        page.wait_for_function("document.querySelectorAll('.plot:not([data-drawn])').length === 0")
    seen.drawn = page.locator(".plot .main-svg").count()
    seen.charts = plots.count()
    seen.wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    options = {"runOnly": {"type": "tag", "values": _TAGS}, "resultTypes": ["violations"]}
    inside = {"exclude": [[".plot > *"]]}  # a picture to whoever does not see it
    found = Axe().run(page, context=inside, options=options).response["violations"]
    seen.findings = [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"][:3]
    ]
    seen.asked = [url for url in seen.asked if not url.startswith("data:")]
    page.close()
    return seen


def check(opened: Any, address: str, widths: Mapping[int, str] = WIDTHS) -> list[Seen]:
    """Looks at a page at every width, and asserts that nothing is wrong with it."""
    found = [look(opened, address, width, scheme) for width, scheme in widths.items()]
    for width, seen in zip(widths, found, strict=True):
        told = f"{address} at {width} px"
        assert seen.said == [], told
        assert seen.dialogs == [], told
        assert all(url.startswith(address) for url in seen.asked), told
        assert seen.wide <= 0, told
        assert seen.findings == [], told
        assert seen.drawn >= seen.charts, told
    return found


class Figures(HTMLParser):
    """Every figure of a page: (where it was read, its value, what is shown).

    Attributes:
      found: the figures.
      specs: of the charts, by name.
      text: all that is to be read.
      tags: the names of all elements.
    """

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[list[Any], str, str]] = []
        self.specs: dict[str, Any] = {}
        self.text: list[str] = []
        self.tags: set[str] = set()
        self._open: tuple[list[Any], str] | None = None
        self._spec = self._tag = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self._tag = tag
        self.tags.add(tag)
        if tag == "data":
            self._open = json.loads(told["data-of"]), told["value"]
        self._spec = (
            told["id"] if tag == "script" and told.get("type") == "application/json" else ""
        )

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "data" and self._open:
            self.found.append((*self._open, data))
        elif self._tag == "script" and self._spec:
            self.specs[self._spec.removeprefix("spec-")] = json.loads(data)
        if self._tag not in ("script", "style"):
            self.text.append(data)
