"""One `subscriptions/listen` stream: what its servers have to say, and what we have to say of their lists.

MCP 2026-07-28, subscriptions: the acknowledgement comes first and names what is honoured; every message carries the
id of the request. We honour news of lists by ourselves, because policy can change a list whose server never does, also
where a server knows no subscriptions at all.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import anyio

from holdshort.gate import answers
from holdshort.gate.audience import LIST_KINDS, changed_lists, news
from holdshort.gate.catalog import Catalog
from holdshort.gate.conversation import Conversation
from holdshort.gate.exchange import Emit, Reply
from holdshort.gate.upstream import UpstreamError
from holdshort.policy import Policy
from holdshort.wire import MCP_META_PREFIX, Frame, result_reply

__all__ = ["Subscription"]

_ID_KEY: Final = f"{MCP_META_PREFIX}subscriptionId"
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


class Subscription:
    """A client that listens to one endpoint, until it leaves or every server ends its part."""

    def __init__(self, conversation: Conversation, servers: Sequence[str], frame: Frame, emit: Emit) -> None:
        self._conversation = conversation
        self._servers = servers
        self._frame = frame
        self._emit = emit
        wanted = (frame.value.get("params") or {}).get("notifications")
        speaks = conversation.gate.audience.active and conversation.peer.can_stream
        self._honoured = {
            f"{kind}ListChanged": True
            for kind in LIST_KINDS
            if speaks and isinstance(wanted, dict) and wanted.get(f"{kind}ListChanged") is True
        }
        self._acknowledged = False
        self._owed: list[str] = []
        self._catalogs: list[Catalog] = []

    async def run(self) -> Reply:
        """Serve it; return the answer that ends it."""
        conversation, audience = self._conversation, self._conversation.gate.audience
        replies: dict[str, Frame] = {}

        async def ask(server: str) -> None:
            reply = await conversation.ask(server, self._frame, self._relay)
            if reply.frame is not None:
                replies[server] = reply.frame

        for server in self._servers if self._honoured else ():
            try:
                self._catalogs.append((await conversation.line(server)).catalog)
            except UpstreamError:
                continue  # asking it finds out, and is told
        if self._honoured:
            audience.add(self)
        try:
            async with anyio.create_task_group() as tasks:
                for server in self._servers:
                    tasks.start_soon(ask, server)
            ended = next((reply for reply in replies.values() if "result" in reply.value), None)
            if ended is None and self._honoured and all(map(_knows_no_subscriptions, replies.values())):
                return await self._alone()
        finally:
            audience.remove(self)
        silent = answers.upstream_failed(self._frame.value["id"], "no server answered in time")
        return Reply(ended or next(iter(replies.values()), Frame(silent)))

    def changed_lists(self, before: Policy, after: Policy) -> Iterable[str]:
        """Return which of the lists that it asked about are others now."""
        found = changed_lists(self._catalogs, self._conversation.caller, before, after)
        return [kind for kind in found if f"{kind}ListChanged" in self._honoured]

    async def tell_changed(self, kind: str) -> None:
        """Send the news, after the acknowledgement."""
        if not self._acknowledged:
            self._owed.append(kind)
            return
        await self._emit(news(kind, {_ID_KEY: self._frame.value["id"]}))

    async def _alone(self) -> Reply:
        """No server takes part: the stream is ours, until the client leaves."""
        request = self._frame.value["id"]
        params = {"notifications": self._honoured, "_meta": {_ID_KEY: request}}
        await self._acknowledge(Frame({"jsonrpc": "2.0", "method": _ACKNOWLEDGED, "params": params}))
        if await self._conversation.stay(request):
            return Reply(None)
        return Reply(Frame(result_reply(request, {"resultType": "complete", "_meta": {_ID_KEY: request}})))

    async def _relay(self, frame: Frame) -> None:
        if frame.value.get("method") != _ACKNOWLEDGED:
            await self._emit(frame)
        elif not self._acknowledged:
            # Where several servers answer, the first one's word stands for all.
            await self._acknowledge(self._completed(frame))

    def _completed(self, frame: Frame) -> Frame:
        if not self._honoured:
            return frame
        value = json.loads(frame.raw)  # read anew: the fast reader rounds large integers
        params: dict[str, Any] = value.get("params") or {}
        said = params.get("notifications")
        honoured = {**(said if isinstance(said, dict) else {}), **self._honoured}
        return Frame({**value, "params": {**params, "notifications": honoured}}, kind=frame.kind)

    async def _acknowledge(self, frame: Frame) -> None:
        # Before it is written: who comes next waits behind it for the stream, and a second word must not follow.
        self._acknowledged = True
        await self._emit(frame)
        for kind in dict.fromkeys(self._owed):
            await self.tell_changed(kind)


def _knows_no_subscriptions(reply: Frame) -> bool:
    error = reply.value.get("error")
    return isinstance(error, dict) and error.get("code") == answers.METHOD_NOT_FOUND
