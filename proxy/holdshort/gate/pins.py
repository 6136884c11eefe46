"""Definitions of tools compared with their pins: whatever a server shows is looked at before anybody else sees it.

What is judged is in memory: two digests for each tool. The store is written only when something is new or changed,
before the list is answered; what could not be written counts as not pinned. What another process accepts is taken up
with the next call or list, at most 50 ms after it happened.

A pin belongs to a scope: the label of a server that a configuration names, so that another command or URL under that
label is a change; for a command that is only wrapped, the label and the command, so that two wraps of different
commands that came to the same label do not take turns in changing each other's tools.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import Any, Final

import anyio.lowlevel

from holdshort.errors import StateError
from holdshort.gate.upstream import Log
from holdshort.interruption import NoFingerprint, PinnedDefinition, definition_digest
from holdshort.policy import PinMode, Policy, ToolFacts
from holdshort.policy.lookalikes import NameIndex, flags_in, look_alike, note_name
from holdshort.store import INSTRUCTIONS, Pin, PinDigests, PinNotFound, Sighting, Store
from holdshort.wire import Frame, encode

__all__ = ["Definition", "PinBook", "ServerPins", "Stamp", "admitted", "scope_of"]

LOOK_SECONDS: Final = 0.05
"""How old a look at what other processes did may be: half of what is promised."""

_NAMES_SHOWN: Final = 20
_MOST_REMEMBERED: Final = 10_000
_AT_ONCE: Final = 32
_MOST_PINS: Final = 10_000
"""Of one scope. A server that invents more names than this has tools that are not pinned."""
_MOST_KNOWN_BYTES: Final = 64 * 1024 * 1024
_MOST_WRITTEN_BYTES: Final = 256 * 1024 * 1024
"""Of one server's definitions: what this process remembers, and what it writes down in its life. A server that shows
others each time must fill neither memory nor disk; what is not written down is not pinned."""

Stamp = tuple[PinMode, int]
"""What a judgement about pins was made under; another one means that it has to be made again."""


@dataclass(frozen=True)
class Definition:
    """One tool as its server defined it."""

    raw: Mapping[str, Any]
    facts: ToolFacts
    server_identity: str = ""
    """Digest of the server's own command or URL: the same words from another server are another tool."""

    @property
    def name(self) -> str:
        """The tool's name at its server."""
        return self.facts.name

    @cached_property
    def digest(self) -> str:
        """What an approval is bound to: changes when anything the server says of the tool changes, or the server.

        Raises:
            NoFingerprint: there is no one way to write it down.
        """
        return definition_digest(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What the digest is of."""
        return {"definition": dict(self.raw), "server": self.server_identity}

    @cached_property
    def written(self) -> bytes:
        """The server's words, to compare with what it said before: as values, `1` and `true` would be equal."""
        return encode(self.raw)

    @cached_property
    def has_header_parameters(self) -> bool:
        """Whether some argument is mirrored in a header (`x-mcp-header` in the input schema)."""
        return b"x-mcp-header" in encode(self.raw.get("inputSchema"))

    def with_pinned(self, pinned: bool) -> "Definition":
        """Return the definition as one that is as it is pinned, or is not; what it cost to know of it stays known."""
        if self.facts.pinned is pinned:
            return self
        other = replace(self, facts=replace(self.facts, pinned=pinned))
        for known in ("digest", "written", "has_header_parameters"):
            if known in self.__dict__:
                other.__dict__[known] = self.__dict__[known]
        return other


def scope_of(label: str, identity: str, *, configured: bool) -> str:
    """Return whose pins a server's tools have; an `@` is in no label."""
    return label if configured else f"{label}@{identity[:12]}"


class PinBook:
    """The pins of every server of this process."""

    def __init__(
        self,
        store: Store,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        log: Log,
        servers: Mapping[str, tuple[str, str]],
    ) -> None:
        """`servers`: scope and identity of each, by label."""
        self.store = store
        self.clock = clock
        self.log = log
        self._policy = policy
        self._look_at = 0.0
        self._generation = -1
        self._servers = {label: ServerPins(self, label, *each) for label, each in servers.items()}
        self._told: set[int] = set()

    @property
    def mode(self) -> PinMode:
        """What pins are worth by the policy in force."""
        return self._policy().pins

    def of(self, label: str) -> "ServerPins":
        """Return the pins of one server."""
        return self._servers[label]

    def generation(self) -> int:
        """Return which pins these are; asks the store if it was not asked just now.

        Raises:
            StateError: the store cannot be read.
        """
        now = monotonic()
        if now >= self._look_at:
            self._generation = self.store.pins.generation()
            self._look_at = now + LOOK_SECONDS
        return self._generation

    def look_again(self) -> None:
        """A pin was changed by this very process."""
        self._look_at = 0.0

    def others(self, label: str) -> Mapping[str, NameIndex]:
        """Return the names of the tools of every other server, by server."""
        return {other: pins.names for other, pins in self._servers.items() if other != label and pins.names}

    def warn_once(self, event: str, key: Sequence[str], **facts: Any) -> None:
        """Tell the log, once for each `key`, however many clients ask for the list."""
        news = hash((event, *key))  # not the key itself: a server chooses how long it is
        if news in self._told:
            return
        if len(self._told) >= _MOST_REMEMBERED:
            self._told.clear()
        self._told.add(news)
        self.log.warning(event, **facts)


class ServerPins:
    """The pins of one server, shared by every link to it."""

    def __init__(self, book: PinBook, label: str, scope: str, identity: str) -> None:
        self.scope = scope
        self.names: dict[str, set[str]] = {}
        """The names of this server's tools, to be compared with."""
        self._book = book
        self._label = label
        self._identity = identity
        self._generation = -1
        self._digests: dict[str, PinDigests] = {}
        self._told: dict[str, str] = {}
        """What the store was last told by us, by tool: two servers under one scope must not take turns for ever."""
        self._known: dict[str, Definition] = {}
        self._known_bytes = 0
        self._written_bytes = 0

    def stamp(self) -> Stamp:
        """Return what a judgement made now is made under. A number to compare, on the way of every call.

        Raises:
            StateError: the store cannot be read.
        """
        mode = self._book.mode
        return mode, (self._book.generation() if mode is not PinMode.OFF else 0)

    def known(self, name: str, written: bytes) -> Definition | None:
        """Return the definition so written, if some link to this server has shown it before: its digest was costly."""
        found = self._known.get(name)
        return found if found is not None and found.written == written else None

    def shown(self, name: str) -> Definition | None:
        """Return the definition that this server showed last under that name, judged by the pins that there are now.

        Raises:
            StateError: the store cannot be read.
        """
        found = self._known.get(name)
        return None if found is None else self.judged([found])[0]

    async def kept(self, name: str) -> Pin | None:
        """Return the pin of a tool of this very server as it is in the store; nothing of another command or URL.

        Raises:
            StateError: the store cannot be read.
        """
        try:
            pin = await self._book.store.pins.get(self.scope, name)
        except PinNotFound:
            return None
        return pin if pin.seen.identity == self._identity else None

    def judged(self, definitions: Sequence[Definition]) -> list[Definition]:
        """Return the definitions by the pins that there are. Nothing is written.

        Raises:
            StateError: the store cannot be read.
        """
        if self._book.mode is PinMode.OFF:
            return [each.with_pinned(True) for each in definitions]
        self._refresh()
        return [each.with_pinned(self._is_pinned(each)) for each in definitions]

    def needs_pinning(self, definition: Definition) -> bool:
        """Whether the tool has no pin: it was forgotten, or pins count only now. What changed, a list tells."""
        mode, pin = self._book.mode, self._digests.get(definition.name)
        if mode is PinMode.OFF or _digest_of(definition) is None:
            return False
        return pin is None or (pin.accepted is None and mode is PinMode.FIRST_USE)

    async def settle(self, definitions: Sequence[Definition]) -> tuple[list[Definition], Stamp]:
        """Compare what a server shows with its pins, and keep what is new or changed before anybody is told.

        Returns the definitions as they are to be judged, and what that was judged under.

        Raises:
            StateError: the store cannot be read.
        """
        if self._book.mode is not PinMode.OFF:
            await _digest_all(definitions)
        mode = self._book.mode
        self._remember(definitions)
        if mode is PinMode.OFF:
            return [each.with_pinned(True) for each in definitions], (mode, 0)
        self._refresh()
        news: dict[str, Sighting] = {}
        for each in definitions:
            digest = _digest_of(each)
            if digest is None or not self._news(each.name, digest, mode):
                continue
            self._flag(each.name, digest, each.raw)
            await anyio.lowlevel.checkpoint()  # each takes up to 50 ms, and a server chooses how many there are
            room = each.name in self._digests or len(self._digests) + len(news) < _MOST_PINS
            if room and self._affords(each):
                news[each.name] = Sighting(digest, each.content)
        if news:
            await self._keep(news, mode)
            self._refresh()
        judged = [each.with_pinned(self._is_pinned(each)) for each in definitions]
        stamp = (mode, self._generation)
        self._warn([each for each in judged if not each.facts.pinned], mode)
        return judged, stamp

    async def admit_instructions(self, text: str) -> str | None:
        """Return what of the server's instructions may be passed on: all, or with strict pins only what was accepted.

        What cannot be compared is withheld.
        """
        try:
            return await self._admitted(text)
        except (StateError, NoFingerprint) as error:
            self._book.log.warning("a server's instructions are withheld", server=self._label, reason=str(error))
            return None

    async def _admitted(self, text: str) -> str | None:
        mode = self._book.mode
        if mode is PinMode.OFF:
            return text
        self._refresh()
        content = {"instructions": text, "server": self._identity}
        digest = definition_digest(content)
        if self._news(INSTRUCTIONS, digest, mode):
            await self._keep({INSTRUCTIONS: Sighting(digest, content)}, mode)
            self._flag(INSTRUCTIONS, digest, text)
        pin = self._digests.get(INSTRUCTIONS)
        if pin is not None and pin.accepted == digest:
            return text
        self._book.warn_once(
            "a server's instructions are not as they are pinned",
            (self.scope, digest),
            server=self._label,
            withheld=mode is PinMode.STRICT,
            look=f"holdshort policy pin diff {self.scope} @instructions",
            accept=f"holdshort policy pin accept {self.scope} @instructions",
        )
        return None if mode is PinMode.STRICT else text

    async def pinned_definition(self, definition: Definition) -> PinnedDefinition | None:
        """Return what the tool is pinned to, if that is another definition than this one.

        Raises:
            StateError: the store cannot be read.
        """
        if self._book.mode is PinMode.OFF or definition.facts.pinned:
            return None
        try:
            pin = await self._book.store.pins.get(self.scope, definition.name)
        except PinNotFound:
            return PinnedDefinition(scope=self.scope, digest=None, definition=None)
        accepted = pin.accepted
        if accepted is None:
            return PinnedDefinition(scope=self.scope, digest=None, definition=None)
        return PinnedDefinition(
            scope=self.scope,
            digest=accepted.digest,
            definition=dict(accepted.words),
            same_server=accepted.identity == definition.server_identity,
        )

    def _refresh(self) -> None:
        generation = self._book.generation()
        if generation != self._generation:
            self._digests = dict(self._book.store.pins.digests(self.scope))
            self._generation = generation

    def _is_pinned(self, definition: Definition) -> bool:
        pin = self._digests.get(definition.name)
        return pin is not None and pin.accepted is not None and pin.accepted == _digest_of(definition)

    def _remember(self, definitions: Sequence[Definition]) -> None:
        if len(self._known) > _MOST_PINS or self._known_bytes > _MOST_KNOWN_BYTES:
            # A server that invents names; what is forgotten here costs only time.
            self._known.clear()
            self._known_bytes = 0
            self._told.clear()
            self.names.clear()
        for each in definitions:
            if self._known.get(each.name) is not each:
                if each.name not in self._known:
                    note_name(self.names, each.name)
                self._known[each.name] = each
                self._known_bytes += len(each.written)

    def _affords(self, definition: Definition) -> bool:
        """Say whether this may be written down."""
        self._written_bytes += len(definition.written)
        if self._written_bytes <= _MOST_WRITTEN_BYTES:
            return True
        self._book.warn_once(
            "a server's definitions change too much to be pinned",
            (self.scope,),
            server=self._label,
            until="this proxy is started again",
        )
        return False

    def _news(self, tool: str, digest: str, mode: PinMode) -> bool:
        pin = self._digests.get(tool)
        if pin is None or (pin.accepted is None and mode is PinMode.FIRST_USE):
            return True
        return pin.seen != digest and self._told.get(tool) != digest

    async def _keep(self, sightings: Mapping[str, Sighting], mode: PinMode) -> None:
        book = self._book
        try:
            pins = await book.store.pins.see(
                self.scope, sightings, at=book.clock(), accept_new=mode is PinMode.FIRST_USE
            )
        except StateError as error:
            # Fail closed: what nobody could write down is as it was, which for what is new or changed is not pinned.
            book.log.warning("pins cannot be written", server=self._label, tools=len(sightings), reason=str(error))
            return
        for tool, pin in pins.items():
            self._digests[tool] = PinDigests(pin.accepted.digest if pin.accepted else None, pin.seen.digest)
            self._told[tool] = sightings[tool].digest
        book.look_again()

    def _warn(self, unpinned: Sequence[Definition], mode: PinMode) -> None:
        book = self._book
        new: list[str] = []
        for definition in unpinned:
            name = definition.name
            pin = self._digests.get(name)
            if pin is None or pin.accepted is None:
                new.append(name)
            else:
                book.warn_once(
                    "a tool's definition changed",
                    (self.scope, name, _digest_of(definition) or ""),
                    server=self._label,
                    tool=name,
                    now="is hidden until accepted" if mode is PinMode.STRICT else "every call asks until accepted",
                    look=f"holdshort policy pin diff {self.scope} {name}",
                    accept=f"holdshort policy pin accept {self.scope} {name}",
                )
        if new:
            book.warn_once(
                f"new tools {'are hidden' if mode is PinMode.STRICT else 'ask'} until accepted",
                (self.scope, *new),
                server=self._label,
                tools=new[:_NAMES_SHOWN],
                number=len(new),
                look=f"holdshort policy pin diff {self.scope}",
                accept=f"holdshort policy pin accept {self.scope} --all",
            )

    def _flag(self, name: str, digest: str, words: Any) -> None:
        found = list(flags_in(words))
        if isinstance(words, Mapping):
            title = words.get("title")
            title = title if isinstance(title, str) else None
            found += look_alike(name, title, self.names)
            for other, names in self._book.others(self._label).items():
                found += look_alike(name, title, names, among=f" of server `{other}`")
        if found:
            self._book.warn_once(
                "a definition may mislead",
                (self.scope, name, digest),
                server=self._label,
                tool=name or "(instructions)",
                flags=[f"{flag.where or '/'}: {flag.words}" for flag in found[:_NAMES_SHOWN]],
            )


async def admitted(pins: ServerPins | None, reply: Frame) -> Frame:
    """Return the answer to a handshake, or to `server/discover`, without instructions that are to be withheld."""
    result = reply.value.get("result")
    text = result.get("instructions") if isinstance(result, dict) else None
    if pins is None or not isinstance(text, str) or not isinstance(result, dict):
        return reply
    if await pins.admit_instructions(text) is not None:
        return reply
    value = json.loads(reply.raw)  # read anew: the fast reader rounds large integers
    del value["result"]["instructions"]
    return Frame(value, kind=reply.kind)


async def _digest_all(definitions: Sequence[Definition]) -> None:
    """Make digests that nobody needed before, a few at a time: a thousand definitions must not hold up other calls."""
    fresh = [each for each in definitions if "digest" not in each.__dict__]
    for number, each in enumerate(fresh, start=1):
        _digest_of(each)
        if number % _AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


def _digest_of(definition: Definition) -> str | None:
    """None for what cannot be written down in one way, and so cannot be pinned."""
    try:
        return definition.digest
    except NoFingerprint:
        return None
