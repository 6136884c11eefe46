"""Who is at a route. Every route names who may use it; one that does not name anybody cannot be made.

A request has one identity, found in this order and never by falling back: a bearer token, a login cookie, or (with
no agents configured) being on this machine. A token or cookie that is presented and not good is 401, whatever else
the request could have been.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from holdshort.approvals.deps import ApprovalDeps
from holdshort.approvals.doors import FORWARDED_HEADERS, parse_authority
from holdshort.approvals.problems import Refused
from holdshort.approvals.sessions import Session, same_secret
from holdshort.config.principals import Principal, is_loopback
from holdshort.wire import Json, Limits, decode

__all__ = [
    "Caller",
    "Endpoint",
    "Handler",
    "Visit",
    "Who",
    "cookie_name",
    "is_secure",
    "on_this_machine",
    "read_body",
    "read_json",
]

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(?P<token>[A-Za-z0-9._~+/-]+=*)")
_COOKIE_PAIR = re.compile(r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?P<value>[!#-+\--:<-\[\]-~]*)")
_SAFE_METHODS: Final = ("GET", "HEAD")


class Who(StrEnum):
    """Who may use a route."""

    ANYONE = "anyone"
    READER = "reader"
    """An approver, or an agent for what is its own."""
    AGENT = "agent"
    APPROVER = "approver"
    BROWSER = "browser"
    """An approver who is logged in; anybody else is sent to the login page."""
    OPERATOR = "operator"
    """An approver, or any program on this machine."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One identity, and how it was shown."""

    principal: Principal
    session: Session | None = None
    cookie: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request at one route, after its door and its identity were checked."""

    request: Request
    deps: ApprovalDeps
    caller: Caller | None

    @property
    def principal(self) -> Principal:
        """The caller; a route for anyone must not ask."""
        if self.caller is None:
            raise Refused("unauthenticated", "a token is needed", headers={"www-authenticate": "Bearer"})
        return self.caller.principal

    @property
    def session(self) -> Session:
        """The caller's login, at routes for browsers."""
        if self.caller is None or self.caller.session is None:
            raise Refused("unauthenticated", "a login is needed")
        return self.caller.session

    @property
    def limits(self) -> Limits:
        return Limits(max_bytes=self.deps.limits.max_body_bytes)


Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One line of the route table, and of the published description."""

    method: str
    path: str
    who: Who
    handler: Handler
    name: str
    summary: str
    tag: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media: str = "application/json"
    status: int = 200
    query: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict[str, tuple[str, Mapping[str, Any]]])
    """Query parameters: name -> (what it does, its JSON schema)."""
    also: Mapping[int, str] = field(default_factory=dict[int, str])
    """Other statuses with the same answer, and what they mean."""
    errors: tuple[str, ...] = ()
    """Error codes beyond those that every route of its `who` has."""

    async def visit(self, request: Request, deps: ApprovalDeps) -> Response:
        """Check who calls, then do what the route does.

        Raises:
            Refused: nobody, or not somebody who may.
        """
        caller = None if self.who is Who.ANYONE else self._admit(request, deps)
        return await self.handler(Visit(request, deps, caller))

    def _admit(self, request: Request, deps: ApprovalDeps) -> Caller | None:
        caller = identify(request, deps)
        if self.who is Who.OPERATOR and (on_this_machine(request) or (caller and caller.principal.is_approver)):
            return caller
        if caller is None or (self.who is Who.BROWSER and caller.session is None):
            raise Refused("unauthenticated", "a token or a login is needed", headers={"www-authenticate": "Bearer"})
        allowed = {
            Who.READER: True,
            Who.AGENT: caller.principal.is_agent,
            Who.APPROVER: caller.principal.is_approver,
            Who.BROWSER: caller.principal.is_approver,
            Who.OPERATOR: False,
        }[self.who]
        if not allowed:
            needed = "an agent's" if self.who is Who.AGENT else "an approver's"
            raise Refused("forbidden", f"this needs {needed} credential; `{caller.principal.name}` has another kind")
        if caller.session is not None and request.method not in _SAFE_METHODS:
            given = request.headers.get("x-csrf-token", "")
            if not same_secret(caller.session.csrf, given):
                raise Refused("csrf", "the header `x-csrf-token` is missing or not this session's; reload the page")
        return caller


def identify(request: Request, deps: ApprovalDeps, *, touch: bool = True) -> Caller | None:
    """Return who sends `request`; None for nobody in particular.

    Raises:
        Refused: a credential was shown that is not good.
    """
    shown = request.headers.get("authorization")
    if shown is not None:
        match = _BEARER.fullmatch(shown)
        principal = deps.principals.authenticate(match["token"]) if match else None
        if principal is None:
            raise Refused("unauthenticated", "this token is not known", headers={"www-authenticate": "Bearer"})
        return Caller(principal)
    cookie = _cookie(request, cookie_name(request, deps))
    if cookie is not None:
        session = deps.sessions.find(cookie, touch=touch)
        if session is None:
            raise Refused("unauthenticated", "this session is over; log in again")
        return Caller(session.principal, session, cookie)
    client = request.client
    forwarded = any(name in request.headers for name in FORWARDED_HEADERS)
    local = deps.principals.loopback(None if client is None else client.host, forwarded=forwarded)
    return None if local is None else Caller(local)


def on_this_machine(request: Request) -> bool:
    """Say whether the caller itself, not a reverse proxy for it, is on this machine."""
    forwarded = any(name in request.headers for name in FORWARDED_HEADERS)
    return request.client is not None and not forwarded and is_loopback(request.client.host)


def is_secure(request: Request, deps: ApprovalDeps) -> bool:
    """Say whether the browser reached us over https: by our own socket, or by the public address as configured."""
    if request.scope.get("scheme") == "https":
        return True
    return deps.public_is_https and parse_authority(request.headers.get("host", "")) == deps.public_authority


def cookie_name(request: Request, deps: ApprovalDeps) -> str:
    """Return the login cookie's name. Cookies ignore ports, so two proxies on one machine must differ in name."""
    if is_secure(request, deps):
        return "__Host-holdshort"
    host = parse_authority(request.headers.get("host", ""))
    return f"holdshort-{80 if host is None or host.port is None else host.port}"


