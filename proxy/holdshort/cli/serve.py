"""`holdshort serve`: put the servers of a configuration behind policy."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve_command"]


def serve_command(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", dir_okay=False)] = Path(
        "holdshort.yaml"
    ),
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", help="Where parked calls and the decision log are kept.", file_okay=False),
    ] = None,
    listen: Annotated[str | None, typer.Option("--listen", help="Address to listen on, as HOST:PORT.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on standard error.")] = False,
) -> None:
    """Serve every server of a configuration to agents, and the review page to approvers.

    Agents connect to http://HOST:PORT/mcp (all servers) or /mcp/NAME (one of them); approvers open http://HOST:PORT/.

    The files are watched: changed policy counts a second later, without a restart, or at once on SIGHUP. A file with a
    fault changes nothing, and is named on standard error. Other changed keys count at the next start.

    Examples:

        holdshort serve

        holdshort serve --config team/holdshort.yaml --listen 127.0.0.1:8800
    """
    import os

    from holdshort.cli.running import run_async, with_listen
    from holdshort.config import Config, load_config
    from holdshort.server.logs import make_log
    from holdshort.server.serve import serve
    from holdshort.store.folder import choose_folder

    def read(running: Config | None = None) -> Config:
        found = load_config(config, os.environ, running=running)
        return found if listen is None else with_listen(found, listen)

    loaded = read()
    for note in loaded.notes:
        print(f"holdshort: note: {note}", file=sys.stderr)
    folder = choose_folder(state_dir or loaded.state_dir, os.environ)
    log = make_log(verbose=verbose)
    run_async(lambda: serve(loaded, folder, log, say=_say, again=read))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
