"""A streamable HTTP server that misbehaves on command: the name of the called tool says how. Standard library only.

Prints its port. What reached it is told by the tool `seen`. Options: `--legacy` (400 for the modern era), `--modern`.
"""

import asyncio
import json
import sys
from typing import Any

seen: list[dict[str, Any]] = []
options = sys.argv[1:]
gone: set[str] = set()
readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
sessions = 0
Headers = dict[str, str]


def head(status: str, headers: str = "", *, length: int | None = None) -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status}\r\n{headers}{size}\r\n".encode()


def as_json(value: Any, status: str = "200 OK", extra: str = "") -> bytes:
    body = json.dumps(value).encode()
    return head(status, f"Content-Type: application/json\r\n{extra}", length=len(body)) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value: Any, number: str = "") -> bytes:
    return (f"id: {number}\n" if number else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def result(number: Any, value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": value}


def note(method: str, params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


STREAM = head("200 OK", "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n")
OK = {"ok": True}


async def tool(name: str, number: Any, params: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
    """Answer one call; False closes the connection."""
    put, given = writer.write, params.get("arguments") or {}
    match name:
        case "echo":
            put(as_json(result(number, {"given": given})))
        case "seen":
            put(as_json(result(number, {"seen": seen})))
        case "sse":
            put(STREAM)
            for index in range(given.get("count", 1)):
                token = params.get("_meta", {}).get("progressToken")
                put(chunk(event(note("notifications/progress", {"progressToken": token, "progress": index}))))
            put(chunk(b": keep-alive\r\n\r\n") + chunk(event(result(number, OK))) + b"0\r\n\r\n")
        case "sse_never_ends":
            put(STREAM + chunk(event(result(number, OK))))
            await writer.drain()
            await asyncio.sleep(1000)
        case "sse_garbage":
            put(
                STREAM
                + chunk(b"data: {]\n\ndata: \xff\xff\n\nevent: other\ndata: {}\n\ndata: []\n\n" * given.get("count", 1))
            )
            put(chunk(event(result(str(number), {}))) + chunk(event(result(number, OK))) + b"0\r\n\r\n")
        case "sse_flood":
            put(STREAM)
            until = asyncio.get_running_loop().time() + given["seconds"]
            while asyncio.get_running_loop().time() < until:
                put(chunk(b"data: garbage\n\n" * 4000))
                await writer.drain()
            put(chunk(event(result(number, OK))) + b"0\r\n\r\n")
        case "sse_cut":
            put(STREAM + chunk(event(note("notifications/message", {"data": 1}))) + b'40\r\ndata: {"jsonrpc": "2')
            return False
        case "sse_no_answer":
            put(STREAM + chunk(event(note("notifications/message", {"data": 1}))) + b"0\r\n\r\n")
        case "sse_bad_answer":
            put(STREAM + chunk(b'data: {"jsonrpc": "2.0", "id": %d, "result": {"a": "\xff"}}\n\n' % number))
            await writer.drain()
            await asyncio.sleep(1000)
        case "sse_long":
            put(STREAM)
            for _ in range(given["megabytes"]):
                put(chunk(b"data: " + b"x" * 1_000_000))
                await writer.drain()
            put(chunk(b"\n\n") + chunk(event(result(number, OK))) + b"0\r\n\r\n")
        case "sse_poll":
            put(STREAM + chunk(b"retry: 60\nid: poll-%d\ndata: \n\n" % number) + b"0\r\n\r\n")
        case "sse_poll_cut":
            put(STREAM + chunk(b"retry: 60\nid: poll-%d\ndata: \n\n" % number))
            return False
        case "sse_request":
            ask = {"jsonrpc": "2.0", "id": "from-server", "method": "roots/list"}
            put(STREAM + chunk(event(ask)) + chunk(event(result(number, OK))) + b"0\r\n\r\n")
        case "slow_headers":
            put(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(1000):
                put(b"y")
                await writer.drain()
                await asyncio.sleep(0.05)
        case "huge_header":
            put(
                head("200 OK", f"X-Huge: {'z' * given['bytes']}\r\nContent-Type: application/json\r\n", length=2)
                + b"{}"
            )
        case "gzip":
            put(as_json(result(number, OK), extra="Content-Encoding: gzip\r\n"))
        case "te_gzip":
            put(head("200 OK", "Content-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n") + b"0\r\n\r\n")
        case "redirect":
            put(
                head(
                    "307 Temporary Redirect", "Location: http://user:secret@evil.example/mcp?token=secret\r\n", length=0
                )
            )
        case "wrong_id":
            put(as_json(result(str(number), OK)))
        case "batch":
            put(as_json([result(number, OK)]))
        case "big":
            body = json.dumps(result(number, {"text": "x" * given["bytes"]})).encode()
            put(head("200 OK", "Content-Type: application/json\r\n", length=len(body)) + body)
        case "chunked":
            put(head("200 OK", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"))
            for byte in json.dumps(result(number, OK)).encode():
                put(chunk(bytes([byte])))
            put(b"0\r\nX-Trailer: yes\r\n\r\n")
        case "dribble":
            for byte in as_json(result(number, OK)):
                put(bytes([byte]))
                await writer.drain()
        case "to_the_end":
            put(head("200 OK", "Content-Type: application/json\r\n") + json.dumps(result(number, OK)).encode())
            return False
        case "continue":
            put(
                b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                + as_json(result(number, OK))
            )
        case "not_http":
            put(b"220 mail.example ESMTP\r\n")
        case "close_first":
            return False
        case "close_after":
            put(as_json(result(number, OK)))
            return False
        case "two_answers":
            put(as_json(result(number, OK)) + as_json(result(number + 1, {"smuggled": True})))
        case "late_extra":
            put(as_json(result(number, OK)))
            await writer.drain()
            await asyncio.sleep(0.05)
            put(as_json(result(number + 1, {"smuggled": True})))
        case "hang":
            while not readers[writer].at_eof():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return False
        case "forget":
            gone.add(given["session"])
            put(as_json(result(number, OK)))
        case "error_404":
            put(
                as_json(
                    {"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}},
                    "404 Not Found",
                )
            )
        case "error_400":
            put(as_json({"jsonrpc": "2.0", "error": {"code": -32020, "message": "headers"}}, "400 Bad Request"))
        case "error_401":
            put(head("401 Unauthorized", "WWW-Authenticate: Bearer\r\nContent-Type: text/plain\r\n", length=0))
        case "error_500":
            put(head("500 Internal Server Error", "Content-Type: text/html\r\n", length=4) + b"<p/>")
        case "html":
            put(head("200 OK", "Content-Type: text/html\r\n", length=4) + b"<p/>")
        case "upgrade":
            put(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        case _:
            put(as_json({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": "no such tool"}}))
    return True


async def answer(method: str, headers: Headers, body: bytes, writer: asyncio.StreamWriter) -> bool:
    global sessions
    put, session = writer.write, headers.get("mcp-session-id", "")
    message = json.loads(body) if body else {}
    kept = (
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "accept",
        "accept-encoding",
        "authorization",
        "last-event-id",
        "x-extra",
        "mcp-param-region",
        "user-agent",
        "host",
    )
    seen.append(
        {
            "http": method,
            "method": message.get("method"),
            "id": message.get("id"),
            "params": message.get("params"),
            "headers": {name: value for name, value in headers.items() if name in kept},
        }
    )
    if session in gone:
        put(head("404 Not Found", length=0))
        return True
    if method == "DELETE":
        gone.add(session)
        put(head("204 No Content"))
        return True
    if method == "GET":
        if "--no-get" in options:
            put(head("405 Method Not Allowed", length=0))
            return True
        last = headers.get("last-event-id", "")
        put(STREAM)
        if last.startswith("poll-"):
            put(chunk(event(note("notifications/message", {"data": "resumed"}), f"{last}-1")))
            put(chunk(event(result(int(last.split("-")[1]), {"resumed": True}))) + b"0\r\n\r\n")
            return True
        if last == "get-1":
            put(chunk(event(note("notifications/message", {"data": "second stream"}), "get-2")))
            await writer.drain()
            await asyncio.sleep(1000)
        put(
            chunk(b"retry: 50\n\n" + event(note("notifications/message", {"data": "first stream"}), "get-1"))
            + b"0\r\n\r\n"
        )
        return True
    kind, number = message.get("method"), message.get("id")
    if number is None or kind is None:
        put(head("202 Accepted", length=0))
    elif kind == "initialize":
        if "--modern" in options:
            put(
                as_json(
                    {"jsonrpc": "2.0", "id": number, "error": {"code": -32022, "message": "modern only"}},
                    "400 Bad Request",
                )
            )
            return True
        sessions += 1
        info = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "spy", "version": "1"}}
        put(as_json(result(number, info), extra=f"Mcp-Session-Id: session-{sessions}\r\n"))
    elif kind == "server/discover":
        if "--legacy" in options:
            put(head("400 Bad Request", "Content-Type: text/plain\r\n", length=0))
        else:
            put(as_json(result(number, {"supportedVersions": ["2026-07-28"], "capabilities": {}})))
    elif kind == "subscriptions/listen":
        meta = {"io.modelcontextprotocol/subscriptionId": number}
        put(STREAM + chunk(event(note("notifications/subscriptions/acknowledged", {"_meta": meta}))))
        await writer.drain()
        await asyncio.sleep(1000)
    elif kind == "tools/call":
        return await tool(message["params"]["name"], number, message["params"], writer)
    else:
        put(as_json(result(number, {"method": kind})))
    return True


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    readers[writer] = reader
    try:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            stay = await answer(first.split()[0], headers, body, writer)
            await writer.drain()
            if not stay:
                break
    except (OSError, asyncio.IncompleteReadError):
        pass
    seen.append({"http": "CLOSED"})
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
