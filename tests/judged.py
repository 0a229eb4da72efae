"""Bad models, put in the place of the good ones of a finished run, and judged as a run would."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from tfx.components.evaluator.executor import Executor
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation, ModelRun

from components import artifacts
from components.model_gate import ModelGate
from components.pair_scores import PairScores
from components.retrieval_evaluator import RetrievalEvaluator
from models import (
    backbones,
    distillation,
    export,
    input_pipeline,
    job,
    match,
    mirror,
    vocabulary,
)
from pipeline import gates
from pipeline.metadata import Store

BREEDS = "schema/breeds.csv"
SLICES = "components.breed_slices"
Change = Callable[[Any], Any]  # of a network, in place, or for another one


class Judge:
    """Judges models on the test photos of a finished run, against the models of that run.

    Args:
      output: its output folder.
      folder: where to write.
    """

    def __init__(self, output: Path, folder: Path):
        self._store = Store(str(output / "metadata.sqlite"))
        self._nodes = self._store.nodes(self._store.runs()[-1])
        self._folder, self._number = folder, 0

    def breed(self, change: Change, served: Change | None = None) -> dict[str, Any]:
        """The rules that a changed student breaks, with their results.

        Args:
          change: of the run's student, which is judged after it.
          served: of the run's student, which is the version that serves after it.
        """
        base = self._made("Trainer_breed_student", "model", Model)
        teacher = self._made("Trainer_breed_teacher", "model", Model)
        records = self._made("ImageExampleGen_cropped", "examples", Examples)
        model, net = self._student(base, change)
        before = self._student(base, served)[0] if served else base
        evaluation = self._evaluated(records, model, before, gates.breed_eval_config(True), SLICES)
        config = gates.breed_eval_config(True, teacher=True)
        given = {
            "photos": records,
            "teacher_evaluation": self._evaluated(records, model, teacher, config, SLICES),
            "baselines": self._made("BreedBaselines", "metrics", artifacts.BreedBaselines),
            "training": self._artifact(ModelRun),
        }
        photos = input_pipeline.labelled(f"{records.uri}/Split-test", net.input_shape[1], 16)
        told = {"student": distillation.compare(net, f"{teacher.uri}/Format-Serving", photos)}
        Path(given["training"].uri, job.HISTORY).write_text(json.dumps(told))
        return self._refused("breed", model, evaluation, given)

    def as_teacher(self, net: Any) -> Any:
        """Puts the teacher in the place of its student, with both its looks."""
        teacher = self._made("Trainer_breed_teacher", "model", Model)
        return mirror.mirrored(job.load_keras(teacher.uri), net.input_shape[1])

    def _student(self, base: Any, change: Change) -> tuple[Any, Any]:
        """A changed student as a trainer leaves it, and its network."""
        net, side = self._changed(base.uri, change)
        model = self._artifact(Model)
        serving = os.path.join(model.uri, "Format-Serving")
        export.BreedExport(net, side, vocabulary.read(BREEDS).breeds).save(serving)
        shutil.copytree(f"{base.uri}/Format-Serving/assets.extra", f"{serving}/assets.extra")
        return model, net

    def match(
        self,
        change: Change,
        calibration: tuple[float, float] | None = None,
        served: Change | None = None,
    ) -> dict[str, Any]:
        """The rules that a changed encoder breaks.

        Args:
          change: of the run's encoder, which is judged after it.
          calibration: its scale and offset, None for those of the run.
          served: of the run's encoder, which is the version that serves after it.
        """
        made = self._made("Trainer_match", "model", Model)
        base = self._encoder(made, served) if served else made
        model = self._encoder(made, change, calibration)
        side = job.load_keras(made.uri).input_shape[1]
        records = self._made("ImageExampleGen_individual", "examples", Examples)
        pairs = self._artifact(Examples)
        embeddings = self._artifact(artifacts.Embeddings)
        _run(PairScores, {"examples": records, "model": model, "baseline": base},
             {"pairs": pairs, "embeddings": embeddings},
             {"backbone": "small_cnn", "image_size": side, "code": ""})  # fmt: skip
        retrieval = self._artifact(artifacts.RetrievalMetrics)
        _run(RetrievalEvaluator, {"embeddings": embeddings}, {"metrics": retrieval},
             {"false_alarm_rate": 0.01, "code": ""})  # fmt: skip
        config, module = gates.match_eval_config(True), "components.pair_scores"
        evaluation = self._evaluated(pairs, model, base, config, module)
        given = {"pairs": pairs, "retrieval": retrieval}
        return self._refused("match", model, evaluation, given)

    def _encoder(
        self, made: Any, change: Change, calibration: tuple[float, float] | None = None
    ) -> Any:
        """A changed encoder as its trainer leaves it."""
        net, side = self._changed(made.uri, change)
        if calibration is None:
            run = self._made("Trainer_match", "model_run", ModelRun)
            calibration = json.loads(Path(run.uri, job.HISTORY).read_text())["calibration"]
        model = self._artifact(Model)
        exported = export.MatchExport(match.served(net, side), side, *calibration)
        exported.save(os.path.join(model.uri, "Format-Serving"))
        return model

    def _made(self, node: str, key: str, kind: Any) -> Any:
        artifact = kind()
        artifact.set_mlmd_artifact(self._store.outputs(self._nodes[node])[key])
        return artifact

    def _artifact(self, kind: Any) -> Any:
        self._number += 1
        artifact = kind()
        artifact.uri = str(self._folder / str(self._number))
        os.makedirs(artifact.uri)
        return artifact

    def _changed(self, uri: str, change: Change) -> tuple[Any, int]:
        net = job.load_keras(uri)
        net = change(net) or net
        return net, net.input_shape[1]

    def _evaluated(self, records: Any, model: Any, base: Any, config: Any, module: str) -> Any:
        evaluation = self._artifact(ModelEvaluation)
        config.ClearField("options")  # intervals, which take most of the time, and no rule reads
        Executor().Do(
            {"examples": [records], "model": [model], "baseline_model": [base]},
            {"evaluation": [evaluation]},
            {
                "eval_config": json_format.MessageToJson(config, preserving_proto_field_name=True),
                "example_splits": '["test"]',
                "module_path": module,
            },
        )
        return evaluation

    def _refused(self, kind: str, model: Any, evaluation: Any, given: Any) -> Any:
        blessing = self._artifact(ModelBlessing)
        parameters = {"rules": gates.rules(kind), "bless_anyway": "", "code": ""}
        inputs = {"model": model, "evaluation": evaluation, **given}
        _run(ModelGate, inputs, {"blessing": blessing}, parameters)
        verdict = json.loads(Path(blessing.uri, "verdict.json").read_text())
        return {rule["rule"]: rule for rule in verdict["rules"] if not rule["passed"]}


def _run(component: Any, inputs: Any, outputs: Any, parameters: Any) -> None:
    component.EXECUTOR_SPEC.executor_class().Do(
        {key: [value] for key, value in inputs.items()},
        {key: [value] for key, value in outputs.items()},
        parameters,
    )


def at_random(net: Any) -> None:
    """Forgets everything."""
    random = np.random.default_rng(0)
    net.set_weights([random.normal(0, 0.1, weights.shape) for weights in net.get_weights()])


def nothing(net: Any) -> None:
    """Leaves a model as it is."""


def narrow(width: int) -> Change:
    """An encoder of which only so many of the numbers of an embedding are left."""

    def change(net: Any) -> Any:
        numbers = net.output_shape[1]
        kept = np.diag(np.arange(numbers) < width).astype(np.float32)
        return match.whitened(net, kept, np.zeros(numbers, np.float32))

    return change


def untrained(net: Any) -> Any:
    """An encoder before its training."""
    side = net.input_shape[1]
    return match.encoder(backbones.get("small_cnn").build(side), side)


def without(breeds: int) -> Change:
    """A model that never says so many of the breeds that it knows."""

    def change(net: Any) -> None:
        head, known = net.get_layer("head"), np.flatnonzero(net.get_layer("trained").present)
        kernel, bias = head.get_weights()
        bias[known[:breeds]] = -100
        head.set_weights([kernel, bias])

    return change


def overconfident(net: Any) -> None:
    """Is as often right, and sure of everything."""
    head = net.get_layer("head")
    head.set_weights([20 * weights for weights in head.get_weights()])


def broken(net: Any) -> None:
    """One weight of the head is no number."""
    head = net.get_layer("head")
    kernel, *others = head.get_weights()
    kernel[0, 0] = np.nan
    head.set_weights([kernel, *others])


def deaf(net: Any) -> None:
    """Answers the same whatever it sees: the first layer passes nothing on."""
    weights = net.get_weights()
    net.set_weights([np.zeros_like(weights[0]), *weights[1:]])
