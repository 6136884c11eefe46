"""Asking, claiming, reporting and deciding at the real approval endpoint, and every way of being refused there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from holdshort.runner.connection import Connection
from holdshort.runner.endpoint import Asked, Endpoint
from holdshort.runner.errors import (
    ApprovalExpired,
    DecisionConflict,
    DecisionError,
    DefinitionChanged,
    OutcomeUnknown,
    ProxyError,
    ProxyUnreachable,
    UserError,
)
from kit.ports import free_port
from kit.process import until_async
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, OTHER_AGENT_TOKEN, ProxyKit, kit_upstream, serving
from kit.spy import SpyRecord
from kit.together import together
from runner.wires import Rough, answer, rough

SECOND = "second-approver-token-that-is-long-enough"
RULES: dict[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "looks", "tools": "function:local__look_*", "action": "allow"},
        {"id": "never", "tools": "shell:*__*", "action": "deny"},
        {"id": "soon", "tools": "function:local__soon", "action": "ask", "expires_after": "300ms"},
        {"id": "only", "tools": "function:local__only_yes", "action": "ask", "decisions": ["approve", "reject"]},
    ],
}


@pytest.fixture(scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    """A proxy whose one server nobody calls: it answers for what agents run themselves."""
    folder = tmp_path_factory.mktemp("endpoint")
    async with serving(folder, unused(folder), RULES, limits={"decisions_per_minute": 6000}) as proxy:
        yield proxy


def unused(folder: Path) -> dict[str, Any]:
    return {"spy": kit_upstream(SpyRecord(folder / "spy.jsonl").command())}


@asynccontextmanager
async def opened(where: ProxyKit | Rough | str, **tokens: str | None) -> AsyncGenerator[Endpoint]:
    """The endpoint there, with both tokens unless others are given."""
    url = where if isinstance(where, str) else where.base if isinstance(where, ProxyKit) else where.url
    found = Endpoint(Connection(), url, **(tokens or {"token": AGENT_TOKEN, "approver_token": APPROVER_TOKEN}))
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
async def endpoint(kit: ProxyKit) -> AsyncGenerator[Endpoint]:
    async with opened(kit) as found:
        yield found


def question(tool: str = "send_mail", **more: Any) -> dict[str, Any]:
    """A call that nobody has asked about yet."""
    ids = {"run_id": f"run-{uuid4().hex}", "call_id": "call-1"}
    return {"kind": "function", "tool": tool, "arguments": {"to": "ana"}, **ids, **more}


async def parked(endpoint: Endpoint, tool: str = "send_mail", **more: Any) -> dict[str, Any]:
    asked = await endpoint.ask(question(tool, **more))
    assert asked.verdict == "ask"
    assert asked.interruption is not None
    return asked.interruption


def decision(word: str, record: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"decision": word, "fingerprint": record["fingerprint"], **more}


async def approved(endpoint: Endpoint) -> dict[str, Any]:
    record = await parked(endpoint)
    return await endpoint.decide(record["id"], decision("approve", record))


# As the agent


async def test_each_verdict_is_told_apart(endpoint: Endpoint) -> None:
    allowed = await endpoint.ask(question("look_up"))
    denied = await endpoint.ask(question(kind="shell"))
    asked = await endpoint.ask(question())

    assert allowed == Asked("allow")
    assert (denied.verdict, denied.interruption) == ("denied", None)
    assert "rule `never`" in denied.message
    assert asked.interruption is not None
    assert (asked.verdict, asked.interruption["state"]) == ("ask", "pending")


async def test_asking_again_is_the_same_question(endpoint: Endpoint) -> None:
    said = question()
    first, second = await together(endpoint.ask(said), endpoint.ask(said))
    with pytest.raises(ProxyError, match="another call") as error:
        await endpoint.ask({**said, "arguments": {"to": "ben"}})

    assert first.interruption is not None
    assert second.interruption is not None
    assert first.interruption["id"] == second.interruption["id"]
    assert (error.value.reason, error.value.status) == ("call_id_reused", 409)


async def test_a_call_is_claimed_once_and_its_outcome_reported_twice(endpoint: Endpoint) -> None:
    record = await approved(endpoint)
    claimed = await endpoint.claim(record["id"], 60)
    with pytest.raises(ProxyError) as second:
        await endpoint.claim(record["id"], 60)
    report: dict[str, Any] = {"token": claimed.token, "kind": "ok", "result": {"sent": True}}
    done = await endpoint.outcome(record["id"], **report)
    again = await endpoint.outcome(record["id"], **report)
    with pytest.raises(ProxyError) as stale:
        await endpoint.outcome(record["id"], token=claimed.token + 1, kind="failed", note="not ours")

    assert (claimed.arguments, claimed.interruption["state"]) == ({"to": "ana"}, "executing")
    assert second.value.interruption is not None
    assert (second.value.reason, second.value.interruption["state"]) == ("illegal_transition", "executing")
    assert (done["state"], done["outcome"]["kind"], done["outcome"]["result"]) == ("executed", "ok", {"sent": True})
    assert {**again, "revision": 0} == {**done, "revision": 0}
    assert stale.value.reason in ("stale_token", "illegal_transition")


async def test_what_is_claimed_is_what_an_approver_made_of_it(endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    await endpoint.decide(record["id"], decision("edit", record, arguments={"to": "ben"}))
    claimed = await endpoint.claim(record["id"], 60)

    assert claimed.arguments == {"to": "ben"}
    assert claimed.interruption["requested_arguments"] == {"to": "ana"}


async def test_a_wait_ends_with_the_decision(endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    waited, _ = await together(
        endpoint.get(record["id"], wait=30), endpoint.decide(record["id"], decision("reject", record, message="no"))
    )

    assert waited["state"] == "rejected"


async def test_every_record_of_a_run_is_found_on_all_pages(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.runner.endpoint._PAGE", 2)
    run = f"run/{uuid4().hex}?&x=ü"
    records = [await parked(endpoint, run_id=run, call_id=f"call-{number}") for number in range(5)]
    await endpoint.decide(records[0]["id"], decision("reject", records[0]))

    assert {each["id"] for each in await endpoint.find(run_id=run)} == {each["id"] for each in records}
    assert len(await endpoint.find(run_id=run, state="pending")) == 4
    assert len(await endpoint.find(run_id=run, state="pending,rejected")) == 5
    assert await endpoint.find(run_id="no-such-run") == []


async def test_a_call_is_withdrawn_however_often_that_is_said(endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    first = await endpoint.withdraw(record["id"], "not needed")
    again = await endpoint.withdraw(record["id"], "not needed")
    done = await approved(endpoint)
    claimed = await endpoint.claim(done["id"], 60)
    with pytest.raises(ProxyError) as late:
        await endpoint.withdraw(claimed.interruption["id"])

    assert (first["state"], first["reason"]) == ("withdrawn", "not needed")
    assert again == first
    assert late.value.reason == "illegal_transition"


async def test_another_agents_call_is_not_there(kit: ProxyKit, endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    async with opened(kit, token=OTHER_AGENT_TOKEN) as other:
        with pytest.raises(ProxyError) as error:
            await other.get(record["id"])
        found = await other.find(run_id=record["requested_by"]["run_id"])

    assert (error.value.reason, error.value.status, found) == ("not_found", 404, [])


async def test_an_id_never_becomes_another_path(endpoint: Endpoint) -> None:
    for odd in ("../grants", "a/b", "x?wait=1", "i-\u2028"):
        with pytest.raises(ProxyError) as error:
            await endpoint.get(odd)
        assert error.value.reason == "not_found"


# As an approver


async def test_without_an_approvers_token_nothing_is_decided(kit: ProxyKit, endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    async with opened(kit, token=AGENT_TOKEN) as agent:
        with pytest.raises(UserError, match=r"approver_token=.*the agent's token can never decide"):
            await agent.decide(record["id"], decision("approve", record))

    assert (agent.can_decide, endpoint.can_decide) == (False, True)
    assert (await endpoint.get(record["id"]))["state"] == "pending"


async def test_an_agents_token_in_the_place_of_an_approvers_decides_nothing(kit: ProxyKit, endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    async with opened(kit, approver_token=OTHER_AGENT_TOKEN) as wrong:
        with pytest.raises(ProxyError, match="the `approver_token` may not do this") as error:
            await wrong.decide(record["id"], decision("approve", record))

    assert (error.value.reason, error.value.status) == ("forbidden", 403)
    assert (await endpoint.get(record["id"]))["state"] == "pending"


async def test_the_same_decision_again_changes_nothing(endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    first, second = await together(
        endpoint.decide(record["id"], decision("approve", record)),
        endpoint.decide(record["id"], decision("approve", record)),
    )

    assert first == second
    assert first["state"] == "approved"
    assert len(first["decisions"]) == 1


async def test_who_comes_second_gets_the_record_of_the_first(kit: ProxyKit, endpoint: Endpoint) -> None:
    record = await approved(endpoint)
    async with opened(kit, approver_token=SECOND) as second:
        with pytest.raises(DecisionConflict, match="already approved") as error:
            await second.decide(record["id"], decision("reject", record))

    assert error.value.reason == "already_decided"
    assert error.value.interruption is not None
    assert [each["by"] for each in error.value.interruption["decisions"]] == ["ana"]


async def test_a_decision_about_something_else_than_was_shown_is_a_conflict(endpoint: Endpoint) -> None:
    record = await parked(endpoint)
    with pytest.raises(DecisionConflict) as error:
        await endpoint.decide(record["id"], {"decision": "approve", "fingerprint": "0" * 64})

    assert error.value.reason == "fingerprint_mismatch"
    assert error.value.interruption is not None
    assert error.value.interruption["fingerprint"] == record["fingerprint"]


async def test_a_decision_that_is_too_late_says_so(endpoint: Endpoint) -> None:
    record = await parked(endpoint, "soon")

    async def over() -> bool:
        return bool((await endpoint.get(record["id"], wait=5))["state"] == "expired")

    await until_async(over, "the time to be up")
    with pytest.raises(ApprovalExpired) as error:
        await endpoint.decide(record["id"], decision("approve", record))

    assert error.value.reason == "expired"
    assert error.value.interruption is not None
    assert error.value.interruption["state"] == "expired"


async def test_a_call_that_may_have_run_is_not_decided_anew(endpoint: Endpoint) -> None:
    record = await approved(endpoint)
    claimed = await endpoint.claim(record["id"], 60)
    await endpoint.outcome(record["id"], token=claimed.token, kind="unknown", note="the power went")
    for word in ("approve", "reject"):
        with pytest.raises(OutcomeUnknown) as error:
            await endpoint.decide(record["id"], decision(word, record))
        assert error.value.interruption is not None
        assert error.value.interruption["state"] == "unknown"


async def test_a_decision_that_the_rules_exclude_is_refused_with_the_reason(endpoint: Endpoint) -> None:
    record = await parked(endpoint, "only_yes")
    with pytest.raises(DecisionError, match="allowed are `approve`, `reject`") as excluded:
        await endpoint.decide(record["id"], decision("respond", record, content="x"))
    with pytest.raises(DecisionError) as absent:
        await endpoint.decide("i-nothing", decision("approve", record))

    assert (excluded.value.reason, absent.value.reason) == ("decision_not_allowed", "not_found")
    assert type(excluded.value) is type(absent.value) is DecisionError


async def test_edited_arguments_that_do_not_fit_name_the_place(endpoint: Endpoint) -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    record = await parked(endpoint, definition={"inputSchema": schema})
    with pytest.raises(DecisionError, match="/to") as error:
        await endpoint.decide(record["id"], decision("edit", record, arguments={"to": 7}))

    assert error.value.reason == "invalid_edit"


async def test_a_call_that_policy_has_overtaken_cannot_be_approved(tmp_path: Path) -> None:
    async with serving(tmp_path, unused(tmp_path), RULES) as proxy, opened(proxy) as endpoint:
        record = await parked(endpoint)
        proxy.set_policy({**RULES, "default": "deny"})

        async def denied() -> bool:
            return (await endpoint.ask(question())).verdict == "denied"

        await until_async(denied, "the policy to be taken up")
        with pytest.raises(DefinitionChanged) as error:
            await endpoint.decide(record["id"], decision("approve", record))

    assert error.value.reason == "superseded"
    assert error.value.interruption is not None
    assert error.value.interruption["state"] == "superseded"


# What goes wrong on the way


@pytest.mark.parametrize("token", [None, "not-a-token-of-anyone"], ids=["none", "unknown"])
async def test_a_token_that_is_not_known_is_named_and_not_shown(kit: ProxyKit, token: str | None) -> None:
    async with opened(kit, token=token, approver_token="no-approver-has-this") as endpoint:
        with pytest.raises(ProxyError, match=r"the proxy (wants a|does not know the) `token`") as error:
            await endpoint.find(run_id="x")
        with pytest.raises(ProxyError, match="the proxy does not know the `approver_token`") as approver:
            await endpoint.decide("i-x", {"decision": "approve", "fingerprint": "0" * 64})

    assert {error.value.reason, approver.value.reason} == {"unauthenticated"}
    for said in (str(error.value), str(approver.value), repr(endpoint)):
        assert "no-approver-has-this" not in said
        assert "not-a-token-of-anyone" not in said


async def test_a_request_that_cannot_arrive_was_not_sent() -> None:
    async with opened(f"http://127.0.0.1:{free_port()}") as endpoint:
        with pytest.raises(ProxyUnreachable, match="cannot be reached") as error:
            await endpoint.claim("i-x", 60)

    assert error.value.sent is False


@pytest.mark.parametrize(
    ("what", "times"),
    [("ask", 4), ("get", 4), ("outcome", 4), ("withdraw", 4), ("decide", 4), ("claim", 1)],
)
async def test_what_is_lost_is_sent_again_where_nothing_can_happen_twice(
    what: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three answers are lost; the fourth arrives."""
    monkeypatch.setattr("holdshort.runner.connection.Patience.__init__", _hasty)
    record = {"id": "i-x", "state": "pending", "outcome": None}
    lost = [None, answer(503, b"<html>"), None]

    def said(_: object) -> bytes | None:
        if lost:
            return lost.pop(0)
        return answer(202, {"verdict": "ask", "interruption": record}) if what == "ask" else answer(200, record)

    async with rough(said) as server, opened(server) as endpoint:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "ask": lambda: endpoint.ask(question()),
            "get": lambda: endpoint.get("i-x"),
            "outcome": lambda: endpoint.outcome("i-x", token=1, kind="ok"),
            "withdraw": lambda: endpoint.withdraw("i-x"),
            "decide": lambda: endpoint.decide("i-x", {"decision": "approve"}),
            "claim": lambda: endpoint.claim("i-x", 60),
        }
        if what == "claim":
            with pytest.raises(ProxyUnreachable) as error:
                await calls[what]()
            assert error.value.sent is True
        else:
            await calls[what]()

    assert len(server.heard) == times
    assert len({heard.body for heard in server.heard}) == 1


