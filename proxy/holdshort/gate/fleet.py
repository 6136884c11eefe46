"""The endpoint of all servers: one list of everything, names as `server__name`, each request to the server it is for.

Lists are merged page by page, so a client that reads only the first page sees every server. A server that is down is
left out of a list and named in the log; it never takes another server's tools with it.
"""

import base64
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import anyio

from holdshort import __version__
from holdshort.gate import answers
from holdshort.gate.audience import declaring
from holdshort.gate.conversation import Conversation
from holdshort.gate.exchange import Emit, Reply
from holdshort.gate.methods import CLIENT_REQUESTS, HANDSHAKE_VERSIONS, LIST_METHODS, MODERN_VERSIONS, Era
from holdshort.gate.pins import PinBook
from holdshort.gate.subscription import Subscription
from holdshort.gate.templates import matches_template
from holdshort.gate.upstream import Eras, Log
from holdshort.policy import Kind
from holdshort.wire import Frame, MalformedMessage, decode, encode, result_reply

__all__ = ["SEPARATOR", "SLOWEST_SECONDS", "FleetEndpoint"]

SEPARATOR: Final = "__"

_BROADCAST: Final = frozenset({"logging/setLevel"})
_BY_URI: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_BY_NAME: Final = frozenset({"tools/call", "prompts/get"})
_MAX_KNOWN: Final = 20_000
_LONGEST_KNOWN: Final = 4096
"""Characters of a URI that is remembered; a longer one is read at `/mcp/{server}`."""
SLOWEST_SECONDS = 15.0
"""How long what all servers answer together waits for the slowest of them."""

_Key = TypeVar("_Key", str, tuple[str, str])

Probe = Callable[[], Awaitable[Mapping[str, Eras]]]


