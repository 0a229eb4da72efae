"""Stages, counts, gates and the terminal, without a run."""

import dataclasses
import io
import logging

import pytest
from tfx.proto.orchestration import pipeline_pb2

from components.model_gate import Rule
from models.progress import log
from pipeline import closing, gates, stages, summary
from pipeline.graph import stage_of
from pipeline.metadata import Node, Store
from pipeline.settings import STAGES, Inputs, Pushed
from pipeline.terminal import InterruptedRunError, Terminal


def test_each_node_belongs_to_the_stage_of_its_name():
    assert stage_of("DatasetImporter") == "data_extraction"
    assert stage_of("PhotoCatalog") == "data_transformation"
    assert stage_of("SplitAssigner") == "data_preprocessing"
    assert stage_of("ImageExampleGen_cropped") == "data_processing"
    assert stage_of("DataGate") == "data_processing"
    assert stage_of("Trainer_match") == "model_training"
    assert stage_of("StartWeights") == "model_training"
    assert {stage_of(name) for name in ("DatasetImporter", "Pusher_match")} <= set(STAGES)


@pytest.mark.parametrize(
    ("key", "then", "now", "words"),
    [
        ("image_size", 64, 96, "image_size=64, this run has image_size=96"),
        ("code", "a", "b", "its code has changed"),
        ("digest", "a", "b", "the data have changed"),
    ],
)
def test_a_reused_node_with_another_parameter_is_named_with_its_stage(key, then, now, words):
    wanted = pipeline_pb2.PipelineNode()
    value = wanted.parameters.parameters[key].field_value
    if isinstance(now, int):
        value.int_value = now
    else:
        value.string_value = now
    ran = Node("ImageExampleGen_cropped", 1, "run", 1.0, {key: then})

    (found,) = stages.differences(wanted, ran)

    assert words in found
    assert found.startswith("ImageExampleGen_cropped")
    assert found.endswith("run --data_processing first")


def test_a_reused_node_with_the_same_parameters_differs_in_nothing():
    wanted = pipeline_pb2.PipelineNode()
    wanted.parameters.parameters["image_size"].field_value.int_value = 64
    ran = Node("ImageExampleGen_cropped", 1, "run", 1.0, {"image_size": 64, "more": "x"})

    assert stages.differences(wanted, ran) == []


@pytest.mark.parametrize(
    "row",
    [
        {"offered": 3, "accepted": 1, "rejected": 1, "reasons": {"unreadable": 1}},
        {"offered": 3, "accepted": 1, "rejected": 2, "reasons": {"unreadable": 1}},
    ],
    ids=["lost photo", "missing reason"],
)
def test_counts_that_do_not_add_up_are_an_error(row):
    with pytest.raises(RuntimeError, match="stanford do not add up"):
        summary.check_counts({"photos": {"stanford": row}})


def test_an_output_folder_without_a_database_has_no_runs(tmp_path):
    store = Store(str(tmp_path / "metadata.sqlite"))

    assert store.runs() == []
    assert store.pushed(str(tmp_path)) == []


def test_every_rule_is_complete():
    for rules in gates.RULES.values():
        assert len({rule.name for rule in rules}) == len(rules)
        for rule in rules:
            assert isinstance(rule, Rule)
            assert (rule.bound is None) != (rule.reference is None)


@pytest.mark.parametrize("make", [gates.breed_eval_config, gates.match_eval_config])
def test_a_baseline_is_a_second_model(make):
    assert [spec.name for spec in make(False).model_specs] == ["candidate"]
    alone, served = make(True).model_specs
    assert not alone.is_baseline
    assert served.is_baseline


def test_where_lines_cannot_be_overwritten_each_finished_node_is_one_line():
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.nodes = 2
    tfx = logging.Logger("tfx")
    tfx.addHandler(terminal)

    tfx.info("Component %s is running.", "PhotoCatalog")
    tfx.info("Going to run a new execution %d", 7)
    tfx.info("Component %s is finished.", "PhotoCatalog")
    tfx.info("Component %s is running.", "SplitAssigner")
    tfx.info("Component %s is finished.", "SplitAssigner")

    ran, cached = stream.getvalue().splitlines()
    assert ran.split()[:3] == ["1/2", "PhotoCatalog", "done"]
    assert cached.split()[:3] == ["2/2", "SplitAssigner", "cached"]
    assert "\r" not in stream.getvalue()
    assert log.name == "spotted.progress"


def test_a_request_to_stop_that_was_swallowed_is_heard_at_the_next_node():
    terminal = Terminal(io.StringIO())
    tfx = logging.Logger("tfx")
    tfx.addHandler(terminal)
    terminal.interrupted = True

    with pytest.raises(InterruptedRunError):
        tfx.info("Component %s is running.", "PhotoCatalog")


