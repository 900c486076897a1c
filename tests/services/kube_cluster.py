"""What a small stand-in for a Kubernetes cluster holds and does; kube_api.py serves it.

It keeps objects and plays the Deployment controller: a ReplicaSet for each template, revisions, pods that get
ready one by one, old pods that go as new ones come. A version can be slow, never get ready or answer wrongly.
"""

import copy
import hashlib
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
VERSION = "app.kubernetes.io/version"
REVISION = "deployment.kubernetes.io/revision"
TICK = 0.02


@dataclass
class Cluster:
    """What the server holds, and how it behaves. A version is a pod's label."""

    namespaces: set[str]
    never_ready: set[str] = field(default_factory=set)
    answers: dict[str, tuple[int, Object]] = field(default_factory=dict)  # of /health, by version
    metrics: dict[str, str] = field(default_factory=dict)  # by track
    refuse: set[tuple[str, str]] = field(default_factory=set)  # (verb, plural): 403
    hang: set[tuple[str, str]] = field(default_factory=set)
    seconds_to_ready: float = 0.0
    progress_deadline: float = 1.0
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)  # by namespace, plural, name
    fewest_ready: int = 1_000  # of a Deployment's pods while it was rolled out
    changed: threading.Condition = field(default_factory=threading.Condition)
    events: list[tuple[str, str, Object]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _turn: Iterator[int] = field(default_factory=itertools.count)

    def find(self, namespace: str, plural: str, selector: str = "", name: str = "") -> list[Object]:
        with self.changed:
            here = [
                o for (ns, kind, _), o in sorted(self.objects.items()) if (ns, kind) == (namespace, plural)
            ]
        return [o for o in here if matches(o, selector) and name in ("", o["metadata"]["name"])]

    def get(self, namespace: str, plural: str, name: str) -> Object | None:
        return self.objects.get((namespace, plural, name))

    def put(self, plural: str, given: Object) -> Object:
        """Store an object as new or changed, and tell those who watch."""
        with self.changed:
            meta = given["metadata"]
            key = (meta.get("namespace", ""), plural, meta["name"])
            kind = "MODIFIED" if key in self.objects else "ADDED"
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            meta["resourceVersion"] = str(next(self._numbers))
            self.objects[key] = given
            self._tell(kind, plural, given)
        return given

    def remove(self, plural: str, gone: Object) -> None:
        with self.changed:
            meta = gone["metadata"]
            del self.objects[meta.get("namespace", ""), plural, meta["name"]]
            self._tell("DELETED", plural, gone)
            if plural == "deployments":
                for owned in ("replicasets", "pods"):
                    for item in self.find(meta["namespace"], owned):
                        if item["deployment"] == meta["name"]:
                            self.remove(owned, item)

    def _tell(self, kind: str, plural: str, item: Object) -> None:
        self.events.append((kind, plural, copy.deepcopy(item)))
        self.changed.notify_all()

    def change(self, plural: str, new: Object) -> Object:
        """Store what a client wants; a Deployment whose template differs starts to roll."""
        meta = new["metadata"]
        old = self.get(meta.get("namespace", ""), plural, meta["name"])
        if plural != "deployments":
            return self.put(plural, new)
        new["spec"] = {"replicas": 2} | whole(new["spec"])
        if old and old["spec"] == new["spec"]:
            return self.put(plural, new)
        meta["generation"] = meta.get("generation", 0) + 1
        revision = self._replica_set(new)
        meta.setdefault("annotations", {})[REVISION] = revision
        stored = self.put(plural, new)
        threading.Thread(target=self._roll, args=(stored, meta["generation"]), daemon=True).start()
        return stored

    def _replica_set(self, deployment: Object) -> str:
        """Make the newest ReplicaSet be the one of this template, and return its revision."""
        meta, template = deployment["metadata"], copy.deepcopy(deployment["spec"]["template"])
        sets = [o for o in self.find(meta["namespace"], "replicasets") if o["deployment"] == meta["name"]]
        revision = str(1 + max((int(o["metadata"]["annotations"][REVISION]) for o in sets), default=0))
        mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
        name = f"{meta['name']}-{mark}"
        known = self.get(meta["namespace"], "replicasets", name)
        labels = template["metadata"]["labels"] | {"pod-template-hash": mark}
        template["metadata"]["labels"] = labels
        new = known or {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": meta["namespace"], "labels": dict(labels)},
            "spec": {"template": template, "selector": {"matchLabels": dict(labels)}, "replicas": 0},
            "deployment": meta["name"],
        }
        meta.setdefault("uid", str(uuid.uuid4()))
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
        new["metadata"]["ownerReferences"] = [owner | {"controller": True}]
        new["metadata"].setdefault("annotations", {})[REVISION] = revision
        self.put("replicasets", new)
        return revision

    def _roll(self, deployment: Object, generation: int) -> None:
        """Bring up the new pods one at a time; an old one goes only when a new one is ready."""
        namespace, name = (deployment["metadata"][key] for key in ("namespace", "name"))
        template, wanted = deployment["spec"]["template"], deployment["spec"]["replicas"]
        version = template["metadata"]["labels"].get(VERSION, "")
        started = time.monotonic()
        while not self.over.wait(TICK):
            with self.changed:
                now = self.get(namespace, "deployments", name)
                if now is None or now["metadata"]["generation"] != generation:
                    return
                pods = [pod for pod in self.find(namespace, "pods") if pod["deployment"] == name]
                new = [pod for pod in pods if pod["template"] == template]
                old = [pod for pod in pods if pod["template"] != template]
                for pod in new:
                    grown = time.monotonic() >= pod["born"] + self.seconds_to_ready
                    if grown and version not in self.never_ready and not is_ready(pod):
                        pod["status"]["containerStatuses"][0]["ready"] = True
                        self.put("pods", pod)
                ready = [pod for pod in new if is_ready(pod)]
                while old and len(ready) + sum(map(is_ready, old)) > wanted:
                    self.remove("pods", old.pop())
                for pod in [pod for pod in old if not is_ready(pod)]:  # such pods go at once
                    old.remove(pod)
                    self.remove("pods", pod)
                if len(new) < wanted and len(new) == len(ready):
                    new.append(self._pod(namespace, name, template))
                if pods:
                    self.fewest_ready = min(self.fewest_ready, len(ready) + sum(map(is_ready, old)))
                done = len(ready) >= wanted and not old
                late = not done and time.monotonic() > started + self.progress_deadline
                now["status"] = status(now, generation, len(new), len(ready), len(old), late)
                self.put("deployments", now)
                if done or late:
                    return

    def _pod(self, namespace: str, owner: str, template: Object) -> Object:
        labels = template["metadata"]["labels"]
        name = f"{owner}-{uuid.uuid4().hex[:8]}"
        pod = {"apiVersion": "v1", "kind": "Pod", "deployment": owner, "template": copy.deepcopy(template)}
        pod |= {"metadata": {"name": name, "namespace": namespace, "labels": dict(labels)}}
        pod |= {"spec": copy.deepcopy(template["spec"]), "born": time.monotonic()}
        pod["status"] = {"phase": "Running", "containerStatuses": [{"ready": False, "restartCount": 0}]}
        return self.put("pods", pod)

    def through_service(self, namespace: str, name: str) -> tuple[int, Object]:
        """Answer /health as one of the Service's ready pods would, each in turn."""
        service = self.get(namespace, "services", name)
        if service is None:
            return 404, failure(404, "NotFound", f'services "{name}" not found')
        selector = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
        pods = [pod for pod in self.find(namespace, "pods", selector) if is_ready(pod)]
        if not pods:
            return 503, failure(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
        version = pods[next(self._turn) % len(pods)]["metadata"]["labels"][VERSION]
        return self.answers.get(version, (200, {"status": "ok", "version": version}))


def is_ready(pod: Object) -> bool:
    return pod["status"]["containerStatuses"][0]["ready"]


def status(deployment: Object, generation: int, new: int, ready: int, old: int, late: bool) -> Object:
    reason = "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"
    progressing = {"type": "Progressing", "status": "False" if late else "True", "reason": reason}
    counts = {"replicas": new + old, "updatedReplicas": new, "readyReplicas": ready + old}
    counts |= {"availableReplicas": ready + old, "unavailableReplicas": new - ready}
    return {"observedGeneration": generation, "conditions": [progressing]} | counts


def matches(item: Object, selector: str) -> bool:
    """Understand key=value, !key and key, joined by commas."""
    labels = item["metadata"].get("labels", {})
    for rule in filter(None, selector.split(",")):
        key, equals, value = rule.replace("==", "=").partition("=")
        if key.startswith("!") and key[1:] in labels:
            return False
        if not key.startswith("!") and (labels.get(key) != value if equals else key not in labels):
            return False
    return True


def whole(value: Any) -> Any:
    """Leave out what is null, as a server does that reads a template into its types."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items() if item is not None}
    return [whole(item) for item in value] if isinstance(value, list) else value


def failure(code: int, reason: str, message: str) -> Object:
    facts = {"code": code, "reason": reason, "message": message}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure"} | facts
