"""Verdicts in words, for every command that tells why."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdshort.policy import Access, Call, Policy

__all__ = ["layer_lines"]


def layer_lines(policy: "Policy", question: "Call | Access") -> list[str]:
    """Return one line for each layer: what it says of `question`, and where."""
    from holdshort.policy.explain import explain

    lines: list[str] = []
    for opinion in explain(policy, question).layers:
        place = f" ({opinion.place})" if opinion.place else ""
        lines.append(f"{opinion.layer}: {opinion.words}{place}")
    return lines
