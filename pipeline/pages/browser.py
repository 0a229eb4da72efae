"""A small site on loopback over ML Metadata: runs, nodes, artifacts, photos, and their lineage.

It reads only: it answers nothing but GET, and serves no file but the reports of runs. Names from
data (dogs, breeds, files) reach the pages through Jinja's escaping.
"""

import http.server
import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from components import catalog
from pipeline import lineage as lineages
from pipeline.lineage import Lineage, Made, Step
from pipeline.pages import drawn, evidence, report
from pipeline.settings import SettingsError

_RUNS = 100  # of a page
_PHOTOS = 12  # of a preview
_TEXT = 20_000  # characters of a preview
_READABLE = (".json", ".jsonl", ".csv", ".txt", ".md", ".pbtxt")
_EVALUATED = "eval_config.json"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class NothingError(LookupError):
    """There is no such page; the message says what was looked for."""


class Site:
    """The pages, by their paths.

    Args:
      output: the output folder.
    """

    def __init__(self, output: str):
        self.output = output
        self._lock = threading.Lock()
        self._known: tuple[int, Lineage] | None = None
        self._routes: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
            "": self._home, "run": self._run, "execution": self._execution,
            "artifact": self._artifact, "find": self._find, "report": self._report,
        }  # fmt: skip
        self.lineage()

    def lineage(self) -> Lineage:
        """All of ML Metadata; read again where the database has changed.

        Raises:
          SettingsError: there is none.
        """
        database = os.path.join(self.output, "metadata.sqlite")
        with self._lock:
            if not os.path.exists(database):
                raise SettingsError(f"--output {self.output}: no run was made there")
            stamp = os.stat(database).st_mtime_ns
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, Lineage(self.output)
            return self._known[1]

    def page(self, path: str, asked: Mapping[str, str]) -> str:
        """One page.

        Args:
          path: such as "/artifact/12".
          asked: the query.

        Raises:
          NothingError: there is none.
        """
        first, _, rest = path.strip("/").partition("/")
        if first not in self._routes:
            raise NothingError(path)
        return self._routes[first](urllib.parse.unquote(rest), asked)

    def _render(self, template: str, **told: Any) -> str:
        told |= {
            "style": report.asset("page.css"), "script": report.asset("page.js"), "served": True,
            "output": self.output,
        }  # fmt: skip
        return str(report.environment().get_template(template).render(told))

    def nothing(self, what: str) -> str:
        """The page that says that there is none."""
        return self._render("nothing.html.j2", what=what)

    def _home(self, rest: str, asked: Mapping[str, str]) -> str:
        known = self.lineage()
        runs: dict[str, list[Step]] = {}
        for step in known.steps.values():
            runs.setdefault(step.run, []).append(step)
        ids = sorted(runs, reverse=True)
        page = max(0, int(asked["page"])) if asked.get("page", "").isdecimal() else 0
        shown = ids[page * _RUNS : (page + 1) * _RUNS]
        ended = set(evidence.runs(self.output))
        rows = [
            {
                "run": run, "executions": len(runs[run]),
                "states": _counted(step.state for step in runs[run]),
                "pushed": [
                    made for step in runs[run] if step.node.startswith("Pusher")
                    for made in known.written_by(step) if made.properties.get("pushed_destination")
                ],
                "report": run in ended,
                "told": evidence.summary(self.output, run) if run in ended else {},
            }
            for run in shown
        ]  # fmt: skip
        return self._render(
            "home.html.j2", rows=rows, total=len(ids), page=page,
            more=(page + 1) * _RUNS < len(ids), executions=len(known.steps),
            artifacts=len(known.made),
        )  # fmt: skip

    def _run(self, rest: str, asked: Mapping[str, str]) -> str:
        known = self.lineage()
        steps = [step for step in known.steps.values() if step.run == rest]
        if not steps:
            raise NothingError(f"run {rest}")
        return self._render(
            "run.html.j2", run=rest, steps=[_row(known, step) for step in steps],
            graph=_markup(drawn.of_run(known, steps)),
            report=rest in evidence.runs(self.output),
        )  # fmt: skip

    def _execution(self, rest: str, asked: Mapping[str, str]) -> str:
        known = self.lineage()
        step = known.steps.get(int(rest)) if rest.isdecimal() else None
        if step is None:
            raise NothingError(f"execution {rest}")
        return self._render(
            "execution.html.j2", step=_row(known, step), parameters=_told(step.parameters)
        )

    def _artifact(self, rest: str, asked: Mapping[str, str]) -> str:
        known = self.lineage()
        made = known.made.get(int(rest)) if rest.isdecimal() else None
        if made is None:
            raise NothingError(f"artifact {rest}")
        writer = known.writer(made.artifact)
        return self._render(
            "artifact.html.j2", made=made, writer=writer, readers=known.readers(made.artifact),
            properties=_told(made.properties), files=list(_files(made.uri)),
            tables=list(_tables(made)), previews=list(_previews(made)), photos=list(_photos(made)),
            graph=_markup(drawn.of_artifact(known, made)),
        )  # fmt: skip

    def _find(self, rest: str, asked: Mapping[str, str]) -> str:
        what = asked.get("what", "").strip()
        known = self.lineage()
        try:
            made = lineages.find(known, what) if what else None
            if made is not None:
                return self._artifact(str(made.artifact), {})
            rows = lineages.rows_of(known, what) if what else {}
        except SettingsError as error:
            return self.nothing(str(error))
        if not rows:
            return self.nothing(f"{what or 'nothing'}: no run was offered such a photo or dog")
        reached = lineages.beyond(known, rows)
        return self._render(
            "found.html.j2", what=what, reached=reached,
            graph=_markup(drawn.of_reach(known, what, rows, reached)),
            offered=[
                (known.made[artifact], row, self._thumbnail(known, artifact, row))
                for artifact, found in rows.items() for row in found
            ],
        )  # fmt: skip

    def _thumbnail(self, known: Lineage, artifact: int, row: catalog.Photo) -> evidence.Picture:
        for step in known.behind([artifact]):
            if step.node == "DatasetImporter":
                read = evidence.reader(str(step.parameters.get("data", "")))
                return evidence.Picture(row.photo_id, evidence.thumbnail(read(row)))
        return evidence.Picture(row.photo_id, "")

    def _report(self, rest: str, asked: Mapping[str, str]) -> str:
        if rest not in evidence.runs(self.output):
            raise NothingError(f"report of run {rest}")
        path = os.path.join(self.output, "runs", rest, report.FILE)
        if not os.path.isfile(path):
            raise NothingError(f"report of run {rest}: local_runner.py report {rest} writes it")
        with open(path, encoding="utf-8") as file:
            return file.read()


