"""Shell scripts and the Dockerfile are linted as they are rendered, and each linter is seen to reject."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, render

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module", params=["docker", "kubernetes"])
def project(request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(template, tmp_path_factory.mktemp("shell") / "churn", deploy=request.param)


def scripts(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.sh"))


def lint(folder: Path, tool: str, *words: str) -> tuple[bool, str]:
    done = subprocess.run([str(BIN / tool), *words], cwd=folder, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def shellcheck(folder: Path) -> tuple[bool, str]:
    return lint(folder, "shellcheck", "--external-sources", *scripts(folder))


def shfmt(folder: Path) -> tuple[bool, str]:
    return lint(folder, "shfmt", "--diff", "--indent", "2", "--case-indent", *scripts(folder))


def hadolint(folder: Path) -> tuple[bool, str]:
    return lint(folder, "hadolint", "Dockerfile")


@pytest.mark.parametrize("linter", [shellcheck, shfmt, hadolint])
def test_the_rendered_files_are_clean(project: Path, linter) -> None:
    clean, said = linter(project)
    assert clean, said


@pytest.mark.parametrize("linter", [shellcheck, shfmt])
def test_the_scripts_of_this_repository_are_clean(linter) -> None:
    clean, said = linter(ROOT / "scripts")
    assert clean, said


@pytest.mark.parametrize(
    ("linter", "file", "old", "new", "rule"),
    [
        (shellcheck, "deploy/docker/common.sh", '"$folder/manifest.json"', "$folder/manifest.json", "SC2086"),
        (shfmt, "deploy/docker/common.sh", "    mkdir -p build", "\tmkdir -p build", "-\tmkdir -p build"),
        (hadolint, "Dockerfile", '"uv==${UV_VERSION}"', "uv", "DL3013"),
    ],
)
def test_a_fault_is_found(
    template: Path, tmp_path: Path, linter, file: str, old: str, new: str, rule: str
) -> None:
    broken = render(template, tmp_path / "churn") / file
    text = broken.read_text()
    assert old in text
    broken.write_text(text.replace(old, new))
    clean, said = linter(tmp_path / "churn")
    assert not clean and rule in said, said


def test_the_scripts_may_be_run(project: Path) -> None:
    for name in scripts(project / "deploy"):
        is_run = (project / "deploy" / name).read_text().startswith("#!/bin/sh\n")
        assert bool((project / "deploy" / name).stat().st_mode & 0o100) == is_run, name
