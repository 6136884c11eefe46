"""The `holdshort/` keys of `_meta` are ours alone: what an agent or an upstream puts there is not passed on.

An upstream could otherwise speak in the proxy's name ("approved"), and an agent could feed a server the same.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from holdshort.gate.upstream import StatusFrame
from holdshort.wire import Frame, Limits, decode

__all__ = [
    "CALL_KEY",
    "ERROR_KEY",
    "INTERRUPTION_KEY",
    "OUTCOME_KEY",
    "PARK_KEY",
    "REPEAT_KEY",
    "RUN_KEY",
    "without_our_keys",
    "without_our_keys_in",
]

_PREFIX: Final = "holdshort/"
_ESCAPED_LETTER = re.compile(rb"\\u00(?:6[48cCfF]|7[234]|2[fF])")
"""An escape that a letter of our name may hide behind."""
_READ_ALREADY: Final = Limits(max_bytes=sys.maxsize, max_depth=512, max_keys=sys.maxsize, max_string_bytes=sys.maxsize)
"""The link has held the message to its limits; here it is only taken apart."""
INTERRUPTION_KEY: Final = "holdshort/interruption"
"""On every answer to a parked call: where the call stands."""
PARK_KEY: Final = "holdshort/park"
"""From a client that resumes by itself: `"now"` skips the hold."""
RUN_KEY: Final = "holdshort/run_id"
CALL_KEY: Final = "holdshort/call_id"
"""With the run's id: which call it is, however often it is sent."""
REPEAT_KEY: Final = "holdshort/repeat"
"""True from a client that may have sent this very call before, and does not know what came of it."""
ERROR_KEY: Final = "holdshort/error"
"""On an answer of ours that no record stands behind: why the call was not taken, as a code."""
OUTCOME_KEY: Final = "holdshort/outcome"
"""On the same: what is known of an earlier one."""


def without_our_keys(params: dict[str, Any]) -> dict[str, Any]:
    """Return an agent's params without `holdshort/` keys in `_meta`; the same object when there are none."""
    meta = params.get("_meta")
    if not isinstance(meta, Mapping) or not any(key.startswith(_PREFIX) for key in meta):
        return params
    return {**params, "_meta": {key: value for key, value in meta.items() if not key.startswith(_PREFIX)}}


def without_our_keys_in(frame: Frame) -> Frame:
    """Return an upstream's message without `holdshort/` keys in any `_meta`; the same frame when there are none.

    The bytes are searched first, so a message without them costs one pass in C and nothing else.

    Raises:
        MalformedMessage: it has such keys and is not strict JSON, so it cannot be rewritten faithfully.
    """
    raw = frame.raw
    # In this order each search is a plain one in C; the pattern is only tried where there are such escapes at all.
    if b"holdshort" not in raw and (b"\\u00" not in raw or _ESCAPED_LETTER.search(raw) is None):
        return frame
    value = decode(frame.raw, _READ_ALREADY)
    cleaned = _clean(value)
    if cleaned == value:
        return frame
    if isinstance(frame, StatusFrame):
        return StatusFrame(cleaned, kind=frame.kind, frame_status=frame.frame_status)
    return Frame(cleaned, kind=frame.kind)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _clean_meta(item) if key == "_meta" and isinstance(item, dict) else _clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _clean_meta(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: _clean(item) for key, item in meta.items() if not key.startswith(_PREFIX)}
