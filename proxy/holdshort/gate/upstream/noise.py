"""Saying in the log that a server sends what is of no use: at a bounded rate, and never its content in full."""

from collections.abc import Callable

from holdshort.gate.upstream.link import Log

__all__ = ["Noise", "Rate"]


class Rate:
    """Lets so many events through per second, and counts the others."""

    __slots__ = ("_count", "_monotonic", "_per_second", "_since", "_suppressed")

    def __init__(self, per_second: int, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._since = monotonic()
        self._count = 0
        self._suppressed = 0

    def allow(self) -> bool:
        """Say whether this event may pass."""
        now = self._monotonic()
        if now - self._since >= 1.0:
            self._since = now
            self._count = 0
        self._count += 1
        if self._count > self._per_second:
            self._suppressed += 1
            return False
        return True

    def suppressed(self) -> int:
        """Return how many did not pass since the last time this was asked."""
        count, self._suppressed = self._suppressed, 0
        return count


class Noise:
    """One server's noise."""

    def __init__(self, label: str, *, log: Log, monotonic: Callable[[], float], per_second: int = 5) -> None:
        self._label = label
        self._log = log
        self._rate = Rate(per_second, monotonic)

    def report(self, why: str, line: bytes = b"") -> None:
        """Say so in the log, unless too much was said already."""
        if self._rate.allow():
            self._log.warning(
                "upstream.noise",
                server=self._label,
                why=why,
                starts=ascii(line[:80])[2:-1],
                suppressed=self._rate.suppressed(),
            )
