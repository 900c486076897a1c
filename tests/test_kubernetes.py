"""The scripts of the Kubernetes target, every way they can go: the real kubectl, a stand-in of the API."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Project, clean_environment, git, render
from services import kube_api
from services.kube_cluster import VERSION, Cluster, is_ready
from tools import KUBECTL

pytestmark = pytest.mark.slow

ONE, TWO, THREE = (f"20260101T00000{n}Z-abcd{n}" for n in (1, 2, 3))
PRODUCTION, STAGING = "churn-production", "churn-staging"
OVERLAYS = ("overlays/staging", "overlays/production", "overlays/canary", "jobs")


def image(version: str, name: str = "churn") -> str:
    return f"registry.example.com/team/{name}@sha256:{version[-5:].encode().hex() * 7}"[:110]


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(
        template, tmp_path_factory.mktemp("kubernetes") / "churn", registry="s3", deploy="kubernetes"
    )


@dataclass
class Site:
    """A rendered project, and the cluster that its kubeconfig leads to."""

    path: Path
    cluster: Cluster
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, ok: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script with nobody to ask; with ok, a non-zero exit fails the test and shows the output."""
        command = [f"deploy/kubernetes/{words[0]}.sh", *words[1:]]
        env, stdin = clean_environment(**self.env | more), subprocess.DEVNULL
        done = subprocess.run(command, cwd=self.path, env=env, stdin=stdin, capture_output=True, text=True)
        assert not ok or done.returncode == 0, f"{words} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert ok or done.returncode, f"{words} went through\n{done.stderr}"
        return done

    def have(self, *versions: str) -> None:
        """Let these versions have been released to production, one after the other, without the scripts."""
        for version in versions:
            overlay = self.path / "deploy/kubernetes/overlays/production/kustomization.yaml"
            repository, digest = image(version).split("@")
            text = re.sub(r"newName: .*", f"newName: {repository}", overlay.read_text())
            text = re.sub(r"digest: .*", f"digest: {digest}", text)
            overlay.write_text(re.sub(f"{VERSION}: .*", f"{VERSION}: {version}", text))
            done = subprocess.run([KUBECTL, "kustomize", overlay.parent], capture_output=True, check=True)
            for item in yaml.safe_load_all(done.stdout):
                plural = next(
                    p for kinds in kube_api.KINDS.values() for p, k in kinds.items() if k == item["kind"]
                )
                old = self.deployment() if plural == "deployments" else None
                item["metadata"] = (old or {}).get("metadata", {}) | item["metadata"]
                self.cluster.change(plural, item)
            wait(lambda: self.deployment().get("status", {}).get("replicas") == 2)
            wait(lambda version=version: self.serves() == version)

    def release(self, version: str, ok: bool = True, **more: str) -> str:
        """Release to production, saying yes; return what was said."""
        done = self.run("release", "--yes", version, ok=ok, **{"IMAGE": image(version)} | more)
        if ok:
            assert done.stdout.splitlines()[-1] == version
        return done.stderr

    def overlay(self, stage: str = "production") -> dict[str, Any]:
        return yaml.safe_load(
            (self.path / f"deploy/kubernetes/overlays/{stage}/kustomization.yaml").read_text()
        )

    def pinned(self, stage: str = "production") -> tuple[str, str]:
        """What the overlay says: version and digest. Nothing of a release may lie beside it."""
        overlay = self.overlay(stage)
        assert len(list((self.path / "deploy").rglob("*.before"))) == 0
        version = next(p["pairs"][VERSION] for p in overlay["labels"] if VERSION in p["pairs"])
        return version, overlay["images"][0]["digest"]

    def deployment(self, name: str = "churn", namespace: str = PRODUCTION) -> dict[str, Any] | None:
        return self.cluster.get(namespace, "deployments", name)

    def serves(self) -> str:
        """The version of the pods that get production's requests: of one version only."""
        pods = [p for p in self.cluster.find(PRODUCTION, "pods") if is_ready(p)]
        versions = {pod["metadata"]["labels"][VERSION] for pod in pods}
        return versions.pop() if len(versions) == 1 else f"{len(versions)} versions"


