"""An app that starts runs, and goes on with one when a webhook says that something was decided about it."""

from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from holdshort.runner import Agent, ApprovalProxy, BadEvent, Runner, RunResult, SQLiteRunStore, StateMissing, read_event

agent = Agent("Clock", "Answer in one sentence.", proxy=ApprovalProxy("http://127.0.0.1:7411"))
store = SQLiteRunStore("runs.db")
secret = Path("webhook-secret").read_text().strip()
one_at_a_time = anyio.Lock()


async def ask(request: Request) -> Response:
    question = (await request.body()).decode()
    async with one_at_a_time:
        result = await Runner.run(agent, question, on_state=store.save)
    return PlainTextResponse(told(result))


async def heard(request: Request) -> Response:
    headers, body = request.headers.items(), await request.body()
    try:
        event = read_event(headers, body, secret)
    except BadEvent as problem:
        return PlainTextResponse(f"{problem}\n", 400)
    # Answered before the work is done: whoever sends webhooks does not wait for models.
    return Response(status_code=202, background=BackgroundTask(go_on, event.run_id or "", headers, body))


async def go_on(run_id: str, headers: list[tuple[str, str]], body: bytes) -> None:
    async with one_at_a_time:
        try:
            state = await store.load(agent, run_id)
        except StateMissing:
            return  # another program's run
        if state.get_interruptions() and state.apply_event(headers, body, secret).enough("any"):
            print(told(await Runner.run(agent, state, on_state=store.save)), end="", flush=True)


def told(result: RunResult) -> str:
    waiting = [f"waiting: {call.name} (interruption {call.id})\n" for call in result.interruptions]
    return "".join(waiting) or f"{result.final_output}\n"


app = Starlette(routes=[Route("/ask", ask, methods=["POST"]), Route("/webhook", heard, methods=["POST"])])
uvicorn.run(app, port=7412, log_level="warning")
