"""An upstream that costs next to nothing, so that what is measured is the proxy in front of it.

It speaks the handshake era far enough for a client to call `echo` and list tools, over HTTP (one JSON answer per POST)
or over its own pipes, and checks nothing it does not need. It never waits, so answers are made where requests are read.

    python echo_upstream.py --http PORT [--tools N]
    python echo_upstream.py --stdio [--tools N]
"""

import argparse
import asyncio
import os
import re
import signal
import time
from typing import Any, Final, cast

import orjson
import uvloop

__all__ = ["Echo", "main"]

PROTOCOL_VERSION: Final = "2025-11-25"
_READ_BYTES: Final = 1 << 18
_CONTENT_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_METHOD_NOT_FOUND: Final = -32601

_JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_SESSION_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: bench-session\r\ncontent-length: %d\r\n\r\n"
)
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_NOT_ALLOWED: Final = b"HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-length: 0\r\n\r\n"
_LENGTH_REQUIRED: Final = b"HTTP/1.1 411 Length Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Echo:
    """One server's answers, as bytes: `echo` plus as many tools nobody calls as make up `tools`."""

    def __init__(self, tools: int) -> None:
        listed = [_tool("echo")] + [_tool(f"other_{number:03d}") for number in range(1, tools)]
        self._listed = orjson.dumps({"tools": listed})
        self._initialized = orjson.dumps(
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }
        )
        self._padding: dict[int, bytes] = {}

    def answer(self, raw: bytes) -> tuple[bytes | None, bool]:
        """Return the response to one message (None: it wants none), and whether it opens a session."""
        message: dict[str, Any] = orjson.loads(raw)
        method = message.get("method")
        request_id = message.get("id")
        if request_id is None or method is None:
            return None, False
        identity = orjson.dumps(request_id)
        if method == "tools/call":
            return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (identity, self._echoed(message["params"])), False
        if method == "tools/list":
            return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (identity, self._listed), False
        if method == "initialize":
            return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (identity, self._initialized), True
        if method == "ping":
            return b'{"jsonrpc":"2.0","id":%b,"result":{}}' % identity, False
        refusal = {"code": _METHOD_NOT_FOUND, "message": f"method not found: {method}"}
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (identity, orjson.dumps(refusal)), False

    def _echoed(self, params: dict[str, Any]) -> bytes:
        arguments: dict[str, Any] = params.get("arguments") or {}
        text = orjson.dumps(arguments.get("text", ""))
        size: int = arguments.get("size", 0)
        if size > len(text):
            text = text[:-1] + self._pad(size - len(text) + 2) + b'"'
        if not arguments.get("stamp"):
            return b'{"content":[{"type":"text","text":%b}]}' % text
        # One clock for every process of the machine: tells when the call arrived here.
        return b'{"content":[{"type":"text","text":%b}],"_meta":{"bench/at":%d}}' % (text, time.monotonic_ns())

    def _pad(self, size: int) -> bytes:
        pad = self._padding.get(size)
        if pad is None:
            pad = self._padding[size] = b"x" * size
        return pad


def _tool(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"Gives back the text it was given (`{name}`).",
        "inputSchema": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "What to give back."},
                "size": {"type": "integer", "description": "Pad the result to this many bytes."},
                "stamp": {"type": "boolean", "description": "Say when the call arrived."},
            },
            "required": ["text"],
        },
        "annotations": {"readOnlyHint": True},
    }


class _HttpConnection(asyncio.Protocol):
    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._buffer = bytearray()
        self._needed = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._needed:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._buffer[: head_end + 2])
            length = _CONTENT_LENGTH.search(head)
            if length is None and head.startswith(b"POST"):
                self._transport.write(_LENGTH_REQUIRED)
                self._transport.close()
                return
            start = head_end + 4
            self._needed = start + (int(length[1]) if length else 0)
            if len(self._buffer) < self._needed:
                return
            body = bytes(self._buffer[start : self._needed])
            del self._buffer[: self._needed]
            self._needed = 1
            self._respond(head, body)

    def _respond(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST"):
            self._transport.write(_ACCEPTED if head.startswith(b"DELETE") else _NOT_ALLOWED)
            return
        reply, opens_session = self._echo.answer(body)
        if reply is None:
            self._transport.write(_ACCEPTED)
            return
        self._transport.write((_SESSION_HEAD if opens_session else _JSON_HEAD) % len(reply) + reply)


async def _serve_http(echo: Echo, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: _HttpConnection(echo), "127.0.0.1", port, backlog=1024)
    await stopped.wait()
    server.close()


def _serve_stdio(echo: Echo) -> None:
    """Answer line by line; requests that arrive together are answered in one write."""
    rest = b""
    while data := os.read(0, _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        replies = [reply for line in lines if line and (reply := echo.answer(line)[0]) is not None]
        if replies:
            _write_all(b"\n".join(replies) + b"\n")


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> None:
    """Run the upstream until its standard input ends (`--stdio`) or it is told to stop (`--http`)."""
    parser = argparse.ArgumentParser(description="a raw echo upstream for measuring proxies")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--http", type=int, metavar="PORT", help="serve HTTP on this loopback port")
    how.add_argument("--stdio", action="store_true", help="serve standard input and output")
    parser.add_argument("--tools", type=int, default=10, help="how many tools to list")
    options = parser.parse_args()
    echo = Echo(options.tools)
    if options.stdio:
        _serve_stdio(echo)
    else:
        uvloop.run(_serve_http(echo, options.http))


if __name__ == "__main__":
    main()
