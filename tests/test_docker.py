"""Release, rollback and status on a real Docker engine, with a model that was really trained.

Tests share one project with two versions; each ends with no container, so they run in any order.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, clean_environment
from services import docker

pytestmark = pytest.mark.docker

MEGABYTE = 1_000_000

# Two images that are up in a moment stand in for the model where only the scripts are tested.
ONE, TWO = "20260101T000000Z-one", "20260101T000000Z-two"
SERVER = """\
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok", "version": "%s"}')
http.server.HTTPServer(("", 8000), Answer).serve_forever()
"""
PROBE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/health').read().decode())"


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

    def images(self) -> list[str]:
        """Return what is tagged churn:…, the newest first."""
        return self.docker("images", "churn", "--format", "{{.Repository}}:{{.Tag}}").split()

    def version(self, name: str) -> str:
        return self.inspect(name, ".Config.Labels")["org.opencontainers.image.version"]

    def call(self, path: str, body: Any = None, port: int = 0, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
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

    def release(self, version: str, *words: str, ok: bool = True, **more: str) -> str:
        """Release a version and return what was said."""
        folder = [] if words or version in (ONE, TWO) else [str(self.fetched(version).relative_to(self.path))]
        done = self.script("release", version, *words, *folder, ok=ok, **more)
        assert ok or done.returncode, f"a release of {version} went through\n{done.stderr}"
        return done.stderr


def executable(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    if "docker" in os.environ.get("LEAN_MLOPS_SKIP", "").split(","):
        pytest.skip("LEAN_MLOPS_SKIP names docker: nothing that needs a Docker engine is tested")
    # Not in pytest's folder, which other users may not enter: one test releases as another user.
    with tempfile.TemporaryDirectory(prefix="lm-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with docker.engine(Path(folder)) as host:
            docker.ensure_base_image(host)
            yield docker.environment(host, Path(folder))


@pytest.fixture(scope="module")
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
    site.env |= {
        "PORT": str(site.port),
        "URL": f"http://127.0.0.1:{site.port}",
        "HEALTH_INTERVAL": "500ms",
        "KEEP": "9",
    }
    site.env |= {"PATH": path, "UV_PROJECT_ENVIRONMENT": str(environment)}
    if site.containers() or site.images():
        pytest.fail(f"{engine['DOCKER_HOST']} has a churn of its own, which these tests would remove")
    (site.path / ".env").write_text("API_KEY=hunter2\n")
    (site.path / "src/.env").write_text("API_KEY=hunter2\n")
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
    shared.calls.write_text("")
    yield shared
    if left := shared.containers():
        shared.docker("rm", "--force", *left)


@pytest.fixture
def light(site: Site, tmp_path: Path) -> Site:
    """The project, with nothing deployed, and the images ONE and TWO."""
    for version in (ONE, TWO):
        title = f"org.opencontainers.image.title=churn org.opencontainers.image.version={version}"
        commands = [json.dumps(["python", "-c", code]) for code in (PROBE, SERVER % version)]
        text = f"FROM {docker.BASE_IMAGE}\nLABEL {title}\nHEALTHCHECK CMD {commands[0]}\nCMD {commands[1]}\n"
        (tmp_path / version).mkdir()
        (tmp_path / version / "Dockerfile").write_text(text)
        site.docker("build", "--tag", f"churn:{version}", str(tmp_path / version))
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


def test_the_container_may_do_as_little_as_possible_and_answers(site: Site) -> None:
    said = site.release(site.new)
    assert f"{site.new} serves on 127.0.0.1:{site.port}; before it was nothing" in said
    assert site.containers() == {"churn": "running"}

    size = site.inspect(f"churn:{site.new}", ".Size")
    print(f"\nimage: {size / MEGABYTE:.0f} MB")
    assert size < 400 * MEGABYTE

    assert site.inspect("churn", ".State.Health.Status") == "healthy"
    host = site.inspect("churn", ".HostConfig")
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == 2**30 and host["PidsLimit"] == 200
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    published = [{"HostIp": "127.0.0.1", "HostPort": str(site.port)}]
    assert host["PortBindings"] == {"8000/tcp": published}
    status = site.docker("exec", "churn", "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    assert re.search(r"^Uid:\t(\d+)", status, re.M)[1] == str(os.geteuid() or 10001)
    refused = site.run("docker", "exec", "--user", "0", "churn", "touch", "/app/model/model.onnx", ok=False)
    assert "Read-only file system" in refused.stderr

    fixture = json.loads((site.fetched(site.new) / "manifest.json").read_text())["fixture"]
    code, answer = site.call("/predict", fixture["row"])
    assert (code, answer["version"]) == (200, site.new)
    assert answer["predictions"][0]["prediction"] == pytest.approx(
        fixture["prediction"]["prediction"], rel=1e-4
    )


def test_the_image_holds_the_server_and_no_more(site: Site) -> None:
    site.release(site.new)
    image = f"churn:{site.new}"
    modules = "pandas", "scipy", "sklearn", "mlflow", "dvc", "pyarrow"
    find = "import importlib.util as u, sys; print([m for m in sys.argv[1:] if u.find_spec(m)])"
    run = ("run", "--rm", "--network", "none", image)
    assert site.docker(*run, "python", "-c", find, *modules) == "[]"
    assert site.docker(*run, "python", "-c", find, "onnxruntime") == "['onnxruntime']"

    ours = "find . -type f -not -path './.venv/*' -not -path '*/__pycache__/*' -not -path './src/lifecycle/*'"
    wanted = {f"./model/{name}" for name in ("manifest.json", "model.onnx", "profile.json", "schema.json")}
    wanted |= {"./src/churn/features.py"}
    assert set(site.docker(*run, "sh", "-c", ours).split()) == wanted

    everything = site.docker("history", "--no-trunc", image) + json.dumps(site.inspect(image, ".Config"))
    assert not re.search(r"hunter2|API_KEY|pip\.conf|secret|token", everything)
    labels = site.inspect(image, ".Config.Labels")
    assert labels == {
        f"org.opencontainers.image.{key}": v for key, v in (("title", "churn"), ("version", site.new))
    }
    assert site.inspect(image, ".Config.User") == "10001:10001"


def test_only_what_is_allowed_enters_the_build(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.fetched(site.new), site.path / "build/model", dirs_exist_ok=True)
    (tmp_path / "Dockerfile").write_text(f"FROM {docker.BASE_IMAGE}\nCOPY . /context\n")
    site.docker("build", "--file", str(tmp_path / "Dockerfile"), "--tag", "context", ".")
    listed = site.docker("run", "--rm", "context", "sh", "-c", "cd /context && find . -type f").split()
    site.docker("rmi", "context")
    allowed = r"\./(build/model|src/lifecycle)/[\w/]+\.(py|json|onnx)"
    others = {name for name in listed if not re.fullmatch(allowed, name)}
    assert others == {"./pyproject.toml", "./uv.lock", "./src/churn/features.py"}


def test_a_new_model_adds_a_layer_of_its_own_size_and_nothing_else(site: Site, tmp_path: Path) -> None:
    for version in (site.old, site.new):
        site.script("release", "--build", version, str(site.fetched(version)))
    old, new = (site.inspect(f"churn:{version}", ".RootFS.Layers") for version in (site.old, site.new))
    assert old[:-2] == new[:-2] and old[-2] != new[-2]
    sizes = site.docker("history", "--human=false", "--format", "{{.Size}}", f"churn:{site.new}").split()
    model = sum(path.stat().st_size for path in site.fetched(site.new).iterdir())
    assert int(sizes[0]) == 0, "the check of the version writes nothing"
    assert int(sizes[1]) == model


def test_roll_back_to_the_version_before_without_build_or_download(site: Site, tmp_path: Path) -> None:
    site.release(site.old)
    with watching(site) as gaps:
        site.release(site.new)
    assert site.live() == site.new
    print(f"\nlongest gap in a release: {max(gaps):.2f} s")
    assert site.containers() == {"churn": "running", "churn-previous": "exited"}

    site.calls.write_text("")
    with watching(site) as gaps:
        start = time.monotonic()
        done = site.script("rollback")
        seconds = time.monotonic() - start
    print(f"rollback: {seconds:.1f} s, longest gap {max(gaps):.2f} s")
    assert done.stdout == f"{site.old}\n"
    assert site.live() == site.old
    assert site.containers() == {"churn": "running", "churn-rolled-back": "exited"}
    used = {line.split()[0] for line in site.calls.read_text().splitlines()}
    assert used <= {"ps", "container", "inspect", "create", "start", "stop", "rm", "rename"}
    creations = [line for line in site.calls.read_text().splitlines() if line.startswith("create")]
    assert all("--name churn-lock" in line for line in creations)

    again = site.script("rollback", ok=False)
    assert again.returncode == 1 and not again.stdout
    assert (
        f"there is no version before {site.old} here" in again.stderr
        and "make deploy VERSION=" in again.stderr
    )
    assert site.live() == site.old


@contextlib.contextmanager
def watching(site: Site) -> Iterator[list[float]]:
    """Ask without pause; collect the seconds between one answer and the next."""
    gaps, over = [0.0], threading.Event()

    def ask() -> None:
        last = time.monotonic()
        while not over.wait(0.01):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                site.call("/health")
                now = time.monotonic()
                gaps.append(now - last)
                last = now

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield gaps
    finally:
        over.set()
        thread.join()


def test_a_damaged_model_never_takes_over(site: Site, tmp_path: Path) -> None:
    site.release(site.old)
    since = site.inspect("churn", ".State.StartedAt")
    folder = site.another("20990101T000000Z-damaged", tmp_path / "model")
    model = folder / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    said = site.release("20990101T000000Z-damaged", str(folder), ok=False)
    assert "is not the file that was published" in said, "the container's last words are shown"
    assert "20990101T000000Z-damaged is not fit to serve" in said and f"live:  {site.old}" in said
    assert site.containers() == {"churn": "running"}
    assert site.inspect("churn", ".State.StartedAt") == since
    assert site.live() == site.old


def test_the_model_must_be_that_of_the_version(site: Site) -> None:
    folder = str(site.fetched(site.old))
    done = site.script("release", "20990101T000000Z-other", folder, ok=False)
    assert f"{folder} does not hold version 20990101T000000Z-other" in done.stderr
    assert "lifecycle fetch 20990101T000000Z-other --to build/model" in done.stderr
    # Another process may change the folder between that check and the build.
    shutil.rmtree(site.path / "build/model", ignore_errors=True)
    shutil.copytree(folder, site.path / "build/model")
    site.script("release", "--build", site.old, "./build/model")
    assert (site.path / "build/model/manifest.json").exists()
    mixed = ("build", "--build-arg", "VERSION=20990101T000000Z-other", "--tag", "churn:mixed", ".")
    assert site.run("docker", *mixed, ok=False).returncode
    # And somebody may have moved a tag.
    site.release(site.old)
    site.docker("tag", f"churn:{site.old}", "churn:20990101T000000Z-other")
    said = site.release("20990101T000000Z-other", folder, ok=False)
    site.docker("rmi", "churn:20990101T000000Z-other")
    assert f"churn:20990101T000000Z-other answers as {site.old}" in said
    assert site.live() == site.old


def test_a_taken_port_leaves_the_old_version_serving(light: Site, taken: int) -> None:
    said = light.release(ONE, ok=False, PORT=str(taken))
    assert f"is 127.0.0.1:{taken} taken?" in said
    assert light.containers() == {}

    light.release(ONE)
    said = light.release(TWO, ok=False, PORT=str(taken))
    assert f"is 127.0.0.1:{taken} taken?" in said and f"live:  {ONE}" in said
    assert light.live() == ONE
    assert light.containers() == {"churn": "running"}


def test_a_rollback_that_fails_puts_back_what_served(light: Site) -> None:
    port = free_port()
    light.release(ONE, PORT=str(port))
    light.release(TWO)
    with socket.create_server(("127.0.0.1", port)):
        done = light.script("rollback", ok=False)
    assert done.returncode == 1 and not done.stdout
    assert f"{ONE} cannot start" in done.stderr and f"live:  {TWO}" in done.stderr
    assert light.live() == TWO
    assert light.containers() == {"churn": "running", "churn-previous": "exited"}
    light.script("rollback")
    assert light.live(port) == ONE


def test_the_same_version_is_left_alone_unless_asked(deployed: Site) -> None:
    since = deployed.inspect("churn", ".State.StartedAt")
    assert "serves already: nothing to do" in deployed.release(TWO)
    assert deployed.inspect("churn", ".State.StartedAt") == since
    deployed.release(TWO, AGAIN="1", API_KEY="hunter2")
    assert "API_KEY=hunter2" in deployed.inspect("churn", ".Config.Env")
    assert deployed.version("churn-previous") == ONE, "the way back stays the version before"


def test_the_api_key_is_passed_on_and_never_on_a_command_line(site: Site) -> None:
    site.release(site.new, API_KEY="hunter2")
    row = json.loads((site.fetched(site.new) / "manifest.json").read_text())["fixture"]["row"]
    assert site.call("/predict", row)[0] == 401
    assert site.call("/predict", row, **{"X-API-Key": "hunter2"})[0] == 200
    assert "--env API_KEY" in site.calls.read_text() and "hunter2" not in site.calls.read_text()


def test_status_says_what_is_there_and_fails_when_it_is_not_what_should_be(light: Site) -> None:
    nothing = light.script("status", ok=False)
    assert nothing.returncode == 3 and "nothing serves" in nothing.stderr
    light.release(ONE)
    light.release(TWO)
    fine = light.script("status", TWO).stdout
    assert re.search(rf"^churn +{TWO} +Up .*\(healthy\) +127.0.0.1:{light.port}->8000/tcp", fine, re.M)
    assert re.search(rf"^churn-previous +{ONE} +Exited", fine, re.M)
    assert fine.endswith(f"live: {TWO} (running healthy)\n")
    wrong = light.script("status", ONE, ok=False)
    assert wrong.returncode == 1 and f"{ONE} should be live, not {TWO}" in wrong.stderr
    light.docker("stop", "churn")
    assert light.script("status", TWO, ok=False).returncode == 3


def test_served_counts_reach_the_host_and_drift_finds_them(site: Site) -> None:
    shutil.rmtree(site.path / "artifacts/windows", ignore_errors=True)
    site.release(site.new)
    site.run("make", "predict", "FILE=data/recent.parquet")
    site.docker("stop", "churn")  # gracefully, so that the last window is written
    windows = list((site.path / "artifacts/windows" / site.new).glob("*.json"))
    assert windows, "SIGTERM did not reach the server"
    done = site.lifecycle("drift", "--json", ok=False)
    assert json.loads(done.stdout)["rows"] == 2000


def test_a_release_by_somebody_else_than_root_writes_files_of_his(site: Site) -> None:
    user = os.geteuid() or 12345
    site.script("release", "--build", site.new, str(site.fetched(site.new)))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(site.path / "deploy", Path(folder, "deploy"))
        if os.geteuid() == 0:
            for path in (Path(folder), *Path(folder).rglob("*")):
                os.chown(path, user, user)
            Path(site.env["DOCKER_HOST"].removeprefix("unix://")).chmod(0o666)
        client = str(Path(folder, "bin"))
        os.mkdir(client)
        real = shutil.which("docker", path=site.env["PATH"].split(os.pathsep, 1)[1])
        os.symlink(Path(real or "").resolve(), f"{client}/docker")
        done = subprocess.run(
            ["deploy/docker/release.sh", site.new],
            cwd=folder,
            env=site.environment(PATH=f"{client}:/usr/local/bin:/usr/bin:/bin", HOME=folder),
            user=user if os.geteuid() == 0 else None,
            group=user if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert site.live() == site.new
        assert Path(folder, "artifacts/windows", site.new).stat().st_uid == user
        site.docker("rm", "--force", "churn")


def test_of_two_releases_at_once_one_wins(site: Site) -> None:
    for version in (site.old, site.new):
        site.script("release", "--build", version, str(site.fetched(version)))
    env = site.environment()
    command = ["deploy/docker/release.sh"]
    started = [
        subprocess.Popen([*command, version], cwd=site.path, env=env, text=True, stdout=-1, stderr=-1)
        for version in (site.old, site.new)
    ]
    said = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, 1], said
    assert re.search(r"@\S+ since .* is at it \(process \d+\)\n.*docker rm churn-lock", said[codes.index(1)])
    assert site.live() == (site.old, site.new)[codes.index(0)]
    assert site.containers() == {"churn": "running"}


def test_the_last_three_images_stay_and_any_that_a_container_uses(site: Site, tmp_path: Path) -> None:
    site.release(site.new)
    versions = [f"20990101T00000{i}Z-later" for i in range(4)]
    for version in versions:
        site.script("release", "--build", version, str(site.another(version, tmp_path / version)))
    site.release(versions[-1], str(tmp_path / versions[-1]), KEEP="3")
    left = {f"churn:{version}" for version in (*versions[1:], site.new)}
    assert set(site.images()) == left, "churn-previous is of the new version"
    site.docker("rm", "--force", *site.containers())
    site.docker("rmi", *(f"churn:{version}" for version in versions[1:]))


KILLER = """\
case "$1" in
  create | start | stop | rename | rm) ;;
  *) exec DOCKER "$@" ;;
