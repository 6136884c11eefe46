"""Who has which session: found by name and owner together, so that somebody else's reads like one that never was.

Clients that end without saying so leave their sessions behind. An agent over its number of sessions therefore loses
the one it used least lately, if that one is idle, and is refused only where all of them are at work.
"""

from collections.abc import Iterator
from typing import Final

from holdshort.gate.conversation import Endpoint
from holdshort.gate.front.streams import Streams
from holdshort.gate.session import Session
from holdshort.wire import Frame

__all__ = ["MAX_SESSIONS", "SESSIONS_PER_AGENT", "HttpSession", "Sessions"]

SESSION_IDLE_SECONDS: Final = 1_800.0
MAX_SESSIONS: Final = 10_000
SESSIONS_PER_AGENT: Final = 100
"""Each may have a child of every local server."""


class HttpSession:
    """A session as HTTP sees it: its streams, and when it was last used."""

    def __init__(self, name: str, agent: str, now: float, buffered_events: int) -> None:
        self.name = name
        self.agent = agent
        self.streams = Streams(buffered_events)
        self.standalone = self.streams.new()
        self.listening = False
        self.last_used = now
        self.session: Session | None = None

    async def tell(self, frame: Frame) -> None:
        """Keep a message for the standalone stream; it is sent when the client listens."""
        self.standalone.add(frame.raw)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for something here."""
        return self.listening or (self.session is not None and bool(self.session.under_way))

    def end(self) -> None:
        """Nobody can be answered any more."""
        self.standalone.finish()
        if self.session is not None:
            self.session.close()


class Sessions:
    """All sessions of one front."""

    def __init__(self, *, most: int = MAX_SESSIONS, most_per_agent: int = SESSIONS_PER_AGENT) -> None:
        self._by_name: dict[str, HttpSession] = {}
        self._most = most
        self._most_per_agent = most_per_agent

    def __iter__(self) -> Iterator[HttpSession]:
        return iter(list(self._by_name.values()))

    def make_room(self, agent: str) -> bool:
        """Make sure that one more session of this agent fits; False when it does not."""
        own = [held for held in self._by_name.values() if held.agent == agent]
        if len(own) < self._most_per_agent and len(self._by_name) < self._most:
            return True
        idle = [held for held in own if not held.busy]
        if not idle:
            return False
        self.end(min(idle, key=lambda held: held.last_used))
        return True

    def add(self, held: HttpSession) -> None:
        """Keep a session that has made its handshake."""
        self._by_name[held.name] = held

    def find(self, name: str, agent: str, endpoint: Endpoint) -> HttpSession | None:
        """Return the session of this name if it is this agent's, at this endpoint."""
        held = self._by_name.get(name)
        if held is None or held.session is None or held.agent != agent or held.session.endpoint is not endpoint:
            return None
        return held

    def end(self, held: HttpSession) -> None:
        """End one session."""
        self._by_name.pop(held.name, None)
        held.end()

    def end_idle(self, now: float) -> None:
        """End what nobody has used for long."""
        for held in self:
            if not held.busy and now - held.last_used > SESSION_IDLE_SECONDS:
                self.end(held)
