"""What the policy commands share: their options, the files they read, and how findings are printed."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from holdshort.config import Config, Problem
    from holdshort.policy import Caller, Policy

__all__ = [
    "DEFAULT_FILE",
    "AsJson",
    "AssumeEnv",
    "ConfigFile",
    "assumed",
    "counted",
    "fail_usage",
    "find_caller",
    "load_policy",
    "parse_arguments",
    "print_findings",
    "problem_json",
    "trusts_annotations",
    "utc_now",
]

DEFAULT_FILE: Final = Path("holdshort.yaml")

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


def load_policy(file: Path, *, assume_env: bool) -> tuple["Policy", tuple["Problem", ...], "Config | None"]:
    from holdshort.config import is_layer_file, load_config, load_layer

    if not file.is_file():
        fail_usage(f"there is no file `{file}`")
    environ: Mapping[str, str] = assumed(os.environ) if assume_env else os.environ
    if is_layer_file(file):
        policy, notes = load_layer(file, environ)
        return policy, notes, None
    config = load_config(file, environ)
    return config.policy, config.notes, config


def assumed(environ: Mapping[str, str]) -> Mapping[str, str]:
    return _Assumed(environ)


class _Assumed(dict[str, str]):
    """The environment, with a made-up value for every variable that is not set and has no default."""

    def __missing__(self, key: str) -> str:
        # One value for each name: two tokens made up alike would look like one token given to two.
        return f"assumed-value-of-{key}"


def fail_usage(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)


def print_findings(
    problems: tuple["Problem", ...], notes: tuple["Problem", ...], policy: "Policy | None", *, as_json: bool
) -> None:
    if as_json:
        answer = {
            "ok": not problems,
            "problems": [problem_json(problem) for problem in problems],
            "notes": [problem_json(note) for note in notes],
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
        print(f"{counted(len(problems), 'problem')} in {counted(files, 'file')}", file=sys.stderr)
    elif policy is not None:
        rules = sum(len(layer.rules) for layer in policy.layers)
        print(f"sound: {counted(rules, 'rule')} in {counted(len(policy.layers), 'layer')}", file=sys.stderr)
        print(f"digest: {policy.digest}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def problem_json(problem: "Problem") -> dict[str, Any]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "rule": problem.rule,
        "message": problem.message,
    }


def parse_arguments(text: str, option: str = "--args") -> dict[str, Any]:
    from holdshort.wire import MalformedMessage, decode

    if text.startswith("@"):
        try:
            raw = Path(text[1:]).read_bytes()
        except OSError as error:
            fail_usage(f"{option}: `{text[1:]}` cannot be read: {(error.strerror or type(error).__name__).lower()}")
    else:
        raw = text.encode("utf-8", "surrogateescape")
    try:
        value = decode(raw)
    except MalformedMessage as error:
        fail_usage(f"{option}: {error}")
    if not isinstance(value, dict):
        fail_usage(option + ': expected a JSON object, as in \'{"path": "/tmp"}\'')
    return value


def find_caller(config: "Config | None", agent: str | None) -> "Caller":
    from holdshort.config import LOCAL_AGENT
    from holdshort.policy import Caller
    from holdshort.policy.words import unknown

    agents = {one.name: one for one in config.agents} if config is not None else {}
    if not agents:
        if config is not None and agent not in (None, LOCAL_AGENT):
            fail_usage(f"--agent: {unknown('agent', str(agent), [LOCAL_AGENT])}; no `agents` are configured")
        return Caller(agent or LOCAL_AGENT)
    if agent is None and len(agents) == 1:
        agent = next(iter(agents))
    if agent is None:
        fail_usage(f"--agent: say which agent calls: {', '.join(f'`{name}`' for name in agents)}")
    if agent not in agents:
        fail_usage(f"--agent: {unknown('agent', agent, agents)}")
    return Caller(agent, agents[agent].groups)


def trusts_annotations(config: "Config | None", server: str) -> bool:
    from holdshort.policy.words import unknown

    trusted = {one.label: one.trust_annotations for one in config.servers} if config is not None else {server: True}
    if server not in trusted:
        fail_usage(unknown("server", server, trusted))
    return trusted[server]


def utc_now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)  # noqa: TID251 - a command is an edge: it has the clock that the core is given
