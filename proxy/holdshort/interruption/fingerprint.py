"""What is approved is a fingerprint: two calls have one fingerprint only when they are the same call.

SHA-256 over the RFC 8785 form. RFC 8785 numbers are doubles, so integers beyond 2^53 have no form there; ours keep
every digit: such an integer is canonicalised as a marker that occurs nowhere in the value, then its digits go back.
"""

import hashlib
import re
from typing import Any, Final

import rfc8785

from holdshort.errors import HoldshortError
from holdshort.interruption.model import Json

__all__ = ["NoFingerprint", "canonical", "definition_digest", "fingerprint"]

_EXACT: Final = 2**53 - 1


class NoFingerprint(HoldshortError):
    """Raised when a value has no canonical form (a lone surrogate, NaN, an infinity, a key that is no string)."""

    code = "malformed"

    def __init__(self, problem: object) -> None:
        super().__init__(f"the call has no canonical form: {problem}")


def fingerprint(server: str, tool: str, arguments: dict[str, Json]) -> str:
    """Return the SHA-256, in hex, of the call's canonical form.

    Raises:
        NoFingerprint: the arguments are not JSON that can be written in exactly one way.
    """
    return _digest({"arguments": arguments, "server": server, "tool": tool})


def definition_digest(definition: dict[str, Json]) -> str:
    """Return the SHA-256, in hex, of a tool definition's canonical form."""
    return _digest(definition)


def canonical(value: Json) -> bytes:
    """Return the RFC 8785 form of `value`, with integers of any size in full.

    Raises:
        NoFingerprint: there is no such form.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return _with_long_integers(value)
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise NoFingerprint(error) from None


def _digest(value: Json) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def _with_long_integers(value: Json) -> bytes:
    # The marker is a digest of the value itself: short, and no peer can write a value that contains its own digest.
    texts: list[str] = []
    try:
        _collect(value, texts)
        marker = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        while any(marker in text for text in texts):
            marker = hashlib.sha256(marker.encode()).hexdigest()
        digits: list[str] = []
        form = rfc8785.dumps(_marked(value, marker, digits))
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise NoFingerprint(error) from None
    return re.sub(rf'"{marker}:(\d+)"'.encode(), lambda found: digits[int(found[1])].encode(), form)


def _collect(value: Json, texts: list[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            texts.append(str(key))
            _collect(item, texts)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, texts)


def _marked(value: Json, marker: str, digits: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _marked(item, marker, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, marker, digits) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        digits.append(str(value))
        return f"{marker}:{len(digits) - 1}"
    return value
