"""Listening sockets, bound by us so that an address that is taken is said before anything starts."""

import socket

from holdshort.config import Listen
from holdshort.errors import ConfigError

__all__ = ["CannotListen", "bind"]


class CannotListen(ConfigError):
    """Raised when an address cannot be listened on."""

    def __init__(self, listen: Listen, reason: str) -> None:
        super().__init__(f"cannot listen on {listen}: {reason}; choose another with `--listen` or end what uses it")


def bind(listen: Listen) -> socket.socket:
    """Return a listening socket.

    Raises:
        CannotListen: the address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen.host, listen.port))
        made.listen(2048)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise CannotListen(listen, (error.strerror or str(error)).lower()) from error
    return made
