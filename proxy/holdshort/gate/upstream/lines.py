"""Lines out of a stream of bytes: linear time, bounded memory, and never many lines in one turn of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Intake", "LineReader", "Overlong"]

_KEPT: Final = 4096
_LINES_PER_TURN: Final = 256
_BYTES_PER_TURN: Final = 512 * 1024
_PENALTY_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Overlong:
    """What is known of a line that was over the limit: both ends (at most 4 KiB each) and its size."""

    head: bytes
    tail: bytes
    size: int


class LineReader:
    """Splits chunks into lines at `\\n`. Of a line over `max_bytes` no more than its ends is kept."""

    __slots__ = ("_head", "_max_bytes", "_parts", "_size", "_skipping", "_tail")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._head = b""
        self._tail = b""

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """Return the lines that `chunk` completes, without their ends."""
        pieces = chunk.split(b"\n")
        rest = pieces.pop()
        lines: list[bytes | Overlong] = []
        for piece in pieces:
            if self._size:
                lines.append(self._finish(piece))
            elif len(piece) > self._max_bytes:
                lines.append(Overlong(piece[:_KEPT], piece[-_KEPT:], len(piece)))
            else:
                lines.append(piece)
        if rest:
            self._hold(rest)
        return lines

    def end(self) -> bytes | Overlong | None:
        """Return what was left without a line end, if anything."""
        return self._finish(b"") if self._size else None

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._skipping:
            self._tail = (self._tail + piece[-_KEPT:])[-_KEPT:]
            return
        self._parts.append(piece)
        if self._size > self._max_bytes:
            held = b"".join(self._parts)
            self._head, self._tail = held[:_KEPT], held[-_KEPT:]
            self._parts.clear()
            self._skipping = True

    def _finish(self, piece: bytes) -> bytes | Overlong:
        if piece:
            self._hold(piece)
        if self._skipping:
            line: bytes | Overlong = Overlong(self._head, self._tail, self._size)
            self._skipping = False
            self._head = self._tail = b""
        else:
            line = b"".join(self._parts)
            self._parts.clear()
        self._size = 0
        return line


class Intake:
    """Hands lines on, a bounded amount of work per turn of the loop, so that one flood delays nobody else for long.

    `handle` says whether the line was of any use. A peer that fills a whole turn with useless lines is also slowed
    down: reading pauses for a moment, and its pipe fills up.
    """

    __slots__ = ("_handle", "_held", "_lines", "_pause", "_paused", "_resume", "_timer")

    def __init__(
        self, handle: Callable[[bytes | Overlong], bool], *, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._handle = handle
        self._pause = pause
        self._resume = resume
        self._lines: deque[bytes | Overlong] = deque()
        self._timer: asyncio.Handle | None = None
        self._held = False
        self._paused = False

    def push(self, lines: list[bytes | Overlong]) -> None:
        """Take lines in order; most often they are all handled before this returns."""
        self._lines.extend(lines)
        if self._timer is None and not self._held:
            self._turn()

    def hold(self) -> None:
        """Stop handing lines on until `release`: a slow reader must be waited for."""
        self._held = True
        self._read(False)

    def release(self) -> None:
        """Go on after `hold`."""
        self._held = False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._turn)

    def drain(self) -> None:
        """Hand on all that is left, at once: nothing more will come."""
        self._stop_timer()
        while self._lines:
            self._handle(self._lines.popleft())

    def close(self) -> None:
        """Forget what is left."""
        self._stop_timer()
        self._lines.clear()

    def _turn(self) -> None:
        self._timer = None
        lines = self._lines
        count = size = useful = 0
        while lines and not self._held and count < _LINES_PER_TURN and size < _BYTES_PER_TURN:
            line = lines.popleft()
            count += 1
            size += line.size if isinstance(line, Overlong) else len(line)
            useful += self._handle(line)
        if lines and not self._held:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_soon(self._turn) if useful else loop.call_later(_PENALTY_SECONDS, self._turn)
        self._read(not self._held and not lines)

    def _read(self, wanted: bool) -> None:
        if wanted is self._paused:
            self._paused = not wanted
            if wanted:
                self._resume()
            else:
                self._pause()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
