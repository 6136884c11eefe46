"""The rules as they decide about lists (precedence 9): a tool is left out where some layer hides it for certain."""

from dataclasses import replace

from holdshort.policy.loosening.pairing import Pair, Spoken
from holdshort.policy.model import Action

__all__ = ["as_listed"]


def as_listed(pair: Pair) -> Pair:
    """Return the pair with the rules that lists go by.

    What a condition says about arguments and time is open while tools are listed: a rule that hides on it hides
    nothing for certain, and one that does anything else may always be the one that speaks.
    """
    return Pair(_as_listed(pair.old), _as_listed(pair.new))


def _as_listed(rules: tuple[Spoken, ...]) -> tuple[Spoken, ...]:
    kept: list[Spoken] = []
    for said in rules:
        if said.rule.when is None or said.rule.when.static:
            kept.append(said)
        elif said.rule.action is not Action.HIDE:
            kept.append(replace(said, rule=replace(said.rule, when=None)))
    return tuple(kept)
