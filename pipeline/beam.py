"""Where Beam works: presets of its options, and options of one's own that win over them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.settings import SettingsError

LOCAL, FLINK, DATAFLOW = PRESETS = ("local", "flink", "dataflow")
_SHARED = {
    # Named outright: left alone, Beam first tries to download another engine. One worker is enough
    # here: the nodes that work on photos use all cores by themselves (components.parallel).
    LOCAL: {
        "runner": "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        "direct_running_mode": "in_memory",
        # No container is used. Without a name for one, TFX packs itself up for remote workers
        # before each node that uses Beam, which takes one to two seconds.
        "sdk_container_image": "none",
    },
    # The workers are started beside each task manager, with this project in their environment.
    FLINK: {
        "runner": "FlinkRunner",
        "environment_type": "EXTERNAL",
        "sdk_container_image": "none",
    },
    DATAFLOW: {
        "runner": "DataflowRunner",
        "experiments": "use_runner_v2",
        "sdk_location": "container",  # the image holds Beam and this project
        "max_num_workers": "8",
        "worker_machine_type": "n2-standard-4",
        "number_of_worker_harness_threads": "4",
    },
}
# Options of Flink's job server, which Beam's Python does not know.
_JOB_SERVERS = tuple(
    f"--{name}"
    for name in (
        "number_of_execution_retries", "execution_retry_delay", "max_parallelism", "object_reuse",
        "finish_bundle_before_checkpointing", "disable_metrics", "re_iterable_group_by_key_result",
        "execution_mode_for_batch", "use_data_stream_for_batch", "flink_conf_dir",
    )
)  # fmt: skip
_FLAG = re.compile(r"--([a-z_]+)(?:=(.*))?", re.DOTALL)


def split(words: Sequence[str]) -> tuple[str, dict[str, list[str]]]:
    """What `--beam` was given as: the preset, and the options (several values add up).

    Raises:
      SettingsError: a word is neither, or Beam knows no such option.
    """
    presets = [word for word in words if not word.startswith("-")]
    wrong = [word for word in presets if word not in PRESETS]
    if wrong or len(presets) > 1:
        raise SettingsError(
            f"--beam {' '.join(presets)}: expected one of {', '.join(PRESETS)}, and options of "
            "Beam's as --beam=--OPTION=VALUE"
        )
    own: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("-"):
            found = _FLAG.fullmatch(word)
            if not found:
                raise SettingsError(f"--beam={word}: expected --beam=--OPTION=VALUE")
            own.setdefault(found[1], []).append("" if found[2] is None else found[2])
    preset = (presets or [LOCAL])[0]
    kept = _JOB_SERVERS if preset == FLINK else ()
    unsure = [word for word in words if word.startswith("-") and not word.startswith(kept)]
    if unsure:
        _check_known(unsure)
    return preset, own


def _check_known(words: Sequence[str]) -> None:
    import argparse

    from apache_beam.options import pipeline_options  # a second or two

    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False, add_help=False)
    for kind in _kinds(pipeline_options.PipelineOptions):
        kind._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise SettingsError(f"--beam: {error}") from None
    if unknown:
        raise SettingsError(
            f"--beam={unknown[0]}: Beam has no such option "
            "(https://beam.apache.org/documentation/runners lists them)"
        )


def _kinds(base: Any) -> Iterator[Any]:
    for kind in base.__subclasses__():
        if kind.__module__ == "apache_beam.options.pipeline_options":
            yield kind
            yield from _kinds(kind)


def arguments(words: Sequence[str], known: Mapping[str, str] | None = None) -> list[str]:
    """The command line that Beam gets.

    Args:
      words: as `--beam` was given.
      known: what a runner knows of its own: project, region, image, temp_location, account.

    Raises:
      SettingsError: a word is wrong, or the preset lacks something.
    """
    preset, own = split(words)
    told = {**_SHARED[preset], **(_of_dataflow(known or {}) if preset == DATAFLOW else {})}
    told = {key: value for key, value in told.items() if value}
    _check_whole(preset, {**told, **{key: values[-1] for key, values in own.items()}})
    given = [(key, value) for key, value in told.items() if key not in own]
    given += [(key, value) for key, values in own.items() for value in values]
    return [f"--{key}={value}" if value else f"--{key}" for key, value in given]


def _of_dataflow(known: Mapping[str, str]) -> dict[str, str]:
    return {
        "project": known.get("project", ""),
        "region": known.get("region", ""),
        "temp_location": known.get("temp_location", ""),
        "sdk_container_image": known.get("image", ""),
        "service_account_email": known.get("account", ""),
    }


def _check_whole(preset: str, told: Mapping[str, str]) -> None:
    """Sees that nothing is missing that would be asked for after an hour.

    Raises:
      SettingsError: it is; the message says how to give it.
    """
    needed: list[tuple[str, ...]] = []
    if preset == FLINK:
        needed.append(("job_endpoint", "flink_master"))
        if told["environment_type"] == "EXTERNAL":
            needed.append(("environment_config",))
    if preset == DATAFLOW:
        needed += [
            (name,) for name in ("project", "region", "temp_location", "sdk_container_image")
        ]
    missing = [each for each in needed if not any(told.get(name) for name in each)]
    if missing:
        wanted = ", ".join(" or ".join(f"--beam=--{name}=…" for name in each) for each in missing)
        raise SettingsError(f"--beam {preset}: give {wanted} too (docs/beam.md says what they are)")
