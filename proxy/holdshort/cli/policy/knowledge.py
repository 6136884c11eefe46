"""What is known of the tools that a policy is about: from the servers themselves, or as they were pinned."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdshort.config import Config
    from holdshort.policy import ToolFacts
    from holdshort.policy.lint import Surroundings

__all__ = ["Knowledge", "Live", "StateDir", "find_out", "surroundings"]

Live = Annotated[
    bool, typer.Option("--live", help="Start or connect to the servers, and take the tools that they list now.")
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", metavar="FOLDER", help="Where pinned tools are looked up; else as `holdshort serve` chooses it."
    ),
]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Tools by server and name, with facts and input schema. A server without an entry is not known."""

    source: str = "nothing"
    """`live`, `pins` or `nothing`."""
    tools: Mapping[str, Mapping[str, tuple["ToolFacts", Mapping[str, Any] | None]]] = field(
        default_factory=dict[str, Mapping[str, tuple["ToolFacts", Mapping[str, Any] | None]]]
    )
    failed: tuple[str, ...] = ()
    """Servers that could not be asked."""

    @property
    def words(self) -> str:
        """Where the knowledge is from, for a person."""
        number = sum(map(len, self.tools.values()))
        if self.source == "live":
            return f"tools: {number}, as their servers list them now"
        if self.source == "pins":
            return f"tools: {number}, as they are pinned in the state folder"
        return "tools: none is known; `--live` asks the servers"


def find_out(
    config: "Config | None", *, live: bool, state_dir: Path | None = None, only: str | None = None
) -> Knowledge:
    """Return what is known of the tools of the configured servers, or of the one called `only`."""
    if config is None:
        return Knowledge()
    return _ask(config, only) if live else _look(config, state_dir, only)


def surroundings(config: "Config | None", known: Knowledge) -> "Surroundings":
    """Return what lint may know besides the policy."""
    from holdshort.config import LOCAL_AGENT
    from holdshort.policy.lint import Approver, Surroundings

    if config is None:
        return Surroundings()
    agents = {agent.name: agent.groups for agent in config.agents} or {LOCAL_AGENT: frozenset()}
    approvers = tuple(Approver(each.name, each.groups) for each in config.approvers) or None
    return Surroundings(frozenset(server.label for server in config.servers), agents, approvers, known.tools)


def _ask(config: "Config", only: str | None) -> Knowledge:
    from holdshort.cli.surveying import ask_servers

    answers = ask_servers(config, None if only is None else [only])
    tools = {
        label: {each.name: (each.facts, _schema(each.raw)) for each in answer.definitions}
        for label, answer in answers.items()
        if answer.error is None
    }
    return Knowledge("live", tools, tuple(label for label, answer in answers.items() if answer.error is not None))


def _look(config: "Config", state_dir: Path | None, only: str | None) -> Knowledge:
    from holdshort.errors import StateError
    from holdshort.gate.upstream import identity_digest
    from holdshort.policy.facts import facts_of
    from holdshort.store.connection import open_reader
    from holdshort.store.folder import DATABASE, choose_folder
    from holdshort.store.pins import read_pins
    from holdshort.store.schema import require_current

    path = choose_folder(state_dir or config.state_dir, os.environ) / DATABASE
    if not path.is_file():
        return Knowledge()
    try:
        connection = open_reader(path)
        try:
            require_current(connection)
            pins = read_pins(connection)
        finally:
            connection.close()
    except StateError as error:
        print(f"note: pinned tools are not looked at: {error}", file=sys.stderr)
        return Knowledge()
    servers = {server.label: server for server in config.servers}
    identities = {label: identity_digest(server) for label, server in servers.items()}
    tools: dict[str, dict[str, tuple[ToolFacts, Mapping[str, Any] | None]]] = {}
    for (server, tool), pin in pins.items():
        words = pin.seen.words
        # Another command or URL under the same label, of another configuration perhaps, says nothing of this one.
        same = server in servers and pin.seen.identity == identities[server]
        if same and tool and only in {None, server} and isinstance(words, Mapping):
            trusted = servers[server].trust_annotations
            facts = facts_of(server, words, trusted=trusted, pinned=pin.state == "pinned")
            tools.setdefault(server, {})[tool] = (facts, _schema(words))
    return Knowledge("pins", tools) if tools else Knowledge()


def _schema(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = definition.get("inputSchema")
    return schema if isinstance(schema, Mapping) else None
