"""Every function that a condition can call: CEL's own, and the few that a security person needs and CEL lacks.

A function is a row of `FUNCTIONS`: what it takes, what it gives, what it costs. `docs/conditions.md` has the same
table, and a test compares them. Some arguments must be written out (`literal`): they are prepared once, when the
condition is compiled, so that a bad pattern or zone is an error at `check` and never one at a call.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from holdshort.policy.cel.hosts import host, in_cidr, in_domain, is_ip, parse_cidr, parse_domain
from holdshort.policy.cel.paths import normalize_path, under
from holdshort.policy.cel.patterns import MAX_PATTERN, Pattern, compile_pattern
from holdshort.policy.cel.syntax import MACROS
from holdshort.policy.cel.times import (
    ACCESSORS,
    duration_text,
    parse_duration,
    parse_timestamp,
    parse_zone,
    timestamp_text,
)
from holdshort.policy.cel.tokens import INT_MAX, INT_MIN, UINT_MAX
from holdshort.policy.cel.values import TYPE_NAMES, ConditionFailed, TypeName, UInt, type_of

__all__ = ["FUNCTIONS", "MAX_PATTERN", "Function", "usage"]

Types = frozenset[str]


@dataclass(frozen=True, slots=True)
class Function:
    """One function. Arguments count from 0, and of a method the value before the dot is number 0.

    A call costs `steps`, and one more for so many characters of its texts; `cost` is for a price not so simple.
    """

    name: str
    takes: tuple[Types, ...]
    gives: str
    run: Callable[..., Any]
    method: bool = False
    plain: bool = True
    optional: int = 0
    literal: Mapping[int, Callable[[str], Any]] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments that must be written out, and what is made of them."""
    validated: Mapping[int, Callable[[str], Any]] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments that are tried at compile time where they are written out."""
    characters_per_step: int = 64
    steps: int = 1
    cost: Callable[..., int] | None = None


def _one(*names: str) -> Types:
    return frozenset(names)


STRING: Final = _one("string")
_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def _to_int(value: Any) -> int:
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ConditionFailed("a text is no integer")
        value = int(value)
    elif type_of(value) == "timestamp":
        value = int(value.timestamp() // 1)
    number = int(value)
    if not INT_MIN <= number <= INT_MAX:
        raise ConditionFailed("a number is beyond 64 bits")
    return number


def _to_uint(value: Any) -> UInt:
    number = int(value) if not isinstance(value, str) else _to_int(value)
    if not 0 <= number <= UINT_MAX:
        raise ConditionFailed("a number is below 0 or beyond 64 bits")
    return UInt(number)


def _to_double(value: Any) -> float:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ConditionFailed("a text is no number")
    number = float(value)
    if number in {float("inf"), float("-inf")}:
        raise ConditionFailed("a number is too large for a double")
    return number


def _to_string(value: Any) -> str:
    match type_of(value):
        case "bool":
            return "true" if value else "false"
        case "timestamp":
            return timestamp_text(value)
        case "duration":
            return duration_text(value)
        case _:
            return str(value)


def _lower_ascii(text: str) -> str:
    # Of bytes, Python lowers A-Z alone; no byte of a longer character is one of these.
    return text.encode().lower().decode()


def _matches(text: str, pattern: Pattern) -> bool:
    return pattern.search(text)


def _matching_cost(text: str, pattern: Pattern) -> int:
    return len(text) * pattern.weight // 16


def _accessor(read: Callable[[Any, Any], int]) -> Callable[..., int]:
    def run(moment: Any, zone: Any = None) -> int:
        return read(moment, zone)

    return run


_TESTS: Final = tuple(
    Function(name, (STRING, STRING), "bool", run, method=True, plain=False)
    for name, run in (
        ("contains", lambda text, part: part in text),
        ("startsWith", str.startswith),
        ("endsWith", str.endswith),
    )
)
_TIMES: Final = tuple(
    Function(
        name,
        (_one("timestamp"), STRING),
        "int",
        _accessor(read),
        method=True,
        plain=False,
        optional=1,
        literal={1: parse_zone},
        steps=4,
    )
    for name, read in ACCESSORS.items()
)

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        function.name: function
        for function in (
            Function("size", (_one("string", "bytes", "list", "map"),), "int", len, method=True, characters_per_step=0),
            *_TESTS,
            Function("lowerAscii", (STRING,), "string", _lower_ascii, method=True, plain=False, characters_per_step=16),
            Function(
                "matches",
                (STRING, STRING),
                "bool",
                _matches,
                method=True,
                literal={1: compile_pattern},
                cost=_matching_cost,
            ),
            Function("int", (_one("int", "uint", "double", "string", "timestamp"),), "int", _to_int),
            Function("uint", (_one("int", "uint", "double", "string"),), "uint", _to_uint),
            Function("double", (_one("int", "uint", "double", "string"),), "double", _to_double),
            Function(
                "string",
                (_one("bool", "int", "uint", "string", "timestamp", "duration"),),
                "string",
                _to_string,
            ),
            Function("type", (TYPE_NAMES,), "type", lambda value: TypeName(type_of(value)), characters_per_step=0),
            Function("timestamp", (STRING,), "timestamp", parse_timestamp, validated={0: parse_timestamp}, steps=8),
            Function("duration", (STRING,), "duration", parse_duration, validated={0: parse_duration}, steps=8),
            *_TIMES,
            Function("normalize_path", (STRING,), "string", normalize_path, characters_per_step=8, steps=8),
            Function(
                "under", (STRING, STRING), "bool", under, validated={1: normalize_path}, characters_per_step=8, steps=8
            ),
            Function("host", (STRING,), "string", host, characters_per_step=8, steps=12),
            Function(
                "in_domain",
                (STRING, STRING),
                "bool",
                in_domain,
                validated={1: parse_domain},
                characters_per_step=8,
                steps=16,
            ),
            Function("is_ip", (STRING,), "bool", is_ip, characters_per_step=8, steps=12),
            Function(
                "in_cidr", (STRING, STRING), "bool", in_cidr, validated={1: parse_cidr}, characters_per_step=8, steps=32
            ),
        )
    }
)


def usage(name: str) -> str:
    """Return how a function or macro is called, for people."""
    if name in MACROS:
        return f"x.{name}(item, ...)"
    function = FUNCTIONS[name]
    count = len(function.takes) - function.optional
    letters: Sequence[str] = ("x", "y", "z")[:count]
    if function.method and not function.plain:
        return f"x.{name}({', '.join(letters[1:])})"
    return f"{name}({', '.join(letters)})"
