"""`holdshort policy lint`: rules that can never count, and conditions that are not what they look like."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdshort.cli.policy.common import DEFAULT_FILE, AsJson, AssumeEnv, counted, load_policy, print_findings
from holdshort.cli.policy.knowledge import Live, StateDir, find_out, surroundings

if TYPE_CHECKING:
    from holdshort.policy.lint import Finding

__all__ = ["finding_json", "finding_line", "lint"]


def lint(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="A holdshort.yaml, or a single policy file.")
    ] = DEFAULT_FILE,
    live: Live = False,
    state_dir: StateDir = None,
    strict: Annotated[bool, typer.Option("--strict", help="Notes count as findings too.")] = False,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Look for rules that are dead, shadowed or overruled, and for conditions that are constant or do not fit.

    Problems go to standard output, one a line with its place; notes, which may be as you want them, to standard error.
    More is found where more is known: a whole holdshort.yaml tells servers and people, and tools are those of `--live`,
    or else those pinned in the state folder. docs/policy-lab.md explains every code.

    Exit code 0: no problems. 1: there are some. 2: there is no such file.

    \b
    Examples:
      holdshort policy lint
      holdshort policy lint policies/team.yaml
      holdshort policy lint --live
      holdshort policy lint --strict --json | jq .findings
    """
    from holdshort.config import ConfigErrors
    from holdshort.policy.lint import Severity
    from holdshort.policy.lint import lint as find

    try:
        policy, _, config = load_policy(file, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    known = find_out(config, live=live, state_dir=state_dir)
    found = find(policy, surroundings(config, known))
    problems = [one for one in found if one.severity is Severity.PROBLEM]
    notes = [one for one in found if one.severity is Severity.NOTE]
    bad = bool(problems or (strict and notes))
    if as_json:
        answer = {
            "ok": not bad,
            "findings": [finding_json(one) for one in found],
            "tools": known.source,
            "servers_not_asked": list(known.failed),
            "policy_digest": policy.digest,
        }
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        for one in problems:
            print(finding_line(one))
        for one in notes:
            print(f"note: {finding_line(one)}", file=sys.stderr)
        print(known.words, file=sys.stderr)
    print(f"{counted(len(problems), 'problem')}, {counted(len(notes), 'note')}", file=sys.stderr)
    if bad:
        raise typer.Exit(1)


def finding_line(one: "Finding") -> str:
    about = f"rule `{one.rule}`: " if one.rule is not None else ""
    others = ", ".join(f"{other.rule}: {other.place}" for other in one.others if other.place is not None)
    return f"{one.place or one.layer or 'tools'}: {one.code}: {about}{one.words}{f' ({others})' if others else ''}"


def finding_json(one: "Finding") -> dict[str, Any]:
    place = one.place
    return {
        "code": one.code,
        "severity": one.severity,
        "layer": one.layer or None,
        "rule": one.rule,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "message": one.words,
        "others": [
            {"layer": other.layer, "rule": other.rule, "place": str(other.place) if other.place else None}
            for other in one.others
        ],
    }