def _cookie(request: Request, name: str) -> str | None:
    found: list[str] = []
    for part in request.headers.get("cookie", "").split(";"):
        match = _COOKIE_PAIR.fullmatch(part.strip())
        if match is not None and match["name"] == name:
            found.append(match["value"])
    if len(found) > 1:
        raise Refused("malformed", "the login cookie is there twice; remove the cookies of this site")
    return found[0] if found else None


async def read_body(visit: Visit) -> bytes:
    """Return the request's body, within its limits of size and time.

    Raises:
        Refused: `too_large`, `timeout`, or `malformed` for a body that broke off.
    """
    limits = visit.deps.limits
    declared = visit.request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit():
        raise Refused("malformed", "`content-length` is not a number")
    too_large = Refused("too_large", f"at most {limits.max_body_bytes} bytes are read")
    if int(declared) > limits.max_body_bytes:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(limits.body_seconds):
            async for chunk in visit.request.stream():
                body += chunk
                if len(body) > limits.max_body_bytes:
                    raise too_large
    except TimeoutError:
        raise Refused("timeout", f"the body did not arrive within {limits.body_seconds:g} seconds") from None
    except ClientDisconnect:
        raise Refused("malformed", "the body broke off") from None
    return bytes(body)


async def read_json(visit: Visit, model: type[Model]) -> Model:
    """Return the request's JSON body, strictly decoded, as a `model`.

    Raises:
        Refused: another content type, not one unambiguous JSON object, or not of this shape.
    """
    content_type = visit.request.headers.get("content-type", "")
    media, _, parameter = content_type.partition(";")
    if media.strip().lower() != "application/json" or parameter.strip().lower() not in ("", "charset=utf-8"):
        raise Refused("unsupported_media_type", "send the body as `application/json`")
    value: Json = decode(await read_body(visit), visit.limits)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused("malformed", _words(error)) from None


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Not the whole path: inside a union it has the names of our own classes.
    place = next((str(step) for step in reversed(first["loc"]) if isinstance(step, str)), "")
    return f"`{place}`: {first['msg'].lower()}" if place else f"the body: {first['msg'].lower()}"
