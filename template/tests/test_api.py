"""The server: answers, refusals that say what is allowed, and never a 500."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.project import CANDIDATE, WINDOWS
from lifecycle.serving.api import create_app
from lifecycle.serving.predictor import Predictor, same


@pytest.fixture
def client(work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("MODEL_DIR", str(CANDIDATE))
    with TestClient(create_app()) as client:
        yield client


@pytest.fixture
def row(predictor: Predictor) -> dict[str, Any]:
    return dict(predictor.fixture["row"])


def test_one_row_and_many(client: TestClient, predictor: Predictor, row: dict[str, Any]) -> None:
    for body, count in ((row, 1), ([row, row, row], 3)):
        answer = client.post("/predict", json=body).json()
        assert answer["version"] == predictor.version
        assert len(answer["predictions"]) == count
        assert all(same(item, predictor.fixture["prediction"]) for item in answer["predictions"])


def test_health_predicts_the_fixture_row(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/health").json() == {"status": "ok", "version": predictor.version}


def test_a_value_out_of_range_is_refused_with_its_range(
    client: TestClient, predictor: Predictor, row: dict[str, Any]
) -> None:
    for column in predictor.schema.columns:
        if column.maximum is None:
            continue
        answer = client.post("/predict", json=row | {column.name: column.maximum + 1000})
        assert answer.status_code == 422
        fault = answer.json()["detail"][0]
        assert (fault["field"], fault["allowed"]) == (column.name, column.rule)


@pytest.mark.parametrize(
    "body",
    ["", "{", "null", "[]", "{}", "[[]]", "7", '"x"', '{"no such field": 1}', "[" * 5000, "\ud800"],
)
def test_nonsense_is_refused(client: TestClient, body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    answer = client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("value", ["NaN", "1e999", "-1e999", '"\\ud800"', "true", "{}", "9" * 400])
def test_odd_values_never_break_the_server(client: TestClient, row: dict[str, Any], value: str) -> None:
    for name in row:
        rest = json.dumps({key: item for key, item in row.items() if key != name})
        body = rest[:-1] + (", " if len(row) > 1 else "") + f"{json.dumps(name)}: {value}}}"
        answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 422)


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    assert client.post("/predict", content=b" " * 1_000_001).status_code == 413
    assert client.post("/predict", content=iter([b" " * 600_000] * 2)).status_code == 413


def test_the_docs_show_each_column_and_its_range(client: TestClient, predictor: Predictor) -> None:
    shown = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["properties"]
    for column in predictor.schema.columns:
        assert column.rule in shown[column.name]["description"]
    assert "//cdn" not in client.get("/docs").text


def test_metrics_count_requests_and_rows(client: TestClient, row: dict[str, Any]) -> None:
    client.post("/predict", json=[row, row])
    client.post("/predict", json={})
    text = client.get("/metrics").text
    assert 'requests_total{status="200"} 1.0' in text
    assert 'requests_total{status="422"} 1.0' in text
    assert "predicted_rows_total 2.0" in text


def test_with_a_key_only_its_holder_may_predict(
    work: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(CANDIDATE))
    monkeypatch.setenv("API_KEY", "s3cret")
    with TestClient(create_app()) as client:
        assert client.post("/predict", json=row).status_code == 401
        assert client.post("/predict", json=row, headers={"X-API-Key": "wrong"}).status_code == 401
        assert client.post("/predict", json=row, headers={"X-API-Key": "s3cret"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_what_was_served_is_counted_when_the_server_ends(
    work: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(CANDIDATE))
    with TestClient(create_app()) as client:
        client.post("/predict", json=[row] * 5)
    windows = [json.loads(path.read_text()) for path in WINDOWS.rglob("*.json")]
    assert [window["rows"] for window in windows] == [5]


def test_each_prediction_has_an_id_by_which_labels_find_it(
    work: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(CANDIDATE))
    with TestClient(create_app()) as client:
        answer = client.post("/predict", json=[row] * 3).json()
    lines = [line for path in WINDOWS.rglob("predictions/*.csv") for line in path.read_text().splitlines()]
    assert [line.rpartition(",")[2] for line in lines] == answer["ids"]
    assert len(set(answer["ids"])) == 3


def test_the_server_loads_no_training_library() -> None:
    program = "import sys, lifecycle.serving.api; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"pandas", "pandera", "scipy", "sklearn", "mlflow", "boto3", "pyarrow"}
    assert not heavy & set(done.stdout.split())
