"""Rehearse releases, rollbacks and faults under constant load, beside what serves, and count what is lost.

Everything happens in containers of its own, NAME-drill-…, which are removed afterwards: of the newest version
and of the same model under another name. The results go to docs/evidence/drill.json and drill.md.
"""

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import LifecycleError
from ..files import write_text
from ..model.package import MANIFEST
from ..project import Project
from ..registry.base import open_registry
from .load import Act, Load, table

TWIN, BAD = "drill-twin", "drill-bad"  # versions: the same model again, and an image that cannot serve
RELEASE, ROLLBACK = "deploy/docker/release.sh", "deploy/docker/rollback.sh"
HARMLESS = ("release", "rollback", "bad image")  # must not lose a request; a fault may


def drill(project: Project, releases: int, rate: float) -> Iterator[str]:
    """Rehearse so many releases and as many rollbacks under `rate` requests a second; yield lines to print.

    Raises LifecycleError if a release, a rollback or a bad image lost a request.
    """
    if project.deploy != "docker":
        raise LifecycleError(f"there is no drill for {project.deploy}", "the answer deploy=docker has one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        stage = Stage(project, f"{project.name}-drill", free.getsockname()[1])
    acts: list[Act] = []
    with stage.images() as (version, row):
        stage.run(RELEASE, version)
        load = Load(f"http://127.0.0.1:{stage.port}", row, rate)
        steps = [("release", partial(stage.run, RELEASE, TWIN)), ("rollback", partial(stage.run, ROLLBACK))]
        steps = steps * releases + [("bad image", partial(stage.run, RELEASE, BAD, ok=False))]
        restart = partial(stage.run, "docker", "restart", f"{stage.name}-proxy")
        steps += [("container killed", partial(stage.kill)), ("proxy restarted", restart)]
        with load.running():
            for name, step in steps:
                acts.append(act := load.during(name, step))
                yield f"  {name:16} {act.seconds:5.1f} s  {act.requests:5} requests  {act.lost} lost"
                yield from (f"    {count} times: {failure}" for failure, count in act.failures.items())
        engine = stage.run("docker", "version", "--format", "{{.Server.Version}}")
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Docker {engine}"
    measured = f"{rate:.0f} requests a second, on {where}, {datetime.now(UTC):%F}."
    facts = {"measured": measured, "rate": rate, "acts": [vars(act) for act in acts]}
    evidence = project.root / "docs/evidence"
    write_text(evidence / "drill.json", json.dumps(facts, indent=1) + "\n")
    write_text(evidence / "drill.md", f"# Drill\n\n`make drill`: {measured}\n\n{table(acts)}\n")
    yield f"\n{table(acts)}\n\n{measured} Written to {evidence}/drill.json and drill.md"
    if lost := sum(act.lost for act in acts if act.name in HARMLESS):
        raise LifecycleError(f"{lost} requests were lost", "docs/evidence/drill.md says in which step")


@dataclass
class Stage:
    """The containers of a drill, which have a name of their own beside the project's."""

    project: Project
    name: str
    port: int

    def run(self, *words: str, ok: bool = True, text: str | None = None) -> str:
        """Run a command in the project and return its output. Raises LifecycleError if it ends otherwise."""
        own = {"NAME": self.name, "PORT": str(self.port), "BIND": "127.0.0.1", "DOMAIN": "", "WHY": "drill"}
        place, env = self.project.root, os.environ | own
        done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=env, input=text)
        if ok != (done.returncode == 0):
            output = (done.stdout + done.stderr)[-3000:]
            raise LifecycleError(f"{' '.join(words)} ended with {done.returncode}:\n{output}")
        return done.stdout.strip()

    def kill(self) -> None:
        """Kill the server as a fault would: Docker starts it again, which it does not after `docker kill`."""
        routes = self.project.artifacts / "docker" / self.name / "routes.yml"
        colour = re.findall("^# colour: (.*)$", routes.read_text(encoding="utf-8"), re.M)[0]
        pid = self.run("docker", "inspect", "--format", "{{.State.Pid}}", f"{self.name}-{colour}")
        os.kill(int(pid), signal.SIGKILL)

    @contextmanager
    def images(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Build the images, give the newest version and the row that came with it; in the end remove all."""
        self.clean()
        registry, build = open_registry(self.project), self.project.root / "build"
        version = next((version.version for version in registry.versions()), "")
        if not version:
            raise LifecycleError("there is no version yet", "make retrain")
        manifest = (registry.fetch(version, build / "model") / MANIFEST).read_text(encoding="utf-8")
        shutil.copytree(build / "model", build / "twin", dirs_exist_ok=True)
        write_text(build / "twin" / MANIFEST, manifest.replace(version, TWIN))
        try:
            for name, place in ((version, "build/model"), (TWIN, "build/twin")):
                self.run("deploy/image.sh", "build", name, place)
            broken = f"FROM {self.project.name}:{TWIN}\nLABEL org.opencontainers.image.version={BAD}\n"
            image = f"{self.project.name}:{BAD}"
            self.run("docker", "build", "--tag", image, "-", text=broken + "ENV MODEL_DIR=/nowhere\n")
            yield version, json.loads(manifest)["fixture"]["row"]
        finally:
            self.clean()

    def clean(self) -> None:
        """Remove the drill's containers, network, images and record."""
        if names := self.run("docker", "ps", "--all", "--quiet", "--filter", f"name=^/?{self.name}-").split():
            self.run("docker", "rm", "--force", *names)
        if self.run("docker", "network", "ls", "--quiet", "--filter", f"name=^{self.name}_default$"):
            self.run("docker", "network", "rm", f"{self.name}_default")
        for name in (f"{self.project.name}:{TWIN}", f"{self.project.name}:{BAD}"):
            if self.run("docker", "images", "--quiet", name):
                self.run("docker", "rmi", name)
        shutil.rmtree(self.project.artifacts / "docker" / self.name, ignore_errors=True)
