"""Spans of a run, for OpenTelemetry: one trace however often the run pauses, and whichever processes go on with it.

The first process's `invoke_agent` span is kept in the state as W3C `traceparent`; the spans of those that go on are its
children. Names and attributes are those of the GenAI semantic conventions, and `holdshort.*`. No arguments, results or
texts are in them unless `trace_include_sensitive_data` says so. Without an OpenTelemetry SDK all of this does nothing.

A run is a generator of events that may be read from any task, so its spans are started and ended by hand, with parents
that are named. Only while a tool runs, in a task of its own, is its span the current one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from holdshort.runner.data import CallKind
from holdshort.runner.spans import INSIDE, AgentSpan, ModelSpan, ToolSpan, as_text

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.config import RunConfig
    from holdshort.runner.data import CallData, RunData
    from holdshort.runner.requests import Request

__all__ = ["AgentSpan", "ModelSpan", "RunTrace", "ToolSpan"]

RunStop = Literal["done", "waiting", "cancelled", "failed"]

_W3C: Final = TraceContextTextMapPropagator()
_TOOL_TYPES: Final[Mapping[CallKind, str]] = {CallKind.MCP: "extension", CallKind.HOSTED_MCP: "extension"}
"""Of `gen_ai.tool.type`; what is not here is run by the program itself, a `function`."""


class RunTrace:
    """The spans of one `Runner.run`."""

    def __init__(self, config: RunConfig, data: RunData, agent: Agent[Any]) -> None:
        """Nothing is started yet; what the caller's current span is, is looked at now."""
        self._config = config
        self._data = data
        self._agent = agent
        self._tracer = get_tracer("holdshort.runner") if self.is_on else NoOpTracer()
        self._caller = otel.get_current()
        self._root: Span | None = None
        self._context = self._caller
        self._used_before = (0, 0)
        self.calls: dict[str, Context] = {}
        """Of the calls whose spans are open, by their keys."""

    def begin(self) -> None:
        """Start the run's span, and keep in the run which trace it belongs to. Once is enough."""
        if self._root is not None:
            return
        parent, links = self._parent()
        self._root = self._tracer.start_span(
            f"invoke_agent {self._agent.name}", context=parent, links=links, attributes=self._about_run()
        )
        self._context = set_span_in_context(self._root, parent)
        self._used_before = (self._data.usage.input_tokens, self._data.usage.output_tokens)
        if self.is_on and "traceparent" not in self._data.trace:
            self._data.trace.update(_injected(self._context))

    def end(self, status: RunStop, problem: BaseException | None = None) -> None:
        """End the run's span: it is done, pauses, or failed. A run that failed with no `problem` was abandoned."""
        span = self._root
        if span is None:
            return
        usage = self._data.usage
        span.set_attributes(
            {
                "holdshort.status": "abandoned" if status == "failed" and problem is None else status,
                "holdshort.paused": status == "waiting",
                "holdshort.interruption.ids": [
                    str(call.interruption["id"]) for call, _ in self._data.open_calls() if call.interruption is not None
                ],
                "gen_ai.usage.input_tokens": usage.input_tokens - self._used_before[0],
                "gen_ai.usage.output_tokens": usage.output_tokens - self._used_before[1],
            }
        )
        if problem is not None:
            self.fail(span, problem)
        span.end()

    def carrier(self, call: CallData | None = None) -> dict[str, str]:
        """Return the W3C trace context for whoever is asked next: `traceparent`, or nothing.

        It is that of `call`, whose span is open, or else that of what this task works for.
        """
        if not self.is_on:
            return {}
        return _injected(self.here() if call is None else self.calls.get(call.key, self.here()))

    def agent_started(self, agent: str) -> AgentSpan:
        """Start the span of an agent inside a tool of this task; a context manager, left in the same task."""
        about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "holdshort.run_id": self.run_id}
        return AgentSpan(self, self._start(f"invoke_agent {agent}", about))

    def model_started(self, agent: str, request: Request) -> ModelSpan:
        """Start the span of one request to the model."""
        settings = request.settings
        about: dict[str, AttributeValue | None] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": request.model,
            "gen_ai.request.stream": request.stream,
            "gen_ai.request.temperature": settings.temperature,
            "gen_ai.request.top_p": settings.top_p,
            "gen_ai.request.max_tokens": settings.max_tokens,
            "gen_ai.agent.name": agent,
            "gen_ai.conversation.id": self._conversation(),
            "holdshort.run_id": self.run_id,
        }
        span = self._start(f"chat {request.model}", about, SpanKind.CLIENT)
        if self.tells_all:
            span.set_attribute("holdshort.request.input", as_text(list(request.input)))
            span.set_attribute("holdshort.request.instructions", request.instructions or "")
        return ModelSpan(self, span)

    def tool_started(self, agent: str, call: CallData) -> ToolSpan:
        """Start the span of one call, and make it the current one of this task. It is ended in the same task."""
        about: dict[str, AttributeValue | None] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.call_id,
            "gen_ai.tool.type": _TOOL_TYPES.get(call.kind, "function"),
            "gen_ai.agent.name": agent,
            "holdshort.run_id": self.run_id,
            "holdshort.call.key": call.key,
            "holdshort.call.kind": call.kind.value,
            "holdshort.call.server": call.server,
        }
        span = self._start(f"execute_tool {call.name}", about)
        if self.tells_all:
            span.set_attribute("gen_ai.tool.call.arguments", call.arguments)
        entered = ToolSpan(self, span)
        self.calls[call.key] = entered.context
        return entered

    # -- for the spans

    @property
    def run_id(self) -> str:
        """Of the outermost run."""
        return self._data.run_id

    @property
    def tells_all(self) -> bool:
        """Whether arguments, results and texts may be in spans."""
        return self._config.trace_include_sensitive_data and self.is_on

    @property
    def is_on(self) -> bool:
        """Whether this run is traced at all."""
        return not self._config.tracing_disabled

    def here(self) -> Context:
        """Return the context that what starts now belongs under."""
        self.begin()
        inside = INSIDE.get()
        return self._context if inside is None else inside

    def fail(self, span: Span, problem: BaseException) -> None:
        """Mark a span as failed. What an error says may be anybody's words, so only its type is told unless all is."""
        kind = type(problem).__qualname__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))
        if self.tells_all:
            span.record_exception(problem)

    def _start(self, name: str, about: Mapping[str, AttributeValue | None], kind: SpanKind = SpanKind.INTERNAL) -> Span:
        attributes = {key: value for key, value in about.items() if value is not None}
        return self._tracer.start_span(name, context=self.here(), kind=kind, attributes=attributes)

    def _parent(self) -> tuple[Context, Sequence[Link]]:
        """Return what the run's span is a child of: the run's own trace once it has one, else the caller's span."""
        caller = get_current_span(self._caller).get_span_context()
        kept = get_current_span(_W3C.extract(self._data.trace, context=Context())).get_span_context()
        if not kept.is_valid:
            return self._caller, ()
        parent = _W3C.extract(self._data.trace, context=self._caller)
        return parent, (Link(caller),) if caller.is_valid and caller.trace_id != kept.trace_id else ()

    def _about_run(self) -> dict[str, AttributeValue]:
        config, data = self._config, self._data
        about: dict[str, AttributeValue | None] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": self._agent.name,
            "gen_ai.conversation.id": self._conversation(),
            "gen_ai.workflow.name": config.workflow_name,
            "holdshort.run_id": data.run_id,
            "holdshort.revision": data.revision,
            "holdshort.group_id": config.group_id,
            **{f"holdshort.metadata.{key}": str(value) for key, value in config.trace_metadata.items()},
        }
        return {key: value for key, value in about.items() if value is not None}

    def _conversation(self) -> str | None:
        return self._data.conversation_id or self._data.session_id


def _injected(context: Context) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context=context)
    return carrier
