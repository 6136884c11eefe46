"""`Runner`: start a run, or go on with one."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from typing_extensions import Unpack

from holdshort.runner.config import RunConfig
from holdshort.runner.data import Item, RunStatus
from holdshort.runner.error_handlers import RunErrorHandlers
from holdshort.runner.errors import UserError
from holdshort.runner.events import RunEnded, StreamEvent
from holdshort.runner.graph import agents_of
from holdshort.runner.ground import Stopped
from holdshort.runner.job import Job, OnState
from holdshort.runner.loop import Loop
from holdshort.runner.model import close_default_client
from holdshort.runner.result import RunResult, RunResultStreaming, with_state
from holdshort.runner.session import Session
from holdshort.runner.starting import make_job, open_job
from holdshort.runner.state import RunState

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from holdshort.runner.agent import Agent
    from holdshort.runner.hooks import RunHooks

__all__ = ["RunOptions", "Runner"]


class RunOptions(TypedDict, total=False):
    """What can be said of a run beside its agent and input."""

    context: Any
    """Your own object for tools, hooks and guardrails. It is never saved: pass it again when going on."""
    max_turns: int | None
    """How often the model may be asked, pauses included: 10 unless said otherwise, None for no limit. When going on,
    what it was before."""
    hooks: RunHooks[Any] | None
    run_config: RunConfig | None
    error_handlers: RunErrorHandlers | None
    """`{"max_turns": function}` turns that error into a final output."""
    previous_response_id: str | None
    """A response of before that the service keeps, and that this run builds on."""
    auto_previous_response_id: bool
    """Send only what is new, each time naming the response before."""
    conversation_id: str | None
    """A conversation that the service keeps."""
    session: Session | None
    """Where earlier runs are read from and this one is kept; not with the three above."""
    run_id: str | None
    """The run's id, else one is made. The proxy knows the run's calls by it: never use one twice."""
    on_state: OnState | None
    """Called with a `RunState` at each durable point, before the run goes on; may be async. Keep the state there, and a
    process that dies anywhere can be followed by one that goes on."""
    client: AsyncOpenAI | None
    """Else one is made from the environment."""


class Runner:
    """Runs agents, and goes on with runs.

    All three take the agent, and the input: what the user says as text or items, or a `RunState` to go on from, with
    the agent that the run began with. `RunOptions` says what else.
    """

    @classmethod
    async def run(
        cls,
        starting_agent: Agent[Any],
        input: str | Sequence[Item] | RunState,  # noqa: A002  # the name that people know
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Run until there is a final output, or calls wait for somebody (`result.interruptions`).

        Raises:
            MaxTurnsExceeded, ModelError, ProxyError, GuardrailTripped, ToolFailed: the run stopped; `.state` goes on.
            DecisionError: a decision that was made on the state was not taken.
            StateError: another process went on from this state, or it cannot be used.
            UserError: the agent or the arguments do not fit together.
        """
        job = make_job(starting_agent, input, **options)
        async with aclosing(_events(job)) as events:
            async for _ in events:
                pass
        return RunResult(job)

    @classmethod
    def run_sync(
        cls,
        starting_agent: Agent[Any],
        input: str | Sequence[Item] | RunState,  # noqa: A002
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Do the same from a program without an event loop. Ctrl-C stops the run.

        One event loop serves all calls of a thread, because clients cannot change theirs.

        Raises:
            UserError: an event loop is running here; use `await Runner.run(...)`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise UserError("`run_sync` was called where an event loop is running; use `await Runner.run(...)` there")
        return _of_thread().run(cls.run(starting_agent, input, **options))

    @classmethod
    def run_streamed(
        cls,
        starting_agent: Agent[Any],
        input: str | Sequence[Item] | RunState,  # noqa: A002
        **options: Unpack[RunOptions],
    ) -> RunResultStreaming:
        """Return at once; the run goes on as `stream_events()` of the result is read. Arguments as for `run`.

        Raises:
            UserError: the agent or the arguments do not fit together.
        """
        return RunResultStreaming(make_job(starting_agent, input, streaming=True, **options), _events)


async def _events(job: Job) -> AsyncGenerator[StreamEvent]:
    """The one way through a run: begin or go on, and end with `RunEnded`, whatever went wrong."""
    problem: Exception | None = None
    status: Literal["done", "waiting", "cancelled", "failed"] = "failed"
    if job.data.status is RunStatus.DONE:
        yield RunEnded("done")
        return
    try:
        await open_job(job)
        async with aclosing(Loop(job, agents_of(job.agent), job.data).events()) as events:
            async for event in events:
                yield event
        status = "waiting" if job.data.status is RunStatus.WAITING else "done"
    except Stopped:
        status = "cancelled"
    except Exception as raised:  # noqa: BLE001
        # It comes after the end marker.
        with_state(raised, job)
        problem = raised
    finally:
        job.running(False)
        job.trace.end(status, problem)
        await job.links.close()
    yield RunEnded(status)
    if problem is not None:
        raise problem


class _LoopOfThread:
    """The event loop that `run_sync` keeps in a thread. It is closed when the thread, or the program, ends."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        weakref.finalize(self, _closed, self.runner)


def _closed(runner: asyncio.Runner) -> None:
    runner.run(close_default_client())
    runner.close()


_THREAD: Final = threading.local()


def _of_thread() -> asyncio.Runner:
    known: _LoopOfThread | None = getattr(_THREAD, "loop", None)
    if known is None:
        known = _THREAD.loop = _LoopOfThread()
    return known.runner
