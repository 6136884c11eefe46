"""Resources, prompts and servers' questions under policy, between real clients and real servers, over every transport.

npm's everything over stdio and streamable HTTP, and our own fixture in both eras; the client is the Python SDK.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from kit.missing import require
from kit.node import node_kit
from kit.ports import free_port
from kit.process import kit_command, kit_environment, running
from kit.proxy import AGENT_TOKEN, ProxyKit, kit_upstream, serving

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:.*deprecated.*")]

LAYER: Mapping[str, Any] = {
    "version": 1,
    "default": "allow",
    "rules": [
        {"id": "no-blobs", "resources": "*__demo://resource/dynamic/blob/*", "action": "deny"},
        {"id": "no-how", "resources": "*__demo://resource/static/document/how*", "action": "hide"},
        {"id": "no-text-2", "resources": "*__demo://resource/dynamic/text/2", "action": "hide"},
        {"id": "no-binary", "resources": "*__test://static-binary", "action": "deny"},
        {"id": "no-watched", "resources": "*__test://watched-resource", "action": "hide"},
        {"id": "no-data", "resources": "*__test://template/*", "action": "hide"},
        {"id": "no-resource-prompt", "prompts": ["*__args-prompt", "*__test_prompt_with_image"], "action": "hide"},
        {"id": "no-completable", "prompts": "*__completable-prompt", "action": "deny"},
        {"id": "no-sampling", "server_requests": "*__sampling/createMessage", "action": "deny"},
    ],
}


@dataclass
class Guest:
    """A client that can be asked anything, and notes what it was asked."""

    client: Client
    prefix: str
    modern: bool
    asked: list[str] = field(default_factory=list)

    async def call(self, tool: str, arguments: dict[str, Any] | None = None) -> Any:
        return await self.client.call_tool(self.prefix + tool, arguments or {})

    async def refused(self, use: Callable[[], Awaitable[Any]]) -> MCPError:
        """The error that `use` ends with."""
        with pytest.raises(MCPError) as caught:
            await use()
        return caught.value

    async def unreadable(self, uri: str) -> MCPError:
        return await self.refused(lambda: self.client.read_resource(uri))


@asynccontextmanager
async def guest(through: Any, *, prefix: str = "", modern: bool = False) -> AsyncGenerator[Guest]:
    made: list[Guest] = []

    async def sampled(*_: Any) -> Any:
        made[0].asked.append("sampling/createMessage")
        raise AssertionError("the client was asked what policy refuses")

    async def rooted(*_: Any) -> Any:
        made[0].asked.append("roots/list")
        raise MCPError(-1, "the client was asked, and says no")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sampling and roots are deprecated in the newest revision, alive in others
        client = Client(
            through,
            mode="2026-07-28" if modern else "legacy",
            sampling_callback=cast("Any", sampled),
            list_roots_callback=cast("Any", rooted),
        )
        made.append(Guest(client, prefix, modern))
        async with client:
            yield made[0]


@asynccontextmanager
async def through_proxy(folder: Path, upstream: Mapping[str, Any], way: str) -> AsyncGenerator[Guest]:
    """A guest at the proxy: `http`, `fleet` or `wrap`, with `-modern` for the stateless era."""
    place, _, modern = way.partition("-")
    async with AsyncExitStack() as stack:
        if place == "wrap":
            (folder / "policy.yaml").write_text(json.dumps(LAYER))
            file = folder / "wrap.yaml"
            file.write_text(json.dumps({"version": 1, "listen": "127.0.0.1:0", "policy": ["policy.yaml"]}))
            kit = ProxyKit(folder / "proxy", {}, LAYER)
            # A wrapped server inherits what every program gets, and not where our kits are.
            given = [f"{name}={value}" for name, value in upstream["env"].items()]
            program, *arguments = kit.wrap(
                ["env", *given, upstream["command"], *upstream["args"]], "--config", str(file)
            )
            parameters = StdioServerParameters(command=program, args=arguments, env=dict(upstream["env"]))
            yield await stack.enter_async_context(guest(stdio_client(parameters), modern=bool(modern)))
            return
        proxy = await stack.enter_async_context(serving(folder / "proxy", {"spy": upstream}, LAYER))
        http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {AGENT_TOKEN}"}, timeout=httpx2.Timeout(30, read=None)
        )
        url = proxy.url if place == "fleet" else proxy.server_url("spy")
        through = streamable_http_client(url, http_client=await stack.enter_async_context(http))
        prefix = "spy__" if place == "fleet" else ""
        yield await stack.enter_async_context(guest(through, prefix=prefix, modern=bool(modern)))


@asynccontextmanager
async def everything(folder: Path, way: str) -> AsyncGenerator[Guest]:
    """npm's server, over stdio or HTTP: `WAY/TRANSPORT`."""
    place, _, transport = way.partition("/")
    kit = require(node_kit)
    async with AsyncExitStack() as stack:
        upstream = kit_upstream(kit.everything())
        if transport == "http":
            port = free_port()
            started = stack.enter_context(running(kit.everything("streamableHttp"), env={"PORT": str(port)}))
            await started.until_said(str(port))
            upstream = {"url": f"http://127.0.0.1:{port}/mcp"}
        yield await stack.enter_async_context(through_proxy(folder, upstream, place))


@asynccontextmanager
async def fixture(folder: Path, way: str) -> AsyncGenerator[Guest]:
    """Our own server, over stdio or HTTP."""
    place, _, transport = way.partition("/")
    async with AsyncExitStack() as stack:
        upstream = kit_upstream(kit_command("kit.fixture_server", "--stdio"))
        if transport == "http":
            port = free_port()
            command = kit_command("kit.fixture_server", "--http", str(port))
            url = f"http://127.0.0.1:{port}/mcp"
            await stack.enter_context(running(command, env=kit_environment())).until_answers(url)
            upstream = {"url": url}
        yield await stack.enter_async_context(through_proxy(folder, upstream, place))


