"""From files to one checked `Config`, or to all their problems at once.

Layers are the policy files in the order they are named, then the shorthand keys of the servers in file order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdshort.config.document import Entry, Value
from holdshort.config.layers import LAYER_KEYS, check_version, layer_of, looks_like_layer, read_layer
from holdshort.config.loosening import read_loosens
from holdshort.config.model import (
    DEFAULT_LISTEN,
    Config,
    ConfigErrors,
    LimitsConfig,
    Listen,
    Problem,
    ServerConfig,
    UnknownPeople,
)
from holdshort.config.people import People, check_mentions, read_people
from holdshort.config.reading import Reading
from holdshort.config.recording import read_record
from holdshort.config.rules import Mentions
from holdshort.config.servers import ServerBlock, check_label, read_servers
from holdshort.config.settings import (
    APPROVALS_KEYS,
    read_folder,
    read_hold,
    read_limits,
    read_listen,
    read_names,
    read_public_url,
    read_switch,
)
from holdshort.errors import ConfigError
from holdshort.policy import Layer, Place, Policy, compile_policy, wrap_policy

__all__ = [
    "CONFIG_KEYS",
    "FOREIGN_CONFIG_KEYS",
    "BadLabel",
    "is_layer_file",
    "load_config",
    "load_layer",
    "wrap_config",
]

CONFIG_KEYS: Final = (
    "version",
    "mcpServers",
    "servers",
    "agents",
    "approvers",
    "policy",
    "listen",
    "approvals",
    "hold",
    "limits",
    "state_dir",
    "record",
    "separation_of_duties",
    "allowed_hosts",
    "allowed_origins",
    "loosens",
)
FOREIGN_CONFIG_KEYS: Final = frozenset({"$schema", "inputs", "globalShortcut", "preferences"})
"""What stands beside the servers in clients' own files."""


class BadLabel(ConfigError):
    """Raised when a label given on the command line cannot name a server."""


def load_config(path: Path, environ: Mapping[str, str], *, running: Config | None = None) -> Config:
    """Read `holdshort.yaml` at `path` and the policy layers that it names.

    `running` is what a process runs with that would go on under the policy read now: rules are also held against the
    agents and approvers that it knows.

    Raises:
        UnknownPeople: rules are about others than those whom `running` knows.
        ConfigErrors: with every problem in every file.
    """
    reading = Reading(environ)
    document = reading.document(path, str(path))
    if document is not None and looks_like_layer(document):
        reading.problem(document.place, "this is a policy layer; name it under `policy:` in a `holdshort.yaml`")
    elif document is not None:
        config = _config(reading, document, path, None, running)
        if config is not None and not reading.problems:
            return config
    raise _errors(reading)


def is_layer_file(path: Path) -> bool:
    """Say whether the file at `path` is a policy layer rather than a `holdshort.yaml`; problems are not reported."""
    document = Reading({}).document(path, str(path))
    return document is not None and looks_like_layer(document)


def load_layer(path: Path, environ: Mapping[str, str]) -> tuple[Policy, tuple[Problem, ...]]:
    """Read one policy file by itself; who its rules name cannot be checked then. Returns its policy and the notes.

    Raises:
        ConfigErrors: with every problem in the file.
    """
    reading = Reading(environ)
    found = read_layer(reading, path, str(path), str(path))
    if found is None or reading.problems:
        raise _errors(reading)
    return compile_policy([found[0]]), tuple(reading.notes)


def wrap_config(
    command: Sequence[str],
    *,
    label: str,
    strict: bool = False,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    running: Config | None = None,
) -> Config:
    """Return the configuration of `holdshort wrap -- COMMAND`: one stdio server, and the policy of `wrap_policy`.

    With `path`, policy and everything else come from that file, a `holdshort.yaml` or a single policy layer. Of its
    servers only the entry called `label` is looked at: its shorthand keys, `timeout` and `trust_annotations` count.

    Raises:
        BadLabel: the label cannot name a server.
        ConfigErrors: as `load_config`.
    """
    problem = check_label(label)
    if problem is not None:
        raise BadLabel(problem)
    server = ServerConfig(label, "stdio", command=command[0], args=tuple(command[1:]), configured=False)
    if path is None:
        return Config(path=None, servers=(server,), policy=wrap_policy(strict))
    reading = Reading(environ or {})
    document = reading.document(path, str(path))
    if document is not None and looks_like_layer(document):
        found = layer_of(reading, document, str(path))
        if found is not None:
            # No other file can configure them, so a rule that names approvers could never be satisfied.
            check_mentions(reading, found[1], People(), ())
        if found is not None and not reading.problems:
            policy = compile_policy([found[0]])
            return Config(
                path=path,
                servers=(server,),
                policy=policy,
                notes=tuple(reading.notes),
                files=reading.files,
                loosens=frozenset(reading.loosens),
            )
    elif document is not None:
        config = _config(reading, document, path, server, running)
        if config is not None and not reading.problems:
            return config if config.policy.layers else replace(config, policy=wrap_policy(strict))
    raise _errors(reading)


