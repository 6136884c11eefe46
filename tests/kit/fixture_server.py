"""One of everything: the server that the conformance suite expects, in both protocol eras, over HTTP and stdio.

    python -m kit.fixture_server --http PORT [--json]
    python -m kit.fixture_server --stdio

Every name and text is the suite's; see `fixture_tools` for the tools and `fixture_contents` for the rest.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError

from kit import fixture_contents, fixture_questions, fixture_tasks, fixture_tools

__all__ = ["fixture_server", "main"]

assert fixture_questions.__all__  # importing it entered its tools in the table

Context = ServerRequestContext[Any, Any]


class Replay(EventStore):
    """Keeps every event of every stream, so that a client that lost one can have the rest of it."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id)
        if not 0 < last <= len(self._events):
            return None
        stream = self._events[last - 1][0]
        for number, (owner, message) in enumerate(self._events[last:], start=last + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def fixture_server() -> Server[Any]:
    """The server itself, without a transport."""
    bus = InMemorySubscriptionBus()
    watched: set[str] = set()

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult.model_validate(
            {"tools": fixture_tools.definitions(), "ttlMs": 0, "cacheScope": "public"}
        )

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
        tool = fixture_tools.TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        return {**COMPLETE, **await tool.run(fixture_tools.Call(ctx, params, bus))}

    async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return types.ListResourcesResult.model_validate({"resources": fixture_contents.RESOURCES, **PUBLIC})

    async def list_templates(
        ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult.model_validate(
            {"resourceTemplates": fixture_contents.TEMPLATES, **PUBLIC}
        )

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        content = fixture_contents.read(str(params.uri))
        if content is None:
            raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": str(params.uri)})
        return types.ReadResourceResult.model_validate({"contents": [content], **PUBLIC})

    async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        watched.add(str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        watched.discard(str(params.uri))
        return types.EmptyResult()

    async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return types.ListPromptsResult.model_validate({"prompts": fixture_contents.prompts(), **PUBLIC})

    async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> Any:
        prompt = fixture_contents.PROMPTS.get(params.name)
        if prompt is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
        return {**COMPLETE, **prompt.get(params)}

    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        words = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
        return types.CompleteResult.model_validate(
            {"completion": {"values": words, "total": len(words), "hasMore": False}}
        )

    async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        return types.EmptyResult()

    server: Server[Any] = Server(  # pyright: ignore[reportDeprecated]  # `on_set_logging_level`: the older era needs it
        "holdshort-fixture",
        version="1.0.0",
        instructions="One of everything, for tests.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_level,
    )
    server.extensions[fixture_tasks.EXTENSION] = {}
    server.add_request_handler("tasks/get", fixture_tasks.TaskParams, fixture_tasks.get_task)
    server.add_request_handler("tasks/update", fixture_tasks.TaskParams, fixture_tasks.update_task)
    server.add_request_handler("tasks/cancel", fixture_tasks.TaskParams, fixture_tasks.cancel_task)
    return server


PUBLIC = {"ttlMs": 0, "cacheScope": "public"}
COMPLETE = {"resultType": "complete"}  # required from 2026-07-28 on; the SDK drops it for older clients


def main() -> None:
    """Serve until the end of stdin or a signal."""
    # Logging, sampling and roots are deprecated in the newest revision and alive in the others; stderr is the test's.
    warnings.simplefilter("ignore")
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--http", type=int, metavar="PORT")
    words.add_argument("--json", action="store_true", help="answer with JSON instead of an event stream")
    words.add_argument("--stdio", action="store_true")
    chosen = words.parse_args()
    server = fixture_server()
    if chosen.http is None:
        anyio.run(_serve_stdio, server)
        return
    app = server.streamable_http_app(json_response=chosen.json, event_store=Replay(), retry_interval=100)
    uvicorn.run(app, host="127.0.0.1", port=chosen.http, http="h11", log_level="warning", timeout_graceful_shutdown=1)


async def _serve_stdio(server: Server[Any]) -> None:
    changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options(changes))


if __name__ == "__main__":
    main()
