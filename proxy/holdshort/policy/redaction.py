"""Which arguments are left out of recordings: by tool, and by where they stand in the arguments."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from holdshort.policy.globs import BadPattern, ToolPattern, matcher

__all__ = ["ArgumentPath", "Redaction", "parse_argument_path"]

_KEPT_ROWS: Final = 8192
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True)
class ArgumentPath:
    """Names one inside the other, as globs. It is meant at any depth: `token` is every `token` there is.

    Items of a list have no name of their own: `users.password` is that of each of `users`. Case does not matter.
    """

    text: str
    steps: tuple[Callable[[str], bool], ...] = field(compare=False, repr=False)

    @property
    def last(self) -> str | None:
        """The last name, where it is one and not a glob: most arguments are told apart by that alone."""
        name = self.text.lower().rpartition(".")[2]
        return None if "*" in name or "?" in name else name

    def fits(self, trail: tuple[str, ...]) -> bool:
        """Say whether the value at `trail`, in lower case, is meant."""
        ends = trail[-len(self.steps) :]
        return len(ends) == len(self.steps) and all(step(name) for step, name in zip(self.steps, ends, strict=True))


def parse_argument_path(text: str) -> ArgumentPath:
    """Read a path such as `password`, `auth.token` or `*_secret`.

    Raises:
        BadPattern: it is empty, or too long.
    """
    steps = text.lower().split(".")
    if not text or not all(steps):
        raise BadPattern(text, "name an argument, as in `password`, or `auth.token` for one inside another")
    if len(text) > _LONGEST:
        raise BadPattern(text, f"it has {len(text)} characters; at most {_LONGEST} are read")
    return ArgumentPath(text, tuple(map(matcher, steps)))


class _Paths:
    """The paths for one tool, by their last name."""

    __slots__ = ("by_name", "globs")

    def __init__(self, paths: Iterable[ArgumentPath]) -> None:
        self.by_name: dict[str, list[ArgumentPath]] = {}
        self.globs: list[ArgumentPath] = []
        for path in paths:
            if path.last is None:
                self.globs.append(path)
            else:
                self.by_name.setdefault(path.last, []).append(path)

    def __bool__(self) -> bool:
        return bool(self.by_name or self.globs)

    def mean(self, trail: tuple[str, ...]) -> bool:
        """Say whether the value at `trail`, in lower case, is meant by some path."""
        named = self.by_name.get(trail[-1])
        if named is not None and any(path.fits(trail) for path in named):
            return True
        return bool(self.globs) and any(path.fits(trail) for path in self.globs)


class Redaction:
    """What to leave out: for the tools that each glob means, the arguments at these paths."""

    __slots__ = ("_rows", "rules")

    def __init__(self, rules: tuple[tuple[ToolPattern, tuple[ArgumentPath, ...]], ...] = ()) -> None:
        self.rules: Final = rules
        self._rows: dict[tuple[str, str], _Paths] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redaction) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"Redaction({[(glob.text, [path.text for path in paths]) for glob, paths in self.rules]})"

    def _paths(self, server: str, name: str) -> _Paths:
        """Return what is left out for a tool (or a prompt) of a server."""
        found = self._rows.get((server, name))
        if found is None:
            found = _Paths(
                path
                for glob, paths in self.rules
                if glob.matches_server(server) and glob.matches_tool(name)
                for path in paths
            )
            if len(self._rows) >= _KEPT_ROWS:
                self._rows.clear()
            self._rows[server, name] = found
        return found

    def apply(
        self, server: str, name: str, arguments: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], list[list[str | int]]]:
        """Return the arguments with null in place of what is left out, and where that is."""
        paths = self._paths(server, name)
        if not paths:
            return arguments, []
        places: list[list[str | int]] = []
        return _without(arguments, paths, (), [], places), places

    def names_any(self, server: str, name: str, keys: Iterator[str]) -> bool:
        """Say whether one of `keys` (of a query) is left out."""
        paths = self._paths(server, name)
        return bool(paths) and any(paths.mean((key.lower(),)) for key in keys)


def _without(
    value: Any,
    paths: _Paths,
    trail: tuple[str, ...],
    place: list[str | int],
    places: list[list[str | int]],
) -> Any:
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for key, inner in value.items():
            below = (*trail, key.lower())
            if paths.mean(below):
                made[key] = None
                places.append([*place, key])
            elif isinstance(inner, Mapping | list):
                made[key] = _without(inner, paths, below, [*place, key], places)
            else:
                made[key] = inner
        return made
    if isinstance(value, list):
        return [_without(inner, paths, trail, [*place, at], places) for at, inner in enumerate(value)]
    return value
