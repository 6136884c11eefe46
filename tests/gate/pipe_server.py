"""A handshake-era server on pipes, for what a wrapped server does. Standard library only."""

import json
import os
import subprocess
import sys
import time
from typing import Any

TOOLS = ["read_echo", "read_ticks", "read_exit", "read_garbage", "read_child", "write"]


def say(message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def call(number: Any, params: dict[str, Any]) -> None:
    given, token = params.get("arguments") or {}, (params.get("_meta") or {}).get("progressToken")
    words = json.dumps({"given": given, "pid": os.getpid()})
    match params["name"]:
        case "read_ticks":
            for step in range(1, given["ticks"] + 1):
                time.sleep(given["seconds"])
                progress = {"progressToken": token, "progress": step}
                say({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        case "read_exit":
            sys.exit(3)
        case "read_garbage":
            sys.stdout.write("hello from a print statement\n\x1b[31m{]\n")
        case "read_child":
            words = str(subprocess.Popen(["sleep", "1000"]).pid)
        case _:
            pass
    say({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": words}]}})


for line in sys.stdin:
    asked = json.loads(line)
    name, number = asked.get("method"), asked.get("id")
    if number is None:
        continue
    if name == "initialize":
        info = {"name": "pipes", "version": "1"}
        version = asked["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        say({"jsonrpc": "2.0", "id": number, "result": result})
    elif name == "tools/list":
        tools = [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]
        say({"jsonrpc": "2.0", "id": number, "result": {"tools": tools}})
    elif name == "tools/call":
        call(number, asked["params"])
    else:
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})
