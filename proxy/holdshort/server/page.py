"""The review page that many `wrap`s share: the first to start hosts it, and another takes over when it ends.

Who hosts is who holds a lock on a file of the state folder; the system gives the lock back when a process dies,
however it dies. The address stays the same across a takeover if it can, so that links in answers keep working.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from holdshort.config import Listen
from holdshort.server.core import Core
from holdshort.server.endpoint import announce, announced, withdraw
from holdshort.server.sockets import CannotListen, bind

if TYPE_CHECKING:
    from holdshort.server.web import WebServer

__all__ = ["DEFAULT_PAGE", "Page"]

DEFAULT_PAGE: Final = Listen(port=7412)
"""Not the port of `serve`, so that both can run."""

_LOOK_SECONDS: Final = 0.5


class Page:
    """This process's part in hosting the page."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock: int | None = None

    async def host_or_watch(self) -> None:
        """Host the page if nobody does; otherwise wait for that to change."""
        core = self._core
        # Ends with the process.
        while not self._take_lock(core.state_dir):
            there = announced(core.state_dir)
            if there is not None:
                core.page_is_at(there)
            await anyio.sleep(_LOOK_SECONDS)
        try:
            await self._host()
        finally:
            withdraw(core.state_dir)
            if self._lock is not None:
                os.close(self._lock)

    async def _host(self) -> None:
        core = self._core
        bound = _bind_near(core.config.approvals_listen, announced(core.state_dir))
        host, port = bound.getsockname()[:2]
        core.page_is_at(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        # The web framework is only paid for by the process that hosts, beside its first exchanges, not before them.
        server = await anyio.to_thread.run_sync(_build, core)
        announce(core.state_dir, core.review_base or "")
        core.log.info("review page", url=core.review_base, login="holdshort approvals login")
        try:
            await server.serve(sockets=[bound])
        finally:
            server.close_streams()

    def _take_lock(self, state_dir: Path) -> bool:
        descriptor = os.open(state_dir / "page.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True


def _build(core: Core) -> "WebServer":
    from holdshort.approvals import build_app, close_streams
    from holdshort.server.pages import approval_deps
    from holdshort.server.web import WebServer

    app = build_app(approval_deps(core))
    return WebServer(app, core.config.limits, close_streams=lambda: close_streams(app))


def _bind_near(configured: Listen | None, before: str | None) -> socket.socket:
    wanted = [configured] if configured is not None else []
    if configured is None:
        old = urlsplit(before).port if before else None
        wanted += [Listen(port=old)] if old else []
        wanted += [DEFAULT_PAGE, Listen(port=0)]
    for listen in wanted[:-1]:
        try:
            return bind(listen)
        except CannotListen:
            continue
    return bind(wanted[-1])
