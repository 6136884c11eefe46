"""The shorthand keys of one server, in the shapes of the OpenAI Agents SDK, as layers of policy.

A layer that does not mention a tool abstains. That is where we are stricter than the SDK: there, a tool missing from a
`require_approval` map needs no approval; here, the other layers and then the `default` of the files decide about it,
and without a file it asks. `require_approval: always` and `never` speak about every tool of the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort.policy.globs import ToolPattern
from holdshort.policy.model import Action, Layer, Place, Rule
from holdshort.policy.words import listed, unknown

__all__ = ["SHORTHAND_KEYS", "Misfit", "leaves_tools_out", "shorthand_layer"]

SHORTHAND_KEYS: Final = ("require_approval", "tool_filter", "allowed_tools")

_WORDS: Final = {"always": Action.ASK, "never": Action.ALLOW}
_FILTER_KEYS: Final = ("allowed_tool_names", "blocked_tool_names")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something wrong inside a shorthand value. `path` leads to it; `at_key` tells the key from its value."""

    path: tuple[str | int, ...]
    message: str
    at_key: bool = False


def shorthand_layer(
    server: str, key: str, value: Any, place: Place | None = None
) -> tuple[Layer | None, tuple[Misfit, ...]]:
    """Read the shorthand `key` of `server` (one of `SHORTHAND_KEYS`) from its JSON `value`.

    `None` as a value says nothing and makes no layer, nor does a value with misfits.
    """
    if value is None:
        return None, ()
    misfits: list[Misfit] = []
    if key == "require_approval":
        rules = _require_approval(server, value, place, misfits)
    elif key == "tool_filter":
        rules = _tool_filter(server, value, place, misfits)
    else:
        names = _names(value, (), misfits)
        rules = [_all_but(server, "allowed_tools", names, place)]
    if misfits:
        return None, tuple(misfits)
    return Layer(f"mcpServers.{server}.{key}", tuple(rules)), ()


def leaves_tools_out(value: Any) -> bool:
    """Say whether this `require_approval` names tools one by one, so that the others are left to other layers."""
    return isinstance(value, Mapping)


def _require_approval(server: str, value: Any, place: Place | None, misfits: list[Misfit]) -> list[Rule]:
    if isinstance(value, Mapping):
        by_word = _tool_lists(value, misfits) if _is_tool_lists(value) else _tool_map(value, misfits)
        return [
            Rule(word, action, tools=tuple(_exact(server, name) for name in by_word[word]), place=place)
            for word, action in _WORDS.items()
            if by_word[word]
        ]
    word = _word(value, (), misfits)
    return [Rule(word, _WORDS[word], tools=(ToolPattern(server, "*"),), place=place)] if word else []


def _is_tool_lists(value: Mapping[str, Any]) -> bool:
    # The SDK's own test: with `tool_names` in neither entry, `always` and `never` are names of tools.
    return any(isinstance(value.get(word), Mapping) and "tool_names" in value[word] for word in _WORDS)


def _tool_lists(value: Mapping[str, Any], misfits: list[Misfit]) -> dict[str, list[str]]:
    by_word: dict[str, list[str]] = {word: [] for word in _WORDS}
    for word, entry in value.items():
        if word not in _WORDS:
            misfits.append(Misfit((word,), unknown("key", word, _WORDS), at_key=True))
        elif not isinstance(entry, Mapping):
            misfits.append(Misfit((word,), f"expected `{{tool_names: [...]}}`, got {_kind(entry)}"))
        else:
            misfits.extend(
                Misfit((word, key), unknown("key", key, ("tool_names",)), at_key=True)
                for key in entry
                if key != "tool_names"
            )
            by_word[word] = _names(entry.get("tool_names", []), (word, "tool_names"), misfits)
    never = by_word["never"]
    for name in sorted(set(by_word["always"]) & set(never)):
        where = ("never", "tool_names", never.index(name))
        misfits.append(Misfit(where, f"tool `{name}` is in both `always` and `never`"))
    return by_word


def _tool_map(value: Mapping[str, Any], misfits: list[Misfit]) -> dict[str, list[str]]:
    by_word: dict[str, list[str]] = {word: [] for word in _WORDS}
    for name, setting in value.items():
        _check_name(name, (name,), misfits, at_key=True)
        word = _word(setting, (name,), misfits)
        if word:
            by_word[word].append(name)
    return by_word


def _word(value: Any, path: tuple[str | int, ...], misfits: list[Misfit]) -> str | None:
    if isinstance(value, bool):
        return "always" if value else "never"
    if isinstance(value, str) and value in _WORDS:
        return value
    if isinstance(value, str):
        message = unknown("value", value, (*_WORDS, "true", "false"))
    elif isinstance(value, Mapping):
        message = "expected `always` or `never`, got a map; a list of tools is written `always: {tool_names: [...]}`"
    else:
        message = f"expected `always`, `never`, `true` or `false`, got {_kind(value)}"
    misfits.append(Misfit(path, message))
    return None


def _tool_filter(server: str, value: Any, place: Place | None, misfits: list[Misfit]) -> list[Rule]:
    if not isinstance(value, Mapping):
        misfits.append(Misfit((), f"expected a map with {listed(_FILTER_KEYS, 'or')}, got {_kind(value)}"))
        return []
    misfits.extend(
        Misfit((key,), unknown("key", key, _FILTER_KEYS), at_key=True) for key in value if key not in _FILTER_KEYS
    )
    rules: list[Rule] = []
    # As in the SDK: first only what is allowed stays, then what is blocked goes.
    if value.get("allowed_tool_names") is not None:
        names = _names(value["allowed_tool_names"], ("allowed_tool_names",), misfits)
        rules.append(_all_but(server, "allowed_tool_names", names, place))
    if value.get("blocked_tool_names") is not None:
        names = _names(value["blocked_tool_names"], ("blocked_tool_names",), misfits)
        if names:
            tools = tuple(_exact(server, name) for name in names)
            rules.append(Rule("blocked_tool_names", Action.HIDE, tools=tools, place=place))
    return rules


def _names(value: Any, path: tuple[str | int, ...], misfits: list[Misfit]) -> list[str]:
    if not isinstance(value, list):
        misfits.append(Misfit(path, f"expected a list of tool names, got {_kind(value)}"))
        return []
    names: list[str] = []
    for index, name in enumerate(value):
        if isinstance(name, str):
            _check_name(name, (*path, index), misfits)
            names.append(name)
        else:
            misfits.append(Misfit((*path, index), f"expected a tool's name, got {_kind(name)}"))
    return names


def _check_name(name: str, path: tuple[str | int, ...], misfits: list[Misfit], *, at_key: bool = False) -> None:
    if not name:
        misfits.append(Misfit(path, "a tool's name is empty", at_key))
    elif "*" in name or "?" in name:
        # Taken literally it would match nothing, and a block list that matches nothing protects nothing.
        message = f"`{name[:80]}` looks like a glob; this key takes exact names, globs belong in a policy file"
        misfits.append(Misfit(path, message, at_key))


def _exact(server: str, name: str) -> ToolPattern:
    return ToolPattern(server, name, literal=True)


def _all_but(server: str, rule: str, names: list[str], place: Place | None) -> Rule:
    everything, kept = (ToolPattern(server, "*"),), tuple(_exact(server, name) for name in names)
    return Rule(rule, Action.HIDE, tools=everything, except_tools=kept, place=place)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {bool: "true or false", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a map"}
    return names.get(type(value), "something else")
