"""Served counts in s3://WINDOWS_BUCKET/WINDOWS_PREFIX/windows/<version>/: the files of windows.py.

Lambda freezes a process between requests, so a timer would not run. Windows are written between the answer
and the freeze, when one is due, and what is left when Lambda ends the environment.
"""

import os
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Arrays
from ..monitoring.profile import Profile
from ..monitoring.windows import Recorder
from ..project import NAME


def place() -> tuple[str, str]:
    """Return the bucket of this deployment and the prefix in it; ("", …) where none is set."""
    return os.environ.get("WINDOWS_BUCKET", ""), os.environ.get("WINDOWS_PREFIX", NAME)


class S3Recorder(Recorder):
    """Counts what one environment sees; without WINDOWS_BUCKET nothing is written."""

    def __init__(self, reference: Profile, version: str, rules: dict[str, Any]) -> None:
        super().__init__(reference, Path(), version, float(os.environ.get("WINDOW_SECONDS", "300")), rules)
        self._version = version
        self._since = 0.0  # wall clock of the oldest row that is not written yet: it goes on in a freeze
        self._client: Any = None

    def add(self, columns: Arrays, predictions: np.ndarray) -> list[str]:
        self._since = self._since or time.time()
        return super().add(columns, predictions)

    def reject(self, rows: int) -> None:
        super().reject(rows)
        self._since = self._since or time.time()

    def flush(self) -> None:
        super().flush()
        self._since = 0.0

    def flush_if_due(self) -> None:
        """Write a window when its first row is old enough; and be ready to write one in a hurry."""
        self._connect()
        if self._since and time.time() - self._since >= self._seconds:
            self.flush()

    def write(self, name: str, text: str) -> None:
        bucket, prefix = place()
        key = f"{prefix}/windows/{self._version}/{name}"
        self._connect().put_object(Bucket=bucket, Key=key, Body=text.encode())

    def append(self, name: str, lines: list[str]) -> None:
        kind, _, file = name.partition("/")
        self.write(f"{kind}/{file.replace('.', f'-{time.time_ns()}.')}", "".join(lines))

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
        self._recorder = recorder
        self._answered = threading.Event()
        api = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self._url = f"http://{api}/2020-01-01/extension" if api and place()[0] else ""

    def start(self) -> None:
        """Register, outside Lambda and without a bucket not at all."""
        if not self._url:
            return
        # The main thread waits in C for the next event, where Python handles no signal: a pipe wakes another.
        self._wake, end = os.pipe()
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end)
        signal.signal(signal.SIGTERM, lambda *_: None)
        request = urllib.request.Request(
            f"{self._url}/register", b'{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "windows"}
        )
        with urllib.request.urlopen(request) as answer:
            identity = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
        for work in (lambda: self._between(identity), self._at_the_end):
            threading.Thread(target=work, daemon=True).start()

    def answered(self) -> None:
        """Say that the handler is done with an event."""
        self._answered.set()

    def _between(self, identity: dict[str, str]) -> None:
        while True:
            request = urllib.request.Request(f"{self._url}/event/next", headers=identity)
            urllib.request.urlopen(request).close()
            self._answered.wait()
            self._answered.clear()
            _try(self._recorder.flush_if_due)

    def _at_the_end(self) -> None:
        os.read(self._wake, 1)
        _try(self._recorder.flush)
        os._exit(0)


def _try(write: Any) -> None:
    try:
        write()
    except Exception as error:  # serving must not end; what was not written is kept for the next time
        print(f"cannot write the served counts: {error}", flush=True)
