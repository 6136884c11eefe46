"""An agent is data: instructions, a model, tools, and the proxy that its MCP tools are called through."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from holdshort.runner.errors import UserError
from holdshort.runner.tools import AgentTool, Handoff, NeedsApproval, RunContext, Tool

if TYPE_CHECKING:
    from openai.types.shared import Reasoning

    from holdshort.runner.guardrails import InputGuardrail, OutputGuardrail
    from holdshort.runner.hooks import AgentHooks
    from holdshort.runner.proxy import ApprovalProxy

__all__ = ["Agent", "ModelSettings", "handoff"]

TContext = TypeVar("TContext")

Instructions = str | Callable[[RunContext[Any], "Agent[Any]"], str | Awaitable[str]] | None


@dataclass(slots=True, kw_only=True)
class ModelSettings:
    """Parameters of the model's requests; None leaves the service's own default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    tool_choice: str | dict[str, Any] | None = None
    """`auto`, `required`, `none`, a tool's name, or the service's own object."""
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    reasoning: Reasoning | dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    include: Sequence[str] = ()
    prompt_cache_key: str | None = None
    extra_body: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the request, as they are."""

    def resolve(self, over: ModelSettings | None) -> ModelSettings:
        """Return these, with whatever `over` says in their place."""
        if over is None:
            return self
        said = {name: getattr(over, name) for name in self.__slots__ if getattr(over, name) not in (None, (), {})}
        if self.extra_body and over.extra_body:
            said["extra_body"] = {**self.extra_body, **over.extra_body}
        return replace(self, **said)


@dataclass(slots=True, eq=False)
class Agent(Generic[TContext]):
    """A model with instructions and tools.

    Names are how a saved state finds its agents again: give every agent that one run can reach a name of its own.
    """

    name: str
    instructions: Instructions = None
    model: str = "gpt-5.6"
    tools: Sequence[Tool] = ()
    proxy: ApprovalProxy | None = None
    """Where its MCP tools are, and where everything that needs approval is decided."""
    handoffs: Sequence[Agent[Any] | Handoff] = ()
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    output_type: Any = None
    """What the final output must be: anything pydantic can describe, or an `OutputSchema` of it. None is text."""
    input_guardrails: Sequence[InputGuardrail[Any]] = ()
    output_guardrails: Sequence[OutputGuardrail[Any]] = ()
    hooks: AgentHooks[Any] | None = None
    reset_tool_choice: bool = True
    """Whether `tool_choice` is for the first request only, so that `required` does not go on for ever."""
    handoff_description: str | None = None
    mcp_servers: InitVar[None] = None
    """Not here: the proxy has the servers, and `proxy=` their tools."""

    def __post_init__(self, mcp_servers: object) -> None:
        if mcp_servers:
            raise UserError(
                f"agent `{self.name}`: `mcp_servers` are not called from here; name them in the proxy's configuration, "
                "and give `proxy=ApprovalProxy(url)`"
            )

    def clone(self, **changes: Any) -> Agent[TContext]:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def as_tool(
        self,
        tool_name: str | None = None,
        tool_description: str | None = None,
        *,
        needs_approval: NeedsApproval = False,
        custom_output_extractor: Callable[[Any], str | Awaitable[str]] | None = None,
        max_turns: int | None = 10,
        is_enabled: bool | Callable[[RunContext[Any], Agent[Any]], bool | Awaitable[bool]] = True,
    ) -> AgentTool:
        """Return this agent as a tool of another one, called with `{"input": TEXT}`."""
        return AgentTool(
            agent=self,
            name=tool_name or tool_words(self.name),
            description=tool_description or "",
            needs_approval=needs_approval,
            custom_output_extractor=custom_output_extractor,
            max_turns=max_turns,
            is_enabled=is_enabled,
        )


def handoff(
    agent: Agent[Any],
    *,
    tool_name_override: str | None = None,
    tool_description_override: str | None = None,
    on_handoff: Callable[..., Any] | None = None,
    input_type: type[Any] | None = None,
    input_filter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    needs_approval: NeedsApproval = False,
    is_enabled: bool | Callable[[RunContext[Any], Agent[Any]], bool | Awaitable[bool]] = True,
) -> Handoff:
    """Return a handoff to `agent`."""
    about = f" {agent.handoff_description}" if agent.handoff_description else ""
    return Handoff(
        agent=agent,
        tool_name=tool_name_override or f"transfer_to_{tool_words(agent.name)}",
        tool_description=tool_description_override or f"Hand the conversation over to the agent {agent.name}.{about}",
        on_handoff=on_handoff,
        input_type=input_type,
        input_filter=input_filter,
        needs_approval=needs_approval,
        is_enabled=is_enabled,
    )


def tool_words(name: str) -> str:
    """Return a name as the model's service takes names of tools: letters, digits and `_`, in lower case."""
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "agent"
