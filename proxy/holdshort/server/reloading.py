"""Takes up policy that changed on disk: all of it at once, or none of it with a loud reason.

Only policy is taken up. Whatever else changed in the files is named, and counts at the next start. What is refused is
refused as a whole, and the policy in force stays in force: a bad file never opens or closes anything by itself.
"""

import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Final

import anyio
import anyio.to_thread

from holdshort.config import LOCAL_AGENT, Config, ConfigErrors, acknowledged, acknowledgement
from holdshort.errors import ConfigError, HoldshortError, StateError
from holdshort.gate.upstream import Log
from holdshort.policy import Caller, Policy, PolicyError, compile_policy
from holdshort.policy.loosening import Loosening, loosenings
from holdshort.policy.shorthand import SHORTHAND_KEYS
from holdshort.server.file_watch import FileWatch
from holdshort.server.in_force import InForce, Refusal
from holdshort.store import Store
from holdshort.store.faults import fault_async

__all__ = ["Again", "Reloader", "changed_keys"]

Again = Callable[[Config], Config]
"""Reads the files anew for a process that runs with the given configuration; raises `ConfigError`."""

_TRY_AGAIN_SECONDS: Final = 5.0
"""After a reload that could not be recorded: the files are fine, and nobody will touch them again."""

_READ_SECONDS = 60.0
"""Then a file is a pipe that nobody writes into, or on a disk that hangs; the next change is taken up all the same."""

_SWITCH_SECONDS: Final = 0.0005
"""How long reading may keep the interpreter from the calls that run meanwhile; by itself it takes ten times that."""

_MOST_SHOWN: Final = 20

_NAMES: Final[Mapping[str, str]] = {
    "servers": "mcpServers",
    "approvals_listen": "approvals.listen",
    "public_url": "approvals.public_url",
}
"""Where the file calls it otherwise."""
_APPLIED: Final = frozenset({"path", "policy", "notes", "files", "loosens"})
"""What belongs to policy, or is no setting."""
_APPLIED_LIMITS: Final = frozenset({"pending_expiry"})


