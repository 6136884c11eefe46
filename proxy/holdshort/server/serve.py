"""`holdshort serve`: the MCP side and the approval side on one port, or on two."""

import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from holdshort.approvals import build_app, close_streams
from holdshort.approvals.deps import ApprovalDeps
from holdshort.config import Config, Listen
from holdshort.config.principals import Principal, PrincipalKind
from holdshort.gate.conversation import Endpoint
from holdshort.gate.fleet import FleetEndpoint
from holdshort.gate.front.guard import Guard
from holdshort.gate.front.http import HttpFront
from holdshort.gate.front.legacy_sse import LegacySseFront
from holdshort.gate.front.wiring import Wiring
from holdshort.gate.line import ModernLine
from holdshort.gate.single import SingleEndpoint
from holdshort.gate.upstream import Log
from holdshort.server.core import Core, open_core, request_limits
from holdshort.server.endpoint import announce, withdraw
from holdshort.server.memory import settle
from holdshort.server.pages import approval_deps
from holdshort.server.reloading import Again
from holdshort.server.sockets import bind
from holdshort.server.web import WebServer

__all__ = ["Serving", "serve"]

_DRAIN_SECONDS: Final = 10.0
"""For approved calls that run when we are told to stop."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a proxy that has started can be found. `login_link` is a secret, good once."""

    base_url: str
    review_url: str
    login_link: str | None = field(repr=False)


