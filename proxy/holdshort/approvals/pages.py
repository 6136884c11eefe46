"""The review page: the queue and one call, drawn here from the stored record; the browser only places what it gets.

Every string that an agent, a server or an approver wrote goes through `inert`; there is no other way into a template.
"""

from functools import partial
from importlib.resources import files
from typing import Any, Final

import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from holdshort.approvals.access import Visit, read_json
from holdshort.approvals.api import require_edit_is_fine, visible
from holdshort.approvals.bodies import PreviewBody
from holdshort.approvals.grant_view import Proposed, proposal_view, remember_view, scope_lines
from holdshort.approvals.inert import Kind, pieces, pretty_json
from holdshort.approvals.problems import Refused
from holdshort.approvals.tally import Tally
from holdshort.approvals.view import diff_lines, snippet, view_of
from holdshort.interruption import Interruption, State, fingerprint, is_eligible, timestamp
from holdshort.policy import GrantState
from holdshort.store import GrantQuery, Pin, PinNotFound
from holdshort.store.contract import Query
from holdshort.wire import MalformedMessage, decode

__all__ = ["ASSETS", "Pages", "inert", "render"]

ASSETS: Final = {
    "approvals.css": "text/css; charset=utf-8",
    "approvals.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_MAX_CHIPS = 20_000
"""Beyond it a text's odd characters are spelled out without their box: a page must stay openable."""


def inert(text: object) -> Markup:
    """Return `text` as HTML that shows every character of it and does nothing."""
    out: list[str] = []
    chips = 0
    for piece in pieces(str(text)):
        if piece.kind is Kind.PLAIN:
            out.append(str(escape(piece.text)))
            continue
        chips += 1
        shown = escape(piece.text) if piece.kind is Kind.ODD else ""
        if chips > _MAX_CHIPS:
            out.append(f"{shown}\u27e8{escape(piece.label)}\u27e9")
        else:
            out.append(f'<span class="chip {piece.kind}">{shown}<span class="code">{escape(piece.label)}</span></span>')
    return Markup("".join(out))  # noqa: S704 (every part was escaped above)


_templates = Environment(
    loader=PackageLoader("holdshort.approvals"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["inert"] = inert
_templates.filters["timestamp"] = timestamp


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _templates.get_template(template).render(**values)


class Pages:
    """The handlers that answer HTML."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._proposed = Proposed()
        folder = files("holdshort.approvals") / "static"
        self._assets = {name: (folder / name).read_bytes() for name in ASSETS}

    async def queue(self, visit: Visit) -> Response:
        """Answer the calls that wait, the oldest deadline first, and the latest that ended."""
        store, limits = visit.deps.store, visit.deps.limits
        sequence = await store.sequence()
        waiting = await store.list(Query(states=frozenset({State.PENDING}), limit=limits.page_size))
        recent = await store.list(Query(states=frozenset(State) - {State.PENDING}, limit=12))
        counts = await store.counts()
        who = visit.principal
        rows = sorted(waiting.items, key=lambda record: record.expires_at)
        proposals = await self._proposed.now(store, visit.deps.clock())
        return await _html(
            "queue.html",
            waiting=[(record, is_eligible(record, who.name, who.groups)) for record in rows],
            snippet=snippet,
            recent=recent.items,
            proposals=[proposal_view(each) for each in proposals],
            total=counts.get(State.PENDING, 0),
            **_around(visit, sequence),
        )

    async def review(self, visit: Visit) -> Response:
        """Answer one call."""
        sequence = await visit.deps.store.sequence()
        record = await visible(visit, visit.request.path_params["id"])
        view = partial(view_of, record, visit.principal, visit.deps.clock())
        pin = await _pin_of(visit, record)
        proposals = await self._proposed.now(visit.deps.store, visit.deps.clock())
        call = visit.deps.judge.call_of(record, record.arguments)
        remember = partial(remember_view, record, call, proposals, visit.deps.limits.grant_uses)
        return await _html(
            "review.html", view=view, pin=pin, remember=remember, snippet=snippet, **_around(visit, sequence)
        )

    async def grants(self, visit: Visit) -> Response:
        """Answer the standing grants, and the latest that are over."""
        store, now = visit.deps.store, visit.deps.clock()
        sequence = await store.sequence()
        live = frozenset({GrantState.ACTIVE})
        active = await store.grants.list(GrantQuery(states=live, limit=visit.deps.limits.page_size), now=now)
        over = await store.grants.list(GrantQuery(states=frozenset(GrantState) - live, limit=12), now=now)
        shown = [
            [(grant, grant.state(now), scope_lines(grant.scope) if grant.scope else ()) for grant in page.items]
            for page in (active, over)
        ]
        return await _html("grants.html", active=shown[0], over=shown[1], **_around(visit, sequence))

    async def preview(self, visit: Visit) -> Response:
        """Check edited arguments as they were typed, and show what they change. Nothing is decided."""
        self._tally.pace(visit)
        body = await read_json(visit, PreviewBody)
        record = await visible(visit, visit.request.path_params["id"])
        try:
            arguments = decode(body.text.encode("utf-8", "surrogatepass"), visit.limits)
        except MalformedMessage as error:
            raise Refused("invalid_edit", str(error).replace("the message", "the text"), pointer="") from None
        if not isinstance(arguments, dict):
            raise Refused("invalid_edit", "arguments are a JSON object: `{...}`", pointer="")
        await require_edit_is_fine(visit, record, body.fingerprint, arguments)
        new = fingerprint(record.server, record.tool, arguments)
        return await _html(
            "diff.html",
            lines=partial(diff_lines, pretty_json(record.arguments), pretty_json(arguments)),
            same=new == record.fingerprint,
            fingerprint=new,
        )

    async def asset(self, visit: Visit) -> Response:
        """Answer one of the page's parts."""
        name = visit.request.path_params["name"]
        if name not in self._assets:
            raise Refused("not_found", "there is nothing here")
        return Response(self._assets[name], headers={"content-type": ASSETS[name], "cache-control": "no-cache"})

    @staticmethod
    def problem(refused: Refused) -> Response:
        """Answer an error to somebody who looks at a page."""
        return HTMLResponse(render("problem.html", code=refused.code, message=str(refused)), refused.status)


def _around(visit: Visit, sequence: int) -> dict[str, Any]:
    return {
        "approver": visit.principal.name,
        "csrf": visit.session.csrf,
        "sequence": sequence,
        "now": timestamp(visit.deps.clock()),
    }


async def _pin_of(visit: Visit, record: Interruption) -> Pin | None:
    """Return the pin as it is now, for a call that waited because its tool was not as it is pinned."""
    if record.pinned is None:
        return None
    try:
        return await visit.deps.store.pins.get(record.pinned.scope, record.tool)
    except PinNotFound:
        return None


async def _html(template: str, **values: Any) -> HTMLResponse:
    """Draw in a worker thread: a call of some megabytes must not hold up everybody else's."""

    def draw() -> str:
        ready = {name: value() if isinstance(value, partial) else value for name, value in values.items()}
        return render(template, **ready)

    return HTMLResponse(await anyio.to_thread.run_sync(draw))
