"""Rehearse releases, rollbacks and faults under constant load, beside what serves; count what is lost.

Everything happens in containers of its own, NAME-drill-…, which are gone afterwards: the newest version, and
the same model under another name. The results go to docs/evidence/drill.json and drill.md. Exit code 1 when
a release, a rollback or a bad image lost a request.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle.load import Act, Load, table
from lifecycle.project import NAME, write_text
from lifecycle.registry.contract import open_registry

DRILL = f"{NAME}-drill"
TWIN, BAD = "drill-twin", "drill-bad"
STATE = Path("artifacts/docker", DRILL)
EVIDENCE = Path("docs/evidence")
RELEASE, ROLLBACK = "deploy/docker/release.sh", "deploy/docker/rollback.sh"


async def shell(*words: str, ok: bool = True) -> None:
    """Run a command without blocking the load; RuntimeError when it ends otherwise than expected."""
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=subprocess.STDOUT)
    said = (await process.communicate())[0].decode()
    if ok != (process.returncode == 0):
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{said[-3000:]}")


async def rehearse(load: Load, rounds: int) -> list[Act]:
    acts = []
    for _ in range(rounds):
        acts.append(await load.during("release", lambda: shell(RELEASE, TWIN)))
        acts.append(await load.during("rollback", lambda: shell(ROLLBACK)))
    acts.append(await load.during("bad image", lambda: shell(RELEASE, BAD, ok=False)))
    acts.append(await load.during("container killed", crash))
    acts.append(await load.during("proxy restarted", lambda: shell("docker", "restart", f"{DRILL}-proxy")))
    return acts


async def crash() -> None:
    """Kill the server as a fault would: Docker starts it again, which it does not after `docker kill`."""
    os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", serving())), signal.SIGKILL)


def serving() -> str:
    record = re.search("^# colour: (.*)$", (STATE / "routes.yml").read_text(encoding="utf-8"), re.M)
    return f"{DRILL}-{record[1]}" if record else ""


def docker(*words: str, **more: Any) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True, **more)
    return done.stdout.strip()


def prepare() -> tuple[str, dict[str, Any]]:
    """Build the images; return the newest version and a row that came with its model."""
    registry = open_registry()
    version = next((version.version for version in registry.versions()), "")
    if not version:
        sys.exit("no versions yet: make retrain")
    folder, twin = registry.fetch(version, Path("build/model")), Path("build/twin")
    manifest = (folder / "manifest.json").read_text(encoding="utf-8")
    shutil.copytree(folder, twin, dirs_exist_ok=True)
    write_text(twin / "manifest.json", manifest.replace(version, TWIN))
    for name, place in ((version, folder), (TWIN, twin)):
        subprocess.run(["deploy/image.sh", "build", name, str(place)], check=True, capture_output=True)
    broken = f"FROM {NAME}:{TWIN}\nLABEL org.opencontainers.image.version={BAD}\nENV MODEL_DIR=/nowhere\n"
    docker("build", "--tag", f"{NAME}:{BAD}", "-", input=broken)
    return version, json.loads(manifest)["fixture"]["row"]


def clean() -> None:
    names = docker("ps", "--all", "--quiet", "--filter", f"name=^/?{DRILL}-").split()
    if names:
        docker("rm", "--force", *names)
    if docker("network", "ls", "--quiet", "--filter", f"name=^{DRILL}_default$"):
        docker("network", "rm", f"{DRILL}_default")
    for name in (TWIN, BAD):
        if docker("images", "--quiet", f"{NAME}:{name}"):
            docker("rmi", f"{NAME}:{name}")
    shutil.rmtree(STATE, ignore_errors=True)


async def drill(rounds: int, rate: float) -> list[Act]:
    version, row = prepare()
    await shell(RELEASE, version)
    load = Load(f"http://127.0.0.1:{os.environ['PORT']}", row, rate)
    running = asyncio.create_task(load.run())
    try:
        return await rehearse(load, rounds)
    finally:
        running.cancel()


def write(acts: list[Act], rate: float) -> None:
    engine = docker("version", "--format", "{{.Server.Version}}")
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Docker {engine}"
    told = f"{rate:.0f} requests a second, on {where}, {datetime.now(UTC):%F}."
    facts = {"measured": told, "rate": rate, "acts": [vars(act) for act in acts]}
    write_text(EVIDENCE / "drill.json", json.dumps(facts, indent=1) + "\n")
    write_text(EVIDENCE / "drill.md", f"# Drill\n\n`make drill`: {told}\n\n{table(acts)}\n")
    print(f"\n{table(acts)}\n\n{told} Written to {EVIDENCE}/drill.json and drill.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=20, help="and as many rollbacks (default: 20)")
    parser.add_argument("--rate", type=float, default=100, help="requests a second (default: 100)")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {"NAME": DRILL, "PORT": port, "BIND": "127.0.0.1", "DOMAIN": "", "WHY": "drill"}
    try:
        clean()
        acts = asyncio.run(drill(options.releases, options.rate))
    finally:
        clean()
    write(acts, options.rate)
    lost = sum(act.lost for act in acts if act.name in ("release", "rollback", "bad image"))
    sys.exit(f"{lost} requests were lost" if lost else 0)


if __name__ == "__main__":
    main()
