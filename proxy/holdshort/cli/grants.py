"""`holdshort grants`: what is approved in advance, at the running proxy's own endpoint. Grants are made by `approvals
approve --remember`; here they are looked at and ended."""

from typing import Annotated, Any

import typer

from holdshort.cli.asking import (
    AsJson,
    StateDir,
    TokenFile,
    Url,
    find_one,
    now,
    print_json,
    print_table,
    reach,
    reported,
    say,
)

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See and revoke what is approved in advance.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The grant's id, or the beginning or end of it.")]


@app.command("list")
def list_grants(
    state: Annotated[
        str, typer.Option(help="`active`, `expired`, `used_up`, `revoked`, with commas; `all` for every one.")
    ] = "active",
    agent: Annotated[str | None, typer.Option(help="Only for calls of this agent.")] = None,
    server: Annotated[str | None, typer.Option(help="Only for tools of this server.")] = None,
    tool: Annotated[str | None, typer.Option(help="Only for this tool.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many, newest first.")] = 50,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List standing grants.

    \b
    Examples:
      holdshort grants list
      holdshort grants list --state all --agent ci-bot --json
    """
    from holdshort.cli.grant_cards import grants_table

    with reported():
        query: dict[str, Any] = {"state": None if state == "all" else state, "agent": agent, "server": server}
        found = reach(url, state_dir, token_file).ask("GET", "/v1/grants", tool=tool, limit=limit, **query)
        if as_json:
            print_json(found)
        elif found["grants"]:
            print_table(grants_table(found["grants"], now()))
        else:
            say("no grant stands" if state == "active" else "no such grant")


@app.command()
def show(
    grant_id: Id,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one grant: what it covers, who made it, and how often it was used.

    \b
    Examples:
      holdshort grants show g-01a1fd0c
    """
    from holdshort.cli.grant_cards import grant_card

    with reported():
        grant = find_one(reach(url, state_dir, token_file), "grants", "grant", grant_id)
        print_json(grant) if as_json else print(grant_card(grant))


@app.command()
def revoke(
    grant_id: Id,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be revoked, and change nothing.")] = False,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """End a grant. Calls that it let through are not undone; the next one is asked about.

    \b
    Exit code 0: it is revoked. 1: there is no such grant.

    \b
    Examples:
      holdshort grants revoke g-01a1fd0c
      holdshort grants revoke g-01a1fd0c --dry-run
    """
    from holdshort.cli.grant_cards import grant_card

    with reported():
        connection = reach(url, state_dir, token_file)
        grant = find_one(connection, "grants", "grant", grant_id)
        say(grant_card(grant))
        if not dry_run:
            grant = connection.ask("POST", f"/v1/grants/{grant['id']}/revoke", {})
        if as_json:
            print_json(grant)
        else:
            say(f"{'would be revoked' if dry_run else grant['state']}: {grant['id']}")


@app.command()
def propose(
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what could be granted: the narrowest grants that would have answered for calls approved one by one.

    Nothing is granted. A grant is made when the next such call is approved with `--remember`.

    \b
    Examples:
      holdshort grants propose
      holdshort grants propose --json
    """
    from holdshort.cli.grant_cards import proposal_card

    with reported():
        found = reach(url, state_dir, token_file).ask("GET", "/v1/grants/proposals")
        if as_json:
            print_json(found)
        elif found["proposals"]:
            print("\n\n".join(proposal_card(proposal) for proposal in found["proposals"]))
        else:
            say("nothing was approved often enough in the same shape to propose a grant")
