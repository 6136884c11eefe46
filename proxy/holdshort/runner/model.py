"""Asking the model: one request, its stream as it comes, then the answer as a whole, or an error that says why not.

`answers` is the one way in, streamed or not. What it gives last is an `Answer`, exactly once, and never a partial one.
Asking again (`failures.py` says when) is done here and nowhere else: the client's own retries know neither of a
conversation that would get everything twice nor of events that were handed out.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import anyio
from anyio.lowlevel import RunVar
from openai import APIError, AsyncOpenAI, AsyncStream, OpenAIError, RequestOptions
from openai.types.responses import Response, ResponseStreamEvent

from holdshort.runner.errors import UserError
from holdshort.runner.failures import (
    Failure,
    Patience,
    cut_off,
    failed_by_service,
    from_client,
    garbage,
    of_client,
    seconds_to_wait,
)
from holdshort.runner.requests import Request, body, may_repeat
from holdshort.runner.responses import Answer, answer_of, cut_short, read, text

__all__ = ["Answer", "RawEvent", "answers", "close_default_client", "default_client"]

RawEvent = Any
"""An event of the stream, as the `openai` client made it: look at its `type`, never at its class."""

PREPARING = ("response.created", "response.in_progress", "response.queued", "keepalive")
"""Events before anything is said. They wait for the next one, so that a failure right after them can be mended."""
CLOSING_S = 5.0
ENDING_S = 0.1
"""For the last bytes of a stream whose last event is in: then the connection can be used again."""
OPTIONS: RequestOptions = {"max_retries": 0, "security": {"bearer_auth": True}}
"""No retries of the client's own; and the key for the model, never an administrator's."""

SHORTEST_SECRET = 6
"""In characters; a shorter text may be a word that messages have anyway."""

_default: RunVar[AsyncOpenAI | None] = RunVar("default_client")


def default_client() -> AsyncOpenAI:
    """Return the client of this event loop, made when it is first asked for.

    Raises:
        UserError: there is no key to make one with.
    """
    client = _default.get(None)
    if client is None:
        try:
            client = AsyncOpenAI(max_retries=0)
        except OpenAIError as error:
            raise UserError("no key for the model's service: set `OPENAI_API_KEY`, or pass `client=`") from error
        _default.set(client)
    return client


async def close_default_client() -> None:
    """Close the client of this event loop, if one was made; the next request makes another."""
    client = _default.get(None)
    if client is not None:
        _default.set(None)
        await client.close()


async def answers(
    client: AsyncOpenAI | None, request: Request, *, patience: Patience | None = None
) -> AsyncGenerator[RawEvent | Answer]:
    """Ask the model; give the events of its stream as they come, if it is to stream, and at last the answer.

    Whoever stops listening closes the generator, and the connection with it.

    Raises:
        ModelError: no answer; the message has the service's code and words.
        PreviousResponseGone: the response that this builds on is not kept any more.
        UserError: the request contradicts itself, or there is no key.
    """
    patience = patience or Patience()
    sent = body(request)
    client = client or default_client()
    began = anyio.current_time()
    attempt = 0
    while True:
        attempt += 1
        told = False
        try:
            async with aclosing(_streamed(client, sent) if request.stream else _whole(client, sent)) as events:
                async for event in events:
                    told = True
                    yield event
            return
        except Failure as failure:
            wait = None
            if not told:
                wait = seconds_to_wait(
                    failure,
                    attempt=attempt,
                    elapsed=anyio.current_time() - began,
                    may_repeat=may_repeat(request),
                    patience=patience,
                    chance=random.random(),  # noqa: S311 (it spreads waits)
                )
            if wait is None:
                secrets = list(_secrets(client, request))
                cause = failure.__cause__
                # The cause is printed with the error, and its words are the service's.
                shown = None if any(secret in str(cause) for secret in secrets) else cause
                raise failure.error(attempt, secrets) from shown
        await anyio.sleep(wait)


async def _whole(client: AsyncOpenAI, sent: Mapping[str, Any]) -> AsyncGenerator[Answer]:
    try:
        response: Any = await client.post("/responses", cast_to=Response, body=sent, options=OPTIONS)
    except APIError as error:
        raise from_client(error) from error
    except Exception as error:
        raise of_client(error) from error
    yield answer_of(response)


async def _streamed(client: AsyncOpenAI, sent: Mapping[str, Any]) -> AsyncGenerator[RawEvent | Answer]:
    try:
        stream = await client.post(
            "/responses",
            cast_to=Response,
            body=sent,
            options=OPTIONS,
            stream=True,
            stream_cls=AsyncStream[ResponseStreamEvent],
        )
    except APIError as error:
        raise from_client(error) from error
    except Exception as error:
        raise of_client(error) from error
    waiting: list[RawEvent] = []
    heard = told = False
    try:
        while True:
            event = await _next(stream)
            if event is None:
                raise cut_off() if heard or _says_events(stream) else garbage("the body is no stream of events")
            heard = True
            kind = text(event, "type")
            answer = _answer_in(kind, event)
            waiting.append(event)
            if kind in PREPARING and not told:
                continue
            told = True
            if answer is not None:
                await _to_its_end(stream)
            for one in waiting:
                yield one
            waiting.clear()
            if answer is not None:
                yield answer
                return
    finally:
        # Shielded: a cancelled request must not leave its connection open.
        with anyio.move_on_after(CLOSING_S, shield=True):
            await stream.close()


async def _next(stream: AsyncStream[ResponseStreamEvent]) -> RawEvent | None:
    try:
        return await anext(stream, None)
    except APIError as error:
        raise from_client(error) from error
    except Exception as error:
        raise of_client(error) from error


def _says_events(stream: AsyncStream[ResponseStreamEvent]) -> bool:
    return stream.response.headers.get("content-type", "").startswith("text/event-stream")


def _answer_in(kind: str, event: RawEvent) -> Answer | None:
    match kind:
        case "response.completed":
            return answer_of(read(event, "response"))
        case "response.failed":
            error = read(read(event, "response"), "error")
            raise failed_by_service(text(error, "code"), text(error, "message"))
        case "response.incomplete":
            raise cut_short(read(event, "response"))
        case "error":
            raise failed_by_service(text(event, "code"), text(event, "message"))
        case "":
            raise garbage("an event of the stream has no type")
        case _:
            return None


async def _to_its_end(stream: AsyncStream[ResponseStreamEvent]) -> None:
    try:
        with anyio.move_on_after(ENDING_S):
            async for _ in stream:
                pass
    except Exception:  # noqa: BLE001, S110 (the answer is in: what comes after it is of no interest)
        pass


def _secrets(client: AsyncOpenAI, request: Request) -> Iterator[str]:
    known: list[Any] = [client.api_key]
    for tool in request.tools:
        known.append(tool.get("authorization"))
        if isinstance(headers := tool.get("headers"), Mapping):
            known += headers.values()
    return (one for one in known if isinstance(one, str) and len(one) >= SHORTEST_SECRET)
