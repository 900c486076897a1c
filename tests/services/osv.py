"""A stand-in for the OSV database, which the tests cannot reach: it knows what it is told, and no more."""

import contextlib
import http.server
import json
from collections.abc import Iterator

from services.serving import serving


@contextlib.contextmanager
def database(*vulnerable: str) -> Iterator[str]:
    """Yield pip-audit's flags for it; vulnerable: names of packages."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = [{"id": "OSV-2026-1", "summary": "bad"}] if asked["package"]["name"] in vulnerable else []
            for item in known:
                package = {"package": {"name": asked["package"]["name"], "ecosystem": "PyPI"}}
                item |= {"affected": [package | {"versions": [asked["version"]]}]}
            body = json.dumps({"vulns": known} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)) as server:
        yield f"--vulnerability-service osv --osv-url http://127.0.0.1:{server.server_port}"
