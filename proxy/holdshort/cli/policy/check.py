"""`holdshort policy check`: is the policy sound, without any server running."""

from pathlib import Path
from typing import Annotated

import typer

from holdshort.cli.policy.common import DEFAULT_FILE, AsJson, AssumeEnv, load_policy, print_findings

__all__ = ["check"]


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
        policy, notes, _ = load_policy(file, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    print_findings((), notes, policy, as_json=as_json)
