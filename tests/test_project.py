"""What the project promises about itself."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a distribution is imported as, where that is another name.
IMPORTED_AS = {
    "apache-beam": "apache_beam",
    "axe-playwright-python": "axe_playwright_python",
    "ml-metadata": "ml_metadata",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "protobuf": "google.protobuf",
    "scikit-learn": "sklearn",
    "tensorflow-data-validation": "tensorflow_data_validation",
    "tensorflow-metadata": "tensorflow_metadata",
    "tensorflow-model-analysis": "tensorflow_model_analysis",
}
TOOLS = {
    "import-linter": "lint-imports",
    "mypy": "mypy",
    "pytest": "pytest",
    "pytest-xdist": "--dist",
    "ruff": "ruff",
}
# Not ours to import: a library that we import does, and no longer brings it.
FOR_ANOTHER = {"dill": "tfx_bsl", "setuptools": "tensorboard", "types-protobuf": "mypy"}


def _declared() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [re.match(r"[A-Za-z0-9-]+", line)[0] for line in lines]


@functools.cache
def _imports() -> set[str]:
    found = set()
    for path in ROOT.glob("**/*.py"):
        if ".venv" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


@pytest.mark.parametrize("dependency", _declared())
def test_each_dependency_is_imported_or_a_tool_of_make(dependency):
    if dependency in TOOLS:
        assert TOOLS[dependency] in (ROOT / "Makefile").read_text()
    elif dependency not in FOR_ANOTHER:
        name = IMPORTED_AS.get(dependency, dependency)
        assert any(found == name or found.startswith(f"{name}.") for found in _imports())


def test_tfx_bsl_still_needs_dill():
    import tfx_bsl

    sources = Path(tfx_bsl.__file__).parent.rglob("*.py")
    assert any(re.search(r"^\s*import dill", path.read_text(), re.MULTILINE) for path in sources)


def test_tensorboard_still_needs_pkg_resources_and_has_them():
    from tensorboard import default

    source = Path(default.__file__).read_text()
    assert re.search(r"^import pkg_resources", source, re.MULTILINE)
    assert default.get_plugins()


def test_the_lock_has_hashes_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()

    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index-url" not in lock


def test_each_make_target_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()

    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:.*## \w", makefile, re.MULTILINE), target
