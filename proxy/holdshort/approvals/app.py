"""The approval side as one ASGI app: the route table, and the one place where an error becomes an answer."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holdshort.approvals import bodies
from holdshort.approvals.access import Endpoint, Visit, Who
from holdshort.approvals.api import ExactJSONResponse, InterruptionsApi
from holdshort.approvals.calls import CallsApi
from holdshort.approvals.deps import ApprovalDeps
from holdshort.approvals.doors import Doors
from holdshort.approvals.grants import GrantsApi
from holdshort.approvals.login import Logins
from holdshort.approvals.openapi import describe
from holdshort.approvals.operations import Operations
from holdshort.approvals.pages import ASSETS, Pages
from holdshort.approvals.pins import PinsApi
from holdshort.approvals.problems import Refused, error_code, problem_body, refusal_of
from holdshort.approvals.stream import EventStreams
from holdshort.approvals.tally import Tally
from holdshort.errors import HoldshortError
from holdshort.interruption import State
from holdshort.policy import GrantState
from holdshort.store.contract import EntryKind

__all__ = ["NAVIGABLE", "make_app", "route_table"]

NAVIGABLE: Final = re.compile(r"/|/login|/grants|/review/[^/]+")
"""Pages another site may link to; a GET of them changes nothing."""

_log = logging.getLogger(__name__)
_TEXT: Final = {"type": "string"}
_NEW: Final = ("not_found",)
_CONFLICT: Final = (
    "not_found",
    "not_eligible",
    "already_decided",
    "expired",
    "fingerprint_mismatch",
    "superseded",
    "rate_limited",
)


def make_app(deps: ApprovalDeps) -> Starlette:
    """Return the app; `app.state.streams` are its open event streams."""
    streams = EventStreams()
    table = route_table(deps, streams)
    allowed_hosts = list(deps.allowed_hosts)
    if deps.public_authority is not None:
        own = deps.public_authority
        allowed_hosts.append(own.host if own.port is None else f"{own.host}:{own.port}")
    app = Starlette(
        routes=[Route(each.path, _run(each, deps), methods=[each.method], name=each.name) for each in table],
        middleware=[
            Middleware(Doors, allowed_hosts=allowed_hosts, allowed_origins=deps.allowed_origins, navigable=NAVIGABLE)
        ],
        exception_handlers={HTTPException: _no_route},
    )
    # A redirect would be built from the request's own idea of our address.
    app.router.redirect_slashes = False
    app.state.streams = streams
    return app


def route_table(deps: ApprovalDeps, streams: EventStreams) -> list[Endpoint]:
    """Return every route there is, with who may use it."""
    tally = Tally(deps.limits)
    api, operations = InterruptionsApi(tally, streams.waits), Operations(tally, streams)
    calls = CallsApi(tally, streams.waits)
    grants = GrantsApi(tally)
    pages, logins, pins = Pages(tally), Logins(tally), PinsApi(tally)
    table = [
        Endpoint(
            method="GET", path="/v1/interruptions", who=Who.READER, handler=api.list, name="listInterruptions",
            summary="List parked calls, newest first; an agent sees its own", tag="interruptions",
            answer=bodies.InterruptionList,
            query={
                "state": ("One state, or several with commas", {"type": "string", "examples": [State.PENDING.value]}),
                "server": ("Of this server", _TEXT),
                "agent": ("Asked for by this agent", _TEXT),
                "run_id": ("Of this run", _TEXT),
                "limit": ("At most this many", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
                "cursor": ("`next_cursor` of the page before", _TEXT),
            },
        ),
        # Before `{id}`: the first route that matches is taken.
        Endpoint(
            method="GET", path="/v1/interruptions/events", who=Who.READER, handler=streams.events,
            name="followInterruptions", summary="Follow changes as server-sent events named `interruption`",
            tag="interruptions", media="text/event-stream", errors=("rate_limited",),
            query={"after": ("Like the header `Last-Event-ID`: start after this sequence", {"type": "integer"})},
        ),
        Endpoint(
            method="GET", path="/v1/interruptions/{id}", who=Who.READER, handler=api.show, name="getInterruption",
            summary="One parked call", tag="interruptions", answer=bodies.InterruptionOut,
            errors=(*_NEW, "rate_limited"),
            query={
                "wait": (
                    "Answer once it is not pending any more, at most after so many seconds",
                    {"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
                ),
            },
        ),
        Endpoint(
            method="POST", path="/v1/interruptions/{id}/decision", who=Who.APPROVER, handler=api.decide,
            name="decide", summary="Approve, edit, reject, or respond in the tool's place", tag="interruptions",
            body=bodies.DecisionBody, answer=bodies.InterruptionOut,
            errors=(*_CONFLICT, "decision_not_allowed", "invalid_edit", "invalid_remember"),
        ),
        Endpoint(
            method="POST", path="/v1/interruptions/{id}/withdraw", who=Who.AGENT, handler=api.withdraw,
            name="withdraw", summary="Take back a call of one's own", tag="interruptions",
            body=bodies.WithdrawBody, answer=bodies.InterruptionOut, errors=(*_NEW, "illegal_transition"),
        ),
        Endpoint(
            method="POST", path="/v1/interruptions/{id}/resolve", who=Who.APPROVER, handler=api.resolve,
            name="resolve", summary="Say whether a call of unknown outcome ran", tag="interruptions",
            body=bodies.ResolveBody, answer=bodies.InterruptionOut,
            errors=(*_NEW, "not_eligible", "illegal_transition", "rate_limited"),
        ),
        Endpoint(
            method="POST", path="/v1/calls", who=Who.AGENT, handler=calls.ask, name="askAboutCall",
            summary="Ask about a call that the agent runs itself; `allow` means run it now", tag="calls",
            body=bodies.CallBody, answer=bodies.CallOut,
            also={202: "A person decides, or has: go by the interruption, and run nothing without a claim of it."},
            errors=("denied", "call_id_reused", "quota_exceeded", "rate_limited"),
        ),
        Endpoint(
            method="POST", path="/v1/interruptions/{id}/claim", who=Who.AGENT, handler=calls.claim, name="claim",
            summary="Take an approved call to run it oneself; exactly one claim succeeds", tag="calls",
            body=bodies.ClaimBody, answer=bodies.ClaimOut,
            errors=(*_NEW, "illegal_transition", "wrong_kind", "expired", "superseded", "rate_limited"),
        ),
        Endpoint(
            method="POST", path="/v1/interruptions/{id}/outcome", who=Who.AGENT, handler=calls.outcome,
            name="reportOutcome", summary="Say what came of a call that was taken", tag="calls",
            body=bodies.OutcomeBody, answer=bodies.InterruptionOut,
            errors=(*_NEW, "illegal_transition", "wrong_kind", "stale_token", "rate_limited"),
        ),
        Endpoint(
            method="GET", path="/v1/grants", who=Who.APPROVER, handler=grants.list, name="listGrants",
            summary="List standing grants, newest first", tag="grants", answer=bodies.GrantList,
            query={
                "state": ("One state, or several with commas", {"type": "string", "examples": [GrantState.ACTIVE]}),
                "agent": ("For calls of this agent", _TEXT),
                "server": ("For tools of this server", _TEXT),
                "tool": ("For this tool", _TEXT),
                "limit": ("At most this many", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
                "cursor": ("`next_cursor` of the page before", _TEXT),
            },
        ),
        # Before `{id}`: the first route that matches is taken.
        Endpoint(
            method="GET", path="/v1/grants/proposals", who=Who.APPROVER, handler=grants.proposals,
            name="proposeGrants", summary="What could be granted, by what was approved again and again",
            tag="grants", answer=bodies.ProposalList,
        ),
        Endpoint(
            method="GET", path="/v1/grants/{id}", who=Who.APPROVER, handler=grants.show, name="getGrant",
            summary="One standing grant", tag="grants", answer=bodies.GrantOut, errors=_NEW,
        ),
        Endpoint(
            method="POST", path="/v1/grants/{id}/revoke", who=Who.APPROVER, handler=grants.revoke,
            name="revokeGrant", summary="End a standing grant", tag="grants", body=bodies.RevokeBody,
            answer=bodies.GrantOut, errors=(*_NEW, "rate_limited"),
        ),
        Endpoint(
            method="GET", path="/v1/pins", who=Who.APPROVER, handler=pins.list, name="listPins",
            summary="What every tool is pinned to, and what differs from that", tag="pins", answer=bodies.PinList,
            query={
                "server": ("Of this server", _TEXT),
                "state": ("`new`, `changed`, `pinned`, or several with commas", _TEXT),
            },
        ),
        Endpoint(
            method="POST", path="/v1/pins/accept", who=Who.APPROVER, handler=pins.accept, name="acceptPin",
            summary="Accept the definition that was looked at; decides about no call", tag="pins",
            body=bodies.AcceptPinBody, answer=bodies.PinOut, errors=("not_found", "pin_moved", "rate_limited"),
        ),
        Endpoint(
            method="GET", path="/v1/log", who=Who.APPROVER, handler=operations.log, name="readLog",
            summary="The decision log, oldest first", tag="operations", answer=bodies.LogList,
            query={
                "after": ("Rows after this sequence", {"type": "integer", "minimum": 0, "default": 0}),
                "limit": ("At most this many", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
                "kind": ("One kind, or several with commas", {"type": "string", "examples": [EntryKind.DECISION]}),
                "server": ("Of this server", _TEXT),
                "agent": ("Of this agent", _TEXT),
                "interruption": ("About this parked call", _TEXT),
            },
        ),
        Endpoint(
            method="GET", path="/v1/policy", who=Who.APPROVER, handler=operations.policy, name="readPolicy",
            summary="The policy in force", tag="operations", answer=bodies.PolicyOut,
        ),
        Endpoint(
            method="POST", path="/v1/policy/explain", who=Who.APPROVER, handler=operations.explain,
            name="explainPolicy", summary="What policy would say about a call, and why", tag="operations",
            body=bodies.ExplainBody, answer=bodies.ExplainOut, errors=_NEW,
        ),
        Endpoint(
            method="GET", path="/v1/servers", who=Who.APPROVER, handler=operations.servers, name="listServers",
            summary="The upstream servers and how they are", tag="operations", answer=bodies.ServerList,
        ),
        Endpoint(
            method="POST", path="/v1/login-links", who=Who.APPROVER, handler=logins.link, name="makeLoginLink",
            summary="A link that logs one browser in, once; needs a token, not a login", tag="page",
            body=bodies.LoginLinkBody, answer=bodies.LoginLinkOut,
        ),
        Endpoint(
            method="GET", path="/healthz", who=Who.ANYONE, handler=operations.alive, name="healthz",
            summary="Is the process alive", tag="operations", answer=bodies.StatusOut,
        ),
        Endpoint(
            method="GET", path="/readyz", who=Who.ANYONE, handler=operations.ready, name="readyz",
            summary="Can calls be served", tag="operations", answer=bodies.StatusOut,
        ),
        Endpoint(
            method="GET", path="/metrics", who=Who.OPERATOR, handler=operations.metrics, name="metrics",
            summary="Numbers in the Prometheus text format", tag="operations", media="text/plain",
        ),
        Endpoint(
            method="GET", path="/", who=Who.BROWSER, handler=pages.queue, name="queuePage",
            summary="The calls that wait", tag="page", media="text/html",
        ),
        Endpoint(
            method="GET", path="/grants", who=Who.BROWSER, handler=pages.grants, name="grantsPage",
            summary="What is approved in advance", tag="page", media="text/html",
        ),
        Endpoint(
            method="GET", path="/review/{id}", who=Who.BROWSER, handler=pages.review, name="reviewPage",
            summary="One call", tag="page", media="text/html", errors=_NEW,
        ),
        Endpoint(
            method="POST", path="/review/{id}/preview", who=Who.BROWSER, handler=pages.preview, name="previewEdit",
            summary="Check edited arguments and show what they change; decides nothing", tag="page",
            media="text/html", body=bodies.PreviewBody,
            errors=("csrf", "not_found", "fingerprint_mismatch", "invalid_edit", "rate_limited"),
        ),
        Endpoint(
            method="GET", path="/login", who=Who.ANYONE, handler=logins.page, name="loginPage",
            summary="Where a browser logs in", tag="page", media="text/html",
        ),
        Endpoint(
            method="POST", path="/login", who=Who.ANYONE, handler=logins.login, name="login",
            summary="Log a browser in with a link's code or a token", tag="page", body=bodies.LoginBody,
            answer=bodies.SessionOut, errors=("unauthenticated", "rate_limited"),
        ),
        Endpoint(
            method="GET", path="/session", who=Who.ANYONE, handler=logins.session, name="session",
            summary="This browser's login", tag="page", answer=bodies.SessionOut,
        ),
        Endpoint(
            method="POST", path="/logout", who=Who.BROWSER, handler=logins.logout, name="logout",
            summary="End this browser's login", tag="page", answer=bodies.StatusOut, errors=("csrf",),
        ),
        Endpoint(
            method="GET", path="/static/{name}", who=Who.ANYONE, handler=pages.asset, name="asset",
            summary=f"The page's parts: {', '.join(ASSETS)}", tag="page", media="*/*", errors=_NEW,
        ),
    ]  # fmt: skip
    document: dict[str, Any] = {}

    async def published(visit: Visit) -> Response:
        return ExactJSONResponse(document)

    table.append(
        Endpoint(
            method="GET",
            path="/openapi.json",
            who=Who.ANYONE,
            handler=published,
            name="openapi",
            summary="This description",
            tag="operations",
            answer=bodies.OpenApiOut,
        )
    )
    document.update(describe(table, deps.version))
    return table


def _run(endpoint: Endpoint, deps: ApprovalDeps) -> Callable[[Request], Awaitable[Response]]:
    html = endpoint.media == "text/html" and endpoint.method == "GET"

    async def run(request: Request) -> Response:
        try:
            return await endpoint.visit(request, deps)
        except Exception as error:  # noqa: BLE001 (nothing may leave here as anything but a refusal)
            if not isinstance(error, HoldshortError):
                _log.exception("%s %s failed", endpoint.method, endpoint.path)
            elif error_code(error) == "state":
                _log.error("%s %s: %s", endpoint.method, endpoint.path, error)
            refused = refusal_of(error)
            if not html:
                return ExactJSONResponse(problem_body(refused), refused.status, refused.headers)
            if refused.code in ("unauthenticated", "forbidden"):
                return RedirectResponse(Logins.address(request.scope["path"]), 303)
            return Pages.problem(refused)

    return run


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    refused = (
        Refused("method_not_allowed", f"`{request.method}` is not something to do here")
        if status == 405
        else Refused("not_found", "there is nothing here")
    )
    headers = error.headers if isinstance(error, HTTPException) else None
    return ExactJSONResponse(problem_body(refused), refused.status, headers)
