"""Policies for a server that nobody wrote a policy for."""

from holdshort.policy.conditions import read_only_tools
from holdshort.policy.decide import Policy, compile_policy
from holdshort.policy.model import Action, Layer, Rule

__all__ = ["wrap_policy"]


def wrap_policy(strict: bool) -> Policy:
    """Return the policy of `wrap` without a file: tools declared read-only run, everything else asks.

    With `strict`, everything asks: a declaration is only the server's own word.
    """
    reads = Rule("reads", Action.ALLOW, when=read_only_tools())
    return compile_policy([Layer("wrap", () if strict else (reads,), Action.ASK)])
