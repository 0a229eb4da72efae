"""Whole runs on the built-in sample, as `make run` starts them."""

import json
import os
import shutil
import threading
import urllib.parse
from pathlib import Path

import judged
import looked
import numpy as np
import pytest
from runs import DATA_NODES, EVERY_NODE, SCHEMAS, Project

from components import catalog
from pipeline import gates, lineage
from pipeline.metadata import Store
from pipeline.pages import browser
from pipeline.settings import MODELS

OF_TRAINERS = ("breed_teacher", "breed_student", "match")
SECTIONS = ("verdict", "data", "training", "breed", "match", "cost", "lineage", "settings")
CHARTS = {
    "splits", "dogs", "breeds", "confusion", "breed-calibration", "ranks", "open-set", "roc",
    "match-calibration", "times", *(f"training-Trainer_{name}" for name in OF_TRAINERS),
}  # fmt: skip
TRAINERS = {name for name in EVERY_NODE if name.startswith("Trainer")}


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory) -> tuple[Project, str]:
    """A finished run on the built-in sample, as `make run` starts it."""
    project = Project.copy(tmp_path_factory.mktemp("sample"))
    code, printed = project.run()
    assert code == 0, printed
    return project, printed


def test_the_sample_ends_with_both_models_pushed(sample_run):
    project, printed = sample_run
    summary = project.summary()

    assert {node["id"] for node in summary["nodes"]} == EVERY_NODE
    assert {node["state"] for node in summary["nodes"]} == {"run"}
    assert all(gate["passed"] for gate in summary["gates"])
    for path in summary["pushed"].values():
        assert (Path(path) / "saved_model.pb").is_file()
        assert path in printed


def test_pushed_models_answer_about_photos_they_never_saw(sample_run):
    import tensorflow as tf

    project, _ = sample_run
    pushed = project.summary()["pushed"]
    dogs = _test_dogs(project)
    breed = tf.saved_model.load(pushed["breed"]).signatures["classify"]
    match = tf.saved_model.load(pushed["match"]).signatures["compare"]

    first, second = (tf.constant([photos[0], photos[1]]) for photos in dogs[:2])
    same = match(image_bytes_a=first[:1], image_bytes_b=first[1:])["same_dog"].numpy()
    other = match(image_bytes_a=first[:1], image_bytes_b=second[:1])["same_dog"].numpy()
    classes = breed(image_bytes=first)["classes"].numpy()

    assert same[0] > other[0]
    assert classes.shape == (2, 5)


def test_every_pushed_version_has_a_card_with_the_figures_of_its_run(sample_run):
    project, _ = sample_run
    summary = project.summary()
    breed, match = (
        (Path(summary["pushed"][model]) / "model_card.md").read_text() for model in MODELS
    )

    student, teacher = summary["breed"]["student"], summary["breed"]["teacher"]
    interval = f"{student['top1_low']:.3f} to {student['top1_high']:.3f}"
    assert f"(`top1`) | {student['top1']:.3f} | {interval} | {teacher['top1']:.3f} |" in breed
    assert "| stanford | research use only (ImageNet) | 265 | 68 | 65 |" in breed
    assert "| individuals | the user's own | 413 | 49 | 42 | 72 |" in match
    found = summary["match"]
    interval = f"{found['recall@1_low']:.3f} to {found['recall@1_high']:.3f}"
    assert f"(`recall@1`) | {found['recall@1']:.3f} | {interval} |" in match
    for text, gate in zip((breed, match), summary["gates"], strict=False):
        assert all(f"- {reason}" in text.splitlines() for reason in gate["reasons"])


def test_the_lineage_of_a_dog_and_of_a_model_is_that_of_their_run(sample_run):
    project, _ = sample_run
    summary = project.summary()
    ledger = [photo for photo in project.ledger() if photo.split == "train" and photo.dog_id]
    dog = ledger[0].dog_id
    mine = sorted(photo.photo_id for photo in ledger if photo.dog_id == dog)
    known = lineage.Lineage(str(project.output))

    (reached,) = lineage.beyond(known, lineage.rows_of(known, dog))
    told = lineage.source(known, lineage.find(known, summary["pushed"]["match"]))

    assert (reached.model, reached.role, list(reached.photos)) == ("match", "trained on", mine)
    assert reached.releases == ((summary["pushed"]["match"], "serving"),)
    ran = {node["id"] for node in summary["nodes"]}
    nodes = {step["node"] for step in told["nodes"]}
    assert {"DatasetImporter", "Trainer_match", "ModelGate_match", "Pusher_match"} <= nodes < ran
    assert not any("student" in node for node in nodes)
    assert told["data_versions"] == [summary["data"]["version"][:12]]
    assert told["photos"]["individual"]["train"] == len(ledger)


