"""A real S3 server for tests: one Ceph monitor, one in-memory store and the gateway, all on loopback.

The processes are children of the test and end with the block, or with the test if that is killed.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = (
    "ceph-mon",
    "ceph-osd",
    "radosgw",
    "ceph",
    "ceph-authtool",
    "monmaptool",
    "radosgw-admin",
)
INSTALL = "Install what is missing: sh scripts/debian.sh s3\nOr leave these tests out: LEAN_MLOPS_SKIP=s3"
PATIENCE = 60  # seconds for the whole of the start, of which a quiet machine needs twelve

CONF = """[global]
fsid = {fsid}
mon_host = 127.0.0.1:{mon_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_data = {folder}/osd
mon_data = {folder}/mon
keyring = {folder}/keyring
[client.rgw]
ms_mon_client_mode = crc
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_data = {folder}/rgw
"""


class CephMissing(RuntimeError):
    """Ceph's programs are not on this machine, or do not start; the message says what to do."""


@dataclass(frozen=True)
class Gateway:
    """An S3 server, and how to make users in it."""

    url: str
    folder: Path

    def user(self, name: str) -> dict[str, str]:
        """Make a user, and return the variables with which any S3 client signs as that user."""
        secret = uuid.uuid4().hex
        admin = ["radosgw-admin", "-c", str(self.folder / "ceph.conf")]
        keys = ["--access-key", name, "--secret-key", secret]
        _check([*admin, "user", "create", "--uid", name, "--display-name", name, *keys], self.folder)
        return self.variables(name, secret)

    def variables(self, key: str, secret: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Yield an S3 server that keeps everything in memory and its few files in `folder`."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=_path())]
    if missing:
        raise CephMissing(f"{', '.join(missing)}: not on this machine.\n{INSTALL}")
    folder = folder.resolve()
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True)
    fsid, osd, mon_port, port = str(uuid.uuid4()), str(uuid.uuid4()), _free_port(), _free_port()
    conf = folder / "ceph.conf"
    conf.write_text(CONF.format(fsid=fsid, folder=folder, mon_port=mon_port, port=port))
    keyring, monmap = str(folder / "keyring"), str(folder / "monmap")
    everything = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
    with contextlib.ExitStack() as stack:
        _check(["ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon."], folder)
        for name in ("client.admin", "client.rgw"):
            _check(["ceph-authtool", keyring, "--gen-key", "-n", name, *everything], folder)
        address = f"127.0.0.1:{mon_port}"
        _check(["monmaptool", "--create", "--add", "a", address, "--fsid", fsid, monmap], folder)
        mon = ["ceph-mon", "-c", str(conf), "-i", "a"]
        _check([*mon, "--mkfs", "--monmap", monmap, "--keyring", keyring], folder)
        stack.enter_context(_daemon(mon, folder))
        _check(["ceph", "-c", str(conf), "osd", "new", osd], folder)
        store = ["ceph-osd", "-c", str(conf), "-i", "0"]
        _check([*store, "--mkfs", "--osd-uuid", osd], folder)
        stack.enter_context(_daemon(store, folder))
        server = stack.enter_context(_daemon(["radosgw", "-c", str(conf), "-n", "client.rgw"], folder))
        _wait(f"http://127.0.0.1:{port}/", server, folder)
        yield Gateway(f"http://127.0.0.1:{port}", folder)


@contextlib.contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(
            [*command, "-f"],
            stdout=output,
            stderr=output,
            env=_environment(),
            preexec_fn=_die_with_parent,
        )
        try:
            yield process
        finally:
            process.kill()  # nothing in it is worth an orderly end
            process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def _wait(url: str, server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    logs = {log.name: log.read_text(errors="replace")[-600:] for log in folder.glob("*.out")}
    raise CephMissing(f"Ceph's gateway did not start at {url}: {json.dumps(logs, indent=1)}")


def _check(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode:
        raise CephMissing(f"{' '.join(command)} → {done.returncode}\n{done.stdout}{done.stderr}")


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # Debian keeps sbin from users


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": _path()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
