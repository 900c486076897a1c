"""The Cookiecutter door gives what Copier gives, to the byte, and a project that `copier update` updates."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import updating
import yaml
from conftest import ROOT, clean_environment, git, render
from tools import UV, uv_cache
from updating import Answers, choices, commit, difference, pairwise, tree

QUESTIONS = yaml.safe_load((ROOT / "copier.yml").read_text())
OFFERED = choices((ROOT / "copier.yml").read_text())
PARTS = ("hooks", "{{cookiecutter.project_slug}}", "cookiecutter.json")
ANSWERS = ".copier-answers.yml"


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's repository with the door in it, two commits after its tag."""
    folder = tmp_path_factory.mktemp("door") / "lean-mlops"
    shutil.copytree(template, folder)
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
    commit(folder, "The door")
    git(folder, "tag", "v99.0.1")
    commit(folder, "Not released yet")
    return folder


def bake(whole: str, to: Path, *answers: str, cwd: Path = ROOT, ok: bool = True) -> tuple[str, Path]:
    """Run the command as a person does; return what it says and the project's folder."""
    to.mkdir(exist_ok=True)
    words = ["--no-input", "--output-dir", str(to), whole, *answers]
    env = clean_environment(HOME=str(to.parent))
    run = [sys.executable, "-m", "cookiecutter", *words]
    done = subprocess.run(run, cwd=cwd, env=env | {"PWD": str(cwd)}, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    assert ok or not any(to.iterdir()), "nothing is half-written"
    return done.stdout + done.stderr, next(to.iterdir(), to)


def test_cookiecutter_json_is_made_from_the_questions() -> None:
    place = importlib.util.spec_from_file_location("door", ROOT / "scripts/door.py")
    assert place and place.loader
    door = importlib.util.module_from_spec(place)
    place.loader.exec_module(door)
    assert (ROOT / "cookiecutter.json").read_text() == door.door(QUESTIONS), "run: make door"
    changed = QUESTIONS | {"cloud": {"type": "str", "help": "Where?", "choices": ["a", "b"], "default": "b"}}
    assert json.loads(door.door(changed))["cloud"] == ["b", "a"], "the default stands first"


@pytest.mark.slow
@pytest.mark.parametrize("answers", pairwise(OFFERED), ids=lambda answers: "-".join(answers.values()))
def test_the_tree_is_copiers(cookies: Any, whole: Path, tmp_path: Path, answers: Answers) -> None:
    result = cookies.bake(template=str(whole), extra_context={"project_slug": "churn", **answers})
    assert result.exception is None, result.exception
    fresh = render(whole, tmp_path / "churn", vcs_ref="HEAD", **answers)
    assert not difference(Path(result.project_path), tree(fresh))


@pytest.mark.slow
def test_it_can_be_updated_and_has_what_was_typed(whole: Path, tmp_path: Path) -> None:
    """From an address, at the commit that the questions came from; then to a release and another answer."""
    address = tmp_path / "lean-mlops.git"
    git(tmp_path, "clone", "-q", "--bare", str(whole), str(address))
    typed = f"file://{address}"
    said, project = bake(typed, tmp_path / "out", "project_slug=churn", "description=Who leaves?")
    answers = yaml.safe_load((project / ANSWERS).read_text())
    assert answers["_src_path"] == typed and answers["description"] == "Who leaves?"
    assert answers["_commit"] == git(whole, "describe", "--tags", "HEAD").strip()
    git(project, "init", "-q")
    updating.apply_edits(project)
    commit(project)
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(address), str(work))
    (work / "template/docs/new.md").write_text("# New\n")
    commit(work, "A page")
    git(work, "tag", "v99.1.0")
    git(work, "push", "-q", "--tags", "origin", "HEAD")
    updating.update(project, data={"registry": "s3"})
    assert updating.unmerged(project) == "" and (project / "docs/new.md").exists()
    assert (project / "deploy/s3/policies.json").exists()
    assert "churn" in said or said == ""


@pytest.mark.parametrize(
    ("start", "typed"), [("lean-mlops", "."), (".", "lean-mlops"), ("lean-mlops/docs", "..")]
)
def test_a_relative_path(whole: Path, tmp_path: Path, start: str, typed: str) -> None:
    """From wherever it is typed, what is recorded is the whole path."""
    (whole / "docs").mkdir(exist_ok=True)
    _, project = bake(typed, tmp_path / "out", cwd=(whole.parent / start))
    assert yaml.safe_load((project / ANSWERS).read_text())["_src_path"] == str(whole)


def test_an_archive_renders_and_says_what_it_cannot(whole: Path, tmp_path: Path) -> None:
    archive = tmp_path / "lean-mlops.zip"
    git(whole, "archive", "--format=zip", "--prefix=lean-mlops/", f"--output={archive}", "HEAD")
    said, project = bake(str(archive), tmp_path / "out", "project_slug=churn")
    assert "give the template's git address" in said
    fresh = tree(render(whole, tmp_path / "churn", vcs_ref="HEAD"))
    wrong = difference(project, fresh)
    assert [line.partition(":")[0] for line in wrong] == [ANSWERS]
    answers = yaml.safe_load((project / ANSWERS).read_text())
    assert answers["_src_path"] == str(archive) and "_commit" not in answers


def test_what_is_not_committed_is_left_out(whole: Path, tmp_path: Path) -> None:
    changed = tmp_path / "lean-mlops"
    shutil.copytree(whole, changed)
    (changed / "template/docs/new.md").write_text("# New\n")
    said, project = bake(str(changed), tmp_path / "out")
    assert "not committed are left out" in said and not (project / "docs/new.md").exists()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("project_slug=Churn", "Use lower-case letters, digits and single hyphens"),
        ("package=lifecycle", "would hide a module"),
        ('description=say "hi"', "without double quotes"),
    ],
)
def test_a_bad_answer_gets_copiers_message(whole: Path, tmp_path: Path, answer: str, says: str) -> None:
    said, _ = bake(str(whole), tmp_path / "out", answer, ok=False)
    assert says in said and 'post_gen_project.py", line' not in said, "no traceback of ours"


def test_without_copier_it_says_how_to_install_it(whole: Path, tmp_path: Path) -> None:
    alone = tool(tmp_path, "cookiecutter==2.7.1", "--no-input", str(whole))
    assert alone.returncode != 0 and "uvx --with copier cookiecutter" in alone.stderr
    assert not (tmp_path / "deliveries").exists()


def test_cruft_is_refused(whole: Path, tmp_path: Path) -> None:
    """It hides where the template is, and would keep a second record of what to update from."""
    refused = tool(tmp_path, "cruft==2.16.0", "create", "--no-input", str(whole))
    assert refused.returncode != 0 and "copier copy" in refused.stderr, refused.stderr
    assert not (tmp_path / "deliveries").exists()


def tool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in an environment of its own, as uvx does: Copier is not in it."""
    env = clean_environment(HOME=str(folder), UV_CACHE_DIR=uv_cache())
    run = [UV, "tool", "run", *words]
    return subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)


def test_without_the_hook_the_folder_says_what_is_missing(whole: Path, tmp_path: Path) -> None:
    _, project = bake(str(whole), tmp_path / "out", "--accept-hooks", "no")
    assert [path.name for path in project.iterdir()] == ["README.md"]
    assert f"copier copy {whole} deliveries" in (project / "README.md").read_text()
