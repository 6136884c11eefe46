"""`loosens`: the word of whoever wrote the files that a policy may be more permissive than the one it replaces.

It names the policy that is replaced, by its digest, so it holds for that one change: once another policy is in force,
a line that was left behind permits nothing.
"""

import re
from typing import Final

from holdshort.config.document import Entry
from holdshort.config.model import Config
from holdshort.config.reading import Reading, is_filled
from holdshort.policy import Caller
from holdshort.policy.loosening import Surroundings

__all__ = ["LOOSENS_DIGITS", "acknowledged", "acknowledgement", "read_loosens", "surroundings"]

LOOSENS_DIGITS: Final = 12
"""Digits of a digest that are enough to name a policy."""

_DIGEST: Final = re.compile(rf"[0-9a-f]{{{LOOSENS_DIGITS},64}}")


def read_loosens(reading: Reading, entry: Entry | None) -> None:
    """Read the digests of `loosens`, of a configuration or a policy file, into `reading.loosens`."""
    if entry is None:
        return
    # Twelve digits without a letter among them are a number to YAML, and mean the same.
    for value, text in reading.texts(entry.value, "loosens", numbers=True):
        if _DIGEST.fullmatch(text):
            reading.loosens.add(text)
        else:
            shown = "this" if is_filled(value) else f"`{value.raw[:80]}`"
            message = f"{shown} is no digest; write the first {LOOSENS_DIGITS} or more hex digits, in lower case"
            reading.problem(value.place, f"loosens: {message}, of the policy being replaced")


def acknowledged(config: Config, old_digest: str) -> bool:
    """Say whether the files of `config` state that it loosens the policy with `old_digest`."""
    return any(old_digest.startswith(said) for said in config.loosens)


def surroundings(old: Config, new: Config) -> Surroundings:
    """Return what verdicts depend on beside the policy, of two configurations."""
    groups = {agent.name: agent.groups for agent in new.agents}
    return Surroundings(
        untrusted=(_untrusted(old), _untrusted(new)),
        gone=frozenset(server.label for server in old.servers) - {server.label for server in new.servers},
        callers=tuple(
            (Caller(agent.name, agent.groups), Caller(agent.name, groups[agent.name]))
            for agent in old.agents
            if agent.name in groups
        ),
    )


def _untrusted(config: Config) -> frozenset[str]:
    return frozenset(server.label for server in config.servers if not server.trust_annotations)


def acknowledgement(old_digest: str) -> str:
    """Return the line that states it, as it stands in `holdshort.yaml` or in a policy file."""
    return f'loosens: "{old_digest[:LOOSENS_DIGITS]}"'
