"""The graph: what depends on what, and what a node is told."""

import dataclasses
import json
from pathlib import Path

import pytest
from tfx.dsl.compiler import compiler

from components import digests
from pipeline import inputs
from pipeline.graph import create_pipeline
from pipeline.pages import graph_picture
from pipeline.settings import Before, Inputs, Pushed, Settings

VIEWS = ("cropped", "uncropped", "individual")
INPUTS = Inputs(
    data="inputs/1111",
    listings="inputs",
    digest="1111",
    schemas={view: f"inputs/{view}/{view}.pbtxt" for view in VIEWS},
    vocabulary="inputs/2222/breeds.csv",
)
SETTINGS = Settings(
    data=None,
    output="output",
    backbone="small_cnn",
    weights="none",
    image_size=64,
    epochs=1,
    batch_size=16,
    views=("cropped", "individual"),
    inputs=INPUTS,
)


def compiled(settings: Settings) -> dict:
    ir = compiler.Compiler().compile(create_pipeline(settings))
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}


def parameter(node, key: str) -> str:
    return node.parameters.parameters[key].field_value.string_value


def with_inputs(**changes) -> Settings:
    return dataclasses.replace(SETTINGS, inputs=dataclasses.replace(INPUTS, **changes))


@pytest.fixture(scope="module")
def nodes() -> dict:
    return compiled(SETTINGS)


def test_trainers_wait_for_the_gate_without_reading_its_verdict(nodes):
    trainers = {name: node for name, node in nodes.items() if name.startswith("Trainer_")}

    assert set(trainers) == {"Trainer_breed_teacher", "Trainer_breed_student", "Trainer_match"}
    for node in trainers.values():
        assert "DataGate" in node.upstream_nodes
        inputs = node.inputs.inputs.values()
        producers = {c.producer_node_query.id for spec in inputs for c in spec.channels}
        assert "DataGate" not in producers


def test_trainers_see_train_and_val_and_only_evaluators_see_test(nodes):
    for name, node in nodes.items():
        if name.startswith("Trainer_"):
            assert json.loads(parameter(node, "train_args"))["splits"] == ["train"]
            assert json.loads(parameter(node, "eval_args"))["splits"] == ["val"]
        if name.startswith("Evaluator_"):
            assert json.loads(parameter(node, "example_splits")) == ["test"]


def test_the_graph_has_neither_resolver_nor_cond(nodes):
    for node in nodes.values():
        assert "Resolver" not in node.node_info.type.name
        assert not node.inputs.conditionals


def test_every_custom_node_and_trainer_carries_a_digest_of_its_code(nodes):
    stock = ("StatisticsGen", "SchemaGen", "ImportSchemaGen", "Evaluator")
    for name, node in nodes.items():
        if name.startswith("Trainer_"):
            assert len(json.loads(parameter(node, "custom_config"))["code"]) == 64
        elif name.split("_")[0] not in stock:
            assert len(parameter(node, "code")) == 64, name


def test_the_breed_evaluators_carry_a_digest_of_their_code_in_a_metric(nodes):
    for name in ("Evaluator_breed_teacher", "Evaluator_breed_student"):
        config = json.loads(parameter(nodes[name], "eval_config"))
        found = {metric["class_name"]: metric for metric in config["metrics_specs"][0]["metrics"]}
        assert len(json.loads("{" + found["MacroF1"]["config"] + "}")["code"]) == 64


def test_the_student_is_judged_beside_its_teacher_and_beside_what_serves(tmp_path):
    pushed = {"breed": [Pushed("10", "another", str(tmp_path))]}
    nodes = compiled(with_inputs(baselines=pushed))

    assert producer(nodes, "Evaluator_breed_teacher", "model") == "Trainer_breed_student"
    assert producer(nodes, "Evaluator_breed_teacher", "baseline_model") == "Trainer_breed_teacher"
    assert producer(nodes, "Evaluator_breed_student", "model") == "Trainer_breed_student"
    assert producer(nodes, "Evaluator_breed_student", "baseline_model") == "Baseline_breed"
    assert producer(nodes, "ModelGate_breed", "baselines") == "BreedBaselines"


@pytest.mark.parametrize("module", ["breed_baselines", "breed_slices", "breed_metrics"])
def test_an_edit_of_match_does_not_judge_the_breed_model_anew(module):
    read = digests._closure(f"components.{module}")

    assert not {"components.pair_scores", "models.match", "models.calibration"} & read


