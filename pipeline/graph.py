"""create_pipeline: the one graph, built from settings, for every runner."""

import hashlib
import json
import os
from typing import Any

import tensorflow_data_validation as tfdv
from tfx.components import Evaluator, SchemaGen, StatisticsGen, Trainer
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel, standard_artifacts

from components import data_gate, digests, statistics_checks
from components.breed_baselines import BreedBaselines
from components.data_gate import DataGate
from components.dataset_importer import DatasetImporter
from components.example_validator import ExampleValidator
from components.filtered_retrieval import FilteredRetrieval
from components.image_example_gen import ImageExampleGen
from components.model_gate import ModelGate
from components.pair_scores import PairScores
from components.photo_catalog import PhotoCatalog
from components.pusher import Pusher
from components.replay_check import ReplayCheck
from components.retrieval_evaluator import RetrievalEvaluator
from components.split_assigner import SplitAssigner
from models import examples
from pipeline import beam, gates
from pipeline.settings import Inputs, Settings, withdrawn_version

NAME = "spotted"
_STAGE_OF = {
    "DatasetImporter": "data_extraction",
    "PhotoCatalog": "data_transformation",
    "SplitAssigner": "data_preprocessing",
    "ImageExampleGen": "data_processing",
    "StatisticsGen": "data_processing",
    "SchemaGen": "data_processing",
    "ImportSchemaGen": "data_processing",
    "ExampleValidator": "data_processing",
    "LedgerBefore": "data_processing",
    "StatisticsBefore": "data_processing",
    "DataGate": "data_processing",
}
_NAMES = {"ledger_before": "LedgerBefore", "statistics_before": "StatisticsBefore"}


def stage_of(node_id: str) -> str:
    """The stage of a node; what comes after the data is training."""
    return _STAGE_OF.get(node_id.split("_")[0], "model_training")


def create_pipeline(settings: Settings) -> Pipeline:
    """Builds the graph.

    Args:
      settings: with `inputs` filled in.

    Returns:
      The pipeline; its nodes are in the order in which they can run.
    """
    assert settings.inputs is not None, "the runner fills in the inputs"
    graph = _Graph(settings, settings.inputs)
    graph.data()
    if "cropped" in settings.views:
        graph.breed()
    if "individual" in settings.views:
        graph.match()
    return Pipeline(
        pipeline_name=NAME,
        pipeline_root=settings.pipeline_root,
        components=list(graph.nodes.values()),
        enable_cache=True,
        metadata_connection_config=(
            metadata.sqlite_metadata_connection_config(settings.metadata) if settings.here else None
        ),
        beam_pipeline_args=list(settings.beam or beam.arguments(())),
    )


def shape(settings: Settings, view: str) -> dict[str, Any]:
    """ImageExampleGen's parameters that say what the photos of a view look like."""
    margin = settings.crop_margin if view == "cropped" else 0.0
    return {"image_size": settings.image_size, "crop_margin": margin}


def _code(module: str) -> str:
    """The digest of a module, of which from now on runs what was digested."""
    digests.load(module)
    return digests.of_module(module)


def _start(what: Any) -> str:
    """What a training starts from, in words."""
    if what == "teacher":
        return "the breed teacher's weights"
    return "weights that were trained elsewhere" if what else "random weights"


