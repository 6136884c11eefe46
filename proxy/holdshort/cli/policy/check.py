"""`holdshort policy check`: is the policy sound, and do its conditions fit the tools that they are about."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdshort.cli.policy.common import DEFAULT_FILE, AsJson, AssumeEnv, fail_usage, load_policy, print_findings
from holdshort.cli.policy.knowledge import Knowledge, Live, StateDir, find_out, surroundings

if TYPE_CHECKING:
    from holdshort.config import Config, Problem
    from holdshort.policy import Policy

__all__ = ["check"]


def check(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="A holdshort.yaml, or a single policy file.")
    ] = DEFAULT_FILE,
    live: Live = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Read a configuration and all its policy files, and list every problem with its place.

    Where tools are known, from `--live` or as pinned in the state folder, every condition is held against their input
    schemas as well: an argument that none of the tools of its rule has is a problem, one that only some have is a note.

    Exit code 0: sound. 1: there are problems. 2: there is no such file.

    \b
    Examples:
      holdshort policy check
      holdshort policy check policies/team.yaml
      holdshort policy check --live
      holdshort policy check --assume-env --json | jq .problems
    """
    from holdshort.config import ConfigErrors

    try:
        policy, notes, config = load_policy(file, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    if live and config is None:
        fail_usage("--live: a single policy file names no servers; check the holdshort.yaml that names it")
    known = find_out(config, live=live, state_dir=state_dir)
    problems, more = _shapes(policy, config, known)
    print_findings(problems, (*notes, *more), policy, as_json=as_json)
    if known.source != "nothing" and not as_json:
        print(known.words, file=sys.stderr)
    if problems or known.failed:
        raise typer.Exit(1)


def _shapes(
    policy: "Policy", config: "Config | None", known: Knowledge
) -> tuple[tuple["Problem", ...], tuple["Problem", ...]]:
    """Hold the conditions against the schemas of the tools that are known; problems, and notes."""
    from holdshort.config import Problem
    from holdshort.policy import Place
    from holdshort.policy.lint import Severity, ill_typed

    problems: list[Problem] = []
    notes: list[Problem] = []
    for one in ill_typed(policy, surroundings(config, known)):
        told = Problem(one.place or Place(one.layer, 1, 1), f"when: {one.words}", one.rule)
        (problems if one.severity is Severity.PROBLEM else notes).append(told)
    return tuple(problems), tuple(notes)
