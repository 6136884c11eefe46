"""Reading what a server sent: as `wire.read_frame` does, and large messages in a time that others can wait.

One message is one step of the event loop, so its cost is everybody's delay. What costs is the number of objects and
arrays in it, not its length.
"""

import gc
import re
from typing import Final

from holdshort.wire import Frame, Limits, MessageTooLarge, read_frame

__all__ = ["MOST_CONTAINERS", "read_message"]

MOST_CONTAINERS: Final = 500_000
"""Objects and arrays in one message; about a fifth of a second."""

_LARGE_BYTES: Final = 64 * 1024
_MANY_QUOTES: Final = 200_000
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def read_message(raw: bytes, limits: Limits) -> Frame:
    """Return the message that `raw` is.

    Raises:
        MalformedMessage: as `read_frame`, or more than `MOST_CONTAINERS`.
    """
    if len(raw) < _LARGE_BYTES:
        return read_frame(raw, limits)
    if len(raw) <= limits.max_bytes and _brackets(raw) > MOST_CONTAINERS and _costs_too_much(raw):
        raise MessageTooLarge(f"the message has more than {MOST_CONTAINERS} objects and arrays")
    if not gc.isenabled():
        return read_frame(raw, limits)
    # Nothing of what is made here is garbage; looking for some would take longer than reading.
    gc.disable()
    try:
        return read_frame(raw, limits)
    finally:
        gc.enable()


def _costs_too_much(raw: bytes) -> bool:
    # A result may hold JSON as text, whose brackets cost nothing. To take strings out is itself only cheap for a few.
    quotes = raw.count(b'"') - raw.count(b'\\"')
    return quotes > _MANY_QUOTES or _brackets(_STRINGS.sub(b"", raw)) > MOST_CONTAINERS


def _brackets(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[")
