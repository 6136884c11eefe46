"""The review page in a real browser: seen, steered by keyboard, and never tricked by what it shows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from playwright.async_api import Browser

from approvals.browser import browsing, expect, person
from approvals.site import BEN, DEFINITION, Site
from holdshort.interruption import Interruption, State
from holdshort.policy import Terms
from kit.process import until_async

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>{{7*7}}"
SPOOF = "/data/report\u202etxt.exe"


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with browsing() as started:
        yield started


async def stored(site: Site, record: Interruption, state: State) -> Interruption:
    """Wait until the store has it in this state."""

    async def there() -> Interruption | None:
        now = await site.store.get(record.id)
        return now if now.state is state else None

    return await until_async(there, f"the call to be {state}")


async def test_a_call_arrives_live_and_is_approved_by_keyboard_alone(site: Site, browser: Browser) -> None:
    async with person(browser, site) as ana:
        await ana.log_in()
        page = ana.page
        await expect(page.get_by_text("Nothing waits.")).to_be_visible()
        assert "#" not in page.url
        await ana.shot("queue-empty")

        record = await site.park(arguments={"path": "/data/q3.txt", "force": True})
        await site.park(server="mail", tool="send_message", arguments={"to": "all@example.com", "body": "hello"})
        await site.park(terms=Terms(required_approvals=2), expires_after=timedelta(seconds=100))
        await expect(page.locator("a[data-row]")).to_have_count(3)
        await expect(page.get_by_text("Nothing waits.")).to_have_count(0)
        await expect(page).to_have_title("(3) Waiting calls · Holdshort")
        await ana.shot("queue")

        await page.keyboard.press("j")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("j")
        await page.keyboard.press("k")
        await expect(page.locator("a[data-row]").nth(1)).to_be_focused()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/review/{record.id}")
        await ana.live()
        await expect(page.get_by_role("heading", name="delete_file on files")).to_be_visible()
        await ana.shot("review")

        await page.keyboard.press("a")
        await expect(page.locator("#approve")).to_be_focused()
        assert (await site.store.get(record.id)).state is State.PENDING
        await page.keyboard.press("Enter")
        await stored(site, record, State.APPROVED)
        await expect(page.locator("#status .state")).to_have_text("approved")
        await site.run(record, {"content": [{"type": "text", "text": HOSTILE}]})
        await expect(page.locator("#status .state")).to_have_text("executed")
        await page.get_by_text("What the server said").click()
        await expect(page.locator("#status pre")).to_contain_text("onerror")
        await expect(page.locator("#history")).to_contain_text("approve by ana")
        await ana.shot("review-executed")
        await page.keyboard.press("n")
        await expect(page.locator("#call")).not_to_have_attribute("data-id", record.id)


async def test_decided_calls_leave_the_queue_of_everybody(site: Site, browser: Browser) -> None:
    first, second = await site.park(), await site.park()
    async with person(browser, site) as ana:
        await ana.log_in()
        await expect(ana.page.locator("a[data-row]")).to_have_count(2)
        await ana.page.keyboard.press("j")
        await site.decide(first, "reject", BEN)

        await expect(ana.page.locator("a[data-row]")).to_have_count(1)
        await expect(ana.page.locator(f'li[data-id="{second.id}"] a')).to_be_focused()
        await expect(ana.page.locator("#recent")).to_contain_text("reject by ben")


async def test_a_rejection_goes_with_its_reason(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.keyboard.press("r")
        await expect(ana.page.locator("#reason")).to_be_focused()
        await ana.page.keyboard.type("not on a Friday, ask Ben")
        await ana.shot("reject")
        await ana.page.keyboard.press("Control+Enter")
        decided = await stored(site, record, State.REJECTED)

        await expect(ana.page.locator("#status .state")).to_have_text("rejected")
        await expect(ana.page.locator("#history")).to_contain_text("not on a Friday, ask Ben")
        assert decided.decisions[0].message == "not on a Friday, ask Ben"


async def test_keys_typed_into_a_field_are_text(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.keyboard.press("r")
        await ana.page.keyboard.type("area? e")
        await expect(ana.page.locator("#reason")).to_have_value("area? e")
        await ana.page.keyboard.press("Escape")
        await expect(ana.page.locator("#reject-form")).to_be_hidden()
        await expect(ana.page.locator("#reject")).to_be_focused()
        await ana.page.keyboard.press("?")
        await expect(ana.page.locator("#help")).to_be_visible()
        await ana.shot("help")
        await ana.page.keyboard.press("Escape")
        await expect(ana.page.locator("#help")).to_be_hidden()


async def test_an_edit_is_checked_shown_and_then_approved_with_every_digit(site: Site, browser: Browser) -> None:
    big = 12345678901234567890
    record = await site.park(arguments={"path": "/data/q3.txt", "force": True, "size": big})
    async with person(browser, site, quiet=False) as ana:
        page = ana.page
        await ana.log_in(path=f"/review/{record.id}")
        await page.keyboard.press("e")
        field, error, go = page.locator("#edit-text"), page.locator("#edit-error"), page.locator("#edit-go")
        await expect(field).to_be_focused()
        for text, words in [
            ('{"path": 7}', "/path"),
            ('{"path": "/etc/passwd"}', "no-etc"),
            ('{"path": "a", "path": "b"}', "twice"),
            ("{nonsense", "not JSON"),
            ("[]", "JSON object"),
        ]:
            await field.fill(text)
            await page.keyboard.press("Control+Enter")
            await expect(error).to_contain_text(words)
            await expect(field).to_have_attribute("aria-invalid", "true")
            await expect(field).to_be_focused()
        await ana.shot("edit-invalid")

        await field.fill(json.dumps({"path": "/data/q4.txt", "force": True, "size": big + 1}))
        await page.keyboard.press("Control+Enter")
        await expect(go).to_have_text("Approve this change")
        await expect(page.locator("#edit-diff .minus")).to_contain_text(["q3.txt", str(big)])
        await expect(page.locator("#edit-diff .plus")).to_contain_text(["q4.txt", str(big + 1)])
        assert (await site.store.get(record.id)).state is State.PENDING
        await ana.shot("edit-diff")
        await expect(go).to_be_focused()
        await page.keyboard.press("Enter")
        decided = await stored(site, record, State.APPROVED)

        assert decided.arguments == {"path": "/data/q4.txt", "force": True, "size": big + 1}
        await expect(page.locator("#arguments")).to_contain_text("An approver changed what the agent asked for")
        await ana.shot("edited")


async def test_a_change_after_the_preview_is_previewed_again(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.keyboard.press("e")
        await ana.page.locator("#edit-text").fill('{"path": "/data/one"}')
        await ana.page.keyboard.press("Control+Enter")
        await expect(ana.page.locator("#edit-go")).to_have_text("Approve this change")
        await ana.page.locator("#edit-text").press_sequentially(" ")

        await expect(ana.page.locator("#edit-go")).to_have_text("Show the change")
        await expect(ana.page.locator("#edit-diff")).to_be_empty()


async def test_hidden_characters_are_visible_and_markup_is_text(site: Site, browser: Browser) -> None:
    definition = {**DEFINITION, "title": HOSTILE, "description": f"Harmless.\u200b\u200b {HOSTILE}"}
    record = await site.park(
        tool="delete\u200bfile",
        agent=HOSTILE,
        definition=definition,
        arguments={
            "path": SPOOF,
            "p\u0430th": "a\x1b[2J\x1b[31m",
            "script": HOSTILE,
            "wide": "ls" + " " * 400 + "; rm -rf /",
            "nested": {"k\u2066ey": [1, {"deep": "x\u3164y"}]},
            "empty": "",
        },
    )
    async with person(browser, site) as ana:
        page = ana.page
        await ana.log_in()
        await expect(page.locator("a[data-row]")).to_contain_text("U+200B")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/review/{record.id}")
        await ana.live()
        arguments = page.locator("#arguments")
        for code in ("U+202E", "U+0430", "U+001B ESC", "400 spaces", "U+2066", "U+3164"):
            await expect(arguments).to_contain_text(code)
        await expect(arguments.locator(".warning")).to_contain_text("can mislead")
        await expect(page.locator(".untrusted")).to_contain_text("U+200B \u00d72")
        await expect(arguments).to_contain_text("<script>document.title='owned'</script>{{7*7}}")
        await ana.shot("hidden")
        assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert "owned" not in await page.title()
        body = await page.locator("body").inner_text()
        assert not set(body) & set("\u202e\u200b\u2066\u3164\x1b")
        await page.keyboard.press("e")
        value = await page.locator("#edit-text").input_value()
        assert "\\u202e" in value
        assert not set(value) & set("\u202e\u200b\u2066\u3164\x1b\u0430")


async def test_long_values_are_opened_before_anybody_approves(site: Site, browser: Browser) -> None:
    long = "echo ok\n" * 300 + "rm -rf /important\n" + "echo ok\n" * 300
    record = await site.park(tool="shell", arguments={"command": long, "tail": "x" * 2000 + "END"})
    async with person(browser, site) as ana:
        page = ana.page
        await ana.log_in(path=f"/review/{record.id}")
        approve = page.locator("#approve")
        await expect(approve).to_be_disabled()
        await expect(page.get_by_text("Show all 4,818 characters")).to_be_visible()
        await expect(page.locator(".ends").nth(1)).to_contain_text("END")
        await expect(page.locator("#arguments details.long pre").first).to_be_hidden()
        await ana.shot("folded")
        await page.keyboard.press("a")
        await expect(page.locator("#open-all")).to_be_focused()
        await page.get_by_text("Show all 4,818 characters").click()
        await expect(page.locator("#arguments details.long pre").first).to_contain_text("rm -rf /important")
        await expect(page.locator("#arguments details.long pre").first).to_be_visible()
        await expect(approve).to_be_disabled()
        await page.keyboard.press("o")
        await expect(approve).to_be_enabled()
        await page.keyboard.press("a")
        await page.keyboard.press("Enter")
        await stored(site, record, State.APPROVED)


async def test_who_comes_second_is_told_who_was_first(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site, quiet=False) as ana:
        page = ana.page
        await ana.log_in(path=f"/review/{record.id}")
        # The event must not win the race against this decision: only then is there a conflict to show.
        ana.expected = "ERR_FAILED"
        await page.route("**/review/*", lambda route: route.abort())
        await site.decide(record, "reject", BEN, message="too risky")
        await page.locator("#approve").click()

        await expect(page.locator("#conflict")).to_contain_text("ben already rejected this: “too risky”")
        await expect(page.locator("#conflict")).to_be_focused()
        await ana.shot("conflict")


async def test_an_edit_by_another_is_shown_before_one_can_approve_it(site: Site, browser: Browser) -> None:
    record = await site.park(terms=Terms(required_approvals=2))
    async with person(browser, site) as ana:
        page = ana.page
        await ana.log_in(path=f"/review/{record.id}")
        await site.decide(record, "edit", BEN, arguments={"path": "/data/changed.txt"})

        await expect(page.locator("#conflict")).to_contain_text("was edited while you looked")
        await expect(page.locator("#arguments")).to_contain_text("/data/changed.txt")
        await expect(page.locator("#decide")).to_contain_text("1 of 2 approvals")
        await ana.shot("quorum")
        await page.locator("#approve").click()
        decided = await stored(site, record, State.APPROVED)
        assert {vote.by for vote in decided.counted()} == {"ana", "ben"}


async def test_an_answer_in_the_tools_place(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.keyboard.press("t")
        await ana.page.keyboard.type("The file is gone already.")
        await ana.page.get_by_role("button", name="Send this answer").click()
        decided = await stored(site, record, State.ANSWERED)

        assert decided.answer == "The file is gone already."
        await expect(ana.page.locator("#status")).to_contain_text("The file is gone already.")


async def test_an_unknown_outcome_is_settled_with_a_note(site: Site, browser: Browser) -> None:
    record = await site.park()
    await site.decide(record, "approve")
    await site.lose(record)
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.locator("#note").fill("the file is still there")
        await ana.shot("unknown")
        await ana.page.get_by_role("button", name="It did not run").click()
        settled = await stored(site, record, State.FAILED)

        assert settled.outcome is not None
        assert settled.outcome.note == "the file is still there"
        await expect(ana.page.locator("#status .state")).to_have_text("failed")


async def test_who_may_not_decide_is_told_why_and_has_no_buttons(site: Site, browser: Browser) -> None:
    record = await site.park(terms=Terms(approvers=(frozenset({"finance"}),)))
    async with person(browser, site) as ben:
        await ben.log_in(BEN, f"/review/{record.id}")

        await expect(ben.page.locator("#decide")).to_contain_text("Only finance may decide this call.")
        await expect(ben.page.locator("#decide button")).to_have_count(0)


async def test_everything_is_reachable_by_tab_and_named(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        page = ana.page
        await ana.log_in(path=f"/review/{record.id}")
        seen: list[str] = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert {"approve", "edit", "reject", "respond", "help-open", "logout", "back"} <= set(seen)
        nameless = await page.evaluate(
            """[...document.querySelectorAll('button, a, input, textarea, summary')]
               .filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length"""
        )
        assert nameless == 0
        assert await page.locator("[aria-live], [role=alert]").count() >= 2


async def test_a_lost_connection_is_shown_and_what_was_missed_is_there_after_it(site: Site, browser: Browser) -> None:
    async with person(browser, site) as ana:
        await ana.log_in()
        site.app.state.streams.cut()
        await expect(ana.page.locator("#link-words")).to_have_text("reconnecting…")
        await ana.shot("reconnecting")
        await site.park()

        await ana.live()
        await expect(ana.page.locator("a[data-row]")).to_have_count(1)


async def test_a_login_that_is_over_is_said_and_leads_back(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site, quiet=False) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        site.clock.ahead = timedelta(minutes=31)
        await ana.page.locator("#approve").click()

        await expect(ana.page.locator("#link-words")).to_have_text("logged out")
        again = ana.page.get_by_role("link", name="Log in again")
        await expect(again).to_have_attribute("href", f"/login?next=%2Freview%2F{record.id}")
        assert (await site.store.get(record.id)).state is State.PENDING
        await ana.shot("logged-out")


async def test_logging_in_with_the_token_and_out_again(site: Site, browser: Browser) -> None:
    from approvals.site import ANA

    record = await site.park()
    async with person(browser, site, quiet=False) as ana:
        page = ana.page
        await page.goto(f"{site.url}/review/{record.id}")
        await page.wait_for_url("**/login?next=/review/**")
        await ana.shot("login")
        await page.get_by_label("Approver token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("#login-error")).to_contain_text("not an approver")
        await page.get_by_label("Approver token").fill(ANA)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/review/{record.id}")
        await ana.live()
        await page.get_by_role("button", name="Log out").click()
        await page.wait_for_url("**/login")
        await page.goto(site.url)
        await page.wait_for_url("**/login")


async def test_a_used_link_says_so(site: Site, browser: Browser) -> None:
    async with person(browser, site, quiet=False) as ana:
        await ana.page.goto(f"{site.url}/login#used-already")
        await expect(ana.page.locator("#login-error")).to_contain_text("was used already")
        assert "#" not in ana.page.url


async def test_what_is_not_there_has_a_page(site: Site, browser: Browser) -> None:
    async with person(browser, site, quiet=False) as ana:
        await ana.log_in()
        response = await ana.page.goto(f"{site.url}/review/i-none")

        assert response is not None
        assert response.status == 404
        await expect(ana.page.get_by_text("There is no such call.")).to_be_visible()


@pytest.mark.parametrize(("dark", "width"), [(True, 1280), (False, 390), (True, 390)])
async def test_it_fits_small_and_dark_screens(site: Site, browser: Browser, dark: bool, width: int) -> None:
    record = await site.park(
        arguments={"path": "/data/" + "very-long-name-" * 20 + ".txt", "note": SPOOF, "force": True},
        terms=Terms(required_approvals=2),
    )
    await site.park(server="mail", tool="send_message", arguments={"to": "x"})
    await site.decide(record, "approve", BEN, message="fine with me")
    name = f"{'dark' if dark else 'light'}-{width}"
    async with person(browser, site, dark=dark, width=width) as ana:
        await ana.log_in()
        await ana.shot(f"queue-{name}")
        assert await ana.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await ana.page.goto(f"{site.url}/review/{record.id}")
        await ana.live()
        await ana.shot(f"review-{name}")
        assert await ana.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
