"""Calls that an agent runs itself, as policy names them: `KIND:LABEL__tool`, for example `shell:local__run`.

No configured server's label can have a colon, so a rule, an approval or a grant for one of these is never one for a
tool behind the proxy, nor the other way round.
"""

from enum import StrEnum
from typing import Final

from holdshort.policy.globs import matcher
from holdshort.policy.model import Because

__all__ = ["AGENT_LAYER", "DEFAULT_LABEL", "NEEDS_APPROVAL", "OwnKind", "is_own_label", "may_be_own", "own_label"]

DEFAULT_LABEL: Final = "local"
"""Where an agent says no more about whose tool it is."""


AGENT_LAYER: Final = "agent"
"""Stands in place of a layer where the reason is what an agent's program says of its call. It only ever tightens."""


NEEDS_APPROVAL: Final = Because(AGENT_LAYER, "needs_approval")
"""Policy allows the call, and the agent's program wants a person to decide."""


class OwnKind(StrEnum):
    """What such a call is. Whoever runs it, the proxy does not."""

    FUNCTION = "function"
    """A function tool in the agent's own process."""
    SHELL = "shell"
    APPLY_PATCH = "apply_patch"
    COMPUTER = "computer"
    AGENT = "agent"
    """Another agent, used as a tool."""
    HANDOFF = "handoff"
    HOSTED_MCP = "hosted_mcp"
    """A tool of an MCP server that the model's provider calls."""


def own_label(kind: OwnKind, label: str) -> str:
    """Return what stands in a server's place for calls of this kind."""
    return f"{kind.value}:{label}"


def is_own_label(server: str) -> bool:
    """Say whether calls under this label are run by an agent itself."""
    kind, colon, label = server.partition(":")
    return bool(colon and label) and kind in {known.value for known in OwnKind}


def may_be_own(pattern: str) -> bool:
    """Say whether a glob over labels names calls that agents run themselves: `shell:*`, `*:local`."""
    kind, colon, label = pattern.partition(":")
    return bool(colon and label) and any(matcher(kind)(known.value) for known in OwnKind)
