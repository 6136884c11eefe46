"""Policy beyond tools: resources, prompts, and what servers ask of clients. Each on its list and on its use.

What is hidden answers as what is not there: the server is asked something all the same, so that it takes as long, and
its own words for what it does not have are replaced by ours wherever something of that kind is hidden.
"""

import re
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

from holdshort.errors import StateError
from holdshort.gate import answers
from holdshort.gate.catalog import envelope
from holdshort.gate.exchange import Exchange
from holdshort.gate.methods import LIST_METHODS, Era
from holdshort.gate.recording import Recorder
from holdshort.gate.templates import filled
from holdshort.gate.uses import QUIET, USES, uses_of
from holdshort.gate.withheld import Withheld, names_any, uris_in, withhold
from holdshort.policy import REQUEST_METHODS, Access, Action, Caller, Kind, Policy, Verdict
from holdshort.store import EntryKind, NewEntry, NewRecording, Store
from holdshort.wire import Frame, Limits, decode, error_reply

__all__ = ["AccessGuard"]

_Thing = TypeVar("_Thing")

_LIST_SECONDS: Final = 30
_LONGEST_NAME: Final = 200
_READ_ALREADY: Final = Limits(max_bytes=sys.maxsize, max_depth=512, max_keys=sys.maxsize, max_string_bytes=sys.maxsize)
"""The link has held the message to its limits; here it is only taken apart."""

_LISTED: Final = {
    "resources/list": (Kind.RESOURCE, "uri"),
    "resources/templates/list": (Kind.RESOURCE, "uriTemplate"),
    "prompts/list": (Kind.PROMPT, "name"),
}
_LISTING: Final = {Kind.RESOURCE: "resources/list", Kind.PROMPT: "prompts/list"}
_LISTEN: Final = "subscriptions/listen"
_AT_ONCE: Final = 32
_USER: Final = re.compile(r"^([^/?#]*//)[^/?#]*@")
_BEHIND: Final = re.compile(r"[?#]")
_TOLD_ANYWAY: Final = frozenset({-32601, -32020, -32021, -32022, -32042})
"""Errors that are not about one name: the method, the headers, the revision, what the client cannot do."""
_URL_ELICITATION: Final = -32042


