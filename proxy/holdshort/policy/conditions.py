"""Conditions, and the one place where an error in a condition falls to the strict side."""

from dataclasses import dataclass

from holdshort.errors import HoldshortError
from holdshort.policy.model import Access, Action, Call, Condition, Rule

__all__ = ["ReadOnlyTools", "read_only_tools", "speaks"]


@dataclass(frozen=True, slots=True)
class ReadOnlyTools:
    """True for a tool that its server declares read-only; undeclared is not read-only."""

    text: str = "tool.read_only"
    static: bool = True

    def __call__(self, call: Call) -> bool:
        """Say whether the tool is declared read-only."""
        return call.tool.read_only


def read_only_tools() -> Condition:
    """Return the condition `tool.read_only`."""
    return ReadOnlyTools()


def speaks(rule: Rule, call: Call | Access) -> tuple[bool, str | None]:
    """Say whether the `when` of `rule` holds for `call`, and what went wrong if it could not be told.

    An error never helps the call: a condition that raises, or answers anything but true or false, counts as true for
    ask, deny and hide, and as false for allow. Everything a condition can throw is caught, `BaseException` included,
    because an evaluator written in another language may raise outside of `Exception`. Only an error of our own is
    quoted: any other may have an argument in its text, and what is told here is logged.
    """
    if rule.when is None:
        return True, None
    try:
        answer = rule.when(call)
    except (KeyboardInterrupt, SystemExit):
        raise
    except HoldshortError as error:
        problem = str(error)
    except BaseException as error:  # noqa: BLE001 - see the docstring
        problem = f"the condition failed: {type(error).__name__}"
    else:
        if answer is True or answer is False:
            return answer, None
        # Out of reach for a type checker; an evaluator may still break its promise of a bool.
        problem = f"the condition gave `{type(answer).__name__}`, not true or false"
    return rule.action is not Action.ALLOW, problem
