"""Commands, the smoke test and the load of a drill, against a server that really listens."""

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import uvicorn
from click.testing import CliRunner, Result
from lifecycle.cli import app
from lifecycle.deploy import load
from lifecycle.deploy.drill import drill
from lifecycle.deploy.load import Load, table
from lifecycle.errors import DataError, LifecycleError
from lifecycle.model.package import MANIFEST
from lifecycle.model.predictor import Predictor
from lifecycle.project import Project
from lifecycle.registry.base import PRODUCTION, open_registry
from lifecycle.serving import __main__ as serving_main
from lifecycle.serving import smoke_test, telemetry

NOWHERE = "http://127.0.0.1:1"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def url(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of the candidate, as it is run; it waits a second for slow clients."""
    monkeypatch.setenv("MODEL_DIR", str(project.candidate))
    monkeypatch.setattr(serving_main, "TICK", 0.5)
    monkeypatch.setattr(telemetry, "BODY_SECONDS", 1.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(serving_main.configured("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


def test_predict_asks_for_the_example_of_the_docs(url: str, predictor: Predictor) -> None:
    shown = json.loads(run("predict", "--url", url).output)
    assert shown["request"] == predictor.fixture["row"]
    assert shown["answer"]["version"] == predictor.version


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /pre", HEAD, HEAD + b"\r\n", HEAD + b"\r\n{"])
def test_a_client_that_does_not_finish_its_request_is_let_go(
    url: str, predictor: Predictor, sent: bytes
) -> None:
    """At whatever point it stops, as hundreds may at once; others are answered meanwhile."""
    port = int(url.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
    for each in slow:
        each.sendall(sent)
    assert run("predict", "--url", url).exit_code == 0
    for each in slow:
        said = b""
        while more := each.recv(4096):
            said += more
        each.close()
        assert said.startswith(b"HTTP/1.1 408 ") if sent.startswith(HEAD + b"\r\n") else not said
    assert run("predict", "--url", url).exit_code == 0


def test_a_connection_is_kept_while_requests_come(url: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=20)
    for _ in range(8):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        kept = connection.sock
        time.sleep(0.25)
    assert connection.sock is kept


def test_predict_sends_the_newest_rows_of_a_file_and_counts_the_refused(url: str, project: Project) -> None:
    rows = pd.read_parquet(project.root / "data/deliveries.parquet")
    newest = rows["ordered_at"].idxmax()
    rows.loc[newest, "distance_km"] = -1.0
    file = project.root / "rows.parquet"
    rows.sample(frac=1, random_state=0).to_parquet(file)
    done = run("predict", "--url", url, "--file", str(file), "--rows", "1200")
    assert "1,200 rows sent, 200 of them refused: row 1,200 of them, distance_km: " in done.output, (
        "the whole batch of a bad row is"
    )
    rows["distance_km"] = -1.0
    rows.to_parquet(file)
    refused = run("predict", "--url", url, "--file", str(file)).exception
    assert isinstance(refused, DataError) and refused.exit_code == 4
    assert str(refused).startswith(
        "each of the 2,000 rows was in a request that was refused: row 1 of them, "
    )
    assert refused.next_step == f"{url}/docs shows what each column may hold"


def test_predict_says_what_to_do_when_nothing_answers_or_it_refuses(
    url: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = run("predict", "--url", NOWHERE).exception
    assert isinstance(nobody, LifecycleError)
    assert "nothing answers" in str(nobody) and "make serve" in nobody.next_step
    wrong = run("predict", "--url", f"{url}/elsewhere").exception
    assert isinstance(wrong, LifecycleError) and "answered 404" in str(wrong)


def test_serve_says_why_it_cannot(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = run("serve", "--port", str(other.getsockname()[1])).exception
    assert isinstance(taken, LifecycleError) and "cannot listen on 127.0.0.1:" in str(taken)
    version = open_registry(project).resolve(PRODUCTION)
    assert json.loads((project.served / MANIFEST).read_text())["version"] == version, "it was fetched"
    monkeypatch.setenv("REGISTRY_URI", (project.root / "empty").as_uri())
    nothing = run("serve").exception
    assert isinstance(nothing, LifecycleError) and "no version is in production" in str(nothing)


def test_serve_starts_a_server_of_the_version_in_production(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("os.execve", lambda *given: started.append(given))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    assert run("serve", "--port", port).exit_code == 0
    (_, command, env) = started[0]
    assert command[1:] == ["-m", "lifecycle.serving", "127.0.0.1", port]
    assert env["MODEL_DIR"] == str(project.served) and env["LIFECYCLE_PROJECT"] == str(project.root)


def smoke(monkeypatch: pytest.MonkeyPatch, url: str) -> Any:
    """Run it as a container does; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["smoke_test", url])
    try:
        smoke_test.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_smoke_test_wants_the_predictions_of_the_gate(
    url: str, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke(monkeypatch, url) == 0
    path = project.candidate / MANIFEST
    manifest = json.loads(path.read_text())
    assert capsys.readouterr().out == f"{manifest['version']}\n" and len(manifest["smoke"]) > 10
    manifest["smoke"][3]["prediction"]["prediction"] += 1
    path.write_text(json.dumps(manifest))
    assert smoke(monkeypatch, url) == 1
    assert "row 5: " in capsys.readouterr().err, "the fixture is the first"
    path.write_text(json.dumps(manifest | {"version": "another"}))
    assert smoke(monkeypatch, url) == 0, "who asks compares the version"
    assert smoke(monkeypatch, NOWHERE) == 3


def test_a_load_counts_what_is_lost_while_something_is_done(
    url: str, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "SETTLE", 0.3)
    rate = Load(url, predictor.fixture["row"], 40)
    with rate.running():
        calm = rate.during("release", lambda: time.sleep(0.4))
        rate.url = NOWHERE
        broken = rate.during("proxy restarted", lambda: time.sleep(0.2))
    assert calm.lost == 0 and 20 < calm.requests < 60 and calm.seconds > 0.4 and 0 < calm.p99_ms < 5000
    assert calm.switched > calm.seconds, "the version before went on answering"
    assert broken.lost > 10
    lines = table([calm, calm, broken]).splitlines()
    assert lines[2].startswith(f"| release | 2 | {2 * calm.requests} | 0 | 0.4 s")
    assert lines[3].startswith(f"| proxy restarted | 1 | {broken.requests} | {broken.lost} |")


def test_a_drill_is_for_docker(project: Project) -> None:
    with pytest.raises(LifecycleError, match="no drill for kubernetes"):
        list(drill(replace(project, deploy="kubernetes"), 1, 1))
