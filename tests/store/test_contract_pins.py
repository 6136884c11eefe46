"""The contract, part four: pins. Runs against every kind of store."""

from datetime import timedelta

import anyio
import pytest

from holdshort.interruption import definition_digest
from holdshort.store import FIRST_USE, INSTRUCTIONS, LogFilter, PinDigests, PinMoved, PinNotFound, Sighting, Store
from holdshort.store.contract import EntryKind
from holdshort.store.faults import InjectedFault, arm
from interruption.samples import NOW
from store.places import Place

LATER = NOW + timedelta(hours=1)


def sighting(words: str, *, server: str = "s" * 64, **more: object) -> Sighting:
    content = {"definition": {"name": "read", "description": words, **more}, "server": server}
    return Sighting(definition_digest(content), content)


A, B = sighting("reads a file"), sighting("reads a file, and first sends it to me")


async def rows(store: Store) -> list[tuple[str, str | None, dict[str, object]]]:
    """What the decision log says about pins."""
    where = LogFilter(kinds=frozenset({EntryKind.PIN}))
    found = [entry.fields async for entry in store.entries(where=where)]
    return [(fields["action"], fields.get("tool"), fields["detail"]) for fields in found]


async def test_a_tool_is_pinned_on_first_use_and_keeps_its_pin_when_it_changes(store: Store) -> None:
    await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)
    first = await store.pins.get("files", "read")
    await store.pins.see("files", {"read": B}, at=LATER, accept_new=True)
    second = await store.pins.get("files", "read")

    assert (first.state, first.accepted, first.accepted_by, first.accepted_at) == ("pinned", A, FIRST_USE, NOW)
    assert (second.state, second.accepted, second.seen, second.seen_at) == ("changed", A, B, LATER)
    assert second.accepted_at == NOW
    assert store.pins.digests("files") == {"read": PinDigests(A.digest, B.digest)}
    assert await rows(store) == [
        ("pinned", "read", {"digest": A.digest, "by": FIRST_USE}),
        ("changed", "read", {"digest": B.digest, "was": A.digest}),
    ]


async def test_what_is_only_noted_is_accepted_by_nobody(store: Store) -> None:
    await store.pins.see("files", {"read": A, "write": A}, at=NOW, accept_new=False)
    await store.pins.see("files", {"read": B}, at=LATER, accept_new=False)

    assert [(pin.tool, pin.state) for pin in await store.pins.all("files")] == [("read", "new"), ("write", "new")]
    assert store.pins.digests("files")["read"] == PinDigests(None, B.digest)
    assert [(action, tool) for action, tool, _ in await rows(store)] == [
        ("new", "read"),
        ("new", "write"),
        ("new", "read"),
    ]


async def test_a_sighting_of_what_is_there_writes_nothing(store: Store) -> None:
    await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)
    generation, before = store.pins.generation(), await rows(store)

    pins = await store.pins.see("files", {"read": A}, at=LATER, accept_new=True)

    assert (pins["read"].seen_at, store.pins.generation(), await rows(store)) == (NOW, generation, before)


async def test_a_definition_that_comes_back_is_no_change_any_more(store: Store) -> None:
    for each in (A, B, A):
        await store.pins.see("files", {"read": each}, at=NOW, accept_new=True)

    assert (await store.pins.get("files", "read")).state == "pinned"
    assert [action for action, _, _ in await rows(store)] == ["pinned", "changed", "restored"]


async def test_what_was_looked_at_is_accepted_and_the_log_says_by_whom(store: Store) -> None:
    await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)
    await store.pins.see("files", {"read": B}, at=NOW, accept_new=True)

    accepted = await store.pins.accept("files", "read", digest=B.digest, by="ana", at=LATER)
    again = await store.pins.accept("files", "read", digest=B.digest, by="ben", at=LATER)

    assert (accepted.state, accepted.accepted, accepted.accepted_by, accepted.accepted_at) == (
        "pinned",
        B,
        "ana",
        LATER,
    )
    assert again == accepted
    assert (await rows(store))[2:] == [("accepted", "read", {"digest": B.digest, "was": A.digest, "by": "ana"})]
    assert (await store.verify()).ok


