"""Lineage both ways, on runs with cached and re-run nodes, against what is known by hand."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

import local_runner
from components import catalog
from components.sources.base import Reason
from pipeline import lineage
from pipeline.settings import SettingsError

HOSTILE = ["<script>alert(1)</script>", 'it\'s "Rex" \\ & co', "\u202eניחוח", "x" * 300, "a\tb"]


KEY = mlmd.Event.Path(steps=[mlmd.Event.Path.Step(key="some")])


class Recorded:
    """An output folder whose runs are written into ML Metadata by hand."""

    def __init__(self, output: Path):
        self.output = output
        output.mkdir()
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(output / "metadata.sqlite")
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = ml_metadata.MetadataStore(config)
        self.kinds: dict[tuple[str, str], int] = {}
        self.contexts: dict[tuple[str, str], int] = {}

    def kind(self, what: str, name: str) -> int:
        if (what, name) not in self.kinds:
            made = {"execution": mlmd.ExecutionType, "artifact": mlmd.ArtifactType}
            made["context"] = mlmd.ContextType
            put = getattr(self.store, f"put_{what}_type")
            self.kinds[what, name] = put(made[what](name=name))
        return self.kinds[what, name]

    def context(self, kind: str, name: str) -> int:
        if (kind, name) not in self.contexts:
            told = mlmd.Context(type_id=self.kind("context", kind), name=name)
            (self.contexts[kind, name],) = self.store.put_contexts([told])
        return self.contexts[kind, name]

    def artifact(self, kind: str, name: str, **properties: str) -> int:
        made = mlmd.Artifact(
            type_id=self.kind("artifact", kind), uri=str(self.output / "artifacts" / name)
        )
        for key, value in properties.items():
            made.custom_properties[key].string_value = value
        (found,) = self.store.put_artifacts([made])
        return found

    def step(self, run, node, inputs, outputs, state="COMPLETE", **properties: str) -> int:
        made = mlmd.Execution(type_id=self.kind("execution", node), last_known_state=f"{state}")
        for key, value in properties.items():
            made.custom_properties[key].string_value = value
        (execution,) = self.store.put_executions([made])
        events = [(mlmd.Event.INPUT, item) for item in inputs]
        events += [(mlmd.Event.OUTPUT, item) for item in outputs]
        self.store.put_events(
            [
                mlmd.Event(execution_id=execution, artifact_id=item, type=kind, path=KEY)
                for kind, item in events
            ]
        )
        places = [self.context("pipeline_run", run), self.context("node", f"spotted.{node}")]
        self.store.put_attributions_and_associations(
            [], [mlmd.Association(execution_id=execution, context_id=place) for place in places]
        )
        return execution

    def ledger(self, name: str, rows: list[catalog.Photo]) -> int:
        folder = self.output / "artifacts" / name
        folder.mkdir(parents=True)
        catalog.write(str(folder), rows)
        return self.artifact("components.SplitManifest", name, data_version=name)


def photo(name: str, split: str | None, dog: str | None = None, **more) -> catalog.Photo:
    views = ("individual",) if dog else ("cropped",)
    return catalog.Photo(name, name.split("/")[0], name, 0, 1, "0", dog_id=dog, views=views,
                         split=split, **more)  # fmt: skip


def run(recorded: Recorded, name: str, ledger: int, offered: int) -> dict[str, int]:
    """The nodes of a run on a ledger, all of which run; returns the artifacts by name."""
    made: dict[str, int] = {"ledger": ledger, "data": offered}
    recorded.step(name, "DatasetImporter", [], [offered], code="c1")
    recorded.step(name, "SplitAssigner", [offered], [ledger], code="c2")
    for view in ("cropped", "individual"):
        made[view] = recorded.artifact("Examples", f"{name}-{view}")
        recorded.step(name, f"ImageExampleGen_{view}", [ledger], [made[view]], code="c3", view=view)
    config = json.dumps({"code": "c4"})
    for model, read in (
        ("breed_teacher", ["cropped"]),
        ("breed_student", ["cropped", "breed_teacher"]),
        ("match", ["individual", "breed_teacher"]),
    ):
        made[model] = recorded.artifact("Model", f"{name}-{model}")
        inputs = [made[item] for item in read]
        recorded.step(name, f"Trainer_{model}", inputs, [made[model]], custom_config=config)
    for model, source in (("breed", "breed_student"), ("match", "match")):
        place = recorded.output / "serving" / model / str(len(recorded.contexts))
        place.mkdir(parents=True)
        (place / "saved_model.pb").touch()
        told = {"pushed_destination": str(place), "pushed_version": place.name}
        made[f"pushed_{model}"] = recorded.artifact("PushedModel", f"{name}-pushed", **told)
        recorded.step(name, f"Pusher_{model}", [made[source]], [made[f"pushed_{model}"]])
    return made


@pytest.fixture
def recorded(tmp_path) -> Recorded:
    """Run a; run b that took all from the cache; run c on photos without the dog rex."""
    found = Recorded(tmp_path / "output")
    rows = [photo("stanford/1", "train"), photo("stanford/2", "test")]
    rows += [photo(f"individuals/rex/{n}", "train", "individuals/rex") for n in range(3)]
    rows += [
        photo("individuals/rex/9", None, "individuals/rex", reason=Reason.EXACT_COPY),
        photo("individuals/bella/1", "val", "individuals/bella"),
    ]
    data = found.artifact("components.Dataset", "data", data_version="v1")
    made = run(found, "a", found.ledger("v1", rows), data)
    for execution in found.store.get_executions():
        events = found.store.get_events_by_execution_ids([execution.id])
        kinds = {
            kind: [event.artifact_id for event in events if event.type == kind]
            for kind in (mlmd.Event.INPUT, mlmd.Event.OUTPUT)
        }
        node = next(
            context.name.partition(".")[2]
            for context in found.store.get_contexts_by_execution(execution.id)
            if context.name.startswith("spotted.")
        )
        found.step("b", node, kinds[mlmd.Event.INPUT], kinds[mlmd.Event.OUTPUT], "CACHED")
    other = [row for row in rows if row.dog_id != "individuals/rex"]
    later = found.artifact("components.Dataset", "later", data_version="v2")
    found.after = run(found, "c", found.ledger("v2", other), later)
    found.before = made
    return found


def reached(recorded: Recorded, name: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    known = lineage.Lineage(str(recorded.output))
    found = lineage.beyond(known, lineage.rows_of(known, name))
    return [(item.step.run, item.model, item.role, item.photos) for item in found]


def test_a_dog_reached_what_was_trained_on_it_once_and_nothing_that_came_after(recorded):
    photos = tuple(f"individuals/rex/{n}" for n in range(3))

    assert reached(recorded, "individuals/rex") == [("a", "match", "trained on", photos)]
    assert reached(recorded, "rex") == [("a", "match", "trained on", photos)]


def test_a_photo_reaches_models_through_their_teacher_too(recorded):
    wanted = [
        (run, model, f"{through}trained on", ("stanford/1",))
        for run in ("a", "c")
        for model, through in (
            ("breed_teacher", ""),
            ("breed_student", ""),
            ("match", "learned from a model that was "),
        )
    ]

    assert reached(recorded, "stanford/1") == wanted


def test_a_photo_of_the_test_split_was_evaluated_on(recorded):
    roles = {(model, role) for _, model, role, _ in reached(recorded, "stanford/2")}

    assert ("breed_student", "evaluated on") in roles
    assert not any("trained" in role for _, role in roles)


def test_a_rejected_photo_reached_nothing(recorded):
    assert reached(recorded, "individuals/rex/9") == []


def test_the_versions_that_were_pushed_are_named_with_their_state(recorded):
    place = Path(recorded.output / "serving" / "match")
    older, newer = sorted(place.iterdir(), key=lambda path: int(path.name))
    newer.rename(f"{newer}.withdrawn")
    known = lineage.Lineage(str(recorded.output))

    first, second = lineage.beyond(known, lineage.rows_of(known, "bella"))

    assert first.releases == ((str(older), "serving"),)
    assert second.releases == ((str(newer), "withdrawn"),)


def test_a_model_leads_back_to_its_nodes_code_data_and_photos(recorded):
    known = lineage.Lineage(str(recorded.output))

    told = lineage.source(known, lineage.find(known, "match"))

    nodes = [(step["node"], step["run_id"], step["code"]) for step in told["nodes"]]
    assert nodes == [
        ("DatasetImporter", "c", "c1"), ("SplitAssigner", "c", "c2"),
        ("ImageExampleGen_cropped", "c", "c3"), ("ImageExampleGen_individual", "c", "c3"),
        ("Trainer_breed_teacher", "c", "c4"), ("Trainer_match", "c", "c4"),
        ("Pusher_match", "c", ""),
    ]  # fmt: skip
    assert told["data_versions"] == ["v2"]
    assert told["photos"] == {"cropped": {"train": 1, "test": 1}, "individual": {"val": 1}}


def test_an_older_version_its_folder_and_its_artifact_lead_back_to_the_run_that_made_it(recorded):
    known = lineage.Lineage(str(recorded.output))
    made = known.made[recorded.before["pushed_match"]]
    folder = made.properties["pushed_destination"]

    for name in (f"match/{Path(folder).name}", folder, f"{folder}/", f"artifact:{made.artifact}"):
        assert lineage.find(known, name) == made
    assert {step["run_id"] for step in lineage.source(known, made)["nodes"]} == {"a"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(tmp_path, name, capsys):
    found = Recorded(tmp_path / "output")
    rows = [photo("individuals/1", "train", f"individuals/{name}"), photo("stanford/1", "train")]
    rows += [photo("individuals/2", "train", "individuals/plain")]
    data = found.artifact("components.Dataset", "data", data_version="v1")
    run(found, "a", found.ledger("v1", rows), data)

    assert local_runner.main(["lineage", name, "--json", "--output", str(found.output)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["dog_id"] for row in told["offered"]] == [f"individuals/{name}"]
    assert [item["photos"] for item in told["reached"]] == [["individuals/1"]]


def test_a_name_of_two_dogs_is_asked_for_whole(tmp_path):
    found = Recorded(tmp_path / "output")
    rows = [photo("individuals/1", "train", "individuals/rex")]
    rows += [photo("austin/1", "train", "austin/rex")]
    found.ledger("v1", rows)
    known = lineage.Lineage(str(found.output))

    with pytest.raises(SettingsError, match="may be austin/rex, individuals/rex: give it whole"):
        lineage.rows_of(known, "rex")
    assert len(lineage.rows_of(known, "austin/rex")) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "was offered such a photo or dog"),
        ("match/1", "no such version was pushed (there are: "),
        ("artifact:999", "ML Metadata has no such artifact"),
    ],
)
def test_what_is_not_there_is_said(recorded, name, words, capsys):
    assert local_runner.main(["lineage", name, "--output", str(recorded.output)]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_runs_is_said(tmp_path, capsys):
    assert local_runner.main(["lineage", "rex", "--output", str(tmp_path / "none")]) == 2
    assert "no run was made there" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "none")


def test_people_read_what_machines_do(recorded, capsys):
    assert local_runner.main(["lineage", "rex", "--output", str(recorded.output)]) == 0
    told = capsys.readouterr().out
    assert "rex: 4 photos" in told
    assert "data v1  rejected: exact_copy 1, train 3" in told
    assert "match          trained on 3 photos (run a, execution" in told


@pytest.mark.parametrize(("name", "drawn"), [("rex", "rex"), ("match", "Trainer_match")])
def test_an_answer_is_a_picture_too(recorded, tmp_path, capsys, name, drawn):
    file = tmp_path / "picture.svg"
    asked = ["lineage", name, "--output", str(recorded.output), "--picture"]

    assert local_runner.main([*asked, str(file)]) == 0
    texts = [text.text for text in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert drawn in texts
    assert f"picture   {file}" in capsys.readouterr().err

    assert local_runner.main([*asked, str(tmp_path / "no" / "file.svg")]) == 2
    assert f"--picture {tmp_path / 'no' / 'file.svg'}: No such file" in capsys.readouterr().err
