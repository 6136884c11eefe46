"""Recordings of calls, for replaying them: made only where the configuration says so, erased when their time is up.

A recording holds what policy judged by: the arguments without what is redacted, the facts of the tool, the caller.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from holdshort.policy import Access, Call, Kind, PinMode, Policy
from holdshort.policy.recorded import access_record, call_record
from holdshort.policy.redaction import Redaction
from holdshort.store import NewRecording
from holdshort.store.chain import dump

__all__ = ["Recorder"]

_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Recorder:
    """Makes the recording of one call. `policy` is the policy in force."""

    policy: Callable[[], Policy]
    keep: timedelta
    arguments: bool = True
    max_bytes: int = 64 * 1024
    redaction: Redaction = field(default_factory=Redaction)

    def call(self, call: Call) -> NewRecording:
        """Return the recording of a call of a tool."""
        counted = self.policy().pins is not PinMode.OFF
        said = call_record(call, pins_counted=counted)
        return self._made(said, call.tool.server, call.tool.name, call.arguments, call)

    def access(self, access: Access) -> NewRecording:
        """Return the recording of a use of something that is no tool; a URI is recorded like an argument."""
        said = access_record(access)
        if access.kind is Kind.RESOURCE:
            shown = not self.redaction.names_any(access.server, access.name, _query_names(access.name))
            return self._made(said, access.server, access.name, {"uri": access.name} if shown else {}, access)
        return self._made(said, access.server, access.name, access.arguments, access)

    def _made(
        self, said: dict[str, Any], server: str, name: str, arguments: Mapping[str, Any], asked: Call | Access
    ) -> NewRecording:
        # Without the salt, arguments that are easily guessed could be found by their digest after they are erased.
        body: dict[str, Any] = {"salt": secrets.token_hex(_SALT_BYTES), **said}
        text = ""
        if self.arguments:
            cleaned, places = self.redaction.apply(server, name, arguments)
            kept = {**body, "arguments": cleaned}
            text = dump({**kept, "redacted": places} if places else kept)
        if not self.arguments or len(text) > self.max_bytes:
            text = dump({**body, "left_out": "too_large" if self.arguments else "arguments"})
        return NewRecording(text, asked.now + self.keep)


def _query_names(uri: str) -> Iterator[str]:
    for part in uri.partition("?")[2].replace(";", "&").split("&"):
        yield part.partition("=")[0]
