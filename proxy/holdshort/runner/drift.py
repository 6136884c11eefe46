"""What an agent was when its state was saved, so that whoever goes on is told what is different now.

Only a notice: what needs approval, and whether an approval still fits, is the proxy's to say, which compares the tools
themselves. Digests are kept, never texts, and of a hosted tool nothing that may be a credential.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdshort.interruption import NoFingerprint, canonical
from holdshort.runner.agent import Agent
from holdshort.runner.graph import agents_of, handoff_target
from holdshort.runner.tools import AgentTool, ApplyPatchTool, FunctionTool, Handoff, HostedMCPTool, RawTool, ShellTool
from holdshort.runner.tools import Tool as AnyTool

__all__ = ["AgentPrint", "DriftWarning", "differences", "fingerprint"]

AgentPrint = dict[str, Any]
"""What is kept of one agent: `model`, `instructions`, `tools`, `handoffs`, `output_type`."""

_HOSTED: Final = ("type", "server_label", "server_url", "connector_id", "allowed_tools", "require_approval")


class DriftWarning(UserWarning):
    """Told when agents are not what they were when the state was saved; the message says what differs."""


def fingerprint(agent: Agent[Any]) -> dict[str, AgentPrint]:
    """Return what to keep of `agent` and of all agents that it can reach, by name.

    Raises:
        UserError: two of them have one name.
    """
    return {name: _print(each) for name, each in agents_of(agent).items()}


def differences(before: Mapping[str, AgentPrint], agent: Agent[Any]) -> list[str]:
    """Return what differs between the agents as they were and as they are, a sentence each; no new agents."""
    now = fingerprint(agent)
    lines: list[str] = []
    for name, was in before.items():
        if name not in now:
            lines.append(f"agent `{name}` is not there any more")
        elif was != now[name]:
            lines.extend(f"agent `{name}`: {line}" for line in _changes(was, now[name]))
    return lines


def _changes(was: AgentPrint, now: AgentPrint) -> Iterator[str]:
    if was["model"] != now["model"]:
        yield f"the model was `{was['model']}` and is `{now['model']}`"
    if was["instructions"] != now["instructions"]:
        yield "the instructions are different"
    if was["output_type"] != now["output_type"]:
        yield f"the output type was `{was['output_type']}` and is `{now['output_type']}`"
    for kind, key in (("tool", "tools"), ("handoff", "handoffs")):
        for name in sorted({*was[key], *now[key]}):
            if name not in now[key]:
                yield f"the {kind} `{name}` is not there any more"
            elif name not in was[key]:
                yield f"the {kind} `{name}` is new"
            elif was[key][name] != now[key][name]:
                yield f"the {kind} `{name}` is different"


def _print(agent: Agent[Any]) -> AgentPrint:
    output = agent.output_type
    return {
        "model": agent.model,
        "instructions": _digest(agent.instructions) if isinstance(agent.instructions, str) else None,
        "tools": {tool.name: _digest(_definition(tool)) for tool in agent.tools},
        "handoffs": dict(_handoff(each) for each in agent.handoffs),
        "output_type": None if output is None else getattr(output, "__qualname__", str(output)),
    }


def _handoff(given: Agent[Any] | Handoff) -> tuple[str, str]:
    target = handoff_target(given)
    return (given.tool_name if isinstance(given, Handoff) else target.name), target.name


def _definition(tool: AnyTool) -> Any:
    match tool:
        case FunctionTool():
            return ["function", tool.description, tool.params_json_schema, tool.strict_json_schema]
        case AgentTool():
            return ["agent", tool.description, tool.agent.name]
        case HostedMCPTool():
            return ["hosted", {key: tool.tool_config[key] for key in _HOSTED if key in tool.tool_config}]
        case ShellTool() | ApplyPatchTool():
            return [tool.name]
        case RawTool():
            return ["raw", dict(tool.tool_config)]


def _digest(value: Any) -> str | None:
    """Return the SHA-256 of a JSON value; None, which is like itself only, for what is no JSON."""
    try:
        return hashlib.sha256(canonical(value)).hexdigest()
    except NoFingerprint:
        return None
