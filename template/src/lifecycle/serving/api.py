"""The server: POST /predict, GET /health, GET /metrics, and the docs page at /docs.

Configured by the environment only. Neither pandas, SciPy nor scikit-learn is loaded.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from .. import project
from ..errors import LifecycleError
from ..monitoring.profile import Profile
from ..monitoring.windows import Recorder
from .guard import Guard, Meters
from .predictor import Predictor
from .request import WRONG_KEY, Refusal, answer_type, body_type, describe, refuse


class Server(BaseSettings):
    """The server's environment variables. API_KEY unset: whoever reaches the port may predict."""

    model_dir: Path = Path("artifacts/served")
    windows_dir: Path = Path("artifacts/windows")
    window_seconds: float = Field(60, gt=0)
    api_key: SecretStr | None = None
    max_body_bytes: int = Field(1_000_000, gt=0)


def create_app() -> FastAPI:
    """Check and load the model, then build the app; DigestMismatch when a file was changed."""
    server = Server()
    predictor = Predictor(server.model_dir)
    if not predictor.healthy():
        raise LifecycleError(f"{server.model_dir} does not predict its fixture row as published")
    profile = Profile.read(server.model_dir)
    recorder = Recorder(
        profile, server.windows_dir, predictor.version, server.window_seconds, predictor.anomaly_rules
    )
    meters = Meters(predictor.version, profile)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        recorder.start()
        yield
        recorder.close()

    app = FastAPIOffline(
        redoc_url=None,
        title=project.NAME,
        version=predictor.version,
        description=describe(predictor.schema),
        lifespan=lifespan,
    )
    app.add_middleware(Guard, limit=server.max_body_bytes, meters=meters)
    guards = [Depends(_key_check(server.api_key.get_secret_value()))] if server.api_key else []
    _add_predict(app, predictor, recorder, meters, guards)
    _add_operations(app, predictor, meters)
    return app


def _key_check(key: str) -> Any:
    header = APIKeyHeader(name="X-API-Key", auto_error=False)

    def check(given: Annotated[str | None, Security(header)]) -> None:
        if not secrets.compare_digest((given or "").encode(), key.encode()):
            raise HTTPException(401, WRONG_KEY)

    return check


def _add_predict(
    app: FastAPI, predictor: Predictor, recorder: Recorder, meters: Meters, guards: list[Any]
) -> None:
    schema = predictor.schema

    async def predict(body: Any) -> dict[str, Any]:
        answer, output = predictor.respond(body, recorder)
        meters.rows.inc(len(output))
        meters.predictions.add(output)
        return answer

    predict.__annotations__["body"] = body_type(schema, predictor.fixture["row"])
    summary = "Predict one row, or a list of rows"
    refusals: dict[int | str, dict[str, Any]] = {413: {}, 422: {"model": Refusal}}
    route = app.post(
        "/predict",
        response_model=answer_type(schema),
        summary=summary,
        dependencies=guards,
        responses=refusals | ({401: {}} if guards else {}),
    )
    route(predict)

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, error: RequestValidationError) -> JSONResponse:
        answer, names = refuse(list(error.errors()), schema, recorder)
        for name in names:
            meters.rejected.labels(name).inc()
        return JSONResponse(answer, status_code=422)


def _add_operations(app: FastAPI, predictor: Predictor, meters: Meters) -> None:
    @app.get("/health")
    def health(response: Response) -> dict[str, Any]:
        """Predict the fixture row that came with the model."""
        response.status_code, answer = predictor.health()
        return answer

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)
