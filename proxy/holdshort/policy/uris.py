"""One resource, many spellings: the readings of a URI, so that no rule is dodged, or reached, by writing it otherwise.

Servers read URIs in their own ways: some compare text, some decode, some resolve `..`, some open a path on a disk that
knows no case. Nobody can tell from outside which, so a rule that restricts holds when any reading matches its glob,
and a rule that allows only when the text as written and all its plain forms do. RFC 3986 section 6.2 says what those
are; the URL standard (WHATWG) has the readings of `file:` and of backslashes.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final
from urllib.parse import unquote

from holdshort.policy.globs import ToolPattern, matcher

__all__ = ["Readings", "UriPattern", "may_meet", "readings"]

_ROUNDS: Final = 8
"""What is still percent-encoded after so many rounds is nothing that an honest client writes."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SPECIAL: Final = frozenset({"file", "ftp", "http", "https", "ws", "wss"})
"""Schemes in which a backslash is a slash (URL standard, special schemes)."""
_PORTS: Final = {"ftp": ":21", "http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}
_HERE: Final = frozenset({"", "localhost", "127.0.0.1", "[::1]"})
_BLANK: Final = "".join(map(chr, range(33)))
_BREAKS: Final = re.compile(r"[\t\n\r]")
_CUT: Final = re.compile(r"[?#]")
_END: Final = re.compile(r"[?#\x00]")
_PARAMETERS: Final = re.compile(r";[^/]*")
_TRAILING: Final = re.compile(r"(?<![. ])[. ]++(?=/|$)")
_STREAM: Final = re.compile(r"::\$\w+$")
_ENCODED_WILD: Final = re.compile(r"%(?:25)*(?=2a|3f)", re.IGNORECASE)
_WILD: Final = re.compile(r"[*?]")
_MAY_CHANGE: Final = re.compile(r"[?#\x00;|*]|::|[. ](?:/|$)")
"""What loose readings cut out of a text, or read in another way."""
_LONGEST: Final = 64 * 1024
"""Characters of a URI that is read at all; a longer one is unclear."""
_LONGEST_KEPT: Final = 512


@dataclass(frozen=True, slots=True)
class Readings:
    """What one URI may be read as.

    `raw` is the text as written. `plain` has its plain forms: scheme and host in small letters, `.` and `..` resolved,
    at each depth of decoding; with what stands behind the path taken as a query and as a part of the path, and with
    what looks like a host taken as the first step of a path. `loose` holds what some server may take it for besides.
    `folded` is for `file:` alone: the same without case and without endings that some file systems do not see.
    `unclear` is set where that came to no end.
    """

    raw: str
    plain: tuple[str, ...]
    loose: tuple[str, ...]
    folded: tuple[str, ...]
    unclear: bool = False


@dataclass(frozen=True)
class UriPattern(ToolPattern):
    """A glob over (server, URI). Only `*` and `?` are special; every other character is itself."""

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The glob as it is encoded, and with nothing encoded: at each depth of decoding one of them fits."""
        return tuple(dict.fromkeys((_resolved_glob(self.tool), _plain_glob(self.tool))))

    @cached_property
    def folded(self) -> str:
        """The glob as it is held against readings without case."""
        return _folded(_plain_glob(self.tool))

    @cached_property
    def _tests(self) -> tuple[Callable[[str], bool], ...]:
        return tuple(map(matcher, self.forms))

    @cached_property
    def _matches_folded(self) -> Callable[[str], bool]:
        return matcher(self.folded)

    def _matches(self, reading: str) -> bool:
        return any(test(reading) for test in self._tests)

    def matches_some(self, uri: Readings) -> bool:
        """Say whether any reading matches: how a rule that restricts looks at a URI."""
        return (
            uri.unclear
            or self.matches_tool(uri.raw)
            or any(map(self._matches, uri.plain))
            or any(map(self._matches, uri.loose))
            or any(self._matches_folded(reading) for reading in uri.folded)
        )

    def matches_surely(self, uri: Readings) -> bool:
        """Say whether the text as written and all its plain forms match: how a rule that allows looks at a URI."""
        return not uri.unclear and self.matches_tool(uri.raw) and all(map(self._matches, uri.plain))

    def excludes(self, other: "UriPattern") -> bool:
        """Say whether what this one surely matches is certain not to match `other` in any reading.

        It is where the two begin otherwise, and no loose reading can change how a plain one begins.
        """
        mine, its = self._starts, other._starts
        return (
            mine.sure
            and _apart(mine.raw, its.raw)
            and all(_apart(start, each) for start in mine.plain for each in its.whole)
            and all(_apart(start.casefold(), its.folded) for start in mine.plain)
        )

    @cached_property
    def _starts(self) -> "_Starts":
        whole = tuple(_start_of(form) for form in self.forms)
        plain = tuple(start.rstrip("/") for start in whole)
        sure = not any(map(_MAY_CHANGE.search, plain))
        return _Starts(_start_of(self.tool), whole, plain, _start_of(self.folded), sure)


@dataclass(frozen=True, slots=True)
class _Starts:
    """How all that a glob matches begins: as written, in plain readings (with and without a slash), without case.

    `sure`: no loose reading of something plain begins in another way.
    """

    raw: str
    whole: tuple[str, ...]
    plain: tuple[str, ...]
    folded: str
    sure: bool


def _start_of(glob: str) -> str:
    return _WILD.split(glob, maxsplit=1)[0]


def _apart(start: str, other: str) -> bool:
    return not start.startswith(other) and not other.startswith(start)


def readings(uri: str) -> Readings:
    """Return what `uri` may be read as. Any text has readings; none raises."""
    if len(uri) > _LONGEST:
        return Readings(uri, (uri,), (), (), unclear=True)
    return _kept(uri) if len(uri) <= _LONGEST_KEPT else _read(uri)


def _read(uri: str) -> Readings:
    text = _BREAKS.sub("", uri.strip(_BLANK))
    found = _SCHEME.fullmatch(text)
    scheme, rest = (found.group(1).lower(), found.group(2)) if found else ("", text)
    if not scheme and rest[:1] in {"/", "\\"}:
        scheme = "file"  # some servers take a bare path
    head = _CUT.split(rest, maxsplit=1)[0]
    tail = rest[len(head) :]
    parts = (*_split(scheme, head), tail)
    surely: dict[str, None] = {}
    loose: dict[str, None] = {}
    for _ in range(_ROUNDS):
        _add(scheme, parts, surely, loose)
        decoded = (unquote(parts[0]), unquote(parts[1]), unquote(parts[2])) if "%" in text else parts
        if decoded == parts:
            break
        parts = decoded
    else:
        return Readings(uri, tuple(surely), tuple(loose), (), unclear=True)
    folded = tuple(dict.fromkeys(map(_folded, (*surely, *loose)))) if scheme == "file" else ()
    return Readings(uri, tuple(surely), tuple(loose), folded)


def _add(scheme: str, parts: tuple[str, str, str], surely: dict[str, None], loose: dict[str, None]) -> None:
    """Add the readings of a URI at one depth of decoding: of authority, path, and what stands behind the path."""
    authority, path, tail = parts
    start, rooted = _start(scheme, authority), bool(authority) or scheme == "file"
    query = tail.split("#", 1)[0].rstrip("?")
    plain = _composed(start + _resolved(scheme, path, rooted=rooted))
    surely[_composed(plain + query)] = None
    if tail:
        # A server that cuts nothing off resolves what stands behind the path, too.
        surely[_composed(start + _resolved(scheme, path + tail, rooted=rooted))] = None
    if authority and scheme not in _SPECIAL:
        # To a scheme of somebody's own, what looks like a host may be the first step of a path.
        for body in dict.fromkeys((path, path + tail)):
            flat = _resolved(scheme, authority.lower() + body, rooted=False)
            surely[_composed(f"{scheme}://{flat}{query if body == path else ''}")] = None
    short = _END.split(plain, maxsplit=1)[0]
    bare = _PARAMETERS.sub("", short)
    loose |= dict.fromkeys((plain, short, bare, bare.rstrip("/") or bare))
    if authority and not path:
        loose[f"{plain}/"] = None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


_kept = lru_cache(maxsize=4096)(_read)


def may_meet(glob: str, other: str) -> bool:
    """Say whether some text may match both globs. False is certain; true is said of some that cannot, too."""
    if "*" not in other and "?" not in other:
        return matcher(glob)(other)
    if "*" not in glob and "?" not in glob:
        return matcher(other)(glob)
    starts = [_WILD.split(each, maxsplit=1)[0] for each in (glob, other)]
    ends = [_WILD.split(each)[-1] for each in (glob, other)]
    return (starts[0].startswith(starts[1]) or starts[1].startswith(starts[0])) and (
        ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
    )


def _split(scheme: str, head: str) -> tuple[str, str]:
    """Return authority and path, neither decoded yet."""
    if scheme in _SPECIAL:
        head = head.replace("\\", "/")
    if scheme == "file":
        if head.startswith("//") and not head.startswith("///"):
            host, slash, path = head[2:].partition("/")
            return ("", slash + path) if host.lower() in _HERE else (host, slash + path)
        return "", head
    if not head.startswith("//"):
        return "", head
    host, slash, path = head[2:].partition("/")
    return host, slash + path


def _start(scheme: str, authority: str) -> str:
    host = authority.rpartition("@")[2].lower()
    host = host.removesuffix(_PORTS.get(scheme, "\x00")).rstrip(".")
    if scheme == "file" or authority:
        return f"{scheme}://{host}"
    return f"{scheme}:" if scheme else ""


def _resolved(scheme: str, path: str, *, rooted: bool) -> str:
    """Return the path without `.`, `..` and doubled slashes."""
    if scheme in _SPECIAL:
        path = path.replace("\\", "/")
    if not path:
        return "/" if scheme == "file" else ""
    steps: list[str] = []
    step = ""
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in {"", "."}:
            steps.append(step)
    start = "/" if path.startswith("/") or rooted else ""
    end = "/" if steps and step in {"", ".", ".."} else ""
    return start + "/".join(steps) + end


def _decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        text = unquote(text)
    return text


def _folded(text: str) -> str:
    """The same for file systems that see neither case nor a name's trailing dots, nor streams of a file."""
    folded = _STREAM.sub("", _TRAILING.sub("", text.casefold()))
    return re.sub(r"^(file:///[a-z])\|", r"\1:", folded)


def _plain_glob(glob: str) -> str:
    """Return the glob with nothing encoded, as it has to be for plainest forms; its wildcards stay."""
    # An encoded `*` is a character, not a wildcard, and decoding it would make it one.
    kept = _ENCODED_WILD.split(glob)
    return _resolved_glob(_composed("%".join(map(_decoded, kept))))


def _resolved_glob(text: str) -> str:
    """Return the glob with scheme and host as readings have them."""
    if text.startswith("/"):
        text = f"file:{text}"
    found = _SCHEME.fullmatch(text)
    if found is None:
        return text
    scheme, rest = found.group(1).lower(), found.group(2)
    if scheme == "file":
        authority, path = _split(scheme, rest)
        bare = path.lstrip("/")
        if authority or not path.startswith("/") or (bare[:1] in {"*", "?"} and not rest.startswith("///")):
            return f"file:{rest}"
        return f"file:///{bare}"
    if not rest.startswith("//"):
        return f"{scheme}:{rest}"
    host, slash, path = rest[2:].partition("/")
    host = host.lower().removesuffix(_PORTS.get(scheme, "\x00"))
    return f"{scheme}://{host.rstrip('.')}{slash}{path}"
