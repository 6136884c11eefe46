"""When one verdict is more permissive than another: by what it does, and where both ask, by each of the terms."""

from dataclasses import dataclass
from datetime import timedelta

from holdshort.policy.model import Action, Terms, Verdict

__all__ = ["Looser", "duration", "looser"]


@dataclass(frozen=True, slots=True)
class Looser:
    """One respect in which a verdict is more permissive: what `was`, and what is `now`, in words for people."""

    aspect: str
    was: str
    now: str


_DONE = {
    Action.ALLOW: "runs without asking",
    Action.ASK: "asks",
    Action.DENY: "is refused",
    Action.HIDE: "is hidden",
}


def looser(old: Verdict, new: Verdict) -> tuple[Looser, ...]:
    """Return every respect in which `new` is more permissive than `old`; none when it is at least as strict."""
    if new.action.strictness < old.action.strictness:
        return (Looser("action", _DONE[old.action], _DONE[new.action]),)
    if new.action is old.action is Action.ASK:
        return tuple(_terms(old.terms, new.terms))
    return ()


def _terms(old: Terms, new: Terms) -> list[Looser]:
    found: list[Looser] = []
    # Whoever may decide now must have been allowed to: each old list has to contain one of the new ones.
    if not all(any(narrower <= allowed for narrower in new.approvers) for allowed in old.approvers):
        found.append(Looser("approvers", f"decided by {_people(old)}", f"decided by {_people(new)}"))
    if new.required_approvals < old.required_approvals:
        found.append(Looser("required_approvals", _approvals(old), _approvals(new)))
    if new.expires_after > old.expires_after:
        was, now = duration(old.expires_after), duration(new.expires_after)
        found.append(Looser("expires_after", f"expires after {was}", f"expires after {now}"))
    if not new.decisions <= old.decisions:
        was, now = ", ".join(sorted(old.decisions)), ", ".join(sorted(new.decisions))
        found.append(Looser("decisions", f"decisions {was}", f"decisions {now}"))
    if new.execute == "on_decision" != old.execute:
        found.append(Looser("execute", "runs when claimed", "runs at once on the decision"))
    if new.grants and not old.grants:
        found.append(Looser("grants", "no grant answers for it", "a grant may answer for it"))
    return found


def _people(terms: Terms) -> str:
    return " and ".join(" or ".join(sorted(allowed)) or "nobody" for allowed in terms.approvers) or "any approver"


def _approvals(terms: Terms) -> str:
    return "1 approval" if terms.required_approvals == 1 else f"{terms.required_approvals} approvals"


def duration(time: timedelta) -> str:
    """Return a time as it is written in policy files."""
    seconds = time.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"