async def serve(
    config: Config,
    state_dir: Path,
    log: Log,
    *,
    say: Callable[[str], None],
    on_ready: Callable[[Serving], None] | None = None,
    again: Again | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `say` gets the lines for the person who started us.

    With `again`, which reads the files anew, policy is taken up when it changes on disk, or at once on SIGHUP.

    Raises:
        CannotListen: an address is taken.
        StateError: the state folder cannot be used.
    """
    socket = bind(config.listen)
    port: int = socket.getsockname()[1]
    page_socket = bind(config.approvals_listen) if config.approvals_listen is not None else None
    page_port: int = page_socket.getsockname()[1] if page_socket is not None else port
    async with open_core(config, state_dir, log, again=again) as core:
        page_listen = config.approvals_listen or config.listen
        core.page_is_at(f"http://{_reachable(page_listen)}:{page_port}")
        base = f"http://{_reachable(config.listen)}:{port}"
        wiring = make_wiring(core, port)
        deps = approval_deps(core)
        approvals = build_app(deps)
        async with HttpFront(wiring).run() as front, LegacySseFront(wiring).run() as legacy:
            limits = config.limits
            servers = [WebServer(_root(front, legacy, approvals if page_socket is None else None), limits)]
            sockets = [socket]
            if page_socket is not None:
                servers.append(WebServer(approvals, limits))
                sockets.append(page_socket)
            async with anyio.create_task_group() as tasks:
                for server, bound in zip(servers, sockets, strict=True):
                    tasks.start_soon(_run, server, bound)
                closers = [lambda: close_streams(approvals), front.close, legacy.close]
                tasks.start_soon(_stop_on_signal, core, servers, closers)
                announce(state_dir, core.review_base or base)
                if on_ready is not None:
                    on_ready(Serving(base, f"{core.review_base}/", login_link(core, deps)))
                else:
                    _greet(core, deps, base, say)
                tasks.start_soon(_warm_up, core, say)
                settle()
        withdraw(state_dir)


def login_link(core: Core, deps: ApprovalDeps) -> str | None:
    """Return a one-time login link for the state folder's own approver; None where approvers are configured."""
    if core.first_token is None or core.review_base is None:
        return None
    approver = core.principals.authenticate(core.first_token.token)
    if approver is None:
        approver = Principal(PrincipalKind.APPROVER, "approver")
    return deps.login_link(approver, core.review_base)[0]


def make_wiring(core: Core, port: int) -> Wiring:
    """Return what the fronts need, for a proxy that is reached at `port`."""
    labels = tuple(core.upstreams)
    endpoints: dict[str, Endpoint] = {"": FleetEndpoint(labels, core.probe, core.log)}
    endpoints |= {label: SingleEndpoint(label) for label in labels}

    told: set[tuple[str, ...]] = set()

    async def eras(endpoint: Endpoint) -> tuple[bool, bool]:
        found = await core.probe(endpoint.servers)
        spoken = list(found.values())
        if not spoken:
            # Nobody can be asked now: the request itself tells what is wrong.
            return True, True
        legacy, modern = all(each.legacy for each in spoken), all(each.modern for each in spoken)
        if not legacy and not modern:
            left_out = tuple(label for label in found if not found[label].legacy)
            if left_out not in told:
                told.add(left_out)
                core.log.warning("servers share no protocol era; these are left out of /mcp", servers=left_out)
            return True, False
        return legacy, modern

    return Wiring(
        gate=core.gate,
        guard=Guard(core.principals, *_doors(core.config, port)),
        endpoints=endpoints,
        modern_lines={
            label: ModernLine(upstream, core.make_catalog(label)) for label, upstream in core.upstreams.items()
        },
        open_link=core.open_link,
        make_catalog=core.make_catalog,
        eras=eras,
        limits=request_limits(core.config),
        keepalive_seconds=core.config.limits.keepalive,
        buffered_events=core.config.limits.event_buffer,
    )


def _doors(config: Config, port: int) -> tuple[frozenset[bytes], frozenset[bytes]]:
    names = ["127.0.0.1", "localhost", "[::1]"]
    if not config.listen.loopback and config.listen.host not in ("0.0.0.0", "::"):  # noqa: S104 (a comparison)
        names.append(f"[{config.listen.host}]" if ":" in config.listen.host else config.listen.host)
    hosts = [f"{name}:{port}" for name in names]
    if port == 80:
        hosts += names
    origins = [f"http://{host}" for host in hosts]
    hosts += config.allowed_hosts
    origins += config.allowed_origins
    return frozenset(host.lower().encode() for host in hosts), frozenset(origin.lower().encode() for origin in origins)


def _root(front: HttpFront, legacy: LegacySseFront, approvals: Any) -> Any:
    async def root(scope: dict[str, Any], receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if path == "/mcp" or path.startswith("/mcp/"):
            await front(scope, receive, send)
        elif path.startswith("/sse/"):
            await legacy(scope, receive, send)
        elif approvals is not None:
            await approvals(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    return root


async def _run(server: WebServer, socket: Any) -> None:
    await server.serve(sockets=[socket])


async def _stop_on_signal(core: Core, servers: list[WebServer], closers: Sequence[Callable[[], None]]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        # Ends with the first signal once running calls have ended, or with the second at once.
        async for _ in signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_on_next, signals, tasks.cancel_scope)
                await core.gate.drain(_DRAIN_SECONDS)
                tasks.cancel_scope.cancel()
            break
    _close(servers, closers)


async def _cancel_on_next(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return


def _close(servers: list[WebServer], closers: Sequence[Callable[[], None]]) -> None:
    for close in closers:
        close()
    for server in servers:
        server.should_exit = True


async def _warm_up(core: Core, say: Callable[[str], None]) -> None:
    """Ask every server what it speaks, so that the first agent need not wait; name those that cannot be asked."""
    found = await core.probe()
    for label in core.upstreams:
        if label not in found:
            health = core.upstreams[label].health()
            say(f"server `{label}` cannot be reached yet: it {health.last_error or 'did not answer'}")


def _greet(core: Core, deps: ApprovalDeps, base: str, say: Callable[[str], None]) -> None:
    say(f"MCP for agents:   {base}/mcp  (all servers), {base}/mcp/NAME  (one of: {', '.join(core.upstreams)})")
    say(f"review page:      {core.review_base}/")
    if core.reloader is not None:
        say("policy:           watched; what changes in the files counts without a restart")
    if core.first_token is not None:
        say(f"approver token:   {core.first_token.path}")
        if sys.stderr.isatty() or core.first_token.created:
            say(f"log in once with: {login_link(core, deps)}")


def _reachable(listen: Listen) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 (a comparison)
    return f"[{host}]" if ":" in host else host
