"""The tools one link offers, as their server defined them: what policy may know of a tool before it is called.

A tool that its server does not list does not exist for an agent, exactly like a hidden one.
"""

import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import orjson

from holdshort import __version__
from holdshort.gate.exchange import Peer
from holdshort.gate.listing import Listing, ListLimits
from holdshort.gate.methods import MODERN_VERSIONS, Era
from holdshort.gate.pins import Definition, ServerPins, Stamp
from holdshort.gate.upstream import Link, UpstreamProtocol, UpstreamTimeout
from holdshort.policy import Caller, Policy, ToolFacts
from holdshort.policy.facts import facts_of
from holdshort.wire import MCP_META_PREFIX, Frame, Limits, MalformedMessage, decode, encode

__all__ = ["FRESH_SECONDS", "RECENT_SECONDS", "Catalog", "Definition", "envelope"]

FRESH_SECONDS: Final = 30.0
"""How long a tool list is believed: not every server tells that it changed, and what it declares decides."""

RECENT_SECONDS = 1.0
"""A list read this recently is not read again for a name it does not have: a flood of wrong names reads no flood of
lists."""

_MAX_PAGES: Final = 100
_LIST_SECONDS: Final = 30
_LIST_LIMITS: Final = Limits(max_bytes=sys.maxsize, max_depth=512, max_keys=sys.maxsize, max_string_bytes=sys.maxsize)
"""The link has held it to its limits; here it is only taken apart."""

_LONG_INTEGER = re.compile(rb"\d{19}")


