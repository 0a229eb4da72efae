"""Stages, each started by itself."""

from runs import Project


def test_stages_run_one_after_another_each_on_the_one_before(few_photos, tmp_path):
    project = Project.copy(tmp_path)
    flags = ["--data", str(few_photos), "--backbone", "small_cnn", "--image_size", "64"]

    code, printed = project.run(*flags, "--data_extraction")
    assert code == 0, printed
    code, printed = project.run(*flags, "--data_processing")
    assert code == 2
    assert "--data_transformation first" in printed

    for stage in ("--data_transformation", "--data_preprocessing", "--data_processing"):
        code, printed = project.run(*flags, stage)
        assert code == 0, printed