class Reloader:
    """Watches the files of one configuration. `after` is told of both policies once a new one is in force."""

    def __init__(
        self,
        config: Config,
        again: Again,
        in_force: InForce,
        store: Store,
        clock: Callable[[], datetime],
        log: Log,
        *,
        after: Callable[[Policy, Policy], Awaitable[None]],
    ) -> None:
        self._config = config
        self._again = again
        self._in_force = in_force
        self._store = store
        self._clock = clock
        self._log = log
        self._after = after
        self._watch = FileWatch(config.files)
        self._told: Refusal | None = None
        self._told_keys: tuple[str, ...] = ()
        self._notes = {note.message for note in config.notes}
        self._used: set[str] = set()
        """Digests of policies that were loosened, by files that still say so."""

    def reload(self) -> None:
        """Read the files now, changed or not."""
        self._watch.ask()

    async def run(self) -> None:
        """Take up what changes, for as long as the process lives."""
        # Ends with the task group it runs in.
        while True:
            asked = await self._watch.changed()
            try:
                await self._reload(asked=asked)
            except Exception as error:  # noqa: BLE001
                # Ours, and unforeseen: the policy in force stays, and so does the watch.
                self._log.error("policy.reload_failed", error=type(error).__name__)
                self._watch.was_read({})

    async def _reload(self, *, asked: bool) -> None:
        try:
            with anyio.fail_after(_READ_SECONDS), _short_turns():
                found = await anyio.to_thread.run_sync(self._again, self._config, abandon_on_cancel=True)
            self._watch.was_read(found.files)
            policy = self._with_shorthand_of_running(found)
        except ConfigErrors as error:
            self._watch.was_read(error.files)
            reason = "people" if error.code == "people" else "invalid"
            await self._refuse(Refusal(reason, tuple(map(str, error.problems))), asked=asked)
            return
        except (ConfigError, PolicyError) as error:
            self._watch.was_read({})
            await self._refuse(Refusal("invalid", (str(error),)), asked=asked)
            return
        except TimeoutError:
            self._watch.was_read({})
            message = f"the files cannot be read within {_READ_SECONDS:g} seconds"
            await self._refuse(Refusal("invalid", (message,)), asked=asked)
            return
        self._used = {digest for digest in self._used if acknowledged(found, digest)}
        self._name_what_waits(found, asked=asked)
        if policy.digest == self._in_force.policy().digest:
            self._unchanged(asked=asked)
            return
        found_looser = await self._looser(policy, found)
        before = self._in_force.policy()
        used = before.digest in self._used
        if found_looser and (used or not acknowledged(found, before.digest)):
            await self._refuse(_loosens(before, policy, found_looser, used=used), asked=asked)
            return
        await self._put_in_force(policy, found, found_looser, asked=asked)

    async def _looser(self, policy: Policy, found: Config) -> Sequence[Loosening]:
        """Return every way in which `policy` is more permissive than the one in force."""
        before = self._in_force.policy()
        agents = tuple(Caller(agent.name, agent.groups) for agent in self._config.agents) or (Caller(LOCAL_AGENT),)

        def compare() -> Sequence[Loosening]:
            return loosenings(before, policy, agents=agents)

        with _short_turns():
            return await anyio.to_thread.run_sync(compare, abandon_on_cancel=True)

    async def _put_in_force(self, policy: Policy, found: Config, looser: Sequence[Loosening], *, asked: bool) -> None:
        try:
            await fault_async("policy.reload")
            before = await self._in_force.replace(policy, self._store, self._clock(), loosenings=len(looser))
        except (StateError, OSError) as error:
            message = f"the change of policy cannot be recorded, so it does not count: {error}"
            await self._refuse(Refusal("unrecorded", (message,), policy.digest), asked=asked)
            await anyio.sleep(_TRY_AGAIN_SECONDS)
            self._watch.ask()
            return
        self._told = None
        if looser:
            # One line, one change: it must not permit another one after a way back to this policy.
            self._used.add(before.digest)
        rules = sum(len(layer.rules) for layer in policy.layers)
        self._log.info("policy.reloaded", digest=policy.digest[:12], replaces=before.digest[:12], rules=rules)
        for each in looser[:_MOST_SHOWN]:
            self._log.warning("policy.loosened", acknowledged=str(each))
        for note in [each for each in found.notes if each.message not in self._notes][:_MOST_SHOWN]:
            self._log.warning("policy.note", note=str(note))
        self._notes = {each.message for each in found.notes}
        await self._after(before, policy)

    def _unchanged(self, *, asked: bool) -> None:
        if self._in_force.refusal is not None or asked:
            self._log.info("policy.unchanged", digest=self._in_force.policy().digest[:12])
        self._told = None
        self._in_force.settled()

    async def _refuse(self, refusal: Refusal, *, asked: bool) -> None:
        """Say it loudly, and once: the same fault is not news each time a file is touched."""
        if refusal == self._told and not asked:
            return
        kept = self._in_force.policy().digest[:12]
        shown = refusal.problems[:_MOST_SHOWN]
        for problem in shown:
            self._log.error("policy.not_reloaded", reason=refusal.reason, problem=problem, still_in_force=kept)
        if len(refusal.problems) > len(shown):
            self._log.error("policy.not_reloaded", reason=refusal.reason, more=len(refusal.problems) - len(shown))
        news = refusal != self._told
        self._told = refusal
        if news:
            try:
                await self._in_force.refuse(refusal, self._store, self._clock())
            except HoldshortError as error:
                self._log.error("policy.refusal_not_recorded", error=str(error))

    def _name_what_waits(self, found: Config, *, asked: bool) -> None:
        keys = changed_keys(self._config, found)
        if keys and (keys != self._told_keys or asked):
            for key in keys:
                self._log.warning("config.waits", key=key, takes_effect="at the next start")
        self._told_keys = keys

    def _with_shorthand_of_running(self, found: Config) -> Policy:
        """Return the policy read, with the shorthand keys of servers that left the file but run until the next start.

        Without them, taking a server out of the file would loosen what is said about it while it still runs.
        """
        gone = {server.label for server in self._config.servers} - {server.label for server in found.servers}
        names = {f"mcpServers.{label}.{key}" for label in gone for key in SHORTHAND_KEYS}
        kept = [layer for layer in self._in_force.policy().layers if layer.name in names]
        policy = found.policy
        return compile_policy([*policy.layers, *kept], expires_after=policy.expires_after) if kept else policy


def changed_keys(running: Config, found: Config) -> tuple[str, ...]:
    """Return the keys of `holdshort.yaml` whose values differ and are not policy; never a value of theirs."""
    changed: list[str] = []
    for each in fields(Config):
        before, after = getattr(running, each.name), getattr(found, each.name)
        if each.name in _APPLIED or before == after:
            continue
        name = _NAMES.get(each.name, each.name)
        if each.name in ("servers", "agents", "approvers"):
            changed += _changed_entries(name, before, after)
        elif each.name == "limits":
            differ = (
                limit.name for limit in fields(before) if getattr(before, limit.name) != getattr(after, limit.name)
            )
            changed += [f"limits.{limit}" for limit in differ if limit not in _APPLIED_LIMITS]
        else:
            changed.append(name)
    return tuple(changed)


def _loosens(before: Policy, after: Policy, found: Sequence[Loosening], *, used: bool) -> Refusal:
    ways = "in one way" if len(found) == 1 else f"in {len(found)} ways"
    line = acknowledgement(before.digest)
    what = (
        "this line permitted an earlier change, and does not permit another; take it out, save, and put it in again: "
        + line
        if used
        else f"if that is meant, add this line to `holdshort.yaml` or to a policy file: {line}"
    )
    how = f"the policy on disk is more permissive than the one in force, {ways}; {what}"
    return Refusal("loosens", (how, *map(str, found)), after.digest)


def _changed_entries(name: str, before: Sequence[object], after: Sequence[object]) -> list[str]:
    old, new = _by_name(before), _by_name(after)
    return [f"{name}.{each}" for each in dict.fromkeys([*old, *new]) if old.get(each) != new.get(each)]


def _by_name(entries: Sequence[object]) -> dict[str, object]:
    return {str(getattr(entry, "label", None) or getattr(entry, "name", "")): entry for entry in entries}


@contextmanager
def _short_turns() -> Generator[None]:
    """Let the calls that run have the interpreter often, while a thread of ours reads files."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
