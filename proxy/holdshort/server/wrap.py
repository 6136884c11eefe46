"""`holdshort wrap`: one server behind policy, on standard input and output, for any client's `mcp.json`."""

import signal
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import anyio

from holdshort.config import Config
from holdshort.config.principals import LOCAL_AGENT
from holdshort.gate.exchange import Emit
from holdshort.gate.front.stdio import StdioFront
from holdshort.gate.upstream import Link, Log
from holdshort.policy import Caller
from holdshort.server.core import Core, open_core
from holdshort.server.hangup import CAN_HANG_UP
from holdshort.server.memory import settle
from holdshort.server.page import Page
from holdshort.server.reloading import Again
from holdshort.wire import Limits

__all__ = ["wrap"]

_STOP_SECONDS: Final = 0.6
"""Clients give a server two seconds from the end of its input to SIGTERM, and two more to SIGKILL; we need less."""


async def wrap(config: Config, server: str, state_dir: Path, log: Log, *, again: Again | None = None) -> None:
    """Serve `server` of `config` to the client at standard input, until it closes that.

    With `again`, which reads the files anew, policy is taken up when it changes on disk, or at once on SIGHUP.

    Raises:
        StateError: the state folder cannot be used.
    """
    limits = config.limits
    async with open_core(config, state_dir, log, again=again, stop_seconds=_STOP_SECONDS) as core:
        front = StdioFront(
            core.gate,
            server,
            Caller(LOCAL_AGENT),
            open_link=lambda label, on_frame: _dedicated(core, label, on_frame),
            make_catalog=core.make_catalog,
            limits=Limits(limits.line_bytes, limits.json_depth, limits.json_keys, limits.string_bytes),
            log=log,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Page(core).host_or_watch)
            stops = [signal.SIGINT, signal.SIGTERM]
            if core.reloader is None and CAN_HANG_UP:
                stops.append(signal.SIGHUP)
            tasks.start_soon(_stop_on_signal, stops, tasks.cancel_scope)
            settle()
            await front.serve()
            tasks.cancel_scope.cancel()


async def _stop_on_signal(stops: Sequence[signal.Signals], scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(*stops) as signals:
        # Ends with the first signal; without this, the server would outlive us.
        async for _ in signals:
            scope.cancel()
            return


def _dedicated(core: Core, label: str, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
    return core.upstreams[label].dedicated(on_frame)
