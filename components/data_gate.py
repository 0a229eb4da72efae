"""DataGate: a wrong data set never reaches a trainer."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import BaseChannel, channel_utils, component_spec, standard_artifacts

from components import artifacts, catalog, ledger_checks, statistics_checks
from components.catalog import SPLITS, Photo
from components.ledger_checks import Bounds
from components.sources.base import DataError
from models import examples

VERDICT = "verdict.json"
_SHOWN = 20  # problems that a message lists; the verdict has all
# What the gate reads of each view that is built: key after `<view>_` -> its type.
OF_A_VIEW = {
    "statistics": standard_artifacts.ExampleStatistics,
    "anomalies": standard_artifacts.ExampleAnomalies,
    "schema": standard_artifacts.Schema,
    "proposal": standard_artifacts.Schema,
    "statistics_before": standard_artifacts.ExampleStatistics,
    "ledger_before": artifacts.SplitManifest,
}


@dataclasses.dataclass
class Findings:
    """What is wrong with a data set, and what is only worth a look.

    Attributes:
      problems: sentences; one ends the run.
      warnings: sentences.
      schema: where the curated schemas and this run's proposals differ.
      distances: by view, what was measured between splits and between runs.
      examples: by view and split, how many there are.
      help: commands that show more of a problem, or a way round it.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    schema: list[str] = dataclasses.field(default_factory=list)
    distances: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    examples: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    help: list[str] = dataclasses.field(default_factory=list)


class WrongDataError(DataError):
    """The data set is wrong; the message says what, where, how many, and which commands help.

    Attributes:
      findings: all that was found.
    """

    def __init__(self, findings: Findings):
        super().__init__(message(findings))
        self.findings = findings