class _Graph:
    """The nodes, in the order in which they are added."""

    def __init__(self, settings: Settings, inputs: Inputs):
        self.settings = settings
        self.inputs = inputs
        self.nodes: dict[str, Any] = {}

    def add(self, node: Any, node_id: str | None = None) -> Any:
        """Adds a node under its id, by default its class's name."""
        if node_id:
            node = node.with_id(node_id)
        self.nodes[node.id] = node
        return node

    def output(self, node_id: str, key: str) -> BaseChannel | None:
        """An output of a node, None when the graph has no such node."""
        return self.nodes[node_id].outputs[key] if node_id in self.nodes else None

    def data(self) -> None:
        """From the data folder to checked records."""
        inputs = self.inputs
        place = {"data": inputs.data, "breeds": inputs.vocabulary}
        entries = self.add(
            DatasetImporter(
                data=inputs.data,
                listings=inputs.listings,
                digest=inputs.digest,
                code=digests.of_text(_code("components.dataset_importer"), digests.of_lock()),
            )
        ).outputs["entries"]
        photos = self.add(
            PhotoCatalog(entries=entries, code=_code("components.photo_catalog"), **place)
        ).outputs["photos"]
        splits = self.add(
            SplitAssigner(
                photos=photos,
                upstream=int(self.settings.upstream_splits),
                code=_code("components.split_assigner"),
            )
        ).outputs["splits"]
        checks: dict[str, BaseChannel] = {}
        for view in self.settings.views:
            checks |= self.view(view, splits, place)
        self.add(
            DataGate(
                splits=splits,
                bounds=gates.data_bounds(),
                upstream=int(self.settings.upstream_splits),
                allow_anomalies=int(self.settings.allow_anomalies),
                code=_code("components.data_gate"),
                **checks,
            )
        )

    def view(self, view: str, splits: BaseChannel, place: dict[str, str]) -> dict[str, BaseChannel]:
        """The records of one view; returns what DataGate reads of it."""
        records = self.add(
            ImageExampleGen(
                splits=splits,
                view=view,
                code=_code("components.image_example_gen"),
                **shape(self.settings, view),
                **place,
            ),
            f"ImageExampleGen_{view}",
        ).outputs["examples"]
        options = tfdv.StatsOptions(
            feature_allowlist=list(examples.STATISTICS_FEATURES),
            num_histogram_buckets=statistics_checks.HISTOGRAM_BUCKETS,
        )
        statistics = self.add(
            StatisticsGen(examples=records, stats_options=options),
            f"StatisticsGen_{view}",
        ).outputs["statistics"]
        proposal = self.add(SchemaGen(statistics=statistics), f"SchemaGen_{view}").outputs["schema"]
        schema = self.add(
            ImportSchemaGen(schema_file=self.inputs.schemas[view]),
            f"ImportSchemaGen_{view}",
        ).outputs["schema"]
        anomalies = self.add(
            ExampleValidator(
                statistics=statistics,
                schema=schema,
                rules=self.inputs.rules,
                code=_code("components.example_validator"),
            ),
            f"ExampleValidator_{view}",
        ).outputs["anomalies"]
        checks = {
            "statistics": statistics,
            "anomalies": anomalies,
            "schema": schema,
            "proposal": proposal,
            **self.before(view),
        }
        return {f"{view}_{key}": channel for key, channel in checks.items()}

    def before(self, view: str) -> dict[str, BaseChannel]:
        """What is known of a view in the last run on other data whose model was blessed."""
        found = self.inputs.before.get(view)
        if found is None:
            return {}
        kinds = {key: data_gate.OF_A_VIEW[key] for key in ("ledger_before", "statistics_before")}
        places = {"ledger_before": found.ledger, "statistics_before": found.statistics}
        told = {
            "ledger_before": {"data_version": found.data_version},
            "statistics_before": {"same_shape": int(found.same_shape)},
        }
        return {
            key: self.add(
                Importer(
                    source_uri=places[key],
                    artifact_type=kind,
                    custom_properties=told[key],
                ),
                f"{_NAMES[key]}_{view}",
            ).outputs["result"]
            for key, kind in kinds.items()
            if places[key]
        }

    def start_weights(self) -> BaseChannel | None:
        """The start weights as an artifact, None when training starts from random ones."""
        if self.inputs.weights is None:
            return None
        if "StartWeights" not in self.nodes:
            importer = Importer(
                source_uri=self.inputs.weights,
                artifact_type=standard_artifacts.Model,
                custom_properties={
                    "digest": self.inputs.weights_digest,
                    "lock": digests.of_lock(),
                },
            )
            self.add(importer, "StartWeights")
        return self.output("StartWeights", "result")

    def teacher(self) -> BaseChannel:
        """The breed teacher: one from elsewhere, or one that is trained here."""
        if self.inputs.teacher is None:
            run_fn = "models.breed_training.breed_teacher"
            weights = self.start_weights()
            node = self.trainer("breed_teacher", run_fn, "cropped", weights, **self.changes())
            return node.outputs["model"]
        importer = Importer(
            source_uri=self.inputs.teacher,
            artifact_type=standard_artifacts.Model,
            custom_properties={"digest": self.inputs.teacher_digest},
        )
        return self.add(importer, "Teacher").outputs["result"]

    def trainer(
        self, name: str, run_fn: str, view: str, base: BaseChannel | None, **told: Any
    ) -> Any:
        """A stock Trainer; it waits for the gate without reading its verdict.

        A new verdict on the same data must not train anything again. `told` goes into the trainer's
        configuration.
        """
        settings = self.settings
        config = {
            "backbone": settings.backbone,
            "image_size": settings.image_size,
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "pretrained": settings.pretrained,
            "seed": settings.seed,
            "vocabulary": self.inputs.vocabulary,
            "code": _code(run_fn.rpartition(".")[0]),
            **told,
        }
        node = Trainer(
            run_fn=run_fn,
            examples=self.output(f"ImageExampleGen_{view}", "examples"),
            base_model=base,
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["val"]),
            custom_config=config,
        )
        node.add_upstream_node(self.nodes["DataGate"])
        return self.add(node, f"Trainer_{name}")

    def breed(self) -> None:
        """Teacher, student, their evaluation, the gate and the push."""
        settings = self.settings
        records = self.output("ImageExampleGen_cropped", "examples")
        teacher = self.teacher()
        told = self.student()
        student = self.trainer(
            "breed_student", "models.breed_training.breed_student", "cropped", teacher, **told
        ).outputs["model"]
        baseline = self.baseline("breed", "Trainer_breed_student")
        code = digests.of_text(_code("components.breed_slices"), _code("components.breed_metrics"))
        for node_id, beside in (
            ("Evaluator_breed_teacher", teacher),
            ("Evaluator_breed_student", baseline),
        ):
            self.add(
                Evaluator(
                    examples=records,
                    model=student,
                    baseline_model=beside,
                    example_splits=["test"],
                    eval_config=gates.breed_eval_config(
                        beside is not None, teacher=beside is teacher, code=code
                    ),
                    module_path="components.breed_slices",
                ),
                node_id,
            )
        baselines = BreedBaselines(examples=records, code=_code("components.breed_baselines"))
        baselines.add_upstream_node(self.nodes["DataGate"])
        self.add(baselines)
        self.ship(
            "breed",
            student,
            "Trainer_breed_student",
            self.card(
                "breed",
                pretrained=told["pretrained"] or settings.pretrained or bool(self.inputs.teacher),
                network=settings.student,
                start=_start(told["start"]),
                student_size=settings.student_size,
                teacher=settings.backbone if self.inputs.teacher is None else "from elsewhere",
            ),
            photos=records,
            evaluation=self.output("Evaluator_breed_student", "evaluation"),
            teacher_evaluation=self.output("Evaluator_breed_teacher", "evaluation"),
            baselines=self.output("BreedBaselines", "metrics"),
            training=self.output("Trainer_breed_student", "model_run"),
        )

    def student(self) -> dict[str, Any]:
        """What the student is told: its backbone, what it sees, and what it starts from.

        Weights of its own are told by their place, which is their digest: a stock Trainer reads one
        model only, and that is the teacher.
        """
        inputs, settings = self.inputs, self.settings
        start = inputs.student_weights if settings.student_differs else inputs.weights
        taken = not settings.student_differs and inputs.teacher is None
        return {
            "backbone": settings.student,
            "side": settings.student_size,
            "start": "teacher" if taken else start or "",
            "pretrained": settings.pretrained if taken else start is not None,
            **self.changes(),
        }

    def changes(self) -> dict[str, Any]:
        """What the trainers of the breed models are told of how photos are changed."""
        return {"augment": self.settings.augment, "mix": self.settings.mix}

    def match(self) -> None:
        """The Siamese model, its scores, both evaluations, the gate and the push."""
        settings = self.settings
        weights = self.start_weights()
        teacher = self.output("Trainer_breed_teacher", "model")
        base = teacher if settings.match_start == "teacher" else weights or teacher
        model = self.trainer(
            "match",
            "models.match_training.match_model",
            "individual",
            base,
            loss=settings.match_loss,
        ).outputs["model"]
        baseline = self.baseline("match", "Trainer_match")
        optional = {"start_weights": weights, "baseline": baseline}
        scores = self.add(
            PairScores(
                examples=self.output("ImageExampleGen_individual", "examples"),
                model=model,
                backbone=settings.backbone,
                image_size=settings.image_size,
                code=digests.of_text(  # the Evaluator reads what it writes, and has none
                    _code("components.pair_scores"), _code("components.match_metrics")
                ),
                **{key: channel for key, channel in optional.items() if channel is not None},
            )
        )
        self.add(
            Evaluator(
                examples=scores.outputs["pairs"],
                model=model,
                baseline_model=baseline,
                example_splits=["test"],
                eval_config=gates.match_eval_config(baseline is not None),
                module_path="components.pair_scores",
            ),
            "Evaluator_match",
        )
        self.add(
            RetrievalEvaluator(
                embeddings=scores.outputs["embeddings"],
                false_alarm_rate=settings.false_alarm_rate,
                code=_code("components.retrieval_evaluator"),
            )
        )
        if student := self.output("Trainer_breed_student", "model"):
            self.add(
                FilteredRetrieval(
                    examples=self.output("ImageExampleGen_individual", "examples"),
                    embeddings=scores.outputs["embeddings"],
                    breed=student,
                    false_alarm_rate=settings.false_alarm_rate,
                    code=_code("components.filtered_retrieval"),
                )
            )
        self.ship(
            "match",
            model,
            "Trainer_match",
            self.card(
                "match",
                pretrained=settings.pretrained,
                network=settings.backbone,
                start=_start("teacher" if base and base is teacher else base),
                image_size=settings.image_size,
                loss=settings.match_loss,
            ),
            pairs=scores.outputs["pairs"],
            evaluation=self.output("Evaluator_match", "evaluation"),
            retrieval=self.output("RetrievalEvaluator", "metrics"),
        )

    def baseline(self, model: str, trainer: str) -> BaseChannel | None:
        """The newest served version that something else made, None when there is none."""
        fingerprint = self.fingerprint(trainer)
        for pushed in self.inputs.baselines.get(model, ()):
            there = pushed.served and os.path.isdir(pushed.model_uri)
            if there and pushed.fingerprint != fingerprint:
                importer = Importer(
                    source_uri=pushed.model_uri,
                    artifact_type=standard_artifacts.Model,
                )
                return self.add(importer, f"Baseline_{model}").outputs["result"]
        return None

    def card(self, kind: str, pretrained: bool, **recipe: str | int) -> str:
        """What a model's card tells of how it was trained, as the Pusher reads it."""
        told = {**recipe, "epochs": self.settings.epochs, "seed": self.settings.seed}
        facts = {"kind": kind, "recipe": told, "pretrained": pretrained}
        return json.dumps({**facts, "drawn": self.inputs.drawn})

    def ship(
        self, model: str, channel: BaseChannel, trainer: str, card: str, **evaluations: Any
    ) -> None:
        """The gate and the push of one model."""
        fingerprint = self.fingerprint(trainer)
        withdrawn = withdrawn_version(self.inputs.baselines.get(model, ()), fingerprint)
        blessing = self.add(
            ModelGate(
                model=channel,
                rules=gates.rules(model),
                bless_anyway=self.settings.bless_anyway,
                code=_code("components.model_gate"),
                **evaluations,
            ),
            f"ModelGate_{model}",
        ).outputs["blessing"]
        replay = ReplayCheck(
            model=channel,
            kind=model,
            ceilings=gates.ceilings(model),
            code=_code("components.replay_check"),
        )
        # After the gate, whose verdict it does not read: a new one replays nothing.
        replay.add_upstream_node(self.nodes[f"ModelGate_{model}"])
        self.add(
            Pusher(
                model=channel,
                model_blessing=blessing,
                infra_blessing=self.add(replay, f"ReplayCheck_{model}").outputs["blessing"],
                ledger=self.output("SplitAssigner", "splits"),
                destination=self.settings.serving(model),
                fingerprint=fingerprint,
                withdrawn=withdrawn.version if withdrawn else "",
                card=card,
                breeds=self.inputs.vocabulary,
                code=_code("components.pusher"),
                **{key: evaluations[key] for key in ("retrieval",) if key in evaluations},
            ),
            f"Pusher_{model}",
        )

    def fingerprint(self, node_id: str) -> str:
        """Digest of a node's parameters and of all that it depends on: data, code, settings."""
        node = self.nodes[node_id]
        sources = {key: channel.producer_component_id for key, channel in node.inputs.items()}
        described = {
            "parameters": {key: str(value) for key, value in node.exec_properties.items()},
            "inputs": {key: self.fingerprint(source) for key, source in sources.items()},
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
