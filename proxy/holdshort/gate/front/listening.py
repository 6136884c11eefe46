"""A stream of a session, sent to whoever listens: what it has said since, then what it says, until one of them ends."""

import anyio

from holdshort.gate.front.body import Receive, Send
from holdshort.gate.front.sessions import HttpSession
from holdshort.gate.front.streams import PING, SSE_HEADERS, Stream

__all__ = ["stream_to"]


async def stream_to(
    held: HttpSession, stream: Stream, number: int, receive: Receive, send: Send, *, keepalive_seconds: float
) -> None:
    """Send what `stream` says after event `number`, until it is finished or the client hangs up."""
    session = (b"mcp-session-id", held.name.encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS, session]})
    await send({"type": "http.response.body", "body": PING, "more_body": True})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
        while True:
            grown = stream.grown
            for at, data in stream.after(number):
                number = at
                await send({"type": "http.response.body", "body": data, "more_body": True})
            if stream.finished:
                break
            with anyio.move_on_after(keepalive_seconds) as silence:
                await grown.wait()
            held.last_used = anyio.current_time()
            if silence.cancelled_caught:
                await send({"type": "http.response.body", "body": PING, "more_body": True})
        tasks.cancel_scope.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while True:
        # Ends with the stream it watches.
        message = await receive()
        if message["type"] == "http.disconnect":
            scope.cancel()
            return
