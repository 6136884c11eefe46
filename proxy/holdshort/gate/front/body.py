"""Reading one message from an HTTP request, and refusing what is none."""

from collections.abc import Callable, Mapping
from typing import Any

from holdshort.gate.front.guard import Refusal
from holdshort.gate.front.post import send_json
from holdshort.wire import Frame, Limits, MalformedMessage, MessageTooLarge, classify, decode, encode, error_reply

__all__ = ["Receive", "Send", "check_content_type", "read_message", "refuse"]

Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


async def refuse(send: Send, refusal: Refusal) -> None:
    """Send why a request goes no further."""
    await send_json(send, refusal.status, encode(error_reply(None, -32600, refusal.message)), refusal.headers)


def check_content_type(headers: Mapping[bytes, bytes]) -> Refusal | None:
    """Refuse anything but JSON in UTF-8, which no web form can send."""
    if headers.get(b"content-type") == b"application/json":
        return None
    kind, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    if kind.strip() != b"application/json" or parameters.strip() not in (b"", b"charset=utf-8", b'charset="utf-8"'):
        return Refusal(415, "send `content-type: application/json` in UTF-8")
    return None


async def read_message(headers: Mapping[bytes, bytes], receive: Receive, send: Send, limits: Limits) -> Frame | None:
    """Return the body's message, strictly decoded; None when it was none and the client has been told so."""
    try:
        # How long a body may take is watched where connections are: `server.web`.
        raw = await _read_body(headers, receive, limits.max_bytes)
        value = decode(raw, limits)
        return Frame(value, raw, classify(value))
    except MessageTooLarge as error:
        await send_json(send, 413, encode(error_reply(None, -32600, str(error))))
    except MalformedMessage as error:
        code = -32600 if error.invalid_request else -32700
        await send_json(send, 400, encode(error_reply(error.request_id, code, str(error))))
    return None


async def _read_body(headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > max_bytes:
        raise MessageTooLarge(f"the message has {int(length)} bytes; at most {max_bytes} are read")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise MessageTooLarge(f"the message has more than {max_bytes} bytes; at most {max_bytes} are read")
        if not message.get("more_body"):
            return b"".join(parts)
