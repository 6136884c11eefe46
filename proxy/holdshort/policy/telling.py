"""An explanation as JSON, for the API and for scripts: the same facts that the text has, by name."""

from typing import Any

from holdshort.policy.explain import Explanation, LayerOpinion, RuleReason
from holdshort.policy.model import Access, Action, Call, Place

__all__ = ["explanation_json"]


def explanation_json(told: Explanation, question: Call | Access) -> dict[str, Any]:
    """Return the explanation as plain JSON values."""
    verdict, terms = told.verdict, told.verdict.terms
    return {
        **_question(question),
        "verdict": verdict.action.value,
        "because": [{"layer": reason.layer, "rule": reason.rule} for reason in verdict.because],
        "decided": told.decided,
        "layers": [_layer(opinion) for opinion in told.layers],
        "pins": told.pins,
        "terms": {
            "approvers": [sorted(allowed) for allowed in terms.approvers],
            "required_approvals": terms.required_approvals,
            "expires_after_seconds": terms.expires_after.total_seconds(),
            "decisions": sorted(terms.decisions),
            "execute": terms.execute,
            "grants": terms.grants,
        }
        if verdict.action is Action.ASK
        else None,
        "terms_from": [
            {
                "term": term.term,
                "says": term.words,
                "said_by": [{"layer": reason.layer, "rule": reason.rule} for reason in term.said_by],
            }
            for term in told.terms
        ],
        "grant": told.grant,
        "errors": list(verdict.errors),
    }


def _question(question: Call | Access) -> dict[str, Any]:
    caller = question.caller
    about: dict[str, Any]
    if isinstance(question, Call):
        tool = question.tool
        about = {
            "kind": "tool",
            "server": tool.server,
            "tool": tool.name,
            "facts": {
                "title": tool.title,
                "read_only": tool.read_only,
                "destructive": tool.destructive,
                "idempotent": tool.idempotent,
                "open_world": tool.open_world,
                "pinned": tool.pinned,
            },
        }
    else:
        about = {"kind": question.kind.value, "server": question.server, "name": question.name}
    return {
        **about,
        "arguments": dict(question.arguments),
        "agent": caller.agent,
        "groups": sorted(caller.groups),
        "client": caller.client,
        "client_version": caller.client_version,
        "now": question.now.isoformat().replace("+00:00", "Z"),
    }


def _layer(opinion: LayerOpinion) -> dict[str, Any]:
    return {
        "layer": opinion.layer,
        "rule": opinion.rule,
        "action": opinion.action.value if opinion.action is not None else None,
        "part": opinion.part.value,
        "says": opinion.words,
        "place": _place(opinion.place),
        "rules": [_rule(rule) for rule in opinion.rules],
    }


def _rule(rule: RuleReason) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "action": rule.action.value,
        "outcome": rule.outcome.value,
        "says": rule.words,
        "place": _place(rule.place),
        "condition": [
            {"part": seen.text, "value": seen.value, "values": list(seen.values), "depth": seen.depth}
            for seen in rule.seen
        ],
    }


def _place(place: Place | None) -> str | None:
    return str(place) if place is not None else None
