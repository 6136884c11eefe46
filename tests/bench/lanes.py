"""A lane is a pair of transports; a row of its table is something that can be opened there and called."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.children import environment, started
from bench.load import Target
from bench.load_http import HttpTarget
from bench.load_stdio import StdioTarget

__all__ = ["Lane", "Opened", "Place", "Row", "over_http", "over_stdio"]


class Lane(StrEnum):
    """The transports downstream and upstream of the proxy."""

    HTTP_HTTP = "http-http"
    HTTP_STDIO = "http-stdio"
    STDIO_STDIO = "stdio-stdio"

    @property
    def arrow(self) -> str:
        """The lane as people write it."""
        return self.value.replace("-", " → ").replace("http", "HTTP")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one lane is measured."""

    lane: Lane
    folder: Path
    upstream_url: str
    upstream_command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A row ready to be measured. `pid` is the proxy's, None where there is none to weigh."""

    target: Target
    pid: int | None = None
    tool: str = "echo"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `absent` says why it cannot be measured here."""

    name: str
    open: Callable[[Place], AbstractAsyncContextManager[Opened]]
    lanes: frozenset[Lane] = frozenset(Lane)
    absent: str | None = None


@asynccontextmanager
async def over_http(
    command: Sequence[str], port: int, log: Path, path: str = "/mcp", tool: str = "echo"
) -> AsyncGenerator[Opened]:
    """Open a server that is started here and listens on `port`."""
    async with started(command, port, log) as child:
        target = await HttpTarget.open(f"http://127.0.0.1:{port}{path}")
        try:
            yield Opened(target, child.pid, tool)
        finally:
            await target.aclose()


@asynccontextmanager
async def over_stdio(command: Sequence[str], log: Path, *, proxy: bool = True) -> AsyncGenerator[Opened]:
    """Open a server that is our child process."""
    target = await StdioTarget.open(command, environment(), log)
    try:
        yield Opened(target, target.pid if proxy else None)
    finally:
        await target.aclose()
