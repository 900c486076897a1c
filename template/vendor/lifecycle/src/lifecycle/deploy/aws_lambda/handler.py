"""The model as an AWS Lambda function: the server's answers to API Gateway v2 and Function URL events.

FastAPI behind Mangum would double the time that imports take at a cold start (measured: 0.5 → 1.1 s), and
Powertools add a third, to replace 30 lines of routes and metrics. Requests are checked by the same pydantic
model as the server's. Configured by the environment only.
"""

import base64
import binascii
import json
import os
import time
from functools import cache
from hmac import compare_digest
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ...errors import LifecycleError
from ...model.predictor import Predictor
from ...monitoring.profile import Profile
from ...project import Project
from ...serving.request_schema import TOO_LARGE, WRONG_KEY, Refused, TooManyRows, body_type, refuse, respond
from .recorder import Keeper, S3Recorder, log_metrics, parameter

ROUTES = {"/predict": "POST", "/health": "GET"}
UNITS = dict.fromkeys(("requests", "errors", "rejected", "rows"), "Count") | {"latency": "Milliseconds"}
Answer = tuple[int, dict[str, Any]]


class Service:
    """The model, loaded once for each environment that Lambda starts."""

    def __init__(self) -> None:
        project = Project.find()
        folder = Path(os.environ.get("MODEL_DIR") or project.root / "model")
        self.predictor = Predictor(folder, project.features.build)
        if not self.predictor.healthy():
            raise LifecycleError(f"{folder} does not predict its fixture row as published")
        self._project, self._schema = project, self.predictor.schema
        self._limit = int(os.environ.get("MAX_BODY_BYTES", "1000000"))
        example, most_rows = self.predictor.fixture["row"], int(os.environ.get("MAX_ROWS", "10000"))
        self._body: TypeAdapter[Any] = TypeAdapter(body_type(self._schema, example, most_rows))
        self._key = _api_key()
        profile, rules = Profile.read(folder), self.predictor.anomaly_rules
        self._recorder = S3Recorder(project, profile, self.predictor.version, rules)
        self.keeper = Keeper(self._recorder)
        self.keeper.start()

    def answer(self, event: dict[str, Any]) -> Answer:
        """Return the status and the body for an event, as serving/app.py answers the same request."""
        path = event.get("rawPath", "/")
        if path not in ROUTES:
            return 404, {"detail": "Not Found"}
        if event["requestContext"]["http"]["method"] != ROUTES[path]:
            return 405, {"detail": "Method Not Allowed"}
        if path == "/health":
            return self.predictor.health()
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        if self._key and not compare_digest(headers.get("x-api-key", "").encode(), self._key.encode()):
            return 401, {"detail": WRONG_KEY}
        raw = (event.get("body") or "").encode("utf-8", "surrogatepass")
        try:
            raw = base64.b64decode(raw) if event.get("isBase64Encoded") else raw
            if len(raw) > self._limit:
                return 413, {"detail": TOO_LARGE.format(self._limit)}
            if not raw:
                return self._nonsense([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
            parsed = _parse(raw, headers.get("content-type", ""))
            body = self._body.validate_python(parsed, from_attributes=True)
        except json.JSONDecodeError as error:
            fault = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error"}
            return self._nonsense([fault])
        except ValidationError as error:
            return self._nonsense(error.errors())
        except Refused as error:
            return self._refuse(error)
        except TooManyRows as error:
            return 413, {"detail": str(error)}
        except (UnicodeDecodeError, RecursionError, binascii.Error):
            return 400, {"detail": "There was an error parsing the body"}
        return 200, respond(self.predictor, body, self._recorder)[0]

    def _nonsense(self, errors: list[Any]) -> Answer:
        return self._refuse(Refused(errors, 0))

    def _refuse(self, error: Refused) -> Answer:
        return 422, refuse(error, self._schema, self._recorder)[0]

    def log(self, status: int, answer: dict[str, Any], seconds: float) -> None:
        """Log metrics, and the columns at fault; nothing of a row."""
        values: dict[str, Any] = {"version": self.predictor.version, "status": status}
        if status == 422:
            at_fault = {fault["field"] for fault in answer["detail"]}
            values["fields"] = [column.name for column in self._schema.columns if column.name in at_fault]
        values |= {"requests": 1, "errors": int(status >= 500), "rejected": int(status == 422)}
        values |= {"rows": len(answer.get("predictions", ())), "latency": round(seconds * 1000, 3)}
        log_metrics(self._project, UNITS, values, "version")


def _parse(raw: bytes, content_type: str) -> Any:
    """Read a body as FastAPI does: only what calls itself JSON is read as JSON."""
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return json.loads(raw) if kind == "application" and subtype.split("+")[-1] == "json" else raw


def _api_key() -> str:
    """Return API_KEY, or the secret that API_KEY_PARAMETER names in SSM."""
    name = os.environ.get("API_KEY_PARAMETER")
    return parameter(name) if name else os.environ.get("API_KEY", "")


@cache
def service() -> Service:
    """Check and load the model. Raises DigestMismatch when a file was changed."""
    return Service()


def handler(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Answer an API Gateway v2 or Function URL event."""
    start, loaded = time.perf_counter(), service()
    try:
        status, answer = loaded.answer(event)
        loaded.log(status, answer, time.perf_counter() - start)
        headers = {"content-type": "application/json"}
        return {"statusCode": status, "headers": headers, "body": json.dumps(answer, allow_nan=False)}
    finally:
        loaded.keeper.answered()


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    service()  # in the init phase, which Lambda gives a whole processor