class AccessGuard:
    """Asks policy about everything that is not a call of a tool, and writes down what it said."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        policy: Callable[[], Policy],
        recorder: Recorder | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._recorder = recorder

    async def refuse(self, exchange: Exchange, method: str) -> dict[str, Any] | None:
        """Judge a request before it is sent; return the answer to one that may not be, None for one that may.

        Raises:
            StateError: it cannot be written down, so it is not sent.
            UpstreamError: the server is gone, for what is hidden as for anything else.
        """
        if method == _LISTEN:
            await self._narrow(exchange)
            return None
        if method not in USES:
            return None
        uses = uses_of(exchange.params, method)
        if uses is None:
            return answers.invalid_params(exchange.id, f"`{method}` has to say what it is about")
        for use in uses:
            access = self._access(exchange, use.kind, use.name, use.arguments)
            verdict = self._policy().access(access)
            if verdict.action is Action.ALLOW:
                if method not in QUIET:
                    await self._write(access, verdict, method)
                continue
            if verdict.action is Action.DENY and method == "resources/unsubscribe":
                continue
            await self._write(access, verdict, method)
            if verdict.action is not Action.HIDE:
                return answers.refused(exchange.id, verdict, use.kind, use.shown(exchange.prefix))
            await self._look(exchange, use.kind)
            return answers.unknown_name(exchange.id, use.kind, use.shown(exchange.prefix), exchange.peer.era)
        return None

    async def answered(self, exchange: Exchange, method: str, reply: Frame) -> Frame:
        """Return a server's answer as this client may see it; the same frame when that is all of it.

        Raises:
            MalformedMessage: something has to go, and it is not strict JSON.
            StateError: what was taken out cannot be written down.
        """
        policy, server = self._policy(), exchange.server
        error = reply.value.get("error")
        if error is not None:
            if error["code"] == _URL_ELICITATION and method == "tools/call":
                refused = await self._input(exchange, ["elicitation/create"], method, reply)
                return reply if refused is None else refused
            return self._absent(exchange, method, reply, error["code"])
        result = reply.value["result"]
        if method in _LISTED:
            return await self._filtered(exchange, method, reply)
        wanted = result.get("inputRequests")
        if isinstance(wanted, dict):
            refused = await self._input(exchange, [_method_of(each) for each in wanted.values()], method, reply)
            if refused is not None:
                return refused
        if method in LIST_METHODS or not policy.speaks_of(Kind.RESOURCE, server):
            return reply
        if method == "completion/complete":
            return await self._completed(exchange, reply)
        return await self._without(exchange, method, reply)

    async def kept(self, exchange: Exchange, reply: Frame) -> Frame:
        """Return an answer with a result that was kept for a while, as the policy in force now shows it.

        Raises:
            StateError: what was taken out cannot be written down.
        """
        if not isinstance(reply.value.get("result"), dict) or not self._policy().speaks_of(
            Kind.RESOURCE, exchange.server
        ):
            return reply
        return await self._without(exchange, exchange.frame.value["method"], reply)

    async def question(self, server: str, caller: Caller, frame: Frame) -> Frame | None:
        """Judge what a server asks of a client; return our answer to what must not be asked, None for the rest."""
        method = frame.value["method"]
        if method not in REQUEST_METHODS:
            return None
        asked = self._of(Kind.SERVER_REQUEST, server, method, caller)
        verdict = self._policy().access(asked)
        try:
            await self._write(asked, verdict, method)
        except StateError:
            # What cannot be written down is not asked.
            return Frame(error_reply(frame.value["id"], answers.INTERNAL_ERROR, "The proxy cannot record it"))
        if verdict.action is Action.ALLOW:
            return None
        if verdict.action is Action.HIDE:
            return Frame(answers.unknown_method(frame.value["id"], method))
        return Frame(answers.refused(frame.value["id"], verdict, Kind.SERVER_REQUEST, method))

    def may_hear(self, server: str, caller: Caller, frame: Frame) -> bool:
        """Say whether a client may have this notification of a server."""
        method = frame.value["method"]
        if method == "notifications/resources/updated":
            return self._passes(Kind.RESOURCE, server, caller, (frame.value.get("params") or {}).get("uri"))
        if method in {"notifications/tasks", "notifications/tasks/status"}:
            params = frame.value.get("params") or {}
            wanted = params.get("inputRequests")
            asked = wanted.values() if isinstance(wanted, dict) else ()
            if self._policy().speaks_of(Kind.RESOURCE, server) and names_any(
                params, Withheld(lambda uri: self._policy().access(self._of(Kind.RESOURCE, server, uri, caller)))
            ):
                return False  # `tasks/get` has the same without what is withheld
            return all(self._passes(Kind.SERVER_REQUEST, server, caller, _method_of(each)) for each in asked)
        return True

    def _passes(self, kind: Kind, server: str, caller: Caller, name: object) -> bool:
        if not self._policy().speaks_of(kind, server):
            return True
        if not isinstance(name, str):
            return False
        return self._policy().access(self._of(kind, server, name, caller)).action is Action.ALLOW

    async def _narrow(self, exchange: Exchange) -> None:
        """Take out of a subscription what may not be followed, as a server leaves out what it does not have."""
        wanted = exchange.params.get("notifications")
        uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
        if not isinstance(wanted, dict) or not isinstance(uris, list):
            return
        kept: list[str] = []
        refused: dict[str, Verdict] = {}
        async for uri in _in_turns(uris):
            if not isinstance(uri, str):
                continue
            verdict = self._policy().access(self._access(exchange, Kind.RESOURCE, uri))
            if verdict.action is Action.ALLOW:
                kept.append(uri)
            else:
                refused[uri] = verdict
        if refused:
            await self._write_all(exchange, refused, _LISTEN)
        if kept:
            first = self._access(exchange, Kind.RESOURCE, kept[0])
            await self._write(first, self._policy().access(first), _LISTEN, {"number": len(kept)})
        if len(kept) < len(uris):
            params = {**exchange.params, "notifications": {**wanted, "resourceSubscriptions": kept}}
            exchange.frame = Frame({**exchange.frame.value, "params": params}, kind=exchange.frame.kind)

    async def _look(self, exchange: Exchange, kind: Kind) -> None:
        """Ask the server for a list that nobody reads: a name that it does not have would have taken a trip, too."""
        params: dict[str, Any] = {} if exchange.peer.era is Era.LEGACY else {"_meta": envelope()}
        number = f"holdshort-{secrets.token_hex(8)}"
        body = {"jsonrpc": "2.0", "id": number, "method": _LISTING[kind], "params": params}
        with anyio.move_on_after(_LIST_SECONDS):
            await exchange.link.request(Frame(body), _ignore)

    def _absent(self, exchange: Exchange, method: str, reply: Frame, code: int) -> Frame:
        """Return our words for what is not there in place of the server's, where something is hidden."""
        if method not in USES or code in _TOLD_ANYWAY:
            return reply
        for use in uses_of(exchange.params, method) or ():
            if self._policy().speaks_of(use.kind, exchange.server, Action.HIDE):
                shown = use.shown(exchange.prefix)
                return Frame(answers.unknown_name(exchange.id, use.kind, shown, exchange.peer.era))
        return reply

    async def _filtered(self, exchange: Exchange, method: str, reply: Frame) -> Frame:
        kind, key = _LISTED[method]
        policy, server = self._policy(), exchange.server
        if not policy.speaks_of(kind, server):
            return reply

        def shown(item: object) -> bool:
            name = item.get(key) if isinstance(item, dict) else None
            if not isinstance(name, str):
                return False  # what cannot be judged is not listed
            return not policy.hides_access(self._access(exchange, kind, name), template=key == "uriTemplate")

        under = LIST_METHODS[method]
        result = reply.value["result"]
        items = result.get(under)
        kept = [shown(item) async for item in _in_turns(items if isinstance(items, list) else ())]
        whole = all(kept)
        if whole and result.get("cacheScope") in {None, "private"}:
            return reply
        changed = dict(decode(reply.raw, _READ_ALREADY)["result"])
        if isinstance(changed.get(under), list):
            changed[under] = [item for item, may in zip(changed[under], kept, strict=True) if may]
        if "cacheScope" in changed:
            # MCP 2026-07-28, caching: what one caller may see must not be served to another.
            changed["cacheScope"] = "private"
        return Frame({**reply.value, "result": changed}, kind=reply.kind)

    async def _completed(self, exchange: Exchange, reply: Frame) -> Frame:
        """Return a completion without the values that would make, of a template, the name of what is hidden."""
        reference, argument = exchange.params.get("ref"), exchange.params.get("argument")
        template = reference.get("uri") if isinstance(reference, dict) else None
        name = argument.get("name") if isinstance(argument, dict) else None
        completion = reply.value["result"].get("completion")
        values = completion.get("values") if isinstance(completion, dict) else None
        if not isinstance(template, str) or not isinstance(name, str) or not isinstance(values, list):
            return reply
        context = exchange.params.get("context")
        given = context.get("arguments") if isinstance(context, dict) else None
        known = {key: value for key, value in (given or {}).items() if isinstance(value, str)}

        def shown(value: object) -> bool:
            uri = filled(template, {**known, name: str(value)})
            return not self._policy().hides_access(self._access(exchange, Kind.RESOURCE, uri), template="{" in uri)

        kept = [value async for value in _in_turns(values) if shown(value)]
        if len(kept) == len(values):
            return reply
        # How many there are in all would tell that some are not shown.
        left = {key: value for key, value in completion.items() if key not in {"total", "hasMore"}}
        result = {**reply.value["result"], "completion": {**left, "values": kept}}
        return Frame({**reply.value, "result": result}, kind=reply.kind)

    async def _input(self, exchange: Exchange, methods: Sequence[str], method: str, reply: Frame) -> Frame | None:
        """Judge what a server asks for in the middle of a request; return the answer when it may not be asked."""
        policy, server = self._policy(), exchange.server
        for asked in methods:
            if asked not in REQUEST_METHODS and not policy.speaks_of(Kind.SERVER_REQUEST, server):
                continue
            access = self._access(exchange, Kind.SERVER_REQUEST, asked)
            verdict = policy.access(access)
            await self._write(access, verdict, method)
            if verdict.action is not Action.ALLOW:
                if method == "tools/call":
                    tool = str(exchange.params.get("name", "this tool"))
                    told = asked if verdict.action is Action.DENY else None
                    era = exchange.peer.era
                    return Frame(answers.input_refused(reply.value["id"], verdict, exchange.prefix + tool, told, era))
                return Frame(answers.refused(reply.value["id"], verdict, Kind.SERVER_REQUEST, asked))
        return None

    async def _without(self, exchange: Exchange, method: str, reply: Frame) -> Frame:
        found = Withheld(lambda uri: self._policy().access(self._access(exchange, Kind.RESOURCE, uri)))
        async for uri in _in_turns(uris_in(reply.value["result"])):
            found(uri)
        if not found.verdicts or not names_any(reply.value["result"], found):
            return reply
        result = withhold(decode(reply.raw, _READ_ALREADY)["result"], found)
        await self._write_all(exchange, found.verdicts, method)
        return Frame({**reply.value, "result": result}, kind=reply.kind)

    def _of(self, kind: Kind, server: str, name: str, caller: Caller) -> Access:
        return Access(kind, server, name, caller, self._clock())

    def _access(self, exchange: Exchange, kind: Kind, name: str, arguments: Mapping[str, Any] | None = None) -> Access:
        return Access(kind, exchange.server, name, exchange.caller, self._clock(), arguments or {})

    async def _write(
        self, access: Access, verdict: Verdict, method: str, more: Mapping[str, Any] | None = None
    ) -> None:
        detail = {"method": method, **(more or {})} if method != access.name else {}
        recording = None if self._recorder is None else self._recorder.access(access)
        await self._store.record(_entry(access, verdict, detail, recording))

    async def _write_all(self, exchange: Exchange, verdicts: Mapping[str, Verdict], method: str) -> None:
        """One row about all of them: a result can hold any number."""
        strictest = max(verdicts, key=lambda uri: verdicts[uri].action.strictness)
        more = {"number": len(verdicts)}
        await self._write(self._access(exchange, Kind.RESOURCE, strictest), verdicts[strictest], method, more)


