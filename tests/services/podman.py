"""Podman as the nearest thing to a kubelet: runs a pod spec, hardened as it says, in a store of its own."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from services import base_image, docker

BASE_IMAGE = f"docker.io/library/{docker.BASE_IMAGE}"
INSTALL = "Install it: sh scripts/debian.sh podman\nOr leave these tests out: LEAN_MLOPS_SKIP=podman"


@dataclass
class Podman:
    """A store of images and pods under a folder."""

    folder: Path

    def run(self, *words: str, ok: bool = True) -> str:
        command = [
            "podman",
            "--root",
            str(self.folder / "root"),
            "--runroot",
            str(self.folder / "run"),
            *words,
        ]
        env = os.environ | {"CONTAINERS_CONF": str(self.folder / "containers.conf"), "PATH": docker.SBIN}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert not ok or done.returncode == 0, f"{command} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def build(self, project: Path, tag: str, *words: str) -> None:
        """Build an image of the project on the stand-in for the official Python image."""
        base = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--pull=never", "--format", "docker"]
        self.run("build", "--network", "host", *base, *words, "--tag", tag, str(project))

    def play(self, name: str, pod: dict[str, Any], **env: str) -> None:
        """Start a pod spec as it is, but without what takes a kubelet (probes, Secrets) or a host port."""
        pod = json.loads(json.dumps(pod))
        for container in pod["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe", "envFrom", "ports"):
                container.pop(probe, None)
            given = [{"name": key, "value": value} for key, value in env.items()]
            container["env"] = [e for e in container.get("env", []) if "value" in e] + given
        text = yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod})
        (self.folder / f"{name}.yaml").write_text(text)
        self.run("play", "kube", "--log-driver", "k8s-file", str(self.folder / f"{name}.yaml"))

    def address(self, pod: str) -> str:
        infra = json.loads(self.run("pod", "inspect", pod))["InfraContainerID"]
        networks = json.loads(self.run("inspect", infra))[0]["NetworkSettings"]["Networks"]
        return next(network["IPAddress"] for network in networks.values())


def passes(probe: dict[str, Any], container: dict[str, Any], address: str) -> bool:
    """Ask as a kubelet does: within timeoutSeconds, up to failureThreshold times, periodSeconds apart."""
    http = probe["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    url = f"http://{address}:{ports.get(http['port'], http['port'])}{http['path']}"
    for _ in range(probe["failureThreshold"]):
        with (
            contextlib.suppress(OSError, urllib.error.HTTPError),
            urllib.request.urlopen(url, timeout=probe["timeoutSeconds"]),
        ):
            return True
        time.sleep(probe["periodSeconds"])
    return False


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Podman]:
    """Yield a podman with the base image in it; all of it goes with the block."""
    missing = [
        tool for tool in ("podman", "catatonit", "mmdebstrap") if not shutil.which(tool, path=docker.SBIN)
    ]
    if missing or os.geteuid() != 0:
        raise RuntimeError(f"{', '.join(missing) or 'root'} is missing.\n{INSTALL}")
    (folder / "networks").mkdir()
    limits = (
        'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]'  # the defaults may be over the machine's
    )
    network = f'[network]\nnetwork_config_dir = "{folder}/networks"'
    (folder / "containers.conf").write_text(
        f'[containers]\n{limits}\n[engine]\ncgroup_manager = "cgroupfs"\n{network}\n'
    )
    podman = Podman(folder)
    env = {"LANG": "C.UTF-8", "SSL_CERT_FILE": base_image.CERTIFICATES}
    env |= {name: value for name, value in os.environ.items() if name.upper() in docker.PASSED_ON}
    changes = [f"--change=ENV {name}={value}" for name, value in env.items()]
    podman.run("import", *changes, str(base_image.tarball(docker.BASE_IMAGE)), BASE_IMAGE)
    try:
        yield podman
    finally:
        podman.run("pod", "rm", "--all", "--force")
        podman.run("network", "rm", "podman-default-kube-network", ok=False)
        subprocess.run(["umount", folder / "root/overlay"], capture_output=True)
