"""What a run begins with, made of what the program says; and its first steps, which nobody sees."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import uuid_utils

from holdshort.runner.checks import check_agents, check_config, check_max_turns
from holdshort.runner.config import RunConfig
from holdshort.runner.data import Entry, Item, RunData, Source
from holdshort.runner.error_handlers import RunErrorHandlers, checked_handlers
from holdshort.runner.errors import UserError
from holdshort.runner.graph import agents_of
from holdshort.runner.hooks import Hooks
from holdshort.runner.items import input_items
from holdshort.runner.job import Job, OnState
from holdshort.runner.plain import checked
from holdshort.runner.requests import check_keeping
from holdshort.runner.session import Session, checked_session, settled_items
from holdshort.runner.state import RunState
from holdshort.runner.tools import RunContext
from holdshort.runner.tracing import RunTrace

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from holdshort.runner.agent import Agent
    from holdshort.runner.hooks import RunHooks

__all__ = ["DEFAULT_MAX_TURNS", "make_job", "open_job"]

DEFAULT_MAX_TURNS: Final = 10


class _Unsaid:
    """The default of `max_turns`: 10 for a new run, what it was for one that is gone on with."""


_UNSAID: Final = _Unsaid()


async def open_job(job: Job) -> None:
    """Claim the run where it is gone on with, send what was decided, and read the session where it begins."""
    job.running(True)
    data = job.data
    data.lineage.append(f"{data.revision}:{uuid_utils.uuid7()}")
    job.trace.begin()
    if job.resumed is not None:
        # Whoever went on from this state before us has saved a later one, and the program says so here.
        await job.save()
        await job.resumed.submit()
    if job.session is not None and not data.started and all(entry.source is Source.INPUT for entry in data.history):
        await _read_session(job, job.session)


async def _read_session(job: Job, session: Session) -> None:
    """Put what a session holds before the input, or whatever the program makes of both."""
    data, callback = job.data, job.config.session_input_callback
    kept = await settled_items(session, job.config.session_settings)
    given = [entry.item for entry in data.history]
    both = [*kept, *given]
    if callback is not None:
        said = callback(list(kept), list(given))
        both = checked(list(await said if inspect.isawaitable(said) else said))
    history: list[Entry] = []
    for item in both:
        # What is in the session already is not written there again.
        is_old = item in kept
        if is_old:
            kept.remove(item)
        history.append(Entry(item, Source.SESSION if is_old else Source.INPUT, data.agent))
    data.history = history


def make_job(
    agent: Agent[Any],
    given: str | Sequence[Item] | RunState,
    *,
    context: Any = None,
    max_turns: int | _Unsaid | None = _UNSAID,
    hooks: RunHooks[Any] | None = None,
    run_config: RunConfig | None = None,
    error_handlers: RunErrorHandlers | None = None,
    previous_response_id: str | None = None,
    auto_previous_response_id: bool = False,
    conversation_id: str | None = None,
    session: Session | None = None,
    run_id: str | None = None,
    on_state: OnState | None = None,
    client: AsyncOpenAI | None = None,
    streaming: bool = False,
) -> Job:
    """Return what a run, or the rest of one, begins with; nothing was asked, sent or read for it.

    Raises:
        UserError: the agent and the options do not fit together, or not with the state.
    """
    config = RunConfig() if run_config is None else run_config
    check_config(config)
    check_agents(agent)
    if not isinstance(max_turns, _Unsaid):
        check_max_turns(max_turns)
    agents = agents_of(agent)
    Hooks(hooks, *agents.values())
    session = checked_session(session)
    resumed = given if isinstance(given, RunState) else None
    if isinstance(given, RunState):
        data = _gone_on(agent, given, run_id, previous_response_id, conversation_id, auto_previous_response_id)
        if session is not None and data.session_id is None:
            raise UserError("a run is kept in a session from its beginning or not at all; go on without `session=`")
        if not isinstance(max_turns, _Unsaid):
            data.max_turns = max_turns
    else:
        chained = auto_previous_response_id or previous_response_id is not None
        check_keeping(
            agent.model_settings.resolve(config.model_settings).store,
            previous_response_id=previous_response_id,
            conversation_id=conversation_id,
            chained=chained,
        )
        if session is not None and (chained or conversation_id is not None):
            raise UserError(
                "a session and a conversation that the service keeps are two histories of one run; give one of them"
            )
        data = RunData(
            run_id=run_id or f"run-{uuid_utils.uuid7()}",
            agent=agent.name,
            first_agent=agent.name,
            max_turns=DEFAULT_MAX_TURNS if isinstance(max_turns, _Unsaid) else max_turns,
            history=[Entry(item, Source.INPUT, agent.name) for item in checked(input_items(given))],
            previous_response_id=previous_response_id,
            chained=chained,
            whole=previous_response_id is None,
            conversation_id=conversation_id,
            session_id=None if session is None else session.session_id,
        )
    if data.session_id is not None and (session is None or session.session_id != data.session_id):
        raise UserError(f"the run is kept in session `{data.session_id}`; pass that `session=` to go on with it")
    return Job(
        agent=agent,
        data=data,
        client=client,
        context=RunContext(context, data.run_id, data.usage),
        config=config,
        hooks=hooks,
        session=session,
        on_state=on_state,
        streaming=streaming,
        trace=RunTrace(config, data, agent),
        error_handlers=checked_handlers(error_handlers),
        resumed=resumed,
        proxy=None if resumed is None else resumed.proxy,
    )


def _gone_on(
    agent: Agent[Any],
    state: RunState,
    run_id: str | None,
    previous_response_id: str | None,
    conversation_id: str | None,
    auto_previous_response_id: bool,
) -> RunData:
    """Return the data of a run to go on with.

    Raises:
        UserError: the state is of another agent, or the arguments say otherwise than the state.
    """
    data = state.data
    if agent.name != data.first_agent:
        raise UserError(f"the run began with agent `{data.first_agent}`; go on with that one, not with `{agent.name}`")
    if run_id not in (None, data.run_id):
        raise UserError(f"the state is of run `{data.run_id}`, not of `{run_id}`; leave `run_id` out when going on")
    if conversation_id not in (None, data.conversation_id):
        raise UserError("the state belongs to another conversation; leave `conversation_id` out when going on")
    if previous_response_id is not None or (auto_previous_response_id and not data.chained):
        raise UserError("what a run builds on is in its state; leave `previous_response_id` out when going on")
    return data
