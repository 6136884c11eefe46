"""The agent-side runner: an agent loop that stops where a person must decide, and goes on from there, anywhere.

    result = await Runner.run(agent, "Delete the old logs")
    while result.interruptions:
        state = result.to_state()           # state.to_string() may be kept in a file meanwhile
        await state.wait(timeout=3600)      # decided on the page, in a chat, with curl
        result = await Runner.run(agent, state)

The proxy's record alone says what may run; a state is where to go on, never a permission.
"""

from typing import TYPE_CHECKING, Any

from holdshort.runner.agent import Agent, ModelSettings, handoff
from holdshort.runner.config import RunConfig, ToolErrorFormatterArgs
from holdshort.runner.data import Item, UsageData
from holdshort.runner.decisions import Always, Decision
from holdshort.runner.drift import DriftWarning
from holdshort.runner.elsewhere import not_here
from holdshort.runner.error_handlers import RunErrorHandlerInput, RunErrorHandlerResult, RunErrorHandlers
from holdshort.runner.errors import (
    ApprovalExpired,
    BadEvent,
    DecisionConflict,
    DecisionError,
    DefinitionChanged,
    GuardrailFailed,
    GuardrailTripped,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelError,
    OutcomeUnknown,
    OutputGuardrailTripwireTriggered,
    PreviousResponseGone,
    ProxyError,
    ProxyUnreachable,
    RunError,
    RunnerError,
    StateDamaged,
    StateError,
    StateMissing,
    StateSuperseded,
    StateTampered,
    StateVersionError,
    StorageError,
    ToolFailed,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
)
from holdshort.runner.events import (
    AgentUpdatedStreamEvent,
    RawResponsesStreamEvent,
    RunEnded,
    RunItemStreamEvent,
    StreamEvent,
    ToolApprovalRequired,
)
from holdshort.runner.function_tool import function_tool
from holdshort.runner.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
    input_guardrail,
    output_guardrail,
)
from holdshort.runner.hooks import AgentHooks, RunHooks
from holdshort.runner.interruption import Interruption
from holdshort.runner.items import ItemHelpers, RunItem
from holdshort.runner.model_input import CallModelData, ModelInputData
from holdshort.runner.output import OutputSchema
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.result import RunResult, RunResultStreaming
from holdshort.runner.run import Runner, RunOptions
from holdshort.runner.run_store import SavedRun, SQLiteRunStore
from holdshort.runner.session import Session, SessionSettings
from holdshort.runner.sqlite_session import SQLiteSession
from holdshort.runner.state import RunState
from holdshort.runner.tool_guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
    tool_input_guardrail,
    tool_output_guardrail,
)
from holdshort.runner.tool_output import ToolOutputFileContent, ToolOutputImage, ToolOutputText
from holdshort.runner.tools import (
    AgentTool,
    ApplyPatchOperation,
    ApplyPatchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    RawTool,
    RunContext,
    ShellAction,
    ShellTool,
    Tool,
    ToolContext,
)
from holdshort.runner.waiting import Changes
from holdshort.runner.webhooks import InterruptionEvent, read_event

RunContextWrapper = RunContext
"""The name that the OpenAI Agents SDK has for it."""
TResponseInputItem = Item
"""The same."""
Usage = UsageData
"""What a run has used."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise not_here(__name__, name)


__all__ = [
    "Agent",
    "AgentHooks",
    "AgentTool",
    "AgentUpdatedStreamEvent",
    "Always",
    "ApplyPatchOperation",
    "ApplyPatchTool",
    "ApprovalExpired",
    "ApprovalProxy",
    "BadEvent",
    "CallModelData",
    "Changes",
    "Decision",
    "DecisionConflict",
    "DecisionError",
    "DefinitionChanged",
    "DriftWarning",
    "FunctionTool",
    "GuardrailFailed",
    "GuardrailFunctionOutput",
    "GuardrailTripped",
    "Handoff",
    "HostedMCPTool",
    "InputGuardrail",
    "InputGuardrailResult",
    "InputGuardrailTripwireTriggered",
    "Interruption",
    "InterruptionEvent",
    "ItemHelpers",
    "MaxTurnsExceeded",
    "ModelBehaviorError",
    "ModelError",
    "ModelInputData",
    "ModelSettings",
    "OutcomeUnknown",
    "OutputGuardrail",
    "OutputGuardrailResult",
    "OutputGuardrailTripwireTriggered",
    "OutputSchema",
    "PreviousResponseGone",
    "ProxyError",
    "ProxyUnreachable",
    "RawResponsesStreamEvent",
    "RawTool",
    "RunConfig",
    "RunContext",
    "RunContextWrapper",
    "RunEnded",
    "RunError",
    "RunErrorHandlerInput",
    "RunErrorHandlerResult",
    "RunErrorHandlers",
    "RunHooks",
    "RunItem",
    "RunItemStreamEvent",
    "RunOptions",
    "RunResult",
    "RunResultStreaming",
    "RunState",
    "Runner",
    "RunnerError",
    "SQLiteRunStore",
    "SQLiteSession",
    "SavedRun",
    "Session",
    "SessionSettings",
    "ShellAction",
    "ShellTool",
    "StateDamaged",
    "StateError",
    "StateMissing",
    "StateSuperseded",
    "StateTampered",
    "StateVersionError",
    "StorageError",
    "StreamEvent",
    "TResponseInputItem",
    "Tool",
    "ToolApprovalRequired",
    "ToolContext",
    "ToolErrorFormatterArgs",
    "ToolFailed",
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputFileContent",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "ToolOutputGuardrailTripwireTriggered",
    "ToolOutputImage",
    "ToolOutputText",
    "Usage",
    "UserError",
    "function_tool",
    "handoff",
    "input_guardrail",
    "output_guardrail",
    "read_event",
    "tool_input_guardrail",
    "tool_output_guardrail",
]
