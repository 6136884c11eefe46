"""A visit to a server that no agent asked for: a link of our own, the handshake, and no to whatever the server asks."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio

from holdshort import __version__
from holdshort.gate.conversation import refusal
from holdshort.gate.exchange import Emit, Peer
from holdshort.gate.methods import HANDSHAKE_VERSIONS, MODERN_VERSIONS, Era
from holdshort.gate.upstream import Link, Upstream, UpstreamError, UpstreamProtocol
from holdshort.wire import Frame, Kind

__all__ = ["Visit", "refusing", "visit"]

_HANDSHAKE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Visit:
    """A link that is ready for requests; `hello` is what the server said of itself, as it came."""

    link: Link
    peer: Peer
    hello: Mapping[str, Any]


@asynccontextmanager
async def visit(upstream: Upstream) -> AsyncGenerator[Visit, None]:
    """Open a link to a server whose `run()` is entered, in the newer of the two eras that it speaks.

    Raises:
        UpstreamError: the server cannot be reached, or refuses the session.
    """
    eras = await upstream.eras()
    if eras.modern:
        yield Visit(upstream.shared(), Peer(Era.MODERN, MODERN_VERSIONS[-1]), eras.discovered or {})
        return
    links: list[Link] = []

    async def on_frame(frame: Frame) -> None:
        if links:
            await refusing(links[0])(frame)

    async with upstream.open(on_frame) as link:
        links.append(link)
        hello = await _shake_hands(upstream.label, link)
        yield Visit(link, Peer(Era.LEGACY, str(hello.get("protocolVersion", ""))), hello)


def refusing(link: Link) -> Emit:
    """Return what takes the messages of a server: nobody is here to be asked anything, and the handshake said so."""

    async def emit(frame: Frame) -> None:
        if frame.kind is Kind.REQUEST:
            with suppress(UpstreamError):  # it has gone, and its question with it
                await link.send(refusal(frame))

    return emit


async def _shake_hands(server: str, link: Link) -> Mapping[str, Any]:
    info = {"name": "holdshort", "version": __version__}
    params = {"protocolVersion": HANDSHAKE_VERSIONS[-1], "capabilities": {}, "clientInfo": info}
    hello = Frame({"jsonrpc": "2.0", "id": "holdshort-initialize", "method": "initialize", "params": params})
    try:
        with anyio.fail_after(_HANDSHAKE_SECONDS):
            reply = await link.request(hello, _ignore)
    except TimeoutError:
        raise UpstreamProtocol(server, "did not answer `initialize`", sent=False) from None
    if "error" in reply.value:
        raise UpstreamProtocol(server, f"refused a session: {reply.value['error']['message']}", sent=False)
    await link.send(Frame({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    result = reply.value["result"]
    return result if isinstance(result, dict) else {}


async def _ignore(_: Frame) -> None:
    """Nobody waits for what a server says on the way."""
