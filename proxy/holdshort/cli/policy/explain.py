"""`holdshort policy explain`: what the policy does with one call, and the whole reasoning behind it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdshort.cli.policy.common import (
    DEFAULT_FILE,
    AsJson,
    AssumeEnv,
    ConfigFile,
    fail_usage,
    find_caller,
    load_policy,
    parse_arguments,
    print_findings,
    trusts_annotations,
    utc_now,
)
from holdshort.cli.policy.knowledge import Live, StateDir, find_out
from holdshort.cli.policy.telling import explanation_lines

if TYPE_CHECKING:
    from holdshort.cli.policy.past import Past
    from holdshort.config import Config
    from holdshort.policy import Access, Call, Caller, ToolFacts

__all__ = ["explain"]


def explain(
    server: Annotated[str | None, typer.Argument(help="The server's label in mcpServers.")] = None,
    tool: Annotated[str | None, typer.Argument(help="The tool's own name, without the server.")] = None,
    arguments: Annotated[
        str | None, typer.Option("--args", metavar="JSON", help="The arguments, or @FILE to read them from a file.")
    ] = None,
    resource: Annotated[str | None, typer.Option(metavar="URI", help="Instead of a tool: a resource.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="NAME", help="Instead of a tool: a prompt.")] = None,
    server_request: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Instead of a tool: what the server asks of a client.")
    ] = None,
    interruption: Annotated[str | None, typer.Option(metavar="ID", help="A call that was parked, as it came.")] = None,
    from_log: Annotated[
        int | None, typer.Option(metavar="SEQUENCE", min=1, help="The call of this row of the decision log.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Who calls; by default the agent of loopback callers.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="A group of the caller; may be given again.")
    ] = None,
    client: Annotated[str | None, typer.Option(metavar="NAME", help="What the client program calls itself.")] = None,
    client_version: Annotated[str | None, typer.Option(metavar="VERSION", help="The client program's version.")] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it happens, as in 2026-01-05T12:00:00Z; by default now.")
    ] = None,
    annotations: Annotated[
        str | None, typer.Option(metavar="JSON", help='As if the tool was declared so: {"readOnlyHint": true}.')
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="As if the server declared the tool read-only.")
    ] = False,
    unpinned: Annotated[bool, typer.Option("--unpinned", help="As if the tool differed from its pin.")] = False,
    live: Live = False,
    state_dir: StateDir = None,
    config: ConfigFile = DEFAULT_FILE,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Say what the policy does with one call, and why: every layer, every rule, every value a condition saw.

    What is known of the tool comes from `--annotations` or `--read-only`, else from the server itself with `--live`,
    else from its pin in the state folder, else from MCP's careful defaults; the answer says which.

    Exit code 0: there is a verdict, whatever it is. 1: the files have problems. 2: the question makes no sense.

    \b
    Examples:
      holdshort policy explain github delete_repo
      holdshort policy explain pay refund --args '{"amount": 5}' --agent ci
      holdshort policy explain files read_file --json -c policies/team.yaml
      holdshort policy explain files --resource file:///etc/passwd
      holdshort policy explain --interruption i-01a1
    """
    from holdshort.config import ConfigErrors
    from holdshort.policy import Call as PolicyCall
    from holdshort.policy import explain as explain_question
    from holdshort.policy.telling import explanation_json

    given = parse_arguments(arguments) if arguments is not None else None
    moment = _moment(now)
    hints = _hints(annotations, read_only=read_only)
    try:
        policy, _, loaded = load_policy(config, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    past = _past(loaded, state_dir, interruption, from_log)
    if past is not None:
        server, tool, agent = past.server, past.tool, agent or past.agent
        if past.other is not None:
            names = dict([past.other])
            resource, prompt = names.get("resource"), names.get("prompt")
            server_request = names.get("server_request")
        given = past.arguments if given is None else given
        client, client_version = client or past.client, client_version or past.client_version
        moment = moment or past.at
    if server is None:
        fail_usage("say which server and tool, or `--interruption ID`, or `--from-log SEQUENCE`")
    caller = find_caller(loaded, agent)
    caller = replace(caller, client=client, client_version=client_version)
    if past is not None and past.groups is not None and loaded is None:
        caller = replace(caller, groups=past.groups)
    if group:
        caller = replace(caller, groups=frozenset(group))
    other = _other(server, tool, resource, prompt, server_request, caller, moment or utc_now(), given or {})
    question: Call | Access
    if other is not None:
        trusts_annotations(loaded, server)
        question, known = other, ""
    else:
        if tool is None:
            fail_usage("say which tool, or `--resource URI`, `--prompt NAME` or `--server-request METHOD`")
        if past is not None and past.facts is not None and hints is None and not live:
            facts, known = past.facts, "as was recorded"
        else:
            facts, known = _facts(loaded, server, tool, hints, live=live, state_dir=state_dir)
        if unpinned:
            facts = replace(facts, pinned=False)
        question = PolicyCall(facts, given or {}, caller, moment or utc_now())
    told = explain_question(policy, question)
    if as_json:
        answer = explanation_json(told, question)
        answer |= {"facts_from": known or None, "policy_digest": policy.digest}
        if past is not None:
            answer["past"] = past.words(policy)
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    print("\n".join(explanation_lines(told, question, known)))
    if past is not None:
        print("\n" + "\n".join(past.words(policy)))


def _past(config: "Config | None", state_dir: Path | None, interruption: str | None, row: int | None) -> "Past | None":
    from holdshort.cli.policy.past import find_interruption, find_row

    folder = state_dir or (config.state_dir if config is not None else None)
    if interruption is not None and row is not None:
        fail_usage("give `--interruption` or `--from-log`, not both")
    if interruption is not None:
        return find_interruption(folder, interruption)
    return find_row(folder, row) if row is not None else None


def _facts(
    config: "Config | None",
    server: str,
    tool: str,
    hints: dict[str, Any] | None,
    *,
    live: bool,
    state_dir: Path | None,
) -> "tuple[ToolFacts, str]":
    """Return what is known of the tool, and where from."""
    from holdshort.policy.facts import facts_of

    trusted = trusts_annotations(config, server)
    if hints is not None:
        told = facts_of(server, {"name": tool, "annotations": hints}, trusted=trusted)
        return told, "as the command line says" if trusted else "this server's own words are not trusted"
    if live and config is None:
        fail_usage("--live: a single policy file names no servers; name the holdshort.yaml with `--config`")
    known = find_out(config, live=live, state_dir=state_dir, only=server)
    found = known.tools.get(server, {}).get(tool)
    if found is not None:
        if known.source == "live":
            now = "as its server lists it now"
            return found[0], now if found[0].pinned else f"{now}, which is not as it is pinned"
        return found[0], "as it is pinned" if found[0].pinned else "as its server showed it last, which is not its pin"
    if live and server in known.tools:
        # Policy is never asked about such a tool: for an agent it does not exist.
        return facts_of(server, {"name": tool}), "its server lists no such tool, so a call of it is refused unasked"
    return facts_of(server, {"name": tool}), "nothing is known of it, so MCP's careful defaults hold"


def _other(
    server: str,
    tool: str | None,
    resource: str | None,
    prompt: str | None,
    server_request: str | None,
    caller: "Caller",
    now: datetime,
    arguments: dict[str, Any],
) -> "Access | None":
    from holdshort.policy import Access, Kind

    named = [
        (kind, name)
        for kind, name in (
            (Kind.RESOURCE, resource),
            (Kind.PROMPT, prompt),
            (Kind.SERVER_REQUEST, server_request),
        )
        if name is not None
    ]
    if len(named) + (tool is not None) > 1:
        fail_usage("ask about one thing: a tool, `--resource`, `--prompt` or `--server-request`")
    return Access(named[0][0], server, named[0][1], caller, now, arguments) if named else None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        fail_usage(f"--now: `{text[:40]}` is no time with a time zone, as in `2026-01-05T12:00:00Z`")
    return moment.astimezone(UTC)


def _hints(text: str | None, *, read_only: bool) -> dict[str, Any] | None:
    from holdshort.policy.facts import HINTS
    from holdshort.policy.words import unknown

    if text is None:
        return {"readOnlyHint": True, "destructiveHint": False} if read_only else None
    hints = parse_arguments(text, "--annotations")
    for name, value in hints.items():
        if name not in HINTS:
            fail_usage(f"--annotations: {unknown('annotation', name, HINTS)}")
        if not isinstance(value, bool):
            fail_usage(f"--annotations: `{name}` is `true` or `false`")
    return hints
