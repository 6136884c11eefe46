"""What an agent can call besides the tools behind the proxy. Each is data and the functions that you give it.

`needs_approval` is `True`, `False` or a function of `(context, arguments, call_id)`, which may be async. It is asked
once for each call; when it raises, or the arguments are no JSON object, the call needs approval. Approval comes from
the proxy alone, under the name `KIND:local__NAME` (for hosted MCP `hosted_mcp:LABEL__NAME`), by the policy that is in
force there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.guardrails import ToolInputGuardrail, ToolOutputGuardrail

__all__ = [
    "AgentTool",
    "ApplyPatchOperation",
    "ApplyPatchTool",
    "FailureErrorFunction",
    "FunctionTool",
    "Handoff",
    "HostedMCPTool",
    "NeedsApproval",
    "RawTool",
    "RunContext",
    "ShellAction",
    "ShellTool",
    "Tool",
    "ToolContext",
]

TContext = TypeVar("TContext")


@dataclass(slots=True)
class RunContext(Generic[TContext]):
    """What tools, guardrails and hooks are given. `context` is your own object: it is never saved and never sent."""

    context: TContext
    run_id: str = ""
    usage: Any = None
    """A `Usage`: what the run has used so far."""


@dataclass(slots=True)
class ToolContext(RunContext[TContext]):
    """The same for one call of a tool."""

    tool_name: str = ""
    call_id: str = ""
    arguments: str = ""
    """The JSON text that is run: an approver may have changed what the model wrote."""
    agent: Any = None
    """The `Agent` whose model made the call."""
    key: str = ""
    """Unique for this call over all runs' processes (`run_id:call id`); good as an idempotency key of your own."""

    @property
    def tool_call_id(self) -> str:
        """The same as `call_id`, under the name it has in the OpenAI Agents SDK."""
        return self.call_id

    @property
    def tool_arguments(self) -> str:
        """The same as `arguments`, likewise."""
        return self.arguments


NeedsApproval = bool | Callable[[RunContext[Any], dict[str, Any], str], bool | Awaitable[bool]]
FailureErrorFunction = Callable[[RunContext[Any], Exception], str | Awaitable[str]]


@dataclass(slots=True, kw_only=True)
class FunctionTool:
    """A function in this process. `function_tool` makes one from a Python function."""

    name: str
    description: str
    params_json_schema: dict[str, Any]
    on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[Any]]
    """Gets the arguments as JSON text; what it returns goes to the model (`output.py` says how)."""
    strict_json_schema: bool = True
    needs_approval: NeedsApproval = False
    is_enabled: bool | Callable[[RunContext[Any], Agent[Any]], bool | Awaitable[bool]] = True
    failure_error_function: FailureErrorFunction | Literal["default"] | None = "default"
    """Turns what the tool raises into words for the model; None lets it end the run as `ToolFailed`."""
    timeout_seconds: float | None = None
    """After this it is given up, and its outcome counts as unknown."""
    tool_input_guardrails: Sequence[ToolInputGuardrail[Any]] = ()
    tool_output_guardrails: Sequence[ToolOutputGuardrail[Any]] = ()


@dataclass(slots=True, kw_only=True)
class AgentTool:
    """An agent that is called like a function: `agent.as_tool(...)` makes one. Its interruptions surface outside."""

    agent: Agent[Any]
    name: str
    description: str
    needs_approval: NeedsApproval = False
    custom_output_extractor: Callable[[Any], str | Awaitable[str]] | None = None
    """Gets the inner run's final output; without one, its text is what the outer model reads."""
    max_turns: int | None = 10
    is_enabled: bool | Callable[[RunContext[Any], Agent[Any]], bool | Awaitable[bool]] = True


@dataclass(slots=True, kw_only=True)
class Handoff:
    """Another agent that takes over. `handoff(agent, ...)` makes one; a bare agent in `handoffs` does too."""

    agent: Agent[Any]
    tool_name: str
    tool_description: str
    needs_approval: NeedsApproval = False
    on_handoff: Callable[..., Any] | None = None
    """Called with `(context)` or, with `input_type`, `(context, input)`; may be async."""
    input_type: type[Any] | None = None
    input_filter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None
    """Gets the history and returns what the next agent sees; not with a conversation that the service keeps."""
    is_enabled: bool | Callable[[RunContext[Any], Agent[Any]], bool | Awaitable[bool]] = True


@dataclass(slots=True, kw_only=True)
class HostedMCPTool:
    """A remote MCP server that the model's provider calls. What it asks to approve becomes an interruption.

    `tool_config` is OpenAI's: `type`, `server_label`, `server_url`, `require_approval`, ... Only what
    `require_approval` makes the provider ask about can be held back; the rest it runs unasked.
    """

    tool_config: dict[str, Any] = field(repr=False)
    """It may carry the server's credentials."""

    @property
    def name(self) -> str:
        """The server's label."""
        return str(self.tool_config.get("server_label", "hosted"))


@dataclass(frozen=True, slots=True)
class ShellAction:
    """What a model asks of a shell: the commands in order, with its limits in milliseconds and characters."""

    commands: tuple[str, ...]
    timeout_ms: int | None = None
    max_output_length: int | None = None


@dataclass(slots=True, kw_only=True)
class ShellTool:
    """OpenAI's shell tool, run by `executor`. It asks first unless you say otherwise."""

    executor: Callable[[ToolContext[Any], ShellAction], Any]
    """May be async. Returns text, or a list of `{"stdout", "stderr", "outcome": {"type": "exit", "exit_code"}}`."""
    needs_approval: NeedsApproval = True
    timeout_seconds: float | None = None
    name: str = field(default="shell", init=False)


@dataclass(frozen=True, slots=True)
class ApplyPatchOperation:
    """One change of one file, as the model writes it."""

    type: Literal["create_file", "update_file", "delete_file"]
    path: str
    diff: str | None = None


@dataclass(slots=True, kw_only=True)
class ApplyPatchTool:
    """OpenAI's patch tool, run by `editor`. It asks first unless you say otherwise."""

    editor: Callable[[ToolContext[Any], ApplyPatchOperation], Any]
    """May be async. Returns text for the model or None; raising means that the change was not made."""
    needs_approval: NeedsApproval = True
    timeout_seconds: float | None = None
    name: str = field(default="apply_patch", init=False)


@dataclass(slots=True, kw_only=True)
class RawTool:
    """A tool that the provider runs by itself, passed on as it is, such as `{"type": "web_search"}`."""

    tool_config: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Its type."""
        return str(self.tool_config.get("type", "tool"))


Tool = FunctionTool | AgentTool | HostedMCPTool | ShellTool | ApplyPatchTool | RawTool
