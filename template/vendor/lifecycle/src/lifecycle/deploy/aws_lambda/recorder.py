"""Counts what an environment of Lambda serves, into the deployment's bucket.

Lambda freezes a process between requests, so a timer would not run. Counts are written between the answer and
the freeze, when it is time, and what is left when Lambda ends the environment.
"""

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from ...monitoring.profile import Profile
from ...monitoring.serving_stats import Recorder
from ...project import Project

PROFILE = "profiles/{}.json"  # under the deployment's prefix: the training profile of a version


def place(project: Project) -> tuple[str, str]:
    """Return the bucket of this deployment, "" where none is set, and the prefix in it."""
    return os.environ.get("WINDOWS_BUCKET", ""), os.environ.get("WINDOWS_PREFIX", project.name)


def parameter(name: str) -> str:
    """Return a secret from SSM. Loading boto3 costs 0.3 s."""
    import boto3

    found = boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)
    return found["Parameter"]["Value"]


def log_metrics(project: Project, units: dict[str, str], values: dict[str, Any], *dimensions: str) -> None:
    """Log values in CloudWatch's embedded format, those that have units as metrics: no call to AWS."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    namespace = os.environ.get("STACK", project.name)
    about = {"Namespace": namespace, "Dimensions": [list(dimensions)], "Metrics": metrics}
    meta = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [about]}
    print(json.dumps({"_aws": meta, **values}), flush=True)


def key(version: str, name: str) -> str:
    """Return the key of a file of the Recorder: HOUR-TOKEN.json, or LOG/DAY-TOKEN.csv.

    Each day has a folder of its own, so that a check lists the days that it needs and not all there ever was.
    """
    return f"windows/{version}/{name.rpartition('/')[2][:8]}/{name}"


class S3Recorder(Recorder):
    """Counts what one environment sees; without WINDOWS_BUCKET nothing is written."""

    def __init__(self, project: Project, reference: Profile, version: str, rules: dict[str, Any]) -> None:
        seconds = float(os.environ.get("WINDOW_SECONDS", "300"))
        super().__init__(reference, project.windows, version, seconds, rules)
        self.bucket, self._prefix = place(project)
        self._version, self._client = version, None
        self._flushed = time.time()  # wall clock: it goes on in a freeze

    def flush(self) -> None:
        """Write what is new since the last time. What cannot be written is kept for the next time."""
        super().flush()
        self._flushed = time.time()

    def flush_if_due(self) -> None:
        """Write the counts when the last time is long ago; and be ready to write them in a hurry."""
        self._connect()
        if time.time() - self._flushed >= self._seconds:
            self.flush()

    def write(self, name: str, text: str) -> None:
        """Put the counts of an hour into the bucket, in place of older ones."""
        where = f"{self._prefix}/{key(self._version, name)}"
        self._connect().put_object(Bucket=self.bucket, Key=where, Body=text.encode())

    def append(self, name: str, lines: list[str]) -> None:
        """Write lines of a log as an object of their own: S3 cannot append."""
        self.write(name.replace(".", f"-{time.time_ns()}."), "".join(lines))

    def _connect(self) -> Any:
        if self._client is None:
            import boto3  # after the first answer: it would double the cold start
            from botocore.config import Config

            # A store that hangs must be given up well before the function's own timeout.
            patience = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
            self._client = boto3.client("s3", config=patience)
        return self._client


class Keeper:
    """An internal extension: Lambda freezes, and ends, the environment only after it had its turn.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html: an invocation ends when the
    extension asks for the next event as well, and SIGTERM comes half a second ahead of SIGKILL.
    """

    def __init__(self, recorder: S3Recorder) -> None:
        self._recorder, self._answered = recorder, threading.Event()
        api = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self._url = f"http://{api}/2020-01-01/extension" if api and recorder.bucket else ""

    def start(self) -> None:
        """Register; outside Lambda, and without a bucket, do nothing."""
        if not self._url:
            return
        # The main thread waits in C for the next event, where Python handles no signal: a pipe wakes another.
        self._wake, end = os.pipe()
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end)
        signal.signal(signal.SIGTERM, lambda *_: None)
        with self._ask("register", {"Lambda-Extension-Name": "windows"}, b'{"events": ["INVOKE"]}') as answer:
            identity = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
        for work in (lambda: self._between(identity), self._at_the_end):
            threading.Thread(target=work, daemon=True).start()

    def answered(self) -> None:
        """Report that the handler is done with an event."""
        self._answered.set()

    def _ask(self, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        return urllib.request.urlopen(urllib.request.Request(f"{self._url}/{path}", body, headers))

    def _between(self, identity: dict[str, str]) -> None:
        while True:
            self._ask("event/next", identity).close()
            self._answered.wait()
            self._answered.clear()
            _try(self._recorder.flush_if_due)

    def _at_the_end(self) -> None:
        os.read(self._wake, 1)
        _try(self._recorder.flush)
        os._exit(0)


def _try(write: Callable[[], None]) -> None:
    try:
        write()
    except Exception as error:  # serving must not end; what was not written is kept for the next time
        print(f"cannot write the served counts: {error}", flush=True)
