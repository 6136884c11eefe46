"""`holdshort policy diff`: what a change to a policy permits that was not permitted before, and what it forbids."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from holdshort.cli.policy.common import AsJson, AssumeEnv, load_policy, print_findings
from holdshort.cli.policy.knowledge import StateDir, find_out

if TYPE_CHECKING:
    from holdshort.config import Config
    from holdshort.policy import Caller, Policy
    from holdshort.policy.loosening import Loosening, Reason

__all__ = ["diff"]

_MOST_SHOWN: Final = 20


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A holdshort.yaml, or a single policy file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The same after the change.")],
    every: Annotated[
        bool, typer.Option("--all", help=f"Print everything, not the first {_MOST_SHOWN} of each.")
    ] = False,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
    state_dir: StateDir = None,
) -> None:
    """Compare two policies over every call there could be: what NEW loosens, and what it tightens.

    Each line has the rule before, what it did, what happens now, and a call that shows it. A change that cannot be
    shown to be as strict counts as one that loosens. Between two holdshort.yaml, people who may decide now and could
    not before count too. Nothing is started and nothing is sent.

    Exit code 0: NEW is at least as strict as OLD. 1: it permits more, or a file has problems. 2: there is no such file.

    \b
    Examples:
      holdshort policy diff policies/team.yaml team.new.yaml
      git show HEAD:team.yaml > /tmp/team.yaml && holdshort policy diff /tmp/team.yaml team.yaml
      holdshort policy diff live/holdshort.yaml holdshort.yaml --assume-env --json | jq .loosens
    """
    from holdshort.config import ConfigErrors, acknowledged, acknowledgement, surroundings
    from holdshort.config.deciders import more_deciders
    from holdshort.policy.loosening import Surroundings, loosenings

    try:
        before, _, old_config = load_policy(old, assume_env=assume_env)
        after, _, new_config = load_policy(new, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    around = surroundings(old_config, new_config) if old_config and new_config else Surroundings()
    known = find_out(new_config, live=False, state_dir=state_dir)
    tools = [(server, name) for server, named in known.tools.items() for name in named]
    agents = _agents(new_config)
    looser = loosenings(before, after, tools=tools, agents=agents, surroundings=around)
    tighter = [
        found.turned()
        for found in loosenings(after, before, tools=tools, agents=agents, surroundings=around.turned())
        if found.aspect != "unproven"
    ]
    more = more_deciders(old_config, new_config) if old_config and new_config else ()
    if old_config and new_config:
        tighter += [found.turned() for found in more_deciders(new_config, old_config)]
    said = new_config is not None and acknowledged(new_config, before.digest)
    line = acknowledgement(before.digest)
    if as_json:
        print(json.dumps(_as_json(before, after, (*looser, *more), tighter, said, line), ensure_ascii=False, indent=2))
    else:
        same = before.digest == after.digest
        _print((*looser, *more), tighter, line if looser and not said else None, every=every, same=same)
        if more:
            print("who may decide is read at a start: a proxy that runs does not take it up, a restart does")
    if looser or more:
        raise typer.Exit(1)


def _agents(config: "Config | None") -> list["Caller"]:
    from holdshort.policy import Caller

    return [Caller(agent.name, agent.groups) for agent in config.agents] if config is not None else []


def _print(
    looser: Sequence["Loosening"], tighter: Sequence["Loosening"], line: str | None, *, every: bool, same: bool
) -> None:
    for title, found in (("loosens", looser), ("tightens", tighter)):
        if not found:
            continue
        print(f"{title}:")
        shown = found if every else found[:_MOST_SHOWN]
        for one in shown:
            print(f"  {one}")
        if len(found) > len(shown):
            print(f"  and {len(found) - len(shown)} more; --all prints them")
    if not looser and not tighter:
        print("unchanged" if same else "no call is judged otherwise")
    elif line is not None:
        print(f"to take it up while a proxy runs with the old policy, add {line}")


def _as_json(
    before: "Policy",
    after: "Policy",
    looser: Sequence["Loosening"],
    tighter: Sequence["Loosening"],
    said: bool,
    line: str,
) -> dict[str, Any]:
    return {
        "as_strict": not looser,
        "loosens": [_finding(one) for one in looser],
        "tightens": [_finding(one) for one in tighter],
        "acknowledged": said,
        "acknowledgement": line,
        "old_digest": before.digest,
        "new_digest": after.digest,
    }


def _finding(found: "Loosening") -> dict[str, Any]:
    witness = found.witness
    return {
        "aspect": found.aspect,
        "was": found.was,
        "now": found.now,
        "old_rules": [_reason(one) for one in found.old],
        "new_rules": [_reason(one) for one in found.new],
        "example": None if witness is None else _example(witness.call),
        "message": str(found),
    }


def _reason(reason: "Reason") -> dict[str, Any]:
    return {
        "layer": reason.layer,
        "rule": reason.rule,
        "place": str(reason.place) if reason.place is not None else None,
    }


def _example(call: Any) -> dict[str, Any]:
    from holdshort.policy import Access

    about: dict[str, Any]
    if isinstance(call, Access):
        about = {"kind": call.kind, "server": call.server, "name": call.name}
    else:
        facts = ("read_only", "destructive", "idempotent", "open_world", "pinned")
        about = {"kind": "tool", "server": call.tool.server, "name": call.tool.name}
        about |= {name: getattr(call.tool, name) for name in facts}
    caller = call.caller
    return {**about, "arguments": dict(call.arguments), "agent": caller.agent, "groups": sorted(caller.groups)}
