"""A model that follows a script, the real client, and what is heard of one request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from openai import AsyncOpenAI

from holdshort.runner.failures import Patience
from holdshort.runner.model import answers
from holdshort.runner.requests import Request
from holdshort.runner.responses import Answer
from kit.responses_faults import Fault
from kit.responses_script import Script, Turn
from kit.responses_server import ResponsesServer, serving_responses

__all__ = ["HURRIED", "Heard", "ask", "asking", "hear"]

HURRIED = Patience(first_s=0.001)
"""Asks as often as ever, without the waits."""


@dataclass(slots=True)
class Heard:
    """What one request gave, in order."""

    events: list[Any] = field(default_factory=list[Any])
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def answer(self) -> Answer:
        """The one answer."""
        [answer] = self.answers
        return answer

    @property
    def kinds(self) -> list[str]:
        """The types of the events."""
        return [event.type for event in self.events]


@asynccontextmanager
async def asking(*turns: Turn, faults: tuple[Fault | None, ...] = (), key: str = "any") -> AsyncGenerator[Any]:
    """A server that tells these turns, and a client whose own retries are on, as a user's would be."""
    async with (
        serving_responses(Script(turns), faults) as server,
        AsyncOpenAI(base_url=server.url, api_key=key, max_retries=2) as client,
    ):
        yield server, client


def ask(text: str = "hello", **more: Any) -> Request:
    """A request with one message."""
    plain = Request(agent="Ops", model="gpt-test", input=[{"role": "user", "content": text}])
    return replace(plain, **more)


async def hear(
    client: AsyncOpenAI | None, request: Request, heard: Heard | None = None, patience: Patience = HURRIED
) -> Heard:
    """Listen to the end; what came before an error is in `heard`."""
    heard = heard or Heard()
    async with aclosing(answers(client, request, patience=patience)) as events:
        async for event in events:
            if isinstance(event, Answer):
                heard.answers.append(event)
            else:
                assert not heard.answers, "an event after the answer"
                heard.events.append(event)
    return heard


def texts(server: ResponsesServer) -> list[str]:
    """The bodies of all requests to the model, to the letter."""
    return [one.text for one in server.asked]
