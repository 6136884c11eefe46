"""What to do with a call: a pure function of the call and the rules. `decide.py` has the whole precedence on top."""

from holdshort.policy.conditions import read_only_tools
from holdshort.policy.decide import Policy, compile_policy, decide
from holdshort.policy.explain import Explanation, LayerOpinion, explain
from holdshort.policy.globs import BadPattern, NamePattern, ToolPattern, parse_name_pattern, parse_tool_pattern
from holdshort.policy.model import (
    DECISIONS,
    DEFAULT_EXPIRY,
    Action,
    Because,
    Call,
    Caller,
    Condition,
    Execute,
    Kind,
    Layer,
    PinMode,
    Place,
    PolicyError,
    Rule,
    Terms,
    ToolFacts,
    Verdict,
)
from holdshort.policy.presets import wrap_policy

__all__ = [
    "DECISIONS",
    "DEFAULT_EXPIRY",
    "Action",
    "BadPattern",
    "Because",
    "Call",
    "Caller",
    "Condition",
    "Execute",
    "Explanation",
    "Kind",
    "Layer",
    "LayerOpinion",
    "NamePattern",
    "PinMode",
    "Place",
    "Policy",
    "PolicyError",
    "Rule",
    "Terms",
    "ToolFacts",
    "ToolPattern",
    "Verdict",
    "compile_policy",
    "decide",
    "explain",
    "parse_name_pattern",
    "parse_tool_pattern",
    "read_only_tools",
    "wrap_policy",
]
