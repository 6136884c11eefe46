"""FastMCP's proxy as its documentation starts it; runs in a virtual environment of its own, where FastMCP is.

    python fastmcp_proxy.py (--http PORT | --stdio) (--url URL | --command CMD ARG...) [--one-client]

`--one-client` connects once and shares the session; without it FastMCP makes a backend session per request.
"""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import argparse
import asyncio
import contextlib

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy

__all__ = ["main"]


async def _run(options: argparse.Namespace) -> None:
    target = options.url or StdioTransport(options.command[0], options.command[1:])
    async with contextlib.AsyncExitStack() as stack:
        if options.one_client:
            target = await stack.enter_async_context(Client(target))
        proxy = create_proxy(target)
        if options.stdio:
            await proxy.run_async("stdio", show_banner=False, log_level="WARNING")
        else:
            await proxy.run_async(
                "http", host="127.0.0.1", port=options.http, json_response=True, show_banner=False, log_level="WARNING"
            )


def main() -> None:
    """Run the proxy until its standard input ends or it is told to stop."""
    parser = argparse.ArgumentParser(description="FastMCP's own proxy")
    front = parser.add_mutually_exclusive_group(required=True)
    front.add_argument("--http", type=int, metavar="PORT")
    front.add_argument("--stdio", action="store_true")
    parser.add_argument("--one-client", action="store_true")
    back = parser.add_mutually_exclusive_group(required=True)
    back.add_argument("--url")
    back.add_argument("--command", nargs=argparse.REMAINDER)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
