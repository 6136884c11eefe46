"""`holdshort init`: a configuration to start from, made of what live servers say about themselves."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from holdshort.cli.policy.common import counted, fail_usage

if TYPE_CHECKING:
    from holdshort.cli.init.placing import NewFile
    from holdshort.cli.init.planned import Planned
    from holdshort.cli.init.planning import Readable
    from holdshort.server.survey import Survey

__all__ = ["InitCommand", "init_command"]

_CONFIG: Final = "holdshort.yaml"
_POLICY: Final = "policies/starter.yaml"
_CASES: Final = "policies/starter.cases.yaml"
_COMMAND: Final = "holdshort.init.command"
_EXAMPLES: Final = """say where the servers are, for example:
  holdshort init --from .mcp.json
  holdshort init --from-client cursor
  holdshort init -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  holdshort init --url https://tickets.example/mcp"""


class InitCommand(TyperCommand):
    """A command whose words after `--` are a server's own command, which no option and no folder is looked for in."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Cut at the first `--`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show the server's command as well."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND…]"]


def init_command(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the files go.", file_okay=False, show_default="this one")
    ] = Path(),
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="A client's file with servers: JSON, TOML or YAML.", dir_okay=False
        ),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            "--from-client", metavar="CLIENT", help="The files of a client at their usual places: `cursor`, …"
        ),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A hosted server.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="'NAME: VALUE'", help="For `--url`; `${NAME}` in the value is a variable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The label of a server given by `--url` or after `--`.")
    ] = None,
    deny_destructive: Annotated[
        bool, typer.Option("--deny-destructive", help="Refuse tools that may destroy something, instead of asking.")
    ] = False,
    no_packs: Annotated[
        bool, typer.Option("--no-packs", help="Write all tools out, also those of servers with a ready-made pack.")
    ] = False,
    keep_secrets: Annotated[
        bool, typer.Option("--keep-secrets", help="Copy tokens as they are; the file is readable by you alone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the servers, print what would be written, and write nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="The patience with each server.")] = 60,
) -> None:
    """Start the servers you have, and write files that put them behind policy: reads run, everything else asks.

    Servers come from a client's file (`mcpServers`, `servers`, `context_servers`, or Codex's TOML), a URL, or a command
    after `--`; without any of these, from the holdshort.yaml that is there. Each is started or connected to, asked for
    its tools, and left. Written are holdshort.yaml, policies/starter.yaml with every tool and what it says of itself,
    cases for `holdshort policy test`, and schemas for your editor. Tokens become `${NAME}`.

    Exit code 0: written. 1: written, but some server could not be asked, so everything of it asks. 2: nothing written.

    \b
    Examples:
      holdshort init --from .mcp.json
      holdshort init team --from-client claude-code --deny-destructive
      holdshort init --dry-run -- npx -y @modelcontextprotocol/server-filesystem /data
      holdshort init --url https://tickets.example/mcp --header 'Authorization: Bearer ${TICKETS_TOKEN}'
    """
    from holdshort.cli.init.placing import difference, place
    from holdshort.cli.init.planning import check_files, planned, readable
    from holdshort.cli.init.secrets import Secrets
    from holdshort.cli.init.sources import given_blocks

    command: list[str] | None = ctx.meta.get(_COMMAND)
    ways = [way for way in (source, client, url, command) if way is not None]
    own = not ways and (folder / _CONFIG).is_file()
    if len(ways) > 1:
        fail_usage("--from, --from-client, --url and a command after `--` exclude each other; give one of them")
    if not ways and not own:
        fail_usage(_EXAMPLES)
    if header and url is None:
        fail_usage("--header: it belongs to `--url`")
    if name is not None and url is None and command is None:
        fail_usage("--name: the servers of a file have names already")
    names = [_POLICY, _CASES] if own else [_CONFIG, _POLICY, _CASES]
    there = [each for each in names if (folder / each).exists()]
    if there and not force and not dry_run:
        listed = ", ".join(f"`{folder / each}`" for each in there)
        fail_usage(
            f"{listed} {'is' if len(there) == 1 else 'are'} there already; `--force` replaces, `--dry-run` shows"
        )

    secrets = Secrets(os.environ)
    if own:
        found, surveys = _survey_own(folder / _CONFIG, timeout)
    else:
        blocks = given_blocks(folder, source, client, url, header or [], command, name)
        if not keep_secrets:
            blocks = {label: secrets.hide(label, block) for label, block in blocks.items()}
        found = readable(blocks, {**os.environ, **secrets.values})
        surveys = _survey(found, timeout)
    environ = {**os.environ, **secrets.values}
    servers = planned(found, surveys, use_packs=not no_packs, deny_destructive=deny_destructive)
    texts = _texts(servers, deny_destructive=deny_destructive, own=own)
    check_files(folder, texts, _POLICY, {**environ, **_assumed(servers, environ)})

    files = _files(folder, texts, private=keep_secrets)
    if dry_run:
        for new in files:
            if new.ours:
                _say(f"would write `{new.path}`")
            elif new.path.exists():
                print(difference(new) or f"# {new.path}: no change\n", end="")
            else:
                print(f"# ==== {new.path}\n{new.text}")
    else:
        place(files, force=force)
        for new in files:
            if not new.ours:
                _say(f"written: {new.path}")
    _tell(folder, servers, environ=os.environ, own=own, dry_run=dry_run)
    if any(server.error is not None for server in servers):
        raise typer.Exit(1)


def _survey(found: "Readable", seconds: float) -> "Mapping[str, Survey]":
    from holdshort.cli.surveying import ask_servers

    for label, why in found.refused.items():
        _say(f"note: server `{label}` is left out: {_inert(why)}")
    for label, why in found.unset.items():
        _say(f"server `{label}`: it {why}")
    if not found.blocks:
        fail_usage("there is no server left to write about")
    if found.config is None:
        return {}
    for label in (server.label for server in found.config.servers):
        block = found.blocks[label]
        words = [str(block.get("command") or block.get("url")), *map(str, block.get("args") or ())]
        _say(f"asking `{label}`: {_inert(' '.join(words))}")
    return ask_servers(found.config, seconds=seconds)


def _survey_own(path: Path, seconds: float) -> "tuple[Readable, Mapping[str, Survey]]":
    """Ask the servers of a holdshort.yaml that is there."""
    from holdshort.cli.init.planning import Readable
    from holdshort.cli.surveying import ask_servers
    from holdshort.config import load_config

    config = load_config(path, os.environ)
    blocks = {server.label: {"trust_annotations": server.trust_annotations} for server in config.servers}
    if not blocks:
        fail_usage(f"all servers of `{path}` are switched off")
    return Readable(config, blocks, {}, {}), ask_servers(config, seconds=seconds)


def _texts(servers: "list[Planned]", *, deny_destructive: bool, own: bool) -> dict[str, str]:
    from datetime import UTC, datetime

    from holdshort.cli.init.cases_text import cases_text
    from holdshort.cli.init.config_text import config_text
    from holdshort.cli.init.policy_text import policy_text

    day = datetime.now(UTC).date().isoformat()  # noqa: TID251 - a command is an edge: it has the clock
    texts = {} if own else {_CONFIG: config_text(servers, _POLICY, day)}
    texts[_POLICY] = policy_text(servers, day, deny_destructive=deny_destructive)
    texts[_CASES] = cases_text(servers, deny_destructive=deny_destructive)
    return texts


def _files(folder: Path, texts: Mapping[str, str], *, private: bool) -> "list[NewFile]":
    from holdshort.cli.init.placing import NewFile
    from holdshort.cli.init.planned import SCHEMAS
    from holdshort.config.formats import FORMATS, schema_file

    schemas = [
        NewFile(folder / SCHEMAS / f"{each}.schema.json", schema_file(each).read_text(encoding="utf-8"), ours=True)
        for each in FORMATS
    ]
    return [NewFile(folder / path, text, private=private and path == _CONFIG) for path, text in texts.items()] + schemas


def _assumed(servers: "list[Planned]", environ: Mapping[str, str]) -> dict[str, str]:
    from holdshort.cli.init.given import variables_in

    return {name: "not-set" for server in servers for name in variables_in(server.block) if name not in environ}


def _tell(folder: Path, servers: "list[Planned]", *, environ: Mapping[str, str], own: bool, dry_run: bool) -> None:
    """Say what is missing, and what to do next."""
    import shlex

    from holdshort.cli.init.given import variables_in

    failed = [server.label for server in servers if server.error is not None]
    if failed:
        listed = ", ".join(f"`{label}`" for label in failed)
        _say(f"{counted(len(failed), 'server')} could not be asked, so all of their tools ask: {listed}")
    names = dict.fromkeys(name for server in servers for name in variables_in(server.block))
    unset = [name for name in names if name not in environ]
    if unset:
        _say("set these variables first; nothing that looked like a secret was written down:")
        for name in unset:
            _say(f"  export {name}=…")
    if dry_run:
        return
    if own:
        _say(f"name the new file in holdshort.yaml, if it is not there yet:\n  policy: [{_POLICY}]")
    _say("next:")
    if folder.resolve() != Path.cwd():
        _say(f"  cd {shlex.quote(str(folder))}")
    _say("  holdshort policy check")
    _say("  holdshort policy test policies")
    _say("  holdshort serve            # agents connect to http://127.0.0.1:7411/mcp, approvers to the link it prints")


def _inert(text: str) -> str:
    from holdshort.cli.init.yaml_text import inert

    return inert(text, 160)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
