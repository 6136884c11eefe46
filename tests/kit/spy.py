"""Reads what the spy upstream wrote down."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.process import until

__all__ = ["SpyRecord"]

SERVER = Path(__file__).with_name("spy_server.py")


@dataclass(frozen=True, slots=True)
class SpyRecord:
    """The record file of one or more spy servers; also knows how to start them."""

    path: Path

    def command(self, *arguments: str) -> list[str]:
        """The command of a spy that writes here; over stdio unless `--http PORT` is given."""
        return [sys.executable, str(SERVER), "--record", str(self.path), *arguments]

    def lines(self, what: str) -> list[dict[str, Any]]:
        """Every record of one kind: `started`, `received`, `executed`, `finished`, `cancelled`, `stdin closed`."""
        if not self.path.exists():
            return []
        records = [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]
        return [record for record in records if record["what"] == what]

    def executed(self, tool: str, arguments: Mapping[str, Any] | None = None) -> int:
        """How often `tool` was really executed (with exactly these arguments, when given)."""
        return sum(
            record["tool"] == tool and (arguments is None or record["arguments"] == arguments)
            for record in self.lines("executed")
        )

    def received(self, method: str) -> list[dict[str, Any]]:
        """Every message with this method, as it was decoded."""
        messages = [json.loads(record["raw"]) for record in self.lines("received")]
        return [message for message in messages if message.get("method") == method]

    def raw(self) -> str:
        """Every byte that was received, for searching."""
        return "\n".join(record["raw"] for record in self.lines("received"))

    def pids(self) -> list[int]:
        """The process id of every spy that started, in order."""
        return [record["pid"] for record in self.lines("started")]

    async def until_executed(self, tool: str, times: int = 1, within: float = 15.0) -> None:
        """Wait until `tool` was executed `times` times."""
        await until(lambda: self.executed(tool) >= times, f"{times} executions of `{tool}` by the spy", within)
