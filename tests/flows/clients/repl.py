"""What every Python client program does: take an order, do it, print one JSON line; until stdin ends.

The first line of stdin says where to connect: {"url", "headers"} or {"command", "env"}, with the {"era"} and the
{"manner"} of `kit.clients`. Each line after it is an order: {"list": true} or {"call": name, "arguments": {...}}. Runs
under any environment that has anyio.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
import anyio.to_thread

__all__ = ["Session", "run"]

JSON = dict[str, Any]


class Session(Protocol):
    """A connected client, whatever library it is made of."""

    async def tools(self) -> list[str]: ...

    async def call(self, name: str, arguments: JSON) -> JSON:
        """The result as it was on the wire."""
        ...


Connect = Callable[[JSON], AbstractAsyncContextManager[Session]]


def run(connect: Connect, error_of: Callable[[Exception], JSON | None]) -> None:
    """Serve orders with sessions made by `connect`; `error_of` reads a JSON-RPC error out of an exception."""
    anyio.run(_serve, connect, error_of)


async def _serve(connect: Connect, error_of: Callable[[Exception], JSON | None]) -> None:
    target = await _order()
    assert target is not None, "no target on stdin"
    async with connect(target) as session:
        _say({"ready": True})
        while (order := await _order()) is not None:
            _say(await _answer(order, session, error_of))


async def _answer(order: JSON, session: Session, error_of: Callable[[Exception], JSON | None]) -> JSON:
    work: Awaitable[JSON] = _list(session) if "list" in order else _call(session, order)
    try:
        return await work
    except Exception as problem:  # noqa: BLE001  # whatever a client library raises is the answer of this program
        return {"error": error_of(problem) or {"code": None, "message": f"{type(problem).__name__}: {problem}"}}


async def _list(session: Session) -> JSON:
    return {"tools": await session.tools()}


async def _call(session: Session, order: JSON) -> JSON:
    return {"result": await session.call(order["call"], order.get("arguments") or {})}


async def _order() -> JSON | None:
    line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    order: JSON | None = json.loads(line) if line.strip() else None
    return order


def _say(answer: JSON) -> None:
    print(json.dumps(answer), flush=True)
