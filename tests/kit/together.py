"""Two things at once, each of them with a result."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import anyio

__all__ = ["abandoned", "together"]

A = TypeVar("A")
B = TypeVar("B")


async def together(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Run both at once and return both results; when one fails, the other is cancelled."""
    firsts: list[A] = []
    seconds: list[B] = []

    async def run_first() -> None:
        firsts.append(await first)

    async def run_second() -> None:
        seconds.append(await second)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_first)
        tasks.start_soon(run_second)
    return firsts[0], seconds[0]


async def abandoned(call: Awaitable[object], until: Awaitable[B]) -> B:
    """Run `call` for as long as `until` takes, then give it up; the result of `until`."""
    results: list[B] = []

    async def run() -> None:
        await call

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        results.append(await until)
        tasks.cancel_scope.cancel()
    return results[0]
