"""Alerts: each is sent once, by every channel that the environment names; the others report one that fails.

A channel is tried three times. What no channel took is sent later: with the next alert that one takes, or by
a later check.

LIFECYCLE_ALERT_URLS     addresses of Apprise (https://appriseit.com/services), separated by spaces or commas:
                         slack://…  mmost://…  mailtos://user:password@host?to=…  json://host/path
LIFECYCLE_PAGERDUTY_KEY  a key of PagerDuty's Events API v2; LIFECYCLE_PAGERDUTY_URL for its EU service
"""

import fcntl
import json
import logging
import os
import re
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

from . import files, http
from .errors import LifecycleError, SettingsError, missing_extra
from .maintenance import window_of
from .project import Project
from .settings import Policy, load

SECONDS = 10  # that a channel may take, with its retries
RETRIES = (0.3, 1.5)  # seconds until a channel that failed is tried again
LATE_HOURS = 72  # what is older is not sent any more
KEPT = 500  # alerts in the record
SENT, HELD, NOT_DELIVERED = "sent", "held back: ", "not delivered"


@dataclass(frozen=True)
class Alert:
    """What happened, how sure that is, what was done about it, and which runbook says what to do now.

    runbook: a heading of docs/runbooks.md. severity: critical, error, warning or info. key: what it is about,
    if that lasts: an alert with the same key is not repeated for policy.repeat_hours.
    """

    what: str
    sure: str = "certain: it was seen, not estimated"
    done: str = "nothing"
    runbook: str = "alerts"
    severity: str = "warning"
    key: str = ""


Channel = Callable[[Project, Alert], None]  # any exception means that the alert was not delivered
Sent = tuple[str, dict[str, str]]


def alert(project: Project, what: str, **more: str) -> None:
    """Send an alert: its text, and the other parts of Alert by name. Never raises."""
    send(project, Alert(what, **more))


def send(project: Project, alert: Alert, channels: dict[str, Channel] | None = None) -> Sent:
    """Send an alert, unless it is held back, by the channels (default: those of the environment).

    Never raises. Returns the outcome, as artifacts/alerts.jsonl records it, and why channels failed, by name.
    """
    try:
        policy = load(project).policy
    except SettingsError:  # which may be what the alert is about
        policy = Policy()
    alert = replace(alert, runbook=f"{policy.runbooks}#{alert.runbook}")
    channels, failed = configured() if channels is None else channels, {}
    with _record(project) as entries:
        outcome = judge(alert, entries, policy, now := time.time())
        _print(f"alert: {alert.what}" + ("" if outcome == SENT else f" ({outcome})"))
        if not outcome.startswith(HELD):
            more = "" if outcome == SENT else ". More are held back for an hour: uv run lifecycle alerts"
            failed = _deliver(project, replace(alert, done=alert.done + more), channels)
            outcome = NOT_DELIVERED if failed and len(failed) == len(channels) else outcome
        entries.append({"at": now, "outcome": outcome, **asdict(alert)})
        if outcome.startswith(SENT) and channels:
            _deliver_late(project, entries, channels)
    others = {name: channel for name, channel in channels.items() if name not in failed}
    for name, why in failed.items():
        _print(f"error: {name}: {why}\nnext:  the run goes on; see docs/runbooks.md#alerts")
        if others:
            what, done = f"the alert channel {name} failed: {why}", "the other channels report it"
            send(project, Alert(what, done=done, severity="error", key=name), others)
    return outcome, failed


def send_late(project: Project) -> None:
    """Send what no channel took, the oldest first, until one is not taken again. Never raises."""
    if channels := configured():
        with _record(project) as entries:
            _deliver_late(project, entries, channels)


def _deliver_late(project: Project, entries: list[dict[str, Any]], channels: dict[str, Channel]) -> None:
    for number, entry in enumerate(entries):
        if entry["outcome"] != NOT_DELIVERED or time.time() - entry["at"] > LATE_HOURS * 3600:
            continue
        later = (e for e in entries[number + 1 :] if e["outcome"].startswith(SENT))
        if entry["key"] and any(e["key"] == entry["key"] for e in later):
            continue  # the same was sent since
        alert = Alert(**{part.name: entry[part.name] for part in fields(Alert)})
        when = f"{datetime.fromtimestamp(entry['at'], UTC):%Y-%m-%d %H:%M} UTC"
        failed = _deliver(project, replace(alert, what=f"{alert.what} (of {when})"), channels)
        if len(failed) == len(channels):
            return
        entry["outcome"] = f"{SENT}, late"


@contextmanager
def _record(project: Project) -> Iterator[list[dict[str, Any]]]:
    """Give the recorded alerts to one process at a time, and write what it makes of them.

    What cannot be read or written stops no alert.
    """
    path, entries = project.artifacts / "alerts.jsonl", list[dict[str, Any]]()
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.with_suffix(".lock").open("w")), fcntl.LOCK_EX)
            entries = recorded(project)
        except OSError as error:
            _print(f"error: {path} cannot be read or written: {error}; the alert is sent all the same")
        yield entries
        try:
            files.write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries[-KEPT:]))
        except OSError as error:
            _print(f"error: {path} cannot be read or written: {error}")


