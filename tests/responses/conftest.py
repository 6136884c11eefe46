"""A model that follows a script, and the real client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from openai import AsyncOpenAI

from kit.responses_faults import Fault
from kit.responses_script import Script, Turn
from kit.responses_server import ResponsesServer, serving_responses

Open = Callable[..., AbstractAsyncContextManager[tuple[ResponsesServer, AsyncOpenAI]]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def model() -> Open:
    """Opens a server that tells these turns, with a client that tries once."""

    @asynccontextmanager
    async def opened(
        *turns: Turn, faults: tuple[Fault | None, ...] = (), script: Script | None = None
    ) -> AsyncGenerator[tuple[ResponsesServer, AsyncOpenAI]]:
        async with (
            serving_responses(script or Script(turns), faults) as server,
            AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client,
        ):
            yield server, client

    return opened
