"""Asking a guardrail: what it answers is checked, and one that fails has not passed anything."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import anyio
import pydantic_core
import rfc8785

from holdshort.runner.errors import GuardrailFailed, UserError

__all__ = ["Asking", "all_of", "answer_of", "as_json", "expect", "name_of"]

TAnswer = TypeVar("TAnswer")


class Asking(Protocol):
    """What every guardrail has."""

    @property
    def guardrail_function(self) -> Callable[..., Any]:
        """What is called."""
        ...

    @property
    def name(self) -> str | None:
        """What people call it."""
        ...


def name_of(guardrail: Asking) -> str:
    """Return its name, else that of its function."""
    return guardrail.name or str(getattr(guardrail.guardrail_function, "__name__", type(guardrail).__name__))


def expect(guardrails: Sequence[Any], kind: type[Any], decorator: str, where: str) -> None:
    """Check that all of `guardrails` are of `kind`.

    Raises:
        UserError: one is not; a bare function, perhaps, that `decorator` was forgotten on.
    """
    for guardrail in guardrails:
        if not isinstance(guardrail, kind):
            raise UserError(
                f"a guardrail of {where} is a `{type(guardrail).__name__}`, not a `{kind.__name__}`; "
                f"put `@{decorator}` on the function"
            )


async def answer_of(guardrail: Asking, kind: type[TAnswer], *arguments: Any) -> TAnswer:
    """Call the function of `guardrail` and return what it says.

    Raises:
        GuardrailFailed: it raised, or said something that is no `kind`.
    """
    try:
        answer = guardrail.guardrail_function(*arguments)
        if inspect.isawaitable(answer):
            answer = await answer
    except Exception as error:
        raise GuardrailFailed(f"the guardrail `{name_of(guardrail)}` raised {type(error).__name__}") from error
    if not isinstance(answer, kind):
        raise GuardrailFailed(
            f"the guardrail `{name_of(guardrail)}` returned a `{type(answer).__name__}`; return a `{kind.__name__}`"
        )
    return answer


async def all_of(asks: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Ask all at once and wait for all, so that what comes of it does not depend on who is quickest.

    Returns what each said, in the order of `asks`: its result, or the `GuardrailFailed` that it raised.
    """
    said: list[Any] = [None] * len(asks)

    async def one(place: int, ask: Callable[[], Awaitable[Any]]) -> None:
        try:
            said[place] = await ask()
        except GuardrailFailed as failure:
            said[place] = failure

    async with anyio.create_task_group() as group:
        for place, ask in enumerate(asks):
            group.start_soon(one, place, ask)
    return said


def as_json(value: Any) -> Any | None:
    """Return `value` as the JSON that a state can keep and sign, or None where it cannot be that.

    Models of pydantic, dataclasses, dates and the like become what pydantic makes of them.
    """
    try:
        plain = pydantic_core.to_jsonable_python(value)
        rfc8785.dumps(plain)
    except (ValueError, RecursionError):  # what cannot be encoded, is cyclic, not finite, or beyond what JSON can say
        return None
    return plain
