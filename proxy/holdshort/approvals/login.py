"""Logging a browser in and out: a token in a posted form, or a link's one-time code posted by the page's script.

Nothing secret is ever in an address. A GET of the login page is the same for everybody, so a preview of a link shows
nothing and uses nothing up.
"""

import logging
import re
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response

from holdshort.approvals.access import Visit, cookie_name, identify, is_secure, read_body, read_json
from holdshort.approvals.api import ExactJSONResponse
from holdshort.approvals.bodies import LoginBody, LoginLinkBody
from holdshort.approvals.pages import render
from holdshort.approvals.problems import Refused
from holdshort.approvals.tally import Tally
from holdshort.config.principals import Principal
from holdshort.interruption import timestamp

__all__ = ["Logins"]

_log = logging.getLogger(__name__)
_NEXT: Final = re.compile(r"/(?:grants|review/[A-Za-z0-9_.~-]{1,128})?")
_WRONG: Final = "This token is not an approver's."
_USED: Final = "This link was used already, or is too old. Ask for a new one, or use your token."


class Logins:
    """The handlers around a browser's login."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    @staticmethod
    def address(path: str) -> str:
        """Return the login page that leads back to `path`."""
        return "/login" if _NEXT.fullmatch(path) is None or path == "/" else f"/login?next={quote(path)}"

    async def page(self, visit: Visit) -> Response:
        """Answer the login page: the same for everybody."""
        return _form(visit)

    async def login(self, visit: Visit) -> Response:
        """Trade a token or a code for a cookie."""
        self._tally.pace_login(visit)
        media = visit.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "application/x-www-form-urlencoded":
            fields = parse_qs((await read_body(visit)).decode("utf-8", "replace"), max_num_fields=10)
            token = fields.get("token", [""])[0].strip()
            following = _safe(fields.get("next", ["/"])[0])
            principal = _approver(visit.deps.principals.authenticate(token))
            if principal is None:
                _note_refused(visit)
                return _form(visit, _WRONG, 401, following)
            return self._start(visit, principal, RedirectResponse(following, 303))
        body = await read_json(visit, LoginBody)
        if (body.code is None) == (body.token is None):
            raise Refused("malformed", "send either `code` or `token`")
        if body.code is not None:
            principal = visit.deps.logins.redeem(body.code)
        else:
            principal = _approver(visit.deps.principals.authenticate(body.token or ""))
        if principal is None:
            _note_refused(visit)
            raise Refused("unauthenticated", _WRONG if body.code is None else _USED)
        return self._start(visit, principal, None)

    async def link(self, visit: Visit) -> Response:
        """Answer a one-time link. A login cannot make another: it would outlive itself."""
        if visit.caller is not None and visit.caller.session is not None:
            raise Refused("forbidden", "a login link needs a token; a browser's login cannot make one")
        body = await read_json(visit, LoginLinkBody)
        code, until = visit.deps.logins.issue(visit.principal)
        scheme = "https" if visit.request.scope.get("scheme") == "https" else "http"
        base = visit.deps.public_url or f"{scheme}://{visit.request.headers['host']}"
        url = f"{base.rstrip('/')}{self.address(body.next)}#{code}"
        return ExactJSONResponse({"url": url, "expires_at": timestamp(until)})

    async def session(self, visit: Visit) -> Response:
        """Answer who is logged in here, or that nobody is; asking keeps a login from idling out."""
        try:
            caller = identify(visit.request, visit.deps)
        except Refused:
            caller = None
        if caller is None or caller.session is None:
            return ExactJSONResponse({"approver": None, "csrf": None})
        return ExactJSONResponse({"approver": caller.principal.name, "csrf": caller.session.csrf})

    async def logout(self, visit: Visit) -> Response:
        """End the login, here and on the server."""
        if visit.caller is not None and visit.caller.cookie is not None:
            visit.deps.sessions.end(visit.caller.cookie)
        response = ExactJSONResponse({"status": "ok", "missing": []})
        self._set(visit, response, "", 0)
        return response

    def _start(self, visit: Visit, principal: Principal, response: Response | None) -> Response:
        cookie, session = visit.deps.sessions.start(principal)
        if response is None:
            response = ExactJSONResponse({"approver": principal.name, "csrf": session.csrf})
        self._set(visit, response, cookie, int(visit.deps.sessions.lifetime.total_seconds()))
        return response

    @staticmethod
    def _set(visit: Visit, response: Response, value: str, max_age: int) -> None:
        response.set_cookie(
            cookie_name(visit.request, visit.deps),
            value,
            max_age=max_age,
            path="/",
            secure=is_secure(visit.request, visit.deps),
            httponly=True,
            samesite="strict",
        )


def _form(visit: Visit, problem: str | None = None, status: int = 200, following: str | None = None) -> HTMLResponse:
    wanted = following if following is not None else _safe(visit.request.query_params.get("next", "/"))
    return HTMLResponse(render("login.html", next=wanted, problem=problem), status)


def _note_refused(visit: Visit) -> None:
    client = visit.request.client
    _log.warning("a login from %s was refused", "somewhere" if client is None else client.host)


def _safe(path: str) -> str:
    return path if _NEXT.fullmatch(path) else "/"


def _approver(principal: Principal | None) -> Principal | None:
    return principal if principal is not None and principal.is_approver else None
