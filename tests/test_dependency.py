"""library=dependency: the same project on one pinned line, from a real git server on this machine."""

import functools
import http.server
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import copier
import jinja2
import pytest
import updating
from conftest import ROOT, clean_environment, git
from tools import UV
from updating import commit

pytestmark = pytest.mark.slow
LIBRARY = "lean-mlops-lifecycle"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, which is all that git's plain HTTP protocol needs, and prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the template's repository, on a git server over HTTP."""
    folder = tmp_path_factory.mktemp("server")
    git(folder, "clone", "-q", "--bare", str(template), "lean-mlops.git")
    git(folder / "lean-mlops.git", "update-server-info")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/lean-mlops.git"
    server.shutdown()


def copy(source: str, to: Path, **answers: str) -> Path:
    copier.run_copy(source, to, data={"project_name": "churn", **answers}, defaults=True, quiet=True)
    git(to, "init", "-q")
    commit(to, "Start")
    return to


def source_of(project: Path) -> dict[str, object]:
    return tomllib.loads((project / "pyproject.toml").read_text())["tool"]["uv"]["sources"][LIBRARY]


def run(project: Path, command: str) -> str:
    env = clean_environment(UV=UV, LIFECYCLE_BY="Ada")
    done = subprocess.run(["bash", "-ec", command], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_project_lives_on_one_pinned_line(address: str, template: Path, tmp_path: Path) -> None:
    project = copy(address, tmp_path / "churn", library="dependency")
    head = git(template, "rev-parse", "HEAD").strip()
    assert not (project / "vendor").exists()
    assert source_of(project) == {"git": address, "rev": head, "subdirectory": "template/vendor/lifecycle"}
    run(project, "make setup check retrain")
    assert head in (project / "uv.lock").read_text()
    run(project, "make promote WHY=first")
    assert "production" in run(project, f'"{UV}" run --no-sync lifecycle versions')
    assert run(project, f'"{UV}" run --no-sync lifecycle vendored') == ""
    exported = "--no-emit-project --no-emit-package lean-mlops-lifecycle --quiet"
    locked = run(project, f'"{UV}" export {exported}')
    assert LIBRARY not in re.sub(r"#.*", "", locked) and "--hash=" in locked, "audit and SBOM see hashes only"


def test_an_update_changes_one_source_for_the_other(address: str, tmp_path: Path) -> None:
    """From vendored to dependency nothing stays in vendor/; and back, all of it is there again."""
    project = copy(address, tmp_path / "churn")
    assert source_of(project) == {"path": "vendor/lifecycle", "editable": True}
    shutil.copytree(project / "vendor", tmp_path / "vendor")
    updating.update(project, vcs_ref=copier.VcsRef.CURRENT, data={"library": "dependency"})
    assert not (project / "vendor").exists() and source_of(project)["git"] == address
    assert updating.unmerged(project) == ""
    commit(project)
    updating.update(project, vcs_ref=copier.VcsRef.CURRENT, data={"library": "vendored"})
    assert updating.tree(project / "vendor") == updating.tree(tmp_path / "vendor")
    assert source_of(project) == {"path": "vendor/lifecycle", "editable": True}


def test_no_password_of_an_address_is_written(address: str, tmp_path: Path) -> None:
    typed = address.replace("http://", "http://ada:hunter2@")
    project = copy(typed, tmp_path / "churn", library="dependency")
    assert source_of(project)["git"] == address
    assert "hunter2" not in "".join(path.read_text() for path in project.glob("*.*") if path.is_file())
    assert "hunter2" not in (project / ".copier-answers.yml").read_text()


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("gh:acme/lean-mlops", "https://github.com/acme/lean-mlops"),
        ("gl:acme/lean-mlops.git", "https://gitlab.com/acme/lean-mlops.git"),
        ("git@git.example.com:acme/lean-mlops.git", "ssh://git@git.example.com/acme/lean-mlops.git"),
        ("git+https://git.example.com/acme/lean-mlops", "https://git.example.com/acme/lean-mlops"),
        ("ssh://git@git.example.com/acme/lean-mlops.git", "ssh://git@git.example.com/acme/lean-mlops.git"),
        ("https://ada:hunter2@git.example.com/lean-mlops.git", "https://git.example.com/lean-mlops.git"),
    ],
)
def test_each_form_of_an_address_becomes_one_that_uv_reads(typed: str, written: str) -> None:
    """The template's own lines, with the answers that Copier would give: no such server is asked."""
    environment = jinja2.Environment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"])
    text = environment.from_string((ROOT / "template/pyproject.toml.jinja").read_text()).render(
        {"project_name": "churn", "package": "churn", "registry": "mlflow", "deploy": "docker"},
        description="x",
        library="dependency",
        python_version="3.11",
        _copier_answers={"_src_path": typed},
        _copier_conf={"vcs_ref_hash": "0" * 40},
    )
    assert tomllib.loads(text)["tool"]["uv"]["sources"][LIBRARY]["git"] == written
