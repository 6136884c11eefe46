"""What a store promises about pins: which definition of a tool counts, which was seen last, and who said so.

A pin belongs to a scope (mostly the label of a server, see `gate/pins.py`) and a tool; the tool `""` stands for what
the server tells a model about itself, its instructions. Like every other promise of the store, a change of a pin and
its row in the decision log are one commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from holdshort.errors import HoldshortError
from holdshort.interruption import timestamp
from holdshort.interruption.comparison import ChangedLine, definition_changes

__all__ = [
    "FIRST_USE",
    "INSTRUCTIONS",
    "Pin",
    "PinDigests",
    "PinMoved",
    "PinNotFound",
    "PinStore",
    "Sighting",
]

INSTRUCTIONS: Final = ""
"""The tool whose pin is about the instructions of the server."""

FIRST_USE: Final = "first use"
"""Who pinned a definition that nobody was asked about."""


class PinDigests(NamedTuple):
    """The two digests of a pin, which is all that judging a tool needs."""

    accepted: str | None
    """None: seen, and accepted by nobody yet."""
    seen: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a server said of a tool: `content` is {"definition" or "instructions": its words, "server": its identity}.

    `digest` is the SHA-256, in hex, of the canonical form of `content`.
    """

    digest: str
    content: Mapping[str, Any]

    @property
    def words(self) -> Any:
        """The definition as a JSON object, or the instructions as text."""
        return self.content.get("definition", self.content.get("instructions"))

    @property
    def identity(self) -> str:
        """Digest of the command or URL that stood behind the server."""
        return str(self.content.get("server", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One tool's pin."""

    server: str
    """Its scope."""
    tool: str
    accepted: Sighting | None
    accepted_at: datetime | None
    accepted_by: str | None
    """`FIRST_USE`, or whoever accepted it."""
    seen: Sighting
    """The definition that a server showed last."""
    seen_at: datetime

    @property
    def state(self) -> str:
        """`new` (nobody accepted it yet), `changed` or `pinned`."""
        if self.accepted is None:
            return "new"
        return "pinned" if self.accepted.digest == self.seen.digest else "changed"

    def changed_lines(self) -> Sequence[ChangedLine]:
        """Return how what was seen last differs from what is accepted; nothing where it does not."""
        accepted = self.accepted
        if accepted is None:
            return definition_changes(None, self.seen.words)
        same_server = accepted.identity == self.seen.identity
        return definition_changes(accepted.words, self.seen.words, same_server=same_server)

    def public(self) -> dict[str, Any]:
        """Return the pin as API and command line show it, without the definitions themselves."""
        accepted = self.accepted
        return {
            "server": self.server,
            "tool": self.tool or None,
            "about": "tool" if self.tool else "instructions",
            "state": self.state,
            "pinned_digest": None if accepted is None else accepted.digest,
            "pinned_at": None if self.accepted_at is None else timestamp(self.accepted_at),
            "pinned_by": self.accepted_by,
            "digest": self.seen.digest,
            "seen_at": timestamp(self.seen_at),
        }


class PinNotFound(HoldshortError):
    """Raised for a tool that no server ever showed."""

    code = "not_found"

    def __init__(self, server: str, tool: str) -> None:
        super().__init__(f"server `{server}` has no pin for {_named(tool)}; `holdshort policy pin list` shows all")
        self.server = server
        self.tool = tool


class PinMoved(HoldshortError):
    """Raised when the definition to accept is not the one that was looked at; nothing was accepted."""

    code = "pin_moved"

    def __init__(self, pin: Pin, expected: str) -> None:
        super().__init__(
            f"{_named(pin.tool)} of server `{pin.server}` has the digest {pin.seen.digest[:12]} by now,"
            f" not {expected[:12]}; look at the difference again"
        )
        self.pin = pin


class PinStore(Protocol):
    """The pins. Everything raises `StateError` rather than answer from something that could not be kept or read."""

    def generation(self) -> int:
        """Return a number that is another one after any pin changed, in any process, within 100 ms. Cheap."""
        ...

    def digests(self, server: str) -> Mapping[str, PinDigests]:
        """Return the digests of every pin of a scope, by tool; short work that waits for nothing."""
        ...

    async def all(self, server: str | None = None) -> Sequence[Pin]:
        """Return the pins of one scope, or all of them, in the order of their names."""
        ...

    async def get(self, server: str, tool: str) -> Pin:
        """Raises:
        PinNotFound: no such tool was ever seen.
        """
        ...

    async def see(
        self, server: str, sightings: Mapping[str, Sighting], *, at: datetime, accept_new: bool
    ) -> Mapping[str, Pin]:
        """Note what a server shows, by tool, and return those pins.

        With `accept_new`, what has no accepted definition gets this one, on first use; of several processes that see
        a new tool at once, the first decides and the others' sighting counts as a change. What is accepted already
        never changes here.
        """
        ...

    async def accept(self, server: str, tool: str, *, digest: str, by: str, at: datetime) -> Pin:
        """Accept the definition that was seen last, if it is still the one with this digest.

        Nothing happens if it is accepted already.

        Raises:
            PinNotFound: no such tool was ever seen.
            PinMoved: another definition was seen since.
        """
        ...

    async def forget(self, server: str, tools: Iterable[str], *, by: str, at: datetime) -> Sequence[str]:
        """Remove the pins of these tools and return which there were: when seen again, they are new."""
        ...


def _named(tool: str) -> str:
    return f"tool `{tool}`" if tool else "the instructions"
