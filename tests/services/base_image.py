"""A stand-in, made of Debian packages, for an official Python image that cannot be pulled."""

import fcntl
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the Debian release that carries this Python
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# usr-is-merged keeps out usrmerge, which would bring 47 MB of Perl. Like the official image this
# one has no manual pages, lets pip install, and has python3, python and pip in /usr/local/bin.
COMMAND = [
    *("mmdebstrap", "--variant=minbase", "--include=usr-is-merged,python3,python3-venv"),
    *("--format=tar", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"),
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    f"""--customize-hook=set -eu
install -D -m 644 "$HOST_CERTIFICATES" "$1{CERTIFICATES}"
printf '[global]\\ncert = {CERTIFICATES}\\n' >"$1/etc/pip.conf"
rm "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
ln -s /usr/bin/python3 "$1/usr/local/bin/python3"
ln -s python3 "$1/usr/local/bin/python"
chroot "$1" env -i PATH=/usr/bin:/bin sh -euc 'wheels=/usr/share/python-wheels
PYTHONPATH=$(echo $wheels/pip-*.whl) python3 -m pip install --no-compile --no-index -f $wheels pip'""",
]


def tarball(tag: str) -> Path:
    """Return the file system for `tag`, made once for each recipe and set of certificates.

    It trusts what this machine trusts: the bundle that SSL_CERT_FILE names, or Debian's. Raises
    ValueError for a tag that has no stand-in, RuntimeError when mmdebstrap fails.
    """
    python = tag.removeprefix("python:").removesuffix("-slim")
    if python not in SUITES:
        known = ", ".join(f"python:{version}-slim" for version in SUITES)
        raise ValueError(f"no stand-in for {tag}; there is one for: {known}")
    certificates = Path(os.environ.get("SSL_CERT_FILE", CERTIFICATES))
    if not certificates.is_file():
        raise RuntimeError(f"no certificates in {certificates}; run: apt-get install ca-certificates")
    recipe = repr((COMMAND, SUITES[python])).encode() + certificates.read_bytes()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lean-mlops/docker")
    tar = folder / f"python-{python}-{hashlib.sha256(recipe).hexdigest()[:12]}.tar"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process that needs it waits for it
        if tar.exists():
            return tar
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch, "base.tar")
            command = [*COMMAND, SUITES[python], str(new)]
            path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
            env = os.environ | {"HOST_CERTIFICATES": str(certificates), "PATH": path}
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"making the base image {tag} failed:\n{done.stderr[-1500:]}")
            for outdated in folder.glob(f"python-{python}-*.tar"):
                outdated.unlink()
            new.replace(tar)
    return tar
