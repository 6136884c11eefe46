"""Running the event loop for a command."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from holdshort.config import Config, Listen
from holdshort.errors import ConfigError, HoldshortError

__all__ = ["BadListen", "run_async", "with_listen"]


class BadListen(ConfigError):
    """Raised when `--listen` is no address, or one that needs more configuration."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"`--listen {text}`: {reason}")


def run_async(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` on uvloop where there is one. An error of ours comes out as itself, not wrapped in a group.

    Raises:
        HoldshortError: the first that `main` raised.
    """
    try:
        anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})
    except BaseExceptionGroup as group:
        ours = group.subgroup(HoldshortError)
        if ours is None:
            raise
        raise _first(ours) from group
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def with_listen(config: Config, text: str) -> Config:
    """Return `config` listening on `text` (HOST:PORT) instead.

    Raises:
        BadListen: it is no address, or opens to other machines without agents to tell apart.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not host or int(port) > 65_535:
        raise BadListen(text, "expected HOST:PORT, such as 127.0.0.1:7411")
    listen = Listen(host.strip("[]"), int(port))
    if not listen.loopback and not config.agents:
        raise BadListen(text, "listening beyond this machine needs `agents:` with tokens in the configuration")
    return replace(config, listen=listen)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
