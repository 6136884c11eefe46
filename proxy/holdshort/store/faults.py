"""Faults on demand, for tests that kill us at the worst moment. Inert unless `HOLDSHORT_FAULT` is set.

`HOLDSHORT_FAULT=<point>:<nth>:<action>`, several separated by commas. The nth passage (from 1) of that point does the
action: `kill` (no clean-up at all), `stop` (frozen until SIGCONT), `raise`, `delay=MILLISECONDS`, `enospc`, `eio`.
"""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from holdshort.errors import ConfigError, StateError

__all__ = ["POINTS", "VARIABLE", "BadFault", "InjectedFault", "arm", "armed", "disarm", "fault", "fault_async"]

VARIABLE: Final = "HOLDSHORT_FAULT"

POINTS: Final = frozenset(
    {
        "req.read",
        "park.before_commit",
        "park.after_commit",
        "vote.in_tx",
        "vote.after_commit",
        "quorum.after_commit",
        "intent.in_tx",
        "intent.after_commit",
        "send.half",
        "send.done",
        "reply.read",
        "outcome.in_tx",
        "outcome.after_commit",
        "client.reply",
        "expire.in_tx",
        "edit.in_tx",
        "audit.append",
        "audit.checkpoint",
        "migrate.step",
        "grant.in_tx",
        "policy.reload",
        "pin.check",
        "upstream.spawn",
        "shutdown.drain",
    }
)
"""Where a fault can be asked for. The names are a contract with the tests of every layer."""

_ERRNO: Final = {"enospc": errno.ENOSPC, "eio": errno.EIO}


class BadFault(ConfigError):
    """Raised when the variable asks for something that does not exist: a test that injects nothing proves nothing."""

    def __init__(self, spec: str, problem: str) -> None:
        super().__init__(f"{VARIABLE}: `{spec}`: {problem}")


class InjectedFault(StateError):
    """Raised by the action `raise`."""

    def __init__(self, point: str) -> None:
        super().__init__(f"fault injected at `{point}`")


@dataclass(slots=True)
class _Fault:
    point: str
    remaining: int
    action: str
    delay_seconds: float = 0.0


_armed: tuple[_Fault, ...] = ()
_counting = threading.Lock()


def fault(point: str) -> None:
    """Pass a point. Nothing happens unless this very passage was asked for."""
    if _armed:
        for found in _reached(point):
            if found.delay_seconds:
                time.sleep(found.delay_seconds)
            _act(found)


async def fault_async(point: str) -> None:
    """Pass a point on the event loop: the same, but a delay lets others run."""
    if _armed:
        for found in _reached(point):
            if found.delay_seconds:
                await anyio.sleep(found.delay_seconds)
            _act(found)


def armed() -> bool:
    """Say whether any fault was asked for; such a process must not be reachable from outside."""
    return bool(_armed)


def arm(spec: str) -> None:
    """Ask for faults, replacing those asked for before.

    Raises:
        BadFault: no such point or action.
    """
    global _armed
    _armed = tuple(_parse(one.strip()) for one in spec.split(",") if one.strip())
    if _armed:
        sys.stderr.write(
            f"\n*** holdshort: {VARIABLE} is set ({spec}): THIS PROCESS BREAKS ON PURPOSE. Never use it for real. ***\n"
        )


def disarm() -> None:
    """Forget every fault asked for."""
    global _armed
    _armed = ()


def _parse(spec: str) -> _Fault:
    point, _, rest = spec.partition(":")
    nth, _, action = rest.partition(":")
    if point not in POINTS:
        raise BadFault(spec, f"no point is called `{point}`")
    if not nth.isdecimal() or int(nth) < 1:
        raise BadFault(spec, "expected `<point>:<nth>:<action>` with nth counted from 1")
    if action.startswith("delay="):
        milliseconds = action.removeprefix("delay=")
        if milliseconds.isdecimal():
            return _Fault(point, int(nth), "delay", int(milliseconds) / 1000)
    elif action in ("kill", "stop", "raise", *_ERRNO):
        return _Fault(point, int(nth), action)
    raise BadFault(spec, "expected one of `kill`, `stop`, `raise`, `delay=MS`, `enospc`, `eio`")


def _reached(point: str) -> list[_Fault]:
    reached: list[_Fault] = []
    # Passages come from the event loop and from the writer thread.
    with _counting:
        for one in _armed:
            if one.point == point:
                one.remaining -= 1
                if one.remaining == 0:
                    reached.append(one)
    return reached


def _act(found: _Fault) -> None:
    match found.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise InjectedFault(found.point)
        case "delay":
            pass
        case word:
            raise OSError(_ERRNO[word], os.strerror(_ERRNO[word]), found.point)


def _arm_from(environ: Mapping[str, str]) -> None:
    spec = environ.get(VARIABLE)
    if spec:
        arm(spec)


_arm_from(os.environ)
