"""The handler for AWS: to the same requests the same answers as the server's, whatever is wrong with them."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from lifecycle.deploy.aws_lambda import handler as aws_lambda
from lifecycle.errors import DigestMismatch
from lifecycle.model.predictor import Predictor
from lifecycle.project import Project
from lifecycle.serving.app import create_app

JSON = {"content-type": "application/json"}
KEY = "s3cret"


class Both:
    """Asks the server and the handler the same, and gives their one answer."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def ask(self, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[int, Any]:
        server = self._client.request(method, path, content=content, headers=headers)
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": headers,
            "requestContext": {"http": {"method": method, "path": path}},
            "body": base64.b64encode(content).decode(),
            "isBase64Encoded": True,
        }
        answer = aws_lambda.handler(event)
        body, theirs = json.loads(answer["body"]), server.json()
        assert len(body.pop("ids", ())) == len(theirs.pop("ids", ())), "each gives ids of its own"
        assert (answer["statusCode"], body) == (server.status_code, theirs), content[:200]
        return answer["statusCode"], body

    def predict(self, content: str) -> int:
        return self.ask("POST", "/predict", content.encode("utf-8", "surrogatepass"), **JSON)[0]


@pytest.fixture
def both(project: Project, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Both]:
    monkeypatch.setenv("MODEL_DIR", str(project.candidate))
    monkeypatch.setenv("API_KEY", getattr(request, "param", ""))
    aws_lambda.service.cache_clear()
    with TestClient(create_app()) as client:
        yield Both(client)
    aws_lambda.service.cache_clear()


@pytest.fixture
def row(predictor: Predictor) -> dict[str, Any]:
    return dict(predictor.fixture["row"])


def test_predictions_are_the_same_to_the_last_digit(both: Both, row: dict[str, Any]) -> None:
    assert both.predict(json.dumps(row)) == 200
    assert both.predict(json.dumps([row, row])) == 200


def test_what_is_wrong_with_a_row_is_reported_in_the_same_words(
    both: Both, predictor: Predictor, row: dict[str, Any]
) -> None:
    for column in predictor.schema.columns:
        for value in (None, True, "x", -1e12, float("nan"), {}, "\ud800"):
            both.predict(json.dumps(row | {column.name: value}))
        without = {name: value for name, value in row.items() if name != column.name}
        both.predict(json.dumps([row, without]))
    assert both.predict(json.dumps(row | {"no such field": 1})) == 422


@pytest.mark.parametrize("body", ["", "{", "null", "[]", "{}", "[[]]", "7", '"x"', "[" * 100_000, "\ud800"])
def test_nonsense_is_refused_alike(both: Both, body: str) -> None:
    assert both.predict(body) in (400, 422)


def test_other_requests(both: Both, row: dict[str, Any]) -> None:
    assert both.ask("GET", "/health")[0] == 200
    assert both.ask("GET", "/nowhere")[0] == 404
    assert both.ask("GET", "/predict")[0] == 405
    assert both.ask("POST", "/predict", b" " * 1_000_001, **JSON)[0] == 413
    assert both.ask("POST", "/predict", json.dumps(row).encode(), **{"content-type": "text/plain"})[0] == 422


@pytest.mark.parametrize("both", [KEY], indirect=True)
def test_only_the_holder_of_the_key_may_predict(both: Both, row: dict[str, Any]) -> None:
    body = json.dumps(row).encode()
    assert both.ask("POST", "/predict", body, **JSON)[0] == 401
    assert both.ask("POST", "/predict", body, **JSON | {"X-API-Key": "wrong"})[0] == 401
    assert both.ask("POST", "/predict", body, **JSON | {"X-API-Key": KEY})[0] == 200
    assert both.ask("GET", "/health")[0] == 200


def test_requests_are_logged_as_metrics_and_without_their_rows(
    both: Both, predictor: Predictor, row: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    both.predict(json.dumps([row, row]))
    logged = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (logged["requests"], logged["rows"], logged["rejected"]) == (1, 2, 0)
    names = {metric["Name"] for metric in logged["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert names <= logged.keys() and not row.keys() & logged.keys()
    faulty = next(column.name for column in predictor.schema.columns)
    both.predict(json.dumps(row | {faulty: {}, "Ada's secret": 1}))
    refused = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(refused)["fields"] == [faulty] and "secret" not in refused


def test_a_changed_model_is_not_served(both: Both, project: Project) -> None:
    (project.candidate / "model.onnx").write_bytes(b"not the model")
    with pytest.raises(DigestMismatch, match=r"model\.onnx is not the file that was published"):
        aws_lambda.handler({"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}})
