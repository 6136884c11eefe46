"""A file as a tree of values that know their places. YAML 1.2, so JSON reads the same, with nothing left to guess.

Refused with a place: duplicate keys, merge keys, tags, keys that are no plain words, several documents in one file.
The tree does not convert: a scalar keeps its text, and who asks for a number gets to say what a number is.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from holdshort.policy import Place

__all__ = ["Entry", "Kind", "Report", "Value", "read_document"]

Kind = Literal["null", "bool", "number", "string", "list", "map"]
Report = Callable[[Place, str], None]

_MAX_CHARS: Final = 4 * 1024 * 1024
_MAX_VALUES: Final = 200_000
_MAX_DEPTH: Final = 64
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")
)
_STRING_TAG: Final = "tag:yaml.org,2002:str"
_NUMBER: Final = re.compile(r"[-+]?(?:\d+|0o[0-7]+|0x[0-9a-fA-F]+|(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?)")
# An alias names an anchor, and what was meant to be a value may look like one: `token: *s3cret`.
_NAMED: Final = re.compile(r"(undefined alias|duplicate anchor).*", re.DOTALL)
_JSON_COMMENT: Final = re.compile(r"(?:^|[\s,{\[])(//|/\*)(?=\s|\*)")
_COMMENT_REACH: Final = 4
_ASTRAL: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a document. `raw` is a scalar's text, before interpolation; it may be a secret, so no `repr`.

    `inner` is how many columns after `place` that text starts, where it stands on one line just as it is.
    """

    kind: Kind
    place: Place
    raw: str = field(default="", repr=False)
    quoted: bool = False
    items: tuple["Value", ...] = field(default=(), repr=False)
    entries: tuple["Entry", ...] = field(default=(), repr=False)
    inner: int | None = None

    def get(self, key: str) -> "Value | None":
        """Return the value under `key`, if this is a map that has it."""
        return next((entry.value for entry in self.entries if entry.key == key), None)

    @property
    def described(self) -> str:
        """What this is, for a message that must not quote it."""
        words = {"null": "nothing", "bool": f"`{self.raw}`", "number": "a number", "string": "a string"}
        return words.get(self.kind, f"a {self.kind}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its place, and its value."""

    key: str
    place: Place
    value: Value


def read_document(text: str, file: str, report: Report) -> Value | None:
    """Return the one document in `text`, or None when it cannot be read; `file` is how places name it."""
    if len(text) > _MAX_CHARS:
        report(Place(file, 1, 1), f"the file has {len(text)} characters; at most {_MAX_CHARS} are read")
        return None
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            node = yaml.compose(text)
    except MarkedYAMLError as error:
        report(*_syntax(error, text, file))
        return None
    except ReaderError as error:
        before = text[: int(error.position)]
        place = Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        report(place, "this character is not allowed in YAML or JSON; remove it")
        return None
    except (YAMLError, RecursionError, ValueError) as error:
        report(Place(file, 1, 1), f"the file is not YAML: {type(error).__name__}")
        return None
    if node is None:
        report(Place(file, 1, 1), "the file is empty")
        return None
    return _Builder(file, report).value(node, ())


def _syntax(error: MarkedYAMLError, text: str, file: str) -> tuple[Place, str]:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    problem = _NAMED.sub(r"\1; quote a value that starts with `*` or `&`", str(error.problem or error.context))
    message = f"this is not YAML: {problem}"
    lines = text.splitlines()
    for at in range(min(line, len(lines) - 1), max(-1, line - _COMMENT_REACH), -1):
        # The parser stumbles only after a comment of JSON's kind, which reads like a word to YAML.
        comment = _JSON_COMMENT.search(lines[at])
        if comment:
            where = Place(file, at + 1, comment.start(1) + 1)
            return where, f"this is not YAML: a comment starts with `#`, not with `{comment.group(1)}`"
    if "'\\t'" in problem:
        message += "; indent with spaces"
    return Place(file, line + 1, column + 1), message


class _Builder:
    def __init__(self, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._count = 0
        self._gave_up = False

    def value(self, node: Node, above: tuple[Node, ...]) -> Value | None:
        place = self._place(node)
        self._count += 1
        if self._count > _MAX_VALUES or len(above) > _MAX_DEPTH or any(node is outer for outer in above):
            # Once is enough: aliases of aliases would repeat it a million times.
            if not self._gave_up:
                self._gave_up = True
                self._report(place, "this is nested too deeply, refers to itself, or has too many values")
            return None
        if str(node.tag) not in _TAGS:
            self._report(place, "tags are not supported; quote a value that starts with `!`")
            return None
        if isinstance(node, MappingNode):
            return Value("map", place, entries=tuple(self._entries(node, (*above, node))))
        if isinstance(node, SequenceNode):
            items = (self.value(item, (*above, node)) for item in node.value)
            return Value("list", place, items=tuple(item for item in items if item is not None))
        return self._scalar(node, place)

    def _entries(self, node: MappingNode, above: tuple[Node, ...]) -> Iterator[Entry]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, ScalarNode):
                self._report(place, "a key must be a plain word")
                continue
            key = self._text(str(key_node.value), place)
            if key == "<<" and key_node.style is None:
                self._report(place, "merge keys (`<<`) are not supported; write the keys out")
                continue
            if key in seen:
                self._report(place, f"the key `{key[:80]}` is already there, on line {seen[key]}")
                continue
            seen[key] = place.line
            value = self.value(value_node, above)
            if value is not None:
                yield Entry(key, place, value)

    def _scalar(self, node: Any, place: Place) -> Value:
        # ruamel marks the places where a folded scalar was broken with a BEL, which no YAML file can have there itself.
        written = str(node.value).replace("\a", "") if node.style == ">" else str(node.value)
        text = self._text(written, place)
        inner = _inner(node, text)
        if node.style is not None:
            return Value("string", place, text, quoted=True, inner=inner)
        kind = _plain_kind(text)
        if kind != "string" and str(node.tag) == _STRING_TAG and not _differs_by_version(text):
            return Value("string", place, text, quoted=True, inner=inner)
        return Value(kind, place, text, inner=inner)

    def _text(self, text: str, place: Place) -> str:
        # JSON writes a character beyond U+FFFF as two escapes, which YAML reads one by one.
        joined = _ASTRAL.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text)
        if _LONE.search(joined):
            self._report(place, "this has a lone surrogate, which is no character")
            return _LONE.sub("", joined)
        return joined

    def _place(self, node: Node) -> Place:
        return Place(self._file, int(node.start_mark.line) + 1, int(node.start_mark.column) + 1)


def _inner(node: Any, text: str) -> int | None:
    """Return how far into the node its text starts, or None when escapes or line breaks stand between the two."""
    if node.style not in {None, "'", '"'} or node.start_mark.line != node.end_mark.line:
        return None
    quote = 0 if node.style is None else 1
    return quote if int(node.end_mark.column - node.start_mark.column) == len(text) + 2 * quote else None


def _plain_kind(text: str) -> Kind:
    """Resolve a plain scalar by the YAML 1.2 core schema, whatever a `%YAML` line says: `yes` and `no` are text."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return "null"
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return "bool"
    return "number" if _NUMBER.fullmatch(text) else "string"


def _differs_by_version(text: str) -> bool:
    """Say whether ruamel may call this plain text a string where the core schema sees a number."""
    return text.startswith(("0", "+", "-", ".")) or text.endswith(".") or "e" in text.lower()
