"""What the pages say exists: links, headings, commands, configurations, and the words an agent reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs.pages import PAGES, ROOT, blocks, commands_of_page, parse, unfenced
from holdshort.cli import app
from holdshort.gate.answers import pending_text
from interruption.samples import parked

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
README = (ROOT / "README.md").read_text()

page = pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", unfenced(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for link in LINK.findall(unfenced(text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert ROOT in target.parents or target == ROOT, f"{page.name}: {link} leads out of the repository"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page.name}: {link}"


@page
def test_every_command_of_the_page_can_be_given(page: Path) -> None:
    for words in commands_of_page(page.read_text()):
        parse(words)


def test_there_are_commands_on_the_pages() -> None:
    """So that the test above compares something."""
    told = {" ".join(words[:2]) for page in PAGES for words in commands_of_page(page.read_text())}

    assert {"demo", "demo --yes", "wrap --", "serve", "approvals approve", "policy check", "log verify"} <= told


def test_the_configurations_of_the_readme_are_sound(tmp_path: Path) -> None:
    written: list[Path] = []
    for text in blocks(README, "yaml"):
        name = re.match(r"# (\S+\.yaml)\n", text)
        assert name is not None, f"a block without its file's name: {text}"
        written.append(tmp_path / name[1])
        written[-1].write_text(text)
    for number, text in enumerate(blocks(README, "json")):
        written.append(tmp_path / f"client-{number}.json")
        written[-1].write_text(text)

    for path in written:
        done = CliRunner().invoke(app, ["policy", "check", "--assume-env", str(path)])
        assert done.exit_code == 0, f"{path.name}: {done.output}"
    assert {"holdshort.yaml", "policy.yaml", "client-0.json"} <= {path.name for path in written}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*/*.yaml")), ids=lambda path: "/".join(path.parts[-2:])
)
def test_the_configurations_of_the_examples_are_sound(path: Path) -> None:
    words = ["test"] if path.name.endswith(".cases.yaml") else ["check", "--assume-env"]
    done = CliRunner().invoke(app, ["policy", *words, str(path)])

    assert done.exit_code == 0, done.output


def test_the_readme_quotes_what_an_agent_is_told_word_for_word() -> None:
    base = "http://127.0.0.1:7411"
    record = parked(
        id="i-01a1…",
        server="git",
        tool="git_commit",
        review_url=f"{base}/review/i-01a1…",
        expires_at=datetime(2026, 11, 21, 7, 19, 30, tzinfo=UTC),
    )
    [quoted] = blocks(README, "text")

    assert quoted.split() == pending_text(record).split()
