"""Moments and durations in conditions: read from text, and taken apart, in UTC or in a zone that is written out."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Final

from holdshort.policy.cel.values import ConditionFailed

__all__ = ["ACCESSORS", "duration_text", "parse_duration", "parse_timestamp", "parse_zone", "timestamp_text"]

_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DURATION: Final = re.compile(r"-?(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:h|ms|m|s|us|µs|ns))+")
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_MICROSECONDS: Final = {
    "h": 3_600_000_000.0,
    "m": 60_000_000.0,
    "s": 1_000_000.0,
    "ms": 1000.0,
    "us": 1.0,
    "µs": 1.0,
    "ns": 0.001,
}


def parse_timestamp(text: str) -> datetime:
    """Return the moment that an RFC 3339 text names, in UTC, cut to microseconds.

    Raises:
        ConditionFailed: it names none.
    """
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ConditionFailed("a text is no moment such as `2026-03-01T12:00:00Z`")
    *parts, fraction, zone = found.groups()
    year, month, day, hour, minute, second = map(int, parts)
    micro = int((fraction or "").ljust(6, "0")[:6])
    try:
        moment = datetime(
            year, month, day, hour, minute, second, micro, UTC if zone in "Zz" else timezone(_offset(zone))
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConditionFailed("a text is no moment: a part of it is out of range") from None


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as `1h30m` names, rounded to microseconds.

    Raises:
        ConditionFailed: it names none.
    """
    if len(text) > 100 or not _DURATION.fullmatch(text):
        raise ConditionFailed("a text is no duration such as `30m` or `1h30m`; its units are h, m, s, ms, us, ns")
    total = sum(float(number) * _MICROSECONDS[unit] for number, unit in _PART.findall(text))
    try:
        return timedelta(microseconds=-total if text.startswith("-") else total)
    except OverflowError:
        raise ConditionFailed("a duration is out of range") from None


def parse_zone(text: str) -> tzinfo:
    """Return the zone of an offset such as `+01:00`, or of a name such as `Europe/Vienna`.

    Raises:
        ConditionFailed: it names none, or this machine does not know it.
    """
    if text == "UTC":
        return UTC
    if _OFFSET.fullmatch(text):
        try:
            return timezone(_offset(text))
        except ValueError:
            raise ConditionFailed("an offset is out of range") from None
    # The one table that the core reads from outside: once, when the condition is compiled, as data and not as a fact.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConditionFailed(
            "no such time zone on this machine; write `Europe/Vienna` or an offset such as `+01:00`"
        ) from None


def timestamp_text(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration_text(duration: timedelta) -> str:
    """Return a duration in seconds, as CEL writes it: `5400s`."""
    seconds, rest = divmod(abs(duration) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if duration < timedelta(0) else ""
    return f"{sign}{seconds}{f'.{rest:06d}'.rstrip('0') if rest else ''}s"


def _offset(text: str) -> timedelta:
    hours, minutes = int(text[1:3]), int(text[4:6])
    if minutes > 59:
        raise ValueError
    size = timedelta(hours=hours, minutes=minutes)
    return -size if text[0] == "-" else size


def _in(zone: tzinfo | None, moment: datetime) -> datetime:
    try:
        return moment.astimezone(zone or UTC)
    except OverflowError:
        raise ConditionFailed("a time is out of range") from None


ACCESSORS: Final[Mapping[str, Callable[[datetime, tzinfo | None], int]]] = MappingProxyType(
    {
        "getFullYear": lambda at, zone: _in(zone, at).year,
        "getMonth": lambda at, zone: _in(zone, at).month - 1,
        "getDate": lambda at, zone: _in(zone, at).day,
        "getDayOfMonth": lambda at, zone: _in(zone, at).day - 1,
        "getDayOfWeek": lambda at, zone: _in(zone, at).isoweekday() % 7,
        "getDayOfYear": lambda at, zone: _in(zone, at).timetuple().tm_yday - 1,
        "getHours": lambda at, zone: _in(zone, at).hour,
        "getMinutes": lambda at, zone: _in(zone, at).minute,
        "getSeconds": lambda at, zone: _in(zone, at).second,
        "getMilliseconds": lambda at, zone: _in(zone, at).microsecond // 1000,
    }
)
"""CEL counts months, days of the month (`getDayOfMonth`), of the week (0 is Sunday) and of the year from 0."""