esac
echo >>"$NOTES"
[ "$(wc -l <"$NOTES")" -ne "$KILL_AT" ] || kill -9 "$(cat "$NOTES.pid")"
code=0
DOCKER "$@" || code=$?
echo >>"$NOTES.ended"
exit $code
"""


@dataclass
class Killed:
    """Runs a script and kills it without mercy at its Nth call of Docker that changes anything."""

    site: Site
    folder: Path

    def __post_init__(self) -> None:
        real = shutil.which("docker", path=self.site.environment()["PATH"])
        executable(self.folder / "docker", KILLER.replace("DOCKER", str(real)))

    def run(self, at: int, script: str, *words: str) -> bool:
        """Return whether the script was killed; False: it ended before it came to that call."""
        notes, ended = self.folder / f"{script}-{at}", self.folder / f"{script}-{at}.ended"
        path = f"{self.folder}:{self.site.environment()['PATH']}"
        env = self.site.environment(NOTES=str(notes), KILL_AT=str(at), PATH=path)
        start = f'echo $$ >{notes}.pid; exec deploy/docker/{script}.sh "$@"'
        done = subprocess.run(
            ["sh", "-c", start, "sh", *words], cwd=self.site.path, env=env, capture_output=True, text=True
        )
        assert done.returncode in (0, -9), done.stderr
        deadline = time.monotonic() + 60  # the call at which it was killed goes on without it
        while done.returncode and lines(ended) < at and time.monotonic() < deadline:
            time.sleep(0.05)
        return done.returncode == -9


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def steps(killed: Killed, script: str, prepare: Callable[[], list[str]]) -> Iterator[int]:
    """Kill the script at its 1st, 2nd, … change until it gets through; yield after each kill."""
    for at in itertools.count(1):
        if not killed.run(at, script, *prepare()):
            assert at > 5, f"{script} was hardly ever killed"
            print(f"\n{script} was killed at each of {at - 1} steps")
            return
        yield at


def test_a_release_killed_anywhere_is_put_right_by_the_next(deployed: Site, tmp_path: Path) -> None:
    turn = itertools.cycle([ONE, TWO])
    wanted = ""

    def prepare() -> list[str]:
        nonlocal wanted
        wanted = next(turn)
        return [wanted]

    for at in steps(Killed(deployed, tmp_path), "release", prepare):
        state = deployed.script("status", ok=False)
        assert state.returncode in (0, 1, 3), state.stderr
        listed = set(re.findall(r"^churn\S*", state.stdout, re.M))
        assert listed >= set(deployed.containers()) - {"churn-lock"}, at
        deployed.release(wanted)
        assert deployed.live() == wanted, at
        assert deployed.script("status", wanted).stdout.endswith("(running healthy)\n")
        assert deployed.containers() == {"churn": "running", "churn-previous": "exited"}, at
        assert deployed.version("churn-previous") == ({ONE, TWO} - {wanted}).pop()


def test_a_rollback_killed_anywhere_is_finished_by_the_next(deployed: Site, tmp_path: Path) -> None:
    def prepare() -> list[str]:
        if "churn-rolled-back" in deployed.containers():  # undo the last rollback
            deployed.docker("kill", "churn")
            deployed.docker("rename", "churn", "churn-previous")
            deployed.docker("rename", "churn-rolled-back", "churn")
            deployed.docker("start", "churn")
            while deployed.inspect("churn", ".State.Health.Status") != "healthy":
                time.sleep(0.1)
        assert deployed.containers() == {"churn": "running", "churn-previous": "exited"}
        return []

    for at in steps(Killed(deployed, tmp_path), "rollback", prepare):
        done = deployed.script("rollback", ok=False)
        assert done.returncode == 0 or "there is no version before" in done.stderr, at
        assert deployed.live() == ONE, at
        assert deployed.containers() == {"churn": "running", "churn-rolled-back": "exited"}, at


def test_a_rollback_undoes_a_release_that_was_killed_halfway(deployed: Site) -> None:
    """As it is when the script dies after the new container was started and before it took the name."""
    deployed.docker("stop", "churn")
    publish = f"127.0.0.1:{deployed.port}:8000"
    deployed.docker("run", "--detach", "--name", "churn-next", "--publish", publish, f"churn:{ONE}")
    state = deployed.script("status", ok=False).stdout
    assert "a release or rollback was stopped halfway" in state
    assert deployed.script("rollback").stdout == f"{TWO}\n"
    assert deployed.live() == TWO
    assert deployed.containers() == {"churn": "running", "churn-previous": "exited"}


def test_a_release_that_is_interrupted_leaves_the_old_version_serving(deployed: Site) -> None:
    process = subprocess.Popen(
        ["deploy/docker/release.sh", ONE],
        cwd=deployed.path,
        env=deployed.environment(HEALTH_INTERVAL="30s"),
        stderr=subprocess.PIPE,
        text=True,
    )
    while "churn-candidate" not in deployed.containers():
        time.sleep(0.1)
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 143 and f"live:  {TWO}" in said
    assert deployed.containers() == {"churn": "running", "churn-previous": "exited"}


def test_the_verbs_and_every_command_of_the_runbook(site: Site) -> None:
    site.release(site.old)
    stale = site.run("make", "status", ok=False)
    assert stale.returncode and f"{site.new} should be live, not {site.old}" in stale.stderr
    site.run("make", "deploy")
    assert site.live() == site.new

    page = (site.path / "docs/runbooks/rollback.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 4
    said = [site.run("sh", "-euc", block).stdout for block in blocks]
    assert site.live() == site.old
    assert f"live: {site.new} (running healthy)" in said[0]
    assert f"production is {site.old}" in said[1]
    assert f"live: {site.old} (running healthy)" in said[2] and f'"version": "{site.old}"' in said[2]
    assert re.search(rf"rollback +production +{site.old} .* wrong answers since the last release", said[3])

    site.docker("rmi", "--force", f"churn:{site.new}")
    site.run("make", "image", "promote", "WHY=it was something else")
    assert site.docker("images", "--quiet", f"churn:{site.new}")


def test_the_registry_follows_what_serves_after_a_rollback(site: Site, tmp_path: Path) -> None:
    """What served before need not be what had the alias before: it may have been released by name."""
    third = "20990101T000000Z-third"
    folder = site.another(third, tmp_path / "model")
    load = "import pathlib, sys; from lifecycle.registry.contract import open_registry"
    publish = f"{load}; print(open_registry().publish(pathlib.Path(sys.argv[1])))"
    assert site.python("-c", publish, str(folder)).stdout == f"{third}\n"
    site.release(third, str(folder))
    site.release(site.new)
    assert f"production is {third}" in site.run("make", "rollback", "WHY=the third was better").stdout
    assert site.live() == third

    site.release(site.new)
    assert "production is" not in site.run("make", "rollback").stdout, "the alias was right already"
    assert site.live() == third
    site.run("make", "promote")


def test_without_a_container_only_the_registry_is_rolled_back(site: Site) -> None:
    alone = site.script("rollback", ok=False)
    assert alone.returncode == 3 and "no container of churn is here" in alone.stderr
    done = site.run("make", "rollback", "WHY=no container")
    assert "only the registry is rolled back" in done.stdout
    assert f", before it was {site.new}" in done.stdout
    site.run("make", "promote")


@pytest.mark.parametrize("script", ["release", "rollback", "status"])
def test_without_docker_the_scripts_say_what_to_do(site: Site, script: str, tmp_path: Path) -> None:
    words = [site.new] if script == "release" else []
    silent = site.script(script, *words, ok=False, DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert silent.returncode == 1
    assert "Docker does not answer" in silent.stderr and "make serve" in silent.stderr
    for tool in ("sh", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    absent = site.script(script, *words, ok=False, PATH=str(tmp_path))
    assert absent.returncode == 3
    assert "Docker is not installed" in absent.stderr and "make serve" in absent.stderr
