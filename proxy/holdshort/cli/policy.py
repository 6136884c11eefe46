"""`holdshort policy`: is the policy sound, and what does it say about a call, without any server running."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from holdshort.config import Config, Problem
    from holdshort.policy import Caller, Explanation, Policy

__all__ = ["app"]

DEFAULT_FILE = Path("holdshort.yaml")

app = typer.Typer(
    no_args_is_help=True,
    help="Check policy files, and ask what they say about a call. Nothing is started and nothing is sent.",
)

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="A holdshort.yaml, or a single policy file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
AssumeEnv = Annotated[
    bool,
    typer.Option(
        "--assume-env", help="Treat environment variables that are not set as set, for checks without secrets."
    ),
]


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="A holdshort.yaml, or a single policy file.")
    ] = DEFAULT_FILE,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Read a configuration and all its policy files, and list every problem with its place.

    Exit code 0: sound. 1: there are problems. 2: there is no such file.

    \b
    Examples:
      holdshort policy check
      holdshort policy check policies/team.yaml
      holdshort policy check --assume-env --json | jq .problems
    """
    from holdshort.config import ConfigErrors

    try:
        policy, notes, _ = _load(file, assume_env=assume_env)
    except ConfigErrors as errors:
        _print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    _print_findings((), notes, policy, as_json=as_json)


