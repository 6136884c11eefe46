"""The spans inside a run: a request to the model, a call, an agent inside a call."""

from __future__ import annotations

import json
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from holdshort.runner.data import CallStatus

if TYPE_CHECKING:
    from holdshort.runner.data import CallData
    from holdshort.runner.responses import Answer
    from holdshort.runner.tracing import RunTrace

__all__ = ["INSIDE", "AgentSpan", "ModelSpan", "ToolSpan", "as_text"]

INSIDE: ContextVar[Context | None] = ContextVar("holdshort_inside", default=None)
"""Of the tool, or the agent inside a tool, that this task works for: the parent of what is started there."""


class ModelSpan:
    """One request to the model."""

    def __init__(self, trace: RunTrace, span: Span) -> None:
        self._trace = trace
        self._span = span

    def answered(self, answer: Answer) -> None:
        """Tell what it took."""
        usage = answer.usage
        about: dict[str, AttributeValue] = {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "gen_ai.response.finish_reasons": [answer.status],
        }
        if answer.response_id is not None:
            about["gen_ai.response.id"] = answer.response_id
        if self._trace.tells_all:
            about["holdshort.response.output"] = as_text(list(answer.items))
        self._span.set_attributes(about)

    def failed(self, problem: BaseException) -> None:
        """Tell that there is no answer."""
        self._trace.fail(self._span, problem)

    def end(self) -> None:
        """The request is over, one way or another."""
        self._span.end()


class _Entered:
    """A span that is the current one of its task until it is left."""

    def __init__(self, trace: RunTrace, span: Span) -> None:
        self._trace = trace
        self._span = span
        self.context = set_span_in_context(span, trace.here())
        """For what is started under it."""
        self._inside: Token[Context | None] = INSIDE.set(self.context)
        # Where the run is not traced, the program's own span stays the current one.
        self._attached = otel.attach(set_span_in_context(span)) if trace.is_on else None

    def failed(self, problem: BaseException) -> None:
        """Tell that it came to nothing."""
        self._trace.fail(self._span, problem)

    def _leave(self) -> None:
        if self._attached is not None:
            otel.detach(self._attached)
        INSIDE.reset(self._inside)
        self._span.end()


class AgentSpan(_Entered):
    """An agent inside a tool: `with trace.agent_started(name): ...`."""

    def __enter__(self) -> None:
        """It is at work since it was started."""

    def __exit__(self, kind: object, problem: BaseException | None, place: object) -> None:
        """It is done, waits, or failed."""
        if isinstance(problem, Exception):
            self.failed(problem)
        self._leave()


class ToolSpan(_Entered):
    """One call."""

    def settled(self, call: CallData) -> None:
        """Tell how far it came, and what was decided about it; then the span is over."""
        about: dict[str, AttributeValue] = {
            "holdshort.call.status": call.status.value,
            "holdshort.paused": call.status is CallStatus.PARKED,
        }
        record = call.interruption
        if record is not None:
            about["holdshort.interruption.id"] = str(record.get("id", ""))
            about["holdshort.interruption.state"] = str(record.get("state", ""))
            decided = [str(each.get("decision")) for each in record.get("decisions") or ()]
            if decided:
                about["holdshort.decision"] = decided[-1]
        if self._trace.tells_all and call.output is not None:
            about["gen_ai.tool.call.result"] = as_text(call.output.get("output", call.output))
        self._span.set_attributes(about)
        self._trace.calls.pop(call.key, None)
        self._leave()


def as_text(value: Any) -> str:
    """Return items as JSON text, for an attribute."""
    return json.dumps(value, ensure_ascii=False, default=str)
