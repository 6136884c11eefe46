"""The real proxy as a real process: configured from a table, driven only through its wire contract."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from kit.ports import free_port
from kit.process import Running, kit_environment, until_async

__all__ = ["AGENT_TOKEN", "APPROVER_TOKEN", "ProxyKit", "Record", "allow_everything", "kit_upstream", "serving"]

AGENT_TOKEN = "agent-token-that-is-long-enough-for-anyone"
OTHER_AGENT_TOKEN = "other-agent-token-that-is-long-enough-too"
APPROVER_TOKEN = "approver-token-that-is-long-enough-for-anyone"
SECOND_APPROVER_TOKEN = "second-approver-token-that-is-long-enough"

Record = dict[str, Any]
"""One interruption, as the approval endpoint shows it."""

HOLDSHORT = [sys.executable, "-m", "holdshort"]


def kit_upstream(command: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A stdio upstream for `mcpServers`."""
    program, *arguments = command
    return {"command": program, "args": arguments, "env": {**kit_environment(), **(env or {})}}


def allow_everything() -> dict[str, Any]:
    """A policy layer that never asks."""
    return {"version": 1, "default": "allow", "rules": [{"id": "all", "tools": "*", "action": "allow"}]}


class ProxyKit:
    """One state folder with one configuration, and the `holdshort serve` that runs on it."""

    def __init__(
        self,
        folder: Path,
        servers: Mapping[str, Mapping[str, Any]],
        layer: Mapping[str, Any],
        *,
        hold: str = "1s",
        **more: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.file = folder / "holdshort.yaml"
        self._policy = folder / "policy.yaml"
        self._process: Running | None = None
        self.config: dict[str, Any] = {
            "version": 1,
            "listen": f"127.0.0.1:{self.port}",
            "mcpServers": dict(servers),
            "agents": [{"name": "ci-bot", "token": AGENT_TOKEN}, {"name": "other-bot", "token": OTHER_AGENT_TOKEN}],
            "approvers": [
                {"name": "ana", "token": APPROVER_TOKEN},
                {"name": "ben", "token": SECOND_APPROVER_TOKEN},
            ],
            "hold": {"default": hold},
            "policy": [self._policy.name],
            **more,
        }
        self.set_policy(layer)
        self.write()

    def set_policy(self, layer: Mapping[str, Any]) -> None:
        """Write the one policy layer; it holds from the next start on."""
        self._policy.write_text(json.dumps(layer, indent=1))

    def write(self) -> None:
        """Write the configuration as JSON, which is YAML 1.2 too."""
        self.file.write_text(json.dumps(self.config, indent=1))

    # -- the process

    @property
    def process(self) -> Running:
        assert self._process is not None, "the proxy is not running"
        return self._process

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Every server, tools named `server__tool`."""
        return f"{self.base}/mcp"

    def server_url(self, label: str) -> str:
        """One server, names untouched."""
        return f"{self.base}/mcp/{label}"

    async def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start `holdshort serve` and wait until it is ready."""
        command = [*HOLDSHORT, "serve", "--config", str(self.file), "--state-dir", str(self.state)]
        self._process = Running(command, env={"PYTHONUNBUFFERED": "1", **(env or {})}, cwd=self.folder)
        await self._process.until_answers(f"{self.base}/readyz")

    async def kill9(self) -> None:
        """End the proxy with no chance to finish anything."""
        await self.process.kill9()
        self.close()

    async def restart(self) -> None:
        """Stop it in order and start it again."""
        await self.process.terminate()
        self.close()
        await self.start()

    def close(self) -> None:
        """End the process, if one runs."""
        if self._process is not None:
            self._process.close()
            self._process = None

    # -- the approver's side

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str | None = APPROVER_TOKEN
    ) -> httpx2.Response:
        """One request to the approval endpoint."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(base_url=self.base, timeout=20, trust_env=False) as client:
            return await client.request(method, path, json=body, headers=headers)

    async def interruptions(self, **query: str) -> list[Record]:
        """The interruptions the approver sees."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        response = await self.ask("GET", f"/v1/interruptions?{words}")
        response.raise_for_status()
        records: list[Record] = response.json()["interruptions"]
        return records

    async def interruption(self, id: str) -> Record:  # noqa: A002  # its name on the wire
        """One record."""
        response = await self.ask("GET", f"/v1/interruptions/{id}")
        response.raise_for_status()
        record: Record = response.json()
        return record

    async def pending(self, count: int = 1, within: float = 15.0) -> list[Record]:
        """Wait until exactly `count` interruptions are pending, and return them."""

        async def enough() -> list[Record] | None:
            found = await self.interruptions(state="pending")
            return found if len(found) == count else None

        return await until_async(enough, f"{count} pending interruptions\n{self.process.told()}", within)

    async def until_state(self, id: str, state: str, within: float = 15.0) -> Record:  # noqa: A002
        """Wait until an interruption is in `state`."""

        async def there() -> Record | None:
            record = await self.interruption(id)
            return record if record["state"] == state else None

        return await until_async(there, f"interruption {id} to be {state}\n{self.process.told()}", within)

    async def decide(
        self, record: Mapping[str, Any], decision: str, *, token: str = APPROVER_TOKEN, **more: Any
    ) -> httpx2.Response:
        """Send a decision about exactly what `record` shows; the response is the caller's to judge."""
        body = {"decision": decision, "fingerprint": record["fingerprint"], **more}
        return await self.ask("POST", f"/v1/interruptions/{record['id']}/decision", body, token=token)

    async def approve(self, record: Mapping[str, Any]) -> None:
        """Approve, and fail when that is refused."""
        response = await self.decide(record, "approve")
        assert response.status_code == 200, response.text

    async def reject(self, record: Mapping[str, Any], message: str) -> None:
        """Reject with a reason, and fail when that is refused."""
        response = await self.decide(record, "reject", message=message)
        assert response.status_code == 200, response.text

    # -- wrapping one server

    def wrap(self, command: Sequence[str], *options: str) -> list[str]:
        """The command a client starts instead of `command`: the same server behind `holdshort wrap`."""
        return [*HOLDSHORT, "wrap", "--state-dir", str(self.state), *options, "--", *command]


@asynccontextmanager
async def serving(
    folder: Path, servers: Mapping[str, Mapping[str, Any]], layer: Mapping[str, Any], **more: Any
) -> AsyncGenerator[ProxyKit]:
    """A running proxy for as long as the block lasts."""
    proxy = ProxyKit(folder, servers, layer, **more)
    try:
        await proxy.start()
        yield proxy
    finally:
        proxy.close()
