"""Alerts by Apprise and PagerDuty: each whole, none too often, a failed channel reported by the others."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from lifecycle import alerts
from lifecycle.alerts import NOT_DELIVERED, Alert, alert
from lifecycle.cli import app
from lifecycle.project import VARIABLE, Project
from services.recorder import Recorder, recorder
from services.smtp import Postbox, postbox

DRIFT = {
    "what": "v2 moved: a & b, 5%25 of <x>",
    "sure": "p < 0.01",
    "done": "retraining was asked for",
    "runbook": "drift",
    "key": "drift v2",
}
EVENT = {"what": "ingest failed with exit code 1"}
DEAD = "json://127.0.0.1:1/s3cret/hook?token=s3cret"  # where only root could listen, and nobody does
connected: list[tuple] = []
sys.addaudithook(lambda event, given: connected.append(given) if event == "socket.connect" else None)


@pytest.fixture
def http() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[Postbox]:
    with postbox() as server:
        yield server


def hook(http: Recorder, path: str = "/hook") -> str:
    return http.url.replace("http://", "json://") + path


def address(mail: Postbox, scheme: str = "mailto", login: str = "") -> str:
    return mail.url.replace("smtp://", f"{scheme}://{login}") + "?from=shop@example.com&to=ada@example.com"


def texts(server: Recorder) -> list[str]:
    return [json.loads(asked.body)["text"] for asked in server.asked]


def outcomes(project: Project) -> list[str]:
    return [entry["outcome"] for entry in alerts.recorded(project)]


def test_every_channel_gets_the_whole_alert(
    project: Project, http: Recorder, mail: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Separated by commas or spaces; and nobody else is connected to."""
    http.status = 200  # Mattermost's
    mattermost = http.url.replace("http://", "mmost://bot@") + "/3ccdd113474722377935511fc85d3dd4"
    urls = f"{hook(http)}, {address(mail)},bob@example.com {mattermost}"
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", urls)
    monkeypatch.setenv("LIFECYCLE_PAGERDUTY_KEY", "k" * 32)
    monkeypatch.setenv("LIFECYCLE_PAGERDUTY_URL", f"{http.url}/v2/enqueue")
    monkeypatch.setenv("LIFECYCLE_POLICY__RUNBOOKS", "https://git.example.com/shop/docs/runbooks.md")
    connected.clear()
    alert(project, **DRIFT)
    assert {place[1][0] for place in connected} == {"127.0.0.1"}
    page = "https://git.example.com/shop/docs/runbooks.md#drift"
    title = f"shop: {DRIFT['what']}"
    bodies = {asked.path: json.loads(asked.body) for asked in http.asked}
    event = bodies["/v2/enqueue"]
    assert (event["routing_key"], event["event_action"]) == ("k" * 32, "trigger")
    assert event["dedup_key"] == "shop:drift v2" and event["links"][0]["href"] == page
    assert event["payload"]["summary"] == title
    assert event["payload"]["severity"] == "warning" and event["payload"]["source"]
    assert event["payload"]["custom_details"]["done"] == "retraining was asked for"
    parts = {"text": title, "project": "shop", "severity": "warning"} | DRIFT | {"runbook": page}
    assert parts.items() <= bodies["/hook"].items() and bodies["/hook"]["type"] == "warning"
    (chat,) = [body["text"] for path, body in bodies.items() if "3ccdd113474722377935511fc85d3dd4" in path]
    assert "v2 moved" in chat and "retraining was asked for" in chat and page in chat
    letters = {str(letter["To"]): letter for letter in mail.mails}
    assert set(letters) == {"ada@example.com", "bob@example.com"} == set(mail.recipients)
    letter = letters["ada@example.com"]
    assert letter["Subject"] == title and "shop@example.com" in letter["From"]
    text = letter.get_body(("plain",)).get_content()
    assert "How sure: p < 0.01" in text and page in text and "Done: retraining was asked for" in text


