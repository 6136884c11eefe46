"""Signed events: only what the sender signed, recently and once, and even that decides nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from holdshort.runner.errors import BadEvent, UserError
from holdshort.runner.webhooks import read_event
from kit.proxy import ProxyKit
from runner.parking import decided, parking, state_with

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_c2VjcmV0IHRoYXQgbm9ib2R5IGtub3dz"
RECORD: dict[str, Any] = {
    "id": "i-1",
    "state": "approved",
    "fingerprint": "ab",
    "revision": 2,
    "requested_by": {"run_id": "run-1", "call_id": "c"},
}
Sent = tuple[dict[str, str], bytes]


def sent(
    record: Any, *, secret: str | bytes = SECRET, event: str = "msg_1", at: datetime | None = None, kind: Any = None
) -> Sent:
    """An event as it arrives."""
    said = {"type": kind or "interruption.updated", "timestamp": "2026-11-20T10:00:00Z", "data": record}
    return signed(json.dumps(said), secret=secret, event=event, at=at)


def signed(text: str, *, secret: str | bytes = SECRET, event: str = "msg_1", at: datetime | None = None) -> Sent:
    """Any text, signed."""
    when = at or datetime.now(UTC)
    headers = {
        "Webhook-Id": event,
        "Webhook-Timestamp": str(int(when.timestamp())),
        "Webhook-Signature": Webhook(secret).sign(event, when, text),
        "Content-Type": "application/json",
    }
    return headers, text.encode()


def test_a_genuine_event_says_which_run_it_is_about() -> None:
    headers, body = sent(RECORD)
    event = read_event(headers, body, SECRET)
    assert (event.id, event.type, event.run_id) == ("msg_1", "interruption.updated", "run-1")
    assert event.record == RECORD


def test_headers_come_as_the_framework_has_them() -> None:
    headers, body = sent(RECORD)
    lower = {name.lower(): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in lower.items()]
    assert read_event(lower, body, SECRET) == read_event(raw, body, SECRET) == read_event(headers, body, SECRET)


def test_the_secret_can_be_bytes_or_several() -> None:
    headers, body = sent(RECORD, secret=b"a key of some length")
    assert read_event(headers, body, b"a key of some length").id == "msg_1"
    assert read_event(headers, body, [SECRET, b"a key of some length"]).id == "msg_1"
    several, other = sent(RECORD), sent(RECORD, secret=OTHER)
    both = f"{other[0]['Webhook-Signature']} {several[0]['Webhook-Signature']}"
    assert read_event({**several[0], "Webhook-Signature": both}, several[1], SECRET).id == "msg_1"


def changes() -> dict[str, Sent]:
    """Events that are not what was signed."""
    headers, body = sent(RECORD)
    stamp, sign = headers["Webhook-Timestamp"], headers["Webhook-Signature"]
    now = datetime.now(UTC)
    return {
        "another body": (headers, body.replace(b"i-1", b"i-2")),
        "a space more": (headers, body + b" "),
        "the same JSON, written otherwise": (headers, json.dumps(json.loads(body), separators=(",", ":")).encode()),
        "no body": (headers, b""),
        "a body that is no text": (headers, b"\xff\xfe"),
        "another id": ({**headers, "Webhook-Id": "msg_2"}, body),
        "another time": ({**headers, "Webhook-Timestamp": str(int(stamp) - 1)}, body),
        "a time with a fraction": ({**headers, "Webhook-Timestamp": f"{stamp}.5"}, body),
        "a time that is none": ({**headers, "Webhook-Timestamp": "now"}, body),
        "a time beyond time": ({**headers, "Webhook-Timestamp": "9" * 12}, body),
        "no time": ({key: value for key, value in headers.items() if key != "Webhook-Timestamp"}, body),
        "no id": ({**headers, "Webhook-Id": ""}, body),
        "no signature": ({**headers, "Webhook-Signature": ""}, body),
        "a signature of nothing": ({**headers, "Webhook-Signature": "v1,"}, body),
        "a signature that is no base64": ({**headers, "Webhook-Signature": "v1,***"}, body),
        "a signature without a version": ({**headers, "Webhook-Signature": sign.removeprefix("v1,")}, body),
        "a signature of another version": ({**headers, "Webhook-Signature": sign.replace("v1,", "v2,")}, body),
        "a signature of another kind": ({**headers, "Webhook-Signature": sign.replace("v1,", "v1a,")}, body),
        "a header twice": ({**headers, "webhook-id": "msg_1"}, body),
        "a header without end": ({**headers, "Webhook-Id": "x" * 5000}, body),
        "another secret": sent(RECORD, secret=OTHER),
        "six minutes old": sent(RECORD, at=now - timedelta(minutes=6)),
        "six minutes early": sent(RECORD, at=now + timedelta(minutes=6)),
    }


@pytest.mark.parametrize("what", sorted(changes()))
def test_what_was_not_signed_so_is_refused(what: str) -> None:
    headers, body = changes()[what]
    with pytest.raises(BadEvent, match="the event"):
        read_event(headers, body, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "{}",
        '{"type": "interruption.updated"}',
        '{"type": "interruption.updated", "data": {"id": "i-1"}}',
        json.dumps({"type": "grant.made", "data": RECORD}),
        json.dumps({"type": 7, "data": RECORD}),
        json.dumps({"type": "interruption.updated", "data": {**RECORD, "revision": True}}),
        json.dumps({"type": "interruption.updated", "data": {**RECORD, "revision": -1}}),
        json.dumps({"type": "interruption.updated", "data": [RECORD]}),
        '{"type": "interruption.updated", "type": "interruption.updated", "data": {}}',
        '{"type": "interruption.updated", "data": NaN}',
        "not JSON",
    ],
    ids=["a list", "null", "nothing", "no data", "half a record", "another type", "no type", "yes for a revision",
         "a revision below none", "records", "a key twice", "NaN", "no JSON"],
)  # fmt: skip
def test_what_is_signed_and_no_event_is_refused(text: str) -> None:
    headers, body = signed(text)
    with pytest.raises(BadEvent, match=r"no unambiguous JSON|not about an interruption"):
        read_event(headers, body, SECRET)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_short", "not base64 at all!!", b"", b"short", []],
    ids=["none", "a prefix", "short", "words", "no bytes", "few bytes", "no list"],
)
def test_a_secret_that_protects_nothing_is_refused(secret: Any) -> None:
    headers, body = sent(RECORD)
    with pytest.raises(UserError, match="secret"):
        read_event(headers, body, secret)


def test_no_secret_is_in_what_is_raised() -> None:
    headers, body = sent(RECORD, secret=OTHER)
    with pytest.raises(BadEvent) as refused:
        read_event(headers, body, SECRET)
    assert SECRET.removeprefix("whsec_") not in str(refused.value)


# -- on a state


@pytest.fixture(scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    async with parking(tmp_path_factory.mktemp("webhooks")) as proxy:
        yield proxy


async def test_an_event_shows_the_newer_record_and_decides_nothing(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "ana"}))
    [waiting] = state.get_interruptions()
    await decided(kit, waiting.id, "approve")
    before = state.revision
    changes = state.apply_event(*sent(await kit.interruption(waiting.id)), SECRET)
    assert [each.status for each in changes.updated] == ["approved"]
    assert changes.enough("all")
    assert state.get_interruptions()[0].status == "approved"
    assert state.data.calls[0].status == "parked"
    assert state.revision > before


async def test_what_an_event_says_is_overruled_by_the_proxy(kit: ProxyKit) -> None:
    """Even a sender that signs lies cannot make anything run: it is read again before anything is done."""
    state = await state_with(kit, ("send_mail", {"to": "ana"}))
    [waiting] = state.get_interruptions()
    lie = {**await kit.interruption(waiting.id), "state": "approved", "revision": 99}
    state.apply_event(*sent(lie), SECRET)
    assert state.get_interruptions()[0].status == "approved"
    changes = await state.sync()
    assert [each.status for each in changes.still_pending] == ["pending"]
    assert [each.id for each in changes.updated] == [waiting.id]


async def test_an_event_is_heard_once(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "ana"}))
    record = await kit.interruption(state.get_interruptions()[0].id)
    headers, body = sent(record, event="msg_once")
    state.apply_event(headers, body, SECRET)
    with pytest.raises(BadEvent, match="`msg_once` came before"):
        state.apply_event(headers, body, SECRET)


async def test_an_event_that_is_refused_does_not_use_up_its_id(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "ana"}))
    headers, body = sent(await kit.interruption(state.get_interruptions()[0].id))
    with pytest.raises(BadEvent):
        state.apply_event(headers, body + b" ", SECRET)
    state.apply_event(headers, body, SECRET)


async def test_older_events_change_nothing(kit: ProxyKit) -> None:
    state = await state_with(kit, ("send_mail", {"to": "ana"}))
    [waiting] = state.get_interruptions()
    old = await kit.interruption(waiting.id)
    await decided(kit, waiting.id, "reject")
    state.apply_event(*sent(await kit.interruption(waiting.id), event="msg_new"), SECRET)
    assert state.apply_event(*sent(old, event="msg_old"), SECRET).updated == ()
    assert state.get_interruptions()[0].status == "rejected"


async def test_events_about_other_calls_change_nothing(kit: ProxyKit) -> None:
    one = await state_with(kit, ("send_mail", {"to": "ana"}))
    other = await state_with(kit, ("send_mail", {"to": "bob"}))
    theirs = await kit.interruption(other.get_interruptions()[0].id)
    before = one.to_string()
    assert one.apply_event(*sent({**theirs, "revision": 9}), SECRET).updated == ()
    own = one.get_interruptions()[0].id
    disguised = {**theirs, "id": own, "revision": 9}
    assert one.apply_event(*sent(disguised, event="msg_2"), SECRET).updated == ()
    assert one.to_string() == before
