"""Standing grants in a real browser: made from a decision, seen, and ended."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, Page

from approvals.browser import browsing, expect, person
from approvals.site import BEN, Site
from holdshort.interruption import Interruption
from holdshort.policy import ANY_VALUE, Grant, Scope, Terms, exactly
from kit.process import until_async

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
BIG = 12345678901234567890


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with browsing() as started:
        yield started


async def granted(site: Site, record: Interruption) -> Grant:
    """Wait until approving `record` has made its grant."""

    async def there() -> Grant | None:
        now = await site.store.get(record.id)
        return await site.store.grants.get(now.grant) if now.grant else None

    return await until_async(there, "a grant to be made")


async def open_review(page: Page, site: Site, record: Interruption) -> None:
    await page.goto(f"{site.url}/review/{record.id}")
    await expect(page.locator("#link-words")).to_have_text("live")


async def test_remembering_is_closed_at_first_and_exact_when_opened(site: Site, browser: Browser) -> None:
    record = await site.park(arguments={"path": "/data/q3.txt", "size": BIG})
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        page = ana.page
        await expect(page.locator("#choices")).not_to_be_visible()
        await expect(page.locator("#approve")).to_have_text("Approve a")
        await page.get_by_text("Remember this").click()
        await expect(page.locator("#remember-words")).to_have_text(
            "It will cover exactly these arguments and no others."
        )
        await expect(page.locator("#approve")).to_have_text("Approve and remember a")
        await ana.shot("remember-open")
        await page.locator("#approve").click()
        await expect(page.locator("#decide-title")).to_have_text("Decided")
        await expect(page.get_by_text("It made a standing grant.")).to_be_visible()

    grant = await granted(site, record)
    assert grant.scope == exactly({"path": "/data/q3.txt", "size": BIG})
    assert grant.max_uses == 10


async def test_an_approval_with_the_part_closed_makes_no_grant(site: Site, browser: Browser) -> None:
    record = await site.park()
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await ana.page.get_by_text("Remember this").click()
        await ana.page.get_by_text("Remember this").click()
        await ana.page.locator("#approve").click()
        await expect(ana.page.locator("#decide-title")).to_have_text("Decided")

    assert (await site.store.get(record.id)).grant is None


async def test_what_is_chosen_is_what_is_granted_whatever_the_names_are(site: Site, browser: Browser) -> None:
    arguments = {"path": "/data/q3.txt", HOSTILE: 'a"b\\c\u202e', "n": BIG}
    record = await site.park(arguments=arguments)
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        page = ana.page
        await page.get_by_text("Remember this").click()
        await page.get_by_label("path may be anything").check()
        await page.locator("#remember-when").fill("args.path.startsWith('/data/')")
        await page.locator("#remember-for").select_option("7d")
        await page.locator("#remember-uses").fill("3")
        await expect(page.locator("#remember-words")).to_have_text(
            "It will cover calls with any value of path, and everything else exactly as here."
        )
        await page.locator("#approve").click()
        await expect(page.locator("#decide-title")).to_have_text("Decided")
        await expect(page).not_to_have_title("owned")

    grant = await granted(site, record)
    assert grant.scope is not None
    assert grant.scope.pins == {"path": ANY_VALUE, HOSTILE: ('a"b\\c\u202e',), "n": (BIG,)}
    assert grant.scope.when is not None
    assert grant.scope.when.text == "args.path.startsWith('/data/')"
    assert (grant.max_uses, (grant.expires_at - grant.made_at).days) == (3, 7)


async def test_a_wish_that_is_refused_says_why_and_stays_as_it_was(site: Site, browser: Browser) -> None:
    record = await site.park(arguments={"path": "/data/q3.txt"})
    async with person(browser, site, quiet=False) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        page = ana.page
        await page.get_by_text("Remember this").click()
        await page.get_by_label("path may be anything").check()
        await page.locator("#approve").click()
        await expect(page.locator("#decide-error")).to_contain_text("as wide as the tool")
        await expect(page.locator("#choices")).to_be_visible()
        await page.locator("#remember-when").fill("args.path == '/data/q3.txt'")
        await page.locator("#approve").click()
        await expect(page.locator("#decide-title")).to_have_text("Decided")

    assert (await granted(site, record)).scope is not None


async def test_news_of_other_calls_does_not_close_what_is_being_chosen(site: Site, browser: Browser) -> None:
    record = await site.park(arguments={"path": "/data/q3.txt", "force": True}, terms=Terms(required_approvals=2))
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        page = ana.page
        await page.get_by_text("Remember this").click()
        await page.get_by_label("path may be anything").check()
        await site.decide(record, "approve", BEN)
        await expect(page.locator("#history")).to_contain_text("ben")
        await expect(page.get_by_label("path may be anything")).to_be_checked()
        await page.locator("#approve").click()
        await expect(page.locator("#decide-title")).to_have_text("Decided")

    assert (await site.store.get(record.id)).grant is None


async def test_where_no_grant_can_be_made_none_is_offered(site: Site, browser: Browser) -> None:
    record = await site.park(terms=Terms(grants=False))
    async with person(browser, site) as ana:
        await ana.log_in(path=f"/review/{record.id}")
        await expect(ana.page.locator("#approve")).to_be_visible()
        await expect(ana.page.locator("#remember")).to_have_count(0)


async def test_grants_are_seen_and_revoked(site: Site, browser: Browser) -> None:
    record = await site.park(arguments={"path": HOSTILE, "force": True})
    await site.decide(record, "approve", remember={"arguments": {"path": {"in": [HOSTILE]}, "force": {"any": True}}})
    async with person(browser, site) as ben:
        await ben.log_in(BEN)
        page = ben.page
        await page.get_by_role("link", name="Standing grants").click()
        await page.wait_for_url(f"{site.url}/grants")
        await expect(page.locator(".grant")).to_contain_text("delete_file on files for bot")
        await expect(page.locator(".grant")).to_contain_text("<img src=x onerror")
        await expect(page.locator(".grant")).to_contain_text("anything")
        await expect(page.locator(".grant")).to_contain_text("0 of 10 uses")
        await ben.shot("grants")
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("No grant stands.")).to_be_visible()
        await expect(page).to_have_title("Standing grants · Holdshort")
        await ben.shot("grants-none")

    grant = await granted(site, record)
    assert grant.revoked_by == "ben"


async def test_looking_at_the_page_ends_no_grant_and_a_foreign_post_neither(site: Site, browser: Browser) -> None:
    record = await site.park()
    await site.decide(record, "approve", remember={})
    grant = await granted(site, record)
    async with person(browser, site, quiet=False) as ana:
        await ana.log_in(path="/grants")
        status = await ana.page.evaluate(
            "id => fetch(`/v1/grants/${id}/revoke`,"
            " {method: 'POST', headers: {'content-type': 'application/json'}, body: '{}'}).then((r) => r.status)",
            grant.id,
        )

    assert status == 403
    assert (await site.store.grants.get(grant.id)).revoked_at is None


async def test_what_was_asked_again_and_again_is_proposed_and_can_be_granted(site: Site, browser: Browser) -> None:
    for number in range(6):
        past = await site.park(arguments={"path": f"/data/reports/{number}.txt", "force": True})
        await site.decide(past, "approve")
    record = await site.park(arguments={"path": "/data/reports/next.txt", "force": True})
    async with person(browser, site) as ana:
        await ana.log_in()
        page = ana.page
        await expect(page.locator("#proposals")).to_contain_text("6 times ana approved delete_file on files for bot")
        await page.get_by_text("The 6 calls").click()
        await expect(page.locator("#proposals")).to_contain_text("/data/reports/5.txt")
        await ana.shot("proposals")
        await open_review(page, site, record)
        await page.get_by_text("Remember this").click()
        await page.get_by_label("Grant this, instead of what is chosen below").check()
        await expect(page.locator("#remember-when")).to_be_disabled()
        await expect(page.locator("#remember-words")).to_have_text("It will cover what is proposed.")
        await ana.shot("remember-proposed")
        await page.locator("#approve").click()
        await expect(page.locator("#decide-title")).to_have_text("Decided")

    grant = await granted(site, record)
    assert grant.scope is not None
    assert grant.scope == Scope({"path": ANY_VALUE, "force": (True,)}, grant.scope.when)
    assert json.dumps(grant.scope.to_json()["when"]) == "\"under(args['path'], '/data/reports')\""
