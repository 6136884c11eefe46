"""The REST contract: who sees what, who decides what, and what an error looks like."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from approvals.site import ANA, BEN, BOT, OTHER, Site, bearer, serving_site
from holdshort.approvals.bodies import ErrorOut, InterruptionList, InterruptionOut, LogList
from holdshort.interruption import State, fingerprint
from holdshort.policy import Terms


def error_of(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = ErrorOut.model_validate(response.json())
    assert body.error.code == code
    error: dict[str, Any] = response.json()["error"]
    return error


# Reading.


async def test_an_approver_lists_everything_and_an_agent_its_own(site: Site) -> None:
    mine = await site.park()
    theirs = await site.park(agent="other-bot", server="mail", tool="send")

    everything = (await site.get("/v1/interruptions")).json()
    own = (await site.get("/v1/interruptions", BOT)).json()

    assert {record["id"] for record in everything["interruptions"]} == {mine.id, theirs.id}
    assert [record["id"] for record in own["interruptions"]] == [mine.id]
    InterruptionList.model_validate(everything)
    assert own["interruptions"][0] == mine.public()


async def test_an_agent_cannot_ask_for_anothers_calls_by_name(site: Site) -> None:
    await site.park(agent="other-bot")

    assert (await site.get("/v1/interruptions?agent=other-bot", BOT)).json()["interruptions"] == []


async def test_lists_are_filtered_and_paged(site: Site) -> None:
    records = [await site.park() for _ in range(5)]
    other = await site.park(server="mail", tool="send")
    await site.decide(records[0], "reject")

    rejected = (await site.get("/v1/interruptions?state=rejected")).json()["interruptions"]
    both = (await site.get("/v1/interruptions?state=rejected,pending&server=files")).json()["interruptions"]
    first = (await site.get("/v1/interruptions?state=pending&limit=3")).json()
    second = (await site.get(f"/v1/interruptions?state=pending&limit=3&cursor={first['next_cursor']}")).json()

    assert [record["id"] for record in rejected] == [records[0].id]
    assert {record["id"] for record in both} == {record.id for record in records}
    seen = [record["id"] for record in first["interruptions"] + second["interruptions"]]
    assert seen == [record.id for record in [other, *reversed(records[1:])]]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["state=waiting", "limit=0", "limit=201", "limit=x", "limit=-1", "limit=٣", "colour=red"]
)
async def test_a_filter_that_makes_no_sense_is_an_error_not_an_empty_list(site: Site, query: str) -> None:
    await site.park()

    error_of(await site.get(f"/v1/interruptions?{query}"), 400, "malformed")


async def test_foreign_and_unknown_ids_answer_alike(site: Site) -> None:
    theirs = await site.park(agent="other-bot")

    foreign = await site.get(f"/v1/interruptions/{theirs.id}", BOT)
    unknown = await site.get("/v1/interruptions/i-none", BOT)
    foreign_withdraw = await site.post(f"/v1/interruptions/{theirs.id}/withdraw", {}, BOT)

    assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    assert foreign_withdraw.json() == unknown.json()
    assert (await site.get(f"/v1/interruptions/{theirs.id}", OTHER)).status_code == 200
    assert (await site.store.get(theirs.id)).state is State.PENDING


# Credentials.


@pytest.mark.parametrize(
    "header", ["Bearer nope", "Bearer", "Basic YW5h", "bearer x y", f"Bearer {ANA} x", f"Bearer {ANA},{ANA}", f"{ANA}"]
)
async def test_a_credential_that_is_not_good_is_401_whatever_else_the_caller_could_be(
    site: Site, header: str, tmp_path: Path
) -> None:
    error_of(await site.client.get("/v1/interruptions", headers={"authorization": header}), 401, "unauthenticated")
    async with serving_site(tmp_path / "no-agents", agents=False) as open_site:
        response = await open_site.client.get("/v1/interruptions", headers={"authorization": header})
        error_of(response, 401, "unauthenticated")
        assert (await open_site.client.get("/v1/interruptions")).status_code == 200


async def test_nobody_gets_nothing(site: Site) -> None:
    record = await site.park()
    for path in (
        "/v1/interruptions",
        f"/v1/interruptions/{record.id}",
        "/v1/interruptions/events",
        "/v1/log",
        "/v1/policy",
        "/v1/servers",
    ):
        error_of(await site.get(path, None), 401, "unauthenticated")
    assert (await site.get("/session", None)).json() == {"approver": None, "csrf": None}
    for path in ("decision", "withdraw", "resolve"):
        error_of(await site.post(f"/v1/interruptions/{record.id}/{path}", {}, None), 401, "unauthenticated")
    error_of(await site.post("/v1/policy/explain", {}, None), 401, "unauthenticated")


@pytest.mark.parametrize("decision", ["approve", "edit", "reject", "respond"])
async def test_an_agent_never_decides(site: Site, decision: str) -> None:
    record = await site.park()

    error_of(await site.decide(record, decision, BOT, arguments={}, content="x"), 403, "forbidden")
    unknown = await site.post("/v1/interruptions/i-none/decision", {}, BOT)

    error_of(unknown, 403, "forbidden")
    assert (await site.store.get(record.id)).state is State.PENDING


async def test_the_loopback_agent_never_decides_and_sees_its_own(tmp_path: Path) -> None:
    async with serving_site(tmp_path, agents=False) as site:
        mine, theirs = await site.park(agent="local"), await site.park(agent="somebody")

        own = (await site.get("/v1/interruptions", None)).json()["interruptions"]
        refused = await site.client.post(
            f"/v1/interruptions/{mine.id}/decision", json={"decision": "approve", "fingerprint": mine.fingerprint}
        )
        forwarded = await site.client.get("/v1/interruptions", headers={"x-forwarded-for": "127.0.0.1"})

        assert [record["id"] for record in own] == [mine.id]
        error_of(refused, 403, "forbidden")
        error_of(forwarded, 401, "unauthenticated")
        assert (await site.store.get(theirs.id)).state is State.PENDING


async def test_an_approver_is_not_an_agent(site: Site) -> None:
    record = await site.park()

    error_of(await site.post(f"/v1/interruptions/{record.id}/withdraw", {}), 403, "forbidden")


@pytest.mark.parametrize("path", ["/v1/log", "/v1/policy", "/v1/servers"])
async def test_what_operators_read_is_not_for_agents(site: Site, path: str) -> None:
    assert (await site.get(path)).status_code == 200
    error_of(await site.get(path, BOT), 403, "forbidden")


# Deciding.


async def test_an_approval_is_recorded_and_the_record_answered(site: Site) -> None:
    record = await site.park()

    response = await site.decide(record, "approve", message="go ahead")

    assert response.status_code == 200
    answered = InterruptionOut.model_validate(response.json())
    assert (answered.state, answered.decisions[0].by, answered.decisions[0].message) == ("approved", "ana", "go ahead")
    assert response.json() == (await site.store.get(record.id)).public()


async def test_a_rejection_keeps_its_reason(site: Site) -> None:
    record = await site.park()

    response = await site.decide(record, "reject", message="not on a Friday")

    assert response.json()["state"] == "rejected"
    assert response.json()["decisions"][0]["message"] == "not on a Friday"


@pytest.mark.parametrize("content", ["try tomorrow", [{"type": "text", "text": "try tomorrow"}]])
async def test_an_answer_in_the_tools_place_is_kept(site: Site, content: Any) -> None:
    record = await site.park()

    response = await site.decide(record, "respond", content=content)

    assert (response.json()["state"], response.json()["answer"]) == ("answered", content)


async def test_an_edit_approves_other_arguments_and_keeps_both(site: Site) -> None:
    record = await site.park()
    wanted = {"path": "/data/other.txt", "size": 12345678901234567890}

    response = await site.client.post(
        f"/v1/interruptions/{record.id}/decision",
        content=json.dumps({"decision": "edit", "fingerprint": record.fingerprint, "arguments": wanted}),
        headers={**bearer(ANA), "content-type": "application/json"},
    )

    assert response.status_code == 200, response.text
    after = json.loads(response.text)
    assert (after["state"], after["arguments"]) == ("approved", wanted)
    assert after["requested_arguments"] == record.arguments
    assert after["fingerprint"] == fingerprint("files", "delete_file", wanted)
    assert "12345678901234567890" in response.text


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [({"path": 7}, "/path"), ({"force": True}, ""), ({"path": "/etc/passwd"}, "/path")],
)
async def test_an_edit_that_schema_or_policy_refuse_is_422_with_its_place(
    site: Site, arguments: dict[str, Any], pointer: str
) -> None:
    record = await site.park()

    error = error_of(await site.decide(record, "edit", arguments=arguments), 422, "invalid_edit")

    assert error["pointer"] == pointer
    assert (await site.store.get(record.id)).state is State.PENDING


async def test_a_decision_about_what_is_no_longer_pending_changes_nothing(site: Site) -> None:
    record = await site.park(terms=Terms(required_approvals=2))
    await site.decide(record, "edit", BEN, arguments={"path": "/data/edited"})

    stale = error_of(await site.decide(record, "approve"), 409, "fingerprint_mismatch")
    stale_edit = error_of(
        await site.decide(record, "edit", arguments={"path": "/etc/shadow"}), 409, "fingerprint_mismatch"
    )

    assert stale["interruption"]["arguments"] == {"path": "/data/edited"}
    assert stale_edit["interruption"]["fingerprint"] != record.fingerprint


async def test_the_first_decision_wins_and_the_second_sees_who_made_it(site: Site) -> None:
    record = await site.park()
    await site.decide(record, "reject", BEN, message="no")

    error = error_of(await site.decide(record, "approve"), 409, "already_decided")
    again = await site.decide(record, "reject", BEN, message="no")

    assert error["interruption"]["decisions"][0]["by"] == "ben"
    assert again.status_code == 200
    assert again.json()["revision"] == error["interruption"]["revision"]


async def test_of_two_who_decide_at_once_one_wins_and_the_other_gets_the_record(site: Site) -> None:
    for _ in range(10):
        record = await site.park()
        answers: dict[str, Any] = {}

        async def say(token: str, decision: str, about: Any = record, into: dict[str, Any] = answers) -> None:
            into[decision] = await site.decide(about, decision, token)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say, ANA, "approve")
            tasks.start_soon(say, BEN, "reject")

        assert sorted(answer.status_code for answer in answers.values()) == [200, 409]
        winner = next(answer.json() for answer in answers.values() if answer.status_code == 200)
        loser = next(answer.json() for answer in answers.values() if answer.status_code == 409)
        assert loser["error"]["interruption"] == winner


async def test_two_approvals_make_a_quorum_and_one_person_is_not_two(site: Site) -> None:
    record = await site.park(terms=Terms(required_approvals=2))

    assert (await site.decide(record, "approve")).json()["state"] == "pending"
    assert (await site.decide(record, "approve")).json()["state"] == "pending"
    assert (await site.decide(record, "approve", BEN)).json()["state"] == "approved"


async def test_only_those_the_rule_names_may_decide(site: Site) -> None:
    record = await site.park(terms=Terms(approvers=(frozenset({"finance"}),)))

    error_of(await site.decide(record, "approve", BEN), 403, "not_eligible")
    error_of(await site.decide(record, "edit", BEN, arguments={"path": 7}), 403, "not_eligible")
    assert (await site.decide(record, "approve")).status_code == 200


async def test_only_the_kinds_the_rule_offers_are_taken(site: Site) -> None:
    record = await site.park(terms=Terms(decisions=frozenset({"approve", "reject"})))

    error_of(await site.decide(record, "respond", content="x"), 403, "decision_not_allowed")


async def test_whoever_asked_cannot_approve_under_the_same_name(site: Site) -> None:
    record = await site.park(agent="ana")

    error_of(await site.decide(record, "approve"), 403, "not_eligible")


async def test_time_that_is_up_wins_over_a_decision(site: Site) -> None:
    record = await site.park(expires_after=timedelta(seconds=30))
    site.clock.ahead = timedelta(seconds=31)

    error = error_of(await site.decide(record, "approve"), 409, "expired")

    assert error["interruption"]["state"] == "expired"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"approve"',
        b"{",
        b'{"decision":"approve"}',
        b'{"decision":"maybe","fingerprint":"%s"}',
        b'{"decision":"approve","fingerprint":7}',
        b'{"decision":"approve","fingerprint":"short"}',
        b'{"decision":"approve","fingerprint":"%s","remember":true}',
        b'{"decision":"approve","fingerprint":"%s","arguments":{}}',
        b'{"decision":"edit","fingerprint":"%s"}',
        b'{"decision":"edit","fingerprint":"%s","arguments":[]}',
        b'{"decision":"respond","fingerprint":"%s"}',
        b'{"decision":"respond","fingerprint":"%s","content":""}',
        b'{"decision":"reject","decision":"approve","fingerprint":"%s"}',
        b'{"decision":"edit","fingerprint":"%s","arguments":{"path":"a","path":"b"}}',
        b'{"decision":"edit","fingerprint":"%s","arguments":{"size":NaN,"path":"a"}}',
        b'{"decision":"edit","fingerprint":"%s","arguments":{"path":"\\ud800"}}',
        b"\xef\xbb\xbf{}",
        b"\xff",
    ],
)
async def test_a_body_that_is_not_exactly_a_decision_is_400_and_decides_nothing(site: Site, body: bytes) -> None:
    record = await site.park()
    sent = body.replace(b"%s", record.fingerprint.encode())

    response = await site.client.post(
        f"/v1/interruptions/{record.id}/decision",
        content=sent,
        headers={**bearer(ANA), "content-type": "application/json"},
    )

    error_of(response, 400, "malformed")
    assert (await site.store.get(record.id)).state is State.PENDING


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-16", "application/jsonx"],
)
async def test_only_json_is_a_decision(site: Site, media: str) -> None:
    record = await site.park()

    response = await site.client.post(
        f"/v1/interruptions/{record.id}/decision",
        content=json.dumps({"decision": "approve", "fingerprint": record.fingerprint}),
        headers={**bearer(ANA), "content-type": media},
    )

    error_of(response, 415, "unsupported_media_type")
    assert (await site.store.get(record.id)).state is State.PENDING


async def test_a_body_over_the_limit_is_413(site: Site) -> None:
    record = await site.park()
    limit = site.deps.limits.max_body_bytes

    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield b" " * 65536

    path = f"/v1/interruptions/{record.id}/decision"
    headers = {**bearer(ANA), "content-type": "application/json"}
    exact = b'{"decision":"reject","fingerprint":"%s"}' % record.fingerprint.encode()
    declared = await site.client.post(path, content=exact.ljust(limit + 1), headers=headers)
    chunked = await site.client.post(path, content=endless(), headers=headers)
    allowed = await site.client.post(path, content=exact.ljust(limit), headers=headers)

    error_of(declared, 413, "too_large")
    error_of(chunked, 413, "too_large")
    assert allowed.status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_nothing_but_a_post_decides(site: Site, method: str) -> None:
    record = await site.park()

    response = await site.client.request(method, f"/v1/interruptions/{record.id}/decision", headers=bearer(ANA))

    assert response.status_code == 405
    assert (await site.store.get(record.id)).state is State.PENDING


async def test_decisions_have_a_pace_per_approver(site: Site) -> None:
    record = await site.park(terms=Terms(required_approvals=2))
    answers = [await site.decide(record, "approve") for _ in range(21)]
    other = await site.decide(record, "reject", BEN)

    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    error_of(answers[-1], 429, "rate_limited")
    assert other.status_code == 200

    site.clock.ahead = timedelta(seconds=1)
    assert (await site.decide(record, "approve")).status_code == 409


# Withdrawing and resolving.


async def test_an_agent_withdraws_its_own_call(site: Site) -> None:
    record = await site.park()

    response = await site.post(f"/v1/interruptions/{record.id}/withdraw", {"reason": "not needed any more"}, BOT)

    assert (response.json()["state"], response.json()["reason"]) == ("withdrawn", "not needed any more")
    error_of(await site.decide(record, "approve"), 409, "already_decided")
    error_of(await site.post(f"/v1/interruptions/{record.id}/withdraw", {}, BOT), 409, "illegal_transition")


@pytest.mark.parametrize(("ran", "state"), [(True, "executed"), (False, "failed")])
async def test_an_operator_settles_a_call_of_unknown_outcome(site: Site, ran: bool, state: str) -> None:
    record = await site.park()
    await site.decide(record, "approve")
    await site.lose(record)
    path = f"/v1/interruptions/{record.id}/resolve"

    error_of(await site.post(path, {"ran": ran, "note": "looked"}, BOT), 403, "forbidden")
    error_of(await site.post(path, {"ran": ran}), 400, "malformed")
    response = await site.post(path, {"ran": ran, "note": "looked at the server"})

    assert response.json()["state"] == state
    assert response.json()["outcome"]["note"] == "looked at the server"


async def test_only_an_unknown_outcome_can_be_settled(site: Site) -> None:
    record = await site.park()

    error_of(
        await site.post(f"/v1/interruptions/{record.id}/resolve", {"ran": True, "note": "x"}), 409, "illegal_transition"
    )


# Operators.


async def test_the_log_tells_who_decided_and_is_paged(site: Site) -> None:
    record = await site.park()
    await site.decide(record, "approve")

    whole = (await site.get("/v1/log")).json()
    decisions = (await site.get(f"/v1/log?kind=decision&interruption={record.id}")).json()["entries"]
    first = (await site.get("/v1/log?limit=1")).json()

    LogList.model_validate(whole)
    assert [entry["entry"]["kind"] for entry in decisions] == ["decision"]
    assert "ana" in decisions[0]["body"]
    assert record.arguments["path"] not in json.dumps(whole)
    assert first["next_after"] == first["entries"][0]["sequence"]
    error_of(await site.get("/v1/log?kind=gossip"), 400, "malformed")


async def test_policy_servers_and_explanations_are_what_was_injected(site: Site) -> None:
    asked = {"server": "files", "tool": "delete_file", "arguments": {"path": "x"}}

    assert (await site.get("/v1/policy")).json() == {"digest": "0" * 64, "layers": []}
    assert (await site.get("/v1/servers")).json() == {"servers": [{"label": "files", "state": "ready"}]}
    explained = (await site.post("/v1/policy/explain", asked)).json()
    assert explained["action"] == "ask"
    assert explained["call"] == {**asked, "agent": "local", "groups": [], "client": None}
    error_of(await site.post("/v1/policy/explain", asked, BOT), 403, "forbidden")


async def test_health_is_for_everybody_and_says_nothing_more(site: Site) -> None:
    assert (await site.get("/healthz", None)).json() == {"status": "ok", "missing": []}
    assert (await site.get("/readyz", None)).json() == {"status": "ready", "missing": []}


async def test_what_is_missing_is_told_on_this_machine_only(tmp_path: Path) -> None:
    async def missing() -> list[str]:
        return ["server `files` is not there"]

    async with serving_site(tmp_path, missing=missing) as site:
        near = await site.get("/readyz", None)
        far = await site.get("/readyz", None, headers={"x-forwarded-for": "203.0.113.9"})

    assert (near.status_code, near.json()["missing"]) == (503, ["server `files` is not there"])
    assert (far.status_code, far.json()["missing"]) == (503, [])


async def test_metrics_count_states_age_and_decisions(site: Site) -> None:
    first, second = await site.park(), await site.park()
    await site.decide(first, "approve")
    site.clock.ahead = timedelta(minutes=10)

    text = (await site.get("/metrics")).text

    assert 'holdshort_interruptions{state="pending"} 1' in text
    assert 'holdshort_interruptions{state="approved"} 1' in text
    assert 'holdshort_decisions_total{decision="approve"} 1' in text
    age = float(next(line for line in text.splitlines() if line.startswith("holdshort_oldest")).split()[1])
    assert 600 <= age < 660
    assert second.id not in text
    forwarded = await site.get("/metrics", None, headers={"forwarded": "for=127.0.0.1"})
    error_of(forwarded, 401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/nothing", 404, "not_found"),
        ("/v1/interruptions/", 404, "not_found"),
        ("/v1/grant", 404, "not_found"),
        ("/v1/grants/", 404, "not_found"),
        ("/v1/interruptions/x/../y", 404, "not_found"),
        ("/static/../pages.py", 404, "not_found"),
        ("/static/%2e%2e%2fpages.py", 404, "not_found"),
    ],
)
async def test_what_is_not_there_has_the_same_shape(site: Site, path: str, status: int, code: str) -> None:
    error_of(await site.get(path), status, code)


async def test_a_store_that_fails_answers_503_and_decides_nothing(tmp_path: Path) -> None:
    async with serving_site(tmp_path / "state") as site:
        record = await site.park()
        real = site.deps.store.apply

        async def broken(*_: Any) -> Any:
            raise OSError("disk is gone")

        object.__setattr__(site.deps.store, "apply", broken)
        error_of(await site.decide(record, "approve"), 503, "unavailable")
        object.__setattr__(site.deps.store, "apply", real)
        assert (await site.store.get(record.id)).state is State.PENDING
