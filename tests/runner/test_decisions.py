"""Decisions from a program: they are requests to the proxy, which takes the first one and says what came of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallData, CallKind, CallStatus
from holdshort.runner.decisions import Always, answer_content
from holdshort.runner.errors import (
    ApprovalExpired,
    DecisionConflict,
    DecisionError,
    ProxyUnreachable,
    StateDamaged,
    UserError,
)
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.state import RunState
from kit.ports import free_port
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, SECOND_APPROVER_TOKEN, ProxyKit
from runner.parking import approval_proxy, call_of, decided, park, parking, run_of, state_with

ANA = {"to": "ana", "text": "hello"}


@pytest.fixture(scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    async with parking(tmp_path_factory.mktemp("decisions")) as proxy:
        yield proxy


async def test_an_approval_is_taken_by_the_proxy_and_shown(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA), approver=APPROVER_TOKEN)
    [waiting] = state.get_interruptions()
    after = await state.approve(waiting, message="go ahead")
    assert (waiting.status, after.status) == ("pending", "approved")
    assert state.get_interruptions() == [after]
    [vote] = (await kit.interruption(waiting.id))["decisions"]
    assert (vote["by"], vote["decision"], vote["message"]) == ("ana", "approve", "go ahead")


async def test_an_edit_runs_other_arguments(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    after = await state.edit(state.get_interruptions()[0], {"to": "bob", "n": 2**60}, note="wrong address")
    assert (after.status, after.parsed_arguments) == ("approved", {"to": "bob", "n": 2**60})
    record = await kit.interruption(after.id)
    assert record["arguments"] == {"to": "bob", "n": 2**60}
    assert record["requested_arguments"] == ANA
    assert record["decisions"][0]["message"] == "wrong address"


@pytest.mark.parametrize("word", ["message", "rejection_message"])
async def test_a_rejection_carries_its_reason(kit: ProxyKit, word: str) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    words: dict[str, Any] = {word: "not on a Friday"}
    after = await state.reject(state.get_interruptions()[0], **words)
    assert after.status == "rejected"
    assert (await kit.interruption(after.id))["decisions"][0]["message"] == "not on a Friday"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("it is gone already", "it is gone already"),
        ([{"type": "text", "text": "gone"}], [{"type": "text", "text": "gone"}]),
        ({"gone": True, "n": 2**60}, '{"gone": true, "n": 1152921504606846976}'),
        ([1, "two"], '[1, "two"]'),
        ((1, 2), "[1, 2]"),
        ([], "[]"),
        (None, "null"),
        ([{"type": "rm"}], '[{"type": "rm"}]'),
    ],
    ids=["text", "content blocks", "an object", "a list", "a tuple", "an empty list", "nothing", "no content blocks"],
)
def test_an_answer_is_text_or_content_or_json(said: Any, kept: Any) -> None:
    assert answer_content(said) == kept


def test_an_answer_says_something() -> None:
    with pytest.raises(UserError, match="an answer says something"):
        answer_content("")
    with pytest.raises(StateDamaged):
        answer_content({"when": object()})


async def test_an_answer_is_given_in_the_tools_place(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    after = await state.respond(state.get_interruptions()[0], {"sent": False})
    assert after.status == "answered"
    assert (await kit.interruption(after.id))["answer"] == '{"sent": false}'


# -- who may


async def test_without_an_approvers_token_nothing_is_decided(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA), approver=None)
    with pytest.raises(UserError, match="approver's token"):
        await state.approve(state.get_interruptions()[0])
    assert (await kit.interruption(state.get_interruptions()[0].id))["state"] == "pending"


async def test_another_proxy_object_can_bring_the_token(kit: ProxyKit) -> None:
    """The agent's own process needs no approver's token: a program beside it has one."""
    state = await state_with(kit, ("send_mail", ANA), approver=None)
    desk = await RunState.from_string(state.agent, state.to_string(), proxy=approval_proxy(kit))
    assert (await desk.approve(desk.get_interruptions()[0])).status == "approved"


async def test_no_token_is_in_what_is_saved_or_shown(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    decision = state.approve(state.get_interruptions()[0], always=True)
    said = [repr(decision), repr(state), str(decision.body)]
    await decision
    said += [state.to_string(), repr(state.data)]
    for token in (AGENT_TOKEN, APPROVER_TOKEN):
        assert not any(token in text for text in said)


# -- conflicts


async def test_the_first_decision_counts_and_the_second_is_told(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    await decided(kit, waiting.id, "reject", message="no")
    with pytest.raises(DecisionConflict) as refused:
        await state.approve(waiting)
    assert refused.value.interruption is not None
    assert refused.value.interruption["state"] == "rejected"
    assert state.get_interruptions()[0].status == "rejected"


async def test_the_same_decision_again_changes_nothing(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    decision = state.approve(waiting)
    first = await decision
    assert await decision == first
    assert (await state.approve(waiting)).status == "approved"
    assert len((await kit.interruption(waiting.id))["decisions"]) == 1


async def test_what_was_edited_meanwhile_is_not_approved_unseen(kit: ProxyKit) -> None:
    state = await state_with(kit, ("twice_mail", ANA), approver=APPROVER_TOKEN)
    [waiting] = state.get_interruptions()
    other = await kit.decide(
        await kit.interruption(waiting.id), "edit", token=SECOND_APPROVER_TOKEN, arguments={"to": "mallory"}
    )
    assert other.json()["state"] == "pending"
    with pytest.raises(DecisionConflict) as refused:
        await state.approve(waiting)
    assert refused.value.reason == "fingerprint_mismatch"
    [now] = state.get_interruptions()
    assert now.parsed_arguments == {"to": "mallory"}
    assert (await state.approve(now)).status == "approved"


async def test_time_can_be_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    layer = {"version": 1, "rules": [{"id": "short", "tools": "*", "action": "ask", "expires_after": "1s"}]}
    async with parking(tmp_path_factory.mktemp("short"), layer) as proxy:
        state = await state_with(proxy, ("send_mail", ANA))
        [waiting] = state.get_interruptions()
        await proxy.until_state(waiting.id, "expired")
        with pytest.raises(ApprovalExpired):
            await state.approve(waiting)
        assert state.get_interruptions()[0].status == "expired"


async def test_a_call_that_was_taken_back_is_not_approved(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    await kit.ask("POST", f"/v1/interruptions/{waiting.id}/withdraw", {}, token=AGENT_TOKEN)
    with pytest.raises(DecisionConflict):
        await state.approve(waiting)


async def test_what_the_schema_forbids_is_no_edit(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    with pytest.raises(StateDamaged, match="`/when`"):
        state.edit(state.get_interruptions()[0], {"when": object()})


# -- which call


async def test_an_interruption_of_another_run_is_refused(kit: ProxyKit) -> None:
    one, other = await state_with(kit, ("send_mail", ANA)), await state_with(kit, ("send_mail", ANA))
    for decide in (one.approve, one.reject, lambda i: one.edit(i, {}), lambda i: one.respond(i, "x")):
        with pytest.raises(UserError, match="is not of this state"):
            decide(other.get_interruptions()[0])
    assert (await kit.interruption(other.get_interruptions()[0].id))["state"] == "pending"


@pytest.mark.parametrize("what", ["harmless arguments", "a harmless fingerprint", "a harmless tool"])
async def test_what_is_shown_is_what_is_approved_or_nothing_is(kit: ProxyKit, what: str) -> None:
    """Whoever can write the state shows a person something else than what waits at the proxy."""
    state = await state_with(kit, ("send_mail", {"to": "everybody"}))
    [call] = state.data.calls
    assert call.interruption is not None
    match what:
        case "harmless arguments":
            call.interruption["arguments"] = ANA
        case "a harmless fingerprint":
            call.interruption["fingerprint"] = "0" * 64
        case _:
            call.tool = call.name = "read_mail"
    forged = await RunState.from_json(state.agent, state.to_json())
    [shown] = forged.get_interruptions()
    with pytest.raises(StateDamaged, match="the state was changed"):
        forged.approve(shown)
    assert (await kit.interruption(shown.id))["state"] == "pending"


async def test_a_forged_fingerprint_that_fits_what_is_shown_is_refused_by_the_proxy(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "everybody"}))
    harmless = await state_with(kit, ("send_mail", ANA))
    [call], [other] = state.data.calls, harmless.data.calls
    assert call.interruption is not None
    assert other.interruption is not None
    own = {key: call.interruption[key] for key in ("id", "requested_by")}
    call.interruption = {**other.interruption, **own}
    [shown] = state.get_interruptions()
    assert shown.parsed_arguments == ANA
    with pytest.raises(DecisionConflict) as refused:
        await state.approve(shown)
    assert refused.value.reason == "fingerprint_mismatch"
    assert (await kit.interruption(shown.id))["state"] == "pending"


async def test_the_record_of_another_call_is_not_taken_for_this_one(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA), ("send_mail", {"to": "everybody"}))
    first, second = state.data.calls
    first.interruption, second.interruption = second.interruption, first.interruption
    with pytest.raises(StateDamaged, match="is not about the call `call-0`"):
        await state.approve(state.get_interruptions()[0])


async def test_a_call_of_a_run_inside_is_decided_on_the_state_outside(kit: ProxyKit) -> None:
    run_id = f"run-{uuid4().hex[:12]}"
    record = await park(kit, "send_mail", ANA, run_id, "call-0/call-7")
    inner = run_of([call_of(record, agent="Mail", call_id="call-7")], run_id, agent="Mail")
    mail = Agent[Any]("Mail")
    ops = Agent[Any]("Ops", tools=[mail.as_tool("ask_mail")], proxy=approval_proxy(kit))
    outer = CallData(
        call_id="call-0",
        key="call-0",
        kind=CallKind.AGENT,
        name="ask_mail",
        server="local",
        tool="ask_mail",
        arguments="{}",
        agent="Ops",
        item={"type": "function_call"},
        status=CallStatus.SENT,
        run=inner,
    )
    state = RunState(ops, run_of([outer], run_id))
    [waiting] = state.get_interruptions()
    assert (waiting.agent_path, waiting.agent, waiting.call_id) == (("Ops", "Mail"), "Mail", "call-7")
    # `Mail` has no proxy of its own: the agent around it has.
    assert (await state.reject(waiting, always=True)).status == "rejected"
    assert [each["tool"] for each in state.data.rejections] == ["send_mail"]
    assert inner.rejections == []


async def test_where_no_agent_has_a_proxy_nobody_can_be_asked(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    lost = RunState(Agent[Any]("Ops"), state.data)
    with pytest.raises(UserError, match="has no proxy"):
        lost.approve(lost.get_interruptions()[0])


# -- sent later


async def test_decisions_that_are_not_awaited_are_sent_together(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA), ("send_mail", {"to": "bob"}), ("send_mail", {"to": "eve"}))
    one, two, three = state.get_interruptions()
    made = [state.approve(one), state.edit(two, {"to": "ben"}), state.reject(three, message="no")]
    assert [each["state"] for each in await kit.interruptions(run_id=state.run_id)] == ["pending"] * 3
    before = state.revision
    await state.submit()
    assert [each.status for each in state.get_interruptions()] == ["approved", "approved", "rejected"]
    assert [each.status for each in made] == ["sent"] * 3
    assert state.revision > before
    await state.submit()


async def test_all_are_tried_and_the_first_that_went_wrong_is_raised(kit: ProxyKit) -> None:
    state = await state_with(kit, *[("send_mail", {"to": name}) for name in ("ana", "bob", "eve")])
    one, two, three = state.get_interruptions()
    for each in (one, two):
        await decided(kit, each.id, "reject", message=f"no {each.id}")
    for each in (one, two, three):
        state.approve(each)
    with pytest.raises(DecisionConflict, match=one.id) as refused:
        await state.submit()
    assert len(refused.value.__notes__) == 1
    assert two.id in refused.value.__notes__[0]
    assert [each.status for each in state.get_interruptions()] == ["rejected", "rejected", "approved"]
    # What was refused is gone: the state can be saved, and gone on from.
    await state.submit()
    state.to_string()


async def test_a_decision_is_never_kept_in_a_state(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    decision = state.approve(state.get_interruptions()[0])
    for save in (state.to_string, state.to_json):
        with pytest.raises(UserError, match="never kept in a state"):
            save()
    await decision
    saved = state.to_json()
    assert saved["run"]["calls"][0]["status"] == "parked"


async def test_until_it_is_sent_the_later_decision_takes_the_place_of_the_earlier(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    first = state.approve(waiting)
    state.reject(waiting)
    await state.submit()
    assert state.get_interruptions()[0].status == "rejected"
    with pytest.raises(UserError, match="was replaced"):
        await first


async def test_a_decision_that_does_not_arrive_stays_for_the_next_time(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    state.proxy = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=AGENT_TOKEN, approver_token=APPROVER_TOKEN)
    decision = state.approve(waiting)
    with pytest.raises(ProxyUnreachable):
        await state.submit()
    assert decision.status == "unsent"
    with pytest.raises(UserError, match="not sent yet"):
        state.to_string()
    state.proxy = None
    await state.approve(waiting)
    assert state.get_interruptions()[0].status == "approved"


async def test_a_decision_that_was_refused_is_not_sent_again(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    await decided(kit, waiting.id, "reject", message="no")
    decision = state.approve(waiting)
    with pytest.raises(DecisionConflict):
        await decision
    with pytest.raises(UserError, match="was refused"):
        await decision


# -- always


async def test_always_makes_a_standing_grant(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "always"}))
    scope = Always(for_="2h", max_uses=3, arguments={"to": {"in": ["always", "again"]}})
    await state.approve(state.get_interruptions()[0], always=scope)
    [grant] = [each for each in (await kit.ask("GET", "/v1/grants")).json()["grants"] if each["max_uses"] == 3]
    assert grant["scope"] == {"arguments": {"to": {"in": ["always", "again"]}}, "when": None}
    body = {"kind": "function", "tool": "send_mail", "arguments": {"to": "again"}, "run_id": "r", "call_id": "c"}
    assert (await kit.ask("POST", "/v1/calls", body, token=AGENT_TOKEN)).json()["verdict"] == "allow"
    # The agent's process is not told: it is none of its business.
    assert "grant" not in state.data.calls[0].interruption  # type: ignore[operator]
    assert "remember" not in state.to_string()


@pytest.mark.parametrize(
    ("always", "remember"),
    [
        (False, None),
        (None, None),
        (True, {}),
        (Always(), {}),
        (Always(for_="7d", max_uses=2), {"for": "7d", "max_uses": 2}),
        (
            Always(arguments="any", when="args.to == 'ana'"),
            {"arguments": {"to": {"any": True}, "text": {"any": True}}, "when": "args.to == 'ana'"},
        ),
        (
            Always(arguments={"to": {"in": ["ana", "bob"]}, "text": {"any": True}}),
            {"arguments": {"to": {"in": ["ana", "bob"]}, "text": {"any": True}}},
        ),
    ],
    ids=["no", "unsaid", "yes", "nothing more", "time and uses", "any with a condition", "by name"],
)
async def test_always_is_said_to_the_proxy_in_its_own_words(kit: ProxyKit, always: Any, remember: Any) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    decision = state.approve(state.get_interruptions()[0], always=always)
    assert decision.body.get("remember") == remember


async def test_always_can_be_said_as_elsewhere(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    assert state.approve(waiting, always_approve=True).body["remember"] == {}
    assert state.approve(waiting, True).body["remember"] == {}
    assert "remember" not in state.approve(waiting).body
    assert state.reject(waiting, always_reject=True).rejection is not None
    assert state.reject(waiting).rejection is None


async def test_what_cannot_be_remembered_is_not_decided(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    with pytest.raises(DecisionError) as refused:
        await state.approve(waiting, always=Always(arguments="any"))
    assert refused.value.reason == "invalid_remember"
    assert (await kit.interruption(waiting.id))["state"] == "pending"


@pytest.mark.parametrize(
    ("always", "arguments"), [(True, ANA), (Always(arguments="any"), None)], ids=["the same arguments", "any arguments"]
)
async def test_a_rejection_can_be_for_the_rest_of_the_run(kit: ProxyKit, always: Any, arguments: Any) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    decision = state.reject(state.get_interruptions()[0], message="no mail", always=always)
    assert state.data.rejections == []
    await decision
    said = {"server": "local", "tool": "send_mail", "arguments": arguments, "message": "no mail"}
    assert state.data.rejections == [said]
    back = await RunState.from_string(state.agent, state.to_string())
    assert back.data.rejections == [said]


@pytest.mark.parametrize(
    "always",
    [Always(for_="1h"), Always(max_uses=2), Always(when="true"), Always(arguments={"to": {"any": True}})],
    ids=["a time", "uses", "a condition", "by name"],
)
async def test_a_rejection_is_not_limited(kit: ProxyKit, always: Always) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    with pytest.raises(UserError, match="lasts as long as the run"):
        state.reject(state.get_interruptions()[0], always=always)


async def test_a_rejection_that_was_not_taken_rejects_nothing_else(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", ANA))
    [waiting] = state.get_interruptions()
    await decided(kit, waiting.id, "approve")
    with pytest.raises(DecisionConflict):
        await state.reject(waiting, always=True)
    assert state.data.rejections == []
