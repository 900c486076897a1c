"""What the tests of both CIs share: a repository to clone, one environment for all jobs, a host."""

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import clean_environment, git, render
from services import docker, osv, ssh
from services.site import PROXY_IMAGE, free_port
from tools import UV, uv_cache

# A model that is trained in a moment; and of the project's own tests, which test_story.py runs whole, a few.
QUICK = "max_iter: 20"
FEW = "-k test_data"


@dataclass
class Workshop:
    """env: in which every job runs, on whatever CI."""

    template: Path
    folder: Path
    env: dict[str, str]
    lock: Path

    def repository(self, name: str, project_name: str = "parcels", **answers: str) -> Path:
        """Render a project as its repository's only commit; uv.lock is there, as make setup leaves it."""
        path = render(self.template, self.folder / name, project_name=project_name, **answers)
        if answers.get("deploy") == "lambda":
            subprocess.run([UV, "lock", "--quiet"], cwd=path, env=clean_environment(), check=True)
        else:
            text = self.lock.read_text().replace('name = "churn"', f'name = "{project_name}"')
            (path / "uv.lock").write_text(text)
        change(path, "max_iter: 300", QUICK)
        return path


def change(repository: Path, old: str, new: str) -> None:
    """Commit a change of params.yaml, and of what else is new."""
    params = repository / "params.yaml"
    assert old in params.read_text()
    params.write_text(params.read_text().replace(old, new))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", new)


@pytest.fixture(scope="session")
def workshop(
    template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("ci")
    (folder / "home").mkdir()
    env = clean_environment(UV_PROJECT_ENVIRONMENT=str(folder / "venv"), PYTEST_ADDOPTS=FEW)
    # The caches of uv and of its tools are the machine's; what a job writes at home is nobody's.
    env |= {"UV_CACHE_DIR": uv_cache(), "HOME": str(folder / "home")}
    env |= {"UV_TOOL_DIR": str(folder / "tools"), "DOCKER_CONFIG": str(folder / "docker")}
    env |= {"GIT_CONFIG_GLOBAL": str(folder / "gitconfig")}
    (folder / "gitconfig").write_text("[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n")
    with osv.database() as flags:
        yield Workshop(template, folder, env | {"FLAGS": flags}, environment / "uv.lock")


@dataclass
class Box:
    """A host that runs Docker and is reached by ssh; and a registry of images."""

    host: ssh.Host
    folder: Path
    images: str
    env: dict[str, str]
    port: int
    staging: int

    def clone(self, repository: Path, **settings: str) -> Path:
        """Clone the repository there and write its .env."""
        path = self.folder / repository.name
        subprocess.run(["git", "clone", "--quiet", str(repository), str(path)], check=True)
        settings |= {"IMAGE_REGISTRY": self.images, "PROXY_IMAGE": PROXY_IMAGE, "DRAIN": "0.2"}
        settings |= {"PORT": str(self.port), "STAGING_PORT": str(self.staging)}
        (path / ".env").write_text("".join(f"{name}='{text}'\n" for name, text in settings.items()))
        return path

    def serves(self, port: int) -> str:
        """Return the version that answers on a port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return json.load(answer)["version"]

    def docker(self, *words: str) -> str:
        env = os.environ | self.env
        return subprocess.run(
            ["docker", *words], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    def clear(self) -> None:
        """End all that was deployed there."""
        if names := self.docker("ps", "--all", "--quiet", "--filter", "name=parcels").split():
            self.docker("rm", "--force", *names)


@pytest.fixture(scope="session")
def engine_env(workshop: Workshop, engine: dict[str, str]) -> Iterator[dict[str, str]]:
    """The workshop's environment with a Docker engine in it, which keeps none of the images."""
    path = os.pathsep.join([engine["PATH"], workshop.env["PATH"]])
    found = workshop.env | {key: engine[key] for key in ("DOCKER_HOST", "DOCKER_BUILDKIT")} | {"PATH": path}
    yield found
    for name in ("parcels", "*/parcels"):
        words = ["docker", "images", "--quiet", "--filter", f"reference={name}"]
        images = subprocess.run(words, env=found, capture_output=True, text=True, check=True).stdout.split()
        if images:
            subprocess.run(["docker", "rmi", "--force", *set(images)], env=found, capture_output=True)


@pytest.fixture
def box(
    workshop: Workshop, engine_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    # Its own environment: what a job installs is another commit's.
    env = engine_env | {"UV_PROJECT_ENVIRONMENT": str(workshop.folder / "venv-of-the-host")}
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(ssh.host(folder, env))
        images = stack.enter_context(docker.image_registry(folder))
        box = Box(host, folder, images, engine_env, free_port(), free_port())
        stack.callback(box.clear)
        yield box
