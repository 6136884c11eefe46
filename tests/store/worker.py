"""A process of its own on a state folder, for tests that race processes or kill them: `python worker.py FOLDER DEED`.

It says `ready` when its store is open, waits for a line on stdin, does the deed, says how it went as one JSON
line, and stays until another line.
"""

import json
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdshort.errors import HoldshortError, StateError
from holdshort.interruption import Expire, Finish, Outcome, OutcomeKind, Step, definition_digest
from holdshort.policy import Because
from holdshort.store import Sighting, SQLiteStore, Use, open_store
from interruption.samples import AGENT, EXPIRY, NOW, event_for, parked
from store.places import approval, claim, row

Deed = Callable[[SQLiteStore], Awaitable[dict[str, Any]]]


async def decide(store: SQLiteStore) -> dict[str, Any]:
    call = await store.get("i-1")
    decided = await store.apply(call.id, approval(call, by=f"approver-{store.owner}"))
    return {"by": decided.decisions[-1].by}


async def claim_it(store: SQLiteStore) -> dict[str, Any]:
    call = await store.get("i-1")
    running = await store.apply(call.id, claim(call))
    assert running.claim is not None
    return {"token": running.claim.token}


async def attach(store: SQLiteStore) -> dict[str, Any]:
    found = await store.attach(AGENT, parked().requested_fingerprint, "holder", now=NOW)
    return {"attached": found is not None}


async def spend(store: SQLiteStore) -> dict[str, Any]:
    return {"spent": await store.spend("nonce", NOW)}


async def see_tool(store: SQLiteStore) -> dict[str, Any]:
    """Meet a tool that every racer sees with another definition."""
    content = {"definition": {"name": "read", "description": store.owner}, "server": "s"}
    seen = Sighting(definition_digest(content), content)
    pin = (await store.pins.see("files", {"read": seen}, at=NOW, accept_new=True))["read"]
    assert pin.accepted is not None
    return {"accepted": pin.accepted.digest, "own": seen.digest}


async def use_grant(store: SQLiteStore) -> dict[str, Any]:
    """Take uses of the one grant there is until it has none."""
    grant = await store.grants.get("g-1")
    taken = 0
    while True:
        entry = replace(row(grant.tool), agent=grant.agent, because=(Because("grant", grant.id),), fingerprint="f" * 64)
        if await store.grants.use(grant, entry, now=NOW) is not Use.TAKEN:
            return {"taken": taken}
        taken += 1


async def write(store: SQLiteStore) -> dict[str, Any]:
    """Rows and states mixed, from eight callers at once."""
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(_write_some, store, number)
    return {"rows": 8 * (25 + 5 * 2)}


async def _write_some(store: SQLiteStore, number: int) -> None:
    for turn in range(25):
        await store.record(row())
        if turn % 5 == 0:
            call = replace(parked(), id=f"{store.owner}-{number}-{turn}")
            await store.park(call)
            await store.apply(call.id, approval(call))


async def wait(store: SQLiteStore) -> dict[str, Any]:
    changed = await store.wait_change("i-1", 1)
    return {"state": changed.state.value}


async def run_through(store: SQLiteStore) -> dict[str, Any]:
    call = await store.park(parked(), holder="worker")
    approved = await store.apply(call.id, approval(call))
    running = await store.apply(call.id, claim(approved))
    assert running.claim is not None
    outcome = Outcome(kind=OutcomeKind.OK, at=NOW, result={"content": []})
    await store.apply(call.id, Finish(at=NOW, token=running.claim.token, outcome=outcome))
    return {}


async def edit(store: SQLiteStore) -> dict[str, Any]:
    call = await store.park(parked())
    await store.apply(call.id, event_for(Step.EDIT, call))
    return {}


async def expire(store: SQLiteStore) -> dict[str, Any]:
    call = await store.park(parked())
    await store.apply(call.id, Expire(at=NOW + EXPIRY))
    return {}


async def record(store: SQLiteStore) -> dict[str, Any]:
    """Rows without waiting for the disk, then the wait for it."""
    for _ in range(100):
        await store.record(row())
    await anyio.sleep(5)
    return {}


async def run_forever(store: SQLiteStore) -> dict[str, Any]:
    call = await store.park(parked(), holder="worker")
    await store.apply(call.id, approval(call))
    await store.apply(call.id, claim(call))
    print(json.dumps({"running": store.owner}), flush=True)
    await anyio.sleep_forever()
    return {}


async def fill_disk(store: SQLiteStore) -> dict[str, Any]:
    """No file may grow any more: every kind of write must refuse, and work again when there is room."""
    call = await store.park(parked())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    refused: list[str] = []
    for name, attempt in (
        ("record", lambda: store.record(row())),
        ("park", lambda: store.park(parked(2))),
        ("apply", lambda: store.apply(call.id, approval(call))),
        ("spend", lambda: store.spend("n", NOW)),
    ):
        try:
            await attempt()
        except StateError:
            refused.append(name)
    state = (await store.get(call.id)).state.value
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.record(row())
    approved = await store.apply(call.id, approval(call))
    verified = await store.verify()
    return {"refused": refused, "state": state, "after": approved.state.value, "whole": verified.ok}


DEEDS: Final[dict[str, Deed]] = {
    "attach": attach,
    "claim": claim_it,
    "decide": decide,
    "edit": edit,
    "expire": expire,
    "fill_disk": fill_disk,
    "record": record,
    "run_forever": run_forever,
    "run_through": run_through,
    "see_tool": see_tool,
    "spend": spend,
    "use_grant": use_grant,
    "wait": wait,
    "write": write,
}


def _clock() -> datetime:
    return NOW


async def main(folder: str, deed: str) -> None:
    async with open_store(Path(folder), clock=_clock, sweep=False) as store:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        try:
            told = await DEEDS[deed](store)
        except HoldshortError as error:
            told = {"error": error.code}
        print(json.dumps(told), flush=True)
        # Alive until told to go, or killed: what it holds must not become free because it was quick.
        await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
