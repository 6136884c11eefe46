"""A real headless Chromium, and the words tests use with it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, Page, async_playwright, expect

from approvals.site import ANA, BEN, Site
from holdshort.config.principals import Principal, PrincipalKind
from kit.missing import Missing, require

__all__ = ["Person", "browsing", "expect", "person"]

NAMES = {
    ANA: Principal(PrincipalKind.APPROVER, "ana", frozenset({"finance"})),
    BEN: Principal(PrincipalKind.APPROVER, "ben"),
}
SHOTS = os.environ.get("HOLDSHORT_SCREENSHOTS")
"""A folder to leave pictures of the page in, for whoever wants to look."""


def _chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise Missing("no Chromium on this machine: `apt-get install chromium`")
    return path


@dataclass
class Person:
    """An approver at a browser."""

    site: Site
    page: Page
    complaints: list[str] = field(default_factory=list)
    """What the browser's console and the page's own errors said; CSP violations are among them."""

    expected: str | None = None
    """A complaint that the test itself causes, whenever it comes."""

    async def log_in(self, token: str = ANA, path: str = "/") -> None:
        """Open a login link, as it is printed, and land on `path`."""
        code, _ = self.site.deps.logins.issue(NAMES[token])
        following = "" if path == "/" else f"?next={path}"
        await self.page.goto(f"{self.site.url}/login{following}#{code}")
        await self.page.wait_for_url(f"{self.site.url}{path}")
        await self.live()

    async def live(self) -> None:
        await expect(self.page.locator("#link-words")).to_have_text("live")

    async def shot(self, name: str) -> None:
        if SHOTS:
            await self.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@asynccontextmanager
async def browsing() -> AsyncGenerator[Browser]:
    """A browser, or a skip that says why; where everything must run, a failure."""
    executable = require(_chromium)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def person(
    browser: Browser, site: Site, *, dark: bool = False, width: int = 1280, quiet: bool = True
) -> AsyncGenerator[Person]:
    """A browser window of its own; at the end nothing may have been complained about."""
    context = await browser.new_context(
        viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = await context.new_page()
    page.set_default_timeout(10_000)
    found = Person(site, page)
    page.on(
        "console",
        lambda message: found.complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    try:
        yield found
    finally:
        await context.close()
    expected = re.compile(r"status of (401|403|404|409|422|429)") if not quiet else None
    left = [
        text
        for text in found.complaints
        if not (expected and expected.search(text)) and not (found.expected and found.expected in text)
    ]
    assert not left, left
