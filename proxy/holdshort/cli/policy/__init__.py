"""`holdshort policy`: questions about a policy, answered before it bites."""

import typer

from holdshort.cli.policy.cases import run_tests
from holdshort.cli.policy.check import check
from holdshort.cli.policy.diff import diff
from holdshort.cli.policy.explain import explain
from holdshort.cli.policy.lint import lint
from holdshort.cli.policy.packs import packs
from holdshort.cli.policy.pin import app as pin_app
from holdshort.cli.policy.replay import replay

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Check policy files, and ask what they say about a call. Nothing is started and nothing is sent.",
)
app.command()(check)
app.command()(explain)
app.command()(diff)
app.command()(packs)
app.command("test")(run_tests)
app.add_typer(pin_app, name="pin")
app.command()(lint)
app.command()(replay)
