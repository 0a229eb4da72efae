"""The image, without Docker: what it copies, installs and sets is enough for every task."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

import kubeflow_runner
from components import digests
from pipeline import rehearsal

ROOT = digests.ROOT
HOOKS = ("custom_eval_shared_model", "custom_extractors")  # that TFMA looks for in a module
# Imports what one container of the pipeline file does, by the entry point's own means; and with it
# every module of the project that its code imports anywhere, when it runs too.
IMPORT = """
import json, sys
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.utils import import_utils
from components import digests
for name in json.load(sys.stdin):
    try:
        module, _, executor = name.rpartition(":")
        if module.split(".")[0] in digests.PACKAGES:
            digests.load(module)
        import_utils.import_class_by_path(f"{module}.{executor}")
    except (ImportError, AttributeError) as error:
        sys.exit(f"{name}: {error}")
"""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with its arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def settings(stage: list[tuple[str, str]]) -> dict[str, str]:
    words = [word for name, rest in stage if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last of its lines that matches decides."""
    sent = True
    parts = path.split("/")
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").removeprefix("**/")
        starts = range(len(parts)) if "**/" in line else [0]
        told = ["/".join(parts[a:b]) for a in starts for b in range(a + 1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(name, pattern) for name in told):
            sent = line.startswith("!")
    return sent


def copied() -> dict[str, Path]:
    """The files that the last stage takes from the project, by their place in the image."""
    found = {}
    for name, rest in stages()[-1]:
        if name == "COPY" and not rest.startswith("--from="):
            source, target = rest.split()
            path = ROOT / source
            assert not path.is_dir() or source == target  # the folder keeps its name
            for file in [path] if path.is_file() else path.rglob("*"):
                inside = file.relative_to(ROOT).as_posix()
                if file.is_file() and is_sent(inside):
                    found[inside] = file
    return found


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    """What the containers of the sample's pipeline file import."""
    folder = tmp_path_factory.mktemp("compiled")
    flags = ["--pipeline_root", "gs://bucket/spotted", "--image", "host/spotted:1"]
    assert kubeflow_runner.main(["compile", *flags, "--output", str(folder)]) == 0
    spec = json.loads((folder / "pipeline.json").read_text())["pipelineSpec"]
    found = set()
    for executor in spec["deploymentSpec"]["executors"].values():
        words = executor["container"]["args"]
        found.add(words[words.index("--executor_class_path") + 1])
    for task in spec["root"]["dag"]["tasks"].values():
        told = task["inputs"]["parameters"]
        found |= {told[key]["runtimeValue"]["constant"] for key in ("run_fn",) if key in told}
        if "module_path" in told:
            module = told["module_path"]["runtimeValue"]["constant"]
            found |= {f"{module}.{name}" for name in HOOKS if hasattr(import_module(module), name)}
    return sorted(":".join(name.rsplit(".", 1)) for name in found)


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A fresh environment, made by the Dockerfile's own commands."""
    place = tmp_path_factory.mktemp("environment") / "spotted"
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    for name, rest in stages()[1]:
        if name == "RUN":
            words = shlex.split(rest.replace("/opt/spotted", str(place)))
            # The Python that is here, and no time for what only makes the start of a task faster.
            words = [w for w in words if w not in ("--managed-python", "--compile-bytecode")]
            assert words[0] == "uv"
            done = subprocess.run([uv, *words[1:]], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return place / "bin" / "python"


def imported(python: Path, folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Imports in a folder that holds what the image's working folder does."""
    told = settings(stages()[-1]) | {"PYTHONPATH": str(folder), "PATH": os.defpath}
    del told["PYTHONDONTWRITEBYTECODE"]  # the image has it all compiled already
    return subprocess.run(
        [python, "-c", IMPORT], cwd=folder, env=told, input=json.dumps(names), text=True,
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    for inside, file in copied().items():
        (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / inside)
    return tmp_path


def test_what_is_copied_is_what_the_digest_of_the_code_is_made_of():
    assert sorted(copied()) == digests.image_files()
    assert sum(path.stat().st_size for path in copied().values()) < 5e6


@pytest.mark.parametrize("path", ["tests/runs.py", ".git/HEAD", "models/__pycache__/a.pyc", "x/y"])
def test_nothing_else_is_sent_to_the_builder(path):
    assert not is_sent(path)


def test_every_executor_can_be_imported(python, folder, names):
    done = imported(python, folder, names)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "components.pusher:Pusher_Executor" in names
    assert "models.match_training:match_model" in names
    assert "components.pair_scores:custom_extractors" in names


def test_a_module_that_is_left_out_is_named(python, folder):
    (folder / "models" / "places.py").unlink()

    done = imported(python, folder, ["components.pusher:Pusher_Executor"])

    assert done.returncode == 1
    assert "cannot import name 'places' from 'models'" in done.stderr.splitlines()[-1]


def test_nothing_is_installed_that_only_developers_need(python):
    found = {path.name.partition("-")[0] for path in python.parent.parent.rglob("*.dist-info")}

    assert {"tensorflow", "tfx", "apache_beam", "wandb"} <= found
    assert not {"pytest", "ruff", "mypy", "dvc", "import_linter"} & found


def test_the_image_sets_what_a_rehearsal_sets():
    assert settings(stages()[-1]).items() >= rehearsal.SET.items()


def test_everything_in_it_is_pinned_and_nobody_is_root():
    told = [rest for name, rest in instructions() if name in ("FROM", "COPY")]
    words = [word.removeprefix("--from=") for rest in told for word in rest.split()]
    bases = [word for word in words if ":" in word]
    tags = dict(base.rsplit(":", 1) for base in bases)
    assert len(tags) == 3
    assert all(re.match(r"\d+\.\d+\.\d+", tag) for tag in tags.values())
    makefile = (ROOT / "Makefile").read_text()
    assert f"UV_VERSION := {tags['ghcr.io/astral-sh/uv']}\n" in makefile
    lock = (ROOT / "requirements.lock").read_text()
    assert f"apache-beam=={tags['apache/beam_python3.11_sdk']} " in lock.replace("[gcp]", "")
    last = dict(stages()[-1])
    assert int(last["USER"].partition(":")[0]) > 0
    assert last["LABEL"] == "org.spotted.code=$CODE"
    assert last["ARG"] == "CODE"


def test_make_image_says_what_it_needs():
    done = subprocess.run(["make", "image"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "make image IMAGE=HOST/PATH:TAG" in done.stdout
