"""The review page that many `wrap`s share: the first to start hosts it, and another takes over when it ends.

Who hosts is who holds a lock on a file of the state folder; the system gives the lock back when a process dies,
however it dies. The address stays the same across a takeover if it can, so that links in answers keep working.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskStatus

from holdshort.config import Listen
from holdshort.server.core import Core
from holdshort.server.endpoint import announce, announced, withdraw

__all__ = ["DEFAULT_PAGE", "Page"]

DEFAULT_PAGE: Final = Listen(port=7412)
"""Not the port of `serve`, so that both can run."""

_LOOK_SECONDS: Final = 0.5


class Page:
    """This process's part in hosting the page."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock: int | None = None

    async def host_or_watch(self, *, task_status: TaskStatus[None]) -> None:
        """Host the page if nobody does; otherwise wait for that to change. Reports once the address is known."""
        core = self._core
        started = False
        # Ends with the process.
        while True:
            if self._take_lock(core.state_dir):
                await self._host(task_status if not started else None)
                return
            core.review_base = core.config.public_url or announced(core.state_dir) or core.review_base
            if not started and core.review_base is not None:
                started = True
                task_status.started()
            await anyio.sleep(_LOOK_SECONDS)

    async def _host(self, task_status: TaskStatus[None] | None) -> None:
        # The web framework is only paid for by the process that hosts.
        from holdshort.approvals import build_app
        from holdshort.server.serve import approval_deps
        from holdshort.server.web import WebServer

        core = self._core
        bound = _bind_near(core.config.approvals_listen, announced(core.state_dir))
        host, port = bound.getsockname()[:2]
        core.review_base = core.config.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
        app = build_app(approval_deps(core))
        announce(core.state_dir, core.review_base)
        core.log.info("review page", url=core.review_base, login="holdshort approvals login")
        if task_status is not None:
            task_status.started()
        try:
            await WebServer(app).serve(sockets=[bound])
        finally:
            withdraw(core.state_dir)
            if self._lock is not None:
                os.close(self._lock)

    def _take_lock(self, state_dir: Path) -> bool:
        descriptor = os.open(state_dir / "page.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True


def _bind_near(configured: Listen | None, before: str | None) -> socket.socket:
    from holdshort.server.web import CannotListen, bind

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
