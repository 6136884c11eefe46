"""A runner that keeps nothing but its ids: one stateless request for each call."""

from __future__ import annotations

from typing import Any

import httpx2

from kit.proxy import AGENT_TOKEN, ProxyKit

__all__ = ["AGAIN", "NOW", "WRITE", "keyed"]

Json = dict[str, Any]
WRITE: Json = {"name": "letter"}
AGAIN: Json = {"holdshort/repeat": True}
NOW: Json = {"holdshort/park": "now"}
VERSION = "2026-07-28"
ENVELOPE = "io.modelcontextprotocol/"


async def keyed(
    proxy: ProxyKit, call_id: str = "call-1", tool: str = "write_thing", arguments: Json = WRITE, **meta: Any
) -> Json:
    """One call by its ids, and the result that it is answered with."""
    about: Json = {
        f"{ENVELOPE}protocolVersion": VERSION,
        f"{ENVELOPE}clientInfo": {"name": "a-runner", "version": "1"},
        f"{ENVELOPE}clientCapabilities": {},
        "holdshort/run_id": "run-1",
        "holdshort/call_id": call_id,
        **meta,
    }
    params = {"name": tool, "arguments": arguments, "_meta": about}
    headers = {
        "Authorization": f"Bearer {AGENT_TOKEN}",
        "Accept": "application/json",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        response = await client.post(proxy.server_url("things"), json=body, headers=headers)
    found: Json = response.json()["result"]
    return found
