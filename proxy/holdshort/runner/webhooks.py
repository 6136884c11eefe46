"""Signed events (Standard Webhooks): checked over the bytes that came, and taken as a hint that something changed.

An event never decides anything. It can show an interruption's newer record earlier; the next `sync` or run reads what
the proxy has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from standardwebhooks import Webhook, WebhookVerificationError

from holdshort.errors import WireError
from holdshort.runner.errors import BadEvent, UserError
from holdshort.wire import Limits, decode

__all__ = ["Headers", "InterruptionEvent", "WebhookSecret", "read_event"]

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""As the web framework has them; case does not count."""
WebhookSecret = str | bytes | Sequence[str | bytes]
"""`whsec_...` as text, or the key itself as bytes; several while a secret is being replaced."""

_NAMES: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_LIMITS: Final = Limits(max_bytes=16 << 20, max_depth=160, max_keys=100_000, max_string_bytes=16 << 20)
_LONGEST_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class InterruptionEvent:
    """What a genuine event says: an interruption had this record at some time."""

    id: str
    """Of the event; the same when it is delivered again."""
    type: str
    record: Mapping[str, Any]

    @property
    def run_id(self) -> str | None:
        """The run that it is about, to find the saved state by."""
        asked = self.record.get("requested_by")
        said = asked.get("run_id") if isinstance(asked, Mapping) else None
        return said if isinstance(said, str) else None


def read_event(headers: Headers, body: bytes, secret: WebhookSecret) -> InterruptionEvent:
    """Return what an event says.

    The body is `{"type": "interruption...", "timestamp": ..., "data": RECORD}`, where the record is what
    `GET /v1/interruptions/{id}` answers.

    Args:
        headers: Of the request.
        body: Of the request, the bytes as they came.
        secret: That the sender signs with.

    Raises:
        BadEvent: it is not signed with the secret, more than 5 minutes old or early, or no event about an interruption.
        UserError: the secret is no such secret.
    """
    named = _named(headers)
    keys = [_webhook(each) for each in ([secret] if isinstance(secret, str | bytes) else secret)]
    if not keys:
        raise UserError("there is no secret to check an event with")
    _verify(keys, named, body)
    try:
        said = decode(body, _LIMITS)
    except WireError as error:
        raise BadEvent(f"the event is no unambiguous JSON: {error}") from None
    kind = said.get("type") if isinstance(said, dict) else None
    record = said.get("data") if isinstance(said, dict) else None
    if not isinstance(kind, str) or not kind.startswith("interruption") or record is None or not _is_record(record):
        raise BadEvent("the event is not about an interruption")
    return InterruptionEvent(named["webhook-id"], kind, record)


def _verify(keys: Sequence[Webhook], named: dict[str, str], body: bytes) -> None:
    problem = ""
    for key in keys:
        try:
            key.verify(body, named, json_parse=False)
        except WebhookVerificationError as error:
            problem = str(error).lower()
        except ValueError:  # a signature or a body that is no text
            problem = "the signature cannot be read"
        else:
            return
    raise BadEvent(f"the event is refused: {problem}")


def _named(headers: Headers) -> dict[str, str]:
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, str] = {}
    for name, value in pairs:
        lower = _text(name).lower()
        if lower not in _NAMES:
            continue
        if lower in found:
            raise BadEvent(f"the event has the header `{lower}` twice")
        found[lower] = _text(value)
    for name in _NAMES:
        if not found.get(name) or len(found[name]) > _LONGEST_HEADER:
            raise BadEvent(f"the event has no usable header `{name}`")
    # The library reads it as a number and signs its whole part: `1.9` would go for `1`.
    if not re.fullmatch(r"[0-9]{1,12}", found["webhook-timestamp"]):
        raise BadEvent("the event's `webhook-timestamp` is not in whole seconds")
    return found


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _webhook(secret: str | bytes) -> Webhook:
    # What is no base64 would be cut down to what is, and verify with less than the whole secret.
    if isinstance(secret, str) and not re.fullmatch(r"[A-Za-z0-9+/]{16,}={0,2}", secret.removeprefix("whsec_")):
        raise UserError("a webhook secret is `whsec_` and base64, of at least 12 bytes; pass other keys as bytes")
    if isinstance(secret, bytes) and len(secret) < 12:
        raise UserError("a webhook secret has at least 12 bytes")
    try:
        return Webhook(secret)
    except ValueError:
        raise UserError("a webhook secret is `whsec_` and base64; this one cannot be decoded") from None


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("id", "state", "fingerprint"))
        and type(value.get("revision")) is int
        and value["revision"] >= 0
    )
