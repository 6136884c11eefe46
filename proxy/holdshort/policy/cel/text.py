"""Writes a part of a condition's tree as text again: for people, and as the one spelling of what means the same."""

import json
from typing import Final

from holdshort.policy.cel.syntax import (
    Binary,
    Call,
    Conditional,
    Constant,
    Has,
    Identifier,
    Index,
    ListOf,
    Macro,
    MapOf,
    Node,
    Select,
    Unary,
)

__all__ = ["text_of"]

_BINDS: Final = {"||": 2, "&&": 3, "in": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
"""How tightly operators bind (CEL, language definition: syntax); comparisons are at 4."""
_CONDITIONAL: Final = 1
_UNARY: Final = 7
_ATOM: Final = 8


def text_of(node: Node) -> str:
    """Return `node` as text, with only the parentheses that it needs."""
    return _write(node)[0]


def _write(node: Node) -> tuple[str, int]:
    match node:
        case Constant():
            return _constant(node), _ATOM
        case Identifier(name):
            return name, _ATOM
        case Select(operand, field):
            return f"{_at(operand, _ATOM)}.{field}", _ATOM
        case Has(operand, field):
            return f"has({_at(operand, _ATOM)}.{field})", _ATOM
        case Index(operand, key):
            return f"{_at(operand, _ATOM)}[{text_of(key)}]", _ATOM
        case Call(function, target, arguments):
            start = f"{_at(target, _ATOM)}." if target is not None else ""
            return f"{start}{function}({', '.join(map(text_of, arguments))})", _ATOM
        case Macro(name, target, variable, body, guard):
            parts = [variable, *([text_of(guard)] if guard is not None else []), text_of(body)]
            return f"{_at(target, _ATOM)}.{name}({', '.join(parts)})", _ATOM
        case Unary(operator, operand):
            return f"{operator}{_at(operand, _UNARY)}", _UNARY
        case Binary(operator, left, right):
            binds = _BINDS.get(operator, 4)
            return f"{_at(left, binds)} {operator} {_at(right, binds + 1)}", binds
        case Conditional(test, then, otherwise):
            test_text = _at(test, _CONDITIONAL + 1)
            return f"{test_text} ? {_at(then, _CONDITIONAL + 1)} : {_at(otherwise, _CONDITIONAL)}", _CONDITIONAL
        case ListOf(items):
            return f"[{', '.join(map(text_of, items))}]", _ATOM
        case MapOf(entries):
            return f"{{{', '.join(f'{text_of(key)}: {text_of(value)}' for key, value in entries)}}}", _ATOM


def _at(node: Node, least: int) -> str:
    text, binds = _write(node)
    return text if binds >= least else f"({text})"


def _constant(node: Constant) -> str:
    value = node.value
    match node.type:
        case "null":
            return "null"
        case "bool":
            return "true" if value else "false"
        case "uint":
            return f"{value!r}u"
        case "string":
            return json.dumps(value, ensure_ascii=False)
        case "bytes":
            return "b'" + "".join(f"\\x{byte:02x}" for byte in (value if isinstance(value, bytes) else b"")) + "'"
        case _:
            return repr(value)
