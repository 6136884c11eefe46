"""Finding out what a server speaks, over links that are thrown away: `server/discover`, and `initialize` if need be.

A server that answers `server/discover` is not asked anything else: to one that is modern only, `initialize` is a bad
request, and one that knows both would be left with a session. That it also takes sessions is assumed, because nearly
all do; one that does not says so itself to the first client that tries.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio

from holdshort import __version__
from holdshort.gate.upstream.link import Emit, Eras, Link, UpstreamLost, UpstreamProtocol, UpstreamTimeout
from holdshort.gate.upstream.modern import MODERN_VERSION
from holdshort.wire import MCP_META_PREFIX, Frame

__all__ = ["LEGACY_VERSION", "probe_http", "probe_pipes"]

LEGACY_VERSION: Final = "2025-11-25"
"""The newest revision with `initialize`; a server answers with the one it wants instead."""

_INFO: Final = {"name": "holdshort", "version": __version__}
_NOT_SPOKEN: Final = frozenset({400, 404, 405, 406, 415, 501})
"""Answers of HTTP servers that do not know the revision asked in; others mean that nobody may ask."""
_SILENCE_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 1.0

Opened = Callable[[Emit], AbstractAsyncContextManager[Link]]


async def probe_http(label: str, modern: Link | None, opened: Opened, *, seconds: float) -> Eras:
    """Ask a server over HTTP.

    Raises:
        UpstreamError: it could not be asked, or speaks neither era.
    """
    try:
        with anyio.fail_after(seconds):
            discovered: Mapping[str, Any] | None = None
            if modern is not None:
                try:
                    discovered = await _discovered(modern)
                except UpstreamProtocol as error:
                    if error.status not in _NOT_SPOKEN:
                        raise
            if _is_modern(discovered):
                return _eras(label, discovered, None)
            async with opened(_ignore) as link:
                initialized = _result(await link.request(_initialize(), _ignore))
    except TimeoutError:
        raise _too_late(label, seconds) from None
    return _eras(label, discovered, initialized)


async def probe_pipes(label: str, opened: Opened, *, seconds: float) -> Eras:
    """Ask a server that is a child. A child answers in the era of its first request only, so it may take two.

    Raises:
        UpstreamError: it could not be asked, or speaks neither era.
    """
    try:
        with anyio.fail_after(seconds):
            async with opened(_ignore) as link:
                discovered, initialized = await _ask_both(link)
            if initialized is None and not _is_modern(discovered):
                async with opened(_ignore) as link:
                    initialized = _result(await link.request(_initialize(), _ignore))
    except TimeoutError:
        raise _too_late(label, seconds) from None
    return _eras(label, discovered, initialized)


async def _ask_both(link: Link) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Ask in the modern way; and in the other way too, on the same pipes, unless that is certain to be refused.

    A server that knows nothing of `server/discover` may answer with an error, stay silent, or give up; and one that
    starts slowly is silent as well.
    """
    discovered: Mapping[str, Any] | None = None
    initialized: Mapping[str, Any] | None = None
    answered = anyio.Event()

    async def discover() -> None:
        nonlocal discovered
        try:
            discovered = await _discovered(link)
        except (UpstreamLost, UpstreamProtocol):
            discovered = None
        answered.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(discover)
        with anyio.move_on_after(_SILENCE_SECONDS):
            await answered.wait()
        if discovered is None and not link.closed.is_set():
            try:
                initialized = _result(await link.request(_initialize(), _ignore))
            except (UpstreamLost, UpstreamProtocol):
                initialized = None
            with anyio.move_on_after(_LATE_SECONDS):
                await answered.wait()
        tasks.cancel_scope.cancel()
    return discovered, initialized


async def _discovered(link: Link) -> Mapping[str, Any] | None:
    answer = await link.request(_discover(), _ignore)
    if _asks_again(answer.value.get("error")):
        answer = await link.request(_discover(), _ignore)
    return _result(answer)


def _asks_again(error: object) -> bool:
    """Whether a server refused the version and named it as supported all the same (MCP 2026-07-28: -32022, retry)."""
    if not isinstance(error, dict) or error.get("code") != -32022:
        return False
    data = error.get("data")
    supported = data.get("supported") if isinstance(data, dict) else None
    return isinstance(supported, list) and MODERN_VERSION in supported


async def _ignore(frame: Frame) -> None:
    """Nothing that comes during a probe is for anybody."""


def _discover() -> Frame:
    meta = {
        f"{MCP_META_PREFIX}protocolVersion": MODERN_VERSION,
        f"{MCP_META_PREFIX}clientInfo": _INFO,
        f"{MCP_META_PREFIX}clientCapabilities": {},
    }
    return Frame({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}})


def _initialize() -> Frame:
    params = {"protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": _INFO}
    return Frame({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": params})


def _result(answer: Frame) -> Mapping[str, Any] | None:
    result = answer.value.get("result")
    return result if isinstance(result, dict) else None


def _is_modern(discovered: Mapping[str, Any] | None) -> bool:
    versions = discovered.get("supportedVersions") if discovered is not None else None
    return isinstance(versions, list) and MODERN_VERSION in versions


def _eras(label: str, discovered: Mapping[str, Any] | None, initialized: Mapping[str, Any] | None) -> Eras:
    modern = _is_modern(discovered)
    negotiated = initialized.get("protocolVersion") if initialized is not None else None
    legacy = modern or isinstance(negotiated, str)
    if not modern and not legacy:
        raise UpstreamProtocol(label, "speaks no revision of MCP that is known here")
    versions = set(discovered["supportedVersions"]) if modern and discovered is not None else set[str]()
    if isinstance(negotiated, str):
        versions.add(negotiated)
    newest_first = tuple(sorted((version for version in versions if isinstance(version, str)), reverse=True))
    return Eras(legacy, modern, newest_first, discovered if modern else None, initialized)


def _too_late(label: str, seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(label, f"did not say what it speaks within {seconds:g} seconds", sent=False)
