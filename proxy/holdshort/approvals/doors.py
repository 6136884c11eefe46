"""The doors in front of every route: who a request says it is talking to, and which page sent it.

A web page that rebinds a name to this machine, or posts a form at it, is stopped here by Host, Origin and
Sec-Fetch-Site, before any route, cookie or token is looked at. Forwarding headers are never believed. Every answer
that leaves gets the headers that keep a page inert. Nothing here knows what the routes do.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdshort.approvals.problems import Refused, problem_body

__all__ = [
    "FORWARDED_HEADERS",
    "LOOPBACK_NAMES",
    "SECURITY_HEADERS",
    "Authority",
    "Doors",
    "parse_authority",
]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex, nofollow",
}
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "holdshort.localhost"})
"""Names that mean this machine. `holdshort.localhost` keeps cookies apart from other ports of `localhost`."""
FORWARDED_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Their presence says that the socket's other end is not the caller; their values are never read."""

_SINGLE = (
    "host", "origin", "authorization", "cookie", "content-type", "content-length", "transfer-encoding",
    "x-csrf-token", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "last-event-id",
)  # fmt: skip
_AUTHORITY = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_SAFE_METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and the port that was written beside it, None where none was."""

    host: str
    port: int | None


def parse_authority(text: str) -> Authority | None:
    """Return the authority that `text` is, exactly; None for anything else (user names, paths, spaces, odd dots)."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    port = match["port"]
    if port is not None and not 0 < int(port) < 65536:
        return None
    return Authority(match["host"].lower(), None if port is None else int(port))


class Doors:
    """ASGI middleware: lets a request in, or answers 400, 403 or 421 itself.

    `allowed_hosts` are `name` (without a port, or with the one we listen on) or `name:port`; loopback names with the
    port we listen on are always allowed. `allowed_origins` are origins other than our own that may send requests.
    `navigable` matches the paths that another site may link to: pages, which decide nothing on a GET.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        navigable: re.Pattern[str] | None = None,
    ) -> None:
        self._app = app
        self._hosts = frozenset(found for text in allowed_hosts if (found := parse_authority(text)) is not None)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self._navigable = navigable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self.check(scope)
        except Refused as refused:
            await JSONResponse(problem_body(refused), refused.status)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def check(self, scope: Scope) -> None:
        """Let the request of `scope` in.

        Raises:
            Refused: `malformed`, `bad_host` or `bad_origin`.
        """
        headers = Headers(scope=scope)
        for name in _SINGLE:
            if len(headers.getlist(name)) > 1:
                raise Refused("malformed", f"the header `{name}` is there twice")
        if "content-length" in headers and "transfer-encoding" in headers:
            raise Refused("malformed", "`content-length` and `transfer-encoding` exclude each other")
        host = parse_authority(headers.get("host", ""))
        if host is None or not self._is_ours(host, scope):
            raise Refused("bad_host", "this address is not one that holdshort answers to; add it to `allowed_hosts`")
        self._check_origin(scope, headers, host)

    def _is_ours(self, host: Authority, scope: Scope) -> bool:
        server = scope.get("server")
        listening = None if not server else server[1]
        scheme_port = _DEFAULT_PORT.get(scope.get("scheme", "http"))
        port = scheme_port if host.port is None else host.port
        if host.host in LOOPBACK_NAMES and port == listening:
            return True
        if host in self._hosts:
            return True
        bare = Authority(host.host, None) in self._hosts
        return bare and host.port in (None, listening)

    def _check_origin(self, scope: Scope, headers: Headers, host: Authority) -> None:
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site")
        trusted = origin is not None and origin.lower() in self._origins
        # A form on a page with `Referrer-Policy: no-referrer` sends `Origin: null`; only the browser itself can add
        # that it is the same origin, and a sandboxed page never is.
        if origin is not None and not trusted and not (origin == "null" and site == "same-origin"):
            parts = urlsplit(origin)
            sender = parse_authority(parts.netloc)
            if parts.scheme not in _DEFAULT_PORT or sender is None or not _same(sender, host, parts.scheme):
                raise Refused("bad_origin", "requests from other origins are refused; add it to `allowed_origins`")
        if site in (None, "same-origin", "none") or trusted:
            return
        navigation = (
            scope["method"] in _SAFE_METHODS
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
            and self._navigable is not None
            and self._navigable.fullmatch(scope["path"]) is not None
        )
        if not navigation:
            raise Refused("bad_origin", "requests sent by other sites are refused")


def _same(sender: Authority, host: Authority, scheme: str) -> bool:
    default = _DEFAULT_PORT[scheme]
    return sender.host == host.host and (sender.port or default) == (host.port or default)
