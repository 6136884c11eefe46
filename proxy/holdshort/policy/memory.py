"""What a policy remembers of its own answers: bounded, and shared by threads.

Names come from agents and servers, so that inventing many of them must cost only time. And while the server decides,
a reload compares the same policy with the next one in another thread: every step here is whole by itself.
"""

from typing import TypeVar

__all__ = ["MOST_KEPT", "remember"]

MOST_KEPT = 8192
"""How many answers of one sort are kept, if nothing else is said."""

Key = TypeVar("Key")
Answer = TypeVar("Answer")


def remember(answers: dict[Key, Answer], key: Key, answer: Answer, most: int | None = None) -> None:
    """Keep `answer`, and forget the oldest one where `most` (or `MOST_KEPT`) are kept already."""
    if len(answers) >= (MOST_KEPT if most is None else most):
        try:
            answers.pop(next(iter(answers)), None)
        except (RuntimeError, StopIteration):
            # Another thread came in between. Any answer can be found again.
            answers.clear()
    answers[key] = answer