def envelope(capabilities: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the `_meta` that a request of our own needs on a modern link (MCP 2026-07-28, basic)."""
    return {
        f"{MCP_META_PREFIX}protocolVersion": MODERN_VERSIONS[-1],
        f"{MCP_META_PREFIX}clientCapabilities": dict(capabilities or {}),
        f"{MCP_META_PREFIX}clientInfo": {"name": "holdshort", "version": __version__},
    }


class Catalog:
    """The tools of one link, learnt from the lists the client asks for, or asked for by ourselves when needed."""

    def __init__(
        self,
        server: str,
        *,
        trust_annotations: bool,
        identity: str = "",
        fresh_seconds: float = FRESH_SECONDS,
        limits: ListLimits = ListLimits(),  # noqa: B008 (frozen)
        left_out: Callable[[str, Mapping[str, list[str]]], None] | None = None,
        pins: ServerPins | None = None,
    ) -> None:
        """`pins` is None where definitions are only looked at: then they count as pinned."""
        self.server = server
        self.pins = pins
        self._stamp: Stamp | None = None
        self._limits = limits
        self._left_out = left_out
        self._listing = Listing(limits)
        self._trust = trust_annotations
        self._identity = identity
        self._fresh_seconds = fresh_seconds
        self._definitions: dict[str, Definition] = {}
        self._complete = False
        self._read_at = 0.0
        self._lock = anyio.Lock()
        self._last: tuple[_Asked, _Result | None] | None = None

    def find(self, name: str) -> Definition | None:
        """Return the tool if it is known and the list is current; ask `ensure` otherwise."""
        if not self._complete or anyio.current_time() - self._read_at > self._fresh_seconds:
            return None
        if self.pins is not None and self.pins.stamp() != self._stamp and not self._judge_again(self.pins):
            return None
        return self._definitions.get(name)

    def _judge_again(self, pins: ServerPins) -> bool:
        """Somebody accepted a definition, or policy changed: judge anew, and say whether the list may stay as it is."""
        known = list(self._definitions.values())
        self._stamp, self._last = pins.stamp(), None
        self._definitions = {each.name: each for each in pins.judged(known)}
        self._complete = not any(map(pins.needs_pinning, known))
        return self._complete

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """What the last list that was read had, by name."""
        return self._definitions

    def invalidate(self) -> None:
        """The server said its list changed: read it again before the next judgement."""
        self._complete = False

    async def ensure(self, name: str, link: Link, peer: Peer) -> Definition | None:
        """Return the tool, reading the server's list unless that was just done; None when it is not listed.

        The same is done for a tool that is hidden from the caller as for one that does not exist, so that the time
        it takes tells nobody which it was.

        Raises:
            UpstreamError: the list could not be read, so nothing can be said of the tool.
        """
        async with self._lock:
            if not self._complete or anyio.current_time() - self._read_at >= RECENT_SECONDS:
                await self._read(link, peer)
            return self._definitions.get(name)

    async def refresh(self, link: Link, peer: Peer) -> None:
        """Read the whole list anew; what a person approved is compared with what the server says now.

        Raises:
            UpstreamError: the list could not be read.
        """
        async with self._lock:
            await self._read(link, peer)

    async def _read(self, link: Link, peer: Peer) -> None:
        found: dict[str, Definition] = {}
        listing = Listing(self._limits)
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params: dict[str, Any] = {} if peer.era is Era.LEGACY else {"_meta": envelope()}
            if cursor is not None:
                params["cursor"] = cursor
            request_id = f"holdshort-{secrets.token_hex(8)}"
            body = {"jsonrpc": "2.0", "id": request_id, "method": "tools/list", "params": params}
            try:
                with anyio.fail_after(_LIST_SECONDS):
                    reply = await link.request(Frame(body), _ignore)
            except TimeoutError:
                raise UpstreamTimeout(self.server, f"did not list its tools within {_LIST_SECONDS} seconds") from None
            if "error" in reply.value:
                if reply.value["error"]["code"] == -32601:
                    break  # a server without tools
                raise UpstreamProtocol(self.server, f"would not list its tools: {reply.value['error']['message']}")
            result = self._read_result(reply)
            for definition in self._define(listing.take(result.get("tools"), len(reply.raw))):
                found[definition.name] = definition
            next_cursor = result.get("nextCursor")
            if not isinstance(next_cursor, str) or next_cursor == cursor or listing.full:
                break
            cursor = next_cursor
        self._tell(listing)
        if self.pins is not None:
            settled, self._stamp = await self.pins.settle(list(found.values()))
            found = {each.name: each for each in settled}
        self._definitions = found
        self._last = None
        self._complete = True
        self._read_at = anyio.current_time()

    def _define(self, tools: Iterable[dict[str, Any]]) -> Iterable[Definition]:
        for raw in tools:
            name, written = raw["name"], encode(raw)
            known = self._definitions.get(name)
            if known is None or known.written != written:
                known = None if self.pins is None else self.pins.known(name, written)
            if known is None:
                known = Definition(raw, self.facts_of(raw), self._identity)
                known.__dict__["written"] = written
            yield known

    def _tell(self, listing: Listing) -> None:
        if listing.left_out and self._left_out is not None:
            self._left_out(self.server, listing.left_out)

    def facts_of(self, raw: Mapping[str, Any]) -> ToolFacts:
        """Return what policy may know of a tool so defined; hints count only where this server is trusted."""
        return facts_of(self.server, raw, trusted=self._trust)

    async def filter_list(
        self, reply: Frame, policy: Policy, caller: Caller, *, first_page: bool, rename: str = ""
    ) -> Frame:
        """Return a `tools/list` response without the tools that policy hides from this caller, or that are left out.

        Order, cursor and every unknown field stay; the page is remembered, so the call that follows needs no list of
        our own. `rename` is put before every name (`server__`). What is new or changed is in the store by then.

        Raises:
            UpstreamProtocol: it cannot be read in one way only.
            StateError: the pins cannot be read.
        """
        if "result" not in reply.value:
            return reply
        stamp = None if self.pins is None else self.pins.stamp()
        whole = first_page and len(reply.value) == 3
        asked = _Asked(_without_id(reply), policy, caller, rename, stamp) if whole else None
        if asked is not None and self._last is not None and self._last[0] == asked:
            self._complete, self._read_at = True, anyio.current_time()
            return _with_result(reply, self._last[1])
        filtered = await self._filter(reply, policy, caller, first_page=first_page, rename=rename)
        if asked is not None and self._complete:
            # The same list asked for again, which clients do often, costs a comparison of bytes.
            result = filtered.value["result"]
            asked = replace(asked, pins=self._stamp)
            self._last = (asked, None if filtered is reply else (result, encode(result)))
        return filtered

    async def _filter(self, reply: Frame, policy: Policy, caller: Caller, *, first_page: bool, rename: str) -> Frame:
        result = self._read_result(reply)
        tools = result.get("tools")
        if first_page:
            self._listing = Listing(self._limits)
        listing = self._listing
        definitions = list(self._define(listing.take(tools, len(reply.raw))))
        self._tell(listing)
        stamp = None
        if self.pins is not None:
            definitions, stamp = await self.pins.settle(definitions)
        last_page = listing.full or not isinstance(result.get("nextCursor"), str)
        self._remember(definitions, first_page=first_page, last_page=last_page, stamp=stamp)
        kept = [
            {**definition.raw, "name": rename + definition.name} if rename else definition.raw
            for definition in definitions
            if not policy.hides(definition.facts, caller)
        ]
        changed = dict(result)
        changed["tools"] = kept
        if listing.full:
            changed.pop("nextCursor", None)
        if "cacheScope" in changed:
            # MCP 2026-07-28, caching: what one caller may see must not be served to another.
            changed["cacheScope"] = "private"
        elif not rename and (not isinstance(tools, list) or len(kept) == len(tools)):
            return reply
        return Frame({**reply.value, "result": changed}, encode({**reply.value, "result": changed}), reply.kind)

    def _remember(
        self, definitions: list[Definition], *, first_page: bool, last_page: bool, stamp: Stamp | None
    ) -> None:
        self._last = None
        if first_page:
            self._stamp = stamp
            self._complete = last_page
            self._definitions = {definition.name: definition for definition in definitions}
            self._read_at = anyio.current_time()
        else:
            # Later pages only add; the list counts as complete once we have read it whole ourselves.
            self._definitions |= {definition.name: definition for definition in definitions}

    def _read_result(self, reply: Frame) -> dict[str, Any]:
        """The result of a list, every digit kept: a schema's bounds are part of what is approved."""
        try:
            value = decode(reply.raw, _LIST_LIMITS) if _LONG_INTEGER.search(reply.raw) else orjson.loads(reply.raw)
        except MalformedMessage as error:
            raise UpstreamProtocol(self.server, f"sent a list of tools that cannot be used: {error.reason}") from None
        found: dict[str, Any] = value["result"]
        return found


_Result = tuple[dict[str, Any], bytes]
"""A filtered result, as a value and as bytes."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What decides how a list is shown: the bytes a server sent, the policy in force, and who sees it."""

    raw: bytes
    policy: Policy
    caller: Caller
    rename: str
    pins: Stamp | None


def _without_id(reply: Frame) -> bytes:
    return reply.raw.replace(b'"id":' + encode(reply.value["id"]), b'"id":0', 1)


def _with_result(reply: Frame, result: _Result | None) -> Frame:
    if result is None:
        return reply
    value, raw = result
    whole = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(reply.value["id"]), raw)
    return Frame({**reply.value, "result": value}, whole, reply.kind)


async def _ignore(_: Frame) -> None:
    """A list of our own has no progress to show."""
