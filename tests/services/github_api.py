"""A stand-in for GitHub's API: who may do what in a repository, and comments on its issues."""

import http.server
import json
from contextlib import AbstractContextManager

from services.serving import serving


class GitHubApi(http.server.ThreadingHTTPServer):
    """may: what each person may; comments: {issue: what was said}."""

    def __init__(self, may: dict[str, str]) -> None:
        self.comments: dict[str, list[str]] = {}
        api = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def answer(self, code: int, what: object) -> None:
                code = code if self.headers["Authorization"] == "Bearer t0ken" else 401
                body = json.dumps(what).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                *_, name, last = self.path.split("/")
                assert last == "permission" and self.path.startswith("/repos/acme/parcels/collaborators/")
                self.answer(200, {"permission": may.get(name, "none")})

            def do_POST(self) -> None:
                *_, issue, last = self.path.split("/")
                assert last == "comments" and self.path.startswith("/repos/acme/parcels/issues/")
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
                api.comments.setdefault(issue, []).append(said)
                self.answer(201, {})

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def api(**may: str) -> AbstractContextManager[GitHubApi]:
    return serving(GitHubApi(may))
