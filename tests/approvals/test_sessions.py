"""Logins end when they should, links work once, and nobody guesses quickly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from approvals.site import ANA, BOT, Named, Site, serving_site
from holdshort.approvals.pace import Pace, Paces
from holdshort.approvals.sessions import LoginCodes, SessionLimits, Sessions
from holdshort.approvals.shelf import FileShelf
from holdshort.config.principals import Principal, PrincipalKind, Principals

WHO = Principal(PrincipalKind.APPROVER, "ana")
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def test_a_session_ends_after_30_idle_minutes() -> None:
    clock = Hands()
    sessions = Sessions(clock)
    cookie, _ = sessions.start(WHO)

    clock.now += timedelta(minutes=29, seconds=59)
    assert sessions.find(cookie) is not None
    clock.now += timedelta(minutes=30)
    assert sessions.find(cookie) is None
    clock.now = START
    assert sessions.find(cookie) is None


def test_looking_without_touching_does_not_keep_a_session() -> None:
    clock = Hands()
    sessions = Sessions(clock)
    cookie, _ = sessions.start(WHO)

    clock.now += timedelta(minutes=20)
    assert sessions.find(cookie, touch=False) is not None
    clock.now += timedelta(minutes=10)
    assert sessions.find(cookie, touch=False) is None


def test_a_session_ends_after_12_hours_however_busy() -> None:
    clock = Hands()
    sessions = Sessions(clock)
    cookie, _ = sessions.start(WHO)

    for _ in range(12 * 60 // 20 - 1):
        clock.now += timedelta(minutes=20)
        assert sessions.find(cookie) is not None
    clock.now += timedelta(minutes=20)
    assert sessions.find(cookie) is None


def test_logging_out_ends_a_session_at_once() -> None:
    sessions = Sessions(Hands())
    cookie, _ = sessions.start(WHO)
    sessions.end(cookie)

    assert sessions.find(cookie) is None


def test_sessions_and_codes_are_bounded_and_hold_no_secret() -> None:
    clock, limits = Hands(), SessionLimits(max_sessions=2, max_codes=2)
    sessions, codes = Sessions(clock, limits), LoginCodes(clock, limits)
    cookies = [sessions.start(WHO)[0] for _ in range(3)]
    links = [codes.issue(WHO)[0] for _ in range(3)]

    assert [sessions.find(cookie) is not None for cookie in cookies].count(True) == 2
    assert [codes.redeem(code) is not None for code in links].count(True) == 2
    assert cookies[2] not in repr(vars(sessions))
    assert links[2] not in repr(vars(codes))


def test_a_code_works_once_and_for_15_minutes() -> None:
    clock = Hands()
    codes = LoginCodes(clock)
    first, until = codes.issue(WHO)
    late, _ = codes.issue(WHO)

    assert until == START + timedelta(minutes=15)
    assert codes.redeem("guess") is None
    clock.now += timedelta(minutes=14, seconds=59)
    assert codes.redeem(first) == WHO
    assert codes.redeem(first) is None
    clock.now += timedelta(seconds=1)
    assert codes.redeem(late) is None


def test_a_pace_allows_a_burst_and_then_refills() -> None:
    now, paces = START, Paces(Pace(per_minute=60, burst=3), max_keys=2)

    assert [paces.take("a", now) for _ in range(4)] == [0, 0, 0, 1]
    assert paces.take("b", now) == 0
    now += timedelta(seconds=2)
    assert [paces.take("a", now) for _ in range(3)] == [0, 0, 1]
    assert paces.take("a", START - timedelta(days=1)) == 1
    for name in "cdefg":
        paces.take(name, now)
    assert paces.take("a", now) == 1


# Kept across processes.


def shelves(tmp_path: Path, *names: str) -> tuple[Hands, list[Sessions]]:
    clock, principals = Hands(), Principals(approvers=[Named(name, name * 20) for name in names])
    path = tmp_path / "sessions.json"
    return clock, [Sessions(clock, shelf=FileShelf(path, principals.approver)) for _ in range(2)]


def test_a_login_outlives_its_process_and_a_logout_reaches_every_process(tmp_path: Path) -> None:
    clock, (one, two) = shelves(tmp_path, "ana")
    cookie, session = one.start(WHO)

    assert two.find(cookie) == session
    clock.now += timedelta(minutes=20)
    assert two.find(cookie) is not None
    clock.now += timedelta(minutes=20)
    assert one.find(cookie) is not None
    two.end(cookie)
    assert one.find(cookie) is None


def test_the_file_is_private_and_holds_no_cookie(tmp_path: Path) -> None:
    _, (one, _) = shelves(tmp_path, "ana")
    cookie, _ = one.start(WHO)

    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert cookie not in path.read_text()


def test_an_approver_who_is_no_longer_configured_is_logged_out(tmp_path: Path) -> None:
    _, (one, _) = shelves(tmp_path, "ana")
    cookie, _ = one.start(WHO)
    _, (later, _) = shelves(tmp_path, "ben")

    assert later.find(cookie) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"x": {}}', '{"x": {"approver": "ana", "csrf": "", "started": "2026-01-01", "seen": "x"}}']
)
def test_a_spoiled_file_is_nobodys_login_and_can_be_written_again(tmp_path: Path, text: str) -> None:
    _, (one, two) = shelves(tmp_path, "ana")
    cookie, _ = one.start(WHO)
    (tmp_path / "sessions.json").write_text(text)

    assert two.find(cookie) is None
    again, _ = two.start(WHO)
    assert one.find(again) is not None


async def test_a_browser_stays_logged_in_when_another_process_takes_over(tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    async with serving_site(tmp_path / "state", session_file=file) as first:
        login = await first.client.post("/login", json={"token": ANA})
        cookie, port = login.headers["set-cookie"].split(";")[0], first.port
    async with serving_site(tmp_path / "state", session_file=file, port=port) as second:
        here = await second.get("/session", None, headers={"cookie": cookie})

    assert here.json() == login.json()


# Over HTTP.


async def test_a_link_logs_in_once_and_its_secret_is_in_the_fragment(site: Site) -> None:
    made = await site.post("/v1/login-links", {"next": "/review/i-7"})
    url = made.json()["url"]
    address, _, code = url.partition("#")

    assert address == f"{site.url}/login?next=/review/i-7"
    assert len(code) >= 43
    first = await site.client.post("/login", json={"code": code})
    assert first.json()["approver"] == "ana"
    assert (await site.client.get("/session")).json()["approver"] == "ana"
    site.client.cookies.clear()
    again = await site.client.post("/login", json={"code": code})
    assert (again.status_code, again.json()["error"]["code"]) == (401, "unauthenticated")
    assert "set-cookie" not in again.headers


async def test_a_link_needs_a_token_not_a_login_and_never_an_agents(site: Site) -> None:
    login = await site.client.post("/login", json={"token": ANA})

    by_login = await site.client.post("/v1/login-links", json={}, headers={"x-csrf-token": login.json()["csrf"]})
    site.client.cookies.clear()
    by_agent = await site.post("/v1/login-links", {}, BOT)
    elsewhere = await site.post("/v1/login-links", {"next": "https://evil.example"})

    assert (by_login.status_code, by_agent.status_code, elsewhere.status_code) == (403, 403, 400)


async def test_a_get_of_the_login_page_is_the_same_for_everybody_and_uses_nothing_up(site: Site) -> None:
    code, _ = site.deps.logins.issue(WHO)

    page = await site.client.get("/login")
    with_code = await site.client.get(f"/login?code={code}")

    assert page.text == with_code.text
    assert "ana" not in page.text
    assert "set-cookie" not in page.headers
    assert site.deps.logins.redeem(code) == WHO


async def test_a_form_without_script_logs_in_and_leads_on(site: Site) -> None:
    right = await site.client.post("/login", data={"token": ANA, "next": "/review/i-7"})
    null_origin = await site.client.post(
        "/login", data={"token": ANA}, headers={"origin": "null", "sec-fetch-site": "same-origin"}
    )
    wrong = await site.client.post("/login", data={"token": "nope", "next": "/review/i-7"})

    assert (right.status_code, right.headers["location"]) == (303, "/review/i-7")
    assert null_origin.status_code == 303
    assert wrong.status_code == 401
    assert 'value="/review/i-7"' in wrong.text
    assert "not an approver" in wrong.text


@pytest.mark.parametrize("token", [BOT, "", "x"])
async def test_only_an_approvers_token_logs_in(site: Site, token: str) -> None:
    assert (await site.client.post("/login", json={"token": token})).status_code == 401
    assert (await site.client.post("/login", json={"token": token, "code": "x"})).status_code == 400


@pytest.mark.parametrize(
    "following", ["//evil.example", "https://evil.example", "/\\evil", "/v1/log", "/review/a/b", "x"]
)
async def test_a_login_leads_nowhere_else(site: Site, following: str) -> None:
    response = await site.client.post("/login", data={"token": ANA, "next": following})
    page = await site.client.get("/login", params={"next": following})

    assert response.headers["location"] == "/"
    assert 'value="/"' in page.text


async def test_logins_have_a_pace(site: Site) -> None:
    answers = [(await site.client.post("/login", json={"token": "guess"})).status_code for _ in range(12)]

    assert answers == [401] * 10 + [429] * 2
    assert (await site.client.post("/login", json={"token": ANA})).status_code == 429


async def test_logging_out_ends_the_login_everywhere(site: Site) -> None:
    login = await site.client.post("/login", json={"token": ANA})
    cookie = login.headers["set-cookie"].split(";")[0]
    site.client.cookies.clear()

    out = await site.post("/logout", {}, None, headers={"cookie": cookie, "x-csrf-token": login.json()["csrf"]})

    assert out.status_code == 200
    assert "max-age=0" in out.headers["set-cookie"].lower()
    assert (await site.get("/session", None, headers={"cookie": cookie})).json()["approver"] is None
    assert (await site.get("/v1/interruptions", None, headers={"cookie": cookie})).status_code == 401


async def test_pages_send_strangers_to_the_login_page_and_back(site: Site) -> None:
    for token in (None, BOT, ANA):
        queue = await site.get("/", token)
        review = await site.get("/review/i-7", token)
        assert (queue.status_code, queue.headers["location"]) == (303, "/login")
        assert (review.status_code, review.headers["location"]) == (303, "/login?next=/review/i-7")
