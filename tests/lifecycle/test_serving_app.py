"""The server: answers, refusals that say what is allowed, and never a 500."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from lifecycle.errors import DigestMismatch, LifecycleError
from lifecycle.model.package import MANIFEST
from lifecycle.model.predictor import Predictor, same
from lifecycle.monitoring.profile import Profile
from lifecycle.project import Project
from lifecycle.serving.app import create_app

Serve = Callable[..., TestClient]
JSON = {"content-type": "application/json"}


@pytest.fixture
def serve(project: Project, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Make the server of the candidate; given: environment variables."""

    def make(**given: str) -> TestClient:
        for name, value in {"MODEL_DIR": str(project.candidate), **given}.items():
            monkeypatch.setenv(name, value)
        return TestClient(create_app())

    return make


@pytest.fixture
def client(serve: Serve) -> Iterator[TestClient]:
    with serve() as client:
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


def test_a_class_is_answered_with_its_probabilities(
    classifier_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = classifier_project
    monkeypatch.setenv("MODEL_DIR", str(project.candidate))
    predictor = Predictor(project.candidate, project.features.build)
    with TestClient(create_app()) as client:
        answer = client.post("/predict", json=predictor.fixture["row"]).json()["predictions"][0]
        metrics = client.get("/metrics").text
    assert same(answer, predictor.fixture["prediction"])
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert f'predicted_class_total{{class="{answer["prediction"]}"}} 1.0' in metrics


def test_health_predicts_the_fixture_row(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/health").json() == {"status": "ok", "version": predictor.version}


def test_the_version_that_lifecycle_serve_has_fetched_is_the_default(
    project: Project, predictor: Predictor
) -> None:
    project.candidate.rename(project.served)
    with TestClient(create_app()) as client:
        assert client.get("/health").json()["version"] == predictor.version
        client.post("/predict", json=predictor.fixture["row"])
    assert list((project.windows / predictor.version).glob("*.json"))


def test_a_changed_model_is_not_served(project: Project, serve: Serve) -> None:
    path = project.candidate / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["fixture"]["prediction"]["prediction"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(LifecycleError, match="does not predict its fixture row"):
        serve()
    (project.candidate / "model.onnx").write_bytes(b"another")
    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        serve()


def test_a_value_out_of_range_is_refused_with_its_range(
    client: TestClient, predictor: Predictor, row: dict[str, Any]
) -> None:
    bounded = [column for column in predictor.schema.columns if column.maximum is not None]
    assert bounded
    for column in bounded:
        assert column.maximum is not None
        answer = client.post("/predict", json=row | {column.name: column.maximum + 1000})
        assert answer.status_code == 422
        fault = answer.json()["detail"][0]
        assert (fault["row"], fault["field"], fault["allowed"]) == (0, column.name, column.rule)


@pytest.mark.parametrize(
    "body",
    ["", "{", "null", "[]", "{}", "[[]]", "7", '"x"', '{"no such field": 1}', "[" * 5000, "\ud800"],
)
def test_nonsense_is_refused(client: TestClient, body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    answer = client.post("/predict", content=content, headers=JSON)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("value", ["NaN", "1e999", "-1e999", '"\\ud800"', "true", "{}", "9" * 400])
def test_odd_values_never_break_the_server(client: TestClient, row: dict[str, Any], value: str) -> None:
    for name in row:
        rest = json.dumps({key: item for key, item in row.items() if key != name})
        body = rest[:-1] + (", " if len(row) > 1 else "") + f"{json.dumps(name)}: {value}}}"
        answer = client.post("/predict", content=body, headers=JSON)
        assert answer.status_code in (200, 400, 422)


def test_a_field_that_is_unknown_is_named_and_what_was_sent_is_not_repeated(
    client: TestClient, row: dict[str, Any]
) -> None:
    answer = client.post("/predict", json=[row, row | {"extra": "hunter2"}])
    assert answer.json()["detail"] == [
        {"row": 1, "field": "extra", "problem": "there is no such field", "allowed": None}
    ]


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    """Whether its length is announced or not; no more than the limit is read."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while read < 5_000_000:
            read += 600_000
            yield b" " * 600_000

    announced = client.post("/predict", content=b" " * 1_000_001, headers=JSON)
    assert announced.status_code == 413 and "over the limit of 1,000,000 bytes" in announced.json()["detail"]
    assert client.post("/predict", content=endless(), headers=JSON).status_code == 413
    assert client.post("/predict", content=b" " * 1_000_000, headers=JSON).status_code == 422
    assert 'requests_total{status="413"} 2.0' in client.get("/metrics").text


def test_the_docs_show_each_column_and_its_range(client: TestClient, predictor: Predictor) -> None:
    page = client.get("/openapi.json").json()
    shown = page["components"]["schemas"]["Row"]
    for column in predictor.schema.columns:
        assert column.rule in shown["properties"][column.name]["description"]
        assert f"| `{column.name}` | {column.rule}" in page["info"]["description"]
    assert shown["example"] == predictor.fixture["row"]
    assert set(page["paths"]["/predict"]["post"]["responses"]) == {"200", "400", "408", "413", "422"}
    assert "//cdn" not in client.get("/docs").text


def test_metrics_count_requests_and_rows(
    client: TestClient, predictor: Predictor, row: dict[str, Any]
) -> None:
    needed = next(column.name for column in predictor.schema.columns if not column.nullable)
    client.post("/predict", json=[row, row])
    client.post("/predict", json={})
    text = client.get("/metrics").text
    assert 'requests_total{status="200"} 1.0' in text
    assert 'requests_total{status="422"} 1.0' in text
    assert "predicted_rows_total 2.0" in text
    assert 'prediction_bucket{le="+Inf"} 2.0' in text and "request_seconds_count 2.0" in text
    assert f'rejected_rows_total{{field="{needed}"}} 1.0' in text


def test_a_crash_is_counted_as_the_answer_that_the_client_gets(
    serve: Serve, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(serve().app, raise_server_exceptions=False)
    client.post("/predict", json=row)
    monkeypatch.setattr(Predictor, "predict_arrays", lambda *_: 1 / 0)
    crashed = client.post("/predict", json=row)
    assert crashed.status_code == 500 and "its log says why" in crashed.json()["detail"]
    text = client.get("/metrics").text
    assert 'requests_total{status="500"} 1.0' in text and 'requests_total{status="200"} 1.0' in text
    assert "request_seconds_count 2.0" in text


def test_no_more_rows_than_the_limit_are_looked_at(serve: Serve, row: dict[str, Any]) -> None:
    with serve(MAX_ROWS="3") as client:
        assert client.post("/predict", json=[row] * 3).status_code == 200
        answer = client.post("/predict", json=[row] * 4)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "4 rows are over the limit of 3 rows a request: send fewer"


@pytest.mark.parametrize("body", ["[{},{}]", '{"k1":1,"k2":1}', "[[1],[1]]"], ids=["rows", "fields", "lists"])
def test_faults_are_listed_up_to_a_limit_and_refused_rows_are_all_counted(
    project: Project, serve: Serve, body: str
) -> None:
    """However many there are: pydantic's errors of a body of 1 MB took 2 GB."""
    many = [f'"no such {i}":1' for i in range(9000)]
    content = {
        "[{},{}]": "[" + ",".join(["{}"] * 9000) + "]",
        "[[1],[1]]": "[" + ",".join(["[1]"] * 9000) + "]",
    }
    tracemalloc.start()
    with serve() as client:
        tracemalloc.reset_peak()
        answer = client.post("/predict", content=content.get(body, "{" + ",".join(many) + "}"), headers=JSON)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 422 and len(answer.json()["detail"]) == 100
    assert peak < 50_000_000
    written = [json.loads(path.read_text())["rejected"] for path in project.windows.rglob("*.json")]
    assert sum(written) == {"[{},{}]": 9000, "[[1],[1]]": 0}.get(body, 1)


def test_with_a_key_only_its_holder_may_predict(serve: Serve, row: dict[str, Any]) -> None:
    with serve(API_KEY="s3cret") as client:
        assert client.post("/predict", json=row).status_code == 401
        assert client.post("/predict", json=row, headers={"X-API-Key": "wrong"}).status_code == 401
        assert client.post("/predict", json=row, headers={"X-API-Key": "s3cret"}).status_code == 200
        assert client.get("/health").status_code == 200
        shown = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
        assert "401" in shown["responses"] and shown["security"] == [{"APIKeyHeader": []}]
        assert 'requests_total{status="401"} 2.0' in client.get("/metrics").text


def test_without_the_key_nothing_of_a_body_is_parsed(serve: Serve) -> None:
    with serve(API_KEY="s3cret") as client:
        for body in ("{", "[" * 5000, " " * 1_000_001):
            assert client.post("/predict", content=body, headers=JSON).status_code == 401


def test_a_time_that_has_no_place_in_utc_is_refused(
    classifier_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = classifier_project
    monkeypatch.setenv("MODEL_DIR", str(project.candidate))
    with TestClient(create_app()) as client:
        row = Predictor(project.candidate, project.features.build).fixture["row"]
        for value in ("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-01:00"):
            answer = client.post("/predict", json=row | {"ordered_at": value})
            fault = answer.json()["detail"][0]
            assert answer.status_code == 422 and fault["field"] == "ordered_at"
            assert "years 1 to 9999" in fault["problem"]
        assert client.post("/predict", json=row | {"ordered_at": "0001-01-01T00:00:00Z"}).status_code == 200


def test_what_was_served_is_counted_when_the_server_ends(
    project: Project, serve: Serve, row: dict[str, Any]
) -> None:
    with serve() as client:
        client.post("/predict", json=[row] * 5)
        client.post("/predict", json=[row, {}])
    written = [json.loads(path.read_text()) for path in project.windows.rglob("*.json")]
    assert [(window["rows"], window["rejected"]) for window in written] == [(5, 1)]
    total = Profile.read(project.candidate).empty()
    total.add_counts(written)
    assert total.rows == 5


def test_each_prediction_has_an_id_by_which_labels_find_it(
    project: Project, serve: Serve, row: dict[str, Any]
) -> None:
    with serve() as client:
        answer = client.post("/predict", json=[row] * 3).json()
    files = project.windows.rglob("predictions/*.csv")
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert [line.rpartition(",")[2] for line in lines] == answer["ids"]
    assert len(set(answer["ids"])) == 3


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("serving.app", set()),
        (
            "serving.request_schema",
            {"click", "fastapi", "pydantic_settings", "prometheus_client"},
        ),  # Lambda's
        ("serving.smoke_test", {"numpy", "pydantic"}),
        ("deploy.canary", {"numpy", "pydantic"}),
    ],
)
def test_what_serves_loads_no_training_library(module: str, more: set[str]) -> None:
    program = f"import sys, lifecycle.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"pandas", "pandera", "scipy", "sklearn", "mlflow", "boto3", "pyarrow", "dvc"}
    assert not (heavy | more) & set(done.stdout.split())