class Executor(base_executor.BaseExecutor):
    """Reads the ledger and what TFDV found, and ends the run when the data set is wrong.

    Reads: `splits`, the ledger; for each view that is built `<view>_statistics` (StatisticsGen),
    `<view>_anomalies` (ExampleValidator), `<view>_schema` (the curated one), `<view>_proposal`
    (SchemaGen); and, where a model of that view was blessed on other data, that run's
    `<view>_statistics_before` and `<view>_ledger_before`.
    Writes: `verdict`, with `verdict.json`.
    """

    def Do(  # noqa: N802 - TFX calls it so
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks everything.

        Raises:
          DataError: something is wrong and not allowed; the message lists what, where, how many.
        """
        (splits,), (verdict,) = input_dict["splits"], output_dict["verdict"]
        photos = list(catalog.read(splits.uri))
        bounds = Bounds(**json.loads(exec_properties["bounds"]))
        found = check_ledger(photos, bounds)
        for view in catalog.VIEWS:
            read = {key: input_dict.get(f"{view}_{key}") for key in OF_A_VIEW}
            inputs = {key: artifact[0] for key, artifact in read.items() if artifact}
            if inputs:
                check_view(found, photos, view, inputs, bounds, bool(exec_properties["upstream"]))
        found.problems = list(dict.fromkeys(found.problems))  # views may find the same
        allowed = bool(exec_properties["allow_anomalies"])
        if found.problems and not allowed:
            raise WrongDataError(found)
        _write(verdict, found, splits.get_string_custom_property("data_version"))


def check_ledger(photos: Sequence[Photo], bounds: Bounds) -> Findings:
    """Checks what needs no view."""
    disagreeing, some = ledger_checks.disagreeing_copies(photos, bounds)
    return Findings(
        problems=[
            *ledger_checks.leaks(photos),
            *ledger_checks.shared_dog_ids(photos),
            *ledger_checks.mostly_rejected(photos, bounds.rejected),
            *disagreeing,
        ],
        warnings=some,
    )


def check_view(
    found: Findings,
    photos: Sequence[Photo],
    view: str,
    inputs: Mapping[str, Any],
    bounds: Bounds,
    upstream: bool,
) -> None:
    """Checks one view and adds what it finds.

    Args:
      found: gets it.
      photos: the ledger.
      view: its name.
      inputs: artifacts, by their keys in `OF_A_VIEW`.
      bounds: what may be wrong.
      upstream: the splits are those of the sources' own lists, so their shares are not ours.
    """
    statistics = statistics_checks.statistics_of(inputs["statistics"].uri)
    counts = statistics_checks.example_counts(statistics)
    schema = statistics_checks.read_schema(inputs["schema"].uri)
    units = ledger_checks.units(photos, view)
    sizes = {split: ledger_checks.effective(units, split) for split in SPLITS}
    distances = statistics_checks.skew(statistics, schema, sizes)
    found.problems += ledger_checks.count_mismatches(photos, view, counts)
    if anomalies := statistics_checks.anomalies(inputs["anomalies"].uri, view, statistics):
        found.problems += anomalies
        found.help.append(_SCHEMA_HELP)
    if not upstream:
        found.problems += ledger_checks.uneven_shares(photos, view, bounds.share)
    if view == "cropped":  # what SplitAssigner sees to; the photos with boxes are only some of it
        missing, fewer = ledger_checks.missing_breeds(photos, view, upstream)
        found.problems += missing
        found.warnings += fewer
    if view != "individual":
        found.warnings += ledger_checks.few_photos(photos, view)
    if "ledger_before" in inputs:
        distances += _compare(found, photos, view, inputs, bounds)
    listed = [far for far in distances if upstream and far.other == "test"]
    found.warnings += statistics_checks.too_far(view, listed)
    found.problems += statistics_checks.too_far(
        view, [distance for distance in distances if distance not in listed]
    )
    found.warnings += ledger_checks.tiny_dogs(photos, view, bounds.tiny)
    found.warnings += statistics_checks.odd_photos(statistics, view, _least(bounds))
    proposal = statistics_checks.read_schema(inputs["proposal"].uri)
    differences = statistics_checks.schema_differences(schema, proposal)
    found.schema += [f"{view}: {line}" for line in differences]
    found.distances[view] = [dataclasses.asdict(distance) for distance in distances]
    found.examples[view] = counts


def _least(bounds: Bounds) -> dict[str, float]:
    return {
        examples.BRIGHTNESS: bounds.dark,
        examples.SHARPNESS: bounds.flat,
        examples.SATURATION: bounds.grey,
    }


def _compare(
    found: Findings,
    photos: Sequence[Photo],
    view: str,
    inputs: Mapping[str, Any],
    bounds: Bounds,
) -> list[statistics_checks.Distance]:
    """Compares a view with that of the last run on other data whose model was blessed."""
    manifest = inputs["ledger_before"]
    before = [photo for photo in catalog.read(manifest.uri) if catalog.in_view(photo, view)]
    version = manifest.get_string_custom_property("data_version") or "of unknown version"
    if not ledger_checks.same_data(photos, before, bounds.same_data):
        found.warnings.append(
            f"{view}: hardly a photo of the last blessed run's data ({version}) is there: taken "
            "for another data set, and not compared with it"
        )
        return []
    problems = [
        *ledger_checks.relabelled(photos, before, bounds.relabelled),
        *ledger_checks.lost(photos, before, bounds.lost),
        *ledger_checks.lost_breeds(photos, before, view),
    ]
    found.problems += [f"{problem} (that was data version {version})" for problem in problems]
    distances = _drift(found, photos, before, view, inputs, version)
    if problems or statistics_checks.too_far(view, distances):
        found.help.append(_VERSION_HELP.format(version))
    return distances


def _drift(
    found: Findings,
    photos: Sequence[Photo],
    before: Sequence[Photo],
    view: str,
    inputs: Mapping[str, Any],
    version: str,
) -> list[statistics_checks.Distance]:
    """How far the view lies from that of the earlier run; its pixels only where they compare."""
    if "statistics_before" not in inputs:
        found.warnings.append(f"{view}: no statistics of the last blessed run's data ({version})")
        return []
    sizes = [
        ledger_checks.effective(ledger_checks.units(rows, view), "train")
        for rows in (photos, before)
    ]
    schema = statistics_checks.read_schema(inputs["schema"].uri)
    now, then = (
        statistics_checks.statistics_of(inputs[key].uri)["train"]
        for key in ("statistics", "statistics_before")
    )
    if not inputs["statistics_before"].get_int_custom_property("same_shape"):
        schema = statistics_checks.without_pixels(schema)
        found.warnings.append(
            f"{view}: brightness, sharpness and saturation are not compared with the last blessed "
            f"run's ({version}): its photos had another size or crop"
        )
    return statistics_checks.drift(now, then, schema, sizes, version)


_SCHEMA_HELP = (
    "python local_runner.py schema (with this run's --output) shows the data against the schema"
)
_VERSION_HELP = (
    "the same command with --data_version {} in place of --data runs on the last blessed data again"
)
_LIST_HELP = "python local_runner.py data (with this run's --output) lists earlier data"
_GO_ON = "the same command with --allow_anomalies goes on all the same, on record"


def message(found: Findings) -> str:
    """What ends a run: what is wrong, and the commands that help."""
    number = len(found.problems)
    more = number - _SHOWN
    return "\n  ".join(
        [
            f"the data set has {number} problem{'s' if number > 1 else ''}:",
            *found.problems[:_SHOWN],
            *([f"… and {more} more, in summary.json (data, problems)"] if more > 0 else []),
            *dict.fromkeys(found.help or [_LIST_HELP]),
            _GO_ON,
        ]
    )


def as_json(found: Findings) -> dict[str, Any]:
    """What `verdict.json` holds."""
    return {"passed": not found.problems, **dataclasses.asdict(found)}


def _write(verdict: Any, found: Findings, data_version: str) -> None:
    passed = not found.problems
    with fileio.open(os.path.join(verdict.uri, VERDICT), "w") as file:
        file.write(json.dumps(as_json(found), indent=1))
    artifacts.tell(
        verdict,
        data_version=data_version,
        passed=int(passed),
        problems=len(found.problems),
        warnings=len(found.warnings),
    )


class DataGateSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of DataGate."""

    PARAMETERS = {
        "bounds": component_spec.ExecutionParameter(type=str),
        "upstream": component_spec.ExecutionParameter(type=int),
        "allow_anomalies": component_spec.ExecutionParameter(type=int),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "splits": component_spec.ChannelParameter(type=artifacts.SplitManifest),
        **{
            f"{view}_{key}": component_spec.ChannelParameter(type=kind, optional=True)
            for view in catalog.VIEWS
            for key, kind in OF_A_VIEW.items()
        },
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=artifacts.DataVerdict)}


class DataGate(base_component.BaseComponent):
    """Ends the run when the data set is wrong; see `Executor`."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        splits: BaseChannel,
        bounds: str,
        upstream: int,
        allow_anomalies: int,
        code: str,
        **views: BaseChannel,
    ):
        """Makes the node.

        Args:
          splits: the ledger.
          bounds: `Bounds` as JSON.
          upstream: 1 when the splits are those of the sources' lists, else 0.
          allow_anomalies: 1 to go on, on record, when something is wrong, else 0.
          code: digest of the code, for the cache.
          **views: `<view>_<key>` for every view that is built, see `OF_A_VIEW`.
        """
        verdict = channel_utils.as_channel([artifacts.DataVerdict()])
        super().__init__(
            DataGateSpec(
                splits=splits,
                bounds=bounds,
                upstream=upstream,
                allow_anomalies=allow_anomalies,
                code=code,
                verdict=verdict,
                **views,
            )
        )
