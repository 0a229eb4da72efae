import importlib.util
import shutil

import pytest

from components import digests

FILES = {
    "components/__init__.py": "",
    "components/node.py": """
        '''Says what it is.'''
        from models import helper
        LIMIT = 3

        def run(value):
            '''Doubles it.'''
            from models.late import twice
            return twice(helper.clip(value, LIMIT))
        """,
    "models/__init__.py": "'''Models.'''\n",
    "models/helper.py": "import os\nfrom models.deep import SCALE\n"
    "def clip(value, limit):\n    return min(value, limit) * SCALE\n",
    "models/deep.py": "SCALE = 1\n",
    "models/late.py": "def twice(value):\n    return 2 * value\n",
    "models/stranger.py": "UNUSED = 1\n",
    "requirements.lock": "keras==3.15.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    "    # via spotted\nscikit-learn==1.5.1 ; python_version >= '3.11' \\\n    --hash=sha256:cc\n",
}


@pytest.fixture
def project(tmp_path):
    """A small project with a copy of the module under test, whose root is its own place."""
    import textwrap

    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    shutil.copy(digests.__file__, tmp_path / "components" / "digests.py")
    return tmp_path


def fresh(project):
    """The copy, imported anew, so that nothing is remembered."""
    path = project / "components" / "digests.py"
    spec = importlib.util.spec_from_file_location("digests_of_a_project", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(project, name="components.node"):
    return fresh(project).of_module(name)


def edit(project, name, old, new):
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("LIMIT = 3", "# why three\nLIMIT = 3  # or four", id="comment"),
        pytest.param("'''Doubles it.'''", "'''Doubles a value.'''", id="docstring"),
        pytest.param("    '''Doubles it.'''\n", "", id="no docstring"),
        pytest.param("Says what it is.", "Says more.", id="module docstring"),
        pytest.param("LIMIT = 3\n", "LIMIT   =  (\n    3\n)\n\n\n", id="formatting"),
    ],
)
def test_an_edit_without_meaning_leaves_the_digest(old, new, project):
    before = digest(project)

    edit(project, "components/node.py", old, new)

    assert digest(project) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("components/node.py", "LIMIT = 3", "LIMIT = 4", id="own line"),
        pytest.param("models/helper.py", "min", "max", id="imported module"),
        pytest.param("models/deep.py", "SCALE = 1", "SCALE = 2", id="imported by an imported one"),
        pytest.param("models/late.py", "2 *", "3 *", id="imported inside a function"),
        pytest.param("models/__init__.py", "Models.'''", "Models.'''\nX = 1", id="package"),
    ],
)
def test_a_changed_line_changes_the_digest(name, old, new, project):
    before = digest(project)

    edit(project, name, old, new)

    assert digest(project) != before


def test_a_module_that_is_not_imported_does_not_count(project):
    before = digest(project)

    edit(project, "models/stranger.py", "1", "2")

    assert digest(project) == before


def test_the_digest_does_not_depend_on_the_place(project, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(project, other)

    assert digest(other) == digest(project)


def test_every_component_of_the_project_has_its_own_digest():
    names = ["components.photo_catalog", "components.pusher", "models.breed_training"]

    found = {digests.of_module(name) for name in names}

    assert len(found) == 3
    assert all(len(text) == 64 for text in found)


def test_the_lock_counts_versions_and_not_hashes(project):
    before = fresh(project).of_lock()

    edit(project, "requirements.lock", "sha256:bb", "sha256:dd")
    edit(project, "requirements.lock", "# via spotted", "# via something else")
    same = fresh(project).of_lock()
    edit(project, "requirements.lock", "scikit-learn==1.5.1", "scikit-learn==1.5.2")

    assert same == before
    assert fresh(project).of_lock() != before


def test_the_digest_of_texts_depends_on_where_they_are_cut():
    assert digests.of_text("ab", "c") != digests.of_text("a", "bc")
    assert digests.of_text("a", "b") == digests.of_text("a", "b")
