"""A 2024-11-05 server that misbehaves on command. Prints its port. Options: `--elsewhere`, `--no-endpoint`."""

import asyncio
import json
import sys
from typing import Any

options = sys.argv[1:]
streams: list[asyncio.StreamWriter] = []
seen: list[Any] = []


def send(kind: str, data: bytes) -> None:
    streams[-1].write(b"event: %b\r\ndata: %b\r\n\r\n" % (kind.encode(), data))


def reply(number: Any, value: Any) -> None:
    send("message", json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode())


async def posted(message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    number, params = message.get("id"), message.get("params") or {}
    seen.append([message.get("method"), params.get("requestId")])
    match params.get("name"):
        case "refuse":
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            return
        case "slow_accept":
            reply(number, {"ok": True})
            await streams[-1].drain()
            await asyncio.sleep(1000)
        case _:
            pass
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted")
    match params.get("name"):
        case "garbage":
            streams[-1].write(b"data: {]\n\n: comment\n\ndata: \xff\n\n" * 1000)
            reply(number, {"ok": True})
        case "end":
            streams[-1].close()
        case "silent":
            return
        case "progress":
            for index in range(3):
                note = {"progressToken": params["_meta"]["progressToken"], "progress": index}
                send(
                    "message",
                    json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": note}).encode(),
                )
            reply(number, {"ok": True})
        case "seen":
            reply(number, {"seen": seen})
        case _:
            if number is not None:
                reply(number, {"method": message["method"], "protocolVersion": "2024-11-05"})


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if first.startswith("GET"):
                streams.append(writer)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                if "--elsewhere" in options:
                    send("endpoint", b"http://127.0.0.2:1/steal")
                elif "--no-endpoint" not in options:
                    send("endpoint", b"/post?session=1")
            else:
                await posted(json.loads(body), writer)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