def _hasty(self: Any) -> None:
    self.first_seconds = self.longest_seconds = 0.001
    self.budget_seconds, self._next = 5.0, 0.0


async def test_a_claim_that_a_gateway_gave_up_on_may_be_taken() -> None:
    async with rough(lambda _: answer(504, b"<html>")) as server, opened(server) as endpoint:
        with pytest.raises(ProxyUnreachable) as error:
            await endpoint.claim("i-x", 60)

    assert error.value.sent is True
    assert len(server.heard) == 1


async def test_patience_ends() -> None:
    away = {"error": {"code": "unavailable", "message": "the store is away"}}
    async with rough(lambda _: answer(503, away)) as server, opened(server) as endpoint:
        with pytest.raises(ProxyError, match="the store is away") as error:
            await endpoint.get("i-x")

    assert (error.value.reason, error.value.status) == ("unavailable", 503)
    assert 3 < len(server.heard) < 20


@pytest.mark.parametrize(("later", "times"), [("0", 2), ("3600", 1), (None, 1)], ids=["now", "in-an-hour", "never"])
async def test_a_pace_is_kept_and_a_quota_is_told(later: str | None, times: int) -> None:
    refused = {"error": {"code": "quota_exceeded", "message": "too many calls wait"}}
    waits = {} if later is None else {"retry_after": later}
    answers = [answer(429, refused, **waits), answer(200, {"verdict": "allow", "interruption": None})]
    async with rough(lambda _: answers.pop(0)) as server, opened(server) as endpoint:
        if times == 1:
            with pytest.raises(ProxyError) as error:
                await endpoint.ask(question())
            assert (error.value.reason, error.value.status) == ("quota_exceeded", 429)
        else:
            assert await endpoint.ask(question()) == Asked("allow")

    assert len(server.heard) == times


