"""Calls that agents run themselves: one policy, one queue, one log, and each approved one is handed out once."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from approvals.site import ANA, BEN, BOT, OTHER, Site, serving_site
from holdshort.approvals.deps import ApprovalLimits
from holdshort.approvals.pace import Pace
from holdshort.interruption import State
from holdshort.policy import Action, Layer, OwnKind, Rule, compile_condition, parse_tool_pattern
from holdshort.store import EntryKind, LogFilter

Json = dict[str, Any]
SEND: Json = {"kind": "function", "tool": "send_mail", "arguments": {"to": "ana", "text": "hello"}}


def rule(name: str, tools: str, action: Action, **more: Any) -> Rule:
    return Rule(name, action, (parse_tool_pattern(tools),), **more)


@pytest.fixture(autouse=True)
def layer(site: Site) -> None:
    site.rules.layer = Layer(
        "own.yaml",
        (
            rule("hidden", "*__secret_*", Action.HIDE),
            rule("no-rm", "shell:*__rm", Action.DENY),
            rule("reads", "function:*__read_*", Action.ALLOW),
            rule("claims-to-read", "*__claimed", Action.ALLOW, when=compile_condition("tool.read_only")),
            rule("two", "hosted_mcp:*__*", Action.ASK, required_approvals=2),
        ),
        Action.ASK,
    )


async def ask(site: Site, token: str = BOT, **changes: Any) -> Any:
    return await site.post("/v1/calls", {**SEND, **changes}, token)


async def parked(site: Site, **changes: Any) -> Json:
    response = await ask(site, **changes)
    assert response.status_code == 202, response.text
    body: Json = response.json()
    assert body["verdict"] == "ask"
    record: Json = body["interruption"]
    return record


async def approved(site: Site, token: str = BOT, **changes: Any) -> Json:
    record = (await ask(site, token, **changes)).json()["interruption"]
    return await decided(site, record, "approve")


async def decided(site: Site, record: Json, decision: str, token: str = ANA, **more: Any) -> Json:
    body = {"decision": decision, "fingerprint": record["fingerprint"], **more}
    response = await site.post(f"/v1/interruptions/{record['id']}/decision", body, token)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def claim(site: Site, record: Json, token: str = BOT, **body: Any) -> Any:
    return await site.post(f"/v1/interruptions/{record['id']}/claim", body, token)


async def report(site: Site, record: Json, by: str = BOT, **body: Any) -> Any:
    return await site.post(f"/v1/interruptions/{record['id']}/outcome", body, by)


async def gathered(*calls: Awaitable[Any]) -> list[Any]:
    """What all of them answer, each begun before any has ended."""
    answers: list[Any] = [None] * len(calls)

    async def keep(n: int, call: Awaitable[Any]) -> None:
        answers[n] = await call

    async with anyio.create_task_group() as tasks:
        for n, call in enumerate(calls):
            tasks.start_soon(keep, n, call)
    return answers


async def rows(site: Site, **where: Any) -> list[Any]:
    return [entry.fields async for entry in site.store.entries(where=LogFilter(**where))]


async def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_an_allowed_call_is_in_the_log_when_the_answer_comes(site: Site) -> None:
    response = await ask(site, tool="read_mail")

    row = (await rows(site))[-1]
    assert response.status_code == 200
    assert response.json() == {
        "verdict": "allow",
        "because": [{"layer": "own.yaml", "rule": "reads"}],
        "interruption": None,
    }
    assert (row["kind"], row["action"], row["server"], row["tool"]) == (
        EntryKind.VERDICT,
        "allow",
        "function:local",
        "read_mail",
    )


async def test_a_denied_call_names_the_rule_and_a_hidden_one_names_nothing(site: Site) -> None:
    denied = await ask(site, kind="shell", tool="rm")
    hidden = await ask(site, tool="secret_door")

    assert (await code(denied), await code(hidden)) == ((403, "denied"), (403, "denied"))
    assert "no-rm" in denied.json()["error"]["message"]
    assert "hidden" not in hidden.text
    assert [row["action"] for row in await rows(site)] == ["deny", "hide"]


async def test_an_approved_call_is_handed_out_once_with_its_arguments_and_its_outcome_is_kept(site: Site) -> None:
    record = await parked(site, run_id="run-1", call_id="call-1", agent_path=["boss", "mailer"])
    before = await claim(site, record)
    await decided(site, record, "approve")
    first = await claim(site, record)
    second = await claim(site, record)
    done = await report(site, record, token=first.json()["token"], kind="ok", result={"sent": 1})
    again = (await ask(site, run_id="run-1", call_id="call-1")).json()["interruption"]

    assert (record["kind"], record["server"], record["state"]) == ("function", "function:local", "pending")
    assert record["requested_by"]["agent_path"] == ["boss", "mailer"]
    assert await code(before) == (409, "illegal_transition")
    assert first.status_code == 200, first.text
    assert first.json()["arguments"] == SEND["arguments"]
    assert await code(second) == (409, "illegal_transition")
    assert done.json()["state"] == "executed"
    assert again["outcome"]["result"] == {"sent": 1}
    kinds = [row["kind"] for row in await rows(site, interruption=record["id"])]
    assert [k for k in kinds if k not in (EntryKind.REFUSED, EntryKind.DELIVERED)] == [
        EntryKind.PARKED,
        EntryKind.DECISION,
        EntryKind.INTENT,
        EntryKind.OUTCOME,
    ]
    assert (await site.store.verify()).ok


async def test_of_many_claims_at_once_one_succeeds(site: Site) -> None:
    record = await approved(site)

    answers = await gathered(*(claim(site, record) for _ in range(12)))

    assert sorted(each.status_code for each in answers) == [200] + [409] * 11


async def test_an_edited_call_is_handed_out_as_it_was_edited(site: Site) -> None:
    record = await parked(site)
    await decided(site, record, "edit", arguments={"to": "ben"})

    taken = (await claim(site, record)).json()

    assert taken["arguments"] == {"to": "ben"}
    assert taken["interruption"]["requested_arguments"] == SEND["arguments"]


@pytest.mark.parametrize(("decision", "more"), [("reject", {"message": "no"}), ("respond", {"content": "later"})])
async def test_what_was_rejected_or_answered_is_told_and_never_handed_out(
    site: Site, decision: str, more: Json
) -> None:
    record = await parked(site)
    await decided(site, record, decision, **more)

    told = (await ask(site)).json()["interruption"]
    anew = await parked(site)

    assert (told["id"], told["state"]) == (record["id"], {"reject": "rejected", "respond": "answered"}[decision])
    assert "no" in told["decisions"][0]["message"] if decision == "reject" else told["answer"] == "later"
    assert await code(await claim(site, record)) == (409, "illegal_transition")
    assert anew["id"] != record["id"], "who was told and asks again asks for another call"


async def test_the_same_ids_are_the_same_call_and_other_ids_another_one(site: Site) -> None:
    ids = {"run_id": "run-1", "call_id": "call-1"}

    first, same = await parked(site, **ids), await parked(site, **ids)
    other = await parked(site, run_id="run-1", call_id="call-2")
    foreign = (await ask(site, OTHER, **ids)).json()["interruption"]
    reused = await ask(site, **ids, arguments={"to": "somebody else"})
    described = await ask(site, **ids, definition={"description": "harmless"})

    assert first["id"] == same["id"]
    assert len({first["id"], other["id"], foreign["id"]}) == 3
    assert await code(reused) == (409, "call_id_reused")
    assert await code(described) == (409, "call_id_reused")


async def test_the_same_call_asked_about_many_times_at_once_is_parked_once(site: Site) -> None:
    answers = await gathered(*(ask(site, run_id="r", call_id="c") for _ in range(10)))

    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["interruption"]["id"] for each in answers}) == 1


async def test_a_call_without_ids_joins_the_one_with_the_same_arguments(site: Site) -> None:
    first, same, other = await parked(site), await parked(site), await parked(site, arguments={"to": "ben"})

    assert first["id"] == same["id"] != other["id"]


async def test_another_description_of_the_tool_needs_another_approval(site: Site) -> None:
    record = await approved(site)

    again = await parked(site, definition={"description": "Deletes everything."})

    assert again["id"] != record["id"]
    assert again["state"] == "pending"
    assert (await site.store.get(record["id"])).state is State.SUPERSEDED


async def test_what_expired_can_be_asked_for_again_under_the_same_ids(site: Site) -> None:
    ids = {"run_id": "run-1", "call_id": "call-1"}
    record = await parked(site, **ids)
    site.clock.ahead = timedelta(days=2)
    await site.store.expire_due(site.clock())

    told, anew = await parked(site, **ids), await parked(site, **ids)

    assert (told["id"], told["state"]) == (record["id"], "expired")
    assert anew["id"] != record["id"]
    assert anew["state"] == "pending"


@pytest.mark.parametrize("kind", OwnKind)
async def test_a_call_of_every_kind_is_named_apart_from_every_server(site: Site, kind: OwnKind) -> None:
    record = await parked(site, kind=kind.value, server="files", tool="delete_file")

    assert record["server"] == f"{kind}:files"


async def test_what_an_agent_says_of_its_tools_makes_nothing_harmless(site: Site) -> None:
    claimed = {"annotations": {"readOnlyHint": True, "destructiveHint": False}, "description": "Only reads."}

    record = await parked(site, tool="claimed", definition=claimed)

    assert record["definition"]["annotations"] == claimed["annotations"]


async def test_a_call_of_the_proxys_own_is_neither_handed_out_nor_reported_on(site: Site) -> None:
    """Not even with the token that the gate holds."""
    waiting = await site.park()
    await site.decide(waiting, "approve")
    refused = await claim(site, {"id": waiting.id})
    running = await site.claim(waiting)
    assert running.claim is not None
    reported = await report(site, {"id": waiting.id}, token=running.claim.token, kind="ok", result="forged")

    assert await code(refused) == (409, "wrong_kind")
    assert await code(reported) == (409, "wrong_kind")
    assert (await site.store.get(waiting.id)).state is State.EXECUTING


async def test_a_parked_call_of_a_server_is_not_joined_by_one_that_the_agent_runs(site: Site) -> None:
    waiting = await site.park(server="files", tool="send_mail", arguments=SEND["arguments"])
    await site.decide(waiting, "approve")

    record = await parked(site, server="files")

    assert record["id"] != waiting.id
    assert record["fingerprint"] != waiting.fingerprint


async def test_strangers_and_nobody_and_approvers_are_refused(site: Site) -> None:
    record = await approved(site)
    taken = (await claim(site, record)).json()
    absent = {"id": "i-nothing"}

    foreign = [await claim(site, record, OTHER), await report(site, record, OTHER, token=taken["token"], kind="ok")]
    unknown = [await claim(site, absent, OTHER), await report(site, absent, OTHER, token=1, kind="ok")]
    approvers = [
        await ask(site, ANA),
        await claim(site, record, ANA),
        await report(site, record, ANA, token=taken["token"], kind="ok"),
    ]

    assert [each.text for each in foreign] == [each.text for each in unknown]
    assert {await code(each) for each in foreign} == {(404, "not_found")}
    assert {await code(each) for each in approvers} == {(403, "forbidden")}
    assert (await site.post("/v1/calls", SEND, None)).status_code == 401
    assert (await site.store.get(record["id"])).state is State.EXECUTING


async def test_the_agent_on_this_machine_needs_no_token_where_no_agents_are_configured(tmp_path_factory: Any) -> None:
    async with serving_site(tmp_path_factory.mktemp("open") / "state", agents=False) as site:
        site.rules.layer = Layer("own.yaml", (), Action.ASK)
        response = await site.post("/v1/calls", SEND, None)

    assert response.status_code == 202
    assert response.json()["interruption"]["requested_by"]["agent"] == "local"


async def test_a_report_needs_the_token_of_the_claim(site: Site) -> None:
    record = await approved(site)
    early = await report(site, record, token=1, kind="ok")
    taken = (await claim(site, record)).json()
    wrong = await report(site, record, token=taken["token"] + 1, kind="ok")

    assert await code(early) == (409, "illegal_transition")
    assert await code(wrong) == (409, "stale_token")
    assert (await site.store.get(record["id"])).state is State.EXECUTING


@pytest.mark.parametrize(
    ("kind", "state", "outcome"),
    [
        ("ok", "executed", "ok"),
        ("tool_error", "executed", "tool_error"),
        ("failed", "failed", "not_run"),
        ("unknown", "unknown", "lost"),
    ],
)
async def test_each_report_ends_the_call_as_what_it_says_and_counts_once(
    site: Site, kind: str, state: str, outcome: str
) -> None:
    record = await approved(site)
    token = (await claim(site, record)).json()["token"]

    first = await report(site, record, token=token, kind=kind)
    same = await report(site, record, token=token, kind=kind)
    other = await report(site, record, token=token, kind="ok", result="changed my mind")

    assert (first.json()["state"], first.json()["outcome"]["kind"]) == (state, outcome)
    assert same.status_code == 200
    assert len([row for row in await rows(site) if row["kind"] == EntryKind.OUTCOME]) == (2 if kind == "unknown" else 1)
    # Doubt ends with a fact; a fact ends with nothing.
    assert other.status_code == (200 if kind == "unknown" else 409)


async def test_a_result_of_what_did_not_run_is_refused(site: Site) -> None:
    record = await approved(site)
    token = (await claim(site, record)).json()["token"]

    assert await code(await report(site, record, token=token, kind="failed", result=1)) == (400, "malformed")


async def test_who_took_a_call_and_said_nothing_left_it_unknown_and_a_late_report_settles_that(site: Site) -> None:
    ids = {"run_id": "run-1", "call_id": "call-1"}
    record = await approved(site, **ids)
    token = (await claim(site, record, seconds=60)).json()["token"]
    site.clock.ahead = timedelta(seconds=61)
    await site.store.expire_due(site.clock())
    told = await parked(site, **ids)
    again = await claim(site, record)
    not_run = await report(site, record, token=token, kind="failed")
    late = await report(site, record, token=token, kind="ok", result="it ran after all")

    assert told["state"] == "unknown"
    assert await code(again) == (409, "illegal_transition")
    assert await code(not_run) == (409, "illegal_transition"), "whether it ran is by then an operator's to say"
    assert (late.json()["state"], late.json()["outcome"]["result"]) == ("executed", "it ran after all")


async def test_policy_has_the_last_word_when_a_call_is_taken(site: Site) -> None:
    record = await approved(site, run_id="r", call_id="c")
    site.rules.layer = Layer("own.yaml", (), Action.DENY)

    refused = await claim(site, record)

    assert await code(refused) == (409, "superseded")
    assert refused.json()["error"]["interruption"]["state"] == "superseded"
    assert await code(await ask(site, run_id="r", call_id="c")) == (403, "denied")


async def test_what_needs_no_approval_any_more_is_not_approved_later(site: Site) -> None:
    for ids in ({}, {"run_id": "r", "call_id": "c"}):
        site.rules.layer = Layer("own.yaml", (), Action.ASK)
        record = await parked(site, **ids)
        site.rules.layer = Layer("own.yaml", (), Action.ALLOW)

        assert (await ask(site, **ids)).json()["verdict"] == "allow"
        assert (await site.store.get(record["id"])).state is State.SUPERSEDED


async def test_what_was_approved_is_not_run_beside_a_call_that_needs_no_approval(site: Site) -> None:
    record = await approved(site)
    site.rules.layer = Layer("own.yaml", (), Action.ALLOW)

    again = await parked(site)

    assert (again["id"], again["state"]) == (record["id"], "approved")


async def test_a_quorum_and_separated_duties_hold_for_these_calls_too(site: Site) -> None:
    record = (await ask(site, OTHER, kind="hosted_mcp", server="wiki")).json()["interruption"]
    one = await decided(site, record, "approve")
    body = {"decision": "approve", "fingerprint": record["fingerprint"]}
    own_person = await site.post(f"/v1/interruptions/{record['id']}/decision", body, BEN)

    assert (one["state"], one["required_approvals"]) == ("pending", 2)
    assert await code(own_person) == (403, "not_eligible")


async def test_a_standing_grant_answers_for_the_same_tool_and_no_other_definition(site: Site) -> None:
    described = {"description": "Sends one mail."}
    record = await parked(site, definition=described)
    await decided(site, record, "approve", remember={})
    taken = (await claim(site, record)).json()
    await report(site, record, token=taken["token"], kind="ok")

    granted = await ask(site, definition=described)
    otherwise = await ask(site, definition={"description": "Sends a thousand."})
    elsewhere = await ask(site, kind="shell", definition=described)

    assert granted.json()["verdict"] == "allow"
    assert granted.json()["because"][0]["layer"] == "grant"
    assert (otherwise.status_code, elsewhere.status_code) == (202, 202)


async def test_a_wait_ends_with_the_decision(site: Site) -> None:
    record = await parked(site)

    async def decide() -> None:
        await decided(site, record, "reject", message="no")

    by_call, by_record, _ = await gathered(
        ask(site, wait=50), site.get(f"/v1/interruptions/{record['id']}?wait=50", BOT), decide()
    )

    assert by_call.json()["interruption"]["state"] == "rejected"
    assert by_record.json()["state"] == "rejected"


async def test_a_wait_ends_with_its_time(site: Site) -> None:
    record = await parked(site)

    with anyio.fail_after(15):
        response = await site.get(f"/v1/interruptions/{record['id']}?wait=1", BOT)

    assert response.json()["state"] == "pending"
    assert await code(await site.get(f"/v1/interruptions/{record['id']}?wait=61", BOT)) == (400, "malformed")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "mcp"},
        {"kind": "other"},
        {"server": "a:b"},
        {"server": "a__b"},
        {"server": "a_"},
        {"server": ""},
        {"tool": ""},
        {"tool": "x" * 201},
        {"arguments": "rm -rf /"},
        {"definition": {"name": "other"}},
        {"agent": "other-bot"},
        {"wait": 61},
        {"agent_path": ["x"] * 33},
    ],
)
async def test_a_malformed_question_is_refused_and_leaves_no_trace(site: Site, wrong: Json) -> None:
    assert await code(await ask(site, **wrong)) == (400, "malformed")
    assert await rows(site) == []


async def test_one_agent_cannot_ask_without_end(tmp_path_factory: Any) -> None:
    limits = ApprovalLimits(calls=Pace(1, 2))
    async with serving_site(tmp_path_factory.mktemp("slow") / "state", limits=limits) as site:
        answers = [await ask(site, tool=f"t{n}") for n in range(3)]

        assert [each.status_code for each in answers] == [202, 202, 429]
        assert (await ask(site, OTHER)).status_code == 202, "its pace is its own"


async def test_too_many_waiting_calls_are_refused(site: Site) -> None:
    for n in range(100):
        await site.park(arguments={"path": f"/{n}"})

    assert await code(await ask(site)) == (429, "quota_exceeded")


WANTED: Json = {"tool": "read_mail", "needs_approval": True}


@pytest.mark.parametrize("ids", [{}, {"run_id": "r", "call_id": "c"}], ids=["plain", "numbered"])
async def test_a_program_that_wants_a_person_gets_one_although_policy_allows(site: Site, ids: Json) -> None:
    record = await parked(site, **WANTED, **ids)
    again = await parked(site, **WANTED, **ids)
    await decided(site, record, "approve")
    taken = await claim(site, record)
    done = await report(site, record, token=taken.json()["token"], kind="ok", result="read")

    assert record["because"] == [{"layer": "agent", "rule": "needs_approval"}]
    assert (record["required_approvals"], len(record["allowed_decisions"])) == (1, 4)
    assert again["id"] == record["id"]
    assert taken.status_code == 200, taken.text
    assert done.json()["state"] == "executed"
    assert [row["because"] for row in await rows(site, kinds=frozenset({EntryKind.PARKED}))] == [record["because"]]


async def test_a_program_can_tighten_and_never_loosen(site: Site) -> None:
    denied = await ask(site, kind="shell", tool="rm", needs_approval=True)
    hidden = await ask(site, tool="secret_door", needs_approval=True)
    two = await parked(site, kind="hosted_mcp", tool="x", needs_approval=True)
    not_wanted = await parked(site, needs_approval=False)
    malformed = await ask(site, needs_approval="yes")

    assert (await code(denied), await code(hidden)) == ((403, "denied"), (403, "denied"))
    assert two["required_approvals"] == 2
    assert two["because"] == [{"layer": "own.yaml", "rule": "two"}]
    assert not_wanted["because"] == [{"layer": "own.yaml", "rule": "default"}]
    assert await code(malformed) == (400, "malformed")


async def test_without_the_wish_the_same_call_is_what_policy_says(site: Site) -> None:
    record = await parked(site, **WANTED, run_id="r", call_id="c")
    response = await ask(site, tool="read_mail", run_id="r", call_id="c")
    left = await site.get(f"/v1/interruptions/{record['id']}")

    assert (response.status_code, response.json()["verdict"]) == (200, "allow")
    assert left.json()["state"] == "superseded"


async def test_a_grant_answers_where_only_the_program_asks(site: Site) -> None:
    record = await parked(site, **WANTED)
    granted = await decided(site, record, "approve", remember={"for": "1h"})
    taken = await claim(site, record)
    await report(site, record, token=taken.json()["token"], kind="ok")
    answer = await ask(site, **WANTED)
    other = await parked(site, **{**WANTED, "arguments": {"to": "ben"}})

    assert answer.json()["verdict"] == "allow"
    assert answer.json()["because"] == [{"layer": "grant", "rule": granted["grant"]}]
    assert other["state"] == "pending"


@pytest.mark.parametrize(
    ("later", "state"),
    [
        ({"action": Action.ALLOW}, "executing"),
        ({"action": Action.ASK}, "executing"),
        ({"action": Action.ASK, "required_approvals": 2}, "superseded"),
        ({"action": Action.DENY}, "superseded"),
    ],
    ids=["allows still", "asks on the same terms", "asks on other terms", "denies"],
)
async def test_a_claim_is_judged_by_policy_as_it_is_then(site: Site, later: Json, state: str) -> None:
    record = await parked(site, **WANTED)
    await decided(site, record, "approve")
    site.rules.layer = Layer("later.yaml", (rule("now", "*", **later),), Action.ASK)
    await claim(site, record)

    assert (await site.get(f"/v1/interruptions/{record['id']}")).json()["state"] == state


async def test_the_record_tells_its_agent_what_a_runner_needs_and_no_token(site: Site) -> None:
    record = await parked(site, run_id="r", call_id="c", agent_path=["boss"])
    edited = await decided(site, record, "edit", arguments={"to": "ben", "text": "hello"}, message="not to ana")
    seen = (await site.get(f"/v1/interruptions/{record['id']}", BOT)).json()
    taken = await claim(site, record, seconds=60)
    running = (await site.get(f"/v1/interruptions/{record['id']}", BOT)).json()
    done = (await report(site, record, token=taken.json()["token"], kind="ok", result={"sent": 1})).json()

    assert (record["claim_by"], record["claimed_until"]) == (None, None)
    assert (seen["state"], seen["arguments"]["to"], seen["requested_arguments"]["to"]) == ("approved", "ben", "ana")
    assert seen["claim_by"] == edited["claim_by"] > record["created_at"]
    assert seen["decisions"][0]["message"] == "not to ana"
    assert (running["claim_by"], running["claimed_until"]) == (None, taken.json()["until"])
    assert (done["state"], done["outcome"]["result"], done["claimed_until"]) == ("executed", {"sent": 1}, None)
    assert seen.keys() == record.keys() == running.keys() == done.keys()
    assert {
        "fingerprint",
        "definition_digest",
        "kind",
        "reason",
        "answer",
        "because",
        "allowed_decisions",
        "expires_at",
        "review_url",
        "revision",
        "requested_by",
    } <= seen.keys()
    assert "token" not in str(running)