EVERYTHING = pytest.mark.parametrize("way", ["http/stdio", "fleet/http", "wrap/stdio"])
FIXTURE = pytest.mark.parametrize(
    "way", ["http/stdio", "http-modern/http", "fleet-modern/stdio", "wrap/stdio", "wrap-modern/stdio"]
)


@EVERYTHING
async def test_everything_shows_and_reads_only_what_policy_lets_it(tmp_path: Path, way: str) -> None:
    async with everything(tmp_path, way) as guest:
        client = guest.client
        listed = [str(each.uri).rpartition("/")[2] for each in (await client.list_resources()).resources]
        templates = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
        prompts = [each.name.removeprefix("spy__") for each in (await client.list_prompts()).prompts]
        hidden = await guest.unreadable("demo://resource/static/document/how-it-works.md")
        dodged = await guest.unreadable("demo://resource/static/document/x/../how%2Dit-works.md")
        absent = await guest.unreadable("demo://resource/static/document/none-at-all.md")
        denied = await guest.unreadable("demo://resource/dynamic/blob/1")
        missing = await guest.refused(lambda: client.get_prompt(f"{guest.prefix}args-prompt", {"city": "x"}))
        refused = await guest.refused(lambda: client.get_prompt(f"{guest.prefix}completable-prompt", {}))

        assert "features.md" in listed
        assert "how-it-works.md" not in listed
        assert templates == ["demo://resource/dynamic/text/{resourceId}", "demo://resource/dynamic/blob/{resourceId}"]
        assert prompts == ["simple-prompt", "completable-prompt", "resource-prompt"]
        assert (await client.read_resource("demo://resource/dynamic/text/1")).contents
        assert hidden.code == absent.code == dodged.code == -32002
        assert hidden.message.replace("how-it-works", "none-at-all") == absent.message
        assert (denied.code, refused.code) == (-31_002, -31_002)
        assert "policy.yaml rule no-blobs" in denied.message
        assert missing.message == f"Unknown prompt: {guest.prefix}args-prompt"


@EVERYTHING
async def test_everything_hands_out_no_link_to_what_policy_keeps_back(tmp_path: Path, way: str) -> None:
    async with everything(tmp_path, way) as guest:
        links = await guest.call("get-resource-links", {"count": 4})
        reference = await guest.call("get-resource-reference", {"resourceType": "Text", "resourceId": 2})
        prompt = await guest.client.get_prompt(
            f"{guest.prefix}resource-prompt", {"resourceType": "Blob", "resourceId": "1"}
        )

        uris = [str(each.uri) for each in links.content if each.type == "resource_link"]
        assert uris == ["demo://resource/dynamic/text/4"]
        assert sum("Withheld by policy" in getattr(each, "text", "") for each in links.content) == 2
        assert all(each.type != "resource" for each in reference.content)
        assert [each.content.type for each in prompt.messages] == ["text", "text"]
        assert "Withheld by policy" in str(prompt.messages[1].content)


@EVERYTHING
async def test_everything_cannot_ask_the_clients_model(tmp_path: Path, way: str) -> None:
    async with everything(tmp_path, way) as guest:
        answer = await guest.call("trigger-sampling-request", {"prompt": "x"})

        assert "no-sampling" in str(answer.content)
        assert "sampling/createMessage" not in guest.asked


@FIXTURE
async def test_the_fixture_shows_and_reads_only_what_policy_lets_it(tmp_path: Path, way: str) -> None:
    async with fixture(tmp_path, way) as guest:
        client = guest.client
        listed = [str(each.uri) for each in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        prompts = [each.name.removeprefix("spy__") for each in (await client.list_prompts()).prompts]
        hidden = await guest.unreadable("test://watched-resource")
        absent = await guest.unreadable("test://no-such-resource")
        made = await guest.unreadable("test://template/5/data")
        denied = await guest.unreadable("test://static-binary")

        assert listed == ["test://static-text", "test://static-binary"]
        assert templates == []
        assert "test_prompt_with_image" not in prompts
        assert "test_simple_prompt" in prompts
        assert (await client.read_resource("test://static-text")).contents
        assert hidden.code == absent.code == made.code == (-32602 if guest.modern else -32002)
        assert hidden.message.replace("watched", "no-such") == absent.message
        assert denied.code == -31_002


@FIXTURE
async def test_a_prompt_of_the_fixture_brings_no_hidden_resource_along(tmp_path: Path, way: str) -> None:
    async with fixture(tmp_path, way) as guest:
        name = f"{guest.prefix}test_prompt_with_embedded_resource"
        found = [
            (await guest.client.get_prompt(name, {"resourceUri": uri})).messages
            for uri in ("test://static-text", "test://static-binary", "TEST://watched-resource")
        ]

        assert [[each.content.type for each in messages] for messages in found] == [
            ["resource", "text"],
            ["text", "text"],
            ["text"],
        ]


@FIXTURE
async def test_the_fixture_cannot_ask_the_clients_model_in_either_era(tmp_path: Path, way: str) -> None:
    async with fixture(tmp_path, way) as guest:
        tool = "test_input_required_result_sampling" if guest.modern else "test_sampling"
        try:
            said = str(await guest.call(tool, {"prompt": "x"}))
        except MCPError as error:
            said = str(error)

        assert "no-sampling" in said
        assert guest.asked == []