def _method_of(wanted: object) -> str:
    method = wanted.get("method") if isinstance(wanted, dict) else None
    return method if isinstance(method, str) else ""


def _entry(access: Access, verdict: Verdict, more: Mapping[str, Any], recording: NewRecording | None) -> NewEntry:
    """A row that names the thing; a query, a fragment or a password may hold a secret, and no row does."""
    kind, name = access.kind, access.name
    named = _without_secrets(name) if kind is Kind.RESOURCE else name
    detail: dict[str, Any] = {"kind": kind.value, "name": named[:_LONGEST_NAME], **more}
    if verdict.errors:
        detail["errors"] = list(verdict.errors)
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=access.now,
        server=access.server,
        agent=access.caller.agent,
        action=verdict.action.value,
        because=verdict.because,
        detail=detail,
        recording=recording,
    )


def _without_secrets(uri: str) -> str:
    bare = _USER.sub(r"\1", uri)
    cut = _BEHIND.search(bare)
    return bare if cut is None else bare[: cut.end()]


async def _in_turns(things: Iterable[_Thing]) -> AsyncGenerator[_Thing]:
    """Yield them, and let others have their turn now and then: a server chooses how many there are."""
    for number, thing in enumerate(things, start=1):
        yield thing
        if number % _AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


async def _ignore(_: Frame) -> None:
    """A list of our own has no progress to show."""
