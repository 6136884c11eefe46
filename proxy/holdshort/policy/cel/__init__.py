"""Conditions in the Common Expression Language: `text -> tokens -> tree -> checked -> closures`, one module each.

`functions.py` is the table of what a condition can call, `variables.py` of what it can speak of.
"""

from holdshort.policy.cel.check import ConditionProblem
from holdshort.policy.cel.condition import CelCondition, check_condition, compile_condition
from holdshort.policy.cel.evaluate import evaluate
from holdshort.policy.cel.parse import parse
from holdshort.policy.cel.tokens import BadCondition
from holdshort.policy.cel.values import ConditionFailed, TooCostly

__all__ = [
    "BadCondition",
    "CelCondition",
    "ConditionFailed",
    "ConditionProblem",
    "TooCostly",
    "check_condition",
    "compile_condition",
    "evaluate",
    "parse",
]
