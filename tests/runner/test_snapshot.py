"""A saved run: what is written is read back exactly, and what was changed or is not understood is not read at all."""

from __future__ import annotations

import copy
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, RunData, RunStatus, Source, UsageData
from holdshort.runner.errors import StateDamaged, StateTampered, StateVersionError, UserError
from holdshort.runner.plain import MAX_DEPTH
from holdshort.runner.snapshot import READS, VERSION, read, read_text, schema_file, write

SECRET = b"a secret of thirty-two bytes ...."
OTHER = b"another one of thirty-two bytes ."
AGENTS: dict[str, Any] = {
    "Ops": {"model": "gpt-5.6", "instructions": "0f", "tools": {"mail": "1e"}, "handoffs": {}, "output_type": None}
}
RECORD: dict[str, Any] = {"id": "i-1", "state": "pending", "fingerprint": "ab", "revision": 3, "later": {"x": [1.5]}}


def sample(depth: int = 2) -> RunData:
    """A run with something in every field."""
    inner = sample(depth - 1) if depth else None
    calls = [
        CallData(
            call_id=f"call-{status.value}",
            key=f"{depth}:{status.value}",
            kind=CallKind.AGENT if inner is not None and status is CallStatus.SENT else CallKind.FUNCTION,
            name="mail",
            server="local",
            tool="mail",
            arguments='{"to": "ana", "n": 9007199254740993}',
            agent="Ops",
            item={"type": "function_call", "call_id": "c", "async": True, "new_field": None},
            status=status,
            interruption=RECORD if status in (CallStatus.PARKED, CallStatus.CLAIMED) else None,
            token=7 if status is CallStatus.CLAIMED else None,
            output={"type": "function_call_output", "output": "ok"} if status is CallStatus.DONE else None,
            run=inner if status is CallStatus.SENT else None,
            accepted=status is CallStatus.DONE,
        )
        for status in CallStatus
    ]
    return RunData(
        run_id="run-1",
        agent="Ops",
        first_agent="Ops",
        revision=4,
        lineage=["0:019d-a", "3:019d-b"],
        status=RunStatus.WAITING,
        started=True,
        max_turns=None,
        turn=2,
        history=[
            Entry({"role": "user", "content": "Grüße 🙂"}, Source.INPUT, "Ops"),
            Entry({"type": "reasoning", "encrypted_content": "x", "n": 2**70, "f": 0.1}, Source.MODEL, "Ops", "resp_1"),
        ],
        known=1,
        saved=2,
        written=3,
        calls=calls,
        queued=[{"role": "user", "content": "and then"}],
        previous_response_id="resp_0",
        last_response_id="resp_1",
        chained=True,
        whole=False,
        conversation_id="conv_1",
        session_id="s",
        tools_used=["Ops"],
        rejections=[
            {"server": "local", "tool": "mail", "arguments": {"to": "bob"}, "message": None},
            {"server": "local", "tool": "rm", "arguments": None, "message": "never"},
        ],
        awaited=[{"id": "i-2", "token": 1, "call_id": "mcpr_1", "server": "wiki", "tool": "ask", "told": "no"}],
        usage=UsageData(
            requests=1, input_tokens=2, cached_tokens=3, output_tokens=4, reasoning_tokens=5, total_tokens=6
        ),
        final_output={"answer": [1, 2.5, None]},
        trace={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        input_guardrails=[{"name": "g", "output": {"ok": True}}],
        output_guardrails=[{"name": "h"}],
    )


# -- there and back

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
COUNT = st.integers(min_value=0, max_value=2**70)
MAYBE = st.none() | TEXT
RECORDS = st.builds(
    lambda more, state, revision: {**more, "id": "i-1", "state": state, "fingerprint": "f", "revision": revision},
    OBJECT,
    TEXT,
    COUNT,
)
ENTRIES = st.builds(Entry, OBJECT, st.sampled_from(Source), TEXT, MAYBE)
USAGE = st.builds(UsageData, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)


@st.composite
def calls(draw: st.DrawFn, runs: st.SearchStrategy[RunData]) -> CallData:
    status = draw(st.sampled_from(CallStatus))
    waits = status in (CallStatus.PARKED, CallStatus.CLAIMED)
    run = draw(st.none() | runs)
    return CallData(
        call_id=draw(TEXT),
        key="later",
        kind=CallKind.AGENT if run is not None else draw(st.sampled_from(CallKind)),
        name=draw(TEXT),
        server=draw(TEXT),
        tool=draw(TEXT),
        arguments=draw(TEXT),
        agent=draw(TEXT),
        item=draw(OBJECT),
        status=status,
        interruption=draw(RECORDS if waits else st.none() | RECORDS),
        token=draw(COUNT.filter(bool) if status is CallStatus.CLAIMED else st.none() | COUNT.filter(bool)),
        output=draw(OBJECT) if status is CallStatus.DONE else None,
        run=run,
        accepted=draw(st.booleans()),
    )


@st.composite
def runs(draw: st.DrawFn, inside: st.SearchStrategy[RunData]) -> RunData:
    history = draw(st.lists(ENTRIES, max_size=3))
    return RunData(
        run_id=draw(TEXT),
        agent=draw(TEXT),
        first_agent=draw(TEXT),
        revision=draw(COUNT),
        lineage=draw(st.lists(st.from_regex(r"[0-9]{1,3}:[a-z-]{1,5}", fullmatch=True), max_size=2)),
        status=draw(st.sampled_from(RunStatus)),
        started=draw(st.booleans()),
        max_turns=draw(st.none() | COUNT),
        turn=draw(COUNT),
        history=history,
        known=draw(st.integers(0, len(history))),
        saved=draw(st.integers(0, len(history))),
        calls=draw(st.lists(calls(inside), max_size=2)),
        queued=draw(st.lists(OBJECT, max_size=2)),
        previous_response_id=draw(MAYBE),
        last_response_id=draw(MAYBE),
        chained=draw(st.booleans()),
        whole=draw(st.booleans()),
        conversation_id=draw(MAYBE),
        session_id=draw(MAYBE),
        tools_used=draw(st.lists(TEXT, max_size=2)),
        rejections=draw(
            st.lists(
                st.fixed_dictionaries(
                    {"server": TEXT, "tool": TEXT, "arguments": st.none() | OBJECT, "message": MAYBE}
                ),
                max_size=2,
            )
        ),
        usage=draw(USAGE),
        final_output=draw(JSON),
        trace=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        input_guardrails=draw(st.lists(OBJECT, max_size=1)),
        output_guardrails=draw(st.lists(OBJECT, max_size=1)),
    )


def nested(depth: int) -> st.SearchStrategy[RunData]:
    return runs(nested(depth - 1) if depth else st.nothing())


def numbered(run: RunData, keys: Iterator[int]) -> RunData:
    """Every call gets a key of its own."""
    for call in run.calls:
        call.key = f"key-{next(keys)}"
        if call.run is not None:
            numbered(call.run, keys)
    return run


@settings(deadline=None, max_examples=60)
@given(data=nested(3), signed=st.booleans())
def test_a_run_comes_back_exactly_as_it_was(data: RunData, signed: bool) -> None:
    numbered(data, iter(range(1000)))
    secret = SECRET if signed else None
    text = json.dumps(write(data, AGENTS, secret=secret), ensure_ascii=False)
    back, agents = read_text(text, secret=secret)
    # `repr` as well: 1, 1.0 and True are equal to Python, and are not one value.
    assert back == data
    assert repr(back) == repr(data)
    assert agents == AGENTS


def test_what_is_written_shares_nothing_with_the_run() -> None:
    data = sample()
    document = write(data, AGENTS)
    document["run"]["history"][0]["item"]["content"] = "changed"
    document["agents"]["Ops"]["model"] = "changed"
    assert data == sample()
    assert AGENTS["Ops"]["model"] == "gpt-5.6"


def test_what_is_read_shares_nothing_with_the_document() -> None:
    document = write(sample(), AGENTS)
    back, _ = read(document)
    back.history[0].item["content"] = "changed"
    assert document == write(sample(), AGENTS)


# -- the schema, the dataclasses and the writer say the same

SCHEMA: dict[str, Any] = json.loads(schema_file().read_text())
DESCRIBED = {"Run": RunData, "Call": CallData, "Entry": Entry, "Usage": UsageData}


def places(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in schema.get("properties", {}).items():
        yield f"{at}/{name}", each
        yield from places(each, f"{at}/{name}")
    for name, each in schema.get("$defs", {}).items():
        yield f"{at}/$defs/{name}", each
        yield from places(each, f"{at}/$defs/{name}")


def test_the_schema_is_one() -> None:
    assert jsonschema_rs.meta.is_valid(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("place", [name for name, _ in places(SCHEMA)])
def test_every_field_is_described(place: str) -> None:
    described = dict(places(SCHEMA))[place]["description"]
    assert described.endswith((".", "`."))


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_schema_has_the_fields_of_the_dataclass(name: str) -> None:
    schema = SCHEMA["$defs"][name]
    assert list(schema["properties"]) == [each.name for each in fields(DESCRIBED[name])]
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False


def kinds(hint: Any) -> set[str]:
    """The JSON types that a Python type is written as."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return set().union(*(kinds(each) for each in typing.get_args(hint)))
    known: dict[Any, str] = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    kind = origin or hint
    if kind in known:
        return {known[kind]}
    if kind is type(None):
        return {"null"}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"string"}
    if is_dataclass(kind):
        return {"object"}
    assert kind is Any, hint
    return set()


def said(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema lets through."""
    if "$ref" in schema:
        return said(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return set().union(*(said(each) for each in schema["anyOf"]))
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_schema_has_the_types_of_the_dataclass(name: str) -> None:
    hints = typing.get_type_hints(DESCRIBED[name])
    for field, schema in SCHEMA["$defs"][name]["properties"].items():
        assert said(schema) == kinds(hints[field]), field


@pytest.mark.parametrize(
    ("place", "enum"),
    [("Run/status", RunStatus), ("Call/status", CallStatus), ("Call/kind", CallKind), ("Entry/source", Source)],
    ids=["run", "call", "kind", "source"],
)
def test_the_schema_has_the_words_of_the_enum(place: str, enum: type[StrEnum]) -> None:
    name, _, field = place.partition("/")
    assert SCHEMA["$defs"][name]["properties"][field]["enum"] == [each.value for each in enum]


def test_the_sample_has_something_in_every_field() -> None:
    """The edits below are only as good as the sample."""
    empty = RunData(run_id="", agent="", first_agent="")
    same = [each.name for each in fields(RunData) if getattr(sample(), each.name) == getattr(empty, each.name)]
    assert same == []


def test_a_reader_of_another_language_can_check_what_is_written() -> None:
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    assert list(validator.iter_errors(write(sample(), AGENTS, secret=SECRET))) == []


# -- versions


@pytest.mark.parametrize(
    "more",
    [{}, {"run": 7}, {"signature": "x"}, {"new": {"a": 1}}],
    ids=["alone", "with another shape", "with a signature", "with a new field"],
)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["without a secret", "with a secret"])
def test_a_version_of_the_future_is_refused_before_anything_else(more: dict[str, Any], secret: bytes | None) -> None:
    with pytest.raises(StateVersionError, match=r"version '2\.7', and this release reads 1\.0; go on with"):
        read({"holdshort_run_state": "2.7", **more}, secret=secret)


def test_a_version_of_the_future_is_refused_before_ambiguous_text_is() -> None:
    with pytest.raises(StateVersionError):
        read_text('{"holdshort_run_state": "2.0", "run": {"a": NaN, "b": 1, "b": 2}}')


def test_what_names_no_version_is_no_state() -> None:
    documents: list[Any] = [{}, {"holdshort_run_state": 1}, {"$schemaVersion": "1.21"}, [], "text", None, 7]
    for document in documents:
        with pytest.raises(StateDamaged, match="no saved state"):
            read(document)


def test_this_release_reads_what_it_writes() -> None:
    assert VERSION in READS


# -- damage


def put(document: Any, pointer: str, value: Any) -> Any:
    """Set what a pointer points at."""
    *path, last = pointer.strip("/").split("/")
    at = document
    for each in path:
        at = at[int(each)] if isinstance(at, list) else at[each]
    at[int(last) if isinstance(at, list) else last] = value
    return document


DAMAGED = {
    "text for a count": ("/run/turn", "2", "/run/turn"),
    "a float for a count": ("/run/turn", 2.0, "/run/turn"),
    "a float for a count of tokens": ("/run/usage/requests", 1.0, "/run/usage/requests"),
    "a float for a token": ("/run/calls/3/token", 7.0, "/run/calls/3/token"),
    "yes for a count": ("/run/revision", True, "/run/revision"),
    "less than none": ("/run/revision", -1, "/run/revision"),
    "nothing for a list": ("/run/history", None, "/run/history"),
    "an item that is none": ("/run/history/0/item", "hi", "/run/history/0/item"),
    "an unknown field": ("/run/approved", ["c"], "/run"),
    "an unknown field of a call": ("/run/calls/0/approved", True, "/run/calls/0"),
    "an unknown field of a run inside": ("/run/calls/1/run/approved", True, "/run/calls/1/run"),
    "an unknown field of the whole": ("/context", {}, "/"),
    "an unknown status": ("/run/calls/0/status", "approved", "/run/calls/0/status"),
    "an unknown kind": ("/run/calls/0/kind", "rm", "/run/calls/0/kind"),
    "more known than there is": ("/run/known", 3, "/run/known"),
    "more saved than there is": ("/run/saved", 3, "/run/saved"),
    "less known than none": ("/run/known", -1, "/run/known"),
    "one key for two calls": ("/run/calls/2/key", "2:new", "/run/calls/2/key"),
    "a key of a call outside for one inside": ("/run/calls/1/run/calls/0/key", "2:new", "/run/calls/1/run/calls/0/key"),
    "no key": ("/run/calls/2/key", "", "/run/calls/2/key"),
    "a key too long": ("/run/calls/2/key", "x" * 201, "/run/calls/2/key"),
    "done without an output": ("/run/calls/4/output", None, "/run/calls/4"),
    "an output of what is not done": ("/run/calls/2/output", {"type": "function_call_output"}, "/run/calls/2"),
    "parked without a record": ("/run/calls/2/interruption", None, "/run/calls/2"),
    "claimed without a record": ("/run/calls/3/interruption", None, "/run/calls/3"),
    "claimed without a token": ("/run/calls/3/token", None, "/run/calls/3"),
    "a token of no claim": ("/run/calls/3/token", 0, "/run/calls/3/token"),
    "a run inside of what is no agent": ("/run/calls/1/kind", "function", "/run/calls/1"),
    "a record without an id": ("/run/calls/2/interruption", {"state": "pending"}, "/run/calls/2/interruption"),
    "a record of half a revision": ("/run/calls/2/interruption/revision", 3.0, "/run/calls/2"),
    "a rejection that is an approval": ("/run/rejections/0/approve", True, "/run/rejections/0"),
    "what is awaited without an id": ("/run/awaited/0", {}, "/run/awaited/0"),
    "agents that are a list": ("/agents", [], "/agents"),
    "a trace that is no text": ("/run/trace/traceparent", 7, "/run/trace/traceparent"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_does_not_hold_together_is_refused_with_its_place(what: str) -> None:
    pointer, value, place = DAMAGED[what]
    with pytest.raises(StateDamaged) as refused:
        read(put(write(sample(), AGENTS), pointer, value))
    assert f"`{place}`" in str(refused.value)


@pytest.mark.parametrize("name", [each.name for each in fields(RunData)])
def test_a_run_without_a_field_is_refused(name: str) -> None:
    document = write(sample(), AGENTS)
    del document["run"][name]
    with pytest.raises(StateDamaged, match=f"`/run` has no `{name}`"):
        read(document)


def test_values_are_not_repeated_in_refusals() -> None:
    with pytest.raises(StateDamaged) as refused:
        read(put(write(sample(), AGENTS), "/run/turn", "hunter2"))
    assert "hunter2" not in str(refused.value)


AMBIGUOUS = {
    "a key twice": ('"turn": 2', '"turn": 2, "turn": 3', "`/run` has the key `turn` twice"),
    "a key twice, deep inside": (
        '"async": true',
        '"async": true, "async": 1',
        "/calls/0/item` has the key `async` twice",
    ),
    "NaN": ('"turn": 2', '"turn": NaN', "`/run/turn` is `NaN`"),
    "infinity": ('"turn": 2', '"turn": -Infinity', "`/run/turn` is `-Infinity`"),
    "a number beyond numbers": ('"turn": 2', '"turn": 1e999', "`/run/turn` is `1e999`"),
    "half a character": ('"mail"', '"\\ud800"', "lone surrogate"),
    "half a character in a key": ('"new_field"', '"\\udfff"', "lone surrogate"),
    "more digits than are kept": ('"turn": 2', f'"turn": {"9" * 5000}', "more digits"),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_text_that_could_be_read_in_two_ways_is_refused(what: str) -> None:
    old, new, words = AMBIGUOUS[what]
    text = json.dumps(write(sample(), AGENTS))
    assert old in text
    with pytest.raises(StateDamaged) as refused:
        read_text(text.replace(old, new, 1))
    assert words in str(refused.value)


def test_text_that_is_no_json_is_refused() -> None:
    for text in ("", "{", b"\xff", "{} {}", "[" * 100_000):
        with pytest.raises(StateDamaged):
            read_text(text)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_has_an_end() -> None:
    data = sample(0)
    data.final_output = deep(MAX_DEPTH - 2)
    back, _ = read_text(json.dumps(write(data, AGENTS, secret=SECRET)), secret=SECRET)
    assert back.final_output == data.final_output
    data.final_output = deep(MAX_DEPTH)
    with pytest.raises(StateDamaged, match=f"nested deeper than {MAX_DEPTH}"):
        write(data, AGENTS)


def test_runs_inside_each_other_have_an_end() -> None:
    outermost = data = RunData(run_id="r", agent="Ops", first_agent="Ops")
    for depth in range(32):
        inside = RunData(run_id="r", agent="Ops", first_agent="Ops")
        call = sample(0).calls[0]
        call.key, call.kind, call.run = f"k{depth}", CallKind.AGENT, inside
        data.calls.append(call)
        data = inside
        if depth == 30:
            assert read(write(outermost, AGENTS))[0] == outermost
    with pytest.raises(StateDamaged, match="33"):
        write(outermost, AGENTS)


@pytest.mark.parametrize(
    "value",
    [float("nan"), (1, 2), {1: 2}, b"x", object(), CallStatus.NEW, "\ud800", 10**5000],
    ids=["nan", "tuple", "number as key", "bytes", "object", "enum", "half a character", "too many digits"],
)
def test_what_is_no_json_is_not_written(value: Any) -> None:
    data = sample()
    data.history[1].item["odd"] = [value]
    with pytest.raises(StateDamaged, match="`/run/history/1/item/odd/0`"):
        write(data, AGENTS)


def test_what_could_not_be_read_again_is_not_written() -> None:
    data = sample()
    data.known = 99
    with pytest.raises(StateDamaged, match="/run/known"):
        write(data, AGENTS)


# -- signatures


def changed(value: Any) -> Any:
    """Another value of the same type, so that only the signature can tell."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1 if abs(value) < 2**60 else value * 2
        case str():
            return value + "x"
        case None:
            return "x"
        case list():
            return [*value, "x"]
        case _:
            return {**value, "x": 1}


def pointers(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if at:
        yield at, value
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from pointers(each, f"{at}/{key}")


def test_no_single_edit_of_a_signed_state_goes_unnoticed() -> None:
    signed = write(sample(), AGENTS, secret=SECRET)
    tried = 0
    for pointer, value in pointers(signed):
        if pointer == "/holdshort_run_state":
            continue  # refused as a version
        edited = put(copy.deepcopy(signed), pointer, changed(value))
        with pytest.raises(StateTampered):
            read(edited, secret=SECRET)
        tried += 1
    assert tried > 300
    read(signed, secret=SECRET)


def test_a_signed_state_is_not_read_with_parts_left_out_or_added() -> None:
    signed = write(sample(), AGENTS, secret=SECRET)
    for pointer, value in pointers(signed):
        parent, _, key = pointer.rpartition("/")
        if isinstance(value, dict | list) or pointer in ("/holdshort_run_state", "/signature"):
            continue
        edited = copy.deepcopy(signed)
        at: Any = edited
        for each in parent.strip("/").split("/") if parent else ():
            at = at[int(each)] if isinstance(at, list) else at[each]
        if isinstance(at, dict):
            del at[key]
            with pytest.raises(StateTampered):
                read(edited, secret=SECRET)
    with pytest.raises(StateTampered):
        read({**signed, "more": 1}, secret=SECRET)


def test_a_signature_of_another_secret_is_refused() -> None:
    signed = write(sample(), AGENTS, secret=OTHER)
    with pytest.raises(StateTampered, match="another secret"):
        read(signed, secret=SECRET)


def test_a_signed_state_is_not_read_without_its_secret() -> None:
    with pytest.raises(StateTampered, match="pass `secret=`"):
        read(write(sample(), AGENTS, secret=SECRET))


@pytest.mark.parametrize("signature", ["absent", None, "", 7, "hmac-sha256:", "hmac-sha256:é", ["x"]])
def test_an_unsigned_state_is_not_read_with_a_secret(signature: Any) -> None:
    document = write(sample(), AGENTS)
    if signature != "absent":
        document["signature"] = signature
    with pytest.raises(StateTampered):
        read(document, secret=SECRET)


def test_secrets_can_be_replaced_one_after_the_other() -> None:
    old = write(sample(), AGENTS, secret=OTHER)
    new = write(sample(), AGENTS, secret=[SECRET, OTHER])
    assert read(old, secret=[SECRET, OTHER])[0] == sample()
    assert read(new, secret=SECRET)[0] == sample()
    with pytest.raises(StateTampered):
        read(new, secret=[OTHER])


def test_a_text_is_a_secret_as_its_bytes() -> None:
    signed = write(sample(), AGENTS, secret="sixteen letters!")
    assert read(signed, secret=b"sixteen letters!")[0] == sample()


@pytest.mark.parametrize(
    "secret", [b"", "", b"short", [], [SECRET, b""]], ids=["none", "no text", "short", "no list", "one of two"]
)
def test_a_weak_secret_is_refused(secret: Any) -> None:
    with pytest.raises(UserError, match="at least 16 bytes"):
        write(sample(), AGENTS, secret=secret)
    with pytest.raises(UserError, match="at least 16 bytes"):
        read(write(sample(), AGENTS, secret=SECRET), secret=secret)


def test_order_and_spaces_do_not_count_for_the_signature() -> None:
    text = json.dumps(write(sample(), AGENTS, secret=SECRET), sort_keys=True, indent=3)
    assert read_text(text, secret=SECRET)[0] == sample()


def test_the_signature_is_what_the_schema_says_it_is() -> None:
    """Written down from RFC 8785 and RFC 2104 alone, as a reader in another language would."""
    import hashlib
    import hmac

    import rfc8785

    data = RunData(run_id="r", agent="Ops", first_agent="Ops")
    signed = write(data, AGENTS, secret=SECRET)
    signature = signed.pop("signature")
    assert signature == "hmac-sha256:" + hmac.new(SECRET, rfc8785.dumps(signed), hashlib.sha256).hexdigest()
