"""A small stateful stand-in for a Kubernetes API server, for the real kubectl over plain HTTP.

It applies, patches, lists, watches and deletes what kube_cluster.py holds, and it can refuse and hang.
It checks no schema: kubernetes-validate does that.
"""

import contextlib
import copy
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from services.kube_cluster import Cluster, Object, failure

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
        if (verb, plural) in self.cluster.hang:
            self.cluster.over.wait()
            self.close_connection = True
            return None
        if (verb, plural) in self.cluster.refuse:
            text = f'{plural} "{name}" is forbidden: User "ada" cannot {verb} resource "{plural}"'
            return self.answer(403, failure(403, "Forbidden", text))
        if "sendInitialEvents" in query:  # as a server that does not know it yet: then kubectl lists first
            return self.answer(422, failure(422, "Invalid", "sendInitialEvents is forbidden for watch"))
        if verb == "watch":
            return self.watch(namespace, plural, query)
        code, answer = self.act(verb, namespace, plural, name, rest, query, body)
        return self.answer(code, answer)

    do_GET = do_PATCH = do_POST = do_DELETE = do_any

    def discover(self, path: str) -> tuple[int, Object]:
        groups = [group for group in KINDS if "/" in group]
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
            there = {"kind": "Namespace", "metadata": {"name": name}}
            return (200, there) if name in cluster.namespaces else missing
        if namespace not in cluster.namespaces:
            return 404, failure(404, "NotFound", f'namespaces "{namespace}" not found')
        if rest.endswith("/proxy/health"):
            return cluster.through_service(namespace, name.partition(":")[0])
        if verb == "list":
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            items = cluster.find(namespace, plural, query.get("labelSelector", ""), name)
            kind = {p: k for kinds in KINDS.values() for p, k in kinds.items()}[plural]
            group = next(group for group, kinds in KINDS.items() if plural in kinds)
            newest = str(max((int(o["metadata"]["resourceVersion"]) for o in items), default=1))
            listed = {"metadata": {"resourceVersion": newest}, "items": items}
            return 200, {"kind": f"{kind}List", "apiVersion": group} | listed
        name = name.partition(":")[0]
        old = cluster.get(namespace, plural, name)
        if rest == "/log":
            return 200, f"log of {name}\n"
        if rest.endswith("/proxy/metrics") and old:
            return 200, cluster.metrics.get(old["metadata"]["labels"]["track"], "")
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
            new = {"status": {}} | (old or {}) | patch
            new["metadata"] = merged((old or {"metadata": {}})["metadata"], patch["metadata"])
            if old and "replicas" in old["spec"]:  # somebody else's field: the autoscaler's
                new["spec"] = {"replicas": old["spec"]["replicas"]} | patch["spec"]
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
