"""Webhooks: what they ask for, whatever they look like, and the server that takes them."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifecycle.automation.checks import NOTE, recorded
from lifecycle.automation.policy import ALERT, RETRAIN, ROLL_BACK, Check
from lifecycle.automation.retraining import begin, end
from lifecycle.automation.webhook_server import create_app
from lifecycle.automation.webhooks import answer, asked
from lifecycle.errors import LifecycleError, SettingsError
from lifecycle.project import Project
from lifecycle.state.store import open_state
from prometheus_client.parser import text_string_to_metric_families

TOKEN = "a-token-of-enough-length"
FIRING = {"status": "firing", "labels": {"alertname": "ModelErrorHigh"}}
CREATED = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "new.csv"}}}


def fires(name: str, **more: Any) -> dict[str, Any]:
    labels = {"alertname": name} | ({"action": more.pop("action")} if "action" in more else {})
    return {"status": "firing", "labels": labels} | more


@pytest.mark.parametrize(
    ("payload", "action", "reason"),
    [
        ({"reason": "  a new price list "}, RETRAIN, "a new price list"),
        ({"reason": "x" * 600}, RETRAIN, "x" * 500),
        ({"reason": "one\nline\0 \ud800 only"}, RETRAIN, "one line    only"),
        ({"alerts": [FIRING]}, RETRAIN, "alert: ModelErrorHigh"),
        ({"alerts": [fires("B"), fires("A", annotations={"summary": "up"})]}, RETRAIN, "alert: A (up), B"),
        ({"alerts": [fires("A"), fires("B", action="roll back")]}, ROLL_BACK, "alert: B"),
        ({"alerts": [fires("A", action="tell"), fires("B", action="no such")]}, RETRAIN, "alert: B"),
        ({"alerts": [fires("A", action="tell")]}, ALERT, "alert: A"),
        ({"alerts": [FIRING | {"status": "resolved"}]}, "", ""),
        ({"alerts": []}, "", ""),
        ({"Records": [CREATED]}, RETRAIN, "new data: new.csv"),
        ({"Records": [CREATED | {"eventName": "s3:ObjectRemoved:Delete"}]}, "", ""),
    ],
)
def test_what_is_asked_for(payload: Any, action: str, reason: str) -> None:
    assert asked(payload)[:2] == (action, reason)


@pytest.mark.parametrize(
    "payload",
    [
        *(None, 1, "x", [], {}, {"other": "x"}, {"reason": ""}, {"reason": " "}, {"reason": 1}),
        *({"alerts": [1]}, {"alerts": {}}, {"alerts": [{"status": "firing"}]}, {"alerts": [{"labels": {}}]}),
        *(
            {"alerts": [FIRING | {"labels": ["alertname"]}]},
            {"alerts": [FIRING | {"labels": {"action": []}}]},
        ),
        *({"alerts": [FIRING | {"annotations": 1}]}, {"alerts": [fires(1)]}),  # type: ignore[arg-type]
        *({"alerts": [FIRING | {"startsAt": when}]} for when in (1, "yesterday", "0000-01-01T00:00:00Z")),
        {"alerts": [fires("A", startsAt="2026-01-01T00:00:00Z", annotations={"for": "soon"})]},
        *(
            {"Records": [{}]},
            {"Records": [CREATED | {"s3": None}]},
            {"Records": [CREATED | {"eventName": 1}]},
        ),
    ],
)
def test_another_shape_is_refused(payload: Any, project: Project) -> None:
    with pytest.raises(LifecycleError, match="another shape"):
        asked(payload)
    assert answer(project, json.dumps(payload).encode())[0] == 400


@pytest.fixture
def started(project: Project) -> Path:
    """A cron.sh that only writes down what it is called with; the file that it writes."""
    script = project.root / "orchestration/cron.sh"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$*" >>{project.root}/started\n')
    script.chmod(0o755)
    return project.root / "started"


@pytest.fixture
def client(project: Project, started: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("LIFECYCLE_LISTEN_TOKEN", TOKEN)
    app = create_app(project)
    return TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False)


def test_two_hundred_at_once_are_all_answered(client: TestClient, started: Path) -> None:
    """One starts a retraining, and each of the others is told why it does not."""
    payload = {"reason": "new prices"}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.post("/", json=payload), range(200)))
    assert [answer.status_code for answer in answers].count(202) == 1
    assert [answer.status_code for answer in answers].count(200) == 199


def test_statuses(client: TestClient, started: Path) -> None:
    for wrong in ("", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}"):
        for method, path in (("POST", "/"), ("GET", "/metrics"), ("GET", "/nothing")):
            assert client.request(method, path, headers={"Authorization": wrong}).status_code == 401
    assert client.post("/", content=b"{").status_code == 400
    assert client.post("/", content=b"[" * 100_000).status_code == 400
    assert client.post("/", content=b"\xff").status_code == 400
    assert client.post("/", content=b"1" * 5000).status_code == 400
    assert client.post("/", json={"other": "x"}).status_code == 400
    assert client.post("/", content=b"x" * 1_000_001).status_code == 413
    assert client.post("/", content=iter([b"{}"])).status_code == 413, "without a length"
    for length in ("9" * 4400, "-1", "1e3", "0x10", "²"):
        odd = client.post("/", content=b"{}", headers={"Content-Length": length.encode("latin-1")})
        assert odd.status_code == 413, length
    for odd in (
        b"null",
        b'"\\ud800"',
        b'{"reason": "\\u0000"}',
        b'{"alerts": [{"status": "firing", "labels": null}]}',
    ):
        assert client.post("/", content=odd).status_code == 400, odd
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404
    ignored = client.post("/", json={"alerts": [FIRING | {"status": "resolved"}]})
    assert (ignored.status_code, ignored.json()) == (200, {"ignored": "nothing fires, nothing was created"})
    assert not started.exists()
    first = client.post("/", json={"reason": "a new\nprice list"})
    assert (first.status_code, first.json()) == (202, {"started": "a new price list"})
    second = client.post("/", json={"alerts": [FIRING]})
    assert second.status_code == 200 and "the last start was 0 min ago" in second.json()["dropped"]
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started.read_text() == "retrain a new price list\n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
LABELS = st.dictionaries(
    st.sampled_from(["alertname", "action"]), JSON | st.sampled_from(["tell", "roll back"])
)
ALERTS = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"status": st.sampled_from(["firing", "resolved"]) | JSON, "labels": LABELS | JSON},
        optional={"annotations": st.dictionaries(st.just("summary"), JSON) | JSON},
    ),
    max_size=3,
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "eventName": st.sampled_from(["ObjectCreated:Put", "s3:ObjectCreated:Copy"]) | JSON,
            "s3": st.fixed_dictionaries({"object": st.fixed_dictionaries({"key": JSON}) | JSON}) | JSON,
        }
    )
    | JSON,
    max_size=3,
)
PAYLOADS = st.one_of(
    JSON.map(json.dumps),
    st.fixed_dictionaries({"alerts": ALERTS}).map(json.dumps),
    st.fixed_dictionaries({"Records": RECORDS}).map(json.dumps),
    st.fixed_dictionaries({"reason": st.text() | JSON}).map(json.dumps),
).map(str.encode) | st.binary(max_size=50)


@given(body=PAYLOADS)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_payload_is_an_error_of_the_server(body: bytes, client: TestClient) -> None:
    assert client.post("/", content=body).status_code in (200, 202, 400)


def test_what_could_not_be_started_is_reported_and_the_cooldown_given_back(
    client: TestClient, project: Project, capsys: pytest.CaptureFixture[str], started: Path
) -> None:
    script = project.root / "orchestration/cron.sh"
    script.chmod(0o644)
    assert client.post("/", json={"reason": "x"}).status_code == 503
    assert "alert: retrain (x) could not be done: " in capsys.readouterr().err
    script.chmod(0o755)
    assert client.post("/", json={"reason": "x"}).status_code == 202


def test_metrics_are_what_is_known_of_the_loop(
    client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/metrics").text == ""
    state = open_state(project)
    check = {"version": "v2", "at": 5.0, "drift": "drift", "ks": {"distance_km": 0.3}}
    later = {"version": "v2", "at": 9.0, "service": "worse"}
    assert state.swap(NOTE, json.dumps([check, later]), "")
    assert recorded(state)[0] == [Check("v2", 5.0, "drift", ks={"distance_km": 0.3}), Check(**later)]
    begin(project, "a", "schedule")
    end(project, "a", 5)
    answered = client.get("/metrics")
    assert answered.headers["content-type"].startswith("text/plain")
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answered.text)
        for sample in family.samples
    }
    assert (
        values[("lifecycle_verdict", "drift", "v2")] == 1
        and sum(value for name, value in values.items() if name[0] == "lifecycle_verdict") == 1
    )
    assert values[("lifecycle_check_seconds",)] == 5
    assert values[("lifecycle_feature_ks", "distance_km")] == 0.3
    assert values[("lifecycle_retraining_exit_code",)] == 5
    assert values[("lifecycle_retraining_ended_seconds",)] == pytest.approx(time.time(), abs=60)
    (project.root / "gone").symlink_to("gone")  # leads nowhere: a shared disk that is away
    monkeypatch.setenv("STATE_URI", f"file://{project.root}/gone")
    assert client.get("/metrics").status_code == 503


def test_it_does_not_start_without_a_token_or_without_anything_to_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_LISTEN_TOKEN", "short")
    with pytest.raises(SettingsError, match="LIFECYCLE_LISTEN_TOKEN is not set, or is short"):
        create_app(project)
    monkeypatch.setenv("LIFECYCLE_LISTEN_TOKEN", TOKEN)
    with pytest.raises(SettingsError, match="TRIGGER is not set"):
        create_app(project)
    monkeypatch.setenv("TRIGGER", "github")
    create_app(project)


@pytest.fixture
def listener(project: Project, started: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """`lifecycle listen` in a process of its own; its port."""
    monkeypatch.setenv("LIFECYCLE_LISTEN_TOKEN", TOKEN)
    with create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "lifecycle.cli", "listen", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and "listening on http://127.0.0.1" in server.stdout.readline()
        try:
            deadline = time.monotonic() + 30
            while not ask(port, None)[0] and time.monotonic() < deadline:
                time.sleep(0.05)
            yield port
        finally:
            server.terminate()


def ask(port: int, payload: object) -> tuple[int, dict[str, str]]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", json.dumps(payload).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return answered.status, json.loads(answered.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


def test_a_storm_of_webhooks_starts_one_run(listener: int, started: Path) -> None:
    storm = [{"alerts": [FIRING]}, {"Records": [CREATED]}, *({"reason": f"r{n}"} for n in range(8))]
    answers: list[tuple[int, dict[str, str]]] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(ask(listener, p))) for p in storm]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reasons = [said["started"] for status, said in answers if status == 202]
    dropped = [said["dropped"] for status, said in answers if status == 200]
    assert len(reasons) == 1 and len(dropped) == len(storm) - 1
    assert all("the last start was 0 min ago" in text for text in dropped)
    assert started.read_text().splitlines() == [f"retrain {reasons[0]}"]