def test_what_lasts_is_sent_once_and_what_happens_each_time(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    for one in (DRIFT, EVENT, DRIFT, EVENT, DRIFT | {"key": "drift v3"}):
        alert(project, **one)
    assert texts(http) == [f"shop: {one['what']}" for one in (DRIFT, EVENT, EVENT, DRIFT)]
    same = "held back: the same within 24 h"
    assert f"alert: {DRIFT['what']} ({same})" in capsys.readouterr().err
    assert outcomes(project) == ["sent", "sent", same, "sent", "sent"]
    monkeypatch.setenv("LIFECYCLE_POLICY__REPEAT_HOURS", "0")
    alert(project, **DRIFT)
    assert len(http.asked) == 5


def test_a_flood_is_cut_off_and_that_is_said(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    monkeypatch.setenv("LIFECYCLE_POLICY__ALERTS_PER_HOUR", "4")
    for _ in range(10):
        alert(project, **EVENT)
    assert len(http.asked) == 4
    assert "More are held back for an hour" in json.loads(http.asked[-1].body)["done"]
    held = ["held back: 4 in the last hour"] * 6
    assert outcomes(project)[3:] == ["sent, and the last of this hour", *held]


def test_in_maintenance_it_is_recorded_only(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    window = "2020-01-01/2120-01-01"
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    monkeypatch.setenv("LIFECYCLE_POLICY__MAINTENANCE", f'["{window}"]')
    alert(project, **DRIFT)
    assert not http.asked and outcomes(project) == [f"held back: maintenance ({window})"]
    assert run("alerts") == 0 and "v2 moved: a & b" in capsys.readouterr().out
    monkeypatch.delenv("LIFECYCLE_POLICY__MAINTENANCE")
    alert(project, **DRIFT)
    assert len(http.asked) == 1, "what nobody was alerted of is sent afterwards"


@pytest.mark.parametrize(
    ("variable", "value", "name", "why"),
    [
        ("LIFECYCLE_ALERT_URLS", DEAD, "json (LIFECYCLE_ALERT_URLS, number 1)", "onnection error"),
        (
            "LIFECYCLE_ALERT_URLS",
            "hooks.slack.com/s3cret",
            "of no kind",
            "Apprise does not know such an address",
        ),
        ("LIFECYCLE_ALERT_URLS", "slack://s3cret", "slack (", "Apprise does not know such an address"),
        ("LIFECYCLE_ALERT_URLS", "mailto://127.0.0.1:1?to=a@example.com", "mailto (", "does not know such"),
        (
            "LIFECYCLE_ALERT_URLS",
            "mailtos://u:s3cret@127.0.0.1:1?from=a@b.io",
            "mailtos (",
            "onnection error",
        ),
        ("LIFECYCLE_PAGERDUTY_URL", "http://127.0.0.1:1/", "pagerduty (", "Connection refused"),
    ],
)
def test_a_channel_that_fails_is_reported_by_the_others(
    project: Project,
    http: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    name: str,
    why: str,
) -> None:
    if variable == "LIFECYCLE_PAGERDUTY_URL":
        monkeypatch.setenv("LIFECYCLE_PAGERDUTY_KEY", "k" * 32)
        monkeypatch.setenv(variable, value)
        value = ""
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", f"{value} {hook(http)}")
    alert(project, **EVENT)
    alert(project, **EVENT)
    printed = capsys.readouterr()
    assert f"error: {name}" in printed.err and why in printed.err
    event, failed, again = texts(http)
    assert event == again == f"shop: {EVENT['what']}"
    assert f"the alert channel {name}" in failed and why in failed
    everywhere = printed.err + printed.out + "".join(asked.body for asked in http.asked)
    assert "s3cret" not in everywhere + json.dumps(alerts.recorded(project))


def test_a_channel_that_answers_an_error_has_failed_too(
    project: Project, http: Recorder, mail: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.status = 403
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", f"{hook(http, '/s3cret')} {address(mail)}")
    alert(project, **EVENT)
    event, failed = [letter["Subject"] for letter in mail.mails]
    assert event == f"shop: {EVENT['what']}"
    assert re.search(r"the alert channel json \(.*number 1\) failed: .*error=403", failed)


def test_what_was_delivered_by_no_channel_is_not_sent(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    http.status = 500
    alert(project, **DRIFT)
    http.status = 204
    alert(project, **DRIFT)
    assert outcomes(project) == [NOT_DELIVERED, "sent"], "the same was sent since"
    assert len(http.asked) == 1 + len(alerts.RETRIES) + 1


def test_a_channel_that_fails_once_is_tried_again(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    http.status = 503
    threading.Timer(0.2, lambda: setattr(http, "status", 204)).start()
    alert(project, **EVENT)
    assert outcomes(project) == ["sent"] and len(http.asked) == 2


def test_what_no_channel_took_is_sent_later(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next alert that is taken, or by the next check; not again, and not after days."""
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    http.status = 500
    for number in (1, 2):
        alert(project, what=f"event {number}")
    alerts.send_late(project)
    assert outcomes(project) == [NOT_DELIVERED] * 2
    http.status = 204
    http.asked.clear()
    alert(project, what="event 3")
    assert outcomes(project) == ["sent, late", "sent, late", "sent"]
    new, first, second = texts(http)
    assert new == "shop: event 3" and second.startswith("shop: event 2 (of ")
    assert re.fullmatch(r"shop: event 1 \(of \d{4}-\d\d-\d\d \d\d:\d\d UTC\)", first)
    alerts.send_late(project)
    assert len(http.asked) == 3

    path = project.artifacts / "alerts.jsonl"
    old = {"at": time.time() - 73 * 3600, "outcome": NOT_DELIVERED, "what": "of last week"}
    late = {"at": time.time() - 3600, "outcome": NOT_DELIVERED, "what": "of this night"}
    path.write_text("".join(json.dumps(entry) + "\n" for entry in (old, late)))
    alerts.send_late(project)
    assert texts(http)[3].startswith("shop: of this night (of ") and len(http.asked) == 4


def test_a_line_of_the_record_that_is_damaged_is_skipped(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    alert(project, what="event 1")
    path = project.artifacts / "alerts.jsonl"
    path.write_text('{"at": 1.0, "outc\n' + path.read_text() + '{"at": 2.0')
    alert(project, what="event 2")
    assert "alerts.jsonl, line 1 cannot be read, and is skipped" in capsys.readouterr().err
    assert [entry["what"] for entry in alerts.recorded(project)] == ["event 1", "event 2"]


@pytest.mark.parametrize(
    ("scheme", "why"), [("mailto", "it gets no password"), ("mailtos", "onnection error")]
)
def test_a_password_goes_to_no_server_that_does_not_encrypt(
    project: Project,
    mail: Postbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scheme: str,
    why: str,
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", address(mail, scheme, "ada:s3cret@"))
    alert(project, **EVENT)
    text = capsys.readouterr().err
    assert why in text and "s3cret" not in text
    assert not mail.mails and not any(line.startswith("AUTH") for line in mail.lines)


def test_without_the_extra_it_is_said_and_recorded_and_pagerduty_still_gets_it(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)  # as if it were not installed
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    alert(project, **EVENT)
    assert 'apprise is not installed: add the extra "alerts"' in capsys.readouterr().err
    assert outcomes(project) == [NOT_DELIVERED] and not http.asked
    monkeypatch.setenv("LIFECYCLE_PAGERDUTY_KEY", "k")
    monkeypatch.setenv("LIFECYCLE_PAGERDUTY_URL", f"{http.url}/v2/enqueue")
    alert(project, **EVENT)
    event, late, failed = [json.loads(asked.body)["payload"]["summary"] for asked in http.asked]
    assert EVENT["what"] in event and late.startswith(f"{event} (of ") and 'the extra "alerts"' in failed


def test_no_channel_no_folder_and_broken_settings_stop_nothing(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alert(project, **EVENT)
    assert "alert: ingest failed" in capsys.readouterr().err
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    monkeypatch.setenv("LIFECYCLE_POLICY__REPEAT_HOURS", "soon")
    alert(project, **EVENT)
    project.artifacts.rename(project.root / "away")
    project.artifacts.write_text("not a folder")
    alert(project, **EVENT)
    assert "cannot be read or written" in capsys.readouterr().err
    assert len(http.asked) == 2


def run(*words: str) -> int:
    """Run a command of the library in this process, and return its exit code."""
    try:
        return int(app(list(words), standalone_mode=False) or 0)
    except SystemExit as end:
        return int(end.code or 0)


def test_a_test_alert_goes_to_every_channel_and_says_which_failed(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    assert run("alerts", "--test") == 0
    assert texts(http) == ["shop: a test: alerts arrive (by json (LIFECYCLE_ALERT_URLS, number 1))"]
    assert "a test: alerts arrive" in capsys.readouterr().out
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", f"{hook(http)} {DEAD}")
    assert run("alerts", "--test") == 1
    assert "error: json (LIFECYCLE_ALERT_URLS, number 2): " in capsys.readouterr().err
    monkeypatch.setenv("LIFECYCLE_POLICY__MAINTENANCE", '["2020-01-01/2120-01-01"]')
    assert run("alerts", "--test") == 1, "it was held back"


def test_a_channel_that_hangs_holds_nobody_up(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the other channels nor the process, which has to end: its answer never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                try:
                    client.sendall(b"X-Slow: yes\r\n")
                except OSError:
                    return
                time.sleep(0.2)

        threading.Thread(target=drip, daemon=True).start()
        monkeypatch.setenv(
            "LIFECYCLE_ALERT_URLS", f"json://127.0.0.1:{server.getsockname()[1]}/ {hook(http)}"
        )
        monkeypatch.setenv(VARIABLE, str(project.root))
        code = "from lifecycle import alerts, project; alerts.SECONDS = 2;"
        code += "alerts.alert(project.Project.find(), 'it happened')"
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "number 1): no answer within 2 s" in done.stderr, done.stderr
    assert time.monotonic() - start < 40
    event, failed = texts(http)
    assert event == "shop: it happened" and "no answer within 2 s" in failed


def test_many_at_once_are_all_recorded_and_the_same_is_sent_once(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http))
    threads = [threading.Thread(target=alert, args=(project, "drift"), kwargs={"key": "k"}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(http.asked) == 1
    assert sorted(outcomes(project)) == ["held back: the same within 24 h"] * 7 + ["sent"]


def test_the_record_keeps_the_newest(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "KEPT", 3)
    for number in range(5):
        alerts.send(project, Alert(f"event {number}"), {})
    assert [entry["what"] for entry in alerts.recorded(project)] == ["event 2", "event 3", "event 4"]


def test_a_percent_sign_and_a_field_of_ones_own_stay(
    project: Project, http: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_ALERT_URLS", hook(http, f"/{quote('a b/c', safe='')}?:team=ours"))
    alert(project, **EVENT)
    (asked,) = http.asked
    assert asked.path.startswith("/a%20b") and json.loads(asked.body)["team"] == "ours"
