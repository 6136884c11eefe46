"""Where the proxy is, and who the agent is there: the one object that puts a program's agents behind approval.

    agent = Agent("Ops", "Manage files.", proxy=ApprovalProxy("http://127.0.0.1:7411", token=AGENT_TOKEN))

The agent's token asks; only an approver's token decides. A program that has both can show a call to its own user and
send the decision; one that has only the first waits until somebody decides elsewhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import warnings
from types import TracebackType
from typing import Final, Literal, Self

import httpx2

from holdshort.runner.connection import Connection, clip
from holdshort.runner.endpoint import Endpoint, Health
from holdshort.runner.errors import UserError
from holdshort.runner.mcp_link import ProxyLink
from holdshort.runner.mcp_session import McpSession

__all__ = ["ApprovalProxy"]

_LABEL = re.compile(r"[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)*")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, `b64token`: what a bearer token may be."""
_MCP_PATH: Final = re.compile(r"/mcp(/[^/]*)?$")


class ApprovalProxy:
    """A Holdshort proxy, seen from an agent.

    `url` is the proxy's base; `server` narrows it to one server, whose tools then have their own names. `token` is the
    agent's, None on the proxy's own machine where no agents are configured. `approvals_url` is only needed where
    `approvals.listen` moved that side. `ask_about` says which calls that the agent runs itself are asked about: those
    that are `gated` here (`needs_approval`), or `all`. With `hold_s` 0 a parked call is answered at once; with more the
    proxy holds it, for as long as it holds any client's. `timeout_s` is the most that one call may take, holding
    included. An `http_client` is used as it is and never closed; it should have no credentials of its own.

    Raises:
        UserError: something of this cannot be; the message never shows a token.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        approver_token: str | None = None,
        server: str | None = None,
        ask_about: Literal["gated", "all"] = "gated",
        hold_s: float = 0,
        timeout_s: float = 600,
        approvals_url: str | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.url = _base(url, "url")
        self.approvals_url = self.url if approvals_url is None else _base(approvals_url, "approvals_url")
        self.server = server
        self.ask_about: Literal["gated", "all"] = ask_about
        self.hold_s = hold_s
        self.timeout_s = timeout_s
        self._token = _checked(token, "token")
        self._approver_token = _checked(approver_token, "approver_token")
        self._http_client = http_client
        self._entered = 0
        self._shared: ProxyLink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if server is not None and not _LABEL.fullmatch(server):
            raise UserError(
                f"`server` is the label of a server, as the proxy's configuration has it; not `{clip(server)}`"
            )
        if ask_about not in ("gated", "all"):
            raise UserError(f"`ask_about` is `gated` or `all`; not `{clip(ask_about)}`")
        if not 0 <= hold_s < timeout_s:
            raise UserError("`hold_s` is at least 0 and less than `timeout_s`, or no held call would ever be answered")
        if token is not None and token == approver_token:
            raise UserError("`token` and `approver_token` are the same; an agent never decides about its own calls")
        for address, name in {self.approvals_url: "approvals_url", self.url: "url"}.items():
            if (token or approver_token) and address.startswith("http:") and not _is_near(address):
                words = (
                    f"`{name}` is plain http to another machine: whoever is in between can read the token; use https"
                )
                warnings.warn(words, stacklevel=2)

    def __repr__(self) -> str:
        told = [repr(self.url)]
        told += [f"server={self.server!r}"] if self.server is not None else []
        told += ["token=..."] if self._token is not None else []
        told += ["approver_token=..."] if self._approver_token is not None else []
        return f"ApprovalProxy({', '.join(told)})"

    @property
    def mcp_url(self) -> str:
        """The MCP endpoint."""
        return f"{self.url}/mcp" if self.server is None else f"{self.url}/mcp/{self.server}"

    @property
    def can_decide(self) -> bool:
        """Whether there is an approver's token."""
        return self._approver_token is not None

    async def open(self) -> ProxyLink:
        """Return the link of the `async with` block, else a new one, which has to be closed. Nothing is sent yet."""
        # Connections belong to the loop that made them: a run in another thread gets its own.
        if self._shared is None or self._loop is not asyncio.get_running_loop():
            return self._link(shared=False)
        return self._shared

    async def health(self) -> Health:
        """Return whether calls can be served.

        Raises:
            ProxyUnreachable: nobody answers.
            ProxyError: what answers is no Holdshort proxy.
        """
        link = await self.open()
        try:
            return await link.endpoint.health()
        finally:
            await link.close()

    async def __aenter__(self) -> Self:
        if self._shared is None:
            self._shared, self._loop = self._link(shared=True), asyncio.get_running_loop()
        self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered == 0 and self._shared is not None:
            shared, self._shared = self._shared, None
            await shared.end()

    def _link(self, *, shared: bool) -> ProxyLink:
        connection = Connection(self._http_client)
        endpoint = Endpoint(connection, self.approvals_url, token=self._token, approver_token=self._approver_token)
        session = McpSession(connection, self.mcp_url, self._token, self.timeout_s)
        return ProxyLink(
            connection,
            endpoint,
            session,
            server=self.server,
            shared=shared,
            ask_about=self.ask_about,
            hold_s=self.hold_s,
        )


def _base(url: str, name: str) -> str:
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        raise UserError(f"`{name}` is no URL; write it like `http://127.0.0.1:7411`") from None
    # Not shown in what follows: a URL with a password in it is the very case.
    if parts.userinfo:
        raise UserError(f"`{name}` has a name or password in it; give the agent's token as `token`")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise UserError(f"`{name}` must begin with `http://` or `https://` and name a host")
    if parts.query or parts.fragment:
        raise UserError(
            f"`{name}` has a query or a fragment; give the proxy's base alone, like `http://127.0.0.1:7411`"
        )
    base = url.strip().rstrip("/")
    if _MCP_PATH.search(parts.path.rstrip("/")):
        raise UserError(f"`{name}` is the proxy's base, without `/mcp`; narrow it to one server with `server`")
    return base


def _checked(token: str | None, name: str) -> str | None:
    if token is not None and not _TOKEN.fullmatch(token):
        raise UserError(
            f"`{name}` is empty or has characters that no token has; is the variable set that it comes from?"
        )
    return token


def _is_near(url: str) -> bool:
    host = httpx2.URL(url).host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
