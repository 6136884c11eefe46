"""OpenAI's Responses API without OpenAI: a real HTTP server, a scripted model, the service's own strictness.

In a test, in this process:

    async with serving_responses(Script([Turn(Call("pay", {"amount": 5})), Turn(Text("paid"))])) as model:
        client = AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0)

As a process of its own, for callers that are killed and started again:

    python -m kit.responses_server --script FILE.json [--port 7500]      # says `listening on http://127.0.0.1:7500/v1`

The file has `turns`, `pick` and `faults` (`responses_script.py`, `responses_faults.py`). Over HTTP, a test reads
`GET /kit/requests` (every request to the API, its body to the letter, and how it was answered) and may
`POST /kit/faults`, `/kit/release` (what is held) and `/kit/forget` (stored responses).
"""

from __future__ import annotations

import argparse
import json
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit.process import until_async
from kit.responses_conversations import conversation_routes, page
from kit.responses_faults import (
    Cut,
    ErrorEvent,
    Fail,
    Fault,
    Garbage,
    Gone,
    Hold,
    Lost,
    Page,
    Refuse,
    Stranger,
    read_fault,
)
from kit.responses_refusals import Refused
from kit.responses_script import Script, read_turns
from kit.responses_service import Service
from kit.responses_wire import DroppingProtocol, Lonely, Streamed, Whole

__all__ = ["Received", "ResponsesServer", "serving_responses"]


