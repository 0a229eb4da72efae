"""The pages: whatever data are named stays text, and what is gone is said."""

import http.client
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import looked
import planted
import pytest
from test_ingestion import jpeg

import local_runner
from pipeline import lineage, local
from pipeline.pages import browser, picture, report

SCRIPT = "<script>alert(1)<\uff0fscript>"  # no name of a file has a slash
# A process that was started in the background ignores Ctrl-C, and so do those that it starts.
BROWSE = """
import signal, sys, local_runner
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(local_runner.main(["browse", *sys.argv[1:]]))
"""
HOSTILE = [
    "<img src=x onerror=alert(1)>", "it's \"Rex\" & {{ 7 * 7 }}", "\u202eכלב", "x" * 200,
]  # fmt: skip


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory) -> planted.Outcome:
    """A run on photos in whose names somebody tries something."""
    seeds = iter(range(70_000, 80_000))
    files = planted.clean()
    for name in HOSTILE:
        files[f"breeds/{name}/{name}.jpg"] = jpeg(next(seeds))
        files |= {f"individuals/{name}/{n} {name}.jpg": jpeg(next(seeds)) for n in range(3)}
    files[f"individuals/{SCRIPT}/1.jpg"] = b"no photo"
    data = planted.lay(tmp_path_factory.mktemp("hostile") / "photos", files)
    return planted.ingest(data, data.parent / "output", "--cropped", "--individual")


def page_of(run: planted.Outcome) -> Path:
    return run.output / "runs" / run.summary["run_id"] / "report.html"


def test_names_in_a_report_stay_text(hostile_run):
    page = looked.Figures(page_of(hostile_run).read_text())

    text = "".join(page.text)
    for name in HOSTILE:
        assert name in text
    assert SCRIPT in text
    assert "49" not in {word for word in text.split() if word.startswith("it's")}
    with looked.browser() as opened:
        looked.check(opened, page_of(hostile_run).as_uri(), looked.PHONE)


def test_names_in_the_browser_stay_text(hostile_run):
    site = browser.Site(str(hostile_run.output))
    server = browser.Server(site, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with looked.browser() as opened:
            for name in (*HOSTILE, SCRIPT):
                address = f"{server.address}find?what={urllib.parse.quote(name)}"
                seen = looked.look(opened, address, 390, "dark")
                assert (seen.said, seen.dialogs, seen.findings) == ([], [], []), name
                assert seen.wide <= 0, name
                assert name in "".join(looked.Figures(site.page("/find", {"what": name})).text)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def asked(hostile_run):
    """Asks the browser's server: (method, path, headers) -> (status, body)."""
    server = browser.Server(browser.Site(str(hostile_run.output)), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(method: str, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*server.server_address, timeout=60)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    yield ask
    server.shutdown()
    server.server_close()


def test_the_browser_serves_this_machine_and_reads_only(asked):
    assert asked("GET", "/")[0] == 200
    assert asked("GET", "/", Host="evil.example:8765")[0] == 403
    assert asked("POST", "/")[0] == 501
    assert asked("DELETE", "/artifact/1")[0] == 501


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/artifact/99999", "/artifact/x", "/execution/", "/run/%3Cb%3E", "/report/../x",
     "/report/..%2f..%2fsummary", "/find?what=nobody", "/find", "/find?what=artifact:99999"],
)  # fmt: skip
def test_what_is_not_there_is_said(asked, path):
    status, page = asked("GET", path)

    assert status == (200 if path.startswith("/find") else 404)  # a search may find nothing
    assert "Nothing there" in page
    assert "<b>" not in page


def test_a_run_that_has_a_report_leads_to_it(asked, hostile_run):
    run = hostile_run.summary["run_id"]

    home = asked("GET", "/")[1]
    assert f'href="/report/{run}"' in home
    assert f"<code>{hostile_run.summary['data']['version'][:12]}</code>" in home
    assert asked("GET", f"/report/{run}") == (200, page_of(hostile_run).read_text())


def test_what_is_gone_is_left_out_and_said(hostile_run, tmp_path):
    output = tmp_path / "output"
    shutil.copytree(hostile_run.output / "runs", output / "runs")
    shutil.copy(hostile_run.output / "metadata.sqlite", output)
    for folder in (hostile_run.output / "artifacts").iterdir():
        folder.rename(folder.with_name(f"{folder.name} (moved)"))
    try:
        told = "".join(looked.Figures(Path(report.write(str(output))).read_text()).text)
    finally:
        for folder in (hostile_run.output / "artifacts").iterdir():
            folder.rename(folder.with_name(folder.name.removesuffix(" (moved)")))

    assert "The ledger is gone, or was not written." in told
    assert "No breed model was evaluated." in told


