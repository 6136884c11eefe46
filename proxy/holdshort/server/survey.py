"""What servers offer right now, by really asking them: for checks of a policy against the tools that there are.

Every server is visited the way the proxy itself does it, with the same limits, and left again; a child that was
started is stopped. What one server does wrong is said in its own entry and troubles no other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio

from holdshort.config import Config, ServerConfig
from holdshort.gate.catalog import Catalog, Definition
from holdshort.gate.listing import ListLimits
from holdshort.gate.upstream import Log, Upstream, UpstreamError, UpstreamLimits
from holdshort.gate.visit import visit
from holdshort.wire import MCP_META_PREFIX

__all__ = ["Survey", "survey"]

_AT_ONCE: Final = 8
"""Servers asked at the same time: to start many commands at once slows down each of them."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one server offers, in its own order; with an `error`, nothing is known of it."""

    server: str
    definitions: tuple[Definition, ...] = ()
    instructions: str | None = None
    """What the server tells a model about itself."""
    name: str | None = None
    version: str | None = None
    """How the server calls itself."""
    protocol: str = ""
    """The revision of MCP that was spoken."""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Names of tools that a proxy would leave out of every list, by the reason why."""
    error: str | None = None
    """What went wrong, to be read after "server `NAME`"."""

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools' definitions as the server sent them."""
        return [dict(definition.raw) for definition in self.definitions]


async def survey(
    config: Config,
    log: Log,
    labels: Sequence[str] | None = None,
    seconds: float = 30,
    *,
    on_done: Callable[[Survey], None] | None = None,
) -> Mapping[str, Survey]:
    """Ask the servers called `labels` (None: all) for their tools; `seconds` is the patience with each of them.

    `on_done` is told of each as its answer comes in. The result has an entry for every label, in the order of the
    configuration; nothing that a server does is raised.
    """
    wanted = [server for server in config.servers if labels is None or server.label in labels]
    found: dict[str, Survey] = {}
    slots = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(server: ServerConfig) -> None:
        async with slots:
            found[server.label] = await _survey_one(config, server, log, seconds)
        if on_done is not None:
            on_done(found[server.label])

    async with anyio.create_task_group() as tasks:
        for server in wanted:
            tasks.start_soon(ask, server)
    return {server.label: found[server.label] for server in wanted}


async def _survey_one(config: Config, server: ServerConfig, log: Log, seconds: float) -> Survey:
    limits = replace(UpstreamLimits.of(config.limits), probe_seconds=seconds)
    try:
        # What was started is stopped when `run` is left, however long its server took.
        async with Upstream(server, log=log, limits=limits).run() as upstream:
            with anyio.move_on_after(seconds):
                return await _ask(config, upstream)
    except UpstreamError as error:
        return Survey(server.label, error=error.reason)
    except Exception as error:  # noqa: BLE001 - one server must not keep the others' answers from whoever asked
        return Survey(server.label, error=f"could not be asked: {type(error).__name__}")
    return Survey(server.label, error=f"did not list its tools within {seconds:g} seconds")


async def _ask(config: Config, upstream: Upstream) -> Survey:
    left_out: dict[str, tuple[str, ...]] = {}

    def leave_out(_: str, names: Mapping[str, list[str]]) -> None:
        left_out.update({reason: tuple(each) for reason, each in names.items()})

    catalog = Catalog(
        upstream.label,
        trust_annotations=upstream.config.trust_annotations,
        identity=upstream.identity,
        limits=ListLimits.of(config.limits),
        left_out=leave_out,
    )
    async with visit(upstream) as visited:
        await catalog.refresh(visited.link, visited.peer)
        hello = visited.hello
        about = hello.get("serverInfo") or _map(hello.get("_meta")).get(f"{MCP_META_PREFIX}serverInfo")
        return Survey(
            upstream.label,
            tuple(catalog.definitions.values()),
            _text(hello.get("instructions")),
            _text(_map(about).get("name")),
            _text(_map(about).get("version")),
            visited.peer.version,
            left_out,
        )


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
