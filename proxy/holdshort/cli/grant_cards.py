"""Standing grants for people at a terminal: complete, and with nothing in them that a terminal would obey."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from holdshort.approvals.inert import plain
from holdshort.cli.cards import left
from holdshort.cli.remembering import scope_lines

__all__ = ["grant_card", "grants_table", "proposal_card"]


def grant_card(grant: Mapping[str, Any]) -> str:
    """Return all there is to say about a grant, as plain lines."""
    lines = [
        f"{plain(grant['tool'])} on {plain(grant['server'])}, for {plain(grant['agent'])}",
        f"  id           {grant['id']}",
        f"  state        {grant['state']}",
        f"  uses         {grant['uses']} of {grant['max_uses']}",
        f"  until        {grant['expires_at']}",
        f"  made by      {', '.join(map(plain, grant['made_by']))} at {grant['made_at']}",
        f"  made with    {grant['from_interruption']}",
        f"  definition   {grant['definition_digest']}",
    ]
    if grant["revoked_at"] is not None:
        lines.append(f"  revoked      by {plain(grant['revoked_by'])} at {grant['revoked_at']}")
    if grant["last_used_at"] is not None:
        lines.append(f"  last used    {grant['last_used_at']}")
    if grant["scope"] is None:
        return "\n".join([*lines, "  covered      erased"])
    return "\n".join([*lines, "  covers calls with", *scope_lines(grant["scope"])])


def proposal_card(proposal: Mapping[str, Any]) -> str:
    """Return a proposal, and the calls that it would have answered for, as plain lines."""
    past = proposal["covers"]
    by = ", ".join(sorted({plain(name) for call in past for name in call["approved_by"]}))
    return "\n".join(
        [
            f"{plain(proposal['tool'])} on {plain(proposal['server'])}, for {plain(proposal['agent'])}",
            f"  approved {len(past)} times by {by}; a grant for calls with",
            *scope_lines(proposal["scope"]),
            "  would have answered for",
            *(f"    {call['at']}  {call['id']}" for call in past),
        ]
    )


def grants_table(grants: Sequence[Mapping[str, Any]], now: datetime) -> Any:
    """Return a table of grants for `rich` to print."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "state", "tool", "server", "agent", "uses", "left", "made by"):
        found.add_column(title, overflow="fold", no_wrap=title in ("id", "state", "uses", "left"))
    for grant in grants:
        cells = [
            grant["id"],
            grant["state"],
            plain(grant["tool"]),
            plain(grant["server"]),
            plain(grant["agent"]),
            f"{grant['uses']} of {grant['max_uses']}",
            left(grant["expires_at"], now) if grant["state"] == "active" else "",
            plain(", ".join(grant["made_by"])),
        ]
        # As `Text`, so that brackets in a name are never taken for markup.
        found.add_row(*(Text(cell) for cell in cells))
    return found
