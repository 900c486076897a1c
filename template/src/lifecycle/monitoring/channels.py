"""Where alerts go, each by an environment variable; a channel without one is not there.

LIFECYCLE_SLACK_URL      an incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat)
LIFECYCLE_PAGERDUTY_KEY  a key of PagerDuty's Events API v2; LIFECYCLE_PAGERDUTY_URL for its EU service
LIFECYCLE_SMTP_URL       smtp://host:587?to=a@example.com,b@example.com&from=c@example.com, and to log in
                         user:password@ before the host
LIFECYCLE_ALERT_URL      gets {"text": …} and each part of the alert by its name
"""

import json
import os
import smtplib
import socket
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from functools import partial
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ..project import NAME

SECONDS = 10  # that a channel may take
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
SUMMARY = 1024  # characters that PagerDuty takes


@dataclass(frozen=True)
class Alert:
    """what happened, how sure that is, what was done about it, and the page that says what to do now.

    severity: critical, error, warning or info. key: what it is about, if that lasts: the same is not told
    again for a while. Without a key each one counts.
    """

    what: str
    sure: str = "certain: it was seen, not estimated"
    done: str = "nothing"
    runbook: str = "docs/runbooks/alerts.md"
    severity: str = "warning"
    key: str = ""

    @property
    def title(self) -> str:
        return f"{NAME}: {self.what}"

    @property
    def lines(self) -> list[str]:
        return [f"How sure: {self.sure}", f"Done: {self.done}", f"What to do: {self.runbook}"]


def slack(url: str, alert: Alert) -> None:
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
    title, *lines = (_escaped(text) for text in (alert.title, *alert.lines))
    _post(url, {"text": "\n".join([f"*{title}*", *lines])})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def pagerduty(key: str, alert: Alert) -> None:
    """https://developer.pagerduty.com/docs/send-alert-event: the same key joins an incident that is open."""
    details = {"sure": alert.sure, "done": alert.done, "runbook": alert.runbook}
    body: dict[str, object] = {
        "routing_key": key,
        "event_action": "trigger",
        "payload": {
            "summary": alert.title[:SUMMARY],
            "source": socket.gethostname(),
            "severity": alert.severity,
            "component": NAME,
            "custom_details": details,
        },
    }
    if alert.key:
        body["dedup_key"] = f"{NAME}:{alert.key}"[:255]
    if alert.runbook.startswith("http"):
        body["links"] = [{"href": alert.runbook, "text": "What to do"}]
    _post(os.environ.get("LIFECYCLE_PAGERDUTY_URL") or PAGERDUTY, body)


def webhook(url: str, alert: Alert) -> None:
    _post(url, {"text": alert.title, "project": NAME, **asdict(alert)})


def _post(url: str, body: dict[str, object]) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("its address is no http(s) URL")  # without the address: it may hold a secret
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=SECONDS).close()


def email(url: str, alert: Alert) -> None:
    """Send by SMTP: smtps:// is encrypted from the start, smtp:// as soon as the server offers it."""
    place = urlsplit(url)
    asked = {name: values[0] for name, values in parse_qs(place.query).items()}
    if not place.hostname or "to" not in asked:
        raise ValueError("it wants smtp://host:port?to=…")
    message = EmailMessage()
    message["Subject"] = alert.title[:200].replace("\n", " ")
    message["From"] = asked.get("from") or f"{NAME}@{socket.getfqdn()}"
    message["To"] = asked["to"].replace(",", ", ")
    message.set_content("\n".join([alert.title, "", *alert.lines]))
    with _connected(place) as server:
        if place.username:
            server.login(unquote(place.username), unquote(place.password or ""))
        server.send_message(message)


def _connected(place: SplitResult) -> smtplib.SMTP:
    host, context = place.hostname or "", ssl.create_default_context()
    if place.scheme == "smtps":
        return smtplib.SMTP_SSL(host, place.port or 465, timeout=SECONDS, context=context)
    server = smtplib.SMTP(host, place.port or 587, timeout=SECONDS)
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=context)
        server.ehlo()
    elif place.username:
        server.close()
        raise ValueError("the server does not encrypt, so it gets no password")
    return server


CHANNELS: dict[str, tuple[str, Callable[[str, Alert], None]]] = {
    "slack": ("LIFECYCLE_SLACK_URL", slack),
    "pagerduty": ("LIFECYCLE_PAGERDUTY_KEY", pagerduty),
    "email": ("LIFECYCLE_SMTP_URL", email),
    "webhook": ("LIFECYCLE_ALERT_URL", webhook),
}


def configured() -> dict[str, Callable[[Alert], None]]:
    """Return the channels that the environment names."""
    found = {name: (os.environ.get(variable, ""), send) for name, (variable, send) in CHANNELS.items()}
    return {name: partial(send, value) for name, (value, send) in found.items() if value}
