"""Browser sessions and one-time login links.

A cookie is worth one approver for a while, shorter when idle. A link's code is worth one login, within minutes; it
travels in the fragment of a URL, so it is in no request line, no log and no preview. `SessionLimits` has the times.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from holdshort.approvals.shelf import MemoryShelf, Session, Shelf
from holdshort.config.principals import Principal

__all__ = ["LoginCodes", "Session", "SessionLimits", "Sessions", "same_secret"]

_TOUCH: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a login lasts."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)
    code: timedelta = timedelta(minutes=15)
    max_sessions: int = 1000
    max_codes: int = 100


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key(cookie: str) -> str:
    return _digest(cookie).hex()


class Sessions:
    """Who is logged in, by the digest of the cookie."""

    def __init__(
        self, clock: Callable[[], datetime], limits: SessionLimits | None = None, shelf: Shelf | None = None
    ) -> None:
        self._clock = clock
        self._limits = limits or SessionLimits()
        self._shelf = shelf or MemoryShelf()

    @property
    def lifetime(self) -> timedelta:
        """How long a cookie may be kept at most."""
        return self._limits.absolute

    def start(self, principal: Principal) -> tuple[str, Session]:
        """Return a new cookie value (256 random bits) and its session."""
        now = self._clock()
        cookie = secrets.token_urlsafe(32)
        session = Session(principal, secrets.token_urlsafe(32), now, now)

        def add(known: dict[str, Session]) -> None:
            for key in [key for key, other in known.items() if not self._alive(other, now)]:
                del known[key]
            if len(known) >= self._limits.max_sessions:
                del known[min(known, key=lambda key: known[key].seen)]
            known[_key(cookie)] = session

        self._shelf.change(add)
        return cookie, session

    def find(self, cookie: str, *, touch: bool = True) -> Session | None:
        """Return the session of a cookie, if it still lasts; `touch` restarts its idle time."""
        key = _key(cookie)
        session = self._shelf.read().get(key)
        if session is None:
            return None
        now = self._clock()
        if not self._alive(session, now):
            self._shelf.change(lambda known: known.pop(key, None))
            return None
        # Not every request is worth a write.
        if touch and now - session.seen > min(_TOUCH, self._limits.idle / 10):
            session = replace(session, seen=now)
            touched = session

            def note(known: dict[str, Session]) -> None:
                # Not if somebody logged out in between.
                if key in known:
                    known[key] = touched

            self._shelf.change(note)
        return session

    def end(self, cookie: str) -> None:
        """Log out."""
        key = _key(cookie)
        self._shelf.change(lambda known: known.pop(key, None))

    def _alive(self, session: Session, now: datetime) -> bool:
        return now - session.seen < self._limits.idle and now - session.started < self._limits.absolute


class LoginCodes:
    """One-time codes; only their digests are kept."""

    def __init__(self, clock: Callable[[], datetime], limits: SessionLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits or SessionLimits()
        self._codes: dict[bytes, tuple[Principal, datetime]] = {}

    def issue(self, principal: Principal) -> tuple[str, datetime]:
        """Return a new code for `principal` and the time until which it works."""
        now = self._clock()
        self._codes = {key: known for key, known in self._codes.items() if now < known[1]}
        if len(self._codes) >= self._limits.max_codes:
            del self._codes[min(self._codes, key=lambda key: self._codes[key][1])]
        code = secrets.token_urlsafe(32)
        until = now + self._limits.code
        self._codes[_digest(code)] = (principal, until)
        return code, until

    def redeem(self, code: str) -> Principal | None:
        """Return whose login this code is, the first time and in time; None ever after."""
        found = self._codes.pop(_digest(code), None)
        return found[0] if found is not None and self._clock() < found[1] else None


def same_secret(expected: str, given: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(_digest(expected), _digest(given))
