"""Scripts, the Dockerfile and the compose files are linted as rendered, and each linter is seen to reject."""

import string
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, render
from tools import BIN, UV

pytestmark = pytest.mark.slow

COMPOSE = "deploy/docker/compose.yaml"


@pytest.fixture(scope="module", params=["docker", "kubernetes", "lambda"])
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


def checkov(folder: Path) -> tuple[bool, str]:
    """The CIS Docker benchmark's rules for an image."""
    words = ["--file", "Dockerfile", "--framework", "dockerfile", "--compact", "--quiet", "--skip-download"]
    # The base image's tag stands in an ARG, where checkov does not look.
    return lint(folder, UV, "tool", "run", "checkov", *words, "--skip-check", "CKV_DOCKER_7")


def compose(folder: Path) -> list[str]:
    """The compose files with their variables filled in, as a linter has to see them."""
    values = {"NAME": "churn", "OWNER": "1000:1000", "MEMORY": "1g", "BIND": "127.0.0.1", "PORT": "8000"}
    values |= {"COLOUR_IMAGE": "churn:1", "PROXY_IMAGE": "traefik:v3.7.15", "WINDOWS": "artifacts/windows"}
    values |= {"ACME_EMAIL": "ada@example.com", "ACME_SERVER": "https://example.com"}
    files = []
    for path in sorted((folder / "deploy/docker").glob("compose*.yaml")):
        filled = folder / path.name
        filled.write_text(string.Template(path.read_text()).substitute(values))
        files.append(path.name)
    assert len(files) == 2
    return files


def compose_schema(folder: Path) -> tuple[bool, str]:
    return lint(folder, "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *compose(folder))


def dclint(folder: Path) -> tuple[bool, str]:
    # The scripts give the name, because older Compose refuses it in the file; and a merge key has no order.
    off = "--disable-rule=require-project-name-field", "--disable-rule=service-keys-order"
    tool = ROOT / ".cache/npm/node_modules/.bin/dclint"
    if not tool.exists():
        pytest.fail("dclint is missing; install it with: sh scripts/npm-tools.sh", pytrace=False)
    return lint(folder, str(tool), *compose(folder), "--max-warnings", "0", *off)


@pytest.mark.parametrize(
    "linter",
    [shellcheck, shfmt, hadolint, checkov, compose_schema, pytest.param(dclint, marks=pytest.mark.node)],
)
def test_the_rendered_files_are_clean(project: Path, linter) -> None:
    needed = {
        hadolint: "Dockerfile",
        checkov: "Dockerfile",
        compose_schema: "deploy/docker",
        dclint: "deploy/docker",
    }
    if linter in needed and not (project / needed[linter]).exists():
        return  # nothing of the kind is rendered for this answer
    clean, said = linter(project)
    assert clean, said


@pytest.mark.parametrize("linter", [shellcheck, shfmt])
def test_the_scripts_of_this_repository_are_clean(linter) -> None:
    clean, said = linter(ROOT / "scripts")
    assert clean, said


@pytest.mark.parametrize(
    ("linter", "file", "old", "new", "rule"),
    [
        (shellcheck, "deploy/image.sh", '"$folder/manifest.json"', "$folder/manifest.json", "SC2086"),
        (shfmt, "deploy/image.sh", "    mkdir -p build", "\tmkdir -p build", "-\tmkdir -p build"),
        (hadolint, "Dockerfile", '"uv==${UV_VERSION}"', "uv", "DL3013"),
        (checkov, "Dockerfile", "USER 10001:10001", "USER root", "CKV_DOCKER_8"),
        (compose_schema, "deploy/docker/compose.yaml", "mem_limit: 256m", "memlimit: 256m", "memlimit"),
        pytest.param(
            *(dclint, "deploy/docker/compose.tls.yaml", "0.0.0.0:80:", "80:", "no-unbound-port-interfaces"),
            marks=pytest.mark.node,
        ),
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
