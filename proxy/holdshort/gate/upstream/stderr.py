"""What a child says on its error stream: passed on line by line, harmless to a terminal, capped, without secrets."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from holdshort.gate.upstream.lines import LineReader, Overlong
from holdshort.gate.upstream.link import Log, UpstreamLimits
from holdshort.gate.upstream.noise import Rate

__all__ = ["Stderr", "secrets_of"]

_KEPT_LINES: Final = 20
_SHORTEST_SECRET: Final = 8
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|DSN", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Stderr:
    """One child's error stream."""

    def __init__(
        self,
        label: str,
        *,
        log: Log,
        limits: UpstreamLimits,
        secrets: Iterable[str],
        monotonic: Callable[[], float],
    ) -> None:
        self._label = label
        self._log = log
        self._reader = LineReader(limits.stderr_line_bytes)
        self._rate = Rate(limits.stderr_lines_per_second, monotonic)
        # Longest first, so that a secret inside another one leaves no remainder.
        self._secrets = sorted(secrets, key=len, reverse=True)
        self.last: deque[str] = deque(maxlen=_KEPT_LINES)

    def feed(self, chunk: bytes) -> None:
        """Take what the child wrote."""
        for line in self._reader.feed(chunk):
            self._line(line)

    def end(self) -> None:
        """Take the last line, though it has no end."""
        line = self._reader.end()
        if line is not None:
            self._line(line)

    def _line(self, line: bytes | Overlong) -> None:
        if not self._rate.allow():
            return
        more = self._rate.suppressed()
        if more:
            self._log.warning("upstream.stderr_suppressed", server=self._label, lines=more)
        text = self._clean(line.head + b"..." if isinstance(line, Overlong) else line)
        if text:
            self.last.append(text)
            self._log.info("upstream.stderr", server=self._label, line=text)

    def _clean(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace").rstrip()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def secrets_of(env: Mapping[str, str], headers: Mapping[str, str]) -> frozenset[str]:
    """Return the values of a server's configuration that must not reach a log."""
    found = {value for name, value in env.items() if _SECRET_NAME.search(name)}
    for value in headers.values():
        found.add(value)
        found.add(value.rpartition(" ")[2])
    return frozenset(value for value in found if len(value) >= _SHORTEST_SECRET)
