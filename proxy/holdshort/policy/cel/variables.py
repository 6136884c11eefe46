"""The variables of a condition, by what its rule speaks about: their fields, the types of these, how each is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from holdshort.policy.model import Kind

__all__ = ["VARIABLES", "Variable"]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable. One with `fields` is only ever asked for a field; of another, `types` says what it is."""

    types: frozenset[str]
    read: Callable[[Any], Any] | None = None
    fields: Mapping[str, tuple[frozenset[str], Callable[[Any], Any]]] = field(default_factory=dict)


_STRING: Final = frozenset({"string"})
_OPTIONAL: Final = frozenset({"string", "null_type"})
_BOOL: Final = frozenset({"bool"})
_MAP: Final = frozenset({"map"})


def _arguments(subject: Any) -> dict[str, Any]:
    found = subject.arguments
    return found if type(found) is dict else dict(found)


_ARGS: Final = Variable(_MAP, _arguments)
_NOW: Final = Variable(frozenset({"timestamp"}), lambda subject: subject.now)
_CALLER: Final = Variable(
    _MAP,
    fields={
        "agent": (_STRING, lambda subject: subject.caller.agent),
        "groups": (frozenset({"list"}), lambda subject: sorted(subject.caller.groups)),
        "client": (_OPTIONAL, lambda subject: subject.caller.client),
        "client_version": (_OPTIONAL, lambda subject: subject.caller.client_version),
    },
)
_TOOL: Final = Variable(
    _MAP,
    fields={
        "server": (_STRING, lambda subject: subject.tool.server),
        "name": (_STRING, lambda subject: subject.tool.name),
        "title": (_OPTIONAL, lambda subject: subject.tool.title),
        "read_only": (_BOOL, lambda subject: subject.tool.read_only),
        "destructive": (_BOOL, lambda subject: subject.tool.destructive),
        "idempotent": (_BOOL, lambda subject: subject.tool.idempotent),
        "open_world": (_BOOL, lambda subject: subject.tool.open_world),
        "pinned": (_BOOL, lambda subject: subject.tool.pinned),
    },
)


def _named(name: str) -> Variable:
    return Variable(
        _MAP,
        fields={
            "server": (_STRING, lambda subject: subject.server),
            name: (_STRING, lambda subject: subject.name),
        },
    )


VARIABLES: Final[Mapping[Kind, Mapping[str, Variable]]] = MappingProxyType(
    {
        Kind.TOOL: {"args": _ARGS, "tool": _TOOL, "caller": _CALLER, "now": _NOW},
        Kind.RESOURCE: {"resource": _named("uri"), "caller": _CALLER, "now": _NOW},
        Kind.PROMPT: {"prompt": _named("name"), "args": _ARGS, "caller": _CALLER, "now": _NOW},
        Kind.SERVER_REQUEST: {"request": _named("method"), "caller": _CALLER, "now": _NOW},
    }
)
"""What a condition of each kind of rule can speak of."""
