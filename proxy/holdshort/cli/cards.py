"""A parked call for people at a terminal: complete, in order, and with nothing in it that a terminal would obey."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from holdshort.approvals.inert import Kind, findings, plain, pretty_json, strings_in
from holdshort.approvals.own_words import own_words

__all__ = ["card", "conflict", "left", "outline", "table"]

_PAST = {"approve": "approved", "edit": "edited and approved", "reject": "rejected", "respond": "answered"}
_WARNINGS = {
    Kind.BIDI: "that change the direction of text",
    Kind.CONTROL: "that control a terminal",
    Kind.INVISIBLE: "that are invisible",
    Kind.SPACE: "that are unusual spaces",
    Kind.ODD: "of another alphabet inside a word",
}


def card(record: Mapping[str, Any], now: datetime) -> str:
    """Return everything there is to know before deciding, as plain lines."""
    asked = record["requested_by"]
    client = f" via {plain(asked['client'])}" if asked.get("client") else ""
    path = " > ".join(map(plain, asked.get("agent_path") or ()))
    because = ", ".join(f"{plain(each['rule'])} in {plain(each['layer'])}" for each in record["because"])
    state = record["state"] + (f", {left(record['expires_at'], now)}" if record["state"] == "pending" else "")
    kind = own_words(record["kind"])
    lines = [
        f"{plain(record['tool'])} on {plain(record['server'])}",
        *([f"  kind         {kind}"] if kind else []),
        f"  id           {record['id']}",
        f"  state        {state}",
        f"  asked by     {plain(asked['agent'])}{client}{f' ({path})' if path else ''}",
        f"  because      {because or 'no rule is named'}",
    ]
    if record["required_approvals"] > 1:
        lines.append(f"  approvals    {record['required_approvals']} are needed")
    lines += _described(record.get("definition"), "the agent" if kind else "its server")
    lines += _changed(record.get("definition_change"))
    if record["arguments"] is None:
        lines.append("  arguments    erased")
    elif not record["arguments"]:
        lines.append("  arguments    none")
    else:
        lines.append("  arguments")
        for name, value in record["arguments"].items():
            lines += _argument(name, value)
    texts = [record["tool"], record["server"], *strings_in(record["arguments"])]
    for kind, count in findings(texts).items():
        lines.append(f"  WARNING      {count} character{'' if count == 1 else 's'} {_WARNINGS[kind]}, shown as <U+…>")
    lines.append(f"  fingerprint  {record['fingerprint']}")
    for each in record["decisions"]:
        said = f": {plain(each['message'])}" if each["message"] else ""
        lines.append(f"  {_PAST[each['decision']]} by {plain(each['by'])} at {each['at']}{said}")
    outcome = record["outcome"]
    if outcome is not None:
        lines.append(f"  outcome      {outcome['kind']}{': ' + plain(outcome['note']) if outcome['note'] else ''}")
        said = outcome["result"] if outcome["result"] is not None else outcome["error"]
        if said is not None:
            lines += [f"    {line}" for line in plain(pretty_json(said)).split("\n")]
    return "\n".join(lines)


def outline(record: Mapping[str, Any]) -> str:
    """Return one line about a change."""
    by = record["decisions"][-1]["by"] if record["decisions"] else None
    who = f" by {plain(by)}" if by else ""
    agent = plain(record["requested_by"]["agent"])
    return (
        f"{record['state']:<10} {plain(record['tool'])} on {plain(record['server'])} for {agent}{who}  {record['id']}"
    )


def table(records: Sequence[Mapping[str, Any]], now: datetime) -> Any:
    """Return a table of calls for `rich` to print."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "state", "tool", "server", "agent", "left"):
        found.add_column(title, overflow="fold", no_wrap=title in ("id", "state", "left"))
    for record in records:
        pending = record["state"] == "pending"
        cells = [
            record["id"],
            record["state"],
            plain(record["tool"]),
            plain(record["server"]),
            plain(record["requested_by"]["agent"]),
            left(record["expires_at"], now) if pending else "",
        ]
        # As `Text`, so that brackets in a name are never taken for markup.
        found.add_row(*(Text(cell) for cell in cells))
    return found


def left(expires_at: str, now: datetime) -> str:
    """Return how much time is left, in words."""
    seconds = int((datetime.fromisoformat(expires_at) - now).total_seconds())
    if seconds <= 0:
        return "time is up"
    if seconds < 120:
        return f"{seconds} s left"
    return f"{seconds // 60} min left" if seconds < 7200 else f"{seconds // 3600} h left"


def conflict(code: str, record: Mapping[str, Any]) -> str | None:
    """Return in words who was first; None where nobody was."""
    if code != "already_decided":
        return None
    if not record["decisions"]:
        return f"it is {record['state']} already"
    last = record["decisions"][-1]
    said = f": {plain(last['message'])}" if last["message"] else ""
    return f"{plain(last['by'])} already {_PAST[last['decision']]} it{said}"


def _described(definition: Mapping[str, Any] | None, who: str) -> list[str]:
    description = (definition or {}).get("description")
    if not isinstance(description, str) or not description:
        return []
    first, *rest = plain(description).split("\n")
    return [f"  {who} says (nobody checked this)", *(f"    | {line}" for line in [first, *rest])]


def _changed(change: Mapping[str, Any] | None) -> list[str]:
    """How the tool differs from what it is pinned to."""
    if change is None:
        return []
    lines = ["  CHANGED      the tool is not what it was when it was pinned"]
    if change["pinned_digest"] is None:
        lines = ["  NEW          nobody has accepted this tool yet"]
    field = None
    for each in change["lines"]:
        if each["field"] != field:
            field = each["field"]
            lines.append(f"    {plain(field)}")
        lines.append(
            f"      {each['sign']} {plain(each['text'])}" if each["sign"] != "~" else f"        … {each['text']}"
        )
    return lines


def _argument(name: str, value: Any) -> list[str]:
    text = value if isinstance(value, str) else pretty_json(value)
    lines = plain(text).split("\n")
    about = f" ({len(text):,} characters)" if len(text) > 200 else ""
    if len(lines) == 1 and not about:
        return [f"    {plain(name)} = {lines[0]}" if text else f"    {plain(name)} is an empty text"]
    return [f"    {plain(name)}{about}", *(f"      | {line}" for line in lines)]
