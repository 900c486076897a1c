"""Renders the template as it stands in the working tree, and runs the projects in one shared environment."""

import functools
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import copier
import jinja2.environment
import pytest
from filelock import FileLock
from tools import BIN, UV
from xdist.scheduler import LoadScopeScheduling

from lean_mlops.shell import FOREIGN

# Where `make test` is put into the background Ctrl-C is ignored, also by what the tests start and then stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
pytest_plugins = ["parts", "services.site", "services.pipelines"]
ON_A_FOLDER = {"registry": "s3"}  # a command on it takes a tenth of the time that importing MLflow takes
# Each takes minutes in one process, so they begin early: begun last, one would run on alone at the end.
EARLY = {f"test_{name}.py" for name in ("lambda", "orchestrators", "registry", "story")}


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without what would leak into a project, our commands (uv) on the PATH."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = os.pathsep.join([str(BIN), kept.get("PATH", "")])
    return kept | {"PATH": path} | more


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


class Scheduler(LoadScopeScheduling):
    """Runs in one process what shares a costly fixture, a Docker engine, or the machine's crontab."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        case = test.partition("[")[2].rstrip("]")
        if file.startswith("tests/test_docker"):
            return "pipelines" if file.endswith("_ci.py") else "docker"  # half of the time each
        if file == "tests/test_registry.py":
            return file + next((store for store in ("mlflow-server", "s3-ceph") if store in case), "")
        if file == "tests/test_story.py":
            return file + case.partition("-")[0]
        if file == "tests/test_orchestrators.py":
            return file + next((name for name in ("prefect", "airflow") if f"_{name}_" in test), "")
        return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is fast first, so that a failure shows early."""

    def place(item: pytest.Item) -> int:
        if "docker" in marks[item]:
            return 1
        return (2 if item.path.name in EARLY else 3) if "slow" in marks[item] else 0

    marks = {item: {mark.name for mark in item.iter_markers()} for item in items}
    items.sort(key=place)


@functools.cache
def compile_once() -> None:
    """Let Jinja compile each text once in this process: Copier does it anew for each path of each render."""
    whole = jinja2.environment.Environment.compile
    known: dict[Any, Any] = {}

    def compiled(self: Any, source: Any, name: Any = None, filename: Any = None, **more: Any) -> Any:
        marks = (self.block_start_string, self.variable_start_string, self.keep_trailing_newline)
        key = (type(self), marks, tuple(self.extensions), source, name, filename, tuple(more.items()))
        if not isinstance(source, str):
            return whole(self, source, name, filename, **more)
        if key not in known:
            known[key] = whole(self, source, name, filename, **more)
        return known[key]

    pytest.MonkeyPatch().setattr(jinja2.environment.Environment, "compile", compiled)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean repository with the working tree, tagged: what a user would copy from."""
    compile_once()
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(ROOT / "template", folder / "template", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "copier.yml", folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "The working tree")
    git(folder, "tag", "v99.0.0")
    return folder


def render(template: Path, to: Path, vcs_ref: str | None = None, **answers: Any) -> Path:
    """Copy the template in this process, without trust, into a repository of its own."""
    answers = {"project_name": "churn"} | answers
    options = {"vcs_ref": vcs_ref, "defaults": True, "quiet": True, "unsafe": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", copier.errors.DirtyLocalWarning)
        copier.run_copy(str(template), to, data=answers, **options)
    git(to, "init", "-q")
    git(to, "add", "-A")
    git(to, "commit", "-qm", "Start")
    return to


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first process of a run that asks for it makes; the others wait for it."""
    folder = (
        factory.getbasetemp().parent / f"{name}-of-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    )
    with FileLock(f"{folder}.lock"):
        if not (folder / ".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / ".made").touch()
    return folder


@pytest.fixture(scope="session")
def environment(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One environment with all that a rendered project needs, whatever its answers: do not change it."""

    def make(folder: Path) -> None:
        project = render(template, folder / "churn", registry="mlflow")
        env = clean_environment(UV_PROJECT_ENVIRONMENT=str(folder / "venv"))
        boto3 = ["pip", "install", "--python", str(folder / "venv"), "boto3"]
        for words in (["sync", "--no-install-project"], boto3):
            subprocess.run([UV, *words, "--quiet"], cwd=project, env=env, check=True)
        shutil.copy(project / "uv.lock", folder / "venv/uv.lock")

    return once(tmp_path_factory, "environment", make) / "venv"


@dataclass
class Project:
    """A rendered project and the shared environment that runs it."""

    path: Path
    venv: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.venv / "bin"), os.environ.get("PATH", "")])
        source = os.pathsep.join([str(self.path / "src"), str(self.path / "vendor/lifecycle/src")])
        # `uv run`, by which people start the project's commands, sets UV.
        return clean_environment() | {"PATH": path, "PYTHONPATH": source, "UV": UV} | self.env | more

    def python(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project; more: environment variables."""
        command = [str(self.venv / "bin" / "python"), *words]
        return subprocess.run(
            command, cwd=self.path, env=self.environment(**more), capture_output=True, text=True
        )

    def lifecycle(self, *words: str, ok: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `lifecycle …`; with ok, a non-zero exit fails the test and shows the output."""
        done = self.python("-c", "from lifecycle.cli import main; main()", *words, **more)
        assert not ok or done.returncode == 0, f"{words} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def verbs(self, folder: Path) -> dict[str, str]:
        """Return an environment in which `make` and its verbs find this project's; folder is for a script."""
        folder.mkdir(exist_ok=True)
        script = folder / "lifecycle"
        script.write_text(f"#!{self.venv}/bin/python\nfrom lifecycle.cli import main\nmain()\n")
        script.chmod(0o755)
        path = os.pathsep.join([str(folder), str(self.venv / "bin"), clean_environment()["PATH"]])
        return self.environment(PATH=path, UV_PROJECT_ENVIRONMENT=str(self.venv))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text in a file, and fail when the text is not there."""
        path = self.path / file
        text = path.read_text()
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new))

    def train(self) -> None:
        """Run every step once, without DVC."""
        for step in ("ingest", "validate", "train", "evaluate", "register"):
            self.lifecycle(step)


@pytest.fixture
def make_project(template: Path, environment: Path, tmp_path: Path) -> Callable[..., Project]:
    """Render a project: make_project(task="classification", …)."""

    def make(name: str = "churn", **answers: Any) -> Project:
        path = render(template, tmp_path / name, **ON_A_FOLDER | answers)
        shutil.copy(environment / "uv.lock", path)
        return Project(path, environment)

    return make


@pytest.fixture(scope="session")
def trained(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression project whose steps have run once and whose version is in production: do not change it."""

    def make(folder: Path) -> None:
        path = render(template, folder / "churn", **ON_A_FOLDER)
        shutil.copy(environment / "uv.lock", path)
        project = Project(path, environment)
        project.train()
        project.lifecycle("promote", "--why", "first release")

    return once(tmp_path_factory, "trained", make) / "churn"


@pytest.fixture
def trained_copy(trained: Path, environment: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of the trained project, to do anything with."""
    copy = tmp_path / "churn"
    shutil.copytree(trained, copy, symlinks=True)
    yield Project(copy, environment)