@pytest.fixture
def site(shared: Path, tmp_path: Path) -> Iterator[Site]:
    """A copy of the project, and an empty cluster with both namespaces, behind both stages' contexts."""
    path = tmp_path / "churn"
    shutil.copytree(shared, path)
    cluster = Cluster({PRODUCTION, STAGING})
    env = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "LIFECYCLE_BY": "Ada"}
    env |= {"ANSWERS_WITHIN": "2", "ROLLED_OUT_WITHIN": "20s", "REQUEST_TIMEOUT": "10s"}
    with kube_api.serve(cluster, tmp_path / "kubeconfig", PRODUCTION, STAGING):
        yield Site(path, cluster, env)


# Releases


def test_a_release_serves_the_new_version_and_is_recorded(site: Site) -> None:
    said = site.release(ONE)
    assert f"{ONE} serves in churn-production; before it was nothing" in said
    site.cluster.seconds_to_ready, site.cluster.fewest_ready = 0.3, 1_000
    site.release(TWO)
    assert site.serves() == TWO
    assert site.cluster.fewest_ready == 2, "there were always as many ready pods as there should be"
    assert site.pinned() == (TWO, image(TWO).split("@")[1])
    deployment = site.deployment()
    assert deployment["metadata"]["annotations"]["kubernetes.io/change-cause"] == f"{TWO} by Ada"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image(TWO)
    assert git(site.path, "diff", "--name-only").split() == [
        "deploy/kubernetes/overlays/production/kustomization.yaml"
    ]


def test_a_release_leaves_the_autoscalers_replicas(site: Site) -> None:
    site.have(ONE)
    scaled = site.deployment()
    scaled["spec"]["replicas"] = 3
    site.cluster.put("deployments", scaled)
    site.release(TWO)
    assert site.deployment()["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c.never_ready.add(TWO), f"{TWO} did not roll out"),
        (
            lambda c: c.answers.update({TWO: (503, {"status": "broken", "version": TWO})}),
            "does not answer as it should",
        ),
        (
            lambda c: c.answers.update({TWO: (200, {"status": "ok", "version": ONE})}),
            "does not answer as it should",
        ),
    ],
    ids=["never ready", "broken", "another version"],
)
def test_a_failed_release_is_undone_and_never_rolled_back_to(
    site: Site, spoil: Callable[[Cluster], Any], says: str
) -> None:
    site.have(THREE, ONE)
    before = site.pinned()
    spoil(site.cluster)
    said = site.release(TWO, ok=False)
    assert says in said and f"undone: {ONE} serves" in said and f"make deploy VERSION={TWO}" in said
    assert "log of churn-" in said, "the last words of its pods are shown"
    assert site.serves() == ONE and site.pinned() == before
    assert site.run("rollback", "--yes").stdout == f"{THREE}\n", "not the one that failed just now"
    assert site.serves() == THREE


def test_a_first_release_that_fails_has_nothing_to_go_back_to(site: Site) -> None:
    site.cluster.never_ready.add(ONE)
    said = site.release(ONE, ok=False)
    assert "there was nothing before it to go back to" in said and "delete deployment churn" in said
    assert site.pinned()[0] == "none-yet"


def test_a_failed_release_is_undone_even_where_it_cannot_be_marked(site: Site) -> None:
    site.have(ONE)
    site.cluster.never_ready.add(TWO)
    site.cluster.refuse = {("patch", "replicasets")}
    said = site.release(TWO, ok=False)
    assert f"{TWO} could not be marked" in said and f"undone: {ONE} serves" in said
    assert site.serves() == ONE


def test_a_slow_rollout_is_undone_when_the_time_is_up(site: Site) -> None:
    site.have(ONE)
    site.cluster.seconds_to_ready, site.cluster.progress_deadline = 600, 600
    said = site.release(TWO, ok=False, ROLLED_OUT_WITHIN="1s")
    assert f"{TWO} did not roll out" in said
    assert site.serves() == ONE


def test_a_slow_rollout_may_take_longer_than_a_question_may(site: Site) -> None:
    site.have(ONE)
    site.cluster.seconds_to_ready, site.cluster.progress_deadline = 1.5, 600
    site.release(TWO, REQUEST_TIMEOUT="1s")
    assert site.serves() == TWO


