"""The servers people really use, behind one proxy: the agent sees what they offer, and a write waits for a person.

npm's everything (over stdio, streamable HTTP and legacy SSE), filesystem and memory; PyPI's git, time and fetch.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kit.clients import CLIENTS, Answer, connected
from kit.missing import require
from kit.node import node_kit
from kit.ports import free_port
from kit.process import running
from kit.proxy import AGENT_TOKEN, ProxyKit, Record, serving
from kit.together import together

pytestmark = pytest.mark.timeout(120)

PAGE = "<html><body><h1>Holding point</h1><p>Cleared for takeoff.</p></body></html>"
LEGACY, MODERN = CLIENTS["python-2.3-legacy"], CLIENTS["python-2.3-modern"]
PYTHON_SERVERS = ("git", "time", "fetch")

LAYER: Mapping[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {
            "id": "reads",
            "tools": [
                "*__echo",
                "*__read_*",
                "*__list_*",
                "*__git_status",
                "*__git_log",
                "*__convert_time",
            ],
            "action": "allow",
        },
        {"id": "no-moving", "tools": "*__move_file", "action": "hide"},
        {"id": "no-reset", "tools": "*__git_reset", "action": "deny"},
    ],
}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with everything the servers work on."""

    folder: Path
    page_port: int

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def facts(self) -> Path:
        return self.folder / "facts.jsonl"


def commands(place: Place) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each stdio server's command and the environment it needs."""
    node = require(node_kit)
    beside = Path(sys.executable).parent
    return {
        "everything": (node.everything(), {}),
        "filesystem": (node.filesystem(place.files), {}),
        "memory": (node.memory(), {"MEMORY_FILE_PATH": str(place.facts)}),
        "git": ([str(beside / "mcp-server-git"), "--repository", str(place.repository)], {}),
        "time": ([str(beside / "mcp-server-time"), "--local-timezone", "UTC"], {}),
        "fetch": ([str(beside / "mcp-server-fetch"), "--allow-private-ips", "--ignore-robots-txt"], {}),
    }


@dataclass(frozen=True, slots=True)
class Story:
    """One server: a call that runs at once, and one that waits and has an effect to be seen."""

    server: str
    read: tuple[str, Callable[[Place], dict[str, Any]]] | None
    write: tuple[str, Callable[[Place], dict[str, Any]]]
    happened: Callable[[Place, Answer], bool]
    """Whether the write had its effect; false before it ran."""


def _entities(place: Place) -> dict[str, Any]:
    return {"entities": [{"name": "Runway 27", "entityType": "runway", "observations": ["wet"]}]}


def _staged(place: Place) -> str:
    return _git(place.repository, "diff", "--cached", "--name-only")


