"""Globs match the two halves of a tool's key, never the joined text: no glob reaches across a server's border.

A pattern is `server__tool`, cut at its first `__` (a server's label has no `__` and does not end in `_`, so there is
one reading). `*` is any run of characters, `?` is one. `mcp__server__tool`, as some clients show tools, means
`server__tool`; `mcp__server` means all tools of that server; `*` alone is every tool of every server.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from holdshort.errors import HoldshortError

__all__ = ["BadPattern", "NamePattern", "ToolPattern", "matcher", "parse_name_pattern", "parse_tool_pattern"]

_SEPARATOR: Final = "__"
_CLIENT_PREFIX: Final = "mcp__"
_MAX_CHARS: Final = 256
_FOREIGN: Final = re.compile(r"[\[\]{}()!|,;\\\s\x00-\x1f\x7f]")


class BadPattern(HoldshortError):
    """Raised when a glob has no clear meaning; the message says what to write instead."""

    code = "bad_pattern"

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"bad glob `{pattern[:80]}`: {reason}")
        self.pattern = pattern


@dataclass(frozen=True)
class NamePattern:
    """A glob over one name (an agent or a group)."""

    text: str

    @property
    def is_glob(self) -> bool:
        """True when this can match more than one name."""
        return _is_glob(self.text)

    @cached_property
    def matches(self) -> Callable[[str], bool]:
        """The test for one name, case-sensitive."""
        return matcher(self.text)


@dataclass(frozen=True)
class ToolPattern:
    """A glob over (server, tool). `text` is what the user wrote, for people to read."""

    server: str
    tool: str
    text: str = field(default="", compare=False)
    literal: bool = False
    """True when both halves are plain names, in which `*` and `?` mean themselves."""

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", f"{self.server}{_SEPARATOR}{self.tool}")

    @cached_property
    def matches_server(self) -> Callable[[str], bool]:
        """The test for a server's label, case-sensitive."""
        return self.server.__eq__ if self.literal else matcher(self.server)

    @cached_property
    def matches_tool(self) -> Callable[[str], bool]:
        """The test for a tool's own name, case-sensitive."""
        return self.tool.__eq__ if self.literal else matcher(self.tool)

    @property
    def plain_server(self) -> str | None:
        """The one server this pattern can match, or None when it is a glob over servers."""
        return self.server if self.literal or not _is_glob(self.server) else None


def parse_tool_pattern(text: str) -> ToolPattern:
    """Read a rule's glob.

    Raises:
        BadPattern: empty, too long, in another glob dialect, or without a server half.
    """
    _check_characters(text)
    if text == "*":
        return ToolPattern("*", "*", text)
    rest = text
    if text.startswith(_CLIENT_PREFIX):
        rest = text.removeprefix(_CLIENT_PREFIX) or text
        if rest is not text and _SEPARATOR not in rest:
            return ToolPattern(rest, "*", text)
    server, separator, tool = rest.partition(_SEPARATOR)
    if not separator:
        tool, server = text.strip("_") or "name", text.strip("_*?") or "name"
        raise BadPattern(
            text,
            f"it names no server; write `*__{tool}` for that tool on every server, or `{server}__*` for every tool of "
            f"that server",
        )
    if not server or not tool:
        raise BadPattern(text, "both sides of `__` need a name or a `*`, as in `github__*`")
    return ToolPattern(server, tool, text)


def parse_name_pattern(text: str) -> NamePattern:
    """Read a glob over agent names.

    Raises:
        BadPattern: empty, too long or in another glob dialect.
    """
    _check_characters(text)
    return NamePattern(text)


def _check_characters(text: str) -> None:
    if not text:
        raise BadPattern(text, "it is empty; `*` alone matches everything")
    if len(text) > _MAX_CHARS:
        raise BadPattern(text, f"it has {len(text)} characters; at most {_MAX_CHARS} are read")
    foreign = _FOREIGN.search(text)
    if foreign is not None:
        shown = f"`{foreign.group()}`" if foreign.group().isprintable() and foreign.group() != " " else "white space"
        raise BadPattern(text, f"{shown} has no meaning here; globs know `*` and `?`, and a list may hold several")


def _is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def matcher(glob: str) -> Callable[[str], bool]:
    """Return the test of a name against `glob`: the whole name, linear in its length."""
    if not _is_glob(glob):
        return glob.__eq__
    if set(glob) == {"*"}:
        return _anything
    # Each run up to the next literal piece is atomic, so a glob of many stars stays linear on a hostile tool name.
    pieces = ["".join("." if char == "?" else re.escape(char) for char in piece) for piece in re.split(r"\*+", glob)]
    middle = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1])
    tail = f".*{pieces[-1]}" if len(pieces) > 1 else ""
    regex = re.compile(f"{pieces[0]}{middle}{tail}", re.DOTALL)
    return lambda name: regex.fullmatch(name) is not None


def _anything(name: str) -> bool:
    del name
    return True