def test_the_report_opens_anywhere_and_every_section_of_it(sample_run):
    project, printed = sample_run
    report = project.output / "runs" / project.summary()["run_id"] / "report.html"

    assert f"report    {report}" in printed
    with looked.browser() as opened:
        for seen in looked.check(opened, report.as_uri()):
            assert seen.sections == [f"#{name}" for name in SECTIONS]
            assert seen.charts == len(CHARTS)


def test_every_figure_of_the_report_is_that_of_the_summary_or_of_ml_metadata(sample_run):
    project, _ = sample_run
    summary = project.summary()
    store = Store(str(project.output / "metadata.sqlite"))
    nodes = store.nodes(store.runs()[-1])
    report = project.output / "runs" / summary["run_id"] / "report.html"
    page = looked.Figures(report.read_text())

    def read(source: str) -> dict:
        if source == "summary":
            return summary
        node, key, name = source.split("/")
        return json.loads(Path(store.outputs(nodes[node])[key].uri, name).read_text())

    assert set(page.specs) == CHARTS
    assert len(page.found) > 200
    for (source, *path), value, shown in page.found:
        wanted = read(source)
        for key in path:
            wanted = wanted[key]
        assert float(value) == wanted, path
        digits = float(shown.replace(",", "").rstrip("%"))
        assert digits == pytest.approx(wanted * (100 if "%" in shown else 1), abs=0.051), path
    for model in OF_TRAINERS:
        history = read(f"Trainer_{model}/model_run/history.json")
        loss, score = page.specs[f"training-Trainer_{model}"]["data"]
        assert (loss["y"], score["y"]) == (history["loss"], history["val_score"])
    confusion = page.specs["confusion"]["data"][0]["customdata"]
    right = sum(row[place] for place, row in enumerate(confusion))
    student = summary["breed"]["student"]
    assert sum(map(sum, confusion)) == student["examples"]
    assert right / student["examples"] == pytest.approx(student["top1"])
    roc = {trace["name"]: trace for trace in page.specs["roc"]["data"]}["all pairs"]
    area = np.trapz(roc["y"][::-1], roc["x"][::-1])
    assert area == pytest.approx(summary["match"]["auc_all"], abs=0.01)
    ranks = {trace["name"]: trace["y"] for trace in page.specs["ranks"]["data"]}
    for k in (1, 5, 10):
        assert ranks["model"][k - 1] == summary["match"][f"recall@{k}"]
        assert ranks["histogram"][k - 1] == summary["match"][f"histogram.recall@{k}"]
    times = {
        name: seconds
        for trace in page.specs["times"]["data"]
        for name, seconds in zip(trace["y"], trace["x"], strict=True)
    }
    assert times == {node["id"]: node["seconds"] for node in summary["nodes"]}


