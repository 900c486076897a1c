"""Alerts by Slack, PagerDuty, email and webhook: each whole, none too often, a dead channel told of."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Project, render
from services.recorder import Recorder, recorder
from services.smtp import Postbox, postbox

pytestmark = pytest.mark.slow
DEAD = "http://127.0.0.1:1/"  # where only root could listen, and nobody does
DRIFT = {
    "what": "v2 moved: a & b",
    "sure": "p < 0.01",
    "done": "retraining was asked for",
    "runbook": "docs/runbooks/drift.md",
    "key": "drift v2",
}
EVENT = {"what": "ingest failed with exit code 1"}


@pytest.fixture(scope="module")
def rendered(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(render(template, tmp_path_factory.mktemp("alerts") / "churn"), environment)


@pytest.fixture
def project(rendered: Project) -> Iterator[Project]:
    yield rendered
    (rendered.path / "artifacts/alerts.jsonl").unlink(missing_ok=True)


@pytest.fixture
def http() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[Postbox]:
    with postbox() as server:
        yield server


def send(project: Project, *alerts: dict[str, str], **env: str) -> str:
    """Send alerts from one process and return what was said on stderr."""
    code = "import json, sys\nfrom lifecycle.monitoring.alerts import alert\n"
    code += "for one in json.loads(sys.argv[1]): alert(**one)"
    done = project.python("-c", code, json.dumps(alerts), **env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def texts(server: Recorder) -> list[str]:
    return [json.loads(asked.body)["text"] for asked in server.asked]


def outcomes(project: Project) -> list[str]:
    return [item["outcome"] for item in json.loads(project.lifecycle("alerts", "--json").stdout)]


def test_every_channel_gets_the_whole_alert(project: Project, http: Recorder, mail: Postbox) -> None:
    send(
        project,
        DRIFT,
        LIFECYCLE_SLACK_URL=f"{http.url}/services/T/B/x",
        LIFECYCLE_PAGERDUTY_KEY="k" * 32,
        LIFECYCLE_PAGERDUTY_URL=f"{http.url}/v2/enqueue",
        LIFECYCLE_SMTP_URL=f"{mail.url}?to=ada@example.com,bob@example.com&from=churn@example.com",
        LIFECYCLE_ALERT_URL=f"{http.url}/hook",
        LIFECYCLE_POLICY__RUNBOOKS="https://git.example.com/churn/docs/runbooks/",
    )
    page = "https://git.example.com/churn/docs/runbooks/drift.md"
    bodies = {asked.path: json.loads(asked.body) for asked in http.asked}
    assert bodies["/services/T/B/x"]["text"].splitlines() == [
        "*churn: v2 moved: a &amp; b*",
        "How sure: p &lt; 0.01",
        "Done: retraining was asked for",
        f"What to do: {page}",
    ]
    event = bodies["/v2/enqueue"]
    assert (event["routing_key"], event["event_action"]) == ("k" * 32, "trigger")
    assert event["dedup_key"] == "churn:drift v2" and event["links"][0]["href"] == page
    assert event["payload"]["summary"] == "churn: v2 moved: a & b"
    assert event["payload"]["severity"] == "warning" and event["payload"]["source"]
    assert event["payload"]["custom_details"]["done"] == "retraining was asked for"
    assert bodies["/hook"] == {
        "text": "churn: v2 moved: a & b",
        "project": "churn",
        "severity": "warning",
        **DRIFT,
        "runbook": page,
    }
    (letter,) = mail.mails
    assert letter["Subject"] == "churn: v2 moved: a & b" and letter["From"] == "churn@example.com"
    assert mail.recipients == ["ada@example.com", "bob@example.com"]
    assert "How sure: p < 0.01" in letter.get_content() and page in letter.get_content()


def test_what_lasts_is_told_once_and_what_happens_each_time(project: Project, http: Recorder) -> None:
    env = {"LIFECYCLE_ALERT_URL": http.url}
    send(project, DRIFT, EVENT, **env)
    said = send(project, DRIFT, EVENT, DRIFT | {"key": "drift v3"}, **env)
    assert texts(http) == [f"churn: {one['what']}" for one in (DRIFT, EVENT, EVENT, DRIFT)]
    assert "alert: v2 moved: a & b (held back: the same within 24 h)" in said
    assert outcomes(project) == ["sent", "sent", "held back: the same within 24 h", "sent", "sent"]
    send(project, DRIFT, **env, LIFECYCLE_POLICY__REPEAT_HOURS="0")
    assert len(http.asked) == 5


def test_a_flood_is_cut_off_and_that_is_said(project: Project, http: Recorder) -> None:
    send(project, *[EVENT] * 10, LIFECYCLE_ALERT_URL=http.url, LIFECYCLE_POLICY__ALERTS_PER_HOUR="4")
    assert len(http.asked) == 4
    assert "More are held back for an hour" in json.loads(http.asked[-1].body)["done"]
    assert outcomes(project)[3:] == [
        "sent, and the last of this hour",
        *["held back: 4 in the last hour"] * 6,
    ]


def test_in_maintenance_it_is_recorded_only(project: Project, http: Recorder) -> None:
    window = "2020-01-01/2120-01-01"
    send(project, DRIFT, LIFECYCLE_ALERT_URL=http.url, LIFECYCLE_POLICY__MAINTENANCE=f'["{window}"]')
    assert not http.asked and outcomes(project) == [f"held back: maintenance ({window})"]
    assert "v2 moved: a & b" in project.lifecycle("alerts").stdout
    send(project, DRIFT, LIFECYCLE_ALERT_URL=http.url)
    assert len(http.asked) == 1, "what nobody was told is told afterwards"


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("LIFECYCLE_SLACK_URL", DEAD, "Connection refused"),
        ("LIFECYCLE_SLACK_URL", "hooks.slack.com/s3cret", "its address is no http"),
        ("LIFECYCLE_SMTP_URL", DEAD.replace("http", "smtp") + "?to=a@example.com", "Connection refused"),
        ("LIFECYCLE_SMTP_URL", "smtp://127.0.0.1", "it wants smtp://host:port"),
    ],
)
def test_a_dead_channel_is_told_by_the_others(
    project: Project, http: Recorder, variable: str, value: str, why: str
) -> None:
    env = {variable: value, "LIFECYCLE_ALERT_URL": http.url}
    said = send(project, EVENT, EVENT, **env)
    assert f"error: {variable}: " in said and why in said and "s3cret" not in said
    event, dead, again = texts(http)
    assert event == again == f"churn: {EVENT['what']}"
    assert "the alert channel" in dead and f"({variable}) is dead" in dead and why in dead


def test_a_channel_that_answers_an_error_is_dead_too(project: Project, http: Recorder, mail: Postbox) -> None:
    http.status = 403
    send(project, EVENT, LIFECYCLE_ALERT_URL=http.url, LIFECYCLE_SMTP_URL=f"{mail.url}?to=a@example.com")
    assert [re.sub(r".*\((\w+)\).*", r"\1", letter["Subject"]) for letter in mail.mails] == [
        f"churn: {EVENT['what']}",
        "LIFECYCLE_ALERT_URL",
    ]


def test_a_password_goes_to_no_server_that_does_not_encrypt(project: Project, mail: Postbox) -> None:
    url = mail.url.replace("smtp://", "smtp://ada:s3cret@") + "?to=a@example.com"
    said = send(project, EVENT, LIFECYCLE_SMTP_URL=url)
    assert "does not encrypt" in said and "s3cret" not in said and not mail.mails


def test_no_channel_no_folder_and_broken_settings_stop_nothing(
    project: Project, http: Recorder, make_project: Callable[..., Project]
) -> None:
    assert "alert: ingest failed" in send(project, EVENT)
    send(project, EVENT, LIFECYCLE_ALERT_URL=http.url, LIFECYCLE_POLICY__REPEAT_HOURS="soon")
    broken = make_project("broken")
    (broken.path / "artifacts").write_text("not a folder")
    assert "cannot be read or written" in send(broken, EVENT, LIFECYCLE_ALERT_URL=http.url)
    assert len(http.asked) == 2


def test_a_test_alert_can_be_sent(project: Project, http: Recorder) -> None:
    said = project.lifecycle("alerts", "--test", LIFECYCLE_ALERT_URL=http.url)
    assert texts(http) == ["churn: a test: alerts arrive (by webhook)"]
    assert "a test: alerts arrive" in said.stdout
