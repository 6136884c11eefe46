"""Where logins are kept: in memory, or in a file that the processes of one state folder share.

The file holds digests of cookies, never a cookie. It is the truth: what one process ends, no other goes on with.
"""

import fcntl
import json
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from holdshort.config.principals import Principal, PrincipalKind

__all__ = ["FileShelf", "MemoryShelf", "Session", "Shelf"]


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is logged in."""

    principal: Principal
    csrf: str
    started: datetime
    seen: datetime


Known = dict[str, Session]
"""Sessions by the digest of their cookie."""


class Shelf(Protocol):
    """Keeps sessions."""

    def read(self) -> Mapping[str, Session]:
        """Return all of them as they are now."""
        ...

    def change(self, edit: Callable[[Known], object]) -> None:
        """Let `edit` change them; nobody else changes them meanwhile."""
        ...


class MemoryShelf:
    """As long as the process lives."""

    def __init__(self) -> None:
        self._known: Known = {}

    def read(self) -> Mapping[str, Session]:
        return self._known

    def change(self, edit: Callable[[Known], object]) -> None:
        edit(self._known)


class FileShelf:
    """A file of mode 0600, replaced whole. What cannot be read is nobody's login."""

    def __init__(self, path: Path, approver: Callable[[str], Principal | None]) -> None:
        self._path = path
        self._approver = approver
        """Finds an approver by name: one who is no longer configured is no longer logged in."""
        self._seen: tuple[int, int] | None = None
        self._known: Known = {}

    def read(self) -> Mapping[str, Session]:
        try:
            about = self._path.stat()
        except OSError:
            self._seen, self._known = None, {}
            return self._known
        stamp = (about.st_mtime_ns, about.st_ino)
        if stamp != self._seen:
            self._seen, self._known = stamp, self._load()
        return self._known

    def change(self, edit: Callable[[Known], object]) -> None:
        with self._alone():
            known = self._load()
            edit(known)
            draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({key: _words(session) for key, session in known.items()}, file)
            draft.replace(self._path)
            self._seen = None

    @contextmanager
    def _alone(self) -> Generator[None]:
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _load(self) -> Known:
        try:
            found = json.loads(self._path.read_text("utf-8"))
            sessions = {str(key): self._session(words) for key, words in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {key: session for key, session in sessions.items() if session is not None}

    def _session(self, words: Mapping[str, Any]) -> Session | None:
        # Groups are those of today's configuration, not of the day of the login.
        principal = self._approver(str(words["approver"]))
        if principal is None or principal.kind is not PrincipalKind.APPROVER:
            return None
        started, seen = (datetime.fromisoformat(words[name]) for name in ("started", "seen"))
        if started.tzinfo is None or seen.tzinfo is None:
            return None
        return Session(principal, str(words["csrf"]), started, seen)


def _words(session: Session) -> dict[str, str]:
    return {
        "approver": session.principal.name,
        "csrf": session.csrf,
        "started": session.started.isoformat(),
        "seen": session.seen.isoformat(),
    }