def _config(
    reading: Reading, document: Value, path: Path, wrapped: ServerConfig | None, running: Config | None
) -> Config | None:
    keys = reading.section(document, "configuration", CONFIG_KEYS, ignored=FOREIGN_CONFIG_KEYS | set(LAYER_KEYS))
    if keys is None:
        return None
    for entry in document.entries:
        if entry.key in LAYER_KEYS and entry.key not in CONFIG_KEYS:
            reading.problem(entry.place, f"`{entry.key}` belongs in a policy file; name that file under `policy:`")
        elif entry.key in FOREIGN_CONFIG_KEYS:
            reading.note(entry.place, f"`{entry.key}` is a key of another client and has no effect")
    check_version(reading, keys)
    read_loosens(reading, keys.get("loosens"))
    block = _servers(reading, document, keys, path.parent, wrapped)
    people = read_people(reading, keys.get("agents"), keys.get("approvers"))
    layers, mentions = _layers(reading, keys.get("policy"), path.parent)
    for said in mentions:
        check_mentions(reading, said, people, block.labels)
    if running is not None and not reading.problems:
        _check_known(reading, mentions, running)
    listen = read_listen(reading, keys.get("listen")) or DEFAULT_LISTEN
    if not listen.loopback and not people.agents:
        reading.problem(
            keys["listen"].value.place,
            f"listen: `{listen}` can be reached from other machines, but no `agents` are configured, so anybody could "
            f"call; give every agent a token, or listen on `{DEFAULT_LISTEN}`",
        )
    approvals = reading.section(keys["approvals"].value, "approvals", APPROVALS_KEYS) if "approvals" in keys else None
    approvals_listen, public_url = _approvals(reading, approvals or {}, listen)
    limits = read_limits(reading, keys.get("limits"))
    separated = read_switch(reading, keys.get("separation_of_duties"))
    if separated and not any(agent.acts_for for agent in people.agents):
        message = "separation_of_duties: no agent says whom it `acts_for`, so nobody is barred"
        reading.note(keys["separation_of_duties"].place, message)
    return Config(
        path=path,
        servers=tuple(block.servers),
        policy=_policy([*layers, *block.layers], limits),
        agents=tuple(people.agents),
        approvers=tuple(people.approvers),
        listen=listen,
        approvals_listen=approvals_listen,
        public_url=public_url,
        hold=read_hold(reading, keys.get("hold")),
        limits=limits,
        state_dir=read_folder(reading, keys.get("state_dir"), path.parent, reading.environ),
        record=read_record(reading, keys.get("record")),
        separation_of_duties=separated,
        allowed_hosts=read_names(reading, keys.get("allowed_hosts")),
        allowed_origins=read_names(reading, keys.get("allowed_origins"), origins=True),
        notes=tuple(reading.notes),
        files=reading.files,
        loosens=frozenset(reading.loosens),
    )


def _check_known(reading: Reading, mentions: Sequence[Mentions], running: Config) -> None:
    """Refuse rules about people who are in the file by now, but not in the process that would go by them."""
    known = People(list(running.agents), list(running.approvers))
    apart = Reading(reading.environ)
    for said in mentions:
        check_mentions(apart, said, known, ())
    if apart.problems:
        # The file is fine by itself, and would be at the next start.
        why = "; changed `agents` and `approvers` take effect at the next start"
        problems = [replace(problem, message=problem.message + why) for problem in apart.problems]
        raise UnknownPeople(problems, reading.notes, reading.files)


def _servers(
    reading: Reading, document: Value, keys: Mapping[str, Entry], folder: Path, wrapped: ServerConfig | None
) -> ServerBlock:
    if "mcpServers" in keys and "servers" in keys:
        reading.problem(keys["servers"].place, "`servers` means `mcpServers`, which is there too; keep one")
    entry = keys.get("mcpServers") or keys.get("servers")
    if wrapped is None:
        if entry is None:
            message = "there is no `mcpServers`, so there is nothing to guard"
            reading.missing(document, "mcpServers", message, CONFIG_KEYS)
            return ServerBlock([], [], [])
        block = read_servers(reading, entry.value, folder)
        if not block.labels and entry.value.kind == "map":
            reading.problem(entry.value.place, "mcpServers: there is no server, so there is nothing to guard")
        return block
    block = read_servers(reading, entry.value, folder, only=wrapped.label) if entry else ServerBlock([], [], [])
    own = next((server for server in block.servers if server.label == wrapped.label), None)
    if own is not None:
        wrapped = replace(wrapped, timeout=own.timeout, trust_annotations=own.trust_annotations, configured=True)
    return ServerBlock([wrapped], block.layers, [])


def _layers(reading: Reading, entry: Entry | None, folder: Path) -> tuple[list[Layer], list[Mentions]]:
    layers: list[Layer] = []
    mentions: list[Mentions] = []
    if entry is None:
        return layers, mentions
    seen: dict[Path, Place] = {}
    for value, written in reading.texts(entry.value, "policy"):
        path = folder / written
        reading.look(path)
        if not path.is_file():
            reading.problem(value.place, f"policy: there is no file `{value.raw[:200]}` beside the configuration")
            continue
        first = seen.setdefault(path.resolve(), value.place)
        if first is not value.place:
            reading.problem(value.place, f"policy: this file is already named on line {first.line}")
            continue
        found = read_layer(reading, path, str(path), written)
        if found is not None:
            layers.append(found[0])
            mentions.append(found[1])
    return layers, mentions


def _policy(layers: Sequence[Layer], limits: LimitsConfig) -> Policy:
    return compile_policy(layers, expires_after=timedelta(seconds=limits.pending_expiry))


def _approvals(reading: Reading, keys: Mapping[str, Entry], listen: Listen) -> tuple[Listen | None, str | None]:
    address = read_listen(reading, keys.get("listen"), "approvals listen")
    if address is not None and address == listen and address.port:
        reading.note(
            keys["listen"].value.place, "approvals listen: this is the address of `listen`; one port serves both"
        )
        address = None
    return address, read_public_url(reading, keys.get("public_url"))


def _errors(reading: Reading) -> ConfigErrors:
    order: dict[str, int] = {}
    for problem in reading.problems:
        order.setdefault(problem.place.file, len(order))

    def position(problem: Problem) -> tuple[int, int, int]:
        return order[problem.place.file], problem.place.line, problem.place.column

    return ConfigErrors(sorted(reading.problems, key=position), reading.notes, reading.files)
