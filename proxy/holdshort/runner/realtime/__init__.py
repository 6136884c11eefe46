"""Realtime agents behind approval: your program keeps the connection to the model, a session keeps the model's calls.

    async with RealtimeSession(agent) as session:
        # the model's session gets `await session.tools()`; one task passes its calls on:
        session.tool_called(item.call_id, item.name, item.arguments)
        # and another reads what comes of them:
        async for event in session:
            if event.type == "tool_approval_required":
                show(event.interruption)        # decided here, on the page, in a chat, with curl
            elif event.type == "tool_end":
                await connection.conversation.item.create(item=event.item)
                await connection.response.create()

Calls are settled as `Runner` settles them: the proxy decides, remembers, and lets each run once.
"""

from holdshort.runner.realtime.events import (
    RealtimeError,
    RealtimeGuardrailTripped,
    RealtimeHandoffEvent,
    RealtimeSessionEnded,
    RealtimeSessionEvent,
    RealtimeToolApprovalRequired,
    RealtimeToolEnd,
    RealtimeToolStart,
)
from holdshort.runner.realtime.session import RealtimeSession

__all__ = [
    "RealtimeError",
    "RealtimeGuardrailTripped",
    "RealtimeHandoffEvent",
    "RealtimeSession",
    "RealtimeSessionEnded",
    "RealtimeSessionEvent",
    "RealtimeToolApprovalRequired",
    "RealtimeToolEnd",
    "RealtimeToolStart",
]
