"""The model as an AWS Lambda function: the answers of api.py to API Gateway v2 and Function URL events.

No FastAPI, because every import is paid for at each cold start. Configured by the environment only.
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

from ..errors import LifecycleError
from ..monitoring.profile import Profile
from ..project import NAME
from .aws_lambda_windows import Keeper, S3Recorder
from .predictor import Predictor
from .request import TOO_LARGE, WRONG_KEY, body_type, refuse

ROUTES = {"/predict": "POST", "/health": "GET"}
Answer = tuple[int, dict[str, Any]]


class Service:
    """The model, loaded once for each environment that Lambda starts."""

    def __init__(self) -> None:
        folder = Path(os.environ.get("MODEL_DIR", "model"))
        self.predictor = Predictor(folder)
        if not self.predictor.healthy():
            raise LifecycleError(f"{folder} does not predict its fixture row as published")
        schema, row = self.predictor.schema, self.predictor.fixture["row"]
        self._body: TypeAdapter[Any] = TypeAdapter(body_type(schema, row))
        self._limit = int(os.environ.get("MAX_BODY_BYTES", "1000000"))
        self._key = _api_key()
        self.recorder = S3Recorder(Profile.read(folder), self.predictor.version, self.predictor.anomaly_rules)
        self.keeper = Keeper(self.recorder)
        self.keeper.start()

    def answer(self, event: dict[str, Any]) -> Answer:
        """Answer one event; what is wrong with it is told as api.py tells it."""
        path = event.get("rawPath", "/")
        method = event["requestContext"]["http"]["method"]
        if path not in ROUTES:
            return 404, {"detail": "Not Found"}
        if method != ROUTES[path]:
            return 405, {"detail": "Method Not Allowed"}
        if path == "/health":
            return self.predictor.health()
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        if self._key and not compare_digest(headers.get("x-api-key", "").encode(), self._key.encode()):
            return 401, {"detail": WRONG_KEY}
        return self._predict(event, headers.get("content-type", ""))

    def _predict(self, event: dict[str, Any], content_type: str) -> Answer:
        raw = (event.get("body") or "").encode("utf-8", "surrogatepass")
        try:
            raw = base64.b64decode(raw) if event.get("isBase64Encoded") else raw
            if len(raw) > self._limit:
                return 413, {"detail": TOO_LARGE.format(self._limit)}
            if not raw:
                return self._refused([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
            body = self._body.validate_python(_parse(raw, content_type), from_attributes=True)
        except json.JSONDecodeError as error:
            fault = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error"}
            return self._refused([fault])
        except ValidationError as error:
            return self._refused([dict(item) for item in error.errors()])
        except (UnicodeDecodeError, RecursionError, binascii.Error):
            return 400, {"detail": "There was an error parsing the body"}
        return 200, self.predictor.respond(body, self.recorder)[0]

    def _refused(self, errors: list[dict[str, Any]]) -> Answer:
        answer, _ = refuse(errors, self.predictor.schema, self.recorder)
        return 422, answer


def _parse(raw: bytes, content_type: str) -> Any:
    """Read a body as FastAPI does: only what calls itself JSON is read as JSON."""
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return json.loads(raw) if kind == "application" and subtype.split("+")[-1] == "json" else raw


def _api_key() -> str:
    """Return API_KEY, or the secret that API_KEY_PARAMETER names in SSM; loading boto3 costs 0.3 s."""
    if name := os.environ.get("API_KEY_PARAMETER"):
        import boto3

        found = boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)
        return found["Parameter"]["Value"]
    return os.environ.get("API_KEY", "")


@cache
def service() -> Service:
    """Check and load the model; DigestMismatch when a file was changed."""
    return Service()


def handler(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Answer an API Gateway v2 or Function URL event."""
    start, loaded = time.perf_counter(), service()
    try:
        status, answer = loaded.answer(event)
        _measure(loaded.predictor, status, answer, time.perf_counter() - start)
        headers = {"content-type": "application/json"}
        return {"statusCode": status, "headers": headers, "body": json.dumps(answer, allow_nan=False)}
    finally:
        loaded.keeper.answered()


def _measure(predictor: Predictor, status: int, answer: dict[str, Any], seconds: float) -> None:
    """Log metrics in CloudWatch's embedded format, and the columns at fault: no call, and no row in it."""
    values: dict[str, Any] = {"version": predictor.version, "status": status}
    if status == 422:
        at_fault = {fault["field"] for fault in answer["detail"]}
        values["fields"] = [column.name for column in predictor.schema.columns if column.name in at_fault]
    units = {"requests": "Count", "errors": "Count", "rejected": "Count", "rows": "Count"}
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    metrics.append({"Name": "latency", "Unit": "Milliseconds"})
    about = {"Namespace": os.environ.get("STACK", NAME), "Dimensions": [["version"]], "Metrics": metrics}
    values |= {"requests": 1, "errors": int(status >= 500), "rejected": int(status == 422)}
    values |= {"rows": len(answer.get("predictions", ())), "latency": round(seconds * 1000, 3)}
    meta = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [about]}
    print(json.dumps({"_aws": meta, **values}), flush=True)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    service()  # in the init phase, which Lambda gives a whole processor
