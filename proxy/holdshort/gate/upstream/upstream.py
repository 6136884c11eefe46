"""One configured server, and the three ways to talk to it: a link of one's own, the shared one, the raw one."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import SSLContext

from holdshort.config import ServerConfig
from holdshort.gate.upstream.link import Emit, Eras, Health, Link, Log, UpstreamLimits

__all__ = ["Upstream", "identity_digest"]


class Upstream:
    """One configured server. Enter `run()` before anything else, for as long as the server is in use."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        log: Log,
        limits: UpstreamLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        tls: SSLContext | None = None,
    ) -> None:
        self.config = config

    @property
    def label(self) -> str:
        """The server's name in `mcpServers`."""
        return self.config.label

    @property
    def identity(self) -> str:
        """Digest of what the server is (command and arguments, or URL); tool definitions are pinned together with it."""
        return identity_digest(self.config)

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Upstream"]:
        """Own everything that is shared: probes, the connection pool, the shared child. Leaving stops all of it."""
        yield self

    async def eras(self) -> Eras:
        """Say what the server speaks; probed once with throwaway links, then remembered.

        Raises:
            UpstreamError: the server cannot be asked.
        """
        raise NotImplementedError

    def forget_eras(self) -> None:
        """Probe again next time: the server was restarted or changed."""
        raise NotImplementedError

    def open(self, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
        """Return a legacy link of one's own; the caller sends `initialize` first. Must be left by the task that entered.

        `on_frame` gets what belongs to no exchange: over stdio and legacy SSE everything but responses and progress,
        over streamable HTTP what comes on the GET stream.
        """
        raise NotImplementedError

    def shared(self) -> Link:
        """Return the modern link, which any number of agents use at once."""
        raise NotImplementedError

    def dedicated(self, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
        """Return a child of one's own that speaks whatever its peer speaks; every frame but responses goes to `on_frame`."""
        raise NotImplementedError

    def health(self) -> Health:
        """Say how the server is doing, without asking it."""
        raise NotImplementedError


def identity_digest(config: ServerConfig) -> str:
    """Return the SHA-256 (hex) of what makes the server that server; credentials are no part of it."""
    raise NotImplementedError
