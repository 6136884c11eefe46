"""What rules name that are not about tools: globs over `server__uri`, `server__prompt` or `server__method`."""

from typing import Final

from holdshort.policy.globs import BadPattern, ToolPattern, matcher
from holdshort.policy.model import Access, Action, Kind, Rule
from holdshort.policy.uris import UriPattern, readings
from holdshort.policy.words import listed, unknown

__all__ = ["KIND_OF_KEY", "REQUEST_METHODS", "fits", "may_speak_of", "parse_target"]

KIND_OF_KEY: Final = {
    "tools": Kind.TOOL,
    "resources": Kind.RESOURCE,
    "prompts": Kind.PROMPT,
    "server_requests": Kind.SERVER_REQUEST,
}
"""The key of a rule that names what it speaks about; a rule has at most one of them."""

REQUEST_METHODS: Final = ("sampling/createMessage", "elicitation/create", "roots/list")
"""What a server may ask of a client (MCP schemas 2024-11-05 to 2025-11-25, ServerRequest; 2026-07-28, InputRequest)."""

_SEPARATOR: Final = "__"
_MAX_CHARS: Final = 2048
_EXAMPLES: Final = {
    Kind.RESOURCE: "files__file:///etc/*",
    Kind.PROMPT: "github__release_*",
    Kind.SERVER_REQUEST: "*__sampling/createMessage",
}


def parse_target(text: str, kind: Kind) -> ToolPattern:
    """Read a rule's glob over something other than tools. `*` and `?` are special, nothing else is.

    Raises:
        BadPattern: empty, too long, with white space, without a server half, or a method that no server may ask.
    """
    if not text:
        raise BadPattern(text, "it is empty; `*` alone matches everything")
    if len(text) > _MAX_CHARS:
        raise BadPattern(text, f"it has {len(text)} characters; at most {_MAX_CHARS} are read")
    if not text.isprintable() or " " in text:
        raise BadPattern(text, "white space has no meaning here; in a URI a blank is `%20`, and `?` stands for any one")
    make = UriPattern if kind is Kind.RESOURCE else ToolPattern
    if text == "*":
        return make("*", "*", text)
    server, separator, name = text.partition(_SEPARATOR)
    if not separator:
        raise BadPattern(text, f"it names no server; write `*__{text}` for every server, or as in `{_EXAMPLES[kind]}`")
    if not server or not name:
        raise BadPattern(text, f"both sides of `__` need a name or a `*`, as in `{_EXAMPLES[kind]}`")
    if kind is Kind.SERVER_REQUEST:
        _check_method(text, name)
    return make(server, name, text)


def may_speak_of(rule: Rule, kind: Kind, server: str) -> bool:
    """Say whether the rule is about that kind of thing and can match some of this server's."""
    return rule.kind is kind and (not rule.targets or any(each.matches_server(server) for each in rule.targets))


def fits(rule: Rule, access: Access) -> bool:
    """Say whether targets and agents of `rule` match; its `when` is not looked at.

    A URI has many spellings: a rule that allows has to match the text and its plainest form, one that restricts any
    reading (`uris.py`).
    """
    if rule.kind is not access.kind:
        return False
    if rule.targets and not any(
        each.matches_server(access.server) and _matches(each, access, rule.action) for each in rule.targets
    ):
        return False
    caller = access.caller
    return not rule.agents or any(p.matches(caller.agent) or any(map(p.matches, caller.groups)) for p in rule.agents)


def _matches(pattern: ToolPattern, access: Access, action: Action) -> bool:
    if not isinstance(pattern, UriPattern):
        return pattern.matches_tool(access.name)
    uri = readings(access.name)
    return pattern.matches_surely(uri) if action is Action.ALLOW else pattern.matches_some(uri)


def _check_method(text: str, name: str) -> None:
    if "*" in name or "?" in name:
        if not any(map(matcher(name), REQUEST_METHODS)):
            raise BadPattern(text, f"no server may ask that; servers ask {listed(REQUEST_METHODS)}")
    elif name not in REQUEST_METHODS:
        raise BadPattern(text, unknown("method", name, REQUEST_METHODS))
