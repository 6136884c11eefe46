"""What a run came to: its final output, or the calls that wait; and everything to go on with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from holdshort.runner.data import Item, RunStatus, Source
from holdshort.runner.errors import RunError, UserError
from holdshort.runner.events import RunEnded, StreamEvent
from holdshort.runner.graph import agents_of
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.items import RunItem, as_given, handoff_calls, run_item
from holdshort.runner.output import output_schema
from holdshort.runner.toolbox import handoffs_of

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import UsageData
    from holdshort.runner.job import Job
    from holdshort.runner.state import RunState
    from holdshort.runner.tools import RunContext

__all__ = ["RunResult", "RunResultStreaming", "with_state"]

T = TypeVar("T")


class _Outcome:
    """What both kinds of results show of a run."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def run_id(self) -> str:
        """The run's id: the proxy lists its calls under it."""
        return self._job.data.run_id

    @property
    def final_output(self) -> Any:
        """The last words, as `output_type` of the agent that said them; None while the run is not done."""
        data = self._job.data
        if data.status is not RunStatus.DONE:
            return None
        schema = output_schema(self.last_agent.output_type)
        return data.final_output if schema is None else schema.from_json(data.final_output)

    def final_output_as(self, kind: type[T], raise_if_incorrect_type: bool = False) -> T:
        """Return the final output, typed.

        Raises:
            TypeError: it is of another type, and `raise_if_incorrect_type` is set.
        """
        output = self.final_output
        if raise_if_incorrect_type and not isinstance(output, kind):
            raise TypeError(f"the final output is a `{type(output).__name__}`, not a `{kind.__name__}`")
        return output  # type: ignore[no-any-return]

    @property
    def interruptions(self) -> list[Interruption]:
        """The calls that wait for a person, those of agents as tools included; empty when the run is done."""
        return [interruption_of(call, path) for call, path in self._job.data.open_calls()]

    @property
    def new_items(self) -> list[RunItem]:
        """What came to be in this run: the model's items and the tools' outputs, over all pauses."""
        agents = agents_of(self._job.agent)
        names = {each.tool_name for agent in agents.values() for each in handoffs_of(agent)}
        history = self._job.data.history
        ids = handoff_calls(history, names)
        return [run_item(entry, ids) for entry in history if entry.source in (Source.MODEL, Source.TOOL)]

    @property
    def usage(self) -> UsageData:
        """Requests and tokens, over all pauses and with the runs inside."""
        return self._job.data.usage

    @property
    def context_wrapper(self) -> RunContext[Any]:
        """What tools and hooks were given: your `context`, and the same `usage`."""
        return self._job.context

    @property
    def input(self) -> str | list[Item]:
        """What the user said, as text or items; what a filter made of it, after a handoff with one."""
        return as_given([entry.item for entry in self._job.data.history if entry.source is Source.INPUT])

    @property
    def current_turn(self) -> int:
        """How often the model was asked, over all pauses."""
        return self._job.data.turn

    @property
    def max_turns(self) -> int | None:
        """How often it may be asked."""
        return self._job.data.max_turns

    @property
    def last_response_id(self) -> str | None:
        """The id of the model's last response."""
        return self._job.data.last_response_id

    @property
    def last_agent(self) -> Agent[Any]:
        """Whose turn it was last."""
        return agents_of(self._job.agent)[self._job.data.agent]

    @property
    def input_guardrail_results(self) -> list[dict[str, Any]]:
        """What the input guardrails said."""
        return self._job.data.input_guardrails

    @property
    def output_guardrail_results(self) -> list[dict[str, Any]]:
        """What the output guardrails said."""
        return self._job.data.output_guardrails

    @property
    def current_agent(self) -> Agent[Any]:
        """The same as `last_agent`."""
        return self.last_agent

    def to_state(self) -> RunState:
        """Return where the run stands, to go on from here or in another process."""
        return self._job.state()

    def to_input_list(self) -> list[Item]:
        """Return everything said so far, as input for a next run. What the open turn asked for is not in it."""
        history = self._job.data.history
        calls = {call.call_id for call in self._job.data.calls}
        end = next((i for i, entry in enumerate(history) if _starts(entry.item, calls)), len(history))
        # A reasoning item belongs to the call after it.
        while calls and end and history[end - 1].item.get("type") == "reasoning":
            end -= 1
        return [entry.item for entry in history[:end] if entry.source is not Source.SESSION]


class RunResult(_Outcome):
    """What `Runner.run` returns."""

    def __repr__(self) -> str:
        waiting = len(self.interruptions)
        return f"RunResult(run_id={self.run_id!r}, " + (f"waiting={waiting})" if waiting else "done)")


class RunResultStreaming(_Outcome):
    """What `Runner.run_streamed` returns: the run goes on as its events are read.

    Read `stream_events()` to the end; then everything is as of a `RunResult`. A run whose events are read no further
    stands still, and can be gone on from its last saved state.
    """

    def __init__(self, job: Job, events: Callable[[Job], AsyncGenerator[StreamEvent]]) -> None:
        super().__init__(job)
        self._events = events
        self._read = False
        self.is_complete = False
        """Whether the last event was read."""
        self.cancelled = False

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        """Yield what happens. The last event is always `RunEnded`, and after it an error is raised, if there was one.

        Raises:
            RunnerError: the run cannot go on.
            UserError: the events are being read already.
        """
        if self._read:
            raise UserError("the events of a run can be read once; start the run again from its state")
        self._read = True
        async with aclosing(self._events(self._job)) as events:
            async for event in events:
                if isinstance(event, RunEnded):
                    self.is_complete = True
                    self.cancelled = event.status == "cancelled"
                yield event

    def cancel(self, mode: Literal["immediate", "after_turn"] = "immediate") -> None:
        """Stop the run: at once, or when the turn is over. Either way it can be gone on from `to_state()`.

        A call that is running when the run stops at once ends with an outcome that nobody knows, and is not repeated.
        """
        self._job.cancellation.ask(mode)


def with_state(problem: BaseException, job: Job) -> None:
    """Give an error the state to go on from."""
    if isinstance(problem, RunError) and problem.state is None:
        problem.state = job.state()


def _starts(item: Item, calls: set[str]) -> bool:
    return str(item.get("call_id", item.get("id"))) in calls and not str(item.get("type")).endswith("_output")
