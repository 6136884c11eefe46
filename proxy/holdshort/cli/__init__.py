"""The command line: turns words into calls. Messages go to standard error; standard output belongs to data."""

import sys
from typing import Annotated

import typer

from holdshort import __version__
from holdshort.cli import approvals, grants, log, policy
from holdshort.cli.demo import demo_command
from holdshort.cli.init import InitCommand, init_command
from holdshort.cli.schema import schema_command
from holdshort.cli.serve import serve_command
from holdshort.cli.wrap import wrap_command
from holdshort.errors import HoldshortError

__all__ = ["app", "main"]

app = typer.Typer(
    name="holdshort",
    help="An MCP proxy that enforces approval policy: calls that need a person wait for one, and run once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo_command)
app.command("init", cls=InitCommand)(init_command)
app.command("schema")(schema_command)
app.command("serve")(serve_command)
app.command("wrap", context_settings={"allow_interspersed_args": False})(wrap_command)
app.add_typer(approvals.app, name="approvals", help="See and decide the calls that wait for a person.")
app.add_typer(grants.app, name="grants", help="See and revoke what is approved in advance.")
app.add_typer(policy.app, name="policy", help="Check policy files and explain verdicts.")
app.add_typer(log.app, name="log", help="Read, verify and export the decision log.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"holdshort {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the `holdshort` command. Exit codes: 0 fine, 1 a finding, 2 usage or configuration."""
    try:
        app()
    except HoldshortError as error:
        print(f"holdshort: {error}", file=sys.stderr)
        raise SystemExit(2) from None
