"""A server that is down, hangs, fails, throttles, or whose answers get lost: a proxy in front of a real one.

Each is given up after less than 20 seconds with a RegistryError, and what passes by is not noticed.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lifecycle.errors import RegistryError
from lifecycle.model.package import verify

from registry.support import Place, make_candidate, promote

PATIENCE = 20  # seconds


class Faulty(BaseHTTPRequestHandler):
    """Forwards a request to the real server, or does what the proxy's mode says."""

    protocol_version = "HTTP/1.1"
    server: "Proxy"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.command, self.path)
        if fault == "hang":
            self.server.released.wait(60)
        if fault in ("hang", "cut"):
            self.close_connection = True
            return
        if isinstance(fault, int):
            self.reply(fault, {}, b"no")
            return
        real = urlsplit(self.server.real)
        connection = http.client.HTTPConnection(str(real.hostname), real.port, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))  # the Host is signed: kept
        got = connection.getresponse()
        content = got.read()
        connection.close()
        if fault == "lose":
            self.close_connection = True
            return
        self.reply(got.status, dict(got.getheaders()), content)

    def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer

    def log_message(self, *words: object) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, real: str) -> None:
        super().__init__(("127.0.0.1", 0), Faulty)
        self.real, self.mode, self.first = real, "", False
        self.seen: set[tuple[str, str]] = set()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, path: str) -> str | int:
        """first: only the first request of its kind meets the fault."""
        key = (method, path.partition("?")[0])
        if self.first and key in self.seen:
            return ""
        self.seen.add(key)
        if self.mode == "lose" and method not in ("PUT", "POST"):
            return ""
        return int(self.mode) if self.mode.isdigit() else self.mode


def at(place: Place, url: str) -> Place:
    """The same registry, reached at another address."""
    key = "MLFLOW_TRACKING_URI" if place.is_mlflow else "AWS_ENDPOINT_URL_S3"
    return replace(place, env=place.env | {key: url})


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    server = Proxy(place.env["MLFLOW_TRACKING_URI" if place.is_mlflow else "AWS_ENDPOINT_URL_S3"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()


@pytest.fixture
def behind(place: Place, proxy: Proxy, tmp_path: Path) -> Place:
    """The registry, reached through the proxy, with one version in production."""
    place = at(place, proxy.url)
    promote(place.open(), place.open().publish(make_candidate(tmp_path / "c0")))
    return place


@pytest.mark.parametrize("mode", ["hang", "cut", "500", "429", "403"])
def test_a_server_that_fails_is_given_up_soon_and_clearly(
    behind: Place, proxy: Proxy, tmp_path: Path, mode: str
) -> None:
    folder = make_candidate(tmp_path / "c1", 1)
    proxy.mode = mode
    acts = [
        lambda registry: registry.publish(folder),
        lambda registry: registry.aliases(),
        lambda registry: promote(registry, "staging"),
    ]
    for act in acts if mode == "500" else acts[:1]:
        start = time.monotonic()
        with pytest.raises(RegistryError) as raised:
            act(behind.open())
        assert time.monotonic() - start < PATIENCE
        where = proxy.url if behind.is_mlflow else behind.env["REGISTRY_URI"]
        assert where in str(raised.value) and raised.value.next_step, raised.value
    proxy.mode = ""
    proxy.released.set()
    promote(behind.open(), behind.open().publish(folder))
    assert len(behind.open().history()) == 2


def test_a_server_that_is_down_is_named(place: Place) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1"):
        at(place, "http://127.0.0.1:9").open().versions()
    assert time.monotonic() - start < PATIENCE


@pytest.mark.parametrize("mode", ["503", "cut", "lose"])
def test_a_fault_that_passes_is_not_noticed(behind: Place, proxy: Proxy, tmp_path: Path, mode: str) -> None:
    """Each kind of request fails once. lose: the server does what it is asked, and the answer is lost."""
    folder = make_candidate(tmp_path / "c1", 1)
    proxy.first, proxy.mode = True, mode
    registry = behind.open()
    version = registry.publish(folder)
    move = promote(registry, version)
    assert verify(registry.fetch("production", tmp_path / "x")).version == version
    assert [item.id for item in registry.history()][1:] == [move.id]
    assert [item.version for item in registry.versions()].count(version) == 1
