"""Plain JSON and nothing else: text that two readers could read in two ways is refused, with the place it is at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from holdshort.runner.errors import StateDamaged

__all__ = ["MAX_DEPTH", "checked", "parse", "pointer"]

MAX_DEPTH: Final = 256
"""Levels of nesting in a saved state: 32 runs inside each other, with arguments of 64 levels, and room."""
_MAX_BYTES: Final = 256 * 1024 * 1024
_MAX_BITS: Final = 14_000
"""CPython writes integers of up to 4300 digits, which all numbers of so many bits have fewer than."""


class _Twice:
    """An object that has a key twice."""

    def __init__(self, key: str) -> None:
        self.key = key


class _NoNumber:
    """`NaN` and infinities, which JSON does not have, and what a double cannot hold."""

    def __init__(self, word: str) -> None:
        self.word = word[:40]


def pointer(path: Iterable[str | int]) -> str:
    """Return a JSON pointer (RFC 6901); `/` for the whole."""
    return "".join(f"/{_escaped(each)}" for each in path) or "/"


def parse(text: str | bytes) -> Any:
    """Return the value that a text means. `checked` refuses in it what is ambiguous, and names the place.

    Raises:
        StateDamaged: it is not JSON.
    """
    if len(text) > _MAX_BYTES:
        raise StateDamaged(f"the saved state is larger than {_MAX_BYTES // 2**20} MiB")
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=_object, parse_constant=_NoNumber, parse_float=_float)
    except UnicodeDecodeError as error:
        raise StateDamaged(f"the saved state is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise StateDamaged(
            f"the saved state is not JSON: {error.msg.lower()} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise StateDamaged(f"the saved state is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise StateDamaged("the saved state has an integer of more digits than can be kept") from None


def checked(value: Any, at: str = "", depth: int = 0) -> Any:
    """Return a copy of a value that is plain JSON through and through, which shares nothing with it.

    Raises:
        StateDamaged: something in it is not JSON (or has no exact JSON form), at the place that the message names.
    """
    kind = type(value)
    if kind is str:
        _check_text(value, at)
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if value.bit_length() > _MAX_BITS:
            raise _damaged(at, "is an integer of more digits than can be kept")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise _damaged(at, f"is `{value}`, which is not JSON")
        return value
    if depth >= MAX_DEPTH:
        raise _damaged(at, f"is nested deeper than {MAX_DEPTH} levels")
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise _damaged(at, f"has the key `{key!r:.40}`, which is no text")
            _check_text(key, at)
        return {key: checked(item, f"{at}/{_escaped(key)}", depth + 1) for key, item in value.items()}
    if kind is list:
        return [checked(item, f"{at}/{index}", depth + 1) for index, item in enumerate(value)]
    if kind is _Twice:
        raise _damaged(at, f"has the key `{value.key[:80]}` twice")
    if kind is _NoNumber:
        raise _damaged(at, f"is `{value.word}`, which is no number that can be kept")
    raise _damaged(at, f"is of type `{kind.__name__}`, which is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    return _Twice(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]


def _float(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else _NoNumber(text)


def _check_text(text: str, at: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _damaged(at, "has a lone surrogate, which is no character") from None


def _escaped(part: str | int) -> str:
    # A lone half of a character in a key could not be printed in a message.
    return str(part).replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()


def _damaged(at: str, what: str) -> StateDamaged:
    return StateDamaged(f"the state at `{at or '/'}` {what}")
