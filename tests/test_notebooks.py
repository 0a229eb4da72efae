"""The notebooks run, on a run of a user, and are committed without what they once showed."""

from pathlib import Path

import nbformat
import planted
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SHOWN = {
    "boxes.ipynb": ["with a box", "image/png"],
    "data.ipynb": ["stanford", "flat-coated retriever", "application/vnd.plotly.v1+json"],
    "records.ipynb": ["image/encoded", "(8, 64, 64, 3)", "image/png"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> planted.Outcome:
    """A run of the data stages, with all views."""
    data = planted.lay(tmp_path_factory.mktemp("notebooks") / "photos", planted.clean())
    views = ("--cropped", "--uncropped", "--individual")
    return planted.ingest(data, data.parent / "output", *views)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, finished, monkeypatch):
    assert finished.code == 0, finished.printed
    monkeypatch.setenv("SPOTTED_OUTPUT", str(finished.output))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    book = nbformat.read(FOLDER / name, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)

    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()

    shown = str([cell.get("outputs") for cell in book.cells])
    assert all(text in shown for text in SHOWN[name])
    assert "Traceback" not in shown
