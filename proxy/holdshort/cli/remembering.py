"""What `approve --remember` asks for, as the API wants it and in words for the one who is about to confirm it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdshort.approvals.inert import plain, pretty_json
from holdshort.cli.asking import usage

__all__ = ["scope_lines", "wish_of"]


def wish_of(
    record: Mapping[str, Any], lifetime: str, max_uses: int | None, any_value: Sequence[str], when: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the body's `remember`, and lines that say what it will cover."""
    arguments: dict[str, Any] = record["arguments"] or {}
    for name in any_value:
        if name not in arguments:
            known = ", ".join(f"`{plain(each)}`" for each in arguments) or "none"
            usage(f"`--any {plain(name)}`: the call has no such argument; it has {known}")
    named = {name: {"any": True} if name in any_value else {"in": [value]} for name, value in arguments.items()}
    wish: dict[str, Any] = {"for": lifetime, "arguments": named if any_value else "exact"}
    if max_uses is not None:
        wish["max_uses"] = max_uses
    if when is not None:
        wish["when"] = when
    agent, tool = plain(record["requested_by"]["agent"]), plain(record["tool"])
    about = (
        f"from now on, for {plain(lifetime)} and {max_uses or 10} times at most, these calls of {agent} run unasked:"
    )
    return wish, [about, f"  {tool} on {plain(record['server'])}", *scope_lines({"arguments": named, "when": when})]


def scope_lines(scope: Mapping[str, Any]) -> Iterator[str]:
    """Yield a scope as plain lines, every value complete."""
    for name, allowed in scope["arguments"].items():
        if "any" in allowed:
            yield f"    {plain(name)} = any value"
            continue
        values = [plain(pretty_json(value)).replace("\n", "\n      ") for value in allowed["in"]]
        yield f"    {plain(name)} = {' or '.join(values)}"
    if not scope["arguments"]:
        yield "    no arguments"
    if scope["when"] is not None:
        yield f"    when {plain(scope['when'])}"
