"""A server on pipes that misbehaves on command: the name of the called tool says how. Standard library only.

Options: `--legacy` answers `server/discover` with an error, `--silent` ignores it, `--crash` dies of it,
`--stubborn` survives the end of its input and SIGTERM, `--slow-start SECONDS`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

cancelled: list[Any] = []
answers: dict[Any, Any] = {}
options = sys.argv[1:]


def put(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(message: Any) -> None:
    put(json.dumps(message).encode() + b"\n")


def reply(number: Any, result: Any) -> None:
    say({"jsonrpc": "2.0", "id": number, "result": result})


def notify(method: str, params: Any) -> None:
    say({"jsonrpc": "2.0", "method": method, "params": params})


def call(message: dict[str, Any]) -> None:
    number, params = message["id"], message["params"]
    name, given, meta = params["name"], params.get("arguments") or {}, params.get("_meta") or {}
    count = given.get("count", 1)
    match name:
        case "echo":
            reply(number, {"given": given, "id": number})
        case "garbage":
            put(b'hello, this is a banner\n\n{]\n\xff\xfe\xff\n[]\nnull\n\x1b[31mred\n{"jsonrpc": "1.0"}\r\n' * count)
            reply(number, {"ok": True})
        case "ff":
            put(b'{"jsonrpc": "2.0", "id": %d, "result": {"text": "\xff"}}\n' % number)
        case "deep":
            put(b'{"jsonrpc": "2.0", "id": %d, "result": {"x": %s%s}}\n' % (number, b"[" * 90, b"]" * 90))
        case "long_noise":
            for _ in range(count):
                put(b"x" * 1_000_000)
            put(b"\n")
            reply(number, {"ok": True})
        case "long_answer":
            put(b'{"jsonrpc": "2.0", "id": %d, "result": {"text": "' % number)
            for _ in range(count):
                put(b"x" * 1_000_000)
            put(b'"}}\n')
        case "long_answer_id_last":
            put(b'{"result": {"text": "')
            for _ in range(count):
                put(b"x" * 1_000_000)
            put(b'"}, "jsonrpc": "2.0", "id": %d}\n' % number)
        case "flood":
            until = time.monotonic() + given["seconds"]
            while time.monotonic() < until:
                put(b"garbage\n" * 5000)
            reply(number, {"ok": True})
        case "flood_notifications":
            for index in range(count):
                notify("notifications/message", {"level": "info", "data": index})
            reply(number, {"ok": True})
        case "half":
            put(b'{"jsonrpc": "2.0", "id": %d, "res' % number)
            sys.exit(0)
        case "die":
            print("the disk is on fire, token is", os.environ.get("SPY_TOKEN"), file=sys.stderr, flush=True)
            sys.exit(3)
        case "answer_and_die":
            reply(number, {"ok": True})
            os._exit(0)
        case "silent":
            return
        case "deaf":
            notify("notifications/message", {"level": "info", "data": "deaf now"})
            time.sleep(1000)
        case "mute":
            os.close(1)
            time.sleep(1000)
        case "grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            reply(number, {"pid": child.pid})
        case "dribble":
            for byte in json.dumps({"jsonrpc": "2.0", "id": number, "result": {"ok": True}}).encode():
                put(bytes([byte]))
            put(b"\r\n")
        case "wrong_id":
            reply(str(number), {"wrong": True})
            reply(number + 1000, {"wrong": True})
            say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "eh"}})
            reply(number, {"ok": True})
        case "twice":
            reply(number, {"first": True})
            reply(number, {"first": False})
        case "batch":
            say([{"jsonrpc": "2.0", "id": number, "result": {}}])
        case "progress":
            for index in range(count):
                notify("notifications/progress", {"progressToken": meta["progressToken"], "progress": index + 1})
            reply(number, {"token": meta["progressToken"]})
        case "log":
            notify("notifications/message", {"level": "info", "data": given.get("data")})
            reply(number, {"ok": True})
        case "ask":
            say({"jsonrpc": "2.0", "id": "from-server", "method": "roots/list"})
            answers["from-server"] = number
        case "environ":
            reply(
                number,
                {
                    "environ": dict(os.environ),
                    "pgid": os.getpgid(0),
                    "pid": os.getpid(),
                    "cwd": str(Path.cwd()),
                    "fds": sorted(int(fd.name) for fd in Path("/proc/self/fd").iterdir()),
                },
            )
        case "stderr":
            for index in range(count):
                print(f"line {index}\x1b[2J", given.get("text", ""), file=sys.stderr)
            sys.stderr.flush()
            reply(number, {"ok": True})
        case "cancelled":
            reply(number, {"cancelled": cancelled})
        case "big_number":
            put(b'{"result": {"n": 123456789012345678901234567890, "f": 1.10}, "jsonrpc": "2.0", "id": %d}\n' % number)
        case _:
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": f"no tool {name}"}})


def serve(message: dict[str, Any]) -> None:
    method, number = message.get("method"), message.get("id")
    if method == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])
    elif method is None:
        if number in answers:
            reply(answers.pop(number), {"answered": message.get("result", message.get("error"))})
    elif number is None:
        return
    elif method == "server/discover":
        if "--crash" in options:
            sys.exit(1)
        if "--silent" in options:
            return
        if "--legacy" in options:
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "method not found"}})
        else:
            reply(number, {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"})
    elif method == "initialize":
        reply(
            number, {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "spy", "version": "1"}}
        )
    elif method == "subscriptions/listen":
        key = "io.modelcontextprotocol/subscriptionId"
        notify("notifications/subscriptions/acknowledged", {"notifications": {}, "_meta": {key: number}})
        notify("notifications/tools/list_changed", {"_meta": {key: number}})
        if message["params"].get("end") in ("cancelled", "cancelled only"):
            notify("notifications/cancelled", {"requestId": number})
        if message["params"].get("end") in ("cancelled", "result"):
            reply(number, {"resultType": "complete", "_meta": {key: number}})
    elif method == "tools/call":
        call(message)
    else:
        reply(number, {"method": method})


def main() -> None:
    if "--stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--slow-start" in options:
        time.sleep(float(options[options.index("--slow-start") + 1]))
    for line in sys.stdin.buffer:
        serve(json.loads(line))
    while "--stubborn" in options:
        time.sleep(1)


main()
