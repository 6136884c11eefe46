"""The digest of a policy: equal for equal behaviour, whatever the comments, spacing and places of the source."""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from holdshort.policy.model import Layer, Rule

__all__ = ["digest_layers"]


def digest_layers(layers: Sequence[Layer], expires_after: timedelta) -> str:
    """Return the SHA-256, in hex, of the canonical text of `layers`: all that can change a verdict or its reasons."""
    source = {
        "expires_after": expires_after.total_seconds(),
        "layers": [
            {
                "name": layer.name,
                "default": layer.default,
                "pins": layer.pins,
                "rules": [_rule(rule) for rule in layer.rules],
            }
            for layer in layers
        ],
    }
    text = json.dumps(source, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "action": rule.action,
        "tools": [[p.server, p.tool, p.literal] for p in rule.tools],
        "except_tools": [[p.server, p.tool, p.literal] for p in rule.except_tools],
        "agents": [p.text for p in rule.agents],
        "when": None if rule.when is None else rule.when.text,
        "approvers": None if rule.approvers is None else sorted(rule.approvers),
        "required_approvals": rule.required_approvals,
        "expires_after": None if rule.expires_after is None else rule.expires_after.total_seconds(),
        "decisions": None if rule.decisions is None else sorted(rule.decisions),
        "execute": rule.execute,
        "grants": rule.grants,
        "kind": rule.kind,
        "targets": [[p.server, p.tool, p.literal] for p in rule.targets],
    }
