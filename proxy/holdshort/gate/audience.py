"""Who is told that a list changed because policy did: every client whose own view of it is another one now.

A handshake-era session hears it on its standalone stream (or pipe); a client of the stateless era on the stream it
opened with `subscriptions/listen`, if it asked for such news there. Nobody hears it twice.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, Protocol

from anyio.abc import TaskGroup

from holdshort.gate.catalog import Catalog
from holdshort.gate.upstream import Log
from holdshort.policy import Caller, Kind, Layer, Policy
from holdshort.policy.digest import digest_layers
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
    """Return which lists `caller` sees differently under `after`, by the tools that were last listed.

    Prompts and resources are not remembered; where the rules about them differ, their lists may.
    """
    changed: list[str] = []
    facts = (definition.facts for catalog in catalogs for definition in catalog.definitions.values())
    if any(before.hides(tool, caller) != after.hides(tool, caller) for tool in facts):
        changed.append("tools")
    if _rules_of(Kind.PROMPT, before) != _rules_of(Kind.PROMPT, after):
        changed.append("prompts")
    if _rules_of(Kind.RESOURCE, before) != _rules_of(Kind.RESOURCE, after):
        changed.append("resources")
    return changed


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


def _rules_of(kind: Kind, policy: Policy) -> str:
    layers = [Layer(layer.name, tuple(rule for rule in layer.rules if rule.kind is kind)) for layer in policy.layers]
    return digest_layers([layer for layer in layers if layer.rules], timedelta())