def _markup(svg: str) -> Any:
    import markupsafe

    return markupsafe.Markup(svg)


def _counted(states: Iterable[str]) -> str:
    found = list(states)
    return ", ".join(f"{found.count(s)} {s}" for s in ("run", "cached", "failed") if s in found)


def _row(known: Lineage, step: Step) -> dict[str, Any]:
    return {
        "step": step, "read": known.read_by(step), "wrote": known.wrote_or_took(step),
    }  # fmt: skip


def _told(properties: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Properties as text, JSON in them indented."""

    def text(value: Any) -> str:
        if isinstance(value, str) and value[:1] in "{[":
            try:
                return json.dumps(json.loads(value), indent=1)
            except ValueError:
                pass
        return str(value)

    return [(name, text(value)) for name, value in sorted(properties.items())]


def _files(folder: str) -> Iterator[tuple[str, int]]:
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(place, name)
            yield os.path.relpath(path, folder), os.path.getsize(path)


def _previews(made: Made) -> Iterator[tuple[str, str]]:
    """What stands in the readable files of an artifact."""
    for name, _ in _files(made.uri):
        if name.endswith(_READABLE):
            with open(os.path.join(made.uri, name), encoding="utf-8", errors="replace") as file:
                text = file.read(_TEXT + 1)
            yield name, text if len(text) <= _TEXT else f"{text[:_TEXT]}\n… (cut)"


def _tables(made: Made) -> Iterator[tuple[str, Sequence[str], list[Sequence[Any]]]]:
    """What TFMA and TFDV say in an artifact: (caption, columns, rows)."""
    if made.kind == "ModelEvaluation" and os.path.isfile(os.path.join(made.uri, _EVALUATED)):
        from components import model_gate

        slices = model_gate.evaluation_slices(made.uri)
        yield (
            "Metrics by slice (TFMA)",
            ("slice", "metric", "value"),
            [(part or "all", *row) for part, told in slices.items() for row in told.items()],
        )
    if made.kind == "ExampleStatistics":
        for split, path in evidence.of_splits(made.uri, evidence.STATISTICS):
            columns = ("feature", "present", "missing", "mean", "std_dev", "min", "max", "unique")
            yield f"Statistics of {split} (TFDV)", columns, list(_statistics(path))
    if made.kind == "ExampleAnomalies":
        for split, path in evidence.of_splits(made.uri, evidence.ANOMALIES):
            found = evidence.anomalies(path)
            yield f"Anomalies of {split} (TFDV)", ("feature", "anomaly"), list(found.items())


def _statistics(path: str) -> Iterator[Sequence[Any]]:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    with open(path, "rb") as file:
        found = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())
    for feature in found.datasets[0].features:
        kind = feature.WhichOneof("stats")
        told = getattr(feature, kind)
        numbers = ("mean", "std_dev", "min", "max")
        yield (
            feature.name or ".".join(feature.path.step),
            told.common_stats.num_non_missing,
            told.common_stats.num_missing,
            *(getattr(told, key) if kind == "num_stats" else None for key in numbers),
            told.unique if kind == "string_stats" else None,
        )


def _photos(made: Made) -> Iterator[tuple[str, evidence.Picture]]:
    """Some photos of records, by split."""
    if made.kind != "Examples" or not os.path.isdir(made.uri):
        return
    from models import examples

    for split in sorted(os.listdir(made.uri)):
        folder = os.path.join(made.uri, split)
        if not os.path.isdir(folder):
            continue
        for place, (record, data) in enumerate(examples.scan(folder)):
            if place == _PHOTOS or not record.photo_id:
                break
            source = evidence.thumbnail(examples.encoded_image(data))
            yield split.removeprefix("Split-"), evidence.Picture(record.photo_id, source)


class Server(http.server.ThreadingHTTPServer):
    """Serves a site on loopback.

    Args:
      site: its pages.
      port: 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int):
        self.site = site
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if host not in _HOSTS:  # a page from elsewhere that got its name to mean this machine
            self._answer(403, "<p>This site answers to 127.0.0.1 only.</p>")
            return
        asked = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        try:
            self._answer(200, self.server.site.page(asked.path, query))
        except NothingError as error:
            self._answer(404, self.server.site.nothing(str(error)))
        except SettingsError as error:
            self._answer(503, self.server.site.nothing(f"{error}: load the page again"))
        except BrokenPipeError:
            pass
        except Exception as error:  # a file that vanished, say: the next page may be well
            self._answer(500, self.server.site.nothing(f"{type(error).__name__}: {error}"))

    def _answer(self, code: int, page: str) -> None:
        body = page.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a terminal is for what its user wants to know."""
