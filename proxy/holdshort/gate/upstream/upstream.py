"""One configured server, and the three ways to talk to it: a link of one's own, the shared one, the raw one."""

import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import SSLContext
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import anyio
import orjson
from anyio.abc import TaskGroup

from holdshort.config import ServerConfig
from holdshort.gate.upstream.backoff import Backoff
from holdshort.gate.upstream.http_client import HttpClient, Origin
from holdshort.gate.upstream.legacy_sse import LegacySseLink
from holdshort.gate.upstream.lines import Overlong
from holdshort.gate.upstream.link import (
    Emit,
    Eras,
    Health,
    Link,
    Log,
    UpstreamBackoff,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamUnreachable,
)
from holdshort.gate.upstream.modern import ModernHttpLink
from holdshort.gate.upstream.noise import Noise
from holdshort.gate.upstream.posting import Endpoint
from holdshort.gate.upstream.probe import probe_http, probe_pipes
from holdshort.gate.upstream.process import Child
from holdshort.gate.upstream.remap import SharedChild
from holdshort.gate.upstream.spawn import Command, child_environment
from holdshort.gate.upstream.stderr import Stderr, secrets_of
from holdshort.gate.upstream.stdio import StdioLink
from holdshort.gate.upstream.streamable import LegacyHttpLink
from holdshort.gate.upstream.tasks import background

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
        self._log = log
        self._limits = limits or UpstreamLimits()
        self._monotonic = monotonic
        self._tls = tls
        self._secrets = secrets_of(config.env, config.headers)
        self._noise = Noise(config.label, log=log, monotonic=monotonic)
        self._tasks: TaskGroup | None = None
        self._client: HttpClient | None = None
        self._endpoint: Endpoint | None = None
        self._shared: SharedChild | ModernHttpLink | None = None
        self._eras: Eras | None = None
        self._probe: _Probe | None = None
        self._probe_backoff = Backoff(self._limits.restart_seconds, self._limits.restart_max_seconds)
        self._probe_not_before = 0.0
        self._last_error: UpstreamError | None = None
        self._children: dict[int, Child] = {}
        self._links = 0

    @property
    def label(self) -> str:
        """The server's name in `mcpServers`."""
        return self.config.label

    @property
    def identity(self) -> str:
        """Digest of what the server is (see `identity_digest`); tool definitions are pinned together with it."""
        return identity_digest(self.config)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["Upstream", None]:
        """Own everything that is shared: probes, the connections, the shared child. Leaving stops all of it."""
        async with background() as tasks:
            self._tasks = tasks
            if self.config.transport != "stdio":
                self._client = HttpClient(self.label, limits=self._limits, monotonic=self._monotonic, tls=self._tls)
            try:
                yield self
            finally:
                self._tasks = None
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    shared, self._shared = self._shared, None
                    if shared is not None:
                        await shared.close()
                    await self._stop_children()
                    if self._client is not None:
                        self._client.close()
                        self._client = self._endpoint = None

    @property
    def spoken(self) -> Eras | None:
        """What the server is known to speak; None before it could be asked."""
        return self._eras

    async def eras(self) -> Eras:
        """Say what the server speaks; probed once with throwaway links, then remembered.

        Raises:
            UpstreamError: the server cannot be asked.
        """
        if self._eras is not None:
            return self._eras
        tasks = self._running()
        if self._probe is None:
            if self._monotonic() < self._probe_not_before:
                pause = self._probe_not_before - self._monotonic()
                why = f"; it {self._last_error.reason}" if self._last_error is not None else ""
                raise UpstreamBackoff(self.label, f"is tried again in {pause:.1f} seconds{why}")
            # One probe for all who ask; it goes on when the first of them gives up.
            self._probe = _Probe()
            tasks.start_soon(self._ask, self._probe)
        probe = self._probe
        await probe.done.wait()
        if probe.eras is not None:
            return probe.eras
        raise (probe.failure or UpstreamLost(self.label, "was not asked", sent=False)).again(sent=False)

    def forget_eras(self) -> None:
        """Probe again next time: the server was restarted or changed."""
        self._eras = None
        self._probe_not_before = 0.0

    def open(self, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
        """Return a legacy link of one's own; the caller sends `initialize` first, and leaves in the task that entered.

        `on_frame` gets what belongs to no exchange: over stdio and legacy SSE everything but responses and progress,
        over streamable HTTP what comes on the session's own stream.
        """
        if self.config.transport == "stdio":
            return self._open_child(on_frame, raw=False)
        if self.config.transport == "sse":
            return self._open_sse(on_frame)
        return self._open_http(on_frame)

    def shared(self) -> Link:
        """Return the modern link, which any number of agents use at once.

        Raises:
            UpstreamUnreachable: this transport has no modern era.
        """
        self._running()
        if self._shared is None:
            if self.config.transport == "sse":
                raise UpstreamUnreachable(self.label, "speaks the 2024-11-05 transport, which has sessions only")
            if self.config.transport == "http":
                self._shared = ModernHttpLink(self._at())
            else:
                self._shared = SharedChild(
                    self.label,
                    log=self._log,
                    limits=self._limits,
                    monotonic=self._monotonic,
                    spawn=self._spawn,
                )
        return self._shared

    def dedicated(self, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
        """Return a child of one's own that speaks what its peer speaks: all frames but responses go to `on_frame`."""
        if self.config.transport != "stdio":
            raise UpstreamUnreachable(self.label, "is no command, so it cannot have a child of its own")
        return self._open_child(on_frame, raw=True)

    def health(self) -> Health:
        """Say how the server is doing, without asking it."""
        shared = self._shared if isinstance(self._shared, SharedChild) else None
        waiting = self._monotonic() < self._probe_not_before or (shared is not None and shared.backing_off)
        error = self._client.last_error if self._client is not None and self._client.used else self._last_error
        pid = (shared.pid if shared is not None else None) or next(iter(self._children), None)
        state: Literal["idle", "up", "backoff", "down"]
        if waiting:
            state = "backoff"
        elif pid is not None or self._links or (self._client is not None and self._client.used and error is None):
            state = "up"
        else:
            state = "down" if error is not None else "idle"
        return Health(
            label=self.label,
            transport=self.config.transport,
            state=state,
            last_error=error.reason if error is not None else None,
            restarts=shared.restarts if shared is not None else 0,
            pid=pid,
            links=self._links,
        )

    async def _ask(self, probe: "_Probe") -> None:
        seconds = self._limits.probe_seconds
        try:
            if self.config.transport == "stdio":
                opened = lambda on_frame: self._open_child(on_frame, raw=True)  # noqa: E731
                probe.eras = await probe_pipes(self.label, opened, seconds=seconds)
            else:
                modern = self.shared() if self.config.transport == "http" else None
                probe.eras = await probe_http(self.label, modern, self.open, seconds=seconds)
            self._eras = probe.eras
            self._last_error = None
            self._probe_backoff.reset()
        except UpstreamError as error:
            probe.failure = self._last_error = error
            if self.config.transport == "stdio":
                # To start a process costs something; to connect costs nothing, and a server may be up the next moment.
                self._probe_not_before = self._monotonic() + self._probe_backoff.fail()
            self._log.warning("upstream.not_asked", server=self.label, why=error.reason)
        finally:
            self._probe = None
            probe.done.set()

    @asynccontextmanager
    async def _open_child(self, on_frame: Emit, *, raw: bool) -> AsyncGenerator[Link, None]:
        self._running()
        link = StdioLink(self.label, log=self._log, limits=self._limits, monotonic=self._monotonic, raw=raw)
        child = await self._spawn(link.on_line, link.on_death)
        link.attach(child)
        self._links += 1
        try:
            async with background() as tasks:
                tasks.start_soon(link.pump, on_frame)
                yield link
        finally:
            self._links -= 1
            with anyio.CancelScope(shield=True):
                await link.close()
                await self._stop(child)

    @asynccontextmanager
    async def _open_http(self, on_frame: Emit) -> AsyncGenerator[Link, None]:
        self._running()
        backoff = Backoff(self._limits.restart_seconds, self._limits.restart_max_seconds)
        async with background() as tasks:
            link = LegacyHttpLink(self._at(), log=self._log, tasks=tasks, on_frame=on_frame, backoff=backoff)
            self._links += 1
            try:
                yield link
            finally:
                self._links -= 1
                tasks.cancel_scope.cancel()
                await link.close()

    @asynccontextmanager
    async def _open_sse(self, on_frame: Emit) -> AsyncGenerator[Link, None]:
        self._running()
        async with background() as tasks:
            link = LegacySseLink(self._at(), self.config.url or "", tasks=tasks, on_frame=on_frame)
            await link.start()
            self._links += 1
            try:
                yield link
            finally:
                self._links -= 1
                await link.close()

    async def _spawn(self, on_line: Callable[[bytes | Overlong], bool], on_death: Callable[[str], None]) -> Child:
        config = self.config
        self._running()
        stderr = Stderr(
            self.label, log=self._log, limits=self._limits, secrets=self._secrets, monotonic=self._monotonic
        )
        command = Command(
            label=self.label,
            command=config.command or "",
            args=config.args,
            env=child_environment(os.environ, config.env),
            cwd=config.cwd,
        )

        def died(how: str) -> None:
            on_death(how)
            if self._tasks is not None and not child.stopping:
                self._last_error = UpstreamLost(self.label, how)
                # Whatever it had started may still run.
                self._tasks.start_soon(self._stop, child)

        child = Child(command, limits=self._limits, stderr=stderr, on_line=on_line, on_death=died)
        try:
            await child.start()
        except UpstreamError as error:
            self._last_error = error
            raise
        self._children[child.pid] = child
        self._log.debug("upstream.started", server=self.label, pid=child.pid)
        return child

    async def _stop(self, child: Child) -> None:
        await child.stop()
        if self._children.get(child.pid) is child:
            del self._children[child.pid]

    async def _stop_children(self) -> None:
        async with anyio.create_task_group() as tasks:
            for child in list(self._children.values()):
                tasks.start_soon(self._stop, child)

    def _running(self) -> TaskGroup:
        if self._tasks is None:
            raise UpstreamLost(self.label, "is not running here (any more)", sent=False)
        return self._tasks

    def _at(self) -> Endpoint:
        if self._endpoint is None:
            if self._client is None:
                raise UpstreamLost(self.label, "is not running here (any more)", sent=False)
            origin = Origin(self.label, self.config.url or "")
            self._endpoint = Endpoint(
                self.label,
                origin,
                self.config.headers,
                client=self._client,
                limits=self._limits,
                noise=self._noise,
            )
        return self._endpoint


class _Probe:
    """One probe, for all who ask at the same time."""

    __slots__ = ("done", "eras", "failure")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.eras: Eras | None = None
        self.failure: UpstreamError | None = None


def identity_digest(config: ServerConfig) -> str:
    """Return the SHA-256 (hex) of what makes the server that server; credentials are no part of it."""
    facts: dict[str, object] = {"label": config.label, "transport": config.transport}
    if config.transport == "stdio":
        facts["command"] = config.command
        facts["args"] = list(config.args)
        facts["cwd"] = str(config.cwd) if config.cwd is not None else None
    else:
        parts = urlsplit(config.url or "")
        facts["url"] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