class FleetEndpoint:
    """`/mcp`. `probe` says what each reachable server speaks and offers."""

    def __init__(self, servers: Sequence[str], probe: Probe, log: Log) -> None:
        self.servers = tuple(servers)
        self._probe = probe
        self._log = log
        # By agent: what one agent was shown tells another nothing.
        self._uris: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._templates: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._tasks: OrderedDict[str, str] = OrderedDict()

    async def initialize(self, conversation: Conversation, frame: Frame) -> Frame:
        """Answer the handshake for all; each server gets its own when it is first needed."""
        found = await self._probe()
        wanted = (frame.value.get("params") or {}).get("protocolVersion")
        version = wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
        spoken = [_handshake_version(eras) for eras in found.values() if eras.legacy]
        result = {
            "protocolVersion": min([version, *spoken]),
            "capabilities": _merged(found.values()),
            "serverInfo": {"name": "holdshort", "version": __version__},
        }
        instructions = await _instructions(conversation.gate.pins, found)
        if instructions:
            result["instructions"] = instructions
        if conversation.gate.audience.active:
            result = declaring(result)
        return Frame(result_reply(frame.value["id"], result))

    async def request(self, conversation: Conversation, frame: Frame, emit: Emit) -> Reply:
        """Send the request where it belongs."""
        method: str = frame.value["method"]
        params: dict[str, Any] = frame.value.get("params") or {}
        if method not in CLIENT_REQUESTS[conversation.peer.era]:
            return Reply(Frame(answers.unknown_method(frame.value["id"], method)))
        if method == "ping":
            return Reply(Frame(result_reply(frame.value["id"], {})))
        if method == "server/discover":
            return Reply(await self._discover(conversation, frame))
        if method in LIST_METHODS:
            return await self._list(conversation, frame, emit, LIST_METHODS[method])
        if method in _BY_NAME:
            return await self._named(conversation, frame, params, emit)
        if method in _BY_URI:
            return await self._located(conversation, frame, str(params.get("uri")), emit)
        if method == "completion/complete":
            return await self._complete(conversation, frame, params, emit)
        if method in _BROADCAST:
            return await self._everywhere(conversation, frame, emit)
        if method == "subscriptions/listen":
            return await Subscription(conversation, self.servers, frame, emit).run()
        if method.startswith("tasks/"):
            return await self._task(conversation, frame, params, emit)
        return Reply(Frame(answers.unknown_method(frame.value["id"], method)))

    def server_of(self, params: dict[str, Any], method: str) -> tuple[str, str] | None:
        """Split `server__name` at its first separator; labels cannot contain it."""
        name = params.get("name")
        if not isinstance(name, str):
            return None
        server, found, own = name.partition(SEPARATOR)
        return (server, own) if found and server in self.servers else None

    async def _discover(self, conversation: Conversation, frame: Frame) -> Frame:
        found = await self._probe()
        result: dict[str, Any] = {
            "resultType": "complete",
            "supportedVersions": list(MODERN_VERSIONS),
            "capabilities": _merged(found.values()),
            "serverInfo": {"name": "holdshort", "version": __version__},
            "ttlMs": 0,
            "cacheScope": "private",
        }
        instructions = await _instructions(conversation.gate.pins, found)
        if instructions:
            result["instructions"] = instructions
        if conversation.gate.audience.active:
            result = declaring(result)
        return Frame(result_reply(frame.value["id"], result))

    async def _named(self, conversation: Conversation, frame: Frame, params: dict[str, Any], emit: Emit) -> Reply:
        target = self.server_of(params, frame.value["method"])
        if target is None:
            name = params.get("name")
            if frame.value["method"] == "tools/call":
                return Reply(Frame(answers.unknown_tool(frame.value["id"], str(name))))
            return Reply(Frame(answers.invalid_params(frame.value["id"], f"Unknown prompt: {name}")))
        server, own = target
        forwarded = Frame({**frame.value, "params": {**params, "name": own}}, kind=frame.kind)
        reply = await conversation.ask(server, forwarded, emit, prefix=server + SEPARATOR)
        if reply.frame is not None:
            result = reply.frame.value.get("result")
            if isinstance(result, dict) and isinstance(result.get("taskId"), str):
                _remember(self._tasks, result["taskId"], server)
        return reply

    async def _list(self, conversation: Conversation, frame: Frame, emit: Emit, key: str) -> Reply:
        params: dict[str, Any] = frame.value.get("params") or {}
        try:
            cursors = _open_cursor(params["cursor"]) if "cursor" in params else dict.fromkeys(self.servers)
        except (MalformedMessage, ValueError):
            return Reply(Frame(answers.invalid_params(frame.value["id"], "that `cursor` is not one of ours")))
        pages: dict[str, dict[str, Any]] = {}

        async def page(server: str, cursor: str | None) -> None:
            own = {name: value for name, value in params.items() if name != "cursor"}
            if cursor is not None:
                own["cursor"] = cursor
            forwarded = Frame({**frame.value, "params": own}, kind=frame.kind)
            reply: Reply | None = None
            with anyio.move_on_after(SLOWEST_SECONDS):
                reply = await conversation.ask(server, forwarded, emit, prefix=server + SEPARATOR)
            if reply is None:
                self._log.warning("a server is left out of a list", server=server, list=key, reason="it is too slow")
                return
            if reply.frame is not None and "result" in reply.frame.value:
                # Read anew: the fast reader rounds large integers.
                pages[server] = json.loads(reply.frame.raw)["result"]
            elif reply.frame is not None and reply.frame.value["error"]["code"] != answers.METHOD_NOT_FOUND:
                reason = reply.frame.value["error"]["message"]
                self._log.warning("a server is left out of a list", server=server, list=key, reason=reason)

        async with anyio.create_task_group() as tasks:
            for server, cursor in cursors.items():
                if server in self.servers:
                    tasks.start_soon(page, server, cursor)
        merged: list[Any] = []
        further: dict[str, str] = {}
        for server in self.servers:
            result = pages.get(server, {})
            merged.extend(self._own(conversation.caller.agent, server, key, result.get(key)))
            if isinstance(result.get("nextCursor"), str):
                further[server] = result["nextCursor"]
        answer: dict[str, Any] = {key: merged}
        if conversation.peer.era is Era.MODERN:
            answer |= {"resultType": "complete", "ttlMs": _least_ttl(pages.values()), "cacheScope": "private"}
        if further:
            answer["nextCursor"] = base64.urlsafe_b64encode(encode(further)).decode()
        return Reply(Frame(result_reply(frame.value["id"], answer)))

    def _own(self, agent: str, server: str, key: str, items: object) -> list[Any]:
        """Return a server's items as this endpoint shows them, remembering where resources come from."""
        shown: list[Any] = []
        for item in items if isinstance(items, list) else ():
            if not isinstance(item, dict):
                continue
            if key == "prompts" and isinstance(item.get("name"), str):
                item = {**item, "name": server + SEPARATOR + item["name"]}
            elif key == "resources" and isinstance(item.get("uri"), str):
                _remember(self._uris, (agent, item["uri"]), server)
            elif key == "resourceTemplates" and isinstance(item.get("uriTemplate"), str):
                _remember(self._templates, (agent, item["uriTemplate"]), server)
            shown.append(item)
        return shown

    async def _located(self, conversation: Conversation, frame: Frame, uri: str, emit: Emit) -> Reply:
        agent = conversation.caller.agent
        server = self._uris.get((agent, uri)) or self._by_template(agent, uri)
        if server is None:
            # Nobody has listed it yet; learn where things are, then look once more.
            for method in ("resources/list", "resources/templates/list"):
                params = {key: value for key, value in (frame.value.get("params") or {}).items() if key == "_meta"}
                look = Frame({**frame.value, "method": method, "params": params}, kind=frame.kind)
                await self._list(conversation, look, emit, LIST_METHODS[method])
            server = self._uris.get((agent, uri)) or self._by_template(agent, uri)
        if server is None:
            return Reply(Frame(_unknown_resource(conversation, frame, uri)))
        return await conversation.ask(server, frame, emit)

    async def _complete(self, conversation: Conversation, frame: Frame, params: dict[str, Any], emit: Emit) -> Reply:
        reference = params.get("ref")
        if isinstance(reference, dict) and reference.get("type") == "ref/prompt":
            target = self.server_of(reference, "prompts/get")
            if target is not None:
                own = {**params, "ref": {**reference, "name": target[1]}}
                forwarded = Frame({**frame.value, "params": own}, kind=frame.kind)
                return await conversation.ask(target[0], forwarded, emit, prefix=target[0] + SEPARATOR)
        elif isinstance(reference, dict) and isinstance(reference.get("uri"), str):
            known = (conversation.caller.agent, reference["uri"])
            server = self._templates.get(known) or self._uris.get(known)
            if server is not None:
                return await conversation.ask(server, frame, emit)
            return Reply(Frame(_unknown_resource(conversation, frame, reference["uri"])))
        return Reply(Frame(answers.invalid_params(frame.value["id"], "Unknown `ref`: list prompts or templates first")))

    async def _everywhere(self, conversation: Conversation, frame: Frame, emit: Emit) -> Reply:
        """Ask every server, answer with the first result; servers that do not know the method do not matter."""
        replies: dict[str, Frame] = {}

        async def ask(server: str) -> None:
            with anyio.move_on_after(SLOWEST_SECONDS):
                reply = await conversation.ask(server, frame, emit)
                if reply.frame is not None:
                    replies[server] = reply.frame

        async with anyio.create_task_group() as tasks:
            for server in self.servers:
                tasks.start_soon(ask, server)
        for reply in replies.values():
            if "result" in reply.value:
                return Reply(reply)
        silent = answers.upstream_failed(frame.value["id"], "no server answered in time")
        return Reply(next(iter(replies.values()), Frame(silent)))

    async def _task(self, conversation: Conversation, frame: Frame, params: dict[str, Any], emit: Emit) -> Reply:
        task_id = str(params.get("taskId"))
        server = self._tasks.get(task_id) or await conversation.gate.server_of_task(task_id, conversation.caller.agent)
        if server is None:
            return Reply(Frame(answers.unknown_task(frame.value["id"], task_id)))
        return await conversation.ask(server, frame, emit)

    def _by_template(self, agent: str, uri: str) -> str | None:
        found = self._templates.items()
        return next((server for (to, each), server in found if to == agent and matches_template(each, uri)), None)


