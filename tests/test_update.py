"""A project from an older template, edited as users do, is updated to the working tree: nothing is lost.

Older templates are the released tags, and one made from the working tree in which every text differs, a file
is missing and a file is too many.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import updating
from conftest import ROOT, Project, git, render
from updating import (
    EDITS,
    Answers,
    Renders,
    apply_edits,
    choices,
    commit,
    difference,
    each_once,
    pairwise,
    tree,
    users,
)

SYNTHETIC = "every text another"
OLDER = [*updating.history(), SYNTHETIC]
GONE = "docs/old-page.md"  # the synthetic older template has it, the working tree has not
NEW = "deploy/image.sh.jinja"  # the other way round
NOW = (ROOT / "copier.yml").read_text()


def offered(older: str) -> dict[str, list[str]]:
    """Return the answers that both templates know."""
    then, now = choices(NOW if older == SYNTHETIC else updating.questions_at(older)), choices(NOW)
    return {name: [value for value in then[name] if value in now[name]] for name in then if name in now}


# Each answer once for each older template; and each pair of answers once in the long tests.
CASES = [(older, answers) for older in OLDER for answers in each_once(offered(older))]
CASES += [
    pytest.param(SYNTHETIC, answers, marks=pytest.mark.long)
    for answers in pairwise(offered(SYNTHETIC))
    if (SYNTHETIC, answers) not in CASES
]


def case_name(case: object) -> str:
    return "-".join(case.values()) if isinstance(case, dict) else str(case)[:10].replace(" ", "_")


@pytest.fixture(scope="module")
def repositories(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A repository for each older template: that one tagged v1.0.0, then the working tree as v99.0.0."""
    return {older: repository(older, template, tmp_path_factory.mktemp("older")) for older in OLDER}


def repository(older: str, template: Path, folder: Path) -> Path:
    if older == SYNTHETIC:
        shutil.copytree(template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
        make_older(folder / "template")
    else:
        archive = subprocess.run(
            ["git", "archive", older, "copier.yml", "template"], cwd=ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    git(folder, "init", "-q")
    commit(folder, "Older")
    git(folder, "tag", "v1.0.0")
    for part in ("template", "copier.yml"):
        path = folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(template / "template", folder / "template")
    shutil.copy(template / "copier.yml", folder)
    commit(folder, "The working tree")
    git(folder, "tag", "v99.0.0")
    return folder


def make_older(folder: Path) -> None:
    for path in folder.rglob("*"):
        plain = path.suffix not in (".parquet", ".json") and "answers" not in path.name
        if path.is_file() and plain and "vendor" not in path.parts:
            path.write_text(updating.older(path.read_text(), path.name))
    (folder / GONE).write_text("# Gone\n")
    (folder / NEW).unlink()


def updated(repository: Path, fresh: Renders, answers: Answers, folder: Path) -> tuple[Path, list[str]]:
    """Make a project from v1.0.0, edit it, update it; return it and what is not as it should be."""
    project = render(repository, folder / "churn", vcs_ref="v1.0.0", **answers)
    made = apply_edits(project)
    commit(project)
    before = tree(project)
    updating.update(project)
    should_be = fresh.make(folder / "fresh" / "churn", answers)
    apply_edits(should_be, made)
    should = {name: what for name, what in tree(should_be).items() if not users(name)}
    should |= {name: what for name, what in before.items() if users(name) or name.endswith("/")}
    return project, difference(project, should)


@pytest.fixture(scope="module")
def fresh(repositories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Renders]:
    return {older: Renders(path, tmp_path_factory.mktemp("fresh")) for older, path in repositories.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("older", "answers"), CASES, ids=case_name)
def test_nothing_is_lost(
    repositories: dict[str, Path], fresh: dict[str, Renders], tmp_path: Path, older: str, answers: Answers
) -> None:
    """Then each file is, to the byte, as in a fresh project with these edits; the user's own, as before."""
    project, wrong = updated(repositories[older], fresh[older], answers, tmp_path)
    assert updating.unmerged(project) == ""
    assert not wrong, "\n".join(wrong)


def test_every_edit_is_tried(template: Path, tmp_path: Path) -> None:
    tried = {
        name for ci in choices(NOW)["ci"] for name in apply_edits(render(template, tmp_path / ci, ci=ci))
    }
    assert tried == set(EDITS)


@pytest.mark.slow
def test_an_updated_project_passes_its_checks(
    repositories: dict[str, Path], fresh: dict[str, Renders], environment: Path, tmp_path: Path
) -> None:
    """Lint, types and tests, with the edits in place: what `make check` runs."""
    answers = pairwise(offered(SYNTHETIC))[0]
    folder, _ = updated(repositories[SYNTHETIC], fresh[SYNTHETIC], answers, tmp_path)
    shutil.copy(environment / "uv.lock", folder)
    project = Project(folder, environment)
    commit(folder, "Updated")
    for words in ("-m ruff check .", "-m ruff format .", "-m pyrefly check", "-m pytest tests"):
        done = project.python(*words.split())
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert git(folder, "diff", "--stat", "--", ".", ":!src/churn") == "", "ours is formatted"
