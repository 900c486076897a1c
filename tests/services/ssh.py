"""A real ssh server on loopback, for the account that runs the tests."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """key and known_hosts: as text, as CI keeps them."""

    url: str
    key: str
    known_hosts: str


@contextlib.contextmanager
def host(folder: Path, env: dict[str, str]) -> Iterator[Host]:
    """Yield a host on which commands run with these variables; RuntimeError when it does not start."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not server:
        raise RuntimeError("sshd is not here; install it with: sudo sh scripts/debian.sh docker")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = [f"ListenAddress 127.0.0.1:{port}", f"HostKey {folder}/host", f"PidFile {folder}/pid"]
    lines += [f"AuthorizedKeysFile {folder}/user.pub", "StrictModes no", "PasswordAuthentication no"]
    lines += ["SetEnv " + " ".join(f'"{name}={text}"' for name, text in env.items())]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    with (folder / "sshd.log").open("w") as log:
        command = ["setpriv", "--pdeathsig", "TERM", server, "-D", "-e", "-f", str(folder / "sshd_config")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"sshd did not start:\n{(folder / 'sshd.log').read_text()}")
            time.sleep(0.05)
        known = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        yield Host(url, (folder / "user").read_text(), known)
    finally:
        process.terminate()
        process.wait(20)
