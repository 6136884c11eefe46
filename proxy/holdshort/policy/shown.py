"""Values as a person can read them: one line, not too long, and with nothing in it that cannot be seen."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from holdshort.policy.cel.values import Unknown

__all__ = ["MOST_CHARS", "escaped", "shown"]

MOST_CHARS: Final = 120
"""How much of one value is shown; the rest is counted."""


def shown(value: Any, most: int = MOST_CHARS) -> str:
    """Return a JSON value (or a time, or a set of words) as one short line."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    try:
        text = escaped(json.dumps(_plain(value), ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text)} characters)"


def escaped(text: str) -> str:
    """Return `text` with every character that cannot be seen, or turns others around, as an escape."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _plain(value: Any) -> Any:
    if isinstance(value, Unknown):
        return "(not recorded)"
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        return [_plain(each) for each in value]
    return value
