"""A run as a program keeps it: saved, found again by its agents' names, with nothing in it that is secret."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from holdshort.runner.agent import Agent, handoff
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, RunData, Source
from holdshort.runner.drift import DriftWarning, differences, fingerprint
from holdshort.runner.errors import StateDamaged, StateTampered, UserError
from holdshort.runner.graph import agents_of
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.state import RunState
from holdshort.runner.tools import ApplyPatchTool, FunctionTool, HostedMCPTool, RawTool, ShellTool, ToolContext

SECRET = "a secret of the program's own"


async def mail(context: ToolContext[Any], arguments: str) -> str:
    return "sent"


def tool(**more: Any) -> FunctionTool:
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    usual: dict[str, Any] = {"name": "mail", "description": "Send mail.", "params_json_schema": schema}
    usual |= {"on_invoke_tool": mail, **more}
    return FunctionTool(**usual)


def agent(**more: Any) -> Agent[Any]:
    usual: dict[str, Any] = {"name": "Ops", "instructions": "Write mail.", "tools": [tool()]}
    return Agent[Any](**{**usual, **more})


def data(**more: Any) -> RunData:
    usual: dict[str, Any] = {"run_id": "run-1", "agent": "Ops", "first_agent": "Ops", "history": [said("hello")]}
    return RunData(**{**usual, **more})


def said(text: str) -> Entry:
    return Entry({"role": "user", "content": text}, Source.INPUT, "Ops")


def call(kind: CallKind = CallKind.FUNCTION, **more: Any) -> CallData:
    usual: dict[str, Any] = {"call_id": "c", "key": "c", "name": "mail", "server": "local", "tool": "mail"}
    usual |= {"arguments": "{}", "kind": kind, "agent": "Ops", "item": {"type": "function_call"}}
    return CallData(**{**usual, **more})


# -- there and back


async def test_a_state_comes_back_from_text_and_from_json() -> None:
    state = RunState(agent(), data(calls=[call()]))
    for back in (
        await RunState.from_string(agent(), state.to_string()),
        await RunState.from_string(agent(), state.to_string().encode()),
        await RunState.from_json(agent(), state.to_json()),
        await RunState.from_string(agent(), state.to_string(secret=SECRET), secret=SECRET),
        await RunState.from_json(agent(), state.to_json(secret=SECRET), secret=[b"x" * 16, SECRET]),
    ):
        assert back.data == state.data
        assert (back.run_id, back.revision) == ("run-1", 0)


async def test_saving_twice_says_the_same() -> None:
    text = RunState(agent(), data(calls=[call()])).to_string(secret=SECRET)
    back = await RunState.from_string(agent(), text, secret=SECRET)
    assert back.to_string(secret=SECRET) == text


async def test_the_order_of_keys_is_kept() -> None:
    """The next request is the same to the byte, so what the service has cached of the beginning still counts."""
    item = {"z": 1, "a": {"y": 2, "b": 3}, "1": "é🙂"}
    state = RunState(agent(), data(history=[Entry(item, Source.MODEL, "Ops")]))
    back = await RunState.from_string(agent(), state.to_string(secret=SECRET), secret=SECRET)
    assert json.dumps(back.data.history[0].item) == json.dumps(item)


async def test_a_signature_is_asked_for_and_kept_to() -> None:
    state = RunState(agent(), data())
    with pytest.raises(StateTampered, match="signed ones"):
        await RunState.from_string(agent(), state.to_string(), secret=SECRET)
    with pytest.raises(StateTampered, match="pass `secret=`"):
        await RunState.from_json(agent(), state.to_json(secret=SECRET))
    edited = state.to_string(secret=SECRET).replace("hello", "HELLO")
    with pytest.raises(StateTampered, match="was changed"):
        await RunState.from_string(agent(), edited, secret=SECRET)


async def test_nothing_secret_is_in_a_state() -> None:
    config = {
        "type": "mcp",
        "server_label": "wiki",
        "server_url": "https://wiki.example/mcp?key=url-secret",
        "authorization": "hosted-secret",
        "headers": {"X-Key": "header-secret"},
    }
    proxy = ApprovalProxy("http://127.0.0.1:9", token="agent-secret-token", approver_token="approver-secret-token")
    everything = agent(tools=[HostedMCPTool(tool_config=config)], proxy=proxy)
    text = RunState(everything, data(), proxy=proxy).to_string(secret=SECRET)
    assert "secret" not in text
    assert SECRET not in text


async def test_no_decision_has_a_place_in_a_state() -> None:
    """What would permit something in other runners is an unknown field here."""
    document = RunState(agent(), data(calls=[call()])).to_json()
    for place in (document, document["run"], document["run"]["calls"][0]):
        for field in ("approved", "approvals", "decision", "always_approve", "permissions"):
            place[field] = True
            with pytest.raises(StateDamaged, match=f"unknown field `{field}`"):
                await RunState.from_json(agent(), document)
            del place[field]
    await RunState.from_json(agent(), document)


# -- input


async def test_more_input_waits_until_calls_have_their_outputs() -> None:
    state = RunState(agent(), data(calls=[call()]))
    before = state.revision
    state.add_input("and Bob too")
    state.add_input([{"role": "user", "content": "and Eve"}])
    assert state.data.queued == [{"role": "user", "content": "and Bob too"}, {"role": "user", "content": "and Eve"}]
    assert len(state.data.history) == 1
    assert state.revision > before
    back = await RunState.from_string(agent(), state.to_string())
    assert back.data.queued == state.data.queued


def test_input_that_is_no_json_is_refused_where_it_is_given() -> None:
    state = RunState(agent(), data())
    with pytest.raises(StateDamaged, match="`/0/content`"):
        state.add_input([{"role": "user", "content": {1, 2}}])
    assert state.data.queued == []
    given: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    state.add_input(given)
    given[0]["content"] = "changed"
    assert state.data.queued[0]["content"] == "x"


# -- whose state it is


async def test_the_state_of_another_agent_is_refused() -> None:
    text = RunState(agent(), data()).to_string()
    with pytest.raises(UserError, match="began with agent `Ops`, not `Mail`"):
        await RunState.from_string(Agent[Any]("Mail"), text)


async def test_an_agent_that_the_run_needs_is_missed() -> None:
    inner = data(agent="Inner", first_agent="Mail")
    handed = RunState(agent(), data(agent="Mail"))
    nested = RunState(agent(), data(calls=[call(CallKind.AGENT, run=inner)]))
    for state, name in ((handed, "Mail"), (nested, "Inner")):
        text = state.to_string()
        with pytest.raises(UserError, match=f"needs agent `{name}`, which `Ops` cannot reach"):
            await RunState.from_string(agent(), text)
    with pytest.raises(UserError, match="is at agent `Mail`, which `Ops` cannot reach"):
        _ = handed.current_agent


async def test_agents_are_found_by_name_however_they_are_reached() -> None:
    last = Agent[Any]("Last")
    inner = Agent[Any]("Inner", handoffs=[handoff(last)])
    outer = Agent[Any]("Ops", tools=[inner.as_tool("ask_inner")])
    last.handoffs = [outer]  # a circle
    assert list(agents_of(outer)) == ["Ops", "Inner", "Last"]
    back = await RunState.from_string(outer, RunState(outer, data(agent="Last")).to_string())
    assert back.current_agent is last
    assert back.agent is outer


@pytest.mark.parametrize(
    "arrange",
    [
        lambda one, other: Agent[Any]("Ops", handoffs=[one, other]),
        lambda one, other: Agent[Any]("Ops", tools=[one.as_tool()], handoffs=[handoff(other)]),
        lambda one, other: Agent[Any]("Ops", handoffs=[Agent[Any]("Between", tools=[one.as_tool()]), other]),
    ],
    ids=["as handoffs", "as a tool and a handoff", "at different depths"],
)
async def test_two_agents_of_one_name_are_refused(arrange: Callable[..., Agent[Any]]) -> None:
    twice = arrange(Agent[Any]("Mail"), Agent[Any]("Mail"))
    document = RunState(agent(), data()).to_json()
    with pytest.raises(UserError, match="two agents are called `Mail`"):
        await RunState.from_json(twice, document)
    with pytest.raises(UserError, match="two agents are called `Mail`"):
        RunState(twice, data()).to_string()
    once = Agent[Any]("Mail")
    assert agents_of(arrange(once, once))["Mail"] is once


async def test_an_agent_is_not_taken_for_its_clone() -> None:
    one = Agent[Any]("Mail")
    with pytest.raises(UserError, match="two agents"):
        agents_of(Agent[Any]("Ops", handoffs=[one, one.clone(instructions="else")]))


# -- drift


def changed_tool() -> FunctionTool:
    return tool(params_json_schema={"type": "object", "properties": {}})


DRIFT: dict[str, tuple[Callable[[], Agent[Any]], str]] = {
    "model": (lambda: agent(model="gpt-6"), "the model was `gpt-5.6` and is `gpt-6`"),
    "instructions": (lambda: agent(instructions="Write no mail."), "the instructions are different"),
    "a function": (
        lambda: agent(instructions=lambda context, who: "x"),
        "the instructions are different",
    ),
    "schema": (lambda: agent(tools=[changed_tool()]), "the tool `mail` is different"),
    "description": (lambda: agent(tools=[tool(description="Delete mail.")]), "the tool `mail` is different"),
    "tool gone": (lambda: agent(tools=[]), "the tool `mail` is not there any more"),
    "tool new": (lambda: agent(tools=[tool(), tool(name="rm")]), "the tool `rm` is new"),
    "handoff new": (lambda: agent(handoffs=[Agent[Any]("Mail")]), "the handoff `Mail` is new"),
    "output type": (lambda: agent(output_type=dict), "the output type was `None` and is `dict`"),
}


@pytest.mark.parametrize("what", DRIFT)
async def test_what_is_different_by_now_is_told_and_nothing_else(what: str) -> None:
    make, words = DRIFT[what]
    text = RunState(agent(), data()).to_string()
    with pytest.warns(DriftWarning) as told:
        back = await RunState.from_string(make(), text)
    assert [str(each.message) for each in told] == [
        f"agents are not what they were when run `run-1` was saved: agent `Ops`: {words}"
    ]
    assert back.data == data()


async def test_what_is_the_same_is_not_told() -> None:
    text = RunState(agent(), data()).to_string()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await RunState.from_string(agent(), text)


def test_every_kind_of_tool_can_be_compared() -> None:
    every = agent(
        tools=[
            tool(),
            Agent[Any]("Mail").as_tool("ask_mail", "Ask."),
            HostedMCPTool(tool_config={"type": "mcp", "server_label": "wiki", "require_approval": "always"}),
            ShellTool(executor=print),
            ApplyPatchTool(editor=print),
            RawTool(tool_config={"type": "web_search"}),
            RawTool(tool_config={"type": "odd", "value": object()}),
        ],
        handoffs=[handoff(Agent[Any]("Last"), tool_name_override="go_on")],
    )
    kept = fingerprint(every)
    assert list(kept["Ops"]["tools"]) == ["mail", "ask_mail", "wiki", "shell", "apply_patch", "web_search", "odd"]
    assert kept["Ops"]["handoffs"] == {"go_on": "Last"}
    assert differences(kept, every) == []
    json.dumps(kept)


def test_an_agent_that_is_gone_is_told() -> None:
    before = fingerprint(agent(handoffs=[Agent[Any]("Mail")]))
    assert differences(before, agent()) == ["agent `Ops`: the handoff `Mail` is not there any more",
                                            "agent `Mail` is not there any more"]  # fmt: skip


def test_a_hosted_tools_credentials_are_no_drift() -> None:
    def hosted(**more: Any) -> Agent[Any]:
        return agent(tools=[HostedMCPTool(tool_config={"type": "mcp", "server_label": "wiki", **more})])

    before = fingerprint(hosted(authorization="one", headers={"a": "b"}))
    assert differences(before, hosted(authorization="two")) == []
    assert differences(before, hosted(server_url="https://elsewhere.example")) != []


# -- what a state shows


def test_a_state_shows_no_more_of_itself_than_its_name() -> None:
    state = RunState(agent(), data(history=[said("a private matter")]))
    assert repr(state) == "RunState('run-1', revision 0, running)"


def test_interruptions_come_in_the_models_order_with_their_path() -> None:
    def parked(key: str, who: str, **more: Any) -> CallData:
        record = {"id": f"i-{key}", "state": "pending", "fingerprint": "f", "revision": 1, "arguments": {}}
        return call(call_id=key, key=key, agent=who, status=CallStatus.PARKED, interruption=record, **more)

    inner = data(agent="Mail", first_agent="Mail", calls=[parked("b", "Mail")])
    calls = [parked("a", "Ops"), call(CallKind.AGENT, key="x", run=inner), parked("c", "Ops")]
    state = RunState(agent(handoffs=[Agent[Any]("Mail")]), data(calls=calls))
    shown = [(each.id, each.agent_path) for each in state.get_interruptions()]
    assert shown == [("i-a", ("Ops",)), ("i-b", ("Ops", "Mail")), ("i-c", ("Ops",))]
