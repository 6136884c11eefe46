"""An upstream that writes down everything that reaches it, so that a test can count what was really executed.

    python spy_server.py --record FILE [--stdio | --http PORT] [--eras legacy,modern]

Standard library only and one file: it must start at once, and its record must not depend on what it proves. Every
record is one JSON line, written with one append and put on disk before the message is acted on, so it survives
a kill -9 of this process, of the proxy, of both. `kit.spy` reads it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["TOOLS", "Spy", "main"]

JSON = dict[str, Any]
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = ("2026-07-28",)
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
POLL_SECONDS = 0.01


def _tool(name: str, description: str, annotations: JSON, /, **properties: str) -> JSON:
    schema: JSON = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": annotations}


TOOLS: list[JSON] = [
    _tool("read_thing", "Reads a thing", {"readOnlyHint": True}, name="string"),
    _tool("write_thing", "Writes a thing", {"readOnlyHint": False, "destructiveHint": False}, name="string"),
    _tool("destroy_thing", "Destroys a thing", {"destructiveHint": True}, name="string"),
    _tool("slow", "Finishes when the file `until` exists", {}, until="string", name="string"),
    _tool("echo", "Answers with its arguments", {"readOnlyHint": True}),
    _tool("crash", "Ends this server in the middle of the call", {}, name="string"),
    _tool("progress", "Reports progress `steps` times", {"readOnlyHint": True}, steps="integer"),
]


class RpcError(Exception):
    """A JSON-RPC error to answer with."""

    def __init__(self, code: int, message: str, data: Any = None, status: int = 200) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({} if data is None else {"data": data})}
        self.status = status


class Cancelled(Exception):  # the client's wish, not an error
    """The client gave this request up: it gets no answer."""


class Spy:
    """The server without its transport: what is recorded, and what is answered."""

    def __init__(self, record: Path, eras: frozenset[str]) -> None:
        self._eras = eras
        # One append per record: with O_APPEND, writers in several processes do not tear each other's lines.
        self._file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._gone: set[str] = set()
        self.note("started", pid=os.getpid(), group=os.getpgid(0), environment=sorted(os.environ), argv=sys.argv[1:])

    def note(self, what: str, **facts: Any) -> None:
        """Append one record and put it on disk."""
        line = json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), **facts})
        os.write(self._file, line.encode() + b"\n")
        os.fsync(self._file)

    def cancel(self, key: str) -> None:
        """Remember that the request `key` was given up."""
        self._gone.add(key)

    def answer(self, message: JSON, key: str, notify: Callable[[JSON], None]) -> JSON | None:
        """The response to a request; None for a notification, a response, or a request that was given up."""
        method, request_id = message.get("method"), message.get("id")
        params: JSON = message.get("params") or {}
        if method is None or request_id is None:
            if method == "notifications/cancelled":
                self.cancel(f"{key.rpartition('/')[0]}/{params.get('requestId')!r}")
            return None
        try:
            modern = VERSION_KEY in (params.get("_meta") or {})
            self._check_era(method, params, modern)
            result = self._result(str(method), params, key, notify)
            if modern:
                result = {"resultType": "complete", **result}
            return {"jsonrpc": "2.0", "id": request_id, "result": result}
        except RpcError as refused:
            return {"jsonrpc": "2.0", "id": request_id, "error": refused.error}
        except Cancelled:
            self.note("cancelled", id=request_id)
            return None

    def _check_era(self, method: str, params: JSON, modern: bool) -> None:
        if modern:
            asked = params["_meta"][VERSION_KEY]
            offered = MODERN if "modern" in self._eras else LEGACY
            if asked not in offered or method in ("initialize", "ping"):
                if method in ("initialize", "ping"):
                    raise RpcError(-32601, "Method not found", status=404)
                raise RpcError(
                    -32022, "Unsupported protocol version", {"supported": list(offered), "requested": asked}, 400
                )
        elif method == "server/discover" or "legacy" not in self._eras:
            raise RpcError(-32601, "Method not found", status=404)

    def _result(self, method: str, params: JSON, key: str, notify: Callable[[JSON], None]) -> JSON:
        info = {"name": "holdshort-spy", "version": "1.0.0"}
        fresh = {"ttlMs": 0, "cacheScope": "public"}
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in LEGACY else LEGACY[-1],
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        if method == "server/discover":
            meta = {"io.modelcontextprotocol/serverInfo": info}
            return {"supportedVersions": list(MODERN), "capabilities": {"tools": {}}, "_meta": meta, **fresh}
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": TOOLS, **fresh}
        if method == "tools/call":
            return self._call(params, key, notify)
        raise RpcError(-32601, "Method not found", status=404)

    def _call(self, params: JSON, key: str, notify: Callable[[JSON], None]) -> JSON:
        name, arguments = params.get("name"), params.get("arguments") or {}
        if name not in {tool["name"] for tool in TOOLS}:
            raise RpcError(-32602, f"Unknown tool: {name}")
        self.note("executed", tool=name, arguments=arguments)
        if name == "crash":
            os._exit(3)
        if name == "slow":
            until = Path(arguments["until"])
            while not until.exists():
                if key in self._gone:
                    raise Cancelled
                time.sleep(POLL_SECONDS)
        if name == "progress":
            token = (params.get("_meta") or {}).get("progressToken")
            steps = int(arguments.get("steps", 3))
            for step in range(1, steps + 1):
                if token is not None:
                    told = {"progressToken": token, "progress": step, "total": steps, "message": f"step {step}"}
                    notify({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
        self.note("finished", tool=name, arguments=arguments)
        words = json.dumps(arguments, sort_keys=True) if name == "echo" else f"{name} done: {arguments.get('name')}"
        return {"content": [{"type": "text", "text": words}]}


def serve_stdio(spy: Spy) -> None:
    """One message a line until the end of stdin; each request has a thread, so that a slow one holds up nobody."""
    writing = threading.Lock()

    def send(message: JSON) -> None:
        with writing:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def handle(message: JSON) -> None:
        if response := spy.answer(message, f"/{message.get('id')!r}", send):
            send(response)

    for line in sys.stdin.buffer:
        spy.note("received", via="stdio", raw=line.decode("utf-8", "backslashreplace").rstrip("\n"))
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if message.get("method") == "tools/call":
            threading.Thread(target=handle, args=(message,), daemon=True).start()
        else:
            handle(message)
    spy.note("stdin closed")


class Handler(BaseHTTPRequestHandler):
    """Streamable HTTP, as little of it as clients need."""

    protocol_version = "HTTP/1.1"
    spy: Spy

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.spy.note("received", via="http", raw=raw.decode("utf-8", "backslashreplace"), headers=headers)
        message = json.loads(raw)
        session = self.headers.get("Mcp-Session-Id", "")
        self._streaming = False
        response = self.spy.answer(message, f"{session}/{message.get('id')!r}", self._stream)
        if response is None:
            self._end(202)
        elif self._streaming:
            self._stream(response)
            self.wfile.write(b"0\r\n\r\n")
        else:
            given = {"Mcp-Session-Id": os.urandom(8).hex()} if message.get("method") == "initialize" else {}
            status = {-32601: 404, -32022: 400}.get(response.get("error", {}).get("code"), 200) if not session else 200
            self._end(status, json.dumps(response).encode(), {"Content-Type": "application/json", **given})

    def do_GET(self) -> None:
        self._end(405)

    def do_DELETE(self) -> None:
        self._end(200)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        """Say nothing: the record is the log."""

    def _end(self, status: int, body: bytes = b"", headers: JSON | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, message: JSON) -> None:
        if not self._streaming:
            self._streaming = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        event = f"event: message\ndata: {json.dumps(message)}\n\n".encode()
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.flush()


def main() -> None:
    """Serve until the end of stdin or a signal."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--record", type=Path, required=True)
    words.add_argument("--stdio", action="store_true")
    words.add_argument("--http", type=int, metavar="PORT")
    words.add_argument("--eras", default="legacy,modern")
    chosen = words.parse_args()
    spy = Spy(chosen.record, frozenset(chosen.eras.split(",")))
    if chosen.http is None:
        serve_stdio(spy)
        return
    Handler.spy = spy
    server = ThreadingHTTPServer(("127.0.0.1", chosen.http), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