def _unknown_resource(conversation: Conversation, frame: Frame, uri: str) -> dict[str, Any]:
    return answers.unknown_name(frame.value["id"], Kind.RESOURCE, uri, conversation.peer.era)


def _remember(known: OrderedDict[_Key, str], key: _Key, server: str) -> None:
    if len(key if isinstance(key, str) else key[1]) > _LONGEST_KNOWN:
        return
    known.setdefault(key, server)
    while len(known) > _MAX_KNOWN:
        known.popitem(last=False)


def _open_cursor(cursor: object) -> dict[str, str | None]:
    if not isinstance(cursor, str):
        raise ValueError("a cursor is a string")
    found = decode(base64.urlsafe_b64decode(cursor.encode()))
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("a cursor of ours maps servers to theirs")
    return dict(found)


def _least_ttl(pages: Any) -> int:
    return min((page["ttlMs"] for page in pages if isinstance(page.get("ttlMs"), int)), default=0)


def _handshake_version(eras: Eras) -> str:
    spoken = [version for version in eras.versions if version in HANDSHAKE_VERSIONS]
    return max(spoken, default=HANDSHAKE_VERSIONS[-1])


def _offered(eras: Eras) -> Mapping[str, Any]:
    return eras.discovered or eras.initialized or {}


def _merged(all_eras: Any) -> dict[str, Any]:
    """What any of the servers can do; a capability's flags are on when one server has them on."""
    merged: dict[str, Any] = {}
    for eras in all_eras:
        capabilities = _offered(eras).get("capabilities")
        for name, settings in capabilities.items() if isinstance(capabilities, dict) else ():
            before = merged.get(name)
            if isinstance(before, dict) and isinstance(settings, dict):
                merged[name] = {
                    **before,
                    **{key: value for key, value in settings.items() if value or key not in before},
                }
            else:
                merged[name] = settings
    return merged


async def _instructions(pins: PinBook | None, found: Mapping[str, Eras]) -> str:
    texts: list[str] = []
    for server, eras in found.items():
        text = _offered(eras).get("instructions")
        if isinstance(text, str) and text.strip() and pins is not None:
            text = await pins.of(server).admit_instructions(text)
        if isinstance(text, str) and text.strip():
            texts.append(f"{server}: {text}")
    return "\n\n".join(texts)
