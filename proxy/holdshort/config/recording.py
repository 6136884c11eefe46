"""`record`: whether calls are recorded for replays, for how long, and what is left out. Off unless it is there."""

from typing import Final

from holdshort.config.document import Entry, Value
from holdshort.config.model import RecordConfig
from holdshort.config.reading import Reading
from holdshort.policy import BadPattern, ToolPattern, parse_tool_pattern
from holdshort.policy.redaction import ArgumentPath, Redaction, parse_argument_path

__all__ = ["RECORD_KEYS", "read_record"]

RECORD_KEYS: Final = ("keep", "arguments", "redact", "max_bytes")

_LARGEST: Final = 16 * 1024 * 1024


def read_record(reading: Reading, entry: Entry | None) -> RecordConfig | None:
    """Read `record`: a duration, true or false, or a map; None where nothing is to be recorded."""
    if entry is None:
        return None
    value = entry.value
    if value.kind == "bool":
        return RecordConfig() if reading.flag(value, "record") else None
    if value.kind != "map":
        keep = reading.seconds(value, "record", bare=False)
        return None if keep is None else RecordConfig(keep)
    found = reading.section(value, "record", RECORD_KEYS) or {}
    said = RecordConfig()
    keep = reading.seconds(found["keep"].value, "record keep") if "keep" in found else said.keep
    arguments = reading.flag(found["arguments"].value, "record arguments") if "arguments" in found else said.arguments
    size = reading.size(found["max_bytes"].value, "record max_bytes") if "max_bytes" in found else said.max_bytes
    if size is not None and size > _LARGEST:
        reading.problem(found["max_bytes"].value.place, "record max_bytes: at most 16 MiB of one call are recorded")
    redact = _redaction(reading, found["redact"].value) if "redact" in found else said.redact
    if "redact" in found and arguments is False:
        reading.note(found["redact"].place, "record redact: there is nothing to redact, because `arguments` is false")
    return RecordConfig(keep or said.keep, arguments is not False, size or said.max_bytes, redact)


def _redaction(reading: Reading, value: Value) -> Redaction:
    """Read paths for every tool, or a map from globs over tools to paths."""
    if value.kind != "map":
        return Redaction(((ToolPattern("*", "*", "*"), _paths(reading, value)),))
    rules: list[tuple[ToolPattern, tuple[ArgumentPath, ...]]] = []
    for entry in value.entries:
        try:
            glob = parse_tool_pattern(entry.key)
        except BadPattern as error:
            reading.problem(entry.place, f"record redact: {error}")
            continue
        rules.append((glob, _paths(reading, entry.value)))
    return Redaction(tuple(rules))


def _paths(reading: Reading, value: Value) -> tuple[ArgumentPath, ...]:
    found: list[ArgumentPath] = []
    for item, text in reading.texts(value, "record redact"):
        try:
            found.append(parse_argument_path(text))
        except BadPattern as error:
            reading.problem(item.place, f"record redact: {error}")
    return tuple(found)
