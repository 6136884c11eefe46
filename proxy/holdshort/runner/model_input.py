"""A filter over what the model is sent, and why some of it cannot be left out.

The filter changes one request, never the history: what it leaves out of this one is there again for the next.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from holdshort.runner.errors import UserError
from holdshort.runner.pairing import answered_in, asked_in, thoughts
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import Item

__all__ = ["CallModelData", "CallModelInputFilter", "ModelInputData", "check_filtered", "checked_filtered"]

TContext = TypeVar("TContext")


@dataclass(slots=True)
class ModelInputData:
    """What one request says: where the service keeps the conversation, `input` is only what it does not know yet."""

    input: list[Item]
    instructions: str | None


@dataclass(slots=True)
class CallModelData(Generic[TContext]):
    """What a filter is given: a copy that it may change, the agent whose turn it is, and your own context."""

    model_data: ModelInputData
    agent: Agent[TContext]
    context: TContext | None


CallModelInputFilter = Callable[[CallModelData[Any]], ModelInputData | Awaitable[ModelInputData]]


async def checked_filtered(
    model_filter: CallModelInputFilter,
    agent: Agent[Any],
    context: RunContext[Any],
    instructions: str | None,
    items: Sequence[Item],
) -> ModelInputData:
    """Return what the filter makes of `instructions` and `items`.

    Raises:
        UserError: it returned something else than a `ModelInputData`, or parted what belongs together.
    """
    data = ModelInputData(input=copy.deepcopy(list(items)), instructions=instructions)
    outcome = cast("object", model_filter(CallModelData(model_data=data, agent=agent, context=context.context)))
    if inspect.isawaitable(outcome):
        outcome = await outcome
    if not isinstance(outcome, ModelInputData):
        raise UserError(f"call_model_input_filter returned a `{type(outcome).__name__}`; return a `ModelInputData`")
    _check_types(outcome)
    check_filtered(items, outcome.input)
    return outcome


def check_filtered(before: Sequence[Item], after: Sequence[Item], who: str = "call_model_input_filter") -> None:
    """Check that what a filter left belongs together as it did before. `who` is the filter, for the message.

    Calls and their outputs are told by call id, reasoning by its id or its encrypted content.

    Raises:
        UserError: something was parted, doubled or invented; the message names the call or the reasoning.
    """
    for problem in (*_calls_parted(before, after), *_thoughts_parted(before, after)):
        raise UserError(f"{who} {problem}")


def _calls_parted(before: Sequence[Item], after: Sequence[Item]) -> Iterator[str]:
    asked_before, answered_before = _ids(before, asked_in), _ids(before, answered_in)
    asked, answered = _ids(after, asked_in), _ids(after, answered_in)
    for call_id in asked_before | answered_before:
        is_whole = bool(asked_before[call_id] and answered_before[call_id])
        if is_whole and not asked[call_id] and not answered[call_id]:
            continue  # the two may go together
        if asked_before[call_id] and not asked[call_id]:
            yield f"left out the call `{call_id}` and kept its output; the two go together"
        if answered_before[call_id] and not answered[call_id]:
            waiting = "kept the call; the two go together" if is_whole else "the model waits for it; keep it"
            yield f"left out the output of the call `{call_id}` and {waiting}"
    for call_id in asked | answered:
        if max(asked[call_id], answered[call_id]) > max(asked_before[call_id], answered_before[call_id], 1):
            yield f"sends the call `{call_id}` or its output twice; send each once"
        if not asked_before[call_id] and not answered_before[call_id] and not (asked[call_id] and answered[call_id]):
            yield f"put in half of a call `{call_id}`, which is none of this run"
    met: set[str | None] = set()
    for item in after:
        met.add(asked_in(item))
        answered_id = answered_in(item)
        if answered_id is not None and asked[answered_id] and answered_id not in met:
            yield f"moved the output of the call `{answered_id}` before the call; keep their order"


def _thoughts_parted(before: Sequence[Item], after: Sequence[Item]) -> Iterator[str]:
    places = {name: place for place, _ in thoughts(after) for name in _names(after[place])}
    alone = {place for place, came in thoughts(after) if not came}
    calls = _ids(after, asked_in)
    for place, came in thoughts(before):
        names = _names(before[place])
        here = next((places[name] for name in names if name in places), None)
        left = next((call_id for each in came if calls[call_id := asked_in(before[each]) or ""]), None)
        if here is None and left is not None:
            yield f"left out the reasoning before the call `{left}` and kept the call; the two go together"
        if here is not None and came and here in alone:
            yield f"kept the reasoning `{names[0][:40]}` and left out what came of it; the two go together"


def _ids(items: Sequence[Item], read: Callable[[Item], str | None]) -> Counter[str]:
    return Counter(call_id for item in items if (call_id := read(item)) is not None)


def _names(item: Item) -> list[str]:
    """What reasoning can be told by, even after a filter has taken its id away."""
    return [str(item[key]) for key in ("id", "encrypted_content") if item.get(key)]


def _check_types(data: ModelInputData) -> None:
    given = cast("object", data.input)
    if not isinstance(given, list) or not all(isinstance(cast("object", item), dict) for item in given):
        raise UserError("call_model_input_filter returned an `input` that is no list of items")
    told = cast("object", data.instructions)
    if told is not None and not isinstance(told, str):
        raise UserError(f"call_model_input_filter returned instructions that are a `{type(told).__name__}`, not a text")
