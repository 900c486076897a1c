"""An HTTP API that keeps what it is asked, where the real one cannot be run."""

import http.server
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from services.serving import serving


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: str


class Recorder(http.server.ThreadingHTTPServer):
    """Answers every POST with `status` and an empty body."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.status = 204
        recorder = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.asked.append(Asked(self.path, headers, body))
                self.send_response(recorder.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def recorder() -> AbstractContextManager[Recorder]:
    return serving(Recorder())
