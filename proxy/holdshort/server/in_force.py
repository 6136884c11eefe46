"""The policy in force: the one place everybody asks, so that one swap changes it for all at once.

What is in force is in the decision log before it counts: a policy that cannot be recorded does not come into force.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from holdshort.interruption import timestamp
from holdshort.policy import Policy
from holdshort.store import EntryKind, NewEntry, Store

__all__ = ["InForce", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the policy on disk is not the one in force."""

    reason: str
    """`invalid`, `people`, `loosens` or `unrecorded`."""
    problems: tuple[str, ...]
    """For the person who edits the files: places and words of theirs, no secrets."""
    digest: str | None = None
    """Of the policy that was refused, where it got as far as being one."""


class InForce:
    """Which policy counts now. A verdict is by one policy as a whole: who needs it twice keeps what `policy` gave."""

    def __init__(self, policy: Policy, now: datetime, source: Path | None = None) -> None:
        """`source` is the file it comes from; several processes may write to one decision log."""
        self._policy = policy
        self._source = source
        self._had = {policy.digest}
        self._since = now
        self._refusal: Refusal | None = None

    def policy(self) -> Policy:
        """Return the policy that counts now."""
        return self._policy

    def was_in_force(self, digest: str) -> bool:
        """Say whether that policy counts, or has counted, in this process."""
        return digest in self._had

    @property
    def refusal(self) -> Refusal | None:
        """Why what is on disk does not count; None when it does."""
        return self._refusal

    @property
    def view(self) -> dict[str, Any]:
        """What operators are told beside the policy itself."""
        refused = self._refusal
        return {
            "loaded_at": timestamp(self._since),
            "refused": None if refused is None else {"reason": refused.reason, "digest": refused.digest},
            "problems": [] if refused is None else list(refused.problems),
        }

    async def begin(self, store: Store) -> None:
        """Record what a process starts with.

        Raises:
            StateError: it cannot be recorded.
        """
        await store.record(self._entry("start", self._since, _about(self._policy)))

    async def replace(self, policy: Policy, store: Store, now: datetime, *, loosenings: int = 0) -> Policy:
        """Put `policy` in force and return the one before; the calls that are judged from here on are judged by it.

        `loosenings`: in how many ways it is more permissive, all of them acknowledged.

        Raises:
            StateError: it cannot be recorded, so nothing changed.
        """
        before = self._policy
        detail = _about(policy) | {"replaces": before.digest}
        if loosenings:
            detail["loosenings"] = loosenings
        await store.record(self._entry("reload", now, detail))
        self._policy, self._since, self._refusal = policy, now, None
        self._had.add(policy.digest)
        return before

    async def refuse(self, refusal: Refusal, store: Store, now: datetime) -> None:
        """Keep the policy that counts, and say why to whoever asks.

        Raises:
            StateError: it cannot be recorded; it is refused all the same.
        """
        self._refusal = refusal
        detail: dict[str, Any] = {"reason": refusal.reason, "digest": self._policy.digest}
        if refusal.digest is not None:
            detail["refused"] = refusal.digest
        await store.record(self._entry("refused", now, detail))

    def settled(self) -> None:
        """What is on disk is what counts, again."""
        self._refusal = None

    def _entry(self, action: str, now: datetime, detail: Mapping[str, Any]) -> NewEntry:
        source = {} if self._source is None else {"config": str(self._source)}
        return NewEntry(kind=EntryKind.POLICY, at=now, action=action, detail={**detail, **source})


def _about(policy: Policy) -> dict[str, Any]:
    rules = {layer.name: len(layer.rules) for layer in policy.layers}
    return {"digest": policy.digest, "rules": rules}
