"""What a store promises about recordings: what calls were made with, for replaying them against another policy.

A recording is written with its row of the decision log (`NewEntry.recording`), both or neither, and never changed. It
is erased when its time is up, which every call is given as it is recorded.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

__all__ = ["NewRecording", "RecordingStore"]


@dataclass(frozen=True, slots=True)
class NewRecording:
    """What a call was made with, as JSON text with a random salt in it: its digest stays in the log for ever."""

    body: str = field(repr=False)
    until: datetime
    """When it is erased."""


class RecordingStore(Protocol):
    """The recordings. Everything raises `StateError` rather than answer from something that could not be read."""

    async def get(self, sequence: int) -> str | None:
        """Return the text recorded with a row of the log; None when there is none, or none any more."""
        ...

    async def erase(self, until: datetime) -> int:
        """Erase what was to be kept until then or less, and return how many. The store does it by itself in time."""
        ...
