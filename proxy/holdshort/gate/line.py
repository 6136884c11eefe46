"""One server as one client sees it: a link, the tools it lists, and a new link when the old one dies.

A client's session with us outlives the server behind it. When a child exits or a hosted server forgets the session,
the handshake the client made is made again, so that the next call works; a call that was under way is never repeated.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from holdshort.gate.catalog import Catalog
from holdshort.gate.exchange import Emit
from holdshort.gate.upstream import (
    Link,
    Upstream,
    UpstreamError,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamTimeout,
)
from holdshort.wire import Frame

__all__ = ["Line", "ModernLine", "SessionLine"]

_HANDSHAKE_SECONDS: Final = 60.0
"""A first start may download the server."""


class Line:
    """What the gate needs of a server for one exchange."""

    def __init__(self, server: str, catalog: Catalog) -> None:
        self.server = server
        self.catalog = catalog

    async def link(self) -> Link:
        """Return a link that can take an exchange.

        Raises:
            UpstreamError: there is none to be had now.
        """
        raise NotImplementedError

    async def tell(self, frame: Frame) -> None:
        """Send a notification or a response where that is possible.

        Raises:
            UpstreamError: it could not be sent.
        """


class ModernLine(Line):
    """The shared link of a server of the stateless era; one for all clients."""

    def __init__(self, upstream: Upstream, catalog: Catalog) -> None:
        super().__init__(upstream.label, catalog)
        self._upstream = upstream

    async def link(self) -> Link:
        return self._upstream.shared()


class SessionLine(Line):
    """A link of one client session's own."""

    def __init__(
        self,
        server: str,
        open_link: Callable[[Emit], AbstractAsyncContextManager[Link]],
        on_frame: Callable[["SessionLine", Frame], Any],
        tasks: TaskGroup,
        catalog: Catalog,
        *,
        hello: Frame | None = None,
        greeted: bool = False,
    ) -> None:
        super().__init__(server, catalog)
        self._open_link = open_link
        self._on_frame = on_frame
        self._tasks = tasks
        self._lock = anyio.Lock()
        self._link: Link | None = None
        self._opening: Link | None = None
        self._hang_up = anyio.Event()
        self._ended = False
        self._hello = hello
        self._greeted = greeted
        self._connected_before = False

    @property
    def current(self) -> Link | None:
        """The link as it is now, ready or not; None where there is none."""
        return self._opening or self._link

    async def link(self) -> Link:
        current = self._link
        if current is not None and not current.closed.is_set():
            return current
        async with self._lock:
            current = self._link
            if current is not None and not current.closed.is_set():
                return current
            self._link = None
            link = self._opening = await self._connect()
            try:
                if self._hello is not None:
                    await self._greet(link, self._hello)
            except BaseException:
                # Half a handshake is none: nobody may call on such a link.
                self._hang_up.set()
                raise
            finally:
                self._opening = None
            self._link = link
            return link

    async def initialize(self, hello: Frame) -> Frame:
        """Make the client's handshake, and remember it for a link that has to be made anew."""
        link = await self.link()
        reply = await self._shake_hands(link, hello)
        if "result" in reply.value:
            self._hello, self._connected_before = hello, True
        return reply

    async def initialized(self, notification: Frame) -> None:
        """The client has read the handshake's answer."""
        self._greeted = True
        await self.tell(notification)

    async def tell(self, frame: Frame) -> None:
        """Send a notification or a response on the link there is; where there is none, nobody waits for it.

        Raises:
            UpstreamError: it could not be sent.
        """
        current = self.current
        if current is not None and not current.closed.is_set():
            await current.send(frame)

    def hang_up(self) -> None:
        """End the line: its link, if there is one, and any that is being made."""
        self._ended = True
        self._hang_up.set()

    async def _connect(self) -> Link:
        # Whatever is left of the dead link's task ends with it.
        self._hang_up.set()
        if self._ended:
            raise UpstreamLost(self.server, "is not needed any more", sent=False)
        self._hang_up = anyio.Event()
        link: Link = await self._tasks.start(self._live, self._hang_up)
        if self._ended:
            self._hang_up.set()
        self.catalog.invalidate()
        return link

    async def _live(self, hang_up: anyio.Event, *, task_status: TaskStatus[Link]) -> None:
        started = False
        try:
            async with self._open_link(self._receive) as link:
                started = True
                task_status.started(link)
                # Ended by `hang_up`; a link that dies by itself stays here until its session replaces or ends it.
                await hang_up.wait()
        except UpstreamError:
            if not started:
                raise

    async def _receive(self, frame: Frame) -> None:
        if frame.value.get("method") == "notifications/tools/list_changed":
            self.catalog.invalidate()
        await self._on_frame(self, frame)

    async def _shake_hands(self, link: Link, hello: Frame) -> Frame:
        try:
            with anyio.fail_after(_HANDSHAKE_SECONDS):
                return await link.request(hello, _ignore)
        except TimeoutError:
            reason = f"did not answer `initialize` within {_HANDSHAKE_SECONDS:g} seconds"
            raise UpstreamTimeout(self.server, reason) from None

    async def _greet(self, link: Link, hello: Frame) -> None:
        """Make the handshake that the client made, on a link that it knows nothing of."""
        reply = await self._shake_hands(link, Frame({**hello.value, "id": "holdshort-initialize"}))
        if "error" in reply.value:
            raise UpstreamProtocol(self.server, f"refused a new session: {reply.value['error']['message']}", sent=False)
        if self._greeted:
            await link.send(Frame({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        if self._connected_before:
            changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            await self._on_frame(self, Frame(changed))
        self._connected_before = True


async def _ignore(_: Frame) -> None:
    """A handshake has nothing to show before its answer."""
