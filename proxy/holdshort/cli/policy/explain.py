"""`holdshort policy explain`: what the policy says about one call, and why, without any server running."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdshort.cli.policy.common import (
    DEFAULT_FILE,
    AsJson,
    AssumeEnv,
    ConfigFile,
    counted,
    find_caller,
    load_policy,
    parse_arguments,
    print_findings,
    trusts_annotations,
    utc_now,
)

if TYPE_CHECKING:
    from holdshort.policy import Explanation

__all__ = ["explain"]


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

    given = parse_arguments(arguments)
    try:
        policy, _, loaded = load_policy(config, assume_env=assume_env)
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    caller = find_caller(loaded, agent)
    trusted = trusts_annotations(loaded, server)
    facts = ToolFacts(server, tool, read_only=read_only and trusted, destructive=not (read_only and trusted))
    told = explain_call(policy, Call(facts, given, caller, utc_now()))
    if as_json:
        print(json.dumps(_as_json(told, server, tool, caller.agent, policy.digest), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_as_text(told, server, tool, caller.agent)))


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
            f"terms: {counted(terms.required_approvals, 'approval')} by {who}; {', '.join(sorted(terms.decisions))}; "
            f"expires after {terms.expires_after}; runs when {terms.execute.replace('_', ' ')}"
        )
    lines.extend(f"error: {error}" for error in verdict.errors)
    return lines
