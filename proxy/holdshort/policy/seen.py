"""What a condition saw: each of its parts with its value, and the values that the part is about."""

from dataclasses import dataclass

from holdshort.policy.model import Access, Call, Condition

__all__ = ["Seen", "see"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One part of a condition. `depth` is how far it is nested in the whole; `values` are those it is about."""

    text: str
    value: str
    values: tuple[str, ...] = ()
    depth: int = 0


def see(condition: Condition, question: Call | Access) -> tuple[Seen, ...]:
    """Return the parts of `condition` with their values for `question`, the whole first."""
    del condition, question
    return ()
