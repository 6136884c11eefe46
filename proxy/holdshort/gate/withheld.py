"""Resources inside of results: links, embedded ones, and the several contents of one read.

A rule about a resource holds wherever the resource is. What is denied is replaced by a text that says so; what is
hidden is taken out, and with it what would be empty without it. `structuredContent` is a tool's own data and stays.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from holdshort.gate import answers
from holdshort.policy import Action, Verdict

__all__ = ["Withheld", "names_any", "uris_in", "withhold"]

Judge = Callable[[str], Verdict]

_LEFT_ALONE: Final = frozenset({"structuredContent", "_meta"})
_GONE: Final[Any] = object()


class Withheld:
    """What was taken out of one result: the verdicts, by URI."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._may_be_shown: set[str] = set()
        self.verdicts: dict[str, Verdict] = {}

    def __call__(self, uri: str) -> Verdict | None:
        """Return the verdict on a resource that must not be shown; None for one that may. Judges each URI once."""
        if uri in self._may_be_shown:
            return None
        verdict = self.verdicts.get(uri) or self._judge(uri)
        if verdict.action is Action.ALLOW:
            self._may_be_shown.add(uri)
            return None
        self.verdicts[uri] = verdict
        return verdict


def uris_in(node: Any) -> Iterator[str]:
    """Yield the URIs of everything in a result that `withhold` judges."""
    rest = [node]
    while rest:
        each = rest.pop()
        if isinstance(each, list):
            rest.extend(each)
            continue
        if not isinstance(each, dict):
            continue
        uri = _uri_of(each)
        if uri is not None:
            yield uri
        contents = each.get("contents")
        for item in contents if isinstance(contents, list) else ():
            if isinstance(item, dict) and isinstance(item.get("uri"), str):
                yield item["uri"]
        rest.extend(value for key, value in each.items() if key not in _LEFT_ALONE)


def names_any(result: Any, found: Withheld) -> bool:
    """Say whether anything has to be taken out of `result`."""
    return withhold(result, found) is not result


def withhold(node: Any, found: Withheld) -> Any:
    """Return a result without what must not be shown; the same object when that is all of it."""
    cleaned = _cleaned(node, found)
    return {} if cleaned is _GONE else cleaned


def _cleaned(node: Any, found: Withheld) -> Any:
    if isinstance(node, list):
        kept = [_cleaned(item, found) for item in node]
        if all(new is old for new, old in zip(kept, node, strict=True)):
            return node
        return [item for item in kept if item is not _GONE]
    if not isinstance(node, dict):
        return node
    uri = _uri_of(node)
    verdict = found(uri) if uri is not None else None
    if uri is not None and verdict is not None:
        return _GONE if verdict.action is Action.HIDE else {"type": "text", "text": answers.withheld_text(uri, verdict)}
    changed: dict[str, Any] | None = None
    for key, item in node.items():
        if key in _LEFT_ALONE or not isinstance(item, list | dict):
            continue
        new = _contents(item, found) if key == "contents" and isinstance(item, list) else _cleaned(item, found)
        if new is item:
            continue
        if new is _GONE:
            return _GONE  # a message of which nothing is left
        changed = {**(changed or node), key: new}
    return node if changed is None else changed


def _contents(items: list[Any], found: Withheld) -> list[Any]:
    """What a read returned (MCP, ReadResourceResult): of one URI or, for a folder, of many."""
    kept: list[Any] = []
    for item in items:
        uri = item.get("uri") if isinstance(item, dict) else None
        verdict = found(uri) if isinstance(uri, str) else None
        if uri is None or verdict is None:
            kept.append(_cleaned(item, found))
        elif verdict.action is not Action.HIDE:
            kept.append({"uri": uri, "mimeType": "text/plain", "text": answers.withheld_text(uri, verdict)})
    if len(kept) == len(items) and all(new is old for new, old in zip(kept, items, strict=True)):
        return items
    return kept


def _uri_of(node: dict[str, Any]) -> str | None:
    """The URI of a content block that is, or points to, a resource (MCP, ContentBlock)."""
    kind = node.get("type")
    if kind == "resource_link":
        uri = node.get("uri")
    elif kind == "resource" and isinstance(node.get("resource"), dict):
        uri = node["resource"].get("uri")
    else:
        return None
    return uri if isinstance(uri, str) else None
