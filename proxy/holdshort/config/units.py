"""Text to numbers with units: durations, sizes, addresses. None means that the text is none of them."""

import ipaddress
import re
from typing import Final

from holdshort.config.model import DEFAULT_LISTEN, Listen

__all__ = ["parse_bytes", "parse_listen", "parse_seconds"]

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION: Final = re.compile(r"(?:\d{1,12}(?:\.\d{1,6})?(?:ms|[smhdw]))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{1,6})?")
_BYTES: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE: Final = re.compile(r"(\d{1,12})\s*([a-z]*)", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})")


def parse_seconds(text: str, *, bare: bool = True) -> float | None:
    """Read `500ms`, `30m`, `24h`, `7d` or `1h30m` as seconds; a bare number is seconds too, where `bare` says so."""
    if bare and _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_bytes(text: str) -> int | None:
    """Read `4MiB`, `64 KiB`, `10MB` or a bare number of bytes."""
    found = _SIZE.fullmatch(text)
    factor = _BYTES.get(found.group(2).lower()) if found else None
    return int(found.group(1)) * factor if found and factor else None


def parse_listen(text: str) -> Listen | None:
    """Read `host:port`, `[v6]:port`, `:port`, a bare port or a bare host (with the default port)."""
    host, separator, port_text = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        host, port_text = text, str(DEFAULT_LISTEN.port)
    elif not separator:
        host, port_text = ("", text) if text.isdigit() else (text, str(DEFAULT_LISTEN.port))
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host or DEFAULT_LISTEN.host
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        return None
    if bracketed:
        try:
            return Listen(str(ipaddress.IPv6Address(host)), int(port_text))
        except ValueError:
            return None
    host = "0.0.0.0" if host == "*" else host  # noqa: S104 - said by the user; without agents it is refused later
    return Listen(host, int(port_text)) if _HOST.fullmatch(host) else None
