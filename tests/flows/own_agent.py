"""An agent in a process of its own that asks, waits, claims, works, and then reports or waits to be killed.

`own_agent.py URL TOKEN FILE SECONDS [hang]`: the work is one line in FILE.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import httpx2

CALL = {"kind": "function", "tool": "append", "arguments": {"line": "worked"}, "run_id": "run-1", "call_id": "call-1"}


def main(url: str, token: str, file: str, seconds: str, then: str = "report") -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=90, trust_env=False) as client:

        def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            response = client.post(path, json=body)
            print(path.rpartition("/")[2], response.status_code, flush=True)
            found: dict[str, Any] = response.json()
            return found

        said = post("/v1/calls", {**CALL, "wait": 60})
        record = said["interruption"]
        print("state", record["state"], flush=True)
        if record["state"] != "approved":
            return
        taken = post(f"/v1/interruptions/{record['id']}/claim", {"seconds": int(seconds)})
        if "token" not in taken:
            return
        with Path(file).open("a") as work:
            work.write(f"{taken['arguments']['line']}\n")
        print("worked", flush=True)
        if then == "hang":
            signal.pause()
        post(f"/v1/interruptions/{record['id']}/outcome", {"token": taken["token"], "kind": "ok", "result": "done"})


if __name__ == "__main__":
    main(*sys.argv[1:])
