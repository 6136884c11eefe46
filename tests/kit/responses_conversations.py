"""The endpoints of conversations: items that the service keeps under one id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit.responses_refusals import missing_parameter, not_found, wrong_value
from kit.responses_rules import check_items
from kit.responses_service import Service

__all__ = ["conversation_routes", "page"]

Answer = Callable[[Request, Any], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
MOST_ITEMS = 20
"""The service's guide: "up to 20 items at a time"."""


def conversation_routes(service: Service, endpoint: Callable[[Answer], Endpoint]) -> list[Route]:
    """The routes below `/v1/conversations`; `endpoint` makes one of a handler."""
    memory = service.memory

    async def create(request: Request, _: Any) -> Response:
        body = await _body(request)
        _check(body.get("items") or [])
        return JSONResponse(service.open_conversation(body).body())

    async def retrieve(request: Request, _: Any) -> Response:
        return JSONResponse(memory.conversation(request.path_params["id"]).body())

    async def delete(request: Request, _: Any) -> Response:
        conversation = memory.conversation(request.path_params["id"])
        del memory.conversations[conversation.id]
        return JSONResponse({"id": conversation.id, "object": "conversation.deleted", "deleted": True})

    async def list_items(request: Request, _: Any) -> Response:
        conversation = memory.conversation(request.path_params["id"])
        return JSONResponse(page(conversation.items, request.query_params))

    async def add_items(request: Request, _: Any) -> Response:
        conversation = memory.conversation(request.path_params["id"])
        items = (await _body(request)).get("items")
        if items is None:
            raise missing_parameter("items")
        _check(items)
        return JSONResponse(page(service.add_items(conversation, items), {"order": "asc", "limit": "100"}))

    async def delete_item(request: Request, _: Any) -> Response:
        conversation = memory.conversation(request.path_params["id"])
        name = request.path_params["item"]
        rest = [item for item in conversation.items if item["id"] != name]
        if len(rest) == len(conversation.items):
            raise not_found("Item", name)
        conversation.items[:] = rest
        return JSONResponse(conversation.body())

    path = "/v1/conversations"
    return [
        Route(path, endpoint(create), methods=["POST"]),
        Route(f"{path}/{{id}}", endpoint(retrieve), methods=["GET"]),
        Route(f"{path}/{{id}}", endpoint(delete), methods=["DELETE"]),
        Route(f"{path}/{{id}}/items", endpoint(list_items), methods=["GET"]),
        Route(f"{path}/{{id}}/items", endpoint(add_items), methods=["POST"]),
        Route(f"{path}/{{id}}/items/{{item}}", endpoint(delete_item), methods=["DELETE"]),
    ]


def page(items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a list: newest first unless `order` says otherwise, 20 unless `limit` does, after `after`."""
    ordered = list(items) if query.get("order") == "asc" else list(reversed(items))
    if after := query.get("after"):
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise not_found("Item", after)
        ordered = ordered[ids.index(after) + 1 :]
    shown = ordered[: int(query.get("limit", "20"))]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, "has_more": len(shown) < len(ordered), **ends}


def _check(items: Sequence[Mapping[str, Any]]) -> None:
    if len(items) > MOST_ITEMS:
        most = f"Expected an array with maximum length {MOST_ITEMS}, but got an array with length {len(items)} instead."
        raise wrong_value("items", f"Invalid 'items': array too long. {most}", "array_above_max_length")
    check_items(items, "items")


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    return await request.json() if raw else {}