def judge(alert: Alert, entries: Sequence[dict[str, Any]], policy: Policy, now: float) -> str:
    """Return "sent", "sent, and the last …" or "held back: …", given what was recorded before."""
    if window := window_of(policy.maintenance, now):
        return f"{HELD}maintenance ({window})"
    sent = [entry for entry in entries if entry["outcome"].startswith(SENT)]
    if alert.key and any(e["key"] == alert.key and now - e["at"] < policy.repeat_hours * 3600 for e in sent):
        return f"{HELD}the same within {policy.repeat_hours:g} h"
    in_the_hour = sum(now - entry["at"] < 3600 for entry in sent)
    if in_the_hour >= policy.alerts_per_hour:
        return f"{HELD}{policy.alerts_per_hour} in the last hour"
    return f"{SENT}, and the last of this hour" if in_the_hour == policy.alerts_per_hour - 1 else SENT


def recorded(project: Project) -> list[dict[str, Any]]:
    """Return the alerts of this host, the oldest first: at (seconds since 1970), outcome, and their parts.

    Lines that cannot be read are skipped, with a warning.
    """
    path, entries = project.artifacts / "alerts.jsonl", []
    for number, line in enumerate(files.read_lines(path), 1):
        try:
            entries.append({"at": 0.0, "outcome": "", **asdict(Alert("?")), **json.loads(line)})
        except (ValueError, TypeError):
            _print(f"warning: {path}, line {number} cannot be read, and is skipped")
    return entries


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _deliver(project: Project, alert: Alert, channels: dict[str, Channel]) -> dict[str, str]:
    """Send by all channels at once, and return why some failed."""
    failed = dict.fromkeys(channels, f"no answer within {SECONDS} s")

    def one(name: str) -> None:
        for pause in (*RETRIES, None):
            try:
                channels[name](project, alert)
                del failed[name]
                return
            except Exception as error:  # of whatever kind: the alert goes on by the others
                failed[name] = str(error) or type(error).__name__
            if pause:
                time.sleep(pause)

    # Apprise's own time limit leaves a thread that the interpreter waits for at its end; daemons it does not.
    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    return dict(failed)


def configured() -> dict[str, Channel]:
    """Return the channels that the environment names. Of an address, its name holds the kind and no more."""
    found: dict[str, Channel] = {}
    # An address begins where its kind does, so that a list in it, to=a@…,b@…, stays one.
    for address in re.split(r"[\s,]+(?=[a-zA-Z][\w+.-]*://)|\s+", os.environ.get("LIFECYCLE_ALERT_URLS", "")):
        if address := address.strip(","):
            kind = address.partition("://")[0] if "://" in address else "of no kind"
            found[f"{kind} (LIFECYCLE_ALERT_URLS, number {len(found) + 1})"] = partial(_apprise, address)
    with suppress(ImportError):  # which _apprise reports
        if found:  # its hundred modules take seconds on a busy machine: load them before any limit counts
            import_module("apprise").Apprise.instantiate("json://localhost")
    if key := os.environ.get("LIFECYCLE_PAGERDUTY_KEY"):
        found["pagerduty (LIFECYCLE_PAGERDUTY_KEY)"] = partial(_pagerduty, key)
    return found


def _apprise(address: str, project: Project, alert: Alert) -> None:
    """Send by Apprise; kinds that take a payload (json://, form://) get each part by its name."""
    try:
        import apprise
    except ImportError as error:
        problem = missing_extra("alerts", error)
        raise SettingsError(f"{problem}: {problem.next_step}") from error
    logging.getLogger("apprise").propagate = False  # its warnings may hold an address
    asset = apprise.AppriseAsset(app_id=project.name, async_mode=False, service_timeout=0)
    service: Any = apprise.Apprise.instantiate(address, asset=asset)
    if service is None:
        raise ValueError("Apprise does not know such an address: https://appriseit.com/services")
    title = f"{project.name}: {alert.what}"
    if isinstance(given := getattr(service, "payload_extras", None), dict):
        service.payload_extras = {"text": title, "project": project.name, **asdict(alert)} | given
    if service.secure_protocol == "mailtos":
        if service.password and service.secure_mode == "insecure":
            raise ValueError("the server does not encrypt, so it gets no password: use mailtos://")
        service.notify_format = "text" if "format=" not in address else service.notify_format
    (sender := apprise.Apprise(asset=asset)).add(service)
    body = f"How sure: {alert.sure}\nDone: {alert.done}\nWhat to do: {alert.runbook}"
    kind = alert.severity if alert.severity in ("warning", "info") else "failure"
    if not (result := sender.notify(body=body, title=title, notify_type=kind, body_format="text")):
        reasons = "; ".join(entry.message for entry in result.logs()) or "it was not delivered"
        parts = re.split(r"[/?&=:@,;#+]+", address.partition("://")[2])
        for secret in sorted({*parts, *map(urllib.parse.unquote, parts)}, key=len, reverse=True):
            reasons = reasons.replace(secret, "…") if len(secret) > 2 else reasons
        raise LifecycleError(reasons)


def _pagerduty(key: str, project: Project, alert: Alert) -> None:
    """https://developer.pagerduty.com/docs/send-alert-event: the same key joins an incident that is open."""
    payload: dict[str, Any] = {"summary": f"{project.name}: {alert.what}"[:1024], "severity": alert.severity}
    payload |= {"source": socket.gethostname(), "component": project.name}
    payload["custom_details"] = {"sure": alert.sure, "done": alert.done, "runbook": alert.runbook}
    body: dict[str, Any] = {"routing_key": key, "event_action": "trigger", "payload": payload}
    if alert.key:
        body["dedup_key"] = f"{project.name}:{alert.key}"[:255]
    if alert.runbook.startswith("http"):
        body["links"] = [{"href": alert.runbook, "text": "What to do"}]
    default = "https://events.pagerduty.com/v2/enqueue"
    if (status := http.send(os.environ.get("LIFECYCLE_PAGERDUTY_URL") or default, body).status) >= 300:
        raise LifecycleError(f"it answers {status}")
