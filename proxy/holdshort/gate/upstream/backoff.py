"""How long to wait before trying again: twice as long each time, with jitter, until something works."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Counts failures in a row."""

    __slots__ = ("_first_seconds", "_max_seconds", "failures")

    def __init__(self, first_seconds: float, max_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self.failures = 0

    def fail(self) -> float:
        """Note a failure; return the seconds to wait, between half and all of the current step."""
        step = min(self._first_seconds * 2.0 ** min(self.failures, 30), self._max_seconds)
        self.failures += 1
        # Jitter only spreads retries out; nobody gains by guessing it.
        return step * (0.5 + random.random() / 2)  # noqa: S311

    def reset(self) -> None:
        """Note a success."""
        self.failures = 0