def test_what_somebody_else_deployed_meanwhile_is_left_alone(site: Site) -> None:
    site.have(ONE)
    site.cluster.never_ready.add(TWO)
    site.cluster.progress_deadline = 2.0

    def meddle() -> None:
        while (
            not (found := site.deployment())
            or found["spec"]["template"]["metadata"]["labels"][VERSION] != TWO
        ):
            time.sleep(0.02)
        found = json.loads(json.dumps(found))
        found["spec"]["template"]["metadata"]["labels"][VERSION] = THREE
        site.cluster.change("deployments", found)

    other = threading.Thread(target=meddle)
    other.start()
    said = site.release(TWO, ok=False)
    other.join()
    assert f"meanwhile somebody has deployed {THREE}, which is left alone" in said
    assert site.serves() == THREE


def test_without_permission_nothing_changes(site: Site) -> None:
    site.have(ONE)
    before = site.pinned()
    site.cluster.refuse = {("patch", "deployments")}
    said = site.release(TWO, ok=False)
    assert 'cannot patch resource "deployments"' in said and "auth can-i --list" in said
    assert f"{TWO} was not applied; {ONE} is left as it was" in said
    assert site.serves() == ONE and site.pinned() == before
    site.cluster.refuse = {("get", "namespaces")}  # which somebody who may deploy often may not look at
    site.release(TWO)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"CONTEXT": "elsewhere"}, "your kubeconfig has no context elsewhere"),
        ({"STAGE": "test"}, "there is no stage test"),
        ({"IMAGE": "churn:latest"}, "churn:latest is not an image by digest"),
    ],
)
def test_a_wrong_aim_is_noticed_before_anything_is_done(site: Site, env: dict[str, str], says: str) -> None:
    said = site.release(ONE, ok=False, **env)
    assert says in said and "next:" in said
    assert not site.cluster.objects


def test_the_wrong_cluster_is_noticed_and_the_current_context_never_used(site: Site) -> None:
    site.cluster.namespaces = {STAGING}
    said = site.release(ONE, ok=False)
    assert "has no namespace churn-production: is it the right cluster?" in said
    config = Path(site.env["KUBECONFIG"])
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"contexts": [], "current-context": STAGING})
    )
    assert "your kubeconfig has no context churn-production" in site.release(ONE, ok=False)
    assert not site.cluster.objects


@pytest.mark.parametrize("hangs", [("get", "namespaces"), ("patch", "deployments"), ("list", "deployments")])
def test_an_api_server_that_hangs_ends_the_release_in_time(site: Site, hangs: tuple[str, str]) -> None:
    site.have(ONE)
    site.cluster.hang = {hangs}
    said = site.release(TWO, ok=False, REQUEST_TIMEOUT="1s", ROLLED_OUT_WITHIN="2s")
    assert "next:" in said and "Traceback" not in said
    site.cluster.hang = set()
    site.release(TWO)
    assert site.serves() == TWO


def test_production_asks_and_staging_does_not(site: Site) -> None:
    done = site.run("release", ONE, ok=False, IMAGE=image(ONE))
    assert "production wants a yes, and there is nobody to ask" in done.stderr and "YES=1" in done.stderr
    assert "nothing was changed" in asked(site, ["release", ONE], "n\n")
    assert not site.cluster.objects
    site.run("release", ONE, IMAGE=image(ONE), STAGE="staging")
    assert site.deployment(namespace=STAGING) and not site.deployment()
    assert site.pinned("staging")[0] == ONE and site.pinned()[0] == "none-yet"
    said = asked(site, ["release", ONE], "y\n")
    assert f"release {ONE} (before it: nothing) in churn-production, context churn-production? [y/N]" in said
    assert site.serves() == ONE


def asked(site: Site, words: list[str], reply: str) -> str:
    """Run a script at a terminal, with a reply typed there; return what was said."""
    ours, theirs = pty.openpty()
    os.write(ours, reply.encode())
    env = clean_environment(**site.env, IMAGE=image(ONE))
    command = [f"deploy/kubernetes/{words[0]}.sh", *words[1:]]
    done = subprocess.run(command, cwd=site.path, env=env, stdin=theirs, capture_output=True, text=True)
    os.close(ours)
    os.close(theirs)
    return done.stderr


