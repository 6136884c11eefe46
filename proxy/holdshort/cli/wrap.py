"""`holdshort wrap -- COMMAND`: put one server behind policy, in the place of its own command."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["wrap_command"]


def wrap_command(
    command: Annotated[list[str], typer.Argument(help="The server's own command, after `--`.", metavar="-- COMMAND…")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A holdshort.yaml with policy.", dir_okay=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What policy calls this server; made from the command if not given.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Ask about every tool, also those declared read-only.")
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", help="Where parked calls and the decision log are kept.", file_okay=False),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on standard error.")] = False,
) -> None:
    """Run one local server behind policy: replace its command in a client's mcp.json by this one.

    Without a file, tools that their server declares read-only run, and everything else waits for a person. All wraps
    of a user share one review page; `holdshort approvals login` opens it. A file is watched: changed policy counts a
    second later, or at once on SIGHUP.

    Examples:

        holdshort wrap -- npx -y @modelcontextprotocol/server-filesystem ~/notes

        holdshort wrap --strict --name notes -- uvx mcp-server-git --repository .

        holdshort wrap -c holdshort.yaml --name files -- npx -y @modelcontextprotocol/server-filesystem /data
    """
    import logging
    import os
    import sys

    from holdshort.cli.running import run_async
    from holdshort.config import Config, wrap_config
    from holdshort.server.logs import make_log
    from holdshort.server.naming import label_of
    from holdshort.server.wrap import wrap
    from holdshort.store.folder import choose_folder

    label = name if name is not None else label_of(command)

    def read(running: Config | None = None) -> Config:
        return wrap_config(command, label=label, strict=strict, path=config, environ=os.environ, running=running)

    loaded = read()
    for note in loaded.notes:
        print(f"holdshort: note: {note}", file=sys.stderr)
    folder = choose_folder(state_dir or loaded.state_dir, os.environ)
    log = make_log(level=logging.DEBUG if verbose else logging.WARNING)
    run_async(lambda: wrap(loaded, label, folder, log, again=read if config is not None else None))
