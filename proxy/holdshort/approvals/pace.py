"""How often one caller may do a thing: a token bucket per name, refilled by the clock it is shown."""

import math
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Pace", "Paces"]


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `burst` at once and `per_minute` in the long run."""

    per_minute: float
    burst: int


class Paces:
    """One bucket per key, at most `max_keys` of them: the fullest is forgotten first, which loosens nothing."""

    def __init__(self, pace: Pace, *, max_keys: int = 1000) -> None:
        self._pace = pace
        self._max_keys = max_keys
        self._buckets: dict[str, tuple[float, datetime]] = {}

    def take(self, key: str, now: datetime) -> int:
        """Take one from the bucket of `key`; return 0, or the whole seconds after which to try again."""
        left = self._level(key, now)
        # A clock that was set back must not make the time until now count twice.
        since = max(now, self._buckets.get(key, (left, now))[1])
        if left < 1:
            self._buckets[key] = (left, since)
            return max(1, math.ceil((1 - left) * 60 / self._pace.per_minute))
        self._buckets[key] = (left - 1, since)
        if len(self._buckets) > self._max_keys:
            fullest = max(self._buckets, key=lambda known: self._level(known, now))
            del self._buckets[fullest]
        return 0

    def _level(self, key: str, now: datetime) -> float:
        left, since = self._buckets.get(key, (float(self._pace.burst), now))
        elapsed = max(0.0, (now - since).total_seconds())
        return min(float(self._pace.burst), left + elapsed * self._pace.per_minute / 60)