# Rollback and status


def test_rollback_goes_further_back_each_time_and_then_says_that_there_is_no_more(site: Site) -> None:
    site.have(ONE, TWO, THREE)
    assert site.run("rollback", "--yes").stdout == f"{TWO}\n"
    assert site.pinned() == (TWO, image(TWO).split("@")[1])
    assert site.run("rollback", "--yes").stdout == f"{ONE}\n"
    assert site.serves() == ONE
    done = site.run("rollback", "--yes", ok=False)
    assert done.returncode == 1 and not done.stdout
    assert f"there is no version before {ONE} here" in done.stderr and "make deploy VERSION=" in done.stderr
    site.release(THREE)  # mended in the data, released again: it may be gone back to again
    site.release(TWO)
    assert site.run("rollback", "--yes").stdout == f"{THREE}\n"


def test_a_rollback_from_a_version_that_no_longer_serves_is_refused(site: Site) -> None:
    site.have(ONE, TWO)
    done = site.run("rollback", "--yes", ok=False, FROM=ONE)
    assert done.returncode == 6 and f"{TWO} serves here by now, not {ONE}" in done.stderr
    assert site.run("rollback", "--yes", FROM=TWO).stdout == f"{ONE}\n"


def test_a_rollback_that_fails_puts_back_what_served(site: Site) -> None:
    site.have(ONE, TWO)
    site.cluster.answers[ONE] = (503, {"status": "broken", "version": ONE})
    done = site.run("rollback", "--yes", ok=False)
    assert done.returncode == 1 and not done.stdout
    assert f"{ONE} did not get healthy; {TWO} serves again" in done.stderr
    assert site.serves() == TWO and site.pinned()[0] == TWO


def test_nothing_deployed_is_exit_code_three(site: Site) -> None:
    for script in (["rollback", "--yes"], ["status"]):
        done = site.run(*script, ok=False)
        assert done.returncode == 3 and "nothing of churn is deployed in churn-production" in done.stderr


def test_status_tells_what_serves_and_what_differs(site: Site) -> None:
    site.have(ONE, TWO)
    said = site.run("status", TWO).stdout
    assert f"live: {TWO}" in said and f"a rollback would go to: {ONE}" in said
    done = site.run("status", ONE, ok=False)
    assert done.returncode == 1 and f"{ONE} should be live, not {TWO}" in done.stderr

    site.cluster.answers[TWO] = (503, {"status": "broken", "version": TWO})
    done = site.run("status", TWO, ok=False)
    assert done.returncode == 1 and "churn is not healthy" in done.stderr and "make rollback" in done.stderr
    site.cluster.refuse = {("list", "replicasets")}
    assert "cannot list" in site.run("status", TWO, ok=False).stderr


def test_what_was_set_by_hand_is_seen_and_the_next_release_overrules_it(site: Site) -> None:
    site.have(ONE)
    kubectl = [KUBECTL, "--context", PRODUCTION, "--namespace", PRODUCTION]
    command = [*kubectl, "set", "image", "deployment/churn", f"server={image(TWO)}"]
    subprocess.run(command, env=clean_environment(**site.env), check=True, capture_output=True)
    wait(lambda: site.deployment()["status"]["updatedReplicas"] == 2)
    assert f"the cluster runs {image(TWO)}" in site.run("status").stdout
    site.release(ONE)
    assert "the cluster runs" not in site.run("status").stdout


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not until():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


# The canary


def counted(good: int, bad: int, seconds: float) -> str:
    """What /metrics says on one pod after so many requests, each of which took so long."""
    edges = {0.001: 0, 0.005: 0, 0.025: 0, 0.1: 0} | {seconds: good + bad}
    most = [max(count for at, count in edges.items() if at <= edge) for edge in sorted(edges)]
    buckets = "".join(
        f'request_seconds_bucket{{le="{edge}"}} {count}.0\n'
        for edge, count in zip([*sorted(edges), "+Inf"], [*most, good + bad], strict=True)
    )
    statuses = f'requests_total{{status="200"}} {good}.0\nrequests_total{{status="500"}} {bad}.0\n'
    return f"# TYPE requests counter\n{statuses}# TYPE request_seconds histogram\n{buckets}"