@pytest.mark.parametrize(
    "body",
    [
        '{"verdict": "deny", "verdict": "allow", "interruption": null}',
        '{"verdict": "allow", "interruption": {"id": "i-1"}}',
        '{"verdict": "ask", "interruption": null}',
        '{"verdict": "yes"}',
        '{"verdict": true}',
        '["allow"]',
        "allow",
    ],
    ids=["two-verdicts", "allow-and-parked", "ask-about-nothing", "another-word", "no-word", "a-list", "no-json"],
)
async def test_only_a_clear_allow_allows(body: str) -> None:
    async with rough(lambda _: answer(200, body)) as server, opened(server) as endpoint:
        with pytest.raises(ProxyError) as error:
            await endpoint.ask(question("look_up"))

    assert error.value.reason == "malformed"


async def test_a_redirect_takes_no_token_along() -> None:
    async with rough(lambda _: answer(200)) as elsewhere:
        moved = answer(307, b"", location=f"{elsewhere.url}/v1/calls")
        async with rough(lambda _: moved) as server, opened(server) as endpoint:
            with pytest.raises(ProxyError) as error:
                await endpoint.ask(question())

        assert elsewhere.heard == []
    assert error.value.status == 307


async def test_a_proxy_of_the_environment_is_not_used(kit: ProxyKit, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rough(lambda _: answer(200)) as thief:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, thief.url)
        async with opened(kit) as endpoint:
            await endpoint.find(run_id="x")

        assert thief.heard == []


async def test_health_tells_a_proxy_from_anything_else(endpoint: Endpoint) -> None:
    health = await endpoint.health()
    waking = answer(503, {"status": "not_ready", "missing": ["the store"]})
    async with rough(lambda _: waking) as server, opened(server) as early:
        not_ready = await early.health()
    async with rough(lambda _: answer(200, b"<html>")) as server, opened(server) as odd:
        with pytest.raises(ProxyError):
            await odd.health()

    assert (health.ready, health.missing) == (True, ())
    assert (not_ready.ready, not_ready.missing) == (False, ("the store",))
