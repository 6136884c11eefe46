"""A run that tells what it does while it does it, and goes on telling after each pause."""

import asyncio

from holdshort.runner import Agent, ApprovalProxy, Runner, RunState, StreamEvent

agent = Agent("Clock", "Answer in one sentence.", proxy=ApprovalProxy("http://127.0.0.1:7411"))


async def main() -> None:
    given: str | RunState = "It is noon in Madrid. What time is it in Tokyo?"
    while True:
        result = Runner.run_streamed(agent, given)
        async for event in result.stream_events():
            show(event)
        if not result.interruptions:
            break
        given = result.to_state()
        await given.wait()


def show(event: StreamEvent) -> None:
    match event.type:
        case "raw_response_event":
            if event.data.type == "response.output_text.delta":
                print(event.data.delta, end="", flush=True)
            elif event.data.type == "response.output_text.done":
                print()
        case "run_item_stream_event":
            print(f"[{event.name}]", flush=True)
        case "tool_approval_required":
            call = event.interruption
            print(f"[waiting] {call.name} {call.arguments} (interruption {call.id}): {call.review_url}", flush=True)
        case "agent_updated_stream_event":
            print(f"[{event.new_agent.name} has the turn]", flush=True)
        case "run_ended":
            print(f"[{event.status}]", flush=True)


asyncio.run(main())
