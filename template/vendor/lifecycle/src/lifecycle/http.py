"""The one HTTP client: small JSON requests with a limit in time, and errors without secrets."""

import json
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from .errors import LifecycleError


@dataclass(frozen=True)
class Answer:
    """What a server said: its status and the body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError if it is none."""
        return json.loads(self.body or b"null")


def send(
    url: str, body: Any = None, headers: dict[str, str] | None = None, form: bool = False, seconds: float = 10
) -> Answer:
    """GET `url`, or POST a body to it: as JSON, or as a form's fields. Returns the answer of any status.

    Raises LifecycleError, without the address's query and user, where nobody answers within the seconds.
    """
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    data = None if body is None else (urlencode(body) if form else json.dumps(body)).encode()
    parts = urlsplit(url)
    shown = parts._replace(query="", netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.scheme not in ("http", "https"):
        raise LifecycleError(f"{shown} is not an address that starts with http:// or https://")
    headers = {"Content-Type": kind, "User-Agent": "lifecycle"} | (headers or {})
    try:
        with urlopen(Request(url, data, headers), timeout=seconds) as answer:
            return Answer(answer.status, answer.read())
    except HTTPError as error:
        return Answer(error.code, error.read())
    except (OSError, HTTPException) as error:
        text = f"{shown} cannot be reached: {error}"
        raise LifecycleError(text, "check the address and the network") from error
