"""Calls that come with a run's id and a call's id: whoever repeats one, wherever, finds the one interruption it is.

Such a call is found by its ids alone, never by its arguments; and what has no ids never joins one. Only an attempt that
was withdrawn or overtaken, and so never ran, makes way for another.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from holdshort.errors import HoldshortError
from holdshort.gate.meta import CALL_KEY, REPEAT_KEY, RUN_KEY
from holdshort.interruption import Expire, Interruption, InterruptionError, State, is_due, keyed_id
from holdshort.store import InterruptionNotFound, Store

__all__ = ["LONGEST_ID", "BadKey", "CallIdReused", "CallKey", "KeyedCalls", "Known", "is_key", "key_in"]

LONGEST_ID: Final = 200
"""Characters in a run's or a call's id."""

_MAKES_WAY: Final = frozenset({State.WITHDRAWN, State.SUPERSEDED})
_MOST_ATTEMPTS: Final = 100


class CallIdReused(HoldshortError):
    """Raised when a call comes with the run and call id of another one."""

    code = "call_id_reused"

    def __init__(self, call_id: str) -> None:
        super().__init__(f"the call id `{call_id}` of this run stands for another call; ids are for one call each")


class BadKey(HoldshortError):
    """Raised when a call is said to be a repetition, and not of what."""

    code = "bad_key"


class CallKey(NamedTuple):
    """Which call it is, by the words of its agent."""

    run_id: str
    call_id: str
    repeated: bool = False
    """Whether it may have been sent before."""

    @classmethod
    def of(cls, record: Interruption) -> Self | None:
        """Return the key that an interruption is found by; None where it is found by its arguments."""
        asked = record.requested_by
        if not record.keyed or asked.run_id is None or asked.call_id is None:
            return None
        return cls(asked.run_id, asked.call_id)

    def names(self, record: Interruption) -> bool:
        """Say whether `record` is an interruption of this call of the same agent."""
        own = CallKey.of(record)
        return own is not None and own[:2] == self[:2]


class Known(NamedTuple):
    """What is on record of a call, if anything; `interruption` is its id, or the one that a new one gets."""

    record: Interruption | None
    interruption: str


def is_key(text: object) -> bool:
    """Whether this can be a run's or a call's id."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_ID


def key_in(meta: Mapping[str, Any]) -> CallKey | None:
    """Return the key in a call's `_meta`; None where it does not have both ids.

    Raises:
        BadKey: it is called a repetition without them, or in other words than true and false.
    """
    run_id, call_id, repeated = meta.get(RUN_KEY), meta.get(CALL_KEY), meta.get(REPEAT_KEY, False)
    if not isinstance(repeated, bool):
        raise BadKey(f'`_meta["{REPEAT_KEY}"]` must be true or false')
    if is_key(run_id) and is_key(call_id):
        return CallKey(str(run_id), str(call_id), repeated)
    if repeated:
        both = f"`{RUN_KEY}` and `{CALL_KEY}` (1 to {LONGEST_ID} characters each)"
        raise BadKey(f'`_meta["{REPEAT_KEY}"]` needs {both} to say what is repeated')
    return None


class KeyedCalls:
    """Finds them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def find(self, agent: str, key: CallKey, mark: str) -> Known:
        """Return the interruption of this call of `agent`; `mark` is the fingerprint of what it asks for now.

        Raises:
            CallIdReused: the ids are those of a call of another server or tool, or with other arguments.
        """
        for attempt in range(_MOST_ATTEMPTS):
            wanted = keyed_id(agent, key.run_id, key.call_id, attempt)
            try:
                record = await self._store.get(wanted)
            except InterruptionNotFound:
                return Known(None, wanted)
            if record.requested_fingerprint != mark:
                raise CallIdReused(key.call_id)
            if record.state in (State.PENDING, State.APPROVED) and is_due(record, self._clock()):
                record = await self._expired(record)
            if record.state not in _MAKES_WAY:
                return Known(record, wanted)
        raise CallIdReused(key.call_id)

    async def _expired(self, due: Interruption) -> Interruption:
        """Its time is up, and the sweeper has not come by: nobody is told that it still waits."""
        with suppress(InterruptionError):  # settled at this very moment
            return await self._store.apply(due.id, Expire(at=self._clock()))
        return await self._store.get(due.id)
