"""Who may decide, compared between two configurations: rules can stay as they are while more people fit them.

People are read at a start. A reload takes up none of this and a restart takes up all of it, so whoever reviews a change
has to see it.
"""

from collections.abc import Iterator

from holdshort.config.model import ApproverConfig, Config
from holdshort.policy import Policy, Rule
from holdshort.policy.loosening import Loosening

__all__ = ["more_deciders"]


def more_deciders(old: Config, new: Config) -> tuple[Loosening, ...]:
    """Return every way in which `new` lets somebody decide who could not decide under `old`, by who people are."""
    return (*_separation(old, new), *_approvers(old, new))


def _separation(old: Config, new: Config) -> Iterator[Loosening]:
    if not old.separation_of_duties:
        return
    if not new.separation_of_duties:
        yield Loosening("separation_of_duties", "separation_of_duties: true", "separation_of_duties: false")
        return
    persons = {agent.name: agent.acts_for for agent in new.agents}
    for agent in old.agents:
        if agent.acts_for is not None and agent.name in persons and persons[agent.name] != agent.acts_for:
            now = persons[agent.name] or "nobody"
            was = f"agent `{agent.name}` acts for {agent.acts_for}, who may not decide its calls"
            yield Loosening("acts_for", was, f"acts for {now}")


def _approvers(old: Config, new: Config) -> Iterator[Loosening]:
    if not old.approvers:
        # Whoever has the token that was made at the first start decides then, and no rule can name anybody.
        return
    before = {approver.name: _words(approver) for approver in old.approvers}
    rules = list(_naming(new.policy))
    lists = [allowed for _, allowed in _naming(old.policy)]
    for approver in new.approvers:
        words = before.get(approver.name)
        if words is None:
            yield Loosening("approvers", f"`{approver.name}` is no approver", "an approver")
            words = frozenset()
        gained: dict[str, None] = {}
        for rule, allowed in rules:
            # A list that was not there before, or was narrower, is a matter of the policy itself.
            if any(allowed <= earlier and words.isdisjoint(earlier) for earlier in lists):
                by = _words(approver) & allowed
                if by:
                    gained[f"rule `{rule.id}`{f' ({rule.place})' if rule.place else ''}"] = None
        if gained:
            some = list(gained)
            named = ", ".join(some[:3]) + (f" and {len(some) - 3} more rules" if len(some) > 3 else "")
            groups = ", ".join(sorted(approver.groups)) or "no group"
            yield Loosening("approvers", f"`{approver.name}` may not decide for {named}", f"may, being in {groups}")


def _words(approver: ApproverConfig) -> frozenset[str]:
    return approver.groups | {approver.name}


def _naming(policy: Policy) -> Iterator[tuple[Rule, frozenset[str]]]:
    """Yield the rules that say who may decide."""
    for layer in policy.layers:
        for rule in layer.rules:
            if rule.approvers is not None:
                yield rule, rule.approvers
