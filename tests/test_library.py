"""The library's source in a project: its digests are current, a change is named, an update takes it along."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, git
from lifecycle import update
from lifecycle.cli import app
from lifecycle.errors import LifecycleError
from lifecycle.project import VARIABLE, Project
from lifecycle.vendored import DIGESTS, check_vendored, refuse_changes

pytestmark = pytest.mark.slow

LIBRARY = ROOT / "template/vendor/lifecycle"
spec = importlib.util.spec_from_file_location("digests", ROOT / "scripts/digests.py")
assert spec and spec.loader
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

QUESTIONS = """\
_subdirectory: template
library:
  type: str
  choices: [vendored, dependency]
  default: vendored
_exclude:
  - "{% if library is defined and library != 'vendored' %}/vendor{% endif %}"
"""
PROJECT = (
    '[project]\nname = "churn"\n\n[tool.lifecycle]\npackage = "churn"\nregistry = "s3"\ndeploy = "docker"\n'
)
MAKEFILE = "setup:\n\t@touch locked\n\ncheck:\n\t@echo checked\n"
# In place of uv: what comes after `tool run --quiet copier==…` goes to the Copier of this environment.
UV = f'#!/bin/sh\nshift 4\nexec {sys.executable} -m copier "$@"\n'


def test_the_digests_are_current() -> None:
    """A failure here says: python scripts/digests.py"""
    assert (LIBRARY / DIGESTS).read_text() == script.text(LIBRARY)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A small template with a library of two files, tagged v1."""
    folder = tmp_path / "template"
    files = {
        "copier.yml": QUESTIONS,
        "template/pyproject.toml": PROJECT,
        "template/Makefile": MAKEFILE,
        "template/.gitignore": "__pycache__/\n",
        "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml }}",
        "template/vendor/lifecycle/src/lifecycle/errors.py": "# One\n",
        "template/vendor/lifecycle/README.md": "# Library\n",
    }
    write(folder, files)
    tag(folder, "v1")
    return folder


def tag(template: Path, name: str) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/digests.py", template], check=True)
    if not (template / ".git").exists():
        git(template, "init", "-q")
    git(template, "add", "-A")
    git(template, "commit", "-qm", name)
    git(template, "tag", name)


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A committed project of that template."""
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("UV", str(tmp_path / "uv"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.com")
    root = tmp_path / "churn"
    subprocess.run([sys.executable, "-m", "copier", "copy", "-q", "--defaults", template, root], check=True)
    git(root, "init", "-q")
    commit(root)
    return Project.read(root)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "Mine")


def cached(project: Project) -> Path:
    """Write what Python leaves beside the source; return its folder."""
    folder = project.root / "vendor/lifecycle/src/lifecycle/__pycache__"
    write(folder, {"errors.cpython-311.pyc": "compiled"})
    return folder


def test_what_came_is_fine_and_caches_are_no_change(project: Project) -> None:
    cached(project)
    assert check_vendored(project) == []
    done = subprocess.run(
        ["sha256sum", "-c", DIGESTS], cwd=project.root / "vendor/lifecycle", capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_the_command_is_quiet_where_all_is_well(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(project.root))
    done = CliRunner().invoke(app, ["vendored"], standalone_mode=False, catch_exceptions=False)
    assert done.output == ""


def test_each_change_is_named_with_what_to_do(project: Project) -> None:
    library = project.root / "vendor/lifecycle"
    write(
        library, {"src/lifecycle/errors.py": "# Mine\n", "src/lifecycle/mine.py": "", ".gitignore": "*.md\n"}
    )
    commit(project.root)
    git(project.root, "rm", "-q", "--cached", "vendor/lifecycle/README.md")
    assert check_vendored(project) == [
        "added: vendor/lifecycle/.gitignore",
        "ignored by git: vendor/lifecycle/README.md",
        "edited: vendor/lifecycle/src/lifecycle/errors.py",
        "added: vendor/lifecycle/src/lifecycle/mine.py",
    ]
    (library / "README.md").unlink()
    with pytest.raises(LifecycleError, match=r"missing: vendor/lifecycle/README\.md") as error:
        refuse_changes(project)
    restore = error.value.next_step.partition(";")[0]
    subprocess.run(restore, shell=True, cwd=project.root, check=True)
    assert [line.partition(":")[0] for line in check_vendored(project)] == ["added", "added"]
    assert "src/churn/hooks.py" in error.value.next_step


def test_many_changes_are_counted(project: Project) -> None:
    write(project.root / "vendor/lifecycle", {f"{number:02d}.py": "" for number in range(20)})
    with pytest.raises(LifecycleError, match=r"11\.py\n  and 8 more"):
        refuse_changes(project)


def test_a_library_without_its_list_is_named(project: Project) -> None:
    (project.root / "vendor/lifecycle" / DIGESTS).unlink()
    assert check_vendored(project) == ["missing: vendor/lifecycle/DIGESTS"]


def test_without_git_the_digests_are_compared_all_the_same(project: Project) -> None:
    shutil.rmtree(project.root / ".git")
    write(project.root / "vendor/lifecycle", {"README.md": "# Mine\n"})
    assert check_vendored(project) == ["edited: vendor/lifecycle/README.md"]


def test_an_update_refuses_a_changed_library(project: Project) -> None:
    write(project.root / "vendor/lifecycle", {"README.md": "# Mine\n"})
    commit(project.root)
    with pytest.raises(LifecycleError, match=r"edited: vendor/lifecycle/README\.md") as error:
        update.update(project, (), None)
    assert error.value.exit_code == 1
    assert git(project.root, "branch", "--format=%(refname:short)").split() == ["main"]


def test_an_update_brings_a_new_library(
    project: Project, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        template / "template/vendor/lifecycle",
        {"src/lifecycle/errors.py": "# Two\n", "src/lifecycle/new.py": ""},
    )
    tag(template, "v2")
    update.update(project, (), None)
    assert "v1 → v2" in capsys.readouterr().out
    assert check_vendored(project) == []
    assert (project.root / "vendor/lifecycle/src/lifecycle/errors.py").read_text() == "# Two\n"


def test_a_library_that_becomes_a_dependency_leaves_nothing_behind_and_comes_back(project: Project) -> None:
    cached(project)
    update.update(project, ("library=dependency",), None)
    assert not (project.root / "vendor").exists() and (project.root / "locked").exists()
    assert check_vendored(project) == []
    commit(project.root)
    cached(project)  # as on the computer of a colleague, who has pulled that commit
    assert check_vendored(project) == []
    update.update(project, ("library=vendored",), None)
    assert check_vendored(project) == []
    assert (project.root / "vendor/lifecycle/src/lifecycle/errors.py").exists()


def test_your_own_vendored_code_stays(project: Project) -> None:
    write(project.root, {"vendor/other/code.py": "# Mine\n"})
    commit(project.root)
    update.update(project, ("library=dependency",), None)
    assert [path.name for path in (project.root / "vendor").iterdir()] == ["other"]


def test_without_uv_an_update_says_so_and_changes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LifecycleError, match="uv is neither in"):
        update.update(project, ("library=dependency",), None)
    assert git(project.root, "branch", "--format=%(refname:short)").split() == ["main"]
    assert git(project.root, "status", "--porcelain") == ""
