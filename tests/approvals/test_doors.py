"""Host, Origin and Sec-Fetch-Site on every route; strict headers; inert answers; CSRF. Raw sockets where it matters."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.routing import Route

from approvals.site import ANA, BOT, Site, bearer, serving_site
from holdshort.approvals.app import make_app, route_table
from holdshort.approvals.deps import ApprovalLimits
from holdshort.approvals.doors import CONTENT_SECURITY_POLICY, Authority, parse_authority
from holdshort.approvals.pace import Pace
from holdshort.approvals.stream import EventStreams
from holdshort.interruption import State


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Site]:
    """One site for the module: nothing here depends on what is parked."""
    limits = ApprovalLimits(logins=Pace(1000, 1000))
    async with serving_site(tmp_path_factory.mktemp("state"), limits=limits) as running:
        yield running


async def raw(site: Site, *lines: str, path: str = "/healthz", method: str = "GET") -> tuple[int, str]:
    """Send exactly these header lines and return status and whole answer."""
    request = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "Connection: close", "", ""])
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", site.port) as stream:
            await stream.send(request.encode("latin-1"))
            answer = b""
            try:
                while True:
                    answer += await stream.receive()
            except anyio.EndOfStream:
                pass
    text = answer.decode("latin-1")
    return int(text.split()[1]), text


def paths(site: Site) -> list[tuple[str, str]]:
    return [
        (each.method, each.path.replace("{id}", "i-x").replace("{name}", "approvals.css"))
        for each in route_table(site.deps, EventStreams())
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("localhost:7411", Authority("localhost", 7411)),
        ("LOCALHOST", Authority("localhost", None)),
        ("[::1]:80", Authority("[::1]", 80)),
        ("a.example", Authority("a.example", None)),
        ("localhost:0", None),
        ("localhost:70000", None),
        ("localhost:", None),
        ("localhost:80:80", None),
        ("localhost:80/x?", None),
        ("user@localhost:80", None),
        ("localhost .evil", None),
        ("localhost:80 ", None),
        (".localhost", None),
        ("localhost.", None),
        ("loc\u00e4lhost", None),
        ("localhost:\u0668\u0660", None),
        ("", None),
    ],
)
def test_an_authority_is_read_exactly_or_not_at_all(text: str, found: Authority | None) -> None:
    assert parse_authority(text) == found


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]", "holdshort.localhost"])
async def test_loopback_names_with_our_port_are_ours(site: Site, name: str) -> None:
    assert (await raw(site, f"Host: {name}:{site.port}"))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "localhost:{other}",
        "127.0.0.1:{port}/x?",
        "127.0.0.1:{port}@evil.example",
        "localhost.evil.example:{port}",
        "localhost.:{port}",
        "evil.localhost:{port}",
        "127.0.0.2:{port}",
        "0.0.0.0:{port}",
        "[::]:{port}",
        "2130706433:{port}",
        "",
    ],
)
async def test_any_other_host_is_421_on_every_route(site: Site, host: str) -> None:
    value = host.format(port=site.port, other=site.port + 1)
    for method, path in paths(site):
        assert (await raw(site, f"Host: {value}", path=path, method=method))[0] == 421


async def test_no_host_or_two_hosts_are_no_request(site: Site) -> None:
    ours = f"Host: 127.0.0.1:{site.port}"
    for lines in ([], [ours, "Host: evil.example"], [ours, ours]):
        assert (await raw(site, *lines))[0] in (400, 421)


@pytest.mark.parametrize(
    "header", ["Origin", "Authorization", "Cookie", "Sec-Fetch-Site", "X-CSRF-Token", "Content-Type"]
)
async def test_a_header_that_decides_may_be_there_once(site: Site, header: str) -> None:
    ours = f"Host: 127.0.0.1:{site.port}"

    assert (await raw(site, ours, f"{header}: same-origin", f"{header}: same-origin"))[0] == 400


async def test_forwarding_headers_move_no_door(site: Site) -> None:
    for name in ("X-Forwarded-Host", "Forwarded", "X-Original-Host", "X-Host"):
        evil = f"{name}: 127.0.0.1:{site.port}"
        assert (await raw(site, "Host: evil.example", evil))[0] == 421
        assert (await raw(site, f"Host: 127.0.0.1:{site.port}", f"{name}: evil.example"))[0] == 200


async def test_an_absolute_target_does_not_replace_the_host_header(site: Site) -> None:
    status, _ = await raw(site, "Host: evil.example", path=f"http://127.0.0.1:{site.port}/healthz")

    assert status == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:{other}",
        "http://localhost:{port}",
        "https://127.0.0.1:{other}",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil@127.0.0.1:{port}",
        "file://127.0.0.1:{port}",
        "chrome-extension://abcdef",
        "null",
        "127.0.0.1:{port}",
        "http://127.0.0.1:{port} http://evil.example",
    ],
)
async def test_any_other_origin_is_403_on_every_route(site: Site, origin: str) -> None:
    record = await site.park()
    value = origin.format(port=site.port, other=site.port + 1)
    for method, path in paths(site):
        status, _ = await raw(site, f"Host: 127.0.0.1:{site.port}", f"Origin: {value}", path=path, method=method)
        assert status == 403, path

    assert (await site.decide(record, "approve")).status_code == 200
    refused = await site.post(
        f"/v1/interruptions/{record.id}/decision",
        {"decision": "approve", "fingerprint": record.fingerprint},
        headers={"origin": value},
    )
    assert refused.json()["error"]["code"] == "bad_origin"


async def test_our_own_origin_is_let_in(site: Site) -> None:
    for host in ("127.0.0.1", "localhost"):
        lines = (f"Host: {host}:{site.port}", f"Origin: http://{host}:{site.port}")
        assert (await raw(site, *lines))[0] == 200


@pytest.mark.parametrize(
    ("site_value", "mode", "dest", "path", "status"),
    [
        ("same-origin", "cors", "empty", "/v1/interruptions", 200),
        ("none", "navigate", "document", "/healthz", 200),
        ("cross-site", "navigate", "document", "/login", 200),
        ("cross-site", "navigate", "document", "/", 303),
        ("same-site", "navigate", "document", "/review/i-x", 303),
        ("cross-site", "navigate", "iframe", "/login", 403),
        ("cross-site", "no-cors", "image", "/login", 403),
        ("cross-site", "no-cors", "script", "/v1/interruptions", 403),
        ("cross-site", "navigate", "document", "/v1/interruptions", 403),
        ("same-site", "cors", "empty", "/v1/interruptions", 403),
        ("same-site", "navigate", "document", "/metrics", 403),
        ("cross-site", "navigate", "document", "/review/x/preview", 403),
        ("weird", "navigate", "document", "/v1/interruptions", 403),
    ],
)
async def test_what_another_site_sends_is_refused_except_a_link_to_a_page(
    site: Site, site_value: str, mode: str, dest: str, path: str, status: int
) -> None:
    headers = {"sec-fetch-site": site_value, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    token = ANA if path.startswith("/v1") else None

    assert (await site.get(path, token, headers=headers)).status_code == status


async def test_another_sites_post_is_refused_even_as_a_navigation(site: Site) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    response = await site.client.post("/login", data={"token": ANA}, headers=headers)

    assert response.json()["error"]["code"] == "bad_origin"


async def test_configured_hosts_and_the_public_address_are_ours(tmp_path: Path) -> None:
    async with serving_site(
        tmp_path,
        allowed_hosts=("box.lan", "proxy.lan:8443"),
        allowed_origins=("https://console.example",),
        public_url="https://approvals.example",
    ) as site:
        for host, status in [
            ("approvals.example", 200),
            ("approvals.example:444", 421),
            ("box.lan", 200),
            (f"box.lan:{site.port}", 200),
            ("box.lan:1", 421),
            ("proxy.lan:8443", 200),
            ("proxy.lan", 421),
            (f"proxy.lan:{site.port}", 421),
            ("sub.box.lan", 421),
        ]:
            assert (await raw(site, f"Host: {host}"))[0] == status, host
        same = ("Host: approvals.example", "Origin: https://approvals.example")
        other = ("Host: approvals.example", "Origin: https://console.example", "Sec-Fetch-Site: cross-site")
        evil = ("Host: approvals.example", "Origin: https://evil.example")
        assert [(await raw(site, *lines))[0] for lines in (same, other, evil)] == [200, 200, 403]


async def test_every_answer_is_inert(site: Site) -> None:
    for method, path in [*paths(site), ("GET", "/nothing")]:
        _, answer = await raw(site, f"Host: 127.0.0.1:{site.port}", path=path, method=method)
        head = answer.partition("\r\n\r\n")[0].lower()
        assert f"content-security-policy: {CONTENT_SECURITY_POLICY}".lower() in head, path
        assert "x-content-type-options: nosniff" in head
        assert "referrer-policy: no-referrer" in head
        assert "x-frame-options: deny" in head
        assert "cache-control: no-" in head
        assert "access-control-allow-origin" not in head
    _, refused = await raw(site, "Host: evil.example")
    assert "content-security-policy" in refused


async def test_a_body_that_never_comes_is_cut_off(tmp_path: Path) -> None:
    async with serving_site(tmp_path, limits=ApprovalLimits(body_seconds=0.2)) as site:
        lines = (
            f"Host: 127.0.0.1:{site.port}",
            f"Authorization: Bearer {ANA}",
            "Content-Type: application/json",
            "Content-Length: 100",
        )
        status, _ = await raw(site, *lines, path="/v1/policy/explain", method="POST")

    assert status == 408


async def test_every_route_names_who_may_use_it(site: Site) -> None:
    table = route_table(site.deps, EventStreams())
    routed = {
        (method, route.path)
        for route in make_app(site.deps).routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }

    assert {(each.method, each.path) for each in table} == {pair for pair in routed if pair[0] != "HEAD"}
    anyone = {(each.method, each.path) for each in table if each.who == "anyone"}
    assert anyone == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/session"),
        ("GET", "/static/{name}"),
    }


# Cookies.


async def log_in(site: Site, token: str = ANA, **headers: str) -> tuple[str, str]:
    """Return the cookie header and the CSRF token of a new login."""
    response = await site.client.post("/login", json={"token": token}, headers=headers)
    assert response.status_code == 200, response.text
    cookie = response.headers["set-cookie"].split(";")[0]
    site.client.cookies.clear()
    csrf: str = response.json()["csrf"]
    return cookie, csrf


async def test_a_cookie_reads_and_with_its_csrf_token_decides(site: Site) -> None:
    record = await site.park()
    cookie, csrf = await log_in(site)
    body = {"decision": "approve", "fingerprint": record.fingerprint}
    path = f"/v1/interruptions/{record.id}/decision"

    assert (await site.get("/v1/interruptions", None, headers={"cookie": cookie})).status_code == 200
    for wrong in ({}, {"x-csrf-token": ""}, {"x-csrf-token": csrf[:-1]}, {"x-csrf-token": "x"}):
        refused = await site.post(path, body, None, headers={"cookie": cookie, **wrong})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf")
    assert (await site.store.get(record.id)).state is State.PENDING
    accepted = await site.post(path, body, None, headers={"cookie": cookie, "x-csrf-token": csrf})
    assert accepted.json()["decisions"][0]["by"] == "ana"


async def test_one_sessions_csrf_token_is_worth_nothing_in_another(site: Site) -> None:
    cookie, _ = await log_in(site)
    _, other = await log_in(site)

    refused = await site.post("/logout", {}, None, headers={"cookie": cookie, "x-csrf-token": other})

    assert refused.json()["error"]["code"] == "csrf"


async def test_a_bearer_token_beside_a_cookie_is_the_one_that_counts(site: Site) -> None:
    record = await site.park()
    cookie, csrf = await log_in(site)

    refused = await site.post(
        f"/v1/interruptions/{record.id}/decision",
        {"decision": "approve", "fingerprint": record.fingerprint},
        BOT,
        headers={"cookie": cookie, "x-csrf-token": csrf},
    )

    assert refused.status_code == 403


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    response = await site.client.post("/login", json={"token": ANA})
    attributes = response.headers["set-cookie"].lower()

    assert attributes.startswith(f"holdshort-{site.port}=")
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "path=/" in attributes
    assert "domain" not in attributes


async def test_over_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    async with serving_site(tmp_path, public_url="https://approvals.example") as site:
        response = await site.client.post("/login", json={"token": ANA}, headers={"host": "approvals.example"})
        attributes = response.headers["set-cookie"].lower()
        cookie = response.headers["set-cookie"].split(";")[0]
        site.client.cookies.clear()
        headers = {"host": "approvals.example", "cookie": cookie}

        assert attributes.startswith("__host-holdshort=")
        assert "secure" in attributes
        assert (await site.get("/session", None, headers=headers)).json()["approver"] == "ana"


async def test_a_cookie_that_is_not_good_is_401_even_where_loopback_is_an_agent(tmp_path: Path) -> None:
    async with serving_site(tmp_path, agents=False) as site:
        name = f"holdshort-{site.port}"
        bad = await site.get("/v1/interruptions", None, headers={"cookie": f"{name}=nope"})
        twice = await site.get("/v1/interruptions", None, headers={"cookie": f"{name}=a; {name}=b"})
        other = await site.get("/v1/interruptions", None, headers={"cookie": "theme=dark"})

    assert [bad.status_code, twice.status_code, other.status_code] == [401, 400, 200]


async def test_a_login_form_of_another_page_logs_nobody_in(site: Site) -> None:
    response = await site.client.post("/login", data={"token": ANA}, headers={"origin": "http://evil.example"})

    assert response.status_code == 403
    assert "set-cookie" not in response.headers


def test_the_csp_allows_no_inline_code() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


async def test_errors_of_the_doors_have_the_usual_shape(site: Site) -> None:
    _, answer = await raw(site, "Host: evil.example")

    body: dict[str, Any] = json.loads(answer.partition("\r\n\r\n")[2])
    assert body["error"]["code"] == "bad_host"
    assert bearer(None) == {}