STORIES = (
    Story(
        "everything",
        ("echo", lambda _: {"message": "hold"}),
        ("get-sum", lambda _: {"a": 20, "b": 22}),
        lambda _, answer: "42" in answer.text,
    ),
    Story(
        "everything-http",
        ("echo", lambda _: {"message": "hold"}),
        ("get-sum", lambda _: {"a": 20, "b": 22}),
        lambda _, answer: "42" in answer.text,
    ),
    Story(
        "everything-sse",
        ("echo", lambda _: {"message": "hold"}),
        ("get-sum", lambda _: {"a": 20, "b": 22}),
        lambda _, answer: "42" in answer.text,
    ),
    Story(
        "filesystem",
        ("read_text_file", lambda place: {"path": str(place.files / "there.txt")}),
        ("write_file", lambda place: {"path": str(place.files / "new.txt"), "content": "cleared"}),
        lambda place, _: (place.files / "new.txt").exists(),
    ),
    Story(
        "memory",
        ("read_graph", lambda _: {}),
        ("create_entities", _entities),
        lambda place, _: place.facts.exists() and "Runway 27" in place.facts.read_text(),
    ),
    Story(
        "git",
        ("git_status", lambda place: {"repo_path": str(place.repository)}),
        ("git_add", lambda place: {"repo_path": str(place.repository), "files": ["draft.txt"]}),
        lambda place, _: "draft.txt" in _staged(place),
    ),
    Story(
        "time",
        (
            "convert_time",
            lambda _: {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
        ),
        ("get_current_time", lambda _: {"timezone": "UTC"}),
        lambda _, answer: "UTC" in answer.text,
    ),
    Story(
        "fetch",
        None,
        ("fetch", lambda place: {"url": f"http://127.0.0.1:{place.page_port}/"}),
        lambda _, answer: "Cleared for takeoff" in answer.text,
    ),
)
by_story = pytest.mark.parametrize("story", STORIES, ids=[story.server for story in STORIES])


class Page(BaseHTTPRequestHandler):
    """The one page that `fetch` may read."""

    def do_GET(self) -> None:
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        """Say nothing."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Files, a repository and a page."""
    folder = tmp_path_factory.mktemp("place")
    page = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    made = Place(folder, page.server_port)
    made.files.mkdir()
    (made.files / "there.txt").write_text("hold short of runway 27")
    made.repository.mkdir()
    _git(made.repository, "init", "-q", "-b", "main")
    (made.repository / "draft.txt").write_text("draft")
    return made


@pytest.fixture(scope="module")
async def proxy(place: Place) -> AsyncGenerator[ProxyKit]:
    """One proxy before all of them."""
    node = require(node_kit)
    servers: dict[str, dict[str, Any]] = {
        label: {"command": command[0], "args": command[1:], "env": env}
        for label, (command, env) in commands(place).items()
    }
    async with AsyncExitStack() as stack:
        for label, transport, path in (("http", "streamableHttp", "mcp"), ("sse", "sse", "sse")):
            port = free_port()
            started = stack.enter_context(running(node.everything(transport), env={"PORT": str(port)}))
            await started.until_said(str(port))
            kind = {"type": "sse"} if label == "sse" else {}
            servers[f"everything-{label}"] = {"url": f"http://127.0.0.1:{port}/{path}", **kind}
        yield await stack.enter_async_context(serving(place.folder / "proxy", servers, LAYER, hold="20s"))


def _client(server: str) -> Any:
    return MODERN if server in PYTHON_SERVERS else LEGACY


@by_story
async def test_the_agent_sees_what_the_server_offers(proxy: ProxyKit, place: Place, story: Story) -> None:
    """Same tools, same order, less what policy hides; an allowed call answers what a direct one answers."""
    command, env = commands(place)[story.server.partition("-")[0]]
    async with connected(_client(story.server), command=command, env=env) as direct:
        offered = await direct.tools()
        expected = None if story.read is None else await direct.call(story.read[0], story.read[1](place))
    url = proxy.server_url(story.server)
    async with connected(_client(story.server), url=url, token=AGENT_TOKEN) as agent:
        seen = await agent.tools()
        answer = None if story.read is None else await agent.call(story.read[0], story.read[1](place))

    assert seen == [name for name in offered if name != "move_file"]
    assert answer == expected


@by_story
async def test_a_write_waits_for_a_person_and_then_happens(proxy: ProxyKit, place: Place, story: Story) -> None:
    tool, arguments = story.write[0], story.write[1](place)

    async def approve() -> tuple[Record, bool]:
        (record,) = await proxy.pending()
        before = story.happened(place, Answer({"content": []}))
        await proxy.approve(record)
        return record, before

    async with connected(_client(story.server), url=proxy.server_url(story.server), token=AGENT_TOKEN) as agent:
        answer, (record, before) = await together(agent.call_until_settled(tool, arguments), approve())

    assert (record["server"], record["tool"], record["arguments"]) == (story.server, tool, arguments)
    assert not before, "the effect was there before the approval"
    assert not answer.is_error, answer
    assert story.happened(place, answer)


async def test_a_rejected_write_leaves_no_trace(proxy: ProxyKit, place: Place) -> None:
    arguments = {"path": str(place.files / "never.txt"), "content": "no"}

    async def reject() -> None:
        (record,) = await proxy.pending()
        await proxy.reject(record, "wrong runway")

    async with connected(LEGACY, url=proxy.server_url("filesystem"), token=AGENT_TOKEN) as agent:
        answer, _ = await together(agent.call_until_settled("write_file", arguments), reject())

    assert answer.is_error
    assert "wrong runway" in answer.text
    assert not (place.files / "never.txt").exists()


async def test_an_edited_write_does_what_the_approver_wrote(proxy: ProxyKit, place: Place) -> None:
    asked = {"path": str(place.files / "edited.txt"), "content": "as the agent wanted"}
    edited = {**asked, "content": "as the approver wanted"}

    async def edit() -> None:
        (record,) = await proxy.pending()
        response = await proxy.decide(record, "edit", arguments=edited)
        assert response.status_code == 200, response.text

    async with connected(LEGACY, url=proxy.server_url("filesystem"), token=AGENT_TOKEN) as agent:
        answer, _ = await together(agent.call_until_settled("write_file", asked), edit())

    assert not answer.is_error, answer
    assert (place.files / "edited.txt").read_text() == "as the approver wanted"
    assert "as the approver wanted" in answer.text, "the model must learn what really ran"


async def test_a_denied_tool_of_a_modern_server_is_listed_and_refused(proxy: ProxyKit, place: Place) -> None:
    async with connected(MODERN, url=proxy.server_url("git"), token=AGENT_TOKEN) as agent:
        listed = await agent.tools()
        answer = await agent.call("git_reset", {"repo_path": str(place.repository)})

    assert "git_reset" in listed
    assert answer.is_error
    assert "policy" in answer.text.lower()


async def test_one_address_offers_every_server(proxy: ProxyKit) -> None:
    """`/mcp` names each tool `server__tool`; the older era is the one that all of these servers share."""
    async with connected(LEGACY, url=proxy.url, token=AGENT_TOKEN) as agent:
        listed = await agent.tools()
        answer = await agent.call("everything-sse__echo", {"message": "hold"})

    servers = {name.partition("__")[0] for name in listed}
    assert servers == {story.server for story in STORIES}
    assert "filesystem__move_file" not in listed
    assert not answer.is_error, answer
    assert "hold" in answer.text


@pytest.mark.parametrize("server", ["filesystem", "git"])
async def test_a_wrapped_server_asks_about_its_writes_without_any_file(
    proxy: ProxyKit, place: Place, server: str
) -> None:
    """No configuration at all: what a server declares read-only runs, everything else waits."""
    story = next(story for story in STORIES if story.server == server)
    assert story.read is not None
    command, env = commands(place)[server]
    wrapped = proxy.wrap(command)
    # The older era: a client of the newer one is held for several legs before it is told to come back.
    async with connected(LEGACY, command=wrapped, env=env) as agent:
        read = await agent.call(story.read[0], story.read[1](place))
        parked = await agent.call(story.write[0], {**story.write[1](place), **_elsewhere(server, place)})

    assert not read.is_error, read
    assert parked.is_error
    assert parked.state == "pending"
    for record in await proxy.interruptions(state="pending"):
        await proxy.reject(record, "tidying up")


def _elsewhere(server: str, place: Place) -> dict[str, Any]:
    """Other arguments than in the story before, so that its effect is not taken for ours."""
    return {"path": str(place.files / "wrapped.txt")} if server == "filesystem" else {"files": ["other.txt"]}


def _git(folder: Path, *arguments: str) -> str:
    command: Sequence[str] = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
