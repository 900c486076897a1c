"""make release: a changelog and a tag, and none of them when users could lose something by it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment, git
from updating import commit

pytestmark = pytest.mark.slow

IDENTITY = {
    f"GIT_{who}_{what}": "ada@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}

OPTION = 'def pytest_addoption(parser):\n    parser.addoption("--long", action="store_true")\n'
PASSES = "def test_it(pytestconfig):\n    assert pytestconfig.option.long, 'some are skipped'\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with the release script, one release, and tests of updating that pass."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "template").mkdir()
    shutil.copy(ROOT / "scripts/release.py", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.0.9"\n')
    (tmp_path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    for name in ("update", "transitions", "make_update", "door"):
        (tmp_path / f"tests/test_{name}.py").write_text(PASSES)
    (tmp_path / "tests/conftest.py").write_text(OPTION)
    git(tmp_path, "init", "-q")
    commit(tmp_path, "Start")
    git(tmp_path, "tag", "v0.1.0")
    return tmp_path


def release(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "scripts/release.py", *words]
    env = clean_environment(**IDENTITY)
    return subprocess.run(run, cwd=repository, env=env, capture_output=True, text=True)


def change(repository: Path, name: str, subject: str) -> None:
    (repository / name).write_text(f"# {subject}\n")
    commit(repository, subject)


def test_a_release_is_tagged_and_told(repository: Path) -> None:
    change(repository, "template/Makefile", "Add a verb")
    change(repository, "README.md", "Tell more")
    change(repository, "copier.yml", "Ask for the cloud")
    done = release(repository, "v0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (repository / "CHANGELOG.md").read_text()
    groups = (
        "## v0.2.0, ",
        "### Questions and answers\n\n- Ask for the cloud",
        "### In your project\n\n- Add a verb",
    )
    places = [text.index(part) for part in (*groups, "### The generator\n\n- Tell more")]
    assert places == sorted(places) and "Start" not in text
    assert 'version = "0.2.0"' in (repository / "pyproject.toml").read_text()
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "describe", "--tags").strip() == "v0.2.0"
    assert "- Add a verb" in git(repository, "tag", "--list", "-n50", "v0.2.0")
    change(repository, "template/x", "Add x")
    assert release(repository, "v0.10.0").returncode == 0, "10 comes after 9"
    text = (repository / "CHANGELOG.md").read_text()
    assert text.count("# Changes") == 1 and text.index("- Add x") < text.index("- Add a verb")
    refused(repository, "v0.9.0", says="v0.9.0 does not come after v0.10.0")


def refused(repository: Path, *words: str, says: str) -> None:
    before = git(repository, "tag"), git(repository, "rev-parse", "HEAD")
    done = release(repository, *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
    assert (git(repository, "tag"), git(repository, "rev-parse", "HEAD")) == before


def test_what_is_not_in_order_is_not_released(repository: Path) -> None:
    refused(repository, "v0.2.0", says="there is no commit since v0.1.0")
    change(repository, "template/Makefile", "Add a verb")
    refused(repository, says="which version?")
    refused(repository, "1.0", says="which version?")
    refused(repository, "v0.1.0", says="does not come after")
    (repository / "notes").write_text("mine\n")
    refused(repository, "v0.2.0", says="not committed:\n?? notes")


@pytest.mark.parametrize("name", ["update", "transitions", "make_update", "door"])
def test_no_release_when_updates_fail(repository: Path, name: str) -> None:
    (repository / f"tests/test_{name}.py").write_text("def test_it() -> None:\n    assert False\n")
    commit(repository, "Break it")
    refused(repository, "v0.2.0", says="the tests of updating fail")
    assert not (repository / "CHANGELOG.md").exists()


def test_it_runs_the_tests_that_there_are() -> None:
    for name in ("update", "transitions", "make_update", "door"):
        assert (ROOT / f"tests/test_{name}.py").is_file()
        assert f'"{name}"' in (ROOT / "scripts/release.py").read_text()
