"""The text of the cases: one for each rule, so that every rule is tested from the first day."""

from collections.abc import Sequence
from typing import Final

from holdshort.cli.init.packs import PackMatch, pack_cases
from holdshort.cli.init.planned import SCHEMAS, Planned, action_of, heaps, rule_id
from holdshort.cli.init.sorting import Heap
from holdshort.cli.init.yaml_text import comment, flow, scalar

__all__ = ["cases_text"]

_NOTES: Final = {
    Heap.READS: "what says it only reads runs",
    Heap.DOUBTFUL: "a name that says more than reading asks",
    Heap.WRITES: "a change asks",
    Heap.DESTRUCTIVE: "what may destroy something {verdict}",
    Heap.SILENT: "a tool that nothing is known about asks",
}
_VERDICTS: Final = {"ask": "asks", "deny": "is refused"}


def cases_text(servers: Sequence[Planned], *, deny_destructive: bool) -> str:
    """Return the cases: one for each rule."""
    lines = [
        f"# yaml-language-server: $schema=../{SCHEMAS}/cases.schema.json",
        "#",
        *comment(
            "What starter.yaml must say about calls, one case for each rule. `holdshort policy test` runs them; add "
            "calls that matter to you, so that no later change of the rules lets them through, or stops them, unnoticed"
            "."
        ),
        "version: 1",
        "cases:",
    ]
    for server in servers:
        for heap, tools in heaps(server).items():
            action = action_of(heap, deny_destructive=deny_destructive)
            note = _NOTES[heap].format(verdict=_VERDICTS.get(action, ""))
            lines += _case(note, f"{server.label}__{tools[0].name}", action, rule_id(server, heap))
        if server.pack is not None and server.pack.unnamed:
            tool = f"{server.label}__{server.pack.unnamed[0]}"
            lines += _case("a tool that the pack does not name asks", tool, "ask", rule_id(server, "unnamed"))
        if server.error is not None:
            tool = f"{server.label}__any_tool"
            lines += _case("a server that nothing is known of asks", tool, "ask", rule_id(server, "all"))
    for server in servers:
        if server.pack is not None:
            lines += _pack_case_lines(server, server.pack)
    first = next((server for server in servers if server.pack is None and server.error is None), None)
    if first is not None:
        tool = f"{first.label}__a_tool_that_comes_later"
        lines += _case("a tool that no rule names asks", tool, "ask", "default")
    return "\n".join(lines) + "\n"


def _case(note: str, call: str, verdict: str, because: str) -> list[str]:
    return [f"  - note: {note}", f"    call: {scalar(call)}", f"    verdict: {verdict}", f"    because: [{because}]"]


def _pack_case_lines(server: Planned, pack: PackMatch) -> list[str]:
    lines: list[str] = []
    for rule, keys in pack_cases(pack.name, pack.label):
        for number, (key, value) in enumerate(keys.items()):
            start = "  - " if number == 0 else "    "
            if key in ("call", "resource", "prompt", "server_request"):
                lines.append(f"{start}{key}: {scalar(server.label + value.raw.removeprefix(pack.label))}")
            elif key == "because":
                lines.append(f"{start}because: [{pack.name}/{rule}]")
            else:
                lines.append(f"{start}{key}: {flow(value)}")
    return lines
