"""The `when` of a rule: compiled as it is read, and every mistake placed inside the condition where that can be."""

from dataclasses import replace
from typing import Final

from holdshort.config.document import Value
from holdshort.config.reading import Reading
from holdshort.policy import BadCondition, CelCondition, Kind, Place, compile_condition

__all__ = ["first_place", "place_in", "read_condition"]

_EXAMPLE: Final = "a condition is text, as in `when: tool.read_only`"


def read_condition(reading: Reading, value: Value, kind: Kind, rule: str | None) -> CelCondition | None:
    """Return the compiled condition; what is wrong with it is reported at its very character."""
    if value.kind != "string":
        reading.problem(value.place, f"when: expected a string, got {value.described}; {_EXAMPLE}", rule)
        return None
    if "${" in value.raw:
        # A variable could change what the condition says, and the policy's digest with it.
        place, where = place_in(value, value.raw.index("${"))
        reading.problem(place, f"when: variables are not filled in inside a condition{where}", rule)
        return None
    try:
        return compile_condition(value.raw, kind)
    except BadCondition as error:
        place, where = place_in(value, error.offset)
        reading.problem(place, f"when: {error.message}{where}", rule)
        return None


def place_in(value: Value, offset: int) -> tuple[Place, str]:
    """Return the place of a character inside a scalar, and words that say which it is where the place cannot."""
    if value.inner is None:
        return value.place, f" (character {offset + 1} of the condition)"
    return replace(value.place, column=value.place.column + value.inner + offset), ""


def first_place(value: Value) -> Place | None:
    """Return the place of a scalar's first character; None where those that follow stand anywhere."""
    return None if value.inner is None else place_in(value, 0)[0]
