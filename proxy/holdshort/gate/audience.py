"""Who is told that a list changed because policy did: every client whose own view of it is another one now.

A handshake-era session hears it on its standalone stream (or pipe); a client of the stateless era on the stream it
opened with `subscriptions/listen`, if it asked for such news there. Nobody hears it twice.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any, Final, Protocol

from anyio.abc import TaskGroup

from holdshort.errors import StateError
from holdshort.gate.catalog import Catalog
from holdshort.gate.upstream import Log
from holdshort.policy import Action, Caller, Kind, Policy
from holdshort.policy.targets import may_speak_of
from holdshort.wire import Frame

__all__ = ["LIST_KINDS", "Audience", "Hearer", "changed_lists", "declaring", "news"]

LIST_KINDS: Final = ("tools", "prompts", "resources")
"""Capabilities that are lists, and have `listChanged`."""


class Hearer(Protocol):
    """One client that can be told."""

    def changed_lists(self, before: Policy, after: Policy) -> Iterable[str]:
        """Return which lists (`LIST_KINDS`) this client sees differently under the second policy."""
        ...

    async def tell_changed(self, kind: str) -> None:
        """Tell it that one of them did."""
        ...


class Audience:
    """All clients of a process that can be told. `active`: policy can change, so clients may expect to be told."""

    def __init__(self, log: Log) -> None:
        self.active = False
        self._log = log
        self._hearers: dict[Hearer, None] = {}
        self._tasks: TaskGroup | None = None

    def enter(self, tasks: TaskGroup) -> None:
        """Telling runs in `tasks` from now on: a client that does not read keeps nobody else waiting."""
        self._tasks = tasks

    def add(self, hearer: Hearer) -> None:
        """From now on it is told."""
        self._hearers[hearer] = None

    def remove(self, hearer: Hearer) -> None:
        """It cannot be told any more."""
        self._hearers.pop(hearer, None)

    def policy_changed(self, before: Policy, after: Policy) -> int:
        """Tell everybody whose lists are others now; return how many there are."""
        told = 0
        for hearer in list(self._hearers):
            kinds = tuple(hearer.changed_lists(before, after))
            if kinds and self._tasks is not None:
                told += 1
                self._tasks.start_soon(self._tell, hearer, kinds)
        return told

    async def _tell(self, hearer: Hearer, kinds: tuple[str, ...]) -> None:
        try:
            for kind in kinds:
                await hearer.tell_changed(kind)
        except Exception as error:  # noqa: BLE001
            # It has gone, or is going; what it would have been told it sees when it comes back.
            self._log.debug("audience.gone", error=type(error).__name__)


def changed_lists(catalogs: Iterable[Catalog], caller: Caller, before: Policy, after: Policy) -> list[str]:
    """Return which lists `caller` sees differently under `after`, which is in force: of tools, by what was listed last.

    Prompts and resources are not remembered. Their lists may differ where rules that can hide some of these servers'
    from this caller do.
    """
    looked_at = tuple(catalogs)
    changed: list[str] = []
    if any(_tools_changed(catalog, caller, before, after) for catalog in looked_at):
        changed.append("tools")
    servers = {catalog.server for catalog in looked_at}
    for kind, name in ((Kind.PROMPT, "prompts"), (Kind.RESOURCE, "resources")):
        if _hiding(kind, before, caller, servers) != _hiding(kind, after, caller, servers):
            changed.append(name)
    return changed


def _tools_changed(catalog: Catalog, caller: Caller, before: Policy, after: Policy) -> bool:
    listed = list(catalog.definitions.values())
    judged = listed
    if before.pins is not after.pins and catalog.pins is not None:
        # What pins are worth is another thing now, and what was listed was judged by what they were.
        try:
            judged = catalog.pins.judged(listed)
        except StateError:
            return True
    return any(
        before.hides(was.facts, caller) != after.hides(now.facts, caller)
        for was, now in zip(listed, judged, strict=True)
    )


def news(kind: str, meta: dict[str, Any] | None = None) -> Frame:
    """Return the notification that the list of `kind` changed."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"}
    return Frame(body if meta is None else body | {"params": {"_meta": meta}})


def declaring(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a handshake or of `server/discover` that says of each list that it may change."""
    capabilities = result.get("capabilities")
    if not isinstance(capabilities, dict):
        return result
    declared = {
        kind: {**capabilities[kind], "listChanged": True}
        for kind in LIST_KINDS
        if isinstance(capabilities.get(kind), dict)
    }
    return {**result, "capabilities": {**capabilities, **declared}}


def _hiding(kind: Kind, policy: Policy, caller: Caller, servers: Iterable[str]) -> Counter[Hashable]:
    """Return what can hide things of this kind from lists: each layer with a rule that says so, without any names."""
    words = (caller.agent, *caller.groups)
    found: Counter[Hashable] = Counter()
    for layer in policy.layers:
        rules = [
            rule
            for rule in layer.rules
            if any(may_speak_of(rule, kind, server) for server in servers)
            and (not rule.agents or any(pattern.matches(word) for pattern in rule.agents for word in words))
        ]
        if any(rule.action is Action.HIDE for rule in rules):
            when = [None if rule.when is None else rule.when.text for rule in rules]
            found[
                tuple((rule.action, frozenset(rule.targets), said) for rule, said in zip(rules, when, strict=True))
            ] += 1
    return found
