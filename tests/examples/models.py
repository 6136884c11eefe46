"""A model for an example: the offline Responses service, as a process of its own.

The example is told of it as the `openai` package is told of any service, by two variables of the environment.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2

from examples.terminals import Example
from kit.process import kit_command, kit_environment, running

__all__ = ["Model", "telling"]

JSON = dict[str, Any]


class Model:
    """The service that tells one example's turns."""

    def __init__(self, url: str) -> None:
        self.url = url
        """What a client takes as its base URL."""

    async def asked(self) -> list[JSON]:
        """The body of every request to the model, in order."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            received = (await client.get(f"{self.url.removesuffix('/v1')}/kit/requests")).json()
        return [json.loads(one["text"]) for one in received if one["path"] == "/v1/responses"]

    async def outputs(self) -> dict[str, Any]:
        """What the model was told of each call in the last request, by call id."""
        items = (await self.asked())[-1]["input"]
        return {item["call_id"]: item["output"] for item in items if str(item.get("type")).endswith("_call_output")}


@asynccontextmanager
async def telling(
    example: Example, *turns: Sequence[JSON], pick: Literal["order", "history"] = "order"
) -> AsyncGenerator[Model]:
    """A model that tells `turns` (as `kit.responses_script.read_turns` reads them), for as long as the block lasts."""
    script = example.folder.parent / "script.json"
    script.write_text(json.dumps({"pick": pick, "turns": [{"items": list(items)} for items in turns]}))
    with running(kit_command("kit.responses_server", "--script", str(script)), env=kit_environment()) as process:
        url = (await process.until_said(r"^listening on (\S+)$"))[1]
        example.environ |= {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": url}
        yield Model(url)