def test_two_runs_stand_beside_each_other_with_their_differences_first(tmp_path, capfd):
    for run, top1, extra in (("a", 0.5, {}), ("b", 0.75, {"new": 3})):
        folder = tmp_path / "runs" / run
        folder.mkdir(parents=True)
        gates = [{"gate": "breed", "passed": run == "b"}]
        told = {"breed": {"student": {"top1": top1, "examples": 9, **extra}}, "gates": gates}
        (folder / "summary.json").write_text(json.dumps(told))
    (tmp_path / "logs").mkdir()

    assert local_runner.main(["report", "b", "--compare", "a", "--output", str(tmp_path)]) == 0

    path = tmp_path / "runs" / "b" / "compare-a.html"
    assert f"report    {path}" in capfd.readouterr().out
    page = path.read_text()
    rows = re.findall(
        r"<tr( class=\"different\")?><th scope=\"row\">(?:≠ )?([^<]*)</th>(.*?)</tr>", page
    )
    found = {name: (bool(mark), re.findall(r">([^<]*)</td>", cells)) for mark, name, cells in rows}
    assert found["breed · student · top1"] == (True, ["0.750", "0.500", "-0.250"])
    assert found["breed · student · new"] == (True, ["3", "–", ""])
    assert found["gates · breed · passed"] == (True, ["yes", "no", ""])
    assert found["breed · student · examples"] == (False, ["9", "9", ""])
    names = [name for _, name, _ in rows if name.startswith("breed")]
    assert names[-1] == "breed · student · examples"
    with looked.browser() as opened:
        looked.check(opened, path.as_uri(), looked.PHONE)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["none"], "none: no such run has ended in"),
        (["--compare", "none"], "none: no such run has ended in"),
    ],
)
def test_a_run_that_is_none_is_one_line(hostile_run, capsys, argv, told):
    assert local_runner.main(["report", *argv, "--output", str(hostile_run.output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert hostile_run.summary["run_id"] in line


def test_a_summary_that_is_no_json_is_one_line(tmp_path, capsys):
    path = tmp_path / "runs" / "a" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"breed": ')
    (tmp_path / "logs").mkdir()

    assert local_runner.main(["report", "--output", str(tmp_path)]) == 2
    assert f"{path}: is not the JSON that a run leaves" in capsys.readouterr().err


def test_a_run_beside_itself_is_one_line(hostile_run, capsys):
    run = hostile_run.summary["run_id"]
    flags = ["--compare", run, "--output", str(hostile_run.output)]
    assert local_runner.main(["report", *flags]) == 2
    assert f"--compare {run}: is the run itself" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_does_not_undo_the_run(tmp_path, capsys):
    told = local._report(str(tmp_path), "none")

    assert told.startswith("could not be written (SettingsError: ")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "browse"])
def test_a_folder_without_runs_is_one_line(tmp_path, capsys, command):
    assert local_runner.main([command, "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no run was made there" in line


def test_browse_says_its_address_and_nothing_else_until_ctrl_c(hostile_run):
    made = lineage.Lineage(str(hostile_run.output)).made.values()
    examples = next(one.artifact for one in made if one.kind == "Examples")
    browse = [sys.executable, "-c", BROWSE, "--port", "0", "--output", str(hostile_run.output)]
    process = subprocess.Popen(browse, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        address, _, said = process.stdout.readline().partition(" ")
        with urllib.request.urlopen(f"{address}artifact/{examples}") as page:
            shown = page.read().decode()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert "Some photos of train" in shown  # so TensorFlow was imported, which talks
    assert (process.returncode, said, rest) == (0, "(Ctrl-C ends it)\n", "")


def test_a_port_that_is_taken_is_one_line(hostile_run, capsys):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), None) as taken:
        port = str(taken.server_address[1])
        flags = ["--output", str(hostile_run.output), "--port", port]
        assert local_runner.main(["browse", *flags]) == 2
    assert f"--port {port}: " in capsys.readouterr().err


def test_rows_of_a_picture_are_those_of_longest_paths():
    edges = [("a", "b"), ("b", "d"), ("a", "d"), ("c", "d")]

    laid = picture.lay(["a", "b", "c", "d"], edges)

    assert [set(row) for row in laid.rows] == [{"a", "c"}, {"b", ("a", 1), ("c", 1)}, {"d"}]
    assert laid.routes[2] == ["a", ("a", 1), "d"]


def test_a_picture_alone_has_no_links_and_its_labels_are_text():
    boxes = [picture.Box("a", "<b>&", link="/x"), picture.Box("b", "y" * 99)]

    svg = picture.alone(picture.draw(boxes, [("a", "b"), ("a", "gone")], 'of "a" & <b>'))

    assert "&lt;b&gt;&amp;" in svg
    assert "href" not in svg
    assert "y" * 99 in svg  # the title
    assert ">" + "y" * 26 + "…<" in svg
    assert svg.count("<path") == 1


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (None, "", "–"), (0.12345, "", "0.123"), (1.0, "n", "1"), (1.0, "", "1.000"), (0, "", "0"),
        (12345, "", "12,345"), (36.0, "", "36"), (0.5, "%", "50.0%"), (1234.56, "", "1,234.6"),
        (True, "", "yes"), ([], "", "–"), (["a", 2], "", "a, 2"), (1.5, "n", "1.5"),
        ("<b>", "", "<b>"), (float("inf"), "", "inf"),
    ],
)  # fmt: skip
def test_values_are_shown_as_people_read_them(value, style, text):
    assert report.shown(value, style) == text
