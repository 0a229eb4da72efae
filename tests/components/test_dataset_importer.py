from components import dataset_importer
from components.sources.base import Entry


def test_entries_come_back_as_they_were_written(tmp_path):
    rows = [
        Entry("stanford", "Images/a/b.jpg", "stanford/images.tar", 512, 99, "ab12"),
        Entry("individuals", "Bärli 1/ü.jpg", "individuals/Bärli 1/ü.jpg", 0, 7, "cd34"),
    ]

    dataset_importer.write(str(tmp_path), rows)

    assert dataset_importer.read(str(tmp_path)) == rows
