"""The client that the suite tests: it uses everything that the server at the other end offers, once.

    python -m conformance.client [--through-proxy] URL

The suite appends the URL of its scenario's server. With `--through-proxy` a real `holdshort serve` is started with
that URL as its only upstream, and the client talks to it instead: what the suite then observes is our upstream side.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from kit.proxy import AGENT_TOKEN, allow_everything, serving

__all__ = ["main", "use_everything"]

LEGACY_ONLY = ("initialize", "elicitation-sep1034-client-defaults", "sse-retry")
"""Scenarios whose server knows the older era only."""


async def answer_questions(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult | types.ErrorData:
    """Accept every form, with its defaults where it has some and a plausible value where it has none."""
    if not isinstance(params, types.ElicitRequestFormParams):
        return types.ElicitResult(action="decline")
    schema = dict(params.requested_schema)
    return types.ElicitResult(action="accept", content=sample(schema))


def sample(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit `schema` well enough."""
    plain: dict[str, Any] = {"number": 5, "integer": 5, "boolean": True, "string": "something", "object": {}}
    found: dict[str, Any] = {}
    for name, about in (schema.get("properties") or {}).items():
        if "default" in about:
            found[name] = about["default"]
        elif "enum" in about:
            found[name] = about["enum"][0]
        else:
            found[name] = plain.get(about.get("type"), "something")
    return found


async def use_everything(client: Client, context: Mapping[str, Any]) -> None:
    """List and use tools, resources and prompts; a refused call is no reason to stop."""
    listed = await client.list_tools()
    calls = [(call["name"], call["arguments"]) for call in context.get("toolCalls", [])]
    schemas = {tool.name: tool.input_schema for tool in listed.tools}
    if not calls:
        calls = [(name, sample(schema)) for name, schema in schemas.items()]
    for name, arguments in calls:
        if "schema" in arguments:  # the suite's echo tool wants another tool's schema back, as the client saw it
            arguments["schema"] = next(schema for other, schema in schemas.items() if other != name)
        await _try(client.call_tool(name, arguments))
    capabilities = client.server_capabilities
    if capabilities.resources is not None:
        for resource in (await client.list_resources()).resources:
            await _try(client.read_resource(resource.uri))
    if capabilities.prompts is not None:
        for prompt in (await client.list_prompts()).prompts:
            await _try(client.get_prompt(prompt.name))


async def _try(work: Awaitable[object]) -> None:
    try:
        await work
    except MCPError as refused:
        print(f"refused: {refused}")


async def run(url: str, token: str | None) -> None:
    """Connect as the scenario wants it and use everything."""
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    revision = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25")
    legacy = scenario in LEGACY_ONLY or revision < "2026-07-28"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=None), trust_env=False) as http:
        transport = streamable_http_client(url, http_client=http)
        mode = "legacy" if legacy else "auto"
        async with Client(transport, mode=mode, elicitation_callback=answer_questions) as client:
            await use_everything(client, context)


async def run_through_proxy(url: str) -> None:
    """The same, with a proxy of its own between the client and the suite."""
    with tempfile.TemporaryDirectory(prefix="holdshort-conformance-") as folder:
        async with serving(Path(folder), {"suite": {"url": url}}, allow_everything()) as proxy:
            await run(proxy.server_url("suite"), AGENT_TOKEN)


def main() -> None:
    """Run as the suite starts us."""
    warnings.simplefilter("ignore")
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--through-proxy", action="store_true")
    words.add_argument("url")
    chosen = words.parse_args()
    if chosen.through_proxy:
        anyio.run(run_through_proxy, chosen.url)
    else:
        anyio.run(run, chosen.url, None)


if __name__ == "__main__":
    main()
