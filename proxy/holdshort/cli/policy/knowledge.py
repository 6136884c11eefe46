"""What is known of the tools that a policy is about: from the servers themselves, or as they were pinned."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdshort.config import Config
    from holdshort.gate.pins import Definition
    from holdshort.policy import PinMode, ToolFacts
    from holdshort.policy.lint import Surroundings
    from holdshort.store import Pin

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
    definitions: Mapping[tuple[str, str], Mapping[str, Any]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, Any]]
    )
    """The same as servers said it."""
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
    return _ask(config, state_dir, only) if live else _look(config, state_dir, only)


def surroundings(config: "Config | None", known: Knowledge) -> "Surroundings":
    """Return what lint may know besides the policy."""
    from holdshort.config import LOCAL_AGENT
    from holdshort.policy.lint import Approver, Surroundings

    if config is None:
        return Surroundings()
    agents = {agent.name: agent.groups for agent in config.agents} or {LOCAL_AGENT: frozenset()}
    approvers = tuple(Approver(each.name, each.groups) for each in config.approvers) or None
    return Surroundings(
        frozenset(server.label for server in config.servers), agents, approvers, known.tools, known.definitions
    )


def _ask(config: "Config", state_dir: Path | None, only: str | None) -> Knowledge:
    from holdshort.cli.surveying import ask_servers

    answers = ask_servers(config, None if only is None else [only])
    pins = _pins(config, state_dir)
    mode = config.policy.pins
    tools = {
        label: {
            each.name: (
                replace(each.facts, pinned=_is_pinned(each, pins.get((label, each.name)), mode)),
                _schema(each.raw),
            )
            for each in answer.definitions
        }
        for label, answer in answers.items()
        if answer.error is None
    }
    definitions = {(label, each.name): each.raw for label, answer in answers.items() for each in answer.definitions}
    failed = tuple(label for label, answer in answers.items() if answer.error is not None)
    return Knowledge("live", tools, definitions, failed)


def _is_pinned(definition: "Definition", pin: "Pin | None", mode: "PinMode") -> bool:
    """Say whether a proxy on that state folder would take the definition for the pinned one."""
    from holdshort.interruption import NoFingerprint
    from holdshort.policy import PinMode

    if mode is PinMode.OFF:
        return True
    if pin is None or pin.accepted is None:
        return mode is PinMode.FIRST_USE
    try:
        return definition.digest == pin.accepted.digest
    except NoFingerprint:
        return False


def _look(config: "Config", state_dir: Path | None, only: str | None) -> Knowledge:
    from holdshort.gate.upstream import identity_digest
    from holdshort.policy import PinMode
    from holdshort.policy.facts import facts_of

    servers = {server.label: server for server in config.servers}
    identities = {label: identity_digest(server) for label, server in servers.items()}
    off = config.policy.pins is PinMode.OFF
    tools: dict[str, dict[str, tuple[ToolFacts, Mapping[str, Any] | None]]] = {}
    definitions: dict[tuple[str, str], Mapping[str, Any]] = {}
    for (server, tool), pin in _pins(config, state_dir).items():
        words = pin.seen.words
        # Another command or URL under the same label, of another configuration perhaps, says nothing of this one.
        same = server in servers and pin.seen.identity == identities[server]
        if same and tool and only in {None, server} and isinstance(words, Mapping):
            trusted = servers[server].trust_annotations
            facts = facts_of(server, words, trusted=trusted, pinned=off or pin.state == "pinned")
            tools.setdefault(server, {})[tool] = (facts, _schema(words))
            definitions[server, tool] = words
    return Knowledge("pins", tools, definitions) if tools else Knowledge()


def _pins(config: "Config", state_dir: Path | None) -> "Mapping[tuple[str, str], Pin]":
    """Return the pins in the state folder; none where there is no such folder, or it cannot be read."""
    from holdshort.errors import StateError
    from holdshort.store.folder import DATABASE, choose_folder
    from holdshort.store.pins import read_pins
    from holdshort.store.schema import open_current

    path = choose_folder(state_dir or config.state_dir, os.environ) / DATABASE
    if not path.is_file():
        return {}
    try:
        with open_current(path) as connection:
            return read_pins(connection)
    except StateError as error:
        print(f"note: pinned tools are not looked at: {error}", file=sys.stderr)
        return {}


def _schema(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = definition.get("inputSchema")
    return schema if isinstance(schema, Mapping) else None