@pytest.fixture
def judge(site: Site, tmp_path: Path) -> None:
    """Let the scripts find a uv whose `uv run` has the library."""
    uv = tmp_path / "uv"
    library = ROOT / "template/vendor/lifecycle/src"
    uv.write_text(f'#!/bin/sh\nshift 3\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    uv.chmod(0o755)
    site.env["UV"] = str(uv)


@pytest.mark.usefixtures("judge")
def test_a_canary_gets_a_share_and_is_promoted_when_it_is_no_worse(site: Site) -> None:
    site.have(ONE)
    site.run("canary", "--yes", "start", TWO, IMAGE=image(TWO))
    canary = site.deployment("churn-canary")
    assert canary["spec"]["replicas"] == 1 and site.pinned("canary") == (TWO, image(TWO).split("@")[1])
    answers = {site.cluster.through_service(PRODUCTION, "churn")[1]["version"] for _ in range(6)}
    assert answers == {ONE, TWO}, "one Service, two tracks"
    assert "a canary of" in site.release(THREE, ok=False), "a release would be judged by two voices"
    site.run("status", ONE)

    site.cluster.metrics = {"stable": counted(1000, 10, 0.005), "canary": counted(200, 2, 0.005)}
    done = site.run("canary", "judge", ok=False)
    assert done.returncode == 3 and "500 requests are needed to tell" in done.stderr
    assert "old: 2020 requests, 20 failed" in done.stderr and "new: 202 requests" in done.stderr
    site.cluster.metrics["canary"] = counted(600, 8, 0.006)
    done = site.run("canary", "judge", ok=False)
    assert "production wants a yes" in done.stderr and site.deployment("churn-canary")
    done = site.run("canary", "judge", "--yes")
    assert done.stdout.splitlines()[-1] == TWO
    assert site.serves() == TWO and site.deployment("churn-canary") is None
    assert site.pinned() == (TWO, image(TWO).split("@")[1])


@pytest.mark.parametrize(
    ("good", "bad", "seconds", "restarts"),
    [(600, 20, 0.005, 0), (600, 0, 0.1, 0), (600, 0, 0.005, 1), (10, 20, 0.005, 0)],
    ids=["more errors", "slower", "restarted", "errors at once"],
)
@pytest.mark.usefixtures("judge")
def test_a_worse_canary_is_removed_and_stable_is_left(
    site: Site, good: int, bad: int, seconds: float, restarts: int
) -> None:
    site.have(ONE)
    site.run("canary", "--yes", "start", TWO, IMAGE=image(TWO))
    site.cluster.metrics = {"stable": counted(1000, 10, 0.005), "canary": counted(good, bad, seconds)}
    (pod,) = site.cluster.find(PRODUCTION, "pods", "track=canary")
    pod["status"]["containerStatuses"][0]["restartCount"] = restarts
    done = site.run("canary", "judge", "--yes", ok=False)
    assert done.returncode == 1 and f"{TWO} is worse: it was removed, stable is untouched" in done.stderr
    assert site.deployment("churn-canary") is None and site.serves() == ONE


@pytest.mark.usefixtures("judge")
def test_what_stable_pods_counted_before_the_canary_began_does_not_count(site: Site) -> None:
    """An old outage of the stable version would excuse any errors of the new one."""
    site.have(ONE)
    site.cluster.metrics = {"stable": counted(1000, 900, 0.005)}
    site.run("canary", "--yes", "start", TWO, IMAGE=image(TWO))
    site.cluster.metrics = {"stable": counted(2000, 900, 0.005), "canary": counted(600, 60, 0.005)}
    done = site.run("canary", "judge", "--yes", ok=False)
    assert "old: 2000 requests, 0 failed" in done.stderr
    assert "9.1% of its requests failed, 0.0% of the old version's" in done.stderr


def test_a_canary_that_cannot_be_judged_is_left_as_it_is(site: Site) -> None:
    site.have(ONE)
    site.run("canary", "--yes", "start", TWO, IMAGE=image(TWO))
    done = site.run("canary", "judge", "--yes", ok=False, UV="/bin/false")
    assert done.returncode == 1 and f"{TWO} cannot be judged" in done.stderr
    assert site.deployment("churn-canary") and site.serves() != TWO


def test_a_canary_that_never_gets_ready_is_removed(site: Site) -> None:
    site.have(ONE)
    site.cluster.never_ready.add(TWO)
    done = site.run("canary", "--yes", "start", TWO, ok=False, IMAGE=image(TWO))
    assert "did not become ready: it was removed" in done.stderr
    assert site.deployment("churn-canary") is None and site.pinned("canary")[0] == "none-yet"
    assert site.serves() == ONE
    assert "there is no canary" in site.run("canary", "judge", ok=False).stderr


# Cron on Kubernetes


def test_the_cronjobs_are_installed_once_what_they_need_is_there(site: Site) -> None:
    train = image(ONE, "churn-train")
    done = site.run("jobs", "--yes", "install", ok=False, IMAGE=train)
    assert "has no secret churn-registry" in done.stderr and "--from-env-file=.env" in done.stderr
    there = {"metadata": {"namespace": PRODUCTION, "name": "churn-registry"}}
    site.cluster.put("secrets", there | {"apiVersion": "v1", "kind": "Secret"})
    done = site.run("jobs", "--yes", "install", ok=False, IMAGE=train)
    assert "churn-production has no claim churn-counts" in done.stderr and "counts.yaml" in done.stderr
    assert not site.cluster.find(PRODUCTION, "cronjobs")

    there = {"metadata": {"namespace": PRODUCTION, "name": "churn-counts"}}
    site.cluster.put("persistentvolumeclaims", there | {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
    site.run("jobs", "--yes", "install", IMAGE=train)
    names = [job["metadata"]["name"] for job in site.cluster.find(PRODUCTION, "cronjobs")]
    assert names == ["churn-drift", "churn-retrain"]
    for job in site.cluster.find(PRODUCTION, "cronjobs"):
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert pod["containers"][0]["image"] == train
        assert job["spec"]["concurrencyPolicy"] == "Forbid" and pod["restartPolicy"] == "Never"
    site.run("jobs", "--yes", "remove")
    assert not site.cluster.find(PRODUCTION, "cronjobs")


def test_the_verbs_of_the_makefile(site: Site, trained: Path, environment: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-R", trained / "registry", site.path], check=True)
    (tmp_path / "bin").mkdir()
    lifecycle = tmp_path / "bin/lifecycle"
    lifecycle.write_text("#!/bin/sh\nexec python -c 'from lifecycle.cli import main; main()' \"$@\"\n")
    lifecycle.chmod(0o755)
    project = Project(site.path, environment, env=site.env | {"UV_PROJECT_ENVIRONMENT": str(environment)})
    path = os.pathsep.join(
        [str(lifecycle.parent), project.environment()["PATH"], clean_environment()["PATH"]]
    )

    def make(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = project.environment(PATH=path, IMAGE=image(ONE), **more)
        stdin = subprocess.DEVNULL
        return subprocess.run(
            ["make", *words], cwd=site.path, env=env, stdin=stdin, capture_output=True, text=True
        )

    version = project.lifecycle("fetch", "--to", "build/model").stdout.strip()
    done = make("deploy")
    assert done.returncode and "production wants a yes" in done.stderr and not site.cluster.objects
    done = make("deploy", "YES=1")
    assert done.returncode == 0, done.stderr
    assert site.serves() == version
    done = make("status")
    assert done.returncode == 0 and f"live: {version}" in done.stdout
    done = make("rollback", "YES=1")
    assert done.returncode and f"there is no version before {version} here" in done.stderr
    done = make("deploy", "STAGE=staging")
    assert done.returncode == 0 and site.pinned("staging")[0] == version
    assert make("status", "STAGE=staging").returncode == 0
    done = make("unschedule", "YES=1")
    assert done.returncode == 0, done.stderr
    done = make("rollback", "STAGE=staging")
    assert "there is no version before" in done.stderr
    assert version in project.lifecycle("versions").stdout.split("production")[0], (
        "the alias stays where it was"
    )
