"""HTTP as we run it: uvicorn, with a deadline for headers, on sockets we bound ourselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["WebServer"]

_HEADER_SECONDS: Final = 10.0


class _ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request headers take too long; uvicorn itself waits for ever."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._headers_due = self.loop.call_later(_HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        self._headers_due.cancel()
        self._headers_due = self.loop.call_later(_HEADER_SECONDS, self._too_slow)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._headers_due.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_due.cancel()
        super().connection_lost(exc)

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class WebServer(uvicorn.Server):
    """A server that leaves signals to the process that owns it."""

    def __init__(self, app: Any, *, close_streams: Callable[[], None] | None = None) -> None:
        self.close_streams = close_streams or _nothing
        super().__init__(
            uvicorn.Config(
                app,
                http=_ImpatientProtocol,
                ws="none",
                lifespan="off",
                loop="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are taken by the command that runs us."""
        yield


def _nothing() -> None:
    """An application without streams has none to close."""
