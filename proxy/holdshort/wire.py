"""One strict decode: what was decoded here is what is judged, shown, hashed, stored and sent on.

Peers that disagree about a byte string (duplicate keys, `NaN`, lone surrogates, a byte order mark) can be made to
disagree about a call. So bytes that two JSON readers could read in two ways are not a message at all.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn

import orjson

from holdshort.errors import WireError

__all__ = [
    "DEFAULT_LIMITS",
    "MCP_META_PREFIX",
    "Frame",
    "Json",
    "Kind",
    "Limits",
    "MalformedMessage",
    "MessageTooLarge",
    "RequestId",
    "classify",
    "decode",
    "encode",
    "error_reply",
    "read_frame",
    "result_reply",
]

Json = Any
"""Any JSON value as the standard library shows it: `dict`, `list`, `str`, `int`, `float`, `bool`, `None`."""

RequestId = str | int
"""A JSON-RPC id; `7` and `"7"` are two ids."""

MCP_META_PREFIX: Final = "io.modelcontextprotocol/"
"""Prefix of the `_meta` keys that the protocol itself defines (MCP 2026-07-28, basic: `_meta`)."""


class MalformedMessage(WireError):
    """Raised when bytes are not one unambiguous JSON message. `reason` says why, in words for the sender.

    `invalid_request` tells JSON that is fine but no JSON-RPC message (-32600) from what is no JSON at all (-32700).
    """

    def __init__(self, reason: str, *, invalid_request: bool = False, request_id: RequestId | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.invalid_request = invalid_request
        self.request_id = request_id


class MessageTooLarge(MalformedMessage):
    """Raised when a message is over a limit; what lies beyond the limit was never read."""

    code = "too_large"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may cost us before anything looks at it."""

    max_bytes: int = 4 * 1024 * 1024
    max_depth: int = 64
    max_keys: int = 10_000
    """Keys in one object."""
    max_string_bytes: int = 4 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_BOM = b"\xef\xbb\xbf"


