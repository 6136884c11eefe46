"""Standing grants over HTTP: made with an approval, listed, revoked, proposed, and never seen by an agent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from approvals.site import ANA, BEN, BOT, Site
from holdshort.interruption import Interruption, State, fingerprint
from holdshort.policy import Terms
from holdshort.store import EntryKind, LogFilter

ANY_PATH = {"path": {"any": True}, "force": {"in": [True]}}


def error_of(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == code
    return error


async def made(site: Site, record: Interruption | None = None, token: str = ANA, **remember: Any) -> dict[str, Any]:
    """Approve a call with a wish and return the grant."""
    record = record or await site.park()
    decided = await site.decide(record, "approve", token, remember=remember)
    assert decided.status_code == 200, decided.text
    found: dict[str, Any] = (await site.get(f"/v1/grants/{decided.json()['grant']}")).json()
    return found


async def test_an_approval_with_a_wish_makes_a_grant(site: Site) -> None:
    record = await site.park(arguments={"path": "/data/a", "force": True})

    asked: dict[str, Any] = {"for": "7d", "max_uses": 20, "arguments": ANY_PATH}
    grant = await made(site, record, **asked)

    at = grant["made_at"]
    assert grant == {
        "id": f"g-{record.id.removeprefix('i-')}",
        "state": "active",
        "agent": "bot",
        "server": "files",
        "tool": "delete_file",
        "definition_digest": record.definition_digest,
        "scope": {"arguments": ANY_PATH, "when": None},
        "scope_digest": grant["scope_digest"],
        "made_by": ["ana"],
        "made_at": at,
        "from_interruption": record.id,
        "expires_at": grant["expires_at"],
        "max_uses": 20,
        "uses": 0,
        "last_used_at": None,
        "revoked_at": None,
        "revoked_by": None,
    }
    shown = (await site.get(f"/v1/interruptions/{record.id}")).json()
    assert shown["grant"] == grant["id"]
    assert shown["decisions"][0]["remember"]["arguments"] == ANY_PATH


async def test_a_wish_that_says_nothing_is_modest_and_exact(site: Site) -> None:
    record = await site.park(arguments={"path": "/data/a"})

    grant = await made(site, record)

    assert (grant["max_uses"], grant["scope"]) == (10, {"arguments": {"path": {"in": ["/data/a"]}}, "when": None})
    assert (await site.store.grants.get(grant["id"])).expires_at - (
        await site.store.grants.get(grant["id"])
    ).made_at == timedelta(hours=24)


async def test_an_approval_without_a_wish_makes_none(site: Site) -> None:
    decided = await site.decide(await site.park(), "approve")

    assert "grant" not in decided.json()
    assert (await site.get("/v1/grants")).json() == {"grants": [], "next_cursor": None}


CALL = {"path": "/data/a", "force": True}


@pytest.mark.parametrize(
    ("remember", "pointer", "words"),
    [
        ({"for": "soon"}, "/remember/for", "no length of time"),
        ({"for": "7"}, "/remember/for", "no length of time"),
        ({"for": "0s"}, "/remember/for", "a second at least"),
        ({"for": "91d"}, "/remember/for", "90 days at most"),
        ({"max_uses": 1001}, "/remember/max_uses", "1000 uses at most"),
        ({"arguments": {}}, "/remember/arguments", "an argument `path` that the grant does not name"),
        ({"arguments": {"path": {"any": True}}}, "/remember/arguments", "as wide as the tool"),
        (
            {"arguments": {"path": {"any": True}, "force": {"any": True}}},
            "/remember/arguments",
            "as wide as the tool",
        ),
        ({"arguments": {"path": {"in": ["/data/a"]}}}, "/remember/arguments", "`force` that the grant does not name"),
        ({"arguments": {**ANY_PATH, "size": {"in": [1]}}}, "/remember/arguments", "has no argument `size`"),
        ({"arguments": {**ANY_PATH, "force": {"in": [1]}}}, "/remember/arguments", "not among those of the grant"),
        ({"arguments": ANY_PATH, "when": "args.path =="}, "/remember/when", ""),
        ({"arguments": ANY_PATH, "when": "args.path == '/data/b'"}, "/remember/arguments", "its `when` does not hold"),
        ({"arguments": ANY_PATH, "when": "args.size > 1"}, "/remember/arguments", "could not be evaluated"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_and_nothing_is_decided(
    site: Site, remember: dict[str, Any], pointer: str, words: str
) -> None:
    record = await site.park(arguments=CALL)

    error = error_of(await site.decide(record, "approve", remember=remember), 422, "invalid_remember")

    assert error["pointer"] == pointer
    assert words in error["message"]
    assert "/data/a" not in error["message"]
    assert (await site.store.get(record.id)).state is State.PENDING


@pytest.mark.parametrize(
    "remember",
    [
        {"arguments": "all"},
        {"arguments": {"path": {"glob": "*"}}},
        {"arguments": {"path": {"any": False}}},
        {"arguments": {"path": {"in": []}}},
        {"max_uses": 0},
        {"max_uses": "many"},
        {"max_uses": 1.5},
        {"forever": True},
        {"tools": "*"},
    ],
)
async def test_a_wish_of_another_shape_is_malformed(site: Site, remember: dict[str, Any]) -> None:
    record = await site.park(arguments=CALL)

    error_of(await site.decide(record, "approve", remember=remember), 400, "malformed")


@pytest.mark.parametrize(
    ("decision", "more"), [("reject", {}), ("edit", {"arguments": {"path": "/data/b"}}), ("respond", {"content": "x"})]
)
async def test_only_an_approval_is_remembered(site: Site, decision: str, more: dict[str, Any]) -> None:
    record = await site.park(arguments=CALL)

    error = error_of(await site.decide(record, decision, remember={}, **more), 400, "malformed")

    assert "only `approve` can be remembered" in error["message"]
    assert (await site.store.get(record.id)).state is State.PENDING


async def test_an_edited_call_makes_no_grant(site: Site) -> None:
    record = await site.park(arguments=CALL, terms=Terms(required_approvals=2))
    await site.decide(record, "edit", ANA, arguments={"path": "/data/b"})
    edited = await site.store.get(record.id)

    error = error_of(await site.decide(edited, "approve", BEN, remember={}), 422, "invalid_remember")

    assert "the call was edited" in error["message"]


async def test_terms_without_grants_refuse_a_wish(site: Site) -> None:
    record = await site.park(arguments=CALL, terms=Terms(grants=False))

    error = error_of(await site.decide(record, "approve", remember={}), 422, "invalid_remember")

    assert "lets no grant answer" in error["message"]


async def test_a_wish_about_another_call_than_was_seen_is_a_mismatch(site: Site) -> None:
    record = await site.park(arguments=CALL)
    seen = replace(record, fingerprint=fingerprint("files", "delete_file", {"path": "/x"}))

    error_of(await site.decide(seen, "approve", remember={}), 409, "fingerprint_mismatch")


async def test_who_may_not_decide_may_not_have_anything_remembered(site: Site) -> None:
    record = await site.park(arguments=CALL, terms=Terms(approvers=(frozenset({"finance"}),)))

    error_of(await site.decide(record, "approve", BEN, remember={}), 403, "not_eligible")
    error_of(await site.decide(record, "approve", BOT, remember={}), 403, "forbidden")
    assert (await site.get("/v1/grants")).json()["grants"] == []


async def test_arguments_too_large_to_keep_are_not_remembered(site: Site) -> None:
    record = await site.park(arguments={"path": "x" * 70_000})

    error_of(await site.decide(record, "approve", remember={}), 422, "invalid_remember")


async def test_every_digit_of_a_pinned_number_is_kept(site: Site) -> None:
    record = await site.park(arguments={"path": "/data/a", "size": 12345678901234567890})

    response = await site.get(f"/v1/grants/{(await made(site, record))['id']}")

    assert '"in":[12345678901234567890]' in response.text.replace(" ", "")


async def test_grants_are_listed_by_state_and_in_pages(site: Site) -> None:
    first, second, third = [await made(site) for _ in range(3)]
    await site.post(f"/v1/grants/{second['id']}/revoke", {})

    page = (await site.get("/v1/grants?limit=2")).json()
    rest = (await site.get(f"/v1/grants?limit=2&cursor={page['next_cursor']}")).json()
    assert [grant["id"] for grant in page["grants"] + rest["grants"]] == [third["id"], second["id"], first["id"]]
    assert rest["next_cursor"] is None
    active = (await site.get("/v1/grants?state=active&agent=bot&server=files&tool=delete_file")).json()
    assert [grant["id"] for grant in active["grants"]] == [third["id"], first["id"]]
    site.clock.ahead = timedelta(hours=25)
    assert len((await site.get("/v1/grants?state=expired,revoked")).json()["grants"]) == 3


@pytest.mark.parametrize("query", ["state=open", "limit=0", "limit=201", "colour=red"])
async def test_a_filter_that_is_none_is_named(site: Site, query: str) -> None:
    error_of(await site.get(f"/v1/grants?{query}"), 400, "malformed")


async def test_any_approver_ends_a_grant_once(site: Site) -> None:
    grant = await made(site, token=ANA)

    revoked = await site.post(f"/v1/grants/{grant['id']}/revoke", {}, BEN)
    again = await site.post(f"/v1/grants/{grant['id']}/revoke", {}, ANA)

    assert (revoked.json()["state"], revoked.json()["revoked_by"]) == ("revoked", "ben")
    assert again.json() == revoked.json()
    told = [row async for row in site.store.entries(where=LogFilter(kinds=frozenset({EntryKind.GRANT})))]
    assert [row.fields["detail"]["event"] for row in told] == ["made", "revoked"]
    assert (await site.store.verify()).ok


@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_grant_that_is_not_there_is_said_to_be_none(site: Site, method: str) -> None:
    response = await (site.get("/v1/grants/g-9") if method == "get" else site.post("/v1/grants/g-9/revoke", {}))

    assert error_of(response, 404, "not_found")["message"] == "there is no such grant"


async def test_a_get_revokes_nothing(site: Site) -> None:
    grant = await made(site)

    error_of(await site.get(f"/v1/grants/{grant['id']}/revoke"), 405, "method_not_allowed")

    assert (await site.store.grants.get(grant["id"])).revoked_at is None


@pytest.mark.parametrize("path", ["/v1/grants", "/v1/grants/proposals", "/v1/grants/{id}"])
async def test_agents_see_nothing_of_grants(site: Site, path: str) -> None:
    grant = await made(site)

    error_of(await site.get(path.format(id=grant["id"]), BOT), 403, "forbidden")
    error_of(await site.get(path.format(id=grant["id"]), None), 401, "unauthenticated")


async def test_agents_revoke_nothing(site: Site) -> None:
    grant = await made(site)

    error_of(await site.post(f"/v1/grants/{grant['id']}/revoke", {}, BOT), 403, "forbidden")
    error_of(await site.post(f"/v1/grants/{grant['id']}/revoke", {}, None), 401, "unauthenticated")


async def test_the_agent_of_a_call_is_not_told_of_its_grant(site: Site) -> None:
    grant = await made(site)

    shown = (await site.get(f"/v1/interruptions/{grant['from_interruption']}", BOT)).json()

    assert "grant" not in shown
    assert "remember" not in shown["decisions"][0]


# Proposals.


async def approved(site: Site, path: str, decision: str = "approve", **changes: Any) -> Interruption:
    record = await site.park(arguments={"path": path, "force": True}, **changes)
    assert (await site.decide(record, decision)).status_code == 200
    return record


async def test_after_three_approvals_of_one_shape_a_grant_is_proposed_with_what_it_would_have_covered(
    site: Site,
) -> None:
    records = [await approved(site, f"/data/reports/{number}.txt") for number in range(6)]

    [proposal] = (await site.get("/v1/grants/proposals")).json()["proposals"]

    assert (proposal["agent"], proposal["server"], proposal["tool"]) == ("bot", "files", "delete_file")
    assert proposal["scope"] == {"arguments": ANY_PATH, "when": "under(args['path'], '/data/reports')"}
    assert [past["id"] for past in proposal["covers"]] == [record.id for record in records]
    assert proposal["covers"][0]["approved_by"] == ["ana"]
    assert (await site.get("/v1/grants")).json()["grants"] == []


async def test_a_proposal_is_gone_once_it_was_granted(site: Site) -> None:
    for _ in range(3):
        await approved(site, "/data/a")
    [proposal] = (await site.get("/v1/grants/proposals")).json()["proposals"]
    record = await site.park(arguments={"path": "/data/a", "force": True})

    await made(site, record, **proposal["scope"])

    assert (await site.get("/v1/grants/proposals")).json() == {"proposals": []}


async def test_what_was_edited_rejected_or_may_not_be_granted_is_not_proposed(site: Site) -> None:
    for number in range(3):
        await approved(site, f"/data/a{number}", terms=Terms(grants=False))
        await approved(site, "/data/b", "reject")
        record = await site.park(arguments={"path": "/data/c", "force": True})
        await site.decide(record, "edit", arguments={"path": "/data/d", "force": True})

    assert (await site.get("/v1/grants/proposals")).json() == {"proposals": []}


async def test_a_grant_that_would_have_let_a_rejected_call_through_is_not_proposed(site: Site) -> None:
    for number in range(6):
        await approved(site, f"/data/reports/{number}.txt")
    await approved(site, "/data/reports/secret.txt", "reject")

    assert (await site.get("/v1/grants/proposals")).json() == {"proposals": []}
