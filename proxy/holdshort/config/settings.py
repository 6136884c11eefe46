"""The small sections of a configuration: where to listen, how long to hold, how much is too much."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from holdshort.config.document import Entry, Value
from holdshort.config.model import DEFAULT_LISTEN, HoldConfig, LimitsConfig, Listen
from holdshort.config.reading import Reading
from holdshort.config.units import parse_listen

__all__ = [
    "APPROVALS_KEYS",
    "HOLD_KEYS",
    "LIMIT_KEYS",
    "read_folder",
    "read_hold",
    "read_limits",
    "read_listen",
    "read_names",
    "read_public_url",
    "read_switch",
]

APPROVALS_KEYS: Final = ("listen", "public_url")
HOLD_KEYS: Final = ("default", "clients")
LIMIT_KEYS: Final = tuple(limit.name for limit in fields(LimitsConfig))

_LONGEST_HOLD: Final = 3600.0
_DEEPEST: Final = 512


def read_listen(reading: Reading, entry: Entry | None, what: str = "listen") -> Listen | None:
    """Read an address such as `127.0.0.1:7411`."""
    if entry is None:
        return None
    text = reading.text(entry.value, what, numbers=True)
    if text is None:
        return None
    listen = parse_listen(text.strip())
    if listen is None:
        message = f"{what}: `{entry.value.raw[:80]}` is no address; write `host:port`, as in `{DEFAULT_LISTEN}`"
        reading.problem(entry.value.place, message)
    return listen


def read_public_url(reading: Reading, entry: Entry | None) -> str | None:
    """Read the base of review links, without its trailing slash."""
    if entry is None:
        return None
    url = reading.text(entry.value, "public_url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
        usable = usable and parts.username is None and parts.port != 0 and not any(char.isspace() for char in url)
    except ValueError:
        usable = False
    if not usable:
        reading.problem(entry.value.place, "public_url: expected `https://host` or `https://host/path`, nothing more")
        return None
    return url.rstrip("/")


def read_hold(reading: Reading, entry: Entry | None) -> HoldConfig:
    """Read `hold`: one duration, or a default and durations by client."""
    if entry is None:
        return HoldConfig()
    value = entry.value
    if value.kind != "map":
        return HoldConfig(_hold(reading, value, "hold"))
    found = reading.section(value, "hold", HOLD_KEYS) or {}
    default = _hold(reading, found["default"].value, "hold default") if "default" in found else None
    clients: dict[str, float] = {}
    if "clients" in found:
        if found["clients"].value.kind != "map":
            got = found["clients"].value.described
            reading.problem(found["clients"].value.place, f"hold clients: expected a map of client names, got {got}")
        for client in found["clients"].value.entries:
            if not client.key:
                reading.problem(client.place, "hold clients: the client's name is empty; `*` is every client")
            seconds = _hold(reading, client.value, f"hold for `{client.key[:80]}`")
            if seconds is not None:
                clients[client.key] = seconds
    return HoldConfig(default, clients)


def _hold(reading: Reading, value: Value, what: str) -> float | None:
    seconds = reading.seconds(value, what, zero=True)
    if seconds is not None and seconds > _LONGEST_HOLD:
        reading.problem(
            value.place, f"{what}: a request is held open for an hour at most; a parked call waits without it"
        )
        return None
    return seconds


def read_switch(reading: Reading, entry: Entry | None) -> bool:
    """Read a switch that is off by default."""
    if entry is None:
        return False
    return reading.flag(entry.value, entry.key) is True


def read_limits(reading: Reading, entry: Entry | None) -> LimitsConfig:
    """Read `limits`; what is not said keeps its default."""
    if entry is None:
        return LimitsConfig()
    found = reading.section(entry.value, "limits", LIMIT_KEYS) or {}
    given: dict[str, Any] = {}
    for key, item in found.items():
        read: Callable[[Value, str], float | int | None]
        is_time = LimitsConfig.__annotations__[key] is float
        read = reading.seconds if is_time else reading.size if key.endswith("_bytes") else reading.count
        number = read(item.value, key)
        if key == "json_depth" and number is not None and number > _DEEPEST:
            reading.problem(item.value.place, f"json_depth: at most {_DEEPEST} levels can be read")
        elif number is not None:
            given[key] = number
    return LimitsConfig(**given)


def read_names(reading: Reading, entry: Entry | None, *, origins: bool = False) -> tuple[str, ...]:
    """Read `allowed_hosts` or `allowed_origins`."""
    if entry is None:
        return ()
    names: list[str] = []
    for value, text in reading.texts(entry.value, entry.key):
        if origins and not _is_origin(text):
            reading.problem(value.place, f"{entry.key}: expected an origin, as in `https://review.example:8443`")
        elif not origins and ("/" in text or "@" in text or any(char.isspace() for char in text) or not text):
            reading.problem(
                value.place, f"{entry.key}: expected a host, as in `review.example` or `review.example:8443`"
            )
        else:
            names.append(text.lower())
    return tuple(names)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and text.lower() == f"{parts.scheme}://{parts.netloc}".lower() and parts.username is None


def read_folder(reading: Reading, entry: Entry | None, base: Path, environ: Mapping[str, str]) -> Path | None:
    """Read a folder; a relative one is taken from `base`, and `~` is the home folder."""
    if entry is None:
        return None
    text = reading.text(entry.value, entry.key)
    if text is None:
        return None
    if text == "~" or text.startswith("~/"):
        home = environ.get("HOME")
        if not home:
            reading.problem(entry.value.place, f"{entry.key}: `~` needs the environment variable `HOME`")
            return None
        return Path(home) / text[2:]
    if not text or "\0" in text:
        reading.problem(entry.value.place, f"{entry.key}: expected a folder")
        return None
    return base / text