def decode(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> Json:
    """Return the one value that `raw` means.

    Integers keep every digit. Refused: invalid UTF-8, a byte order mark, duplicate keys, `NaN` and infinities (a
    number too large for a double included), lone surrogates, and anything over `limits`.

    Raises:
        MessageTooLarge: over a limit of size, depth or count.
        MalformedMessage: anything else that is not one unambiguous JSON value.
    """
    if len(raw) > limits.max_bytes:
        raise MessageTooLarge(f"the message has {len(raw)} bytes; at most {limits.max_bytes} are read")
    if raw.startswith(_BOM):
        raise MalformedMessage("the message starts with a byte order mark; send plain UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"the message is not UTF-8 (byte {error.start})") from None
    try:
        value = _decoder(limits).decode(text)
    except json.JSONDecodeError as error:
        raise MalformedMessage(
            f"the message is not JSON: {error.msg.lower()} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise _too_deep(limits.max_depth) from None
    except ValueError as error:
        # CPython refuses to convert integers of more than 4,300 digits; losing digits is no alternative.
        raise MalformedMessage(f"the message has a number that cannot be kept exactly: {error}") from None
    _check_depth(value, raw, limits.max_depth)
    if b"\\ud" in raw or b"\\uD" in raw or len(raw) > limits.max_string_bytes:
        _check_strings(value, limits.max_string_bytes)
    return value


def encode(value: Json) -> bytes:
    """Return `value` as compact UTF-8 JSON on one line (control characters are always escaped)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson stops at 64-bit integers; the standard library keeps every digit.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Kind(StrEnum):
    """What a JSON-RPC message is."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


def classify(message: Json) -> Kind:
    """Say what a decoded message is (JSON-RPC 2.0 sections 4 and 5, as narrowed by MCP).

    Stricter than the SDK, on purpose: `"id": null` or `1.0` is an error, not a notification, and a batch is refused
    in every protocol revision, because a batch is a way around a gate that looks at one call.

    Raises:
        MalformedMessage: with `invalid_request` set, and the request's id where it could be read.
    """
    if isinstance(message, list):
        _refuse("batches are not accepted; send one message at a time")
    if not isinstance(message, dict):
        _refuse("a JSON-RPC message is an object")
    has_id = "id" in message
    request_id = message.get("id")
    if has_id and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        if "error" in message and request_id is None:
            return Kind.RESPONSE
        _refuse("`id` must be a string or an integer")
    if isinstance(request_id, int) and not -(2**63) <= request_id < 2**63:
        # Peers that read it as a double would answer somebody else, or nobody.
        _refuse("`id` must fit in 64 bits")
    if message.get("jsonrpc") != "2.0":
        _refuse('`jsonrpc` must be "2.0"', request_id)
    if "method" in message:
        if not isinstance(message["method"], str):
            _refuse("`method` must be a string", request_id)
        if "result" in message or "error" in message:
            _refuse("a message cannot be a request and a response at once", request_id)
        if "params" in message and not isinstance(message["params"], dict):
            _refuse("`params` must be an object", request_id)
        return Kind.REQUEST if has_id else Kind.NOTIFICATION
    if not has_id:
        _refuse("a message needs a `method` or an `id`")
    if ("result" in message) == ("error" in message):
        _refuse("a response has either `result` or `error`", request_id)
    if "error" in message and not _is_error_object(message["error"]):
        _refuse("`error` must be an object with an integer `code` and a string `message`", request_id)
    if "result" in message and not isinstance(message["result"], dict):
        _refuse("`result` must be an object", request_id)
    return Kind.RESPONSE


class Frame:
    """One message as it came: the bytes, to pass on untouched, and the value, to look at."""

    __slots__ = ("kind", "raw", "value")

    def __init__(self, value: dict[str, Any], raw: bytes | None = None, kind: Kind | None = None) -> None:
        self.value = value
        self.raw = encode(value) if raw is None else raw
        self.kind = classify(value) if kind is None else kind

    def __repr__(self) -> str:
        return f"Frame({self.kind.value}, {self.value.get('method', self.value.get('id'))!r}, {len(self.raw)} bytes)"


def read_frame(raw: bytes, limits: Limits) -> Frame:
    """Read a message that policy does not judge (an upstream's): checked in size, depth and shape, then passed on.

    A fast reader is enough here: these bytes are forwarded as they are, never judged, hashed or stored.

    Raises:
        MalformedMessage: not one JSON-RPC message, or over `limits`.
    """
    if len(raw) > limits.max_bytes:
        raise MessageTooLarge(f"the message has {len(raw)} bytes; at most {limits.max_bytes} are read")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise _too_deep(limits.max_depth) from None
        raise MalformedMessage(f"the message is not JSON: {error.msg}") from None
    _check_depth(value, raw, limits.max_depth)
    if b"\n" in raw or b"\r" in raw:
        # Between tokens only, or it were no JSON; where a message is a line, it has to be one.
        raw = raw.translate(_ONE_LINE)
    return Frame(value, raw, classify(value))


def result_reply(request_id: RequestId, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON-RPC response that carries `result`."""
    return {"jsonrpc": "2.0", "id": request_id, "result": dict(result)}


def error_reply(request_id: RequestId | None, code: int, message: str, data: Json = None) -> dict[str, Any]:
    """Return the JSON-RPC error response; `request_id` is None where the request's id could not be read."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def _refuse(reason: str, request_id: Any = None) -> NoReturn:
    known = request_id if isinstance(request_id, str | int) and not isinstance(request_id, bool) else None
    raise MalformedMessage(reason, invalid_request=True, request_id=known)


def _is_error_object(error: Json) -> bool:
    return (
        isinstance(error, dict)
        and isinstance(error.get("code"), int)
        and not isinstance(error["code"], bool)
        and isinstance(error.get("message"), str)
    )


def _check_depth(value: Json, raw: bytes, max_depth: int) -> None:
    """Refuse deep nesting. The parsers stop by themselves far below what could hurt them; this is the limit we name."""
    if raw.count(b"{") + raw.count(b"[") <= max_depth:
        return
    level = [value]
    for _ in range(max_depth):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> MessageTooLarge:
    return MessageTooLarge(f"the message is nested deeper than {max_depth} levels")


def _check_strings(value: Json, max_string_bytes: int) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            try:
                size = len(item.encode())
            except UnicodeEncodeError:
                raise MalformedMessage("the message has a lone surrogate, which is no character") from None
            if size > max_string_bytes:
                raise MessageTooLarge(f"the message has a string of {size} bytes; at most {max_string_bytes} are read")
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _no_constant(word: str) -> NoReturn:
    raise MalformedMessage(f"the message has `{word}`, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise MalformedMessage(f"the message has the number `{text[:40]}`, which is too large to keep")
    return number


_decoders: dict[Limits, json.JSONDecoder] = {}


def _decoder(limits: Limits) -> json.JSONDecoder:
    made = _decoders.get(limits)
    if made is not None:
        return made
    max_keys = limits.max_keys

    def one_of_each(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
            # Not checked yet: it may hold half a character, which no answer could carry.
            shown = twice[:80].encode("utf-8", "replace").decode()
            raise MalformedMessage(f"the message has the key `{shown}` twice in one object")
        if len(found) > max_keys:
            raise MessageTooLarge(f"the message has an object of {len(found)} keys; at most {max_keys} are read")
        return found

    made = json.JSONDecoder(object_pairs_hook=one_of_each, parse_constant=_no_constant, parse_float=_finite)
    return _decoders.setdefault(limits, made)
