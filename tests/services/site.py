"""A trained project that is deployed to a real Docker engine. Tests share it; each ends with no container."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, clean_environment
from services import docker

PROXY_IMAGE = "traefik:v3.7.15"

# Images that are up in a moment stand in for the model where only the scripts are tested.
ONE, TWO = "20260101T000000Z-one", "20260101T000000Z-two"
SERVER = """\
import http.server, json, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self, answer={"status": "ok", "version": "VERSION"}):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.do_GET({"version": "VERSION", "predictions": [{"prediction": 1.0}]})
http.server.ThreadingHTTPServer(("", 8000), Answer).serve_forever()
"""
LIGHT = f"""\
FROM {docker.BASE_IMAGE}
LABEL org.opencontainers.image.title=churn org.opencontainers.image.version=VERSION
COPY . /app
WORKDIR /app
HEALTHCHECK CMD ["python", "-m", "lifecycle.serving.smoke_test"]
CMD ["python", "server.py"]
"""


@dataclass
class Site(Project):
    """A project with the versions `old` and `new` (in production), and the engine that it deploys to."""

    port: int = 0
    old: str = ""
    new: str = ""
    calls: Path = field(default_factory=Path)

    def run(self, *words: str, ok: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; with ok, a non-zero exit fails the test and shows the output."""
        env = self.environment(**more)
        done = subprocess.run(words, cwd=self.path, env=env, capture_output=True, text=True)
        assert not ok or done.returncode == 0, f"{words} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def script(
        self, name: str, *words: str, ok: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(f"deploy/docker/{name}.sh", *words, ok=ok, **more)

    def docker(self, *words: str) -> str:
        return self.run("docker", *words).stdout.strip()

    def inspect(self, name: str, what: str) -> Any:
        return json.loads(self.docker("inspect", "--format", "{{json " + what + "}}", name))

    def containers(self) -> dict[str, str]:
        """Return {name: state} of every container of this project."""
        listed = self.docker("ps", "--all", "--filter", "name=churn", "--format", "{{.Names}} {{.State}}")
        return dict(line.split() for line in listed.splitlines())

    def colours(self) -> dict[str, tuple[str, str]]:
        """Return {colour: (version, state)}."""
        names = {name.removeprefix("churn-"): state for name, state in self.containers().items()}
        return {
            name: (self.version(f"churn-{name}"), state)
            for name, state in names.items()
            if name in ("blue", "green")
        }

    def record(self, what: str) -> str:
        """Return what the record of who serves says; "" if nothing was ever deployed."""
        routes = self.path / "artifacts/docker/churn/routes.yml"
        text = routes.read_text() if routes.exists() else ""
        return next(
            (line[len(what) + 4 :] for line in text.splitlines() if line.startswith(f"# {what}: ")), ""
        )

    @property
    def container(self) -> str:
        """The container that serves."""
        return f"churn-{self.record('colour')}"

    def images(self) -> list[str]:
        """Return what is tagged churn:…, the newest first."""
        return self.docker("images", "churn", "--format", "{{.Repository}}:{{.Tag}}").split()

    def version(self, name: str) -> str:
        return self.inspect(name, ".Config.Labels")["org.opencontainers.image.version"]

    def call(self, path: str, body: Any = None, port: int = 0, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} | headers
            connection.request("GET" if data is None else "POST", path, data, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def live(self, port: int = 0) -> str:
        """Return the version that answers on the port."""
        status, answer = self.call("/health", port=port)
        assert (status, answer["status"]) == (200, "ok")
        return answer["version"]

    def another(self, version: str, to: Path) -> Path:
        """Make a folder with the new model under another version: good for everything but the registry."""
        shutil.copytree(self.fetched(self.new), to)
        manifest = to / "manifest.json"
        manifest.write_text(manifest.read_text().replace(self.new, version))
        return to

    def fetched(self, version: str) -> Path:
        folder = self.path / "build" / version
        if not folder.exists():
            self.lifecycle("fetch", version, "--to", str(folder))
        return folder

    def build(self, version: str, folder: Path | None = None) -> None:
        self.run("deploy/image.sh", "build", version, str(folder or self.fetched(version)))

    def release(self, version: str, *words: str, ok: bool = True, **more: str) -> str:
        """Release a version and return what was said."""
        folder = [] if words or version in (ONE, TWO) else [str(self.fetched(version).relative_to(self.path))]
        done = self.script("release", version, *words, *folder, ok=ok, **more)
        assert ok or done.returncode, f"a release of {version} went through\n{done.stderr}"
        return done.stderr

    def image(self, version: str, folder: Path, *commands: str) -> None:
        """Make an image that is up in a moment, and answers the scripts as the server does."""
        smoke = folder / "lifecycle/serving/smoke_test.py"
        smoke.parent.mkdir(parents=True)
        shutil.copy(self.path / "vendor/lifecycle/src/lifecycle/serving/smoke_test.py", smoke)
        (folder / "server.py").write_text(SERVER.replace("VERSION", version))
        (folder / "model").mkdir()
        fixture = {"row": {}, "prediction": {"prediction": 1.0}}
        (folder / "model/manifest.json").write_text(json.dumps({"version": version, "fixture": fixture}))
        (folder / "Dockerfile").write_text(LIGHT.replace("VERSION", version) + "\n".join(commands))
        self.docker("build", "--tag", f"churn:{version}", str(folder))

    def clean(self) -> None:
        if left := self.containers():
            self.docker("rm", "--force", *left)
        shutil.rmtree(self.path / "artifacts/docker", ignore_errors=True)
        self.calls.write_text("")


def executable(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def engine() -> Iterator[dict[str, str]]:
    # Not in pytest's folder, which other users may not enter: one test releases as another user.
    with tempfile.TemporaryDirectory(prefix="lm-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with docker.engine(Path(folder)) as host:
            docker.ensure_base_image(host)
            docker.ensure_proxy_image(host, PROXY_IMAGE)
            yield docker.environment(host, Path(folder))


@pytest.fixture(scope="session")
def shared(
    engine: dict[str, str], trained: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The project with a second version approved, secrets lying about, and a `docker` that takes notes."""
    folder = tmp_path_factory.mktemp("docker")
    shutil.copytree(trained, folder / "churn", symlinks=True)
    (folder / "bin").mkdir()
    client = shutil.which("docker", path=engine["PATH"])
    assert client
    executable(folder / "bin/docker", f'echo "$*" >>{folder}/calls\nexec {client} "$@"\n')
    executable(folder / "bin/lifecycle", "exec python -c 'from lifecycle.cli import main; main()' \"$@\"\n")
    path = os.pathsep.join([str(folder / "bin"), str(environment / "bin"), engine["PATH"]])
    path += os.pathsep + clean_environment()["PATH"]  # for uv
    site = Site(folder / "churn", environment, port=free_port(), calls=folder / "calls")
    site.env = {key: engine[key] for key in ("DOCKER_HOST", "DOCKER_BUILDKIT")}
    site.env |= {"PORT": str(site.port), "URL": f"http://127.0.0.1:{site.port}", "DRAIN": "0.2", "KEEP": "99"}
    site.env |= {"PATH": path, "UV_PROJECT_ENVIRONMENT": str(environment), "PROXY_IMAGE": PROXY_IMAGE}
    if site.containers() or site.images():
        pytest.fail(f"{engine['DOCKER_HOST']} has a churn of its own, which these tests would remove")
    (site.path / ".env").write_text("SECRET=hunter2\n")
    (site.path / "src/.env").write_text("SECRET=hunter2\n")
    (site.path / "src/churn/secret.txt").write_text("hunter2\n")

    site.old = site.lifecycle("fetch", "--to", str(folder / "old")).stdout.strip()
    site.edit("params.yaml", "max_iter: 300", "max_iter: 150")
    site.edit("params.yaml", "margin_over_live: 0.0", "margin_over_live: -1.0")
    for step in ("train", "evaluate", "register"):
        site.lifecycle(step)
    site.lifecycle("promote", "--why", "fewer trees")
    site.new = site.lifecycle("fetch", "--to", str(folder / "new")).stdout.strip()
    assert site.old != site.new
    yield site
    site.docker("rmi", "--force", *site.images())


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The project, with nothing deployed."""
    shared.clean()
    yield shared
    shared.clean()


@pytest.fixture(scope="session")
def stand_ins(shared: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    for version in (ONE, TWO):
        shared.image(version, tmp_path_factory.mktemp("image"))


@pytest.fixture
def light(site: Site, stand_ins: None) -> Site:
    """The project, with nothing deployed, and the images ONE and TWO."""
    return site


@pytest.fixture
def deployed(light: Site) -> Site:
    """The project with TWO serving, and ONE to roll back to."""
    light.release(ONE)
    light.release(TWO)
    light.calls.write_text("")
    return light


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]