def test_the_breed_trainers_and_no_other_are_told_how_photos_are_changed():
    nodes = compiled(dataclasses.replace(SETTINGS, augment="standard", mix="both"))

    told = {
        name: json.loads(parameter(node, "custom_config"))
        for name, node in nodes.items()
        if name.startswith("Trainer_")
    }

    changes = {name: (config.get("augment"), config.get("mix")) for name, config in told.items()}
    assert changes == {
        "Trainer_breed_teacher": ("standard", "both"),
        "Trainer_breed_student": ("standard", "both"),
        "Trainer_match": (None, None),
    }


def test_from_scratch_the_match_model_starts_from_the_breed_teacher(nodes):
    spec = nodes["Trainer_match"].inputs.inputs["base_model"]

    assert spec.channels[0].producer_node_query.id == "Trainer_breed_teacher"


@pytest.mark.parametrize("views", [("individual",), ("cropped", "individual")])
def test_with_start_weights_the_match_model_starts_from_them(views):
    settings = dataclasses.replace(
        with_inputs(weights="inputs/3333", weights_digest="3333"), views=views
    )

    nodes = compiled(settings)

    spec = nodes["Trainer_match"].inputs.inputs["base_model"]
    assert spec.channels[0].producer_node_query.id == "StartWeights"
    assert any("breed" in name for name in nodes) == ("cropped" in views)


def test_a_changed_schema_changes_what_its_importer_reads_and_nothing_else():
    schemas = {**INPUTS.schemas, "individual": "inputs/another/individual.pbtxt"}

    before, after = compiled(SETTINGS), compiled(with_inputs(schemas=schemas))

    changed = {name for name in before if before[name].parameters != after[name].parameters}
    assert changed == {"ImportSchemaGen_individual"}


def test_the_baseline_is_the_newest_version_there_is_that_something_else_made(tmp_path):
    own = parameter(compiled(SETTINGS)["Pusher_match"], "fingerprint")
    there, gone = str(tmp_path), str(tmp_path / "gone")
    pushed = [
        Pushed("50", own, there),
        Pushed("40", "deleted from where it was served", there, served=False),
        Pushed("30", "whose artifact was deleted", gone),
        Pushed("20", "other", there),
        Pushed("10", "older", "c"),
    ]

    nodes = compiled(with_inputs(baselines={"match": pushed}))

    assert parameter(nodes["Baseline_match"], "artifact_uri") == there
    assert "Baseline_breed" not in nodes
    assert parameter(nodes["Pusher_match"], "fingerprint") == own


def test_a_withdrawn_version_is_no_baseline_and_its_pusher_is_told(tmp_path):
    own = parameter(compiled(SETTINGS)["Pusher_match"], "fingerprint")
    there = str(tmp_path)
    pushed = [
        Pushed("30", own, "own", served=False, withdrawn=True),
        Pushed("20", "another", "other", served=False, withdrawn=True),
        Pushed("10", "older", there),
    ]

    nodes = compiled(with_inputs(baselines={"match": pushed}))

    assert parameter(nodes["Baseline_match"], "artifact_uri") == there
    assert parameter(nodes["Pusher_match"], "withdrawn") == "30"
    assert parameter(nodes["Pusher_breed"], "withdrawn") == ""


def test_without_an_other_version_there_is_no_baseline_node():
    own = parameter(compiled(SETTINGS)["Pusher_match"], "fingerprint")

    nodes = compiled(with_inputs(baselines={"match": [Pushed("30", own, "a")]}))

    assert "Baseline_match" not in nodes


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(SETTINGS, epochs=2),
        with_inputs(data="inputs/9999", digest="9999"),
        with_inputs(weights="inputs/3333", weights_digest="3333"),
    ],
    ids=["settings", "data", "weights"],
)
def test_a_fingerprint_changes_with_what_makes_the_model(settings):
    before, after = compiled(SETTINGS), compiled(settings)

    for pusher in ("Pusher_breed", "Pusher_match"):
        assert parameter(before[pusher], "fingerprint") != parameter(after[pusher], "fingerprint")


def test_the_uncropped_view_ends_at_the_gate():
    settings = dataclasses.replace(SETTINGS, views=("uncropped",))

    nodes = compiled(settings)

    assert {"ImageExampleGen_uncropped", "StatisticsGen_uncropped", "DataGate"} <= set(nodes)
    assert not any(name.startswith(("Trainer", "Pusher")) for name in nodes)