@dataclass(slots=True)
class Received:
    """One request to the API."""

    number: int
    method: str
    path: str
    text: str
    """The body, to the letter."""
    headers: dict[str, str] = field(repr=False)
    """All but the key: it may be a real one."""
    status: int | None = None
    """Of the answer; None while it is looked at, 0 for an answer that was never sent."""
    fault: str | None = None
    response_id: str | None = None

    @property
    def body(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


class ResponsesServer:
    """The server: its script, its faults, and the record of what was asked."""

    def __init__(self, script: Script, faults: Iterable[Fault | None] = ()) -> None:
        self.service = Service(script)
        self.faults = deque(faults)
        self.received: list[Received] = []
        self.url = ""
        """What a client takes as its base URL, once this listens."""
        self.connections: Collection[object] = ()
        """Those that are open now."""
        self._gate = anyio.Semaphore(0)
        self.app = Starlette(
            routes=[
                Route("/v1/responses", self._counted(self._create), methods=["POST"]),
                Route("/v1/responses/{id}", self._counted(self._retrieve), methods=["GET"]),
                Route("/v1/responses/{id}", self._counted(self._delete), methods=["DELETE"]),
                Route("/v1/responses/{id}/input_items", self._counted(self._input_items), methods=["GET"]),
                *conversation_routes(self.service, self._counted),
                Route("/kit/requests", self._requests, methods=["GET"]),
                Route("/kit/faults", self._add_faults, methods=["POST"]),
                Route("/kit/release", self._release, methods=["POST"]),
                Route("/kit/forget", self._forget, methods=["POST"]),
            ]
        )

    @property
    def asked(self) -> list[Received]:
        """Every request to the model, in order."""
        return [one for one in self.received if (one.method, one.path) == ("POST", "/v1/responses")]

    def release(self) -> None:
        """Let one answer that is held go on, or the next one that will be."""
        self._gate.release()

    def release_all(self) -> None:
        """Let everything that is held now go on."""
        for _ in range(self._gate.statistics().tasks_waiting):
            self._gate.release()

    async def until_asked(self, times: int, within: float = 15.0) -> None:
        """Wait until the model was asked `times` times."""

        async def enough() -> bool:
            return len(self.asked) >= times

        await until_async(enough, f"{times} requests to the model", within)

    async def until_left(self, within: float = 15.0) -> None:
        """Wait until nobody is connected."""

        async def nobody() -> bool:
            return not self.connections

        await until_async(nobody, "no connection to the model", within)

    def _counted(
        self, answer: Callable[[Request, Received], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint of the API: recorded, with a key, and with the service's errors."""

        async def endpoint(request: Request) -> Response:
            text = (await request.body()).decode(errors="surrogateescape")
            number = len(self.received) + 1
            headers = {name: value for name, value in request.headers.items() if name != "authorization"}
            one = Received(number, request.method, request.url.path, text, headers)
            self.received.append(one)
            identity = {"x-request-id": f"req_{number:032x}"}
            try:
                if not request.headers.get("authorization", "").removeprefix("Bearer").strip():
                    message = (
                        "You didn't provide an API key. You need to provide your API key in an Authorization header."
                    )
                    raise Refused(message, status=401)
                answered = await answer(request, one)
            except Refused as refused:
                answered = JSONResponse(refused.body(), refused.status, headers=refused.headers)
            one.status = 0 if isinstance(answered, Lonely) else answered.status_code
            answered.headers.update(identity)
            return answered

        return endpoint

    async def _create(self, request: Request, one: Received) -> Response:
        number = len(self.asked)
        fault = self.faults.popleft() if self.faults else None
        one.fault = None if fault is None else type(fault).__name__
        if isinstance(fault, Refuse):
            raise fault.refused()
        if isinstance(fault, Page):
            return Response(fault.text, media_type=fault.media_type)
        if isinstance(fault, Gone):
            self.service.memory.forget()
        asked = self.service.read(_parsed(one.text))
        asked.hold_conversation(True)
        answered: Response | None = None
        try:
            if fault == Hold(0):
                await self._gate.acquire()
            response = self.service.create(asked, number, fault if isinstance(fault, Fail) else None)
            one.response_id = response["id"]
            if isinstance(fault, Lost):
                return Lonely()
            if asked.body.get("stream"):
                on_the_way = (
                    fault
                    if isinstance(fault, Cut | ErrorEvent | Garbage | Hold | Stranger) and fault != Hold(0)
                    else None
                )
                answered = Streamed(
                    response,
                    on_the_way,
                    released=self._gate.acquire,
                    ended=lambda: asked.hold_conversation(False),
                )
                return answered
            if isinstance(fault, ErrorEvent):
                raise Refused(fault.message, status=500, code=fault.code, type="server_error")
            return Whole(response, cut=isinstance(fault, Cut))
        finally:
            if answered is None:
                asked.hold_conversation(False)

    async def _retrieve(self, request: Request, one: Received) -> Response:
        return JSONResponse(self.service.memory.response(request.path_params["id"]).body)

    async def _delete(self, request: Request, one: Received) -> Response:
        kept = self.service.memory.response(request.path_params["id"])
        self.service.memory.forget(str(kept.body["id"]))
        return JSONResponse({"id": kept.body["id"], "object": "response", "deleted": True})

    async def _input_items(self, request: Request, one: Received) -> Response:
        kept = self.service.memory.response(request.path_params["id"])
        return JSONResponse(page(list(kept.input), request.query_params))

    async def _requests(self, request: Request) -> Response:
        return JSONResponse([asdict(one) for one in self.received])

    async def _add_faults(self, request: Request) -> Response:
        self.faults.extend(map(read_fault, await request.json()))
        return JSONResponse({"waiting": len(self.faults)})

    async def _release(self, request: Request) -> Response:
        self.release()
        return JSONResponse({})

    async def _forget(self, request: Request) -> Response:
        self.service.memory.forget((await request.json()).get("id"))
        return JSONResponse({})


@asynccontextmanager
async def serving_responses(
    script: Script, faults: Iterable[Fault | None] = (), *, port: int = 0
) -> AsyncGenerator[ResponsesServer]:
    """The server, listening on a port of this machine until the block ends; what is held then is let go."""
    model = ResponsesServer(script, faults)
    with socket.create_server(("127.0.0.1", port)) as listener:
        model.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server = _uvicorn(model)
        model.connections = server.server_state.connections
        async with anyio.create_task_group() as tasks:
            ended = anyio.Event()

            async def serve() -> None:
                await server.serve([listener])
                ended.set()

            tasks.start_soon(serve)

            async def started() -> bool:
                return server.started

            await until_async(started, "the model to listen")
            try:
                yield model
            finally:
                model.release_all()
                server.should_exit = True
                # A test that failed would else cancel the server in its middle, and the tests after it with it.
                with anyio.move_on_after(10, shield=True):
                    await ended.wait()


def main() -> None:
    """Serve a script until a signal ends it."""
    words = argparse.ArgumentParser(description="OpenAI's Responses API without OpenAI.")
    words.add_argument("--script", type=Path, required=True, help="a JSON file with `turns`, `pick` and `faults`")
    words.add_argument("--port", type=int, default=0, help="0 takes a free one")
    chosen = words.parse_args()
    written = json.loads(chosen.script.read_text())
    script = Script(read_turns(written["turns"]), pick=written.get("pick", "order"))
    model = ResponsesServer(script, map(read_fault, written.get("faults", [])))
    listener = socket.create_server(("127.0.0.1", chosen.port))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    _uvicorn(model).run([listener])


def _uvicorn(model: ResponsesServer) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            model.app,
            http=DroppingProtocol,
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        message = "We could not parse the JSON body of your request."
        raise Refused(message)
    return body


if __name__ == "__main__":
    main()
