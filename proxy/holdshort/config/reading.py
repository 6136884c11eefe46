"""One pass over files that collects every problem: each accessor returns a usable value, or None and a report.

No accessor quotes a value unless it is a word of ours, and never after interpolation: a message shows what the file
says, `${NAME}`, not what the variable holds.
"""

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from holdshort.config.document import Entry, Value, read_document
from holdshort.config.interpolate import BadInterpolation, interpolate
from holdshort.config.model import Problem
from holdshort.config.units import parse_bytes, parse_seconds
from holdshort.policy import Place
from holdshort.policy.words import listed, nearest, unknown

__all__ = ["Reading", "Stamp", "is_filled", "stamp_of"]

_MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one file; what is longer, or has no end, is not read into memory."""
_DO_NOT_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
"""A named pipe is opened only when somebody writes into it."""

Stamp = tuple[int, ...]
"""What a file is on disk: another one after any write, rename over it, or turn of a symbolic link on its path."""


class Reading:
    """What has been found so far, in problems and notes, and the environment that values may refer to."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.loosens: set[str] = set()
        """Digests of policies that the files say they loosen."""
        self.files: dict[Path, Stamp | None] = {}
        """Every file that was looked for, as it was just before it was read; None for one that is not there."""

    def problem(self, place: Place, message: str, rule: str | None = None) -> None:
        """Report an error; reading goes on."""
        self.problems.append(Problem(place, message, rule))

    def note(self, place: Place, message: str, rule: str | None = None) -> None:
        """Report something worth knowing that is no error."""
        self.notes.append(Problem(place, message, rule))

    def document(self, path: Path, file: str) -> Value | None:
        """Read a file whose top is a map; `file` is how places name it."""
        start = Place(file, 1, 1)
        self.look(path)
        try:
            raw = _bytes_of(path)
        except OSError as error:
            self.problem(start, f"the file cannot be read: {(error.strerror or type(error).__name__).lower()}")
            return None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8", "replace")
            line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
            self.problem(Place(file, line, column), "the file is not UTF-8 from here on")
            return None
        value = read_document(text, file, self.problem)
        if value is not None and value.kind != "map":
            self.problem(value.place, f"expected a map of keys at the top of the file, got {value.described}")
            return None
        return value

    def look(self, path: Path) -> None:
        """Note how `path` is on disk now: who waits for changes compares with that."""
        self.files.setdefault(path, stamp_of(path))

    def section(
        self,
        value: Value,
        where: str,
        known: Collection[str],
        *,
        rule: str | None = None,
        ignored: Collection[str] = (),
    ) -> dict[str, Entry] | None:
        """Return the entries of a map by key; a key that is neither known nor `ignored` is reported."""
        if value.kind != "map":
            self.problem(value.place, f"{where}: expected a map, got {value.described}", rule)
            return None
        found: dict[str, Entry] = {}
        for entry in value.entries:
            if entry.key in known:
                found[entry.key] = entry
            elif entry.key not in ignored:
                about = f"{where}: " if rule is None else ""
                self.problem(entry.place, about + unknown("key", entry.key, known), rule)
        return found

    def missing(self, value: Value, key: str, message: str, known: Collection[str], *, rule: str | None = None) -> None:
        """Report that the map `value` lacks `key`, unless it is there misspelt, which is reported already."""
        others = (entry.key for entry in value.entries if entry.key not in known)
        if all(nearest(other, known) != key for other in others):
            self.problem(value.place, message, rule)

    def text(self, value: Value, what: str, *, rule: str | None = None, numbers: bool = False) -> str | None:
        """Return a string, interpolated. With `numbers`, a number or a bool stands for its own text."""
        if value.kind not in ({"string", "number", "bool"} if numbers else {"string"}):
            self.problem(value.place, f"{what}: expected a string, got {value.described}", rule)
            return None
        return self._filled(value, what, rule)

    def word(self, value: Value, what: str, known: Iterable[str], *, rule: str | None = None) -> str | None:
        """Return one of our words."""
        text = self.text(value, what, rule=rule)
        choices = tuple(known)
        if text is None or text in choices:
            return text
        self.problem(value.place, self.unknown(value, what, choices), rule)
        return None

    def unknown(self, value: Value, what: str, known: Iterable[str]) -> str:
        """Return the message about an unknown word; what a variable holds is not shown."""
        choices = tuple(known)
        if not is_filled(value):
            return unknown(what, value.raw, choices)
        return f"{what}: {_shown(value)} does not hold {listed(choices) if choices else 'a known name'}"

    def items(self, value: Value, what: str, *, rule: str | None = None) -> tuple[Value, ...]:
        """Return the items of a list; a single scalar or map stands for a list of one."""
        if value.kind == "list":
            return value.items
        if value.kind == "null":
            self.problem(value.place, f"{what}: expected a list, got nothing", rule)
            return ()
        return (value,)

    def texts(
        self, value: Value, what: str, *, rule: str | None = None, numbers: bool = False
    ) -> list[tuple[Value, str]]:
        """Return the strings of a list (or one string), each with its place."""
        found = [
            (item, self.text(item, what, rule=rule, numbers=numbers)) for item in self.items(value, what, rule=rule)
        ]
        return [(item, text) for item, text in found if text is not None]

    def flag(self, value: Value, what: str) -> bool | None:
        """Return true or false; text counts only where a variable was filled in."""
        text = self._filled(value, what, None) if value.kind == "bool" or is_filled(value) else ""
        if text is None:
            return None
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        got = _shown(value) if value.kind == "string" else value.described
        self.problem(value.place, f"{what}: expected `true` or `false`, got {got}")
        return None

    def seconds(
        self, value: Value, what: str, *, bare: bool = True, zero: bool = False, rule: str | None = None
    ) -> float | None:
        """Return a duration in seconds."""
        text = self._scalar(value, what, "a duration such as `30s`, `30m`, `24h` or `7d`", rule)
        if text is None:
            return None
        seconds = parse_seconds(text.strip(), bare=bare)
        if seconds is None:
            message = f"{what}: {_shown(value)} is no duration; write `30s`, `30m`, `24h` or `7d`"
        elif seconds > 366 * 86400:
            message = f"{what}: {_shown(value)} is longer than a year"
        elif seconds == 0 and not zero:
            message = f"{what}: the duration must be longer than nothing"
        else:
            return seconds
        self.problem(value.place, message, rule)
        return None

    def count(self, value: Value, what: str, *, rule: str | None = None, least: int = 1) -> int | None:
        """Return a whole number."""
        text = self._scalar(value, what, "a whole number", rule)
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least:
            return int(text)
        self.problem(value.place, f"{what}: expected a whole number of at least {least}, got {_shown(value)}", rule)
        return None

    def size(self, value: Value, what: str) -> int | None:
        """Return a number of bytes."""
        text = self._scalar(value, what, "a size such as `64KiB` or `4MiB`", None)
        size = parse_bytes(text.strip()) if text is not None else None
        if text is not None and not size:
            self.problem(value.place, f"{what}: {_shown(value)} is no size; write `64KiB` or `4MiB`")
            return None
        return size

    def plain(self, value: Value, what: str) -> Any:
        """Return the JSON value, interpolated; for shapes that are judged as a whole."""
        if value.kind == "map":
            return {entry.key: self.plain(entry.value, what) for entry in value.entries}
        if value.kind == "list":
            return [self.plain(item, what) for item in value.items]
        if value.kind == "null":
            return None
        text = self._filled(value, what, None)
        if value.kind == "bool":
            return value.raw.lower() == "true"
        return 0 if value.kind == "number" else text or ""

    def filled(self, value: Value) -> str | None:
        """Return the interpolated text of a scalar that another accessor has already judged."""
        try:
            return interpolate(value.raw, self.environ)
        except BadInterpolation:
            return None

    def _scalar(self, value: Value, what: str, expected: str, rule: str | None) -> str | None:
        if value.kind not in {"string", "number"}:
            self.problem(value.place, f"{what}: expected {expected}, got {value.described}", rule)
            return None
        return self._filled(value, what, rule)

    def _filled(self, value: Value, what: str, rule: str | None) -> str | None:
        try:
            return interpolate(value.raw, self.environ)
        except BadInterpolation as error:
            self.problem(value.place, f"{what}: {error}", rule)
            return None


def stamp_of(path: Path) -> Stamp | None:
    """Return how the file at `path` is on disk now; None where there is none.

    It is opened for that: a network file system answers a look at the name from memory, but asks when a file is opened.
    """
    try:
        file = os.open(path, os.O_RDONLY | _DO_NOT_WAIT)
        try:
            about = os.fstat(file)
        finally:
            os.close(file)
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MAX_BYTES} bytes")
    return raw


def is_filled(value: Value) -> bool:
    """Say whether the text of `value` refers to a variable, so that its content must not be quoted."""
    return "${" in value.raw


def _shown(value: Value) -> str:
    return f"`{value.raw[:40]}`"