def test_the_browser_shows_every_kind_of_page(sample_run):
    project, _ = sample_run
    run = project.summary()["run_id"]
    known = lineage.Lineage(str(project.output))
    of = {made.kind.rpartition(".")[2]: made.artifact for made in known.made.values()}
    dog = next(photo.dog_id for photo in project.ledger() if photo.dog_id)
    trainer = next(step for step in known.steps.values() if step.node == "Trainer_match")
    model = next(made for made in known.written_by(trainer) if made.kind == "Model")
    pages = (
        "", f"run/{run}", "execution/5", f"artifact/{of['Examples']}",
        f"artifact/{of['SplitManifest']}", f"artifact/{of['PushedModel']}", "find?what=match",
        f"find?what={urllib.parse.quote(dog)}",
    )  # fmt: skip
    server = browser.Server(browser.Site(str(project.output)), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    try:
        with looked.browser() as opened:
            for page in pages:
                looked.check(opened, server.address + page)
            page = opened.new_page()
            page.goto(server.address)
            page.get_by_role("link", name=run).click()
            page.locator("svg a", has_text="Trainer_match").click()
            page.get_by_role("link", name=f"Model {model.artifact}").first.click()
            assert "artifact" in page.locator("h1").inner_text()
            page.goto(server.address)
            page.get_by_role("textbox").fill(dog)
            page.get_by_role("button", name="Find").click()
            assert "serving" in page.locator("table").first.inner_text()
    finally:
        server.shutdown()
        server.server_close()


def test_the_browser_shows_what_tfma_and_tfdv_say(sample_run):
    project, _ = sample_run
    site, known = browser.Site(str(project.output)), lineage.Lineage(str(project.output))

    def page(node: str, kind: str) -> str:
        step = next(step for step in known.steps.values() if step.node == node)
        made = next(made for made in known.written_by(step) if made.kind == kind)
        return site.page(f"/artifact/{made.artifact}", {})

    student = project.summary()["breed"]["student"]
    row = f'<th scope="row">all</th><td>top1</td><td class="number">{student["top1"]:.3f}</td>'
    assert row in page("Evaluator_breed_student", "ModelEvaluation")
    present = project.summary()["splits"]["cropped"]["val"]
    row = f'<th scope="row">breed</th><td class="number">{present}</td><td class="number">0</td>'
    _, shown = page("StatisticsGen_cropped", "ExampleStatistics").split("Statistics of val", 1)
    assert row in shown
    anomalies = page("ExampleValidator_cropped", "ExampleAnomalies")
    assert "Anomalies of train (TFDV): none." in anomalies


def _test_dogs(project: Project) -> list[list[bytes]]:
    store = Store(str(project.output / "metadata.sqlite"))
    node = store.nodes(store.runs()[0])["SplitAssigner"]
    (sample,) = (project.output / "sample").iterdir()
    dogs: dict[str, list[bytes]] = {}
    for photo in catalog.read(store.outputs(node)["splits"].uri):
        if photo.split == "test" and photo.dog_id:
            dogs.setdefault(photo.dog_id, []).append((sample / photo.uri).read_bytes())
    return list(dogs.values())


def test_a_second_run_takes_everything_from_the_cache(sample_run):
    project, _ = sample_run
    before = project.summary()

    code, printed = project.run()

    assert code == 0, printed
    assert project.executed() == set()
    after = project.summary()
    assert {node["state"] for node in after["nodes"]} == {"cached"}
    assert after["pushed"] == before["pushed"]
    assert after["breed"] == before["breed"]
    assert after["match"] == before["match"]


@pytest.fixture(scope="module")
def judge(sample_run, tmp_path_factory) -> judged.Judge:
    project, _ = sample_run
    return judged.Judge(project.output, tmp_path_factory.mktemp("judged"))


def test_a_model_that_is_as_good_as_the_one_that_serves_is_not_refused(judge):
    assert judge.breed(judged.nothing) == {}


def test_a_breed_model_that_learned_nothing_is_refused_with_its_worst_photos(judge):
    refused = judge.breed(judged.at_random)

    assert {"floor", "near its teacher", "no worse than served, top1"} <= set(refused)
    feature, _, _ = refused["no worse than served, top1"]["slice"].partition(":")
    assert feature in gates.PHOTO_SLICES
    for rule in ("floor", "no worse than served, top1"):
        assert refused[rule]["examples"]
        assert all("taken for" in photo for photo in refused[rule]["examples"])


def test_a_breed_model_that_lost_two_breeds_is_refused(judge):
    refused = judge.breed(judged.without(2))

    assert "no worse than served, top1" in refused
    assert "floor" not in refused


def test_a_slightly_worse_breed_model_is_refused_and_a_slightly_better_one_is_not(judge):
    refused = judge.breed(judged.without(1))

    assert "no worse than served, top1" in refused
    assert not {"floor", "better than colours", "calibrated"} & set(refused)
    # One that never says a breed is surer of the others, and may be the better calibrated one.
    better = judge.breed(judged.nothing, served=judged.without(1))
    assert set(better) <= {"no worse than served, ece"}


def test_an_overconfident_breed_model_is_refused(judge):
    refused = judge.breed(judged.overconfident)

    assert {"not overconfident", "no worse than served, log_loss"} <= set(refused)
    assert "no worse than served, top1" not in refused


def test_a_teacher_in_the_place_of_its_student_is_refused(judge):
    refused = judge.breed(judge.as_teacher)

    assert set(refused) == {"faster than its teacher"}


def test_a_breed_model_with_a_weight_that_is_no_number_is_refused(judge):
    refused = judge.breed(judged.broken)

    assert {"answers are numbers", "floor"} <= set(refused)
    assert refused["answers are numbers"]["value"] == 1.0


def test_an_overconfident_match_model_is_refused(judge):
    refused = judge.match(judged.nothing, (20.0, -10.0))

    assert {"calibrated", "no worse than served, ece_all"} <= set(refused)
    assert not any("auc" in name or "mAP" in name for name in refused)
    assert refused["calibrated"]["examples"]
    assert all("same_dog" in pair for pair in refused["calibrated"]["examples"])


def test_a_slightly_worse_match_model_is_refused_and_a_slightly_better_one_is_not(judge):
    refused = judge.match(judged.narrow(8), served=judged.nothing)

    assert {"no worse than served, mAP", "no worse than served, recall@1"} <= set(refused)
    assert all(name.startswith("no worse than served") for name in refused)
    assert judge.match(judged.nothing, served=judged.narrow(8)) == {}


def test_a_match_model_that_learned_nothing_is_refused(judge):
    refused = judge.match(judged.untrained)

    assert {"floor", "no worse than served, mAP", "no worse than served, false_alarm"} <= set(
        refused
    )
    assert refused["floor"]["slice"].startswith("pair/")
    assert refused["floor"]["examples"]


def test_an_embedding_that_ignores_its_photo_is_refused(judge):
    refused = judge.match(judged.deaf, (20.0, -10.0))

    assert {"floor", "better than colours, overall", "no worse than served, auc"} <= set(refused)


@pytest.fixture(scope="module")
def changed(sample_run, tmp_path_factory) -> Path:
    """The sample without three of its dogs, and with one bit of another one's photo changed."""
    project, _ = sample_run
    (sample,) = (project.output / "sample").iterdir()
    folder = tmp_path_factory.mktemp("changed") / "photos"
    shutil.copytree(sample, folder)
    dogs = sorted((folder / "individuals").iterdir())
    for dog in dogs[::24]:
        shutil.rmtree(dog)
    photo = sorted(dogs[-1].iterdir())[0]
    content = bytearray(photo.read_bytes())
    content[-20] ^= 1
    photo.write_bytes(content)
    return folder


def flags(data: Path, epochs: int) -> list[str]:
    """Those of the sample, on other data."""
    return [
        "--data", str(data), "--backbone", "small_cnn", "--image_size", "64",
        "--batch_size", "32", "--epochs", str(epochs),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def other_run(sample_run, changed, tmp_path_factory) -> Project:
    """A shorter run on the changed sample, whose models may be worse than those served."""
    project, _ = sample_run
    other = Project.copy(tmp_path_factory.mktemp("other"), project.output)
    strict = "margin=margin, optional=True, **more"
    other.edit("pipeline/gates.py", strict, "margin=0.9, optional=True")
    code, printed = other.run(*flags(changed, epochs=12))
    assert code == 0, printed
    return other


def test_changed_data_run_everything_and_are_compared_with_those_of_the_models_pushed(other_run):
    executed, summary = other_run.executed(), other_run.summary()

    assert executed == EVERY_NODE - SCHEMAS
    store = Store(str(other_run.output / "metadata.sqlite"))
    nodes = store.nodes(store.runs()[0])
    for view in ("cropped", "individual"):
        assert {f"LedgerBefore_{view}", f"StatisticsBefore_{view}"} <= set(nodes)
    folder = Path(store.outputs(nodes["DataGate"])["verdict"].uri)
    distances = json.loads((folder / "verdict.json").read_text())["distances"]
    for view, feature in (("cropped", "breed"), ("individual", "quality/brightness")):
        drift = {d["feature"]: d["value"] for d in distances[view] if d["kind"] == "drift"}
        assert 0 <= drift[feature] < 0.05
    assert summary["match"]["baseline.mAP"] > 0.5
    assert summary["breed"]["baseline"]["top1"] > 0.5
    assert summary["match"]["baseline.gallery"] == summary["match"]["gallery"]


def test_photos_under_another_name_end_the_run_before_anything_is_trained(
    other_run, changed, tmp_path
):
    data = tmp_path / "photos"
    shutil.copytree(changed / "individuals", data / "individuals")
    one, two, *_ = sorted((data / "individuals").iterdir())
    one.rename(data / "aside")
    two.rename(one)
    (data / "aside").rename(two)

    code, printed = other_run.run(*flags(data, epochs=12), "--individual")

    assert code == 1
    assert "DataGate failed" in printed
    assert "photos have another label than in the last blessed run" in printed
    assert f"individuals/{one.name}" in printed
    assert not any(name.startswith("Trainer") for name in other_run.executed())


def test_a_run_on_worse_data_pushes_nothing_and_what_serves_goes_on(other_run, changed, tmp_path):
    """The photos of all dogs are dealt anew, and DataGate, which sees it, is overruled."""
    import tensorflow as tf

    served = listed(other_run, "match")
    data = tmp_path / "photos"
    shutil.copytree(changed / "individuals", data / "individuals")
    places = sorted((data / "individuals").glob("*/*"))
    contents = [path.read_bytes() for path in places]
    order = np.random.default_rng(0).permutation(len(places))
    for path, photo in zip(places, order, strict=True):
        path.write_bytes(contents[photo])

    code, printed = other_run.run(*flags(data, epochs=3), "--individual", "--allow_anomalies")

    assert code == 3, printed
    (gate,) = (gate for gate in other_run.summary()["gates"] if gate["gate"] == "match")
    failed = {rule["rule"] for rule in gate["rules"] if not rule["passed"]}
    assert "floor" in failed
    assert f"version {served[0]['version']} keeps serving" in printed
    assert other_run.summary()["pushed"]["match"] is None
    assert listed(other_run, "match") == served
    assert tf.saved_model.load(served[0]["path"]).signatures["compare"]


def test_what_is_served_is_what_the_newest_run_made(sample_run, other_run, changed):
    """Runs A, B, A, B, A: each is compared with what served before it, and serves after it."""
    project, _ = sample_run
    served = []
    for run, more in ((project, []), (other_run, flags(changed, epochs=12)), (project, [])):
        code, printed = run.run(*more)
        assert code == 0, printed
        assert not run.executed() & {*DATA_NODES, *TRAINERS}
        served.append(run.summary()["pushed"])
        for model, path in served[-1].items():
            newest = max(os.listdir(Path(path).parent), key=int)
            assert Path(path).name == newest, f"{model}: another version is served"

    for model in ("breed", "match"):
        assert len({pushed[model] for pushed in served}) == 3


def test_a_version_that_was_withdrawn_stays_so_until_it_is_brought_back(sample_run, other_run):
    """The newest run's breed model is rolled back to another run's, and forward again."""
    import tensorflow as tf

    project, _ = sample_run
    newest, older, *_ = listed(project)
    assert (newest["state"], older["state"]) == ("serving", "kept")
    assert newest["path"] == project.summary()["pushed"]["breed"]
    assert newest["data_version"] != older["data_version"]
    assert newest["gate"] == "passed"
    assert newest["metrics"]["top1"] == project.summary()["breed"]["student"]["top1"]

    code, printed = project.run("rollback", "breed")
    assert code == 0, printed
    assert [item["state"] for item in listed(project)[:2]] == ["withdrawn", "serving"]
    _answers(tf.saved_model.load(older["path"]))

    code, printed = project.run()
    back = f"rollback breed --to {newest['version']}"
    assert code == 0, printed
    assert f"not pushed, version {newest['version']} was withdrawn" in printed
    assert f"version {older['version']} keeps serving" in printed
    assert back in printed
    assert project.summary()["pushed"]["breed"] is None
    assert project.summary()["withdrawn"] == {"breed": str(newest["version"]), "match": None}
    assert [item["state"] for item in listed(project)[:2]] == ["withdrawn", "serving"]

    code, printed = project.run(*back.split())
    assert code == 0, printed
    code, printed = project.run()
    assert code == 0, printed
    assert project.executed() == set()
    assert project.summary()["pushed"]["breed"] == newest["path"]
    assert len(listed(project)) == len([*(project.output / "serving" / "breed").iterdir()])
    _answers(tf.saved_model.load(newest["path"]))


def listed(project: Project, model: str = "breed") -> list[dict]:
    """What `models` lists of a model."""
    code, printed = project.run("models", model, "--json")
    assert code == 0, printed
    return json.loads(printed)[model]


def _answers(model) -> None:
    import tensorflow as tf

    photo = tf.io.encode_jpeg(tf.zeros((64, 64, 3), tf.uint8))
    answer = model.signatures["classify"](image_bytes=photo[tf.newaxis])
    assert answer["classes"].shape == (1, 5)


def test_a_pushed_version_that_was_deleted_is_pushed_again(sample_run):
    project, _ = sample_run
    deleted = Path(project.summary()["pushed"]["match"])
    shutil.rmtree(deleted.parent)

    code, printed = project.run()

    assert code == 0, printed
    assert Path(project.summary()["pushed"]["match"]).is_dir()
    assert "Pusher_match" in project.executed()
