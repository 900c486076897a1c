"""The server: POST /predict, GET /health, GET /metrics, and the docs page at /docs.

Environment variables configure it. It loads neither pandas, SciPy nor scikit-learn.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ..errors import LifecycleError
from ..model.predictor import Predictor
from ..monitoring.profile import Profile
from ..monitoring.serving_stats import Recorder
from ..project import Project
from .request_schema import Refusal, Refused, TooManyRows, answer_type, body_type, describe, refuse, respond
from .telemetry import Guard, Meters


class Server(BaseSettings):
    """The server's environment variables.

    model_dir: the version's folder (else artifacts/served). windows_dir: where counts are written every
    window_seconds (else artifacts/windows). api_key: unset, whoever reaches the port may predict. max_…: of a
    request; what is larger is answered with 413.
    """

    model_dir: Path | None = None
    windows_dir: Path | None = None
    window_seconds: float = Field(60, gt=0)
    api_key: SecretStr | None = None
    max_body_bytes: int = Field(1_000_000, gt=0)
    max_rows: int = Field(10_000, gt=0)


def create_app() -> FastAPI:
    """Check and load the model, and build the app around it: the factory that uvicorn calls.

    Raises DigestMismatch if a file was changed, LifecycleError if the fixture row is predicted otherwise.
    """
    project, server = Project.find(), Server()
    folder = server.model_dir or project.served
    predictor, profile = Predictor(folder, project.features.build), Profile.read(folder)
    if not predictor.healthy():
        raise LifecycleError(f"{folder} does not predict its fixture row as published")
    windows, version = server.windows_dir or project.windows, predictor.version
    recorder = Recorder(profile, windows, version, server.window_seconds, predictor.anomaly_rules)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        recorder.start()
        yield
        recorder.close()

    app = FastAPIOffline(title=project.name, version=version, redoc_url=None, lifespan=lifespan)
    app.description, meters = describe(predictor.schema), Meters(version, profile)
    key = server.api_key.get_secret_value().encode() if server.api_key else b""
    app.add_middleware(Guard, limit=server.max_body_bytes, key=key, meters=meters)
    _add_predict(app, predictor, recorder, meters, server)

    @app.exception_handler(Exception)
    async def crashed(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server failed on this request: its log says why"}, 500)

    @app.get("/health")
    def health(response: Response) -> dict[str, Any]:
        """Predict the fixture row that came with the model."""
        response.status_code, answer = predictor.health()
        return answer

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_predict(
    app: FastAPI, predictor: Predictor, recorder: Recorder, meters: Meters, server: Server
) -> None:
    schema = predictor.schema

    async def predict(body: Any) -> dict[str, Any]:
        answer, output = respond(predictor, body, recorder)
        meters.predicted(output)
        return answer

    predict.__annotations__["body"] = body_type(schema, predictor.fixture["row"], server.max_rows)
    refusals: dict[int | str, dict[str, Any]] = {400: {}, 408: {}, 413: {}, 422: {"model": Refusal}}
    guards = []
    if server.api_key:  # Guard checks it before a body is read; this is for the docs page
        refusals[401], guards = {}, [Security(APIKeyHeader(name="X-API-Key", auto_error=False))]
    shown: dict[str, Any] = {"summary": "Predict one row, or a list of rows", "responses": refusals}
    app.post("/predict", response_model=answer_type(schema), dependencies=guards, **shown)(predict)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        answer, names = refuse(error, schema, recorder)
        for name in names:
            meters.rejected.labels(name).inc()
        return JSONResponse(answer, status_code=422)

    @app.exception_handler(RequestValidationError)
    async def nonsense(request: Request, error: RequestValidationError) -> JSONResponse:
        return await refused(request, Refused(list(error.errors()), 0))

    @app.exception_handler(TooManyRows)
    async def too_many(_: Request, error: TooManyRows) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=413)