@app.command()
def explain(
    server: Annotated[str, typer.Argument(help="The server's label in mcpServers.")],
    tool: Annotated[str, typer.Argument(help="The tool's own name, without the server.")],
    arguments: Annotated[
        str, typer.Option("--args", metavar="JSON", help="The call's arguments, or @FILE to read them from a file.")
    ] = "{}",
    agent: Annotated[str | None, typer.Option(help="Who calls; by default the agent of loopback callers.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="As if the server declared the tool read-only.")
    ] = False,
    config: ConfigFile = DEFAULT_FILE,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Say what the policy does with one call, and what each of its layers had to say.

    Exit code 0: there is a verdict, whatever it is. 1: the files have problems. 2: the question makes no sense.

    \b
    Examples:
      holdshort policy explain github delete_repo
      holdshort policy explain pay refund --args '{"amount": 5}' --agent ci
      holdshort policy explain files read_file --json -c policies/team.yaml
    """
    from holdshort.config import ConfigErrors
    from holdshort.policy import Call, ToolFacts
    from holdshort.policy import explain as explain_call

    given = _arguments(arguments)
    try:
        policy, _, loaded = _load(config, assume_env=assume_env)
    except ConfigErrors as errors:
        _print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    caller = _caller(loaded, agent)
    trusted = _trusts(loaded, server)
    facts = ToolFacts(server, tool, read_only=read_only and trusted, destructive=not (read_only and trusted))
    told = explain_call(policy, Call(facts, given, caller, _now()))
    if as_json:
        print(json.dumps(_as_json(told, server, tool, caller.agent, policy.digest), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_as_text(told, server, tool, caller.agent)))


def _load(file: Path, *, assume_env: bool) -> tuple["Policy", tuple["Problem", ...], "Config | None"]:
    from holdshort.config import is_layer_file, load_config, load_layer

    if not file.is_file():
        _usage(f"there is no file `{file}`")
    environ: Mapping[str, str] = _Assumed(os.environ) if assume_env else os.environ
    if is_layer_file(file):
        policy, notes = load_layer(file, environ)
        return policy, notes, None
    config = load_config(file, environ)
    return config.policy, config.notes, config


class _Assumed(dict[str, str]):
    """The environment, with a made-up value for every variable that is not set and has no default."""

    def __missing__(self, key: str) -> str:
        # One value for each name: two tokens made up alike would look like one token given to two.
        return f"assumed-value-of-{key}"


def _arguments(text: str) -> dict[str, Any]:
    from holdshort.wire import MalformedMessage, decode

    if text.startswith("@"):
        try:
            raw = Path(text[1:]).read_bytes()
        except OSError as error:
            _usage(f"--args: `{text[1:]}` cannot be read: {(error.strerror or type(error).__name__).lower()}")
    else:
        raw = text.encode("utf-8", "surrogateescape")
    try:
        value = decode(raw)
    except MalformedMessage as error:
        _usage(f"--args: {error}")
    if not isinstance(value, dict):
        _usage('--args: expected a JSON object, as in \'{"path": "/tmp"}\'')
    return value


def _caller(config: "Config | None", agent: str | None) -> "Caller":
    from holdshort.config import LOCAL_AGENT
    from holdshort.policy import Caller
    from holdshort.policy.words import unknown

    agents = {one.name: one for one in config.agents} if config is not None else {}
    if not agents:
        if config is not None and agent not in (None, LOCAL_AGENT):
            _usage(f"--agent: {unknown('agent', str(agent), [LOCAL_AGENT])}; no `agents` are configured")
        return Caller(agent or LOCAL_AGENT)
    if agent is None and len(agents) == 1:
        agent = next(iter(agents))
    if agent is None:
        _usage(f"--agent: say which agent calls: {', '.join(f'`{name}`' for name in agents)}")
    if agent not in agents:
        _usage(f"--agent: {unknown('agent', agent, agents)}")
    return Caller(agent, agents[agent].groups)


def _trusts(config: "Config | None", server: str) -> bool:
    from holdshort.policy.words import unknown

    trusted = {one.label: one.trust_annotations for one in config.servers} if config is not None else {server: True}
    if server not in trusted:
        _usage(unknown("server", server, trusted))
    return trusted[server]


def _usage(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _print_findings(
    problems: tuple["Problem", ...], notes: tuple["Problem", ...], policy: "Policy | None", *, as_json: bool
) -> None:
    if as_json:
        answer = {
            "ok": not problems,
            "problems": [_problem(problem) for problem in problems],
            "notes": [_problem(note) for note in notes],
            "policy_digest": policy.digest if policy is not None else None,
        }
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        for problem in problems:
            print(problem)
    for note in notes if not as_json else ():
        print(f"note: {note}", file=sys.stderr)
    if problems:
        files = len({problem.place.file for problem in problems})
        print(f"{_counted(len(problems), 'problem')} in {_counted(files, 'file')}", file=sys.stderr)
    elif policy is not None:
        rules = sum(len(layer.rules) for layer in policy.layers)
        print(f"sound: {_counted(rules, 'rule')} in {_counted(len(policy.layers), 'layer')}", file=sys.stderr)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _problem(problem: "Problem") -> dict[str, Any]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "rule": problem.rule,
        "message": problem.message,
    }


def _as_json(told: "Explanation", server: str, tool: str, agent: str, digest: str) -> dict[str, Any]:
    verdict, terms = told.verdict, told.verdict.terms
    asks = verdict.action == "ask"
    return {
        "server": server,
        "tool": tool,
        "agent": agent,
        "verdict": verdict.action,
        "because": [{"layer": reason.layer, "rule": reason.rule} for reason in verdict.because],
        "layers": [
            {
                "layer": opinion.layer,
                "rule": opinion.rule,
                "action": opinion.action,
                "says": opinion.words,
                "place": str(opinion.place) if opinion.place else None,
            }
            for opinion in told.layers
        ],
        "terms": {
            "approvers": [sorted(allowed) for allowed in terms.approvers],
            "required_approvals": terms.required_approvals,
            "expires_after_seconds": terms.expires_after.total_seconds(),
            "decisions": sorted(terms.decisions),
            "execute": terms.execute,
        }
        if asks
        else None,
        "errors": list(verdict.errors),
        "policy_digest": digest,
    }


def _as_text(told: "Explanation", server: str, tool: str, agent: str) -> list[str]:
    verdict, terms = told.verdict, told.verdict.terms
    lines = [f"{verdict.action}: {server}__{tool} called by {agent}"]
    reasons = ", ".join(f"{reason.layer}: {reason.rule}" for reason in verdict.because)
    lines.append(f"because {reasons}")
    for opinion in told.layers:
        place = f" ({opinion.place})" if opinion.place else ""
        lines.append(f"  {opinion.layer}: {opinion.words}{place}")
    if not told.layers:
        lines.append("  there are no layers; without any policy every call asks")
    if verdict.action == "ask":
        who = " and ".join(" or ".join(sorted(allowed)) for allowed in terms.approvers) or "any approver"
        lines.append(
            f"terms: {_counted(terms.required_approvals, 'approval')} by {who}; {', '.join(sorted(terms.decisions))}; "
            f"expires after {terms.expires_after}; runs when {terms.execute.replace('_', ' ')}"
        )
    lines.extend(f"error: {error}" for error in verdict.errors)
    return lines


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)  # noqa: TID251 - a command is an edge: it has the clock that the core is given


if __name__ == "__main__":
    app()