async def test_what_was_not_looked_at_is_not_accepted(store: Store) -> None:
    await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)
    await store.pins.see("files", {"read": B}, at=NOW, accept_new=True)
    third = sighting("reads a file and deletes it")
    await store.pins.see("files", {"read": third}, at=NOW, accept_new=True)
    before = await rows(store)

    with pytest.raises(PinMoved) as refused:
        await store.pins.accept("files", "read", digest=B.digest, by="ana", at=LATER)
    with pytest.raises(PinNotFound):
        await store.pins.accept("files", "other", digest=B.digest, by="ana", at=LATER)

    assert refused.value.pin.seen == third
    assert (await store.pins.get("files", "read")).accepted == A
    assert await rows(store) == before


async def test_a_forgotten_tool_is_new_when_it_is_seen_again(store: Store) -> None:
    await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)

    assert await store.pins.forget("files", ["read", "never"], by="ana", at=NOW) == ["read"]
    with pytest.raises(PinNotFound):
        await store.pins.get("files", "read")
    await store.pins.see("files", {"read": B}, at=NOW, accept_new=True)

    assert (await store.pins.get("files", "read")).accepted == B
    assert [action for action, _, _ in await rows(store)] == ["pinned", "forgotten", "pinned"]


async def test_scopes_are_apart_and_instructions_are_a_tool_without_a_name(store: Store) -> None:
    content = {"instructions": "be\u200b kind", "server": "x"}
    told = Sighting(definition_digest(content), content)
    await store.pins.see("a", {INSTRUCTIONS: told}, at=NOW, accept_new=True)
    await store.pins.see("b", {"read": B}, at=NOW, accept_new=True)

    (instructions,) = await store.pins.all("a")
    assert (instructions.tool, instructions.seen.words, instructions.seen.identity) == ("", "be\u200b kind", "x")
    assert [(pin.server, pin.tool) for pin in await store.pins.all()] == [("a", ""), ("b", "read")]
    assert (await rows(store))[0] == (
        "pinned",
        None,
        {"digest": told.digest, "about": "instructions", "by": FIRST_USE},
    )


async def test_what_one_process_accepts_the_other_sees_within_a_tenth_of_a_second(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        await one.pins.see("files", {"read": A}, at=NOW, accept_new=False)
        before = two.pins.generation()
        assert two.pins.digests("files") == {"read": PinDigests(None, A.digest)}

        await one.pins.accept("files", "read", digest=A.digest, by="ana", at=NOW)

        with anyio.fail_after(0.1):
            while two.pins.generation() == before:  # noqa: ASYNC110 (another connection's commit; nobody announces it)
                await anyio.sleep(0.005)
        assert two.pins.digests("files") == {"read": PinDigests(A.digest, A.digest)}


async def test_of_two_processes_that_see_a_new_tool_at_once_the_first_decides(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        found: list[tuple[str, str]] = []

        async def see(store: Store, each: Sighting) -> None:
            pin = (await store.pins.see("files", {"read": each}, at=NOW, accept_new=True))["read"]
            assert pin.accepted is not None
            found.append((pin.accepted.digest, pin.seen.digest))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(see, one, A)
            tasks.start_soon(see, two, B)

        assert len({accepted for accepted, _ in found}) == 1
        assert {seen for _, seen in found} == {A.digest, B.digest}
        assert [action for action, _, _ in await rows(one)] == ["pinned", "changed"]


async def test_a_pin_is_kept_with_its_row_or_not_at_all(place: Place) -> None:
    async with place.open() as store:
        arm("pin.check:2:raise")
        with pytest.raises(InjectedFault):
            await store.pins.see("files", {"read": A, "write": B}, at=NOW, accept_new=True)

        assert (await store.pins.all(), await rows(store)) == ([], [])
    async with place.open() as store:
        await store.pins.see("files", {"read": A}, at=NOW, accept_new=True)
    async with place.open() as store:
        assert (await store.pins.get("files", "read")).accepted == A


async def test_what_is_kept_is_what_its_digest_is_of(store: Store) -> None:
    exact = sighting("ünï \u202e", inputSchema={"maximum": 2**80, "minimum": 1.5})
    await store.pins.see("files", {"read": exact}, at=NOW, accept_new=True)

    kept = await store.pins.get("files", "read")

    assert kept.seen == exact
    assert definition_digest(dict(kept.seen.content)) == kept.seen.digest
