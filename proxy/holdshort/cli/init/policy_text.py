"""The text of the policy file: every tool under its verdict, with what its server says of it."""

from collections.abc import Sequence
from typing import Final

from holdshort.cli.init.packs import PackMatch
from holdshort.cli.init.planned import SCHEMAS, Planned, action_of, heaps, rule_id, tool_key
from holdshort.cli.init.sorting import Heap, Sorted
from holdshort.cli.init.yaml_text import comment, inert, scalar, with_notes

__all__ = ["policy_text"]

_ABOUT: Final = {
    Heap.READS: "The server says that these only read, so they run at once.",
    Heap.DOUBTFUL: "The server says that these only read, but their names say more, so a person is asked.",
    Heap.WRITES: "These change something, and say they destroy nothing: a person is asked.",
    Heap.DESTRUCTIVE: "These may destroy something: a person is asked, each time (no standing grant can answer).",
    Heap.SILENT: "The server says nothing about these, so a person is asked.",
}
_DENIED: Final = "These may destroy something, so they are refused; with `action: ask`, a person would be asked."
_SAID: Final = {
    "allow": "runs",
    "ask": "asks",
    "deny": "is refused",
    "hide": "is hidden",
}
_EXAMPLE_RULE: Final = (
    "# Rules of your own count before those of the packs, such as:",
    "#",
    "# rules:",
    "#   - {id: no-purge, tools: '*__purge_*', action: hide}",
)


def policy_text(servers: Sequence[Planned], day: str, *, deny_destructive: bool) -> str:
    """Return the policy file."""
    lines = [
        f"# yaml-language-server: $schema=../{SCHEMAS}/policy.schema.json",
        "#",
        *comment(
            "What agents may do: reads run, everything else waits for a person. Written by `holdshort init` on "
            f"{day}, from what the servers say about their own tools; a server may be wrong, or lie, and nobody has "
            "looked yet. Read it, move tools between the lists, and run `holdshort policy test` afterwards."
        ),
        "#",
        *comment(
            "Actions: allow (runs at once), ask (waits for a person), deny (refused), hide (not even listed). The "
            "first rule that matches counts. The language on one page: policies/README.md of Holdshort."
        ),
        "#",
        *comment(
            "Every tool is pinned when it is first listed: one whose definition changes later asks, whatever stands "
            "here, and the approver sees the difference."
        ),
        "version: 1",
        "",
        "# What becomes of a tool that no rule names, such as one that a server gets later.",
        "default: ask",
    ]
    packs = _packs(servers)
    if packs:
        lines += ["", *packs]
    blocks = [block for server in servers if (block := _rules(server, deny_destructive=deny_destructive))]
    has_rules = any(server.error is not None or heaps(server) or _unnamed(server) for server in servers)
    lines += ["", *(["rules:"] if has_rules else [*_EXAMPLE_RULE, ""])]
    for number, block in enumerate(blocks):
        lines += [*([""] if number else []), *block]
    return "\n".join(lines).rstrip() + "\n"


def _packs(servers: Sequence[Planned]) -> list[str]:
    uses: dict[str, list[Planned]] = {}
    for server in servers:
        if server.pack is not None:
            uses.setdefault(server.pack.name, []).append(server)
    if not uses:
        return []
    lines = comment(
        "Ready-made rules, written by people who looked at what the tools do. They count after the rules of this file. "
        "`holdshort policy packs NAME` prints one; `holdshort init --no-packs` writes the tools out instead."
    )
    lines.append("packs:")
    for name, bound in uses.items():
        for server in bound:
            lines += [*([] if lines[-1] == "packs:" else [""]), *_title(server), *_by_pack(server.pack)]
        labels = [server.label for server in bound]
        if [server.pack.label for server in bound if server.pack is not None] == labels:
            lines.append(f"  - {name}")
        else:
            lines.append(f"  - {{pack: {name}, servers: [{', '.join(map(scalar, labels))}]}}")
    return lines


def _by_pack(pack: PackMatch | None) -> list[str]:
    by_actions: dict[tuple[str, ...], list[str]] = {}
    for tool, actions in pack.said if pack is not None else ():
        by_actions.setdefault(actions, []).append(tool)
    lines: list[str] = []
    order = list(_SAID)
    for actions, tools in sorted(by_actions.items(), key=lambda one: (len(one[0]), [*map(order.index, one[0])])):
        words = " or ".join(_SAID[action] for action in actions) + (", by its arguments" if len(actions) > 1 else "")
        lines += comment(f"{words}: {', '.join(tools)}", 2)
    return lines


def _title(server: Planned) -> list[str]:
    counted = f"{len(server.tools)} tools" if len(server.tools) != 1 else "1 tool"
    about = f", which calls itself {inert(server.about, 60)}" if server.about else ""
    lines = comment(f"---- {server.label}{about}: {'not asked' if server.error is not None else counted}", 2)
    if server.left_out:
        names = ", ".join(inert(name, 40) for name in server.left_out[:8])
        lines += comment(f"Left out, because no client could call them safely: {names}.", 2)
    return lines


def _rules(server: Planned, *, deny_destructive: bool) -> list[str]:
    """The rules of one server, with a title; none where a pack names all of its tools."""
    if server.error is not None:
        said = f"It {inert(server.error)}. Nothing is known of its tools, so all of them ask. When it can be reached, "
        lines = [*_title(server), *comment(f"{said}run `holdshort init --force`, or write rules yourself.", 2)]
        return [*lines, f"  - id: {rule_id(server, 'all')}", f"    tools: {tool_key(server, '*')}", "    action: ask"]
    if server.pack is not None:
        return _beside_pack(server, server.pack)
    lines = _title(server)
    for heap, tools in heaps(server).items():
        action = action_of(heap, deny_destructive=deny_destructive)
        words = _DENIED if heap is Heap.DESTRUCTIVE and action == "deny" else _ABOUT[heap]
        lines += ["", *comment(words, 2), f"  - id: {rule_id(server, heap)}", f"    action: {action}"]
        if heap is Heap.DESTRUCTIVE and action == "ask":
            lines.append("    grants: false")
        lines += _tools(server, tools)
    return lines


def _beside_pack(server: Planned, pack: PackMatch) -> list[str]:
    unnamed = _unnamed(server)
    if not unnamed:
        return []
    words = f"---- {server.label}: the pack `{pack.name}` does not name these, so a person is asked"
    rule = [f"  - id: {rule_id(server, 'unnamed')}", "    action: ask"]
    return [*comment(words, 2), *rule, *_tools(server, unnamed)]


def _unnamed(server: Planned) -> list[Sorted]:
    return [tool for tool in server.tools if server.pack is not None and tool.name in server.pack.unnamed]


def _tools(server: Planned, tools: Sequence[Sorted]) -> list[str]:
    lines = [(f"      - {tool_key(server, tool.name)}", tool.said, tool.description) for tool in tools]
    return ["    tools:", *with_notes(lines)]
