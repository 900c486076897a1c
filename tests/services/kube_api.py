"""A small stateful stand-in for a Kubernetes API server, for the real kubectl over plain HTTP.

It keeps objects, applies and patches them, and plays the Deployment controller: a ReplicaSet for each
template, revisions, pods that get ready one by one, old pods that go as new ones come. It can refuse, hang
and be slow, and a version can never get ready or answer wrongly. kubernetes-validate checks the schemas.
"""

import contextlib
import copy
import hashlib
import itertools
import json
import re
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
KINDS = {
    "v1": {
        "namespaces": "Namespace",
        "services": "Service",
        "pods": "Pod",
        "events": "Event",
        "secrets": "Secret",
        "persistentvolumeclaims": "PersistentVolumeClaim",
    },
    "apps/v1": {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "batch/v1": {"cronjobs": "CronJob"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
WORDS = {"PATCH": "patch", "POST": "create", "DELETE": "delete"}
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
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # verb, plural, name
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
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": dict(labels),
                "annotations": {},
            },
            "spec": {"template": template, "selector": {"matchLabels": dict(labels)}, "replicas": 0},
            "deployment": meta["name"],
        }
        meta.setdefault("uid", str(uuid.uuid4()))
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
        new["metadata"]["ownerReferences"] = [owner | {"controller": True}]
        new["metadata"]["annotations"] |= {REVISION: revision}
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
                    if (
                        version not in self.never_ready
                        and time.monotonic() >= pod["born"] + self.seconds_to_ready
                    ):
                        self._set_ready(pod)
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

    def _set_ready(self, pod: Object) -> None:
        if not is_ready(pod):
            pod["status"]["containerStatuses"][0]["ready"] = True
            self.put("pods", pod)

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


def merged(old: Any, new: Any) -> Any:
    """Merge as RFC 7386 says: null removes."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def failure(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code} | {
        "reason": reason,
        "message": message,
    }


def openapi(path: str) -> Object:
    """Say that every kind is checked by the server, so that kubectl does not do it."""
    urls = {("api/" if group == "v1" else "apis/") + group: group for group in KINDS}
    if path == "/openapi/v3":
        return {"paths": {url: {"serverRelativeURL": f"{path}/{url}"} for url in urls}}
    group, _, version = urls[path.removeprefix("/openapi/v3/")].rpartition("/")
    checked = {"parameters": [{"name": "fieldValidation", "in": "query"}]}
    key = "x-kubernetes-group-version-kind"
    kinds = KINDS[f"{group}/{version}".strip("/")].values()
    paths = {
        f"/{k}": {"patch": checked | {key: {"group": group, "version": version, "kind": k}}} for k in kinds
    }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1"}, "paths": paths}


class Handler(BaseHTTPRequestHandler):
    """The paths that kubectl asks for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    cluster: Cluster

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, code: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_any(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = re.fullmatch(
            r"/(?:api|apis)/(?P<group>(?:[\w.]+/)?v\d)(?:/namespaces/(?P<namespace>[\w-]+)(?=/))?"
            r"/(?P<plural>\w+)(?:/(?P<name>[\w.:-]+))?(?P<rest>/.*)?",
            url.path,
        )
        if not found:
            code, answer = self.discover(url.path)
            return self.answer(code, answer)
        namespace, plural, name, rest = (found[key] or "" for key in ("namespace", "plural", "name", "rest"))
        verb = WORDS.get(self.command) or ("get" if name else "watch" if "watch" in query else "list")
        self.cluster.asked.append((verb, plural, name))
        if (verb, plural) in self.cluster.hang:
            self.cluster.over.wait()
            self.close_connection = True
            return None
        if (verb, plural) in self.cluster.refuse:
            text = f'{plural} "{name}" is forbidden: User "ada" cannot {verb} resource "{plural}"'
            return self.answer(403, failure(403, "Forbidden", text))
        if verb == "watch":
            return self.watch(namespace, plural, query)
        code, answer = self.act(verb, namespace, plural, name, rest, query, body)
        return self.answer(code, answer)

    do_GET = do_PATCH = do_POST = do_DELETE = do_any

    def discover(self, path: str) -> tuple[int, Object]:
        groups = [group for group in KINDS if "/" in group]
        if path == "/version":
            return 200, {"major": "1", "minor": "32", "gitVersion": "v1.32.4"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            versions = [{"groupVersion": group, "version": group.split("/")[1]} for group in groups]
            listed = [{"name": v["groupVersion"].split("/")[0], "versions": [v]} for v in versions]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if path.startswith("/openapi/v3"):
            return 200, openapi(path)
        group = path.removeprefix("/apis/").removeprefix("/api/")
        if group in KINDS:
            verbs = ["create", "delete", "get", "list", "patch", "watch"]
            resources = [
                {"name": plural, "kind": kind, "namespaced": kind != "Namespace", "verbs": verbs}
                for plural, kind in KINDS[group].items()
            ]
            return 200, {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
        return 404, failure(404, "NotFound", "the server could not find the requested resource")

    def act(
        self, verb: str, namespace: str, plural: str, name: str, rest: str, query: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        cluster = self.cluster
        missing = 404, failure(404, "NotFound", f'{plural} "{name}" not found')
        if plural == "namespaces":
            return (
                (200, {"kind": "Namespace", "metadata": {"name": name}})
                if name in cluster.namespaces
                else missing
            )
        if namespace not in cluster.namespaces:
            return 404, failure(404, "NotFound", f'namespaces "{namespace}" not found')
        if rest.endswith("/proxy/health"):
            return cluster.through_service(namespace, name.partition(":")[0])
        if verb == "list":
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            items = cluster.find(namespace, plural, query.get("labelSelector", ""), name)
            kind = {p: k for kinds in KINDS.values() for p, k in kinds.items()}[plural]
            group = next(group for group, kinds in KINDS.items() if plural in kinds)
            version = str(max((int(o["metadata"]["resourceVersion"]) for o in items), default=1))
            return 200, {"kind": f"{kind}List", "apiVersion": group, "items": items} | {
                "metadata": {"resourceVersion": version}
            }
        name = name.partition(":")[0]
        old = cluster.get(namespace, plural, name)
        if rest == "/log":
            return 200, f"log of {name}\n"
        if rest.endswith("/proxy/metrics") and old:
            return 200, cluster.metrics[old["metadata"]["labels"]["track"]]
        if verb == "patch":
            new = self.patched(old, body)
            return missing if new is None else (200, cluster.change(plural, new))
        if old is None:
            return missing
        if verb == "delete":
            cluster.remove(plural, old)
        return 200, old

    def patched(self, old: Object | None, body: bytes) -> Object | None:
        """Return what an apply, a merge patch or a JSON patch makes of an object; None without one."""
        old = copy.deepcopy(old)
        kind, patch = self.headers["Content-Type"], yaml.safe_load(body)
        if "apply" in kind:
            kept = {"replicas": old["spec"].get("replicas")} if old and "replicas" in old["spec"] else {}
            new = {"status": {}} | (old or {}) | patch
            new["metadata"] = merged(old["metadata"] if old else {}, patch["metadata"])
            if kept:
                new["spec"] = kept | patch["spec"]
            return new
        if old is None:
            return None
        if "json-patch" in kind:
            for step in patch:
                *way, last = step["path"].strip("/").split("/")
                place = old
                for word in way:
                    place = place[word]
                place[last] = step["value"]
            return old
        return merged(old, patch)

    def watch(self, namespace: str, plural: str, query: dict[str, str]) -> None:
        """Send what changed after resourceVersion, and then whatever changes."""
        since = int(query.get("resourceVersion") or 0)
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        seen, until = 0, time.monotonic() + float(query.get("timeoutSeconds", 60))
        with contextlib.suppress(OSError):
            while time.monotonic() < until and not self.cluster.over.is_set():
                with self.cluster.changed:
                    self.cluster.changed.wait(0.1)
                    fresh = self.cluster.events[seen:]
                    seen += len(fresh)
                for kind, of, item in fresh:
                    meta = item["metadata"]
                    ours = of == plural and meta.get("namespace") == namespace and name in ("", meta["name"])
                    if ours and int(meta["resourceVersion"]) > since:
                        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
                        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                        self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@contextlib.contextmanager
def serve(cluster: Cluster, kubeconfig: Path, *contexts: str) -> Iterator[str]:
    """Serve the cluster on a free port, write a kubeconfig with these contexts, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cluster": cluster}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that has gone
    address = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "stand-in", "cluster": {"server": address}}],
        "users": [{"name": "ada", "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": "stand-in", "user": "ada"}} for name in contexts],
    }
    kubeconfig.write_text(json.dumps(config))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        cluster.over.set()
        server.shutdown()
        server.server_close()
