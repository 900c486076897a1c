"""A server that hears the alerts and the heartbeats of a project."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.serving import serving


@dataclass
class Heard:
    """alerts: their texts; done: what was done about each; beats: asked of the heartbeat, such as /start."""

    port: int
    alerts: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        place = f"127.0.0.1:{self.port}"
        return {
            "LIFECYCLE_ALERT_URLS": f"json://{place}/alert",
            "LIFECYCLE_HEARTBEAT_URL": f"http://{place}/beat",
        }

    def take(self) -> tuple[list[str], list[str]]:
        """Return what was heard since the last call: alerts, heartbeats."""
        taken = self.alerts[:], self.beats[:]
        self.alerts.clear()
        self.done.clear()
        self.beats.clear()
        return taken


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.alerts.append(said["text"])
            heard.done.append(said["done"])
            self._thank()

        def do_GET(self) -> None:
            heard.beats.append(self.path.removeprefix("/beat"))
            self._thank()

        def _thank(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        heard = Heard(server.server_port)
        yield heard
