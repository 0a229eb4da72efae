"""Versions of the photos: known, put under DVC, brought back, with the real DVC."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import dataset
from components.dataset import version_of
from components.sources.base import DataError
from pipeline import dvc_tool, inputs, vault, versions
from pipeline.dvc_tool import DvcError
from pipeline.local import make_folders, working
from pipeline.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]
ODD = ["a b.jpg", "50%20.jpg", "#1.jpg", "Müller ✓.jpg", 'it\'s "him".jpg', "-r.jpg", "a\\b.jpg"]


def digest_of(folder: Path | str) -> str:
    return dataset.read_dataset(str(folder)).digest


def fill(data: Path, count: int = 3, size: int = 200) -> Path:
    folder = data / "individuals" / "rex"
    folder.mkdir(parents=True)
    for number in range(count):
        block = hashlib.sha256(str(number).encode()).digest()
        (folder / f"{number}.jpg").write_bytes(block * (size // len(block) + 1))
    return data


def photos(data: Path) -> list[Path]:
    return sorted((data / "individuals" / "rex").iterdir())


def command(*words: str, output: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "local_runner.py"), *words, "--output", str(output)],
        cwd=output.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def call(*words: str, output: Path, **environment: str) -> tuple[int, str]:
    process = command(*words, output=output, **environment)
    printed, _ = process.communicate()
    return process.returncode, printed


def scratches(output: Path) -> list[Path]:
    return [path for path in output.rglob("*.scratch-*") if path.name != ".dvcignore"]


def until_there(folder: Path, pattern: str) -> None:
    end = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, f"{pattern} never came"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """An output folder that keeps one version, and the data folder it came from."""
    folder = tmp_path_factory.mktemp("once")
    data = fill(folder / "photos")
    dog = data / "individuals" / "rex"
    for name in ODD:
        (dog / name).write_bytes(name.encode())
    (dog / "same.jpg").write_bytes(b"same")
    (dog / "again.jpg").write_bytes(b"same")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.jpg").write_bytes(b"linked")
    (data / "individuals" / "linked").symlink_to(elsewhere)
    (dog / "link.jpg").symlink_to(elsewhere / "1.jpg")
    for place in (data, dog):
        (place / ".dvcignore").write_text("*\n")
    output = folder / "output"
    output.mkdir()
    item, place = vault.put(str(output), str(data), None, sample=False)
    assert place is not None
    return output, data, item


@pytest.fixture
def kept(once, tmp_path):
    """A copy of these that a test may spoil: (output, data, what is kept)."""
    output, data, item = once
    shutil.copytree(output, tmp_path / "output", symlinks=True)
    shutil.copytree(data, tmp_path / "photos", symlinks=True)
    (item,) = vault.kept(str(tmp_path / "output"))
    return tmp_path / "output", tmp_path / "photos", item


def test_a_version_is_named_by_the_start_of_its_digest():
    assert version_of("0123456789abcdef" * 4) == "0123456789ab"


def test_what_is_put_says_what_it_is(once):
    output, data, item = once

    (read,) = vault.kept(str(output))

    found = dataset.read_dataset(str(data))
    assert read == item
    assert (read.digest, read.files) == (found.digest, len(found.containers))
    assert read.size == sum(container.size for container in found.containers)
    assert (read.remote, read.sample) == ("storage", False)
    assert Path(read.file) == output / "versions" / f"{version_of(found.digest)}.dvc"


def test_putting_leaves_the_photos_alone_and_nothing_but_the_version_behind(once):
    output, data, item = once

    for path in photos(data):
        assert path.stat().st_nlink == 1
        assert os.stat(path).st_mode & 0o200, "DVC took the right to write"
    found = {path.name for path in (output / "versions").iterdir()}
    assert found == {".dvc", ".dvcignore", f"{item.version}.dvc", "storage"}
    assert not (output / "versions" / ".dvc" / "cache").exists()


def test_odd_names_and_links_come_back_and_hidden_files_do_not_matter(kept, tmp_path):
    output, data, item = kept

    found = vault.restore(str(output), item, str(tmp_path / "back"))

    assert found.digest == item.digest == digest_of(data)
    back = tmp_path / "back" / "individuals"
    assert {path.name for path in (back / "rex").iterdir()} >= set(ODD)
    assert (back / "linked" / "1.jpg").read_bytes() == b"linked"
    assert not list(back.rglob(".dvcignore"))
    assert scratches(tmp_path) == []


def test_what_comes_back_is_its_owners_and_shares_nothing(kept, tmp_path):
    output, _, item = kept
    vault.restore(str(output), item, str(tmp_path / "back"))

    for path in photos(tmp_path / "back"):
        assert path.stat().st_nlink == 1, f"{path} is another file, too"
        assert not path.is_symlink()
        path.write_bytes(b"changed")

    vault.restore(str(output), item, str(tmp_path / "once more"))  # checks the digest


def test_a_content_changed_in_place_comes_back_for_a_run_and_stays(kept):
    output, data, item = kept
    inputs.link(str(output), item.digest, str(data))
    assert versions.read(str(output), item.digest)[0] == str(data)
    photos(data)[0].write_bytes(b"changed")
    photos(data)[1].unlink()

    folder, found = versions.read(str(output), item.digest)

    assert folder == str(output / "versions" / "restored" / item.version)
    assert found.digest == item.digest
    shutil.rmtree(output / "versions" / "storage")
    assert versions.read(str(output), item.digest)[0] == folder


def test_a_restored_folder_that_was_changed_is_not_overwritten(kept):
    output, data, item = kept
    shutil.rmtree(data)
    folder, _ = versions.read(str(output), item.digest)
    photos(Path(folder))[0].write_bytes(b"mine")

    with pytest.raises(SettingsError, match=f"{item.version} is not empty: move it away"):
        versions.read(str(output), item.digest)

    assert photos(Path(folder))[0].read_bytes() == b"mine"


def test_a_folder_that_was_moved_is_no_longer_asked(kept):
    output, data, item = kept
    inputs.link(str(output), item.digest, str(data))
    data.rename(data.with_name("moved"))

    (version,) = versions.known(str(output))

    versions.check_usable(version)
    assert version.place == "DVC (storage)"


def test_the_plain_tool_brings_a_version_back_too(kept):
    output, _, item = kept

    subprocess.run(
        [sys.executable, "-m", "dvc", "pull", f"{item.version}.dvc"],
        cwd=output / "versions",
        env={**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(output / "site")},
        capture_output=True,
        check=True,
    )

    assert digest_of(output / "versions" / "restored" / item.version) == item.digest


def test_the_same_content_is_put_once(kept):
    output, data, item = kept
    before = Path(item.file).stat().st_mtime_ns

    again, place = vault.put(str(output), str(data), None, sample=False)

    assert (again, place) == (item, None)
    assert Path(item.file).stat().st_mtime_ns == before


def test_another_remote_is_remembered_and_used(kept, tmp_path):
    output, data, first = kept
    photos(data)[0].write_bytes(b"changed")
    stored = sorted((output / "versions" / "storage").rglob("*"))

    second, place = vault.put(str(output), str(data), str(tmp_path / "my backup"), sample=False)

    assert (second.remote, place.url) == ("my-backup", str(tmp_path / "my backup"))
    assert sorted((output / "versions" / "storage").rglob("*")) == stored
    config = (output / "versions" / ".dvc" / "config").read_text()
    assert config.count("my-backup") == 1
    shutil.rmtree(output / "versions" / "storage")
    vault.restore(str(output), second, str(tmp_path / "back"))
    with pytest.raises(DvcError, match="dvc pull failed"):
        vault.restore(str(output), first, str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("given", "name", "url", "new"),
    [
        (None, "usb", "/mnt/usb/dogs", False),
        ("storage", "storage", "/out/storage", False),
        ("/mnt/usb/dogs/", "usb", "/mnt/usb/dogs", False),
        ("file:///mnt/usb/dogs", "usb", "/mnt/usb/dogs", False),
        ("s3://bucket/dogs", "dogs", "s3://bucket/dogs", True),
        ("s3://bucket/usb", "usb-2", "s3://bucket/usb", True),
        ("s3://", "s3", "s3://", True),
    ],
)
def test_a_remote_is_known_by_its_name_or_its_address(given, name, url, new):
    config = [
        "remote.storage.url=/out/storage", "remote.usb.url=/mnt/usb/dogs", "core.remote=usb",
    ]  # fmt: skip

    assert dvc_tool._choose(given, config) == dvc_tool.Remote(name, url, new)


def test_a_remote_that_nobody_knows_is_no_folder_of_that_name(kept):
    output, data, _ = kept

    with pytest.raises(SettingsError, match=r"--remote bakcup: .*known are storage"):
        vault.put(str(output), str(data), "bakcup", sample=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket/x", r"requires 'dvc-s3' .* pip install 'dvc\[s3\]'"),
        ("nope://bucket/x", "Unsupported URL type nope://"),
        ("/dev/null/x", "dvc push failed"),
    ],
)
def test_a_remote_that_does_not_work_leaves_no_version(url, words, tmp_path):
    data = fill(tmp_path / "photos")
    output = tmp_path / "output"
    output.mkdir()

    with pytest.raises(DvcError, match=words):
        vault.put(str(output), str(data), url, sample=False)

    assert vault.kept(str(output)) == []
    assert "bucket" not in (output / "versions" / ".dvc" / "config").read_text()
    assert scratches(output) == []


@pytest.mark.parametrize("damage", ["changed", "lost", "list"])
def test_damage_in_the_remote_is_never_used(damage, kept, tmp_path):
    output, _, item = kept
    objects = [path for path in (output / "versions" / "storage").rglob("*") if path.is_file()]
    (listed,) = [path for path in objects if path.suffix == ".dir"]
    target = listed if damage == "list" else min(set(objects) - {listed})
    target.chmod(0o600)
    target.unlink() if damage == "lost" else target.write_bytes(b"damaged")

    with pytest.raises(DvcError, match=r"damaged|corrupted|failed"):
        vault.restore(str(output), item, str(tmp_path / "back"))

    assert not (tmp_path / "back").exists()
    assert scratches(tmp_path) == []


def test_a_photo_that_cannot_be_read_is_named_before_anything_is_put(tmp_path):
    data = fill(tmp_path / "photos")
    (data / "individuals" / "rex" / "lost.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "output").mkdir()

    with pytest.raises(DataError, match=r"rex/lost\.jpg can't be read"):
        vault.put(str(tmp_path / "output"), str(data), None, sample=False)


def test_photos_that_change_while_they_are_put_are_not_kept(tmp_path, monkeypatch):
    data = fill(tmp_path / "photos")
    (tmp_path / "output").mkdir()
    run = dvc_tool.Project.run

    def run_late(self, *words):
        if words[0] == "commit":
            photos(data)[0].write_bytes(b"changed")
        return run(self, *words)

    monkeypatch.setattr(dvc_tool.Project, "run", run_late)

    with pytest.raises(DataError, match="changed while it was put"):
        vault.put(str(tmp_path / "output"), str(data), None, sample=False)

    assert vault.kept(str(tmp_path / "output")) == []


@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_a_put_of_what_is_kept_pushes_again_what_is_damaged(damage, tmp_path):
    data = fill(tmp_path / "photos")
    output = tmp_path / "output"
    output.mkdir()
    item, _ = vault.put(str(output), str(data), None, sample=False)
    stored = (output / "versions" / "storage").rglob("*")
    victim = next(path for path in sorted(stored) if path.is_file() and path.suffix != ".dir")
    victim.chmod(0o644)
    if damage == "changed":
        victim.write_bytes(b"another photo")
    else:
        victim.unlink()

    _, place = vault.put(str(output), str(data), None, sample=False)
    _, again = vault.put(str(output), str(data), None, sample=False)

    assert place is not None
    assert again is None
    assert vault.restore(str(output), item, str(tmp_path / "back")).digest == digest_of(data)


def test_a_version_that_is_kept_is_pushed_to_another_remote_when_one_is_asked_for(tmp_path):
    data = fill(tmp_path / "photos")
    output = tmp_path / "output"
    output.mkdir()
    vault.put(str(output), str(data), None, sample=False)

    item, place = vault.put(str(output), str(data), f"{tmp_path}/backup", sample=False)
    shutil.rmtree(output / "versions" / "storage")

    assert place is not None
    assert vault.restore(str(output), item, str(tmp_path / "back")).digest == digest_of(data)


@pytest.mark.parametrize("moment", [".scratch-*/.dvc/cache/files", "storage/files"])
def test_a_killed_put_leaves_no_version_and_the_next_one_works(moment, tmp_path):
    data = fill(tmp_path / "photos", count=150)
    output = tmp_path / "output"
    process = command("data", "put", "--data", str(data), output=output)
    until_there(output, f"versions/{moment}")

    process.kill()
    process.communicate()

    assert vault.kept(str(output)) == []
    item, place = vault.put(str(output), str(data), None, sample=False)
    assert place is not None
    assert vault.restore(str(output), item, str(tmp_path / "back")).digest == item.digest


def test_a_killed_restore_leaves_no_folder_and_the_next_one_works(tmp_path):
    data = fill(tmp_path / "photos", count=150)
    output = tmp_path / "output"
    output.mkdir()
    item, _ = vault.put(str(output), str(data), None, sample=False)
    words = ("data", "restore", item.version, "--to", str(tmp_path / "back"))
    process = command(*words, output=output)
    until_there(tmp_path, ".back.scratch-*/restored/*")

    process.kill()
    process.communicate()

    assert not (tmp_path / "back").exists()
    code, printed = call(*words, output=output)
    assert code == 0, printed
    assert digest_of(tmp_path / "back") == item.digest


def test_ctrl_c_leaves_nothing(tmp_path):
    data = fill(tmp_path / "photos", count=150)
    output = tmp_path / "output"
    process = command("data", "put", "--data", str(data), output=output)
    until_there(output, "versions/.scratch-*/restored/*")

    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()

    assert process.returncode == 130
    assert "interrupted: nothing was put" in printed
    assert vault.kept(str(output)) == []
    assert scratches(output) == []


def test_put_list_and_restore_say_what_they_did(tmp_path):
    data = fill(tmp_path / "photos")
    output = tmp_path / "output"
    version = version_of(digest_of(data))

    code, printed = call("data", "put", "--data", str(data), output=output)
    assert code == 0, printed
    assert f"version {version}: 3 files, 0.0 MB, from {data}" in printed
    assert f"lies in  {output}/versions/storage" in printed
    assert f"data restore {version}" in printed

    code, printed = call("data", "put", "--data", str(data), output=output)
    assert code == 0
    assert f"version {version} is under DVC already (storage): nothing was done" in printed

    code, printed = call("data", output=output)
    assert code == 0
    (row,) = printed.splitlines()[1:]
    assert row.startswith(version)
    assert row.endswith(f"      3     0  DVC (storage), last seen in {data}")

    shutil.rmtree(data)
    code, printed = call("data", "restore", version[:4], output=output)
    assert code == 0, printed
    assert f"3 files are in {output}/versions/restored/{version}" in printed
    assert f"local_runner.py --data_version {version}" in printed
    assert versions.known(str(output))[0].folder == f"{output}/versions/restored/{version}"


def test_a_remotes_secrets_are_used_and_are_in_no_log(kept):
    output, data, _ = kept
    (output / "versions" / ".dvc" / "config.local").write_text(
        "['remote \"web\"']\n    url = http://127.0.0.1:9/x\n    password = swordfish\n"
    )
    photos(data)[0].write_bytes(b"changed")

    code, printed = call("data", "put", "--data", str(data), "--remote", "web", output=output)

    assert code == 1, printed
    assert "dvc push failed" in printed
    (log,) = (output / "logs").iterdir()
    assert "dvc config: 0" in log.read_text()
    assert "swordfish" not in printed + log.read_text()


def test_a_plugin_that_lacks_is_exit_code_one_and_named(kept):
    output, data, _ = kept

    code, printed = call("data", "put", "--data", str(data), "--remote", "s3://b/x", output=output)

    assert code == 1
    assert printed.startswith("local_runner.py data: dvc push failed:")
    assert "pip install 'dvc[s3]'" in printed
    assert printed.count("\n") == 1


def test_without_dvc_the_message_names_the_extra(kept, tmp_path):
    output, data, _ = kept
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "dvc.py").write_text("raise ImportError\n")
    path = f"{tmp_path / 'none'}{os.pathsep}{ROOT}"

    code, printed = call("data", "put", "--data", str(data), output=output, PYTHONPATH=path)

    assert code == 2
    assert "pip install 'spotted[versions]'" in printed
    assert printed.count("\n") == 1


def test_an_output_folder_that_somebody_works_in_is_exit_code_two(tmp_path):
    output = tmp_path / "output"
    data = fill(tmp_path / "photos")
    log = make_folders(str(output), "test")
    with working(str(output), log):
        code, printed = call("data", "put", "--data", str(data), output=output)

    assert code == 2
    assert f"another run (process {os.getpid()})" in printed


def know(output: Path, digest: str, folder: Path) -> None:
    inputs.link(str(output), digest, str(folder))


def test_links_are_versions_and_schemas_and_weights_are_not(tmp_path):
    know(tmp_path, "a" * 64, tmp_path / "photos")
    (tmp_path / "inputs" / ("b" * 64)).mkdir()
    (tmp_path / "inputs" / "imagenet").mkdir()
    (tmp_path / "inputs" / f"{'c' * 64}.new").symlink_to(tmp_path)

    (version,) = versions.known(str(tmp_path))

    assert version.digest == "a" * 64
    assert version.place == f"gone (was in {tmp_path / 'photos'})"


def test_an_id_may_be_cut_short_and_capital(tmp_path):
    digest = hashlib.sha256(b"").hexdigest()
    know(tmp_path, digest, tmp_path)

    for text in (digest[:4], digest[:12].upper(), digest, f" {digest[:8]} "):
        assert versions.find(str(tmp_path), text, "--data_version").digest == digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abc", "first 4 or more"),
        ("rex1", "first 4 or more"),
        ("", "first 4 or more"),
        ("a" * 65, "first 4 or more"),
        ("../../etc", "first 4 or more"),
        ("ffff", "knows no such version .*aaaabbbbbbbb: last seen in"),
        ("aaaa", "give more digits, it may be (aaaabbbbbbbb|aaaacccccccc): last seen in .*; aaaa"),
    ],
)
def test_an_id_that_names_no_version_says_what_there_is(text, words, tmp_path):
    for end in ("b" * 60, "c" * 60):
        know(tmp_path, "aaaa" + end, tmp_path)

    with pytest.raises(SettingsError, match=words):
        versions.find(str(tmp_path), text, "--data_version")


def test_an_output_folder_that_is_not_there_knows_none(tmp_path):
    with pytest.raises(SettingsError, match="it knows none"):
        versions.find(str(tmp_path / "output"), "abcd", "--data_version")

    assert versions.history(str(tmp_path / "output")) == []


def test_a_version_that_changed_in_place_and_was_not_kept_is_gone(tmp_path):
    data = fill(tmp_path / "photos")
    digest = digest_of(data)
    know(tmp_path, digest, data)
    photos(data)[0].write_bytes(b"changed")

    with pytest.raises(SettingsError, match=r"holds other data now.*can't be brought .*data put"):
        versions.read(str(tmp_path), digest)


def test_a_version_whose_folder_went_and_that_was_not_kept_is_refused_at_once(tmp_path):
    know(tmp_path, "a" * 64, tmp_path / "photos")
    version = versions.find(str(tmp_path), "aaaa", "--data_version")

    with pytest.raises(SettingsError, match=r"photos, where .* no longer there.*data put"):
        versions.check_usable(version)


def test_the_samples_versions_are_known_for_it(kept):
    output, _, item = kept
    know(output, "a" * 64, output / "sample" / "0123")
    know(output, "b" * 64, output / "sampled")

    assert versions.is_sample(str(output), "aaaa")
    assert not versions.is_sample(str(output), "bbbb")
    assert not versions.is_sample(str(output), "unknown")
    assert not versions.is_sample(str(output), item.version)
    text = Path(item.file).read_text()
    Path(item.file).write_text(text.replace("sample: false", "sample: true"))
    assert versions.is_sample(str(output), item.version)


@pytest.mark.parametrize(
    ("told", "drawn"),
    [
        ({}, True),
        ({"data": "photos"}, False),
        ({"data_version": "a" * 64}, True),
        ({"data_version": "b" * 64}, False),
    ],
)
def test_a_run_knows_whether_its_photos_are_drawn(tmp_path, told, drawn):
    know(tmp_path, "a" * 64, tmp_path / "sample" / "0123")
    know(tmp_path, "b" * 64, tmp_path / "photos")
    settings = Settings(
        **{"data": None, **told}, output=str(tmp_path), backbone="small_cnn", weights="none",
        image_size=64, epochs=1, batch_size=16,
    )  # fmt: skip

    assert versions.is_drawn(settings) is drawn
