"""How a call that the agent runs itself is told of: never as if the proxy had sent it, or had seen it run."""

from collections.abc import Mapping
from typing import Final

from holdshort.interruption import MCP, OutcomeKind, State
from holdshort.policy.own import OwnKind

__all__ = ["OWN_OUTCOME_WORDS", "OWN_STATE_WORDS", "own_words"]

OWN_STATE_WORDS: Final[Mapping[State, str]] = {
    State.APPROVED: "Approved. The agent may run it once, when it comes back for it.",
    State.ANSWERED: "Answered in the tool's place. The agent does not run it.",
    State.EXECUTING: "The agent took it to run it, and has not said yet what came of it.",
    State.EXECUTED: "It is reported to have run.",
    State.FAILED: "It is reported not to have run.",
    State.UNKNOWN: "The agent took it and did not say what came of it. It may have run; look before you decide more.",
}
OWN_OUTCOME_WORDS: Final[Mapping[OutcomeKind, str]] = {
    OutcomeKind.OK: "The agent says that it ran.",
    OutcomeKind.TOOL_ERROR: "The agent says that it ran and reported an error.",
    OutcomeKind.NOT_RUN: "The agent says that it did not run it.",
    OutcomeKind.LOST: "Nobody knows whether it ran.",
}
_OWN_KIND_WORDS: Final[Mapping[str, str]] = {
    OwnKind.FUNCTION: "A function of the agent itself",
    OwnKind.SHELL: "A shell command of the agent itself",
    OwnKind.APPLY_PATCH: "A patch that the agent applies itself",
    OwnKind.COMPUTER: "An action of the agent itself on a computer",
    OwnKind.AGENT: "Another agent that the agent calls itself",
    OwnKind.HANDOFF: "A handoff to another agent",
    OwnKind.HOSTED_MCP: "A tool that the model's provider calls",
}


def own_words(kind: str) -> str | None:
    """Say what a call is that the agent runs itself; None for what the proxy runs."""
    if kind == MCP:
        return None
    return f"{_OWN_KIND_WORDS.get(kind, 'A call of the agent itself')}; Holdshort does not run it."
