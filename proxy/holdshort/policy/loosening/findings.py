"""What a comparison found, put together for people: by rule, with one call to show for it, not one line for each."""

import json
from dataclasses import dataclass, replace
from typing import Any

from holdshort.policy.loosening.stricter import Looser
from holdshort.policy.model import Access, Call, Place, Verdict

__all__ = ["Findings", "Loosening", "Reason", "Witness"]


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that carried a verdict: its layer, its id and where it is written. `default` may stand for a rule."""

    layer: str
    rule: str
    place: Place | None = None

    def __str__(self) -> str:
        if self.rule == "default":
            return f"the default of {self.layer}"
        if self.layer == "default":
            return "no rule"
        return f"rule `{self.rule}` ({f'{self.place.file}:{self.place.line}' if self.place else self.layer})"


@dataclass(frozen=True, slots=True)
class Witness:
    """A call that shows the difference: both policies have been asked about it."""

    call: Call | Access
    old: Verdict
    new: Verdict

    def __str__(self) -> str:
        call = self.call
        words = [f"{call.server}__{call.name}" if isinstance(call, Access) else f"{call.tool.server}__{call.tool.name}"]
        if call.arguments:
            words.append(shown(dict(call.arguments)))
        if isinstance(call, Call):
            facts = [word for word in ("read_only", "idempotent") if getattr(call.tool, word)]
            facts += [f"not {word}" for word in ("destructive", "open_world", "pinned") if not getattr(call.tool, word)]
            if facts:
                words.append(f"({', '.join(facts)})")
        if call.caller.agent != "local" or call.caller.groups:
            groups = f" in {', '.join(sorted(call.caller.groups))}" if call.caller.groups else ""
            words.append(f"by {call.caller.agent}{groups}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Loosening:
    """One way in which a policy is more permissive than another: what `was` the case, and what is `now`.

    `aspect` is `action`, a term of `ask` (`approvers`, `required_approvals`, `expires_after`, `decisions`, `execute`,
    `grants`) or several of them (`terms`), `listed`, `pins`, or `unproven` where it could not be shown that there is
    none.
    `old` and `new` are the rules that carried the verdicts. A `witness` is there but for `unproven` and for settings.
    """

    aspect: str
    was: str
    now: str
    old: tuple[Reason, ...] = ()
    new: tuple[Reason, ...] = ()
    witness: Witness | None = None
    places: int = 1
    """In how many parts of the policy's reach it was found."""

    def __str__(self) -> str:
        subject = f"{_listed(self.old)}: " if self.old else ""
        by = f", by {_listed(self.new)}" if self.new and self.new != self.old else ""
        words = f"{subject}{self.was} -> {self.now}{by}" if self.was else f"{subject}{self.now}{by}"
        return words if self.witness is None else f"{words}; as in {self.witness}"

    def turned(self) -> "Loosening":
        """Return the same seen from the other policy."""
        witness = self.witness
        if witness is not None:
            witness = Witness(witness.call, witness.new, witness.old)
        return replace(self, was=self.now, now=self.was, old=self.new, new=self.old, witness=witness)


_Key = tuple[str, str, str, tuple[Reason, ...], tuple[Reason, ...]]


class Findings:
    """Collects what is found. Equal findings count as one, with the first call that was found for it."""

    def __init__(self) -> None:
        self._shown: dict[_Key, Loosening] = {}
        self._unproven: dict[_Key, Loosening] = {}
        self._settings: dict[_Key, Loosening] = {}

    def knows(self, difference: Looser, old: tuple[Reason, ...], new: tuple[Reason, ...]) -> bool:
        """Say whether this has been shown already, and count it once more if so."""
        key = _key(difference, old, new)
        found = self._shown.get(key)
        if found is not None:
            self._shown[key] = replace(found, places=found.places + 1)
        return found is not None

    def show(
        self, difference: Looser, old: tuple[Reason, ...], new: tuple[Reason, ...], witness: Witness | None
    ) -> None:
        """Keep a finding about calls."""
        key = _key(difference, old, new)
        if witness is not None:
            self._shown[key] = Loosening(difference.aspect, difference.was, difference.now, old, new, witness)
        else:
            now = f"it cannot be shown that this is never so: {difference.now}"
            self._unproven.setdefault(key, Loosening("unproven", difference.was, now, old, new))

    def add(self, aspect: str, was: str, now: str) -> None:
        """Keep a finding about a setting, or about everything."""
        self._settings[aspect, was, now, (), ()] = Loosening(aspect, was, now)

    def all(self) -> tuple[Loosening, ...]:
        """Return the findings: settings, then what calls show, actions first, and last what could not be shown."""
        told = {(key[0], key[3]) for key in self._shown}
        actions = [one for one in self._shown.values() if one.aspect in {"action", "listed"}]
        terms: dict[tuple[tuple[Reason, ...], tuple[Reason, ...]], Loosening] = {}
        for one in self._shown.values():
            if one.aspect not in {"action", "listed"}:
                before = terms.get((one.old, one.new))
                terms[one.old, one.new] = one if before is None else _joined(before, one)
        # Where one call is known, that there may be others of the kind is no news.
        unproven = [one for key, one in self._unproven.items() if (key[0], key[3]) not in told]
        return (*self._settings.values(), *actions, *terms.values(), *unproven)


def shown(value: Any) -> str:
    """Return a value as short JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _key(difference: Looser, old: tuple[Reason, ...], new: tuple[Reason, ...]) -> _Key:
    return difference.aspect, difference.was, difference.now, old, new


def _joined(one: Loosening, more: Loosening) -> Loosening:
    """Return two terms of the same rules as one finding."""
    return replace(one, aspect="terms", was=f"{one.was}, {more.was}", now=f"{one.now}, {more.now}")


def _listed(some: tuple[Reason, ...]) -> str:
    return " and ".join(map(str, some)) if len(some) <= 3 else f"{some[0]} and {len(some) - 1} more rules"