def producers(node) -> dict[str, str]:
    """The node behind each input."""
    return {
        key: spec.channels[0].producer_node_query.id for key, spec in node.inputs.inputs.items()
    }


def read_by_the_gate(view: str) -> dict[str, str]:
    """What DataGate reads of a view in every run."""
    return {
        f"{view}_statistics": f"StatisticsGen_{view}",
        f"{view}_anomalies": f"ExampleValidator_{view}",
        f"{view}_schema": f"ImportSchemaGen_{view}",
        f"{view}_proposal": f"SchemaGen_{view}",
    }


def test_the_gate_reads_the_ledger_and_what_was_found_in_every_view(nodes):
    assert producers(nodes["DataGate"]) == {
        "splits": "SplitAssigner",
        **read_by_the_gate("cropped"),
        **read_by_the_gate("individual"),
    }


def test_the_gate_reads_of_an_earlier_run_what_it_left():
    before = {
        "cropped": Before("0123456789ab", "then/ledger", "then/statistics"),
        "individual": Before("ba9876543210", "then/dogs", ""),  # photos of another size
    }

    nodes = compiled(with_inputs(before=before))

    assert producers(nodes["DataGate"]) == {
        "splits": "SplitAssigner",
        **read_by_the_gate("cropped"),
        **read_by_the_gate("individual"),
        "cropped_ledger_before": "LedgerBefore_cropped",
        "cropped_statistics_before": "StatisticsBefore_cropped",
        "individual_ledger_before": "LedgerBefore_individual",
    }
    places = {
        name: parameter(node, "artifact_uri") for name, node in nodes.items() if "Before" in name
    }
    assert places == {
        "LedgerBefore_cropped": "then/ledger",
        "StatisticsBefore_cropped": "then/statistics",
        "LedgerBefore_individual": "then/dogs",
    }


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """Writes another lock file in place of the project's."""

    def write(text: str) -> None:
        (tmp_path / "requirements.lock").write_text(text)
        monkeypatch.setattr(digests, "LOCK", str(tmp_path / "requirements.lock"))
        digests.of_lock.cache_clear()

    yield write
    digests.of_lock.cache_clear()


def of_real_schemas(folder) -> dict:
    """The graph of all views, with start weights, on the schemas of the project."""
    schemas = {view: inputs._schema(str(folder), view) for view in VIEWS}
    found = with_inputs(schemas=schemas, weights="inputs/3333", weights_digest="3333")
    return compiled(dataclasses.replace(found, views=VIEWS))


def test_another_version_of_a_library_reaches_every_node(lock, tmp_path):
    lock("numpy==1.26.3\n")
    before = of_real_schemas(tmp_path)
    lock("numpy==1.26.4\n")
    after = of_real_schemas(tmp_path)

    assert set(before) == set(after)
    reached: set[str] = set()
    for name, node in after.items():  # in the order in which they can run
        # What an importer is told stands with the artifact that it writes.
        told = node.parameters != before[name].parameters or node.outputs != before[name].outputs
        if told or reached & set(producers(node).values()):
            reached.add(name)
    assert reached == set(after)


def told(nodes: dict, trainer: str) -> dict:
    return json.loads(parameter(nodes[f"Trainer_{trainer}"], "custom_config"))


def producer(nodes: dict, node: str, key: str) -> str:
    return nodes[node].inputs.inputs[key].channels[0].producer_node_query.id


def test_a_teacher_from_elsewhere_takes_the_place_of_the_one_that_is_trained():
    nodes = compiled(with_inputs(teacher="inputs/4444", teacher_digest="4444"))

    assert "Trainer_breed_teacher" not in nodes
    assert producer(nodes, "Trainer_breed_student", "base_model") == "Teacher"
    assert producer(nodes, "Evaluator_breed_teacher", "baseline_model") == "Teacher"


def test_a_student_sees_two_thirds_of_the_side_and_starts_from_its_teacher(nodes):
    config = told(nodes, "breed_student")

    assert (config["backbone"], config["side"]) == ("small_cnn", 42)
    assert (config["start"], config["pretrained"]) == ("teacher", False)


