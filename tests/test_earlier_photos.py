"""Whole ingestions of one data folder whose photos change, and of what it held at first."""

import io
import shutil

import numpy as np
from PIL import Image
from runs import Project

from components import dataset
from components.dataset import version_of

STAGES = ("data_extraction", "data_transformation", "data_preprocessing", "data_processing")
FLAGS = ["--backbone", "small_cnn", "--image_size", "64", *(f"--{stage}" for stage in STAGES)]


def photo(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_run_on_an_earlier_version_gives_its_records_from_the_cache(tmp_path):
    project = Project.copy(tmp_path)
    data = tmp_path / "photos"
    for dog in range(14):
        (data / "individuals" / f"dog-{dog}").mkdir(parents=True)
        for number in range(2):
            path = data / "individuals" / f"dog-{dog}" / f"{number}.jpg"
            path.write_bytes(photo(10 * dog + number))
    first = version_of(dataset.read_dataset(str(data)).digest)
    code, printed = project.run("--data", str(data), *FLAGS)
    assert code == 0, printed
    records, ledger = project.records(), project.ledger()
    code, printed = project.run("data", "put", "--data", str(data))
    assert code == 0, printed
    (data / "individuals" / "dog-0" / "0.jpg").write_bytes(photo(1000))
    (data / "individuals" / "dog-1" / "0.jpg").unlink()
    code, printed = project.run("--data", str(data), *FLAGS)
    assert code == 0, printed
    assert project.records() != records
    assert len(project.ledger()) == 27

    code, printed = project.run("--data_version", first, *FLAGS)

    assert code == 0, printed
    assert f"Spotted: data version {first} -> " in printed
    assert project.executed() == set()
    assert project.records() == records
    assert project.ledger() == ledger
    _, printed = project.run("data")
    rows = {line.split()[0]: line for line in printed.splitlines()[1:]}
    second = version_of(dataset.read_dataset(str(data)).digest)
    assert list(rows) == [second, first]
    assert " 28     2  DVC (storage), last seen in " in rows[first]
    assert f" 27     1  last seen in {data}; last run " in rows[second]

    shutil.rmtree(project.output / "inputs")
    _, printed = project.run("data")
    assert f"{second}  " in printed
    assert " 27     1  gone; last run " in printed
    code, printed = project.run("--data_version", second)
    assert code == 2
    assert "nothing says where it was seen" in printed
