"""HTTP as we run it: uvicorn, with a deadline for headers, on sockets we bound ourselves."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdshort.config import Listen
from holdshort.errors import ConfigError

__all__ = ["CannotListen", "WebServer", "bind"]

_HEADER_SECONDS: Final = 10.0


class CannotListen(ConfigError):
    """Raised when an address cannot be listened on."""

    def __init__(self, listen: Listen, reason: str) -> None:
        super().__init__(f"cannot listen on {listen}: {reason}; choose another with `--listen` or end what uses it")


def bind(listen: Listen) -> socket.socket:
    """Return a listening socket.

    Raises:
        CannotListen: the address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen.host, listen.port))
        made.listen(2048)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise CannotListen(listen, (error.strerror or str(error)).lower()) from error
    return made


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

    def __init__(self, app: Any) -> None:
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