def test_the_closing_table_shows_metrics_gates_and_paths(tmp_path):
    found = {
        "photos": {"stanford": {"offered": 3, "accepted": 2, "rejected": 1,
                                "reasons": {"unreadable": 1}}},
        "ledger": "artifacts/SplitAssigner/splits/3",
        "dogs": {"train": 1, "val": 0, "test": 0},
        "ignored_files": 2,
        "ignored_examples": ["notes.txt", "stanford/images.tar/readme"],
        "evenness": {"breeds": 2, "val": [0.1, 0.15, 0.2], "test": [0.0, 0.1, 0.3],
                     "incomplete": ["pug"]},
        "unknown_breeds": {"breeds/Labradoodle": 7},
        "single_photo_dogs": ["individuals/rex"],
        "splits": {"cropped": {"train": 2, "val": 0, "test": 0}},
        "breed": {"teacher": {"top1": 0.5}, "student": {"top1": 0.25, "examples": 4.0}},
        "match": {"recall@1": 0.75, "untrained.recall@1": 0.5},
        "data": {"version": "0123456789ab", "passed": False, "problems": ["a leak"],
                 "warnings": ["a tiny dog"], "schema": ["cropped: breed: one", "two"]},
        "gates": [
            {"gate": "breed", "passed": False, "blessed_anyway": "",
             "reasons": ["FAILED floor: too low"]},
            {"gate": "match", "passed": False, "blessed_anyway": "a pilot",
             "reasons": ["FAILED floor: too low", "passed no worse: nothing to compare with"],
             "rules": [
                 {"passed": False, "bound": 0.75, "examples": ["a.jpg and b.jpg: two dogs"]},
                 {"passed": True, "bound": None},
             ]},
        ],
        "retrieval": {
            "by_size": [
                {"gallery": 6, "extrapolated": 0, "recall@1": 0.875, "false_alarm": 0.125},
                {"gallery": 1000, "extrapolated": 1, "recall@1": 0.5, "threshold": 0.625},
            ],
            "filtered": {"recall@1": 0.7, "recall@5": 0.9, "kept": 0.4},
        },
        "pushed": {"breed": None, "match": "serving/match/1"},
        "withdrawn": {"breed": None, "match": None},
        "nodes": [
            {"id": "Pusher_breed", "state": "cached", "seconds": 0.1},
            {"id": "Pusher_match", "state": "run", "seconds": 0.1},
        ],
    }  # fmt: skip

    text = "\n".join(closing.lines(_settings(tmp_path), found, 12.0))

    for words in (
        "unreadable 1", "2 ignored, they belong to no source", "train 2", "0.250", "0.750",
        "splits/3 (rejected.csv", "notes.txt",
        "test has 0% to 30% of each", "not in every split: pug",
        "breeds/Labradoodle (7)", "individuals/rex",
        "gate data: ALLOWED, though it is wrong (--allow_anomalies) (data version 0123456789ab)",
        "  WRONG a leak", "  warning: a tiny dog",
        "untrained", "gate breed: REFUSED",
        "gate match: REFUSED, and blessed all the same: a pilot",
        "    a.jpg and b.jpg: two dogs", "passed, as nothing is there to compare with: 1 more",
        "6 dogs", "0.875", "1,000 dogs (estimated)", "0.625", "40% of the dogs compared",
        "FAILED floor: too low", "not pushed", "serving/match/1", "1 run, 1 cached, in 12 s",
    ):  # fmt: skip
        assert words in text
    assert "nothing to compare with" not in text


def test_the_closing_table_says_what_was_withdrawn_and_how_to_bring_it_back(tmp_path):
    found = {
        "photos": {}, "ledger": None, "dogs": {}, "ignored_files": 0, "splits": {}, "breed": {},
        "evenness": {"breeds": 0}, "unknown_breeds": {}, "single_photo_dogs": [], "match": {},
        "data": {"passed": None}, "gates": [],
        "pushed": {"breed": None}, "withdrawn": {"breed": "30"},
        "nodes": [{"id": "Pusher_breed", "state": "run", "seconds": 0.1}],
    }  # fmt: skip
    versions = {"breed": [Pushed("30", "", "", served=False), Pushed("20", "", "")]}
    inputs = Inputs("", "", "", {}, "", baselines=versions)
    settings = dataclasses.replace(_settings(tmp_path), inputs=inputs)

    text = "\n".join(closing.lines(settings, found, 12.0))

    assert "breed     not pushed, version 30 was withdrawn; version 20 keeps serving" in text
    assert f"local_runner.py rollback breed --to 30 --output {tmp_path}" in text


def _settings(folder):
    from pipeline.settings import Settings

    return Settings(None, str(folder), "small_cnn", "none", 64, 1, 16)


def test_what_a_killed_run_left_is_ended_and_removed(tmp_path):
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from pipeline import metadata

    database = str(tmp_path / "metadata.sqlite")
    open_store = metadata.connect(database)
    kinds = {
        name: open_store.put_context_type(mlmd.ContextType(name=name))
        for name in ("pipeline_run", "node")
    }
    kind = open_store.put_execution_type(mlmd.ExecutionType(name="work"))
    run = mlmd.Context(type_id=kinds["pipeline_run"], name="run-1")
    executions = {}
    for node, state in (("Done", mlmd.Execution.COMPLETE), ("Open", mlmd.Execution.RUNNING)):
        execution = mlmd.Execution(type_id=kind, last_known_state=state)
        named = mlmd.Context(type_id=kinds["node"], name=f"spotted.{node}")
        executions[node], _, _ = open_store.put_execution(
            execution, [], [run, named], reuse_context_if_already_exist=True
        )
        folder = tmp_path / "out[1]" / node / "records" / str(executions[node])
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"written")

    ended = metadata.Store(database).end_abandoned(str(tmp_path / "out[1]"))

    assert ended == ["Open"]
    assert not (tmp_path / "out[1]" / "Open" / "records" / str(executions["Open"])).exists()
    assert (tmp_path / "out[1]" / "Done" / "records" / str(executions["Done"]) / "half").exists()
    (closed,) = open_store.get_executions_by_id([executions["Open"]])
    assert closed.last_known_state == mlmd.Execution.FAILED
    assert metadata.Store(database).end_abandoned(str(tmp_path / "out[1]")) == []
