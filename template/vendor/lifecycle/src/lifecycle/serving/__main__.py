"""Start the server: python -m lifecycle.serving HOST PORT

A client that does not finish its request holds a connection for half a minute at most, and no more.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

TICK = 15.0  # seconds; a connection on which no request is under way at two ticks in a row is closed


Base: Any = AutoHTTPProtocol


class ImpatientProtocol(Base):
    """uvicorn's protocol, which by itself waits for ever for the head of a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._tick_later("no request yet")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticking.cancel()
        super().connection_lost(exc)

    def _tick_later(self, answered: object) -> None:
        self._ticking = self.loop.call_later(TICK, self._tick, answered)

    def _tick(self, answered: object) -> None:
        """answered: the last request, if its answer was complete at the last tick; None if there was none."""
        complete = self.cycle is None or self.cycle.response_complete
        if complete and self.cycle is answered:
            self.transport.close()
        else:
            self._tick_later(self.cycle if complete else "under way")


def configured(host: str, port: int) -> uvicorn.Config:
    """Return how uvicorn runs the server of serving/app.py."""
    app, http = "lifecycle.serving.app:create_app", ImpatientProtocol
    return uvicorn.Config(
        app, host, port, factory=True, http=http, access_log=False, timeout_graceful_shutdown=10
    )


if __name__ == "__main__":
    uvicorn.Server(configured(sys.argv[1], int(sys.argv[2]))).run()