@pytest.mark.parametrize(
    ("weights", "start"), [("inputs/5555", ("inputs/5555", True)), (None, ("", False))]
)
def test_a_student_of_another_backbone_starts_from_weights_of_its_own(weights, start):
    settings = dataclasses.replace(
        with_inputs(student_weights=weights), student="mobilenet_v3_small", student_size=48
    )

    config = told(compiled(settings), "breed_student")

    assert (config["backbone"], config["side"]) == ("mobilenet_v3_small", 48)
    assert (config["start"], config["pretrained"]) == start


def test_under_a_teacher_from_elsewhere_a_student_of_its_backbone_starts_from_the_weights():
    nodes = compiled(with_inputs(teacher="inputs/4444", weights="inputs/3333"))

    config = told(nodes, "breed_student")

    assert (config["start"], config["pretrained"]) == ("inputs/3333", True)


def test_the_match_model_can_start_from_the_breed_teacher():
    settings = with_inputs(weights="inputs/3333", weights_digest="3333")

    nodes = compiled(dataclasses.replace(settings, match_start="teacher"))

    assert producer(nodes, "Trainer_match", "base_model") == "Trainer_breed_teacher"


def card(nodes, model: str) -> dict:
    return json.loads(parameter(nodes[f"Pusher_{model}"], "card"))


@pytest.mark.parametrize(
    ("changes", "inputs_", "breed", "match"),
    [
        ({}, {}, ("the breed teacher's weights", False), ("the breed teacher's weights", False)),
        (
            {"weights": "imagenet"},
            {"weights": "inputs/3333"},
            ("the breed teacher's weights", True),
            ("weights that were trained elsewhere", True),
        ),
        (  # a student whose own weights saw ImageNet, under a teacher that did not
            {"student": "mobilenet_v3_small", "student_size": 48},
            {"student_weights": "inputs/5555"},
            ("weights that were trained elsewhere", True),
            ("the breed teacher's weights", False),
        ),
        (  # and the other way round
            {"weights": "imagenet", "student": "mobilenet_v3_small", "student_size": 48},
            {"weights": "inputs/3333"},
            ("random weights", True),
            ("weights that were trained elsewhere", True),
        ),
    ],
)
def test_a_card_tells_what_the_training_started_from(changes, inputs_, breed, match):
    nodes = compiled(dataclasses.replace(with_inputs(**inputs_), **changes))

    for model, start in (("breed", breed), ("match", match)):
        found = card(nodes, model)
        assert (found["recipe"]["start"], found["pretrained"]) == start


def test_without_a_breed_model_match_starts_from_random_weights():
    nodes = compiled(dataclasses.replace(SETTINGS, views=("individual",)))

    assert card(nodes, "match")["recipe"]["start"] == "random weights"


@pytest.mark.parametrize("drawn", [False, True])
def test_a_card_tells_whether_the_photos_are_drawn(drawn):
    assert card(compiled(with_inputs(drawn=drawn)), "breed")["drawn"] is drawn


def test_no_trainer_is_told_how_it_is_tracked_or_where_it_keeps_its_state(nodes):
    for trainer in ("breed_teacher", "breed_student", "match"):
        config = told(nodes, trainer)
        assert not {"wandb", "checkpoints"} & set(config)
        assert "output" not in json.dumps(config)


@pytest.mark.parametrize(
    "changes",
    [{"student_size": 48}, {"student": "mobilenet_v3_small"}, {"match_loss": "triplet"}],
)
def test_a_setting_of_one_model_changes_that_model_alone(nodes, changes):
    expected = "Trainer_match" if "match_loss" in changes else "Trainer_breed_student"
    assert {name for name in changed(nodes, **changes) if "Trainer" in name} == {expected}


def test_more_epochs_change_every_model_and_no_other_node(nodes):
    pushers = {"Pusher_breed", "Pusher_match"}  # which are told the fingerprint
    assert changed(nodes, epochs=2) == {name for name in nodes if "Trainer" in name} | pushers


def changed(nodes: dict, **changes) -> set[str]:
    """The nodes that are told something else where a setting changes."""
    other = compiled(dataclasses.replace(SETTINGS, **changes))
    return {name for name in nodes if nodes[name].parameters != other[name].parameters}


def test_the_picture_of_the_graph_is_that_of_the_code():
    drawn = Path(__file__).parents[2] / "docs" / "graph.svg"

    assert drawn.read_text() == graph_picture.picture(), "make picture draws it again"
