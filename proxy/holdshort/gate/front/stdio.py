"""Standard input and output: one client, one server of its own, one message a line. What `wrap` speaks.

Both eras pass over the same pipe: each request says by its envelope which one it is of.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, BinaryIO, Final

import anyio

from holdshort.gate import answers
from holdshort.gate.catalog import Catalog
from holdshort.gate.conversation import Conversation
from holdshort.gate.exchange import Emit, Peer
from holdshort.gate.front.crew import Crew
from holdshort.gate.gate import Gate
from holdshort.gate.methods import Era
from holdshort.gate.session import Session, StatelessOnPipes, as_client
from holdshort.gate.single import SingleEndpoint
from holdshort.gate.upstream import Link, Log, UpstreamError
from holdshort.policy import Caller
from holdshort.wire import (
    MCP_META_PREFIX,
    Frame,
    Kind,
    Limits,
    MalformedMessage,
    MessageTooLarge,
    classify,
    decode,
    error_reply,
)

__all__ = ["StdioFront"]

_HIGH_WATER: Final = 8 * 1024 * 1024
"""Bytes waiting to be written before messages to the client wait."""


class StdioFront:
    """The client at our standard input."""

    def __init__(
        self,
        gate: Gate,
        server: str,
        caller: Caller,
        *,
        open_link: Callable[[str, Emit], AbstractAsyncContextManager[Link]],
        make_catalog: Callable[[str], Catalog],
        limits: Limits,
        log: Log,
    ) -> None:
        self._gate = gate
        self._server = server
        self._caller = caller
        self._open_link = open_link
        self._make_catalog = make_catalog
        self._limits = limits
        self._log = log
        self._out: _Output | None = None

    async def serve(self, source: BinaryIO = sys.stdin.buffer, sink: BinaryIO = sys.stdout.buffer) -> None:
        """Serve until the client closes its end."""
        loop = asyncio.get_running_loop()
        reader = _Lines(self._limits.max_bytes)
        transport, _ = await loop.connect_read_pipe(lambda: reader, source)
        self._out = await _Output.open(sink)
        try:
            async with anyio.create_task_group() as tasks:
                session = Session(
                    self._gate,
                    SingleEndpoint(self._server),
                    self._caller,
                    Peer(Era.LEGACY),
                    open_link=self._open_link,
                    tasks=tasks,
                    tell=self._tell,
                    make_catalog=self._make_catalog,
                )
                crew = Crew(tasks)
                # Ends when the client closes its end of the pipe.
                while (raw := await reader.next_line()) is not None:
                    await self._take(raw, session, crew)
                session.close()
                tasks.cancel_scope.cancel()
        finally:
            transport.close()
            await self._out.close()

    async def _take(self, raw: bytes | MessageTooLarge, session: Session, crew: Crew) -> None:
        try:
            if isinstance(raw, MessageTooLarge):
                raise raw
            value = decode(raw, self._limits)
            frame = Frame(value, raw, classify(value))
        except MalformedMessage as error:
            code = -32600 if error.invalid_request or isinstance(error, MessageTooLarge) else -32700
            await self._tell(Frame(error_reply(error.request_id, code, str(error)), kind=Kind.RESPONSE))
            return
        if frame.kind is Kind.REQUEST:
            crew.hand(lambda: self._answer(frame, session))
        elif frame.kind is Kind.NOTIFICATION:
            crew.hand(lambda: session.notified(frame))
        else:
            crew.hand(lambda: session.answered(frame))

    async def _answer(self, frame: Frame, session: Session) -> None:
        request = frame.value["id"]
        if frame.value["method"] == "initialize":
            try:
                await self._tell(await session.initialize(frame))
            except UpstreamError as error:
                await self._tell(Frame(answers.upstream_failed(request, str(error))))
            return
        reply = await session.request(frame, self._tell, self._conversation(frame, session))
        if reply.frame is not None:
            await self._tell(reply.frame)
        if reply.settle is not None:
            await reply.settle(reply.frame is not None and self._out is not None and not self._out.broken)

    def _conversation(self, frame: Frame, session: Session) -> Conversation:
        """A stateless request brings its own envelope; only its pipes are the session's."""
        meta = (frame.value.get("params") or {}).get("_meta")
        version = meta.get(f"{MCP_META_PREFIX}protocolVersion") if isinstance(meta, dict) else None
        if not isinstance(meta, dict) or not isinstance(version, str):
            return session
        declared = meta.get(f"{MCP_META_PREFIX}clientCapabilities")
        info = meta.get(f"{MCP_META_PREFIX}clientInfo")
        peer = Peer(Era.MODERN, version, declared if isinstance(declared, dict) else {})
        return StatelessOnPipes(session, as_client(self._caller, info), peer)

    async def _tell(self, frame: Frame) -> None:
        if self._out is not None:
            await self._out.write(frame.raw)


class _Lines(asyncio.Protocol):
    """Cuts input into lines in linear time; what is longer than the limit is dropped as it comes, and reported once."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._lines: list[bytes | MessageTooLarge] = []
        self._ready = asyncio.Event()
        self._ended = False
        self._transport: Any = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._grow(piece)
            self._finish_line()
        self._grow(rest)
        if len(self._lines) > 256 and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._ready.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._size:
            self._finish_line()
        self._ended = True
        self._ready.set()

    async def next_line(self) -> bytes | MessageTooLarge | None:
        """Return the next line that is not empty; None at the end."""
        while not self._lines:
            if self._ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        line = self._lines.pop(0)
        if self._paused and len(self._lines) < 128 and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return line

    def _grow(self, piece: bytes) -> None:
        if not piece or self._skipping:
            return
        self._size += len(piece)
        if self._size > self._max:
            self._skipping = True
            self._parts.clear()
            return
        self._parts.append(piece)

    def _finish_line(self) -> None:
        if self._skipping:
            self._lines.append(MessageTooLarge(f"the line is longer than {self._max} bytes; it was not read"))
        else:
            line = b"".join(self._parts).strip(b"\r")
            if line:
                self._lines.append(line)
        self._parts, self._size, self._skipping = [], 0, False


class _Output(asyncio.Protocol):
    """Whole lines to the client; a client that reads slowly makes us wait, one that is gone does not."""

    def __init__(self) -> None:
        self.broken = False
        self._transport: Any = None
        self._drained = asyncio.Event()
        self._drained.set()

    @classmethod
    async def open(cls, sink: BinaryIO) -> "_Output":
        transport, protocol = await asyncio.get_running_loop().connect_write_pipe(cls, sink)
        protocol._transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        return protocol

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        self._drained.set()

    async def write(self, raw: bytes) -> None:
        if not self.broken:
            self._transport.write(raw + b"\n")
            await self._drained.wait()

    async def close(self) -> None:
        """Let what is written arrive."""
        with anyio.move_on_after(1.0, shield=True):
            # The low mark at zero: the next wake-up means that everything is written.
            self._transport.set_write_buffer_limits(high=0)
            if not self.broken and self._transport.get_write_buffer_size():
                self._drained.clear()
                await self._drained.wait()
        self._transport.close()
