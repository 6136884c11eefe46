"""URIs to try where globs over resources are compared: the odd spellings in which one may match what it should not."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

__all__ = ["odd_spellings"]

_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:(?://[^/?#]*)?)([^?#]*)(.*)", re.DOTALL)
_MOST_PLAIN: Final = 60
_MOST: Final = 3_000


def odd_spellings(plain: Sequence[str]) -> Iterator[str]:
    """Yield other spellings of the URIs in `plain`, and such as have readings in two of them."""
    yield from islice(_all(plain[:_MOST_PLAIN]), _MOST)


def _all(plain: Sequence[str]) -> Iterator[str]:
    for uri in plain:
        yield from _of_one(uri)
    for uri in plain:
        for other in plain:
            if uri != other:
                yield from _of_two(uri, other)


def _of_one(uri: str) -> Iterator[str]:
    yield uri[:-1] + _encoded(uri[-1])
    yield f"{uri}?x"
    yield f"{uri}#x"
    yield f"{uri}/"
    yield uri.upper()
    found = _PARTS.fullmatch(uri)
    if found is None:
        return
    start, path, tail = found.groups()
    yield f"{start.upper()}{path}{tail}"
    yield f"{start}{path.upper()}{tail}"
    yield f"{start}/.{path}{tail}"
    yield f"{start}{''.join(char if char == '/' else _encoded(char) for char in path)}{tail}"
    yield f"{start}{path};x{tail}"


def _of_two(uri: str, other: str) -> Iterator[str]:
    """Yield URIs that are `uri` for who takes them as they are, and `other` for who decodes, resolves or cuts."""
    one, two = _PARTS.fullmatch(uri), _PARTS.fullmatch(other)
    if one is None or two is None or one.group(1).lower() != two.group(1).lower():
        return
    start, path, tail = one.groups()
    steps = path.count("/") + 1
    yield f"{start}{path}{'/..' * steps}{two.group(2)}{two.group(3)}"
    yield f"{start}{path}{'%2f%2e%2e' * steps}{two.group(2)}{two.group(3)}"
    yield f"{start}{path}?{'/..' * steps}{two.group(2)}"
    yield f"{start}{path}%3f{tail}{'/..' * steps}{two.group(2)}"


def _encoded(char: str) -> str:
    return "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "replace"))
