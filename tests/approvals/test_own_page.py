"""A call that the agent runs itself, as approvers see it: nobody is told that the proxy runs it, or saw it run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from playwright.async_api import Browser

from approvals.browser import browsing, expect, person
from approvals.site import BOT, Site
from holdshort.cli.cards import card
from holdshort.policy import Action, Layer, OwnKind

CALL: dict[str, Any] = {
    "kind": "shell",
    "tool": "run",
    "arguments": {"command": "rm -rf build"},
    "definition": {"description": "Runs a command.", "annotations": {"readOnlyHint": True}},
    "run_id": "run-1",
    "call_id": "call-1",
}


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with browsing() as started:
        yield started


async def asked(site: Site, **changes: Any) -> dict[str, Any]:
    site.rules.layer = Layer("own.yaml", (), Action.ASK)
    response = await site.post("/v1/calls", {**CALL, **changes}, BOT)
    assert response.status_code == 202, response.text
    record: dict[str, Any] = response.json()["interruption"]
    return record


async def test_the_page_says_who_runs_it_from_the_question_to_the_outcome(site: Site, browser: Browser) -> None:
    record = await asked(site)
    path = f"/review/{record['id']}"
    async with person(browser, site) as ana:
        await ana.log_in(path=path)
        article = ana.page.locator("article.what")
        await expect(article).to_contain_text("A shell command of the agent itself; Holdshort does not run it.")
        await expect(article).to_contain_text("The tool, in the agent\u2019s words")
        await expect(article).to_contain_text("what it does is not known here")
        await expect(article).not_to_contain_text("says it only reads")
        await ana.shot("own-call")
        await ana.page.click("#approve")
        await expect(ana.page.locator("#state-words")).to_contain_text("The agent may run it once")
        taken = (await site.post(f"/v1/interruptions/{record['id']}/claim", {}, BOT)).json()
        await expect(ana.page.locator("#history")).to_contain_text("taken by the agent to run it")
        done = {"token": taken["token"], "kind": "ok", "result": "gone"}
        await site.post(f"/v1/interruptions/{record['id']}/outcome", done, BOT)
        await expect(ana.page.locator("#status")).to_contain_text("The agent says that it ran.")
        await expect(article).not_to_contain_text("the server said")
        await ana.shot("own-call-done")


@pytest.mark.parametrize("kind", OwnKind)
async def test_a_terminal_shows_who_runs_it(site: Site, kind: OwnKind) -> None:
    record = await asked(site, kind=kind.value)

    shown = card(record, site.clock())

    assert "Holdshort does not run it." in shown
    assert "the agent says (nobody checked this)" in shown
    assert "its server" not in shown


async def test_a_call_of_the_proxys_own_is_shown_as_before(site: Site) -> None:
    record = await site.park()

    assert "does not run it" not in card(record.public(), site.clock())
