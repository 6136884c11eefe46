"""Calls to try where a condition asks what is not understood here: made of the constants that it names."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any, Final

from holdshort.policy.cel.syntax import Constant, Has, Node, path_of, walk
from holdshort.policy.loosening.facing import Facing
from holdshort.policy.loosening.worlds import World
from holdshort.policy.model import Access, Call

__all__ = ["guesses"]

_MOST_CALLS: Final = 400


def guesses(facing: Facing, world: World) -> Iterator[tuple[Call | Access, Call | Access]]:
    """Yield calls that may be in `world`, as each policy gets to see them: the arguments of open questions vary."""
    open_parts = facing.open_parts(world)
    paths: dict[tuple[str, ...], list[Any]] = {}
    for node in open_parts:
        tried = _values(node)
        for path in _argument_paths(node):
            paths.setdefault(path, []).extend(value for value in tried if value not in paths.get(path, []))
    if not paths:
        return
    for before, after in islice(facing.calls(world), 1):
        for chosen in islice(product(*paths.values()), _MOST_CALLS):
            arguments: dict[str, Any] = dict(after.arguments)
            for path, value in zip(paths, chosen, strict=True):
                _put(arguments, path, value)
            yield facing.with_arguments(before, arguments), facing.with_arguments(after, arguments)


def _argument_paths(node: Node) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    inner: set[int] = set()
    for part in walk(node):
        path = path_of(part)
        if path is None and isinstance(part, Has):
            above = path_of(part.operand)
            path = None if above is None else (*above, part.field)
        if path is None or id(part) in inner:
            continue
        inner.update(map(id, walk(part)))
        if path[0] == "args" and len(path) > 1:
            found[path[1:]] = None
    return list(found)


def _values(node: Node) -> list[Any]:
    found: list[Any] = []
    for part in walk(node):
        match part:
            case Constant(_, bool() | None):
                pass
            case Constant(_, (int() | float()) as number):
                found += [number, number + 1, number - 1]
            case Constant("string", str(text)):
                found += [text, f"{text}x", f"x{text}", f"{text}/x", f"{text}@{text}"]
            case _:
                pass
    found += ["x", 0, 1, 1000, True, False, None, "", "/x", "/x/../y", "https://example.com/x", "x@example.com"]
    return [*found, *([value] for value in found[:12]), [], {}]


def _put(arguments: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    here = arguments
    for step in path[:-1]:
        inside = here.get(step)
        here[step] = dict(inside) if isinstance(inside, dict) else {}
        here = here[step]
    here[path[-1]] = value
