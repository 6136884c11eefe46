"""What can go wrong in a run, one tree. An error that ends a run carries the state to go on from, as `state`.

- RunnerError
  - UserError: the program is put together wrongly
  - RunError: the run cannot go on as it is
    - MaxTurnsExceeded
    - ModelError: no usable answer of the model; ModelBehaviorError: an answer that makes no sense;
      PreviousResponseGone: the response that was built on is gone
    - ProxyError: the proxy refused or failed; ProxyUnreachable: it was not reached
    - GuardrailTripped: InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered,
      ToolInputGuardrailTripwireTriggered, ToolOutputGuardrailTripwireTriggered
    - GuardrailFailed: a guardrail raised, so nothing passed it
    - ToolFailed: a tool raised, and nobody turns that into words for the model
  - DecisionError: a decision was not taken
    - DecisionConflict, ApprovalExpired, DefinitionChanged, OutcomeUnknown
  - StateError: StateVersionError, StateTampered, StateSuperseded, StateDamaged, StateMissing
  - StorageError: the file of a session or of saved runs cannot be read or written
  - BadEvent: a webhook that is not genuine, too old, or no event
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdshort.errors import HoldshortError

if TYPE_CHECKING:
    from holdshort.runner.state import RunState

__all__ = [
    "ApprovalExpired",
    "BadEvent",
    "DecisionConflict",
    "DecisionError",
    "DefinitionChanged",
    "GuardrailFailed",
    "GuardrailTripped",
    "InputGuardrailTripwireTriggered",
    "MaxTurnsExceeded",
    "ModelBehaviorError",
    "ModelError",
    "OutcomeUnknown",
    "OutputGuardrailTripwireTriggered",
    "PreviousResponseGone",
    "ProxyError",
    "ProxyUnreachable",
    "RunError",
    "RunnerError",
    "StateDamaged",
    "StateError",
    "StateMissing",
    "StateSuperseded",
    "StateTampered",
    "StateVersionError",
    "StorageError",
    "ToolFailed",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputGuardrailTripwireTriggered",
    "UserError",
]


class RunnerError(HoldshortError):
    """The root of all of them."""

    code = "runner"


class UserError(RunnerError):
    """Raised when the program is put together wrongly; the message says what to change."""

    code = "usage"


class RunError(RunnerError):
    """Raised when a run ends without a result. `state` goes on from the last durable point, once the cause is gone."""

    code = "run"

    def __init__(self, message: str, *, state: RunState | None = None) -> None:
        super().__init__(message)
        self.state = state


class MaxTurnsExceeded(RunError):
    """Raised when the model was asked `max_turns` times, pauses included, and has not finished."""

    code = "max_turns"


class ModelError(RunError):
    """Raised when the model cannot be asked, or its answer failed, was cut off or is incomplete.

    `reason` is the service's own code (`rate_limit_exceeded`, `max_output_tokens`, ...) and `status` that of HTTP,
    where there was one. `taken` says whether the service may have taken the request all the same: then a conversation
    that it keeps may have grown, and tools that it runs may have run.
    """

    code = "model"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        status: int = 0,
        taken: bool = False,
        state: RunState | None = None,
    ) -> None:
        super().__init__(message, state=state)
        self.reason = reason
        self.status = status
        self.taken = taken


class PreviousResponseGone(ModelError):
    """Raised when the service does not have the response, any more, that the request builds on."""

    code = "previous_response_gone"


class ModelBehaviorError(ModelError):
    """Raised when the model's answer cannot be acted on: an unknown tool, a call id used for two calls."""

    code = "model_behavior"


class ProxyError(RunError):
    """Raised when the proxy refuses or fails. `reason` is its error code, `interruption` the record it sent along."""

    code = "proxy"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        status: int = 0,
        interruption: Mapping[str, Any] | None = None,
        state: RunState | None = None,
    ) -> None:
        super().__init__(message, state=state)
        self.reason = reason
        self.status = status
        self.interruption = interruption


class ProxyUnreachable(ProxyError):
    """Raised when the proxy was not reached, or its answer was lost. `sent` says whether a request may have arrived."""

    code = "proxy_unreachable"

    def __init__(self, message: str, *, sent: bool, state: RunState | None = None) -> None:
        super().__init__(message, state=state)
        self.sent = sent


class GuardrailTripped(RunError):
    """Raised when a guardrail ends the run. `result` is what it said, `results` what all that were asked said."""

    code = "guardrail"

    def __init__(
        self, message: str, *, result: Any = None, results: Sequence[Any] = (), state: RunState | None = None
    ) -> None:
        super().__init__(message, state=state)
        self.result = result
        self.results = tuple(results)

    @property
    def guardrail_result(self) -> Any:
        """The same as `result`, under the name it has in the OpenAI Agents SDK."""
        return self.result


class GuardrailFailed(RunError):
    """Raised when a guardrail raised or answered nonsense. The cause is what it raised, `results` what others said."""

    code = "guardrail_failed"

    def __init__(self, message: str, *, results: Sequence[Any] = (), state: RunState | None = None) -> None:
        super().__init__(message, state=state)
        self.results = tuple(results)


class InputGuardrailTripwireTriggered(GuardrailTripped):  # the name that people know
    """Raised when an input guardrail trips."""


class OutputGuardrailTripwireTriggered(GuardrailTripped):
    """Raised when an output guardrail trips."""


class ToolInputGuardrailTripwireTriggered(GuardrailTripped):
    """Raised when a guardrail on a tool's input ends the run; the tool did not run."""


class ToolOutputGuardrailTripwireTriggered(GuardrailTripped):
    """Raised when a guardrail on a tool's output ends the run; the tool ran."""


class ToolFailed(RunError):
    """Raised when a tool raised and has no `failure_error_function`; the cause is what it raised."""

    code = "tool_failed"


class DecisionError(RunnerError):
    """Raised when a decision was not taken. `interruption` is the record as it stands, where there is one."""

    code = "decision"

    def __init__(self, message: str, *, reason: str = "", interruption: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.interruption = interruption


class DecisionConflict(DecisionError):
    """Raised when another decision, or another end, came first."""

    code = "decision_conflict"


class ApprovalExpired(DecisionError):
    """Raised when time was up."""

    code = "expired"


class DefinitionChanged(DecisionError):
    """Raised when the tool, or what policy says of it, is not what was asked about any more; ask anew."""

    code = "definition_changed"


class OutcomeUnknown(DecisionError):
    """Raised when a decision comes for a call that was sent and of which nobody knows what became."""

    code = "outcome_unknown"


class StateError(RunnerError):
    """Raised when a saved state cannot be used. Nothing was executed and nobody was asked."""

    code = "run_state"


class StateVersionError(StateError):
    """Raised when a saved state is of a version that this release does not know."""

    code = "state_version"


class StateTampered(StateError):
    """Raised when the signature of a saved state is missing or wrong."""

    code = "state_tampered"


class StateDamaged(StateError):
    """Raised when a saved state is not what its JSON Schema says; the message names the place."""

    code = "state_damaged"


class StateSuperseded(StateError):
    """Raised when another process went on from this state, or a later one is saved."""

    code = "state_superseded"


class StateMissing(StateError):
    """Raised when no state is saved of a run that was asked for."""

    code = "state_missing"


class StorageError(RunnerError):
    """Raised when the file of a session or of saved runs cannot be read or written; the message names it."""

    code = "storage"


class BadEvent(RunnerError):
    """Raised when a webhook is not signed by whom it should be, is too old, or is no event."""

    code = "bad_event"
