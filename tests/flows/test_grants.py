"""Standing grants from end to end: real clients, the real proxy, and a spy that counts what really ran."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from flows.scene import ERAS, Scene
from kit.clients import Answer
from kit.process import until
from kit.proxy import HOLDSHORT, OTHER_AGENT_TOKEN, ProxyKit, Record

pytestmark = pytest.mark.timeout(90)

WRITE = {"name": "letter"}
SECOND = "second-approver-token-that-is-long-enough"


async def remembered(scene: Scene, client: str = ERAS[0], **remember: Any) -> Record:
    """Approve a call of `write_thing` and let it run; return the grant that was made."""
    record = await scene.leave_pending("write_thing", WRITE, client)
    decided = await scene.proxy.decide(record, "approve", remember=remember)
    assert decided.status_code == 200, decided.text
    answer = await scene.call("write_thing", WRITE, client)
    assert not answer.is_error, answer
    assert scene.spy.executed("write_thing", WRITE) == 1
    return await grant_of(scene.proxy, decided.json()["grant"])


async def grant_of(proxy: ProxyKit, grant_id: str) -> Record:
    response = await proxy.ask("GET", f"/v1/grants/{grant_id}")
    assert response.status_code == 200, response.text
    found: Record = response.json()
    return found


async def rows(proxy: ProxyKit, kind: str) -> list[Mapping[str, Any]]:
    response = await proxy.ask("GET", f"/v1/log?kind={kind}&limit=1000")
    return [row["entry"] for row in response.json()["entries"]]


async def asked(scene: Scene, client: str = ERAS[0], arguments: Mapping[str, Any] = WRITE) -> Answer:
    """One call, answered at once or parked."""
    async with scene.agent(client) as agent:
        return await agent.call("write_thing", arguments)


@pytest.mark.parametrize("client", ERAS)
async def test_a_remembered_approval_lets_the_same_call_run_until_it_is_revoked(scene: Scene, client: str) -> None:
    grant = await remembered(scene, client, **{"for": "7d", "max_uses": 20})

    answer = await asked(scene, client)
    assert not answer.is_error, answer
    assert answer.interruption is None
    assert scene.spy.executed("write_thing", WRITE) == 2
    assert (await grant_of(scene.proxy, grant["id"]))["uses"] == 1

    other = await asked(scene, client, {"name": "another letter"})
    assert other.state == "pending"

    revoked = await scene.proxy.ask("POST", f"/v1/grants/{grant['id']}/revoke", {}, token=SECOND)
    assert (revoked.status_code, revoked.json()["revoked_by"]) == (200, "ben")
    assert (await asked(scene, client)).state == "pending"
    assert scene.spy.executed("write_thing", WRITE) == 2


async def test_the_log_names_the_grant_and_is_whole(scene: Scene) -> None:
    grant = await remembered(scene)
    await asked(scene)

    used = [row for row in await rows(scene.proxy, "verdict") if row["action"] == "allow"]
    assert [row["because"] for row in used] == [[{"layer": "grant", "rule": grant["id"]}]]
    assert [row["detail"]["event"] for row in await rows(scene.proxy, "grant")] == ["made"]
    assert json.dumps("letter") not in json.dumps(await rows(scene.proxy, "grant"))
    await scene.proxy.process.terminate()
    verified = await anyio.run_process(
        [*HOLDSHORT, "log", "verify", "--state-dir", str(scene.proxy.state)], check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


async def test_a_grant_runs_out_after_its_last_use(scene: Scene) -> None:
    grant = await remembered(scene, max_uses=2)

    answers = [await asked(scene) for _ in range(3)]

    assert [answer.is_error for answer in answers[:2]] == [False, False]
    assert answers[2].state == "pending"
    assert scene.spy.executed("write_thing", WRITE) == 3
    assert (await grant_of(scene.proxy, grant["id"]))["state"] == "used_up"


async def test_a_grant_is_the_agents_own(scene: Scene) -> None:
    await remembered(scene)

    async with scene.agent(token=OTHER_AGENT_TOKEN) as other:
        answer = await other.call("write_thing", WRITE)

    assert answer.state == "pending"


async def test_a_grant_outlives_a_restart_and_a_kill(scene: Scene) -> None:
    await remembered(scene)
    await scene.proxy.kill9()
    await scene.proxy.start()

    assert not (await asked(scene)).is_error
    assert scene.spy.executed("write_thing", WRITE) == 2


DENY = {"version": 1, "default": "ask", "rules": [{"id": "no", "tools": "*__write_thing", "action": "deny"}]}
HIDE = {"version": 1, "default": "ask", "rules": [{"id": "no", "tools": "*__write_thing", "action": "hide"}]}


async def test_a_grant_is_nothing_to_a_deny_or_a_hide_that_came_later(scene: Scene) -> None:
    await remembered(scene)
    scene.proxy.set_policy(DENY)
    await scene.proxy.restart()
    denied = await asked(scene)
    scene.proxy.set_policy(HIDE)
    await scene.proxy.restart()
    hidden = await asked(scene)

    assert denied.is_error
    assert "policy" in denied.text.lower()
    assert hidden.error is not None
    assert scene.spy.executed("write_thing", WRITE) == 1


@pytest.mark.parametrize(
    "terms",
    [{"grants": False}, {"approvers": ["finance"]}, {"required_approvals": 2}],
    ids=lambda terms: next(iter(terms)),
)
async def test_terms_that_became_stricter_count_for_grants_made_before(scene: Scene, terms: dict[str, Any]) -> None:
    await remembered(scene)
    rule = {"id": "writes", "tools": "*__write_thing", "action": "ask", **terms}
    scene.proxy.config["approvers"][1]["groups"] = ["finance"]
    scene.proxy.write()
    scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [rule]})
    await scene.proxy.restart()

    assert (await asked(scene)).state == "pending"
    assert scene.spy.executed("write_thing", WRITE) == 1


async def test_a_grant_of_somebody_who_is_no_approver_any_more_answers_nothing(scene: Scene) -> None:
    await remembered(scene)
    scene.proxy.config["approvers"][0]["name"] = "anna"
    scene.proxy.write()
    await scene.proxy.restart()

    assert (await asked(scene)).state == "pending"


async def test_with_a_quorum_both_must_have_asked_for_the_grant(scene: Scene) -> None:
    rule = {"id": "writes", "tools": "*__write_thing", "action": "ask", "required_approvals": 2, "grants": True}
    scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [rule]})
    await scene.proxy.restart()
    record = await scene.leave_pending("write_thing", WRITE)
    first = await scene.proxy.decide(record, "approve", remember={"for": "1h"})
    second = await scene.proxy.decide(record, "approve", remember={"for": "1h"}, token=SECOND)

    assert (first.json()["state"], first.json().get("grant")) == ("pending", None)
    assert first.json()["decisions"][0]["remember"]["max_uses"] == 10
    assert (await grant_of(scene.proxy, second.json()["grant"]))["made_by"] == ["ana", "ben"]
    await scene.call("write_thing", WRITE)
    assert not (await asked(scene)).is_error
    assert scene.spy.executed("write_thing", WRITE) == 2


async def test_an_approved_call_is_fetched_before_any_grant_is_used(scene: Scene) -> None:
    """The approval was for this very call; the grant is for the next."""
    grant = await remembered(scene)

    assert (await grant_of(scene.proxy, grant["id"]))["uses"] == 0


async def test_a_call_that_waits_stays_with_its_approver_until_its_repetition_runs(scene: Scene) -> None:
    async with scene.agent() as agent:
        first = await agent.call("write_thing", {"name": "first"})
        second = await agent.call("write_thing", {"name": "second"})
    record = await scene.proxy.interruption(str((first.interruption or {})["id"]))
    remember = {"arguments": {"name": {"in": ["first", "second"]}}}
    assert (await scene.proxy.decide(record, "approve", remember=remember)).status_code == 200

    waiting = await scene.proxy.interruption(str((second.interruption or {})["id"]))
    assert waiting["state"] == "pending"

    answer = await asked(scene, arguments={"name": "second"})

    assert not answer.is_error, answer
    assert scene.spy.executed("write_thing", {"name": "second"}) == 1
    overtaken = await scene.proxy.interruption(waiting["id"])
    assert (overtaken["state"], overtaken["decisions"]) == ("superseded", [])


@pytest.mark.parametrize("client", ERAS)
async def test_killed_between_the_use_and_the_call_loses_a_use_and_gains_none(scene: Scene, client: str) -> None:
    """First in the transaction, where nothing is left of it; then just before the bytes, where a use is lost."""
    grant = await remembered(scene, client, max_uses=3)
    for point, uses in (("grant.in_tx:1:kill", 0), ("intent.after_commit:1:kill", 1)):
        await scene.proxy.process.terminate()
        scene.proxy.close()
        await scene.proxy.start(env={"HOLDSHORT_FAULT": point})
        await lost(scene, client)
        scene.proxy.close()
        await scene.proxy.start()
        assert (await grant_of(scene.proxy, grant["id"]))["uses"] == uses

    assert not (await asked(scene, client)).is_error
    assert (await grant_of(scene.proxy, grant["id"]))["uses"] == 2


async def lost(scene: Scene, client: str) -> None:
    """A call during which the proxy dies."""
    try:
        async with scene.agent(client) as agent:
            with anyio.move_on_after(10):
                answer = await agent.call("write_thing", WRITE)
                assert answer.is_error
    except Exception:  # noqa: BLE001, S110 (every client library says it in its own way)
        pass
    await until(lambda: scene.proxy.process.returncode is not None, "the proxy to die")
