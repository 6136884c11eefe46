"""What the checker knows of a value before any call."""

from dataclasses import dataclass
from typing import Final

from holdshort.policy.cel.schema import View

__all__ = ["ANY", "BOOL", "LIST", "MAP", "NULL", "STRING", "Shape", "Types", "item_of"]

Types = frozenset[str] | None
"""The types that a value can have; None when it can be anything."""

BOOL: Final = frozenset({"bool"})
NULL: Final = frozenset({"null_type"})
STRING: Final = frozenset({"string"})
LIST: Final = frozenset({"list"})
MAP: Final = frozenset({"map"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a value: its types, its part of the schema, what its items are, and how it is written."""

    types: Types = None
    view: View | None = None
    item: "Shape | None" = None
    path: str | None = None


ANY: Final = Shape()


def item_of(view: View | None) -> Shape | None:
    """Return what the items are of a value with this schema."""
    item = None if view is None else view.item()
    return None if item is None else Shape(item.types(), item)
