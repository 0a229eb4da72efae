"""Digests of code, so that TFX's cache notices an edit.

The cache key of TFX holds a component's parameters but not the body behind them. Each component
therefore takes a parameter `code`, made here: a digest of its module and of every module of this
project that it imports, directly or not. Comments, docstrings and formatting do not count.
"""

import ast
import functools
import hashlib
import importlib
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("components", "models", "pipeline")
LOCK = "requirements.lock"
IMAGE = (*PACKAGES, "schema", LOCK)  # what an image of the pipeline holds
# They say how far work is and what came of it, and never change a result.
_SILENT = {"models.progress", "models.tracking"}


@functools.cache
def of_module(name: str) -> str:
    """Digest of a module with all that it imports from this project.

    Args:
      name: dotted, below one of `PACKAGES`.

    Returns:
      Hexadecimal sha256.
    """
    digest = hashlib.sha256()
    for module in sorted(_closure(name) - _SILENT):
        digest.update(f"{module}\0{_meaning(_path(module))}\n".encode())
    return digest.hexdigest()


def of_project() -> str:
    """Digest of the files that the image of the pipeline holds, names and contents."""
    digest = hashlib.sha256()
    for name in image_files():
        digest.update(
            f"{name}\0{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def image_files() -> list[str]:
    """The files that the image holds, relative to the project, sorted."""
    below = (path for name in IMAGE for path in [ROOT / name, *sorted((ROOT / name).rglob("*"))])
    files = (path for path in below if path.is_file() and path.suffix != ".pyc")
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


@functools.cache
def of_lock() -> str:
    """Digest of the exact versions of every dependency."""
    pins = re.findall(r"^[A-Za-z0-9_.\[\]-]+==[^\s\\]+", (ROOT / LOCK).read_text(), re.MULTILINE)
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def of_text(*texts: str) -> str:
    """Digest of texts, in order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def load(name: str) -> None:
    """Imports a module with all that it imports from this project.

    A node that imports its code when it starts would run what the files hold by then, under the
    digest of what they held before.
    """
    for module in sorted(_closure(name)):
        importlib.import_module(module)


def _closure(name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += _imports(module) - seen
    return seen


def _imports(module: str) -> set[str]:
    """The project's modules that a module imports, anywhere in its body, packages included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_path(module).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] in PACKAGES and _exists(name)}
    parents = {name.rpartition(".")[0] for name in found | {module}} - {""}
    return found | parents


def _exists(module: str) -> bool:
    return _path(module).is_file()


def _path(module: str) -> pathlib.Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _meaning(path: pathlib.Path) -> str:
    """The syntax tree as text, docstrings left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
