"""The fixture's tools that need more before they finish (MCP 2026-07-28, multi round-trip requests).

Their state is signed: a state the server did not make is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from kit.fixture_tools import JSON, Call, needs, text, tool

__all__ = ["seal", "unseal"]

KEY = secrets.token_bytes(32)


def seal(state: JSON) -> str:
    """A state that the client can carry but not change."""
    body = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
    return f"{body}.{hmac.new(KEY, body.encode(), hashlib.sha256).hexdigest()}"


def unseal(sealed: str) -> JSON:
    """The state inside.

    Raises:
        MCPError: it is not one of ours.
    """
    body, _, mark = sealed.partition(".")
    if not hmac.compare_digest(mark.encode(), hmac.new(KEY, body.encode(), hashlib.sha256).hexdigest().encode()):
        raise MCPError(types.INVALID_PARAMS, "The request state was changed on the way")
    state: JSON = json.loads(base64.urlsafe_b64decode(body))
    return state


def asks(questions: JSON, state: JSON | None = None) -> JSON:
    """The result that asks for more."""
    result: JSON = {"resultType": "input_required", "inputRequests": questions}
    if state is not None:
        result["requestState"] = seal(state)
    return result


def form(message: str, **properties: JSON) -> JSON:
    """A question to the person."""
    params = {"mode": "form", "message": message, "requestedSchema": needs(**properties)}
    return {"method": "elicitation/create", "params": params}


def model(prompt: str, most: int) -> JSON:
    """A question to the client's model."""
    message = {"role": "user", "content": {"type": "text", "text": prompt}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": most}}


ROOTS: JSON = {"method": "roots/list", "params": {}}
STRING: JSON = {"type": "string"}


def _said(answer: Any) -> str:
    content = answer.get("content") if isinstance(answer, dict) else None
    return str(content.get("text")) if isinstance(content, dict) else "nothing"


def _roots(answer: Any) -> list[str]:
    found = answer.get("roots") if isinstance(answer, dict) else None
    return [str(root.get("uri")) for root in found] if isinstance(found, list) else []


@tool("test_input_required_result_elicitation", "Asks for a name first")
async def one_question(call: Call) -> JSON:
    given = call.accepted("user_name")
    if given is None or not isinstance(given.get("name"), str):
        return asks({"user_name": form("What is your name?", name=STRING)})
    return text(f"Hello, {given['name']}!")


@tool("test_streaming_elicitation", "Asks for a name first, on an event stream")
async def streaming_question(call: Call) -> JSON:
    return await one_question(call)


@tool("test_input_required_result_sampling", "Asks the client's model first")
async def one_sample(call: Call) -> JSON:
    if "capital_question" not in call.answers:
        return asks({"capital_question": model("What is the capital of France?", 100)})
    return text(f"The model said: {_said(call.answers['capital_question'])}")


@tool("test_input_required_result_list_roots", "Asks for the client's roots first")
async def one_list(call: Call) -> JSON:
    if "client_roots" not in call.answers:
        return asks({"client_roots": ROOTS})
    return text(f"Roots: {', '.join(_roots(call.answers['client_roots']))}")


@tool("test_input_required_result_request_state", "Asks to confirm and checks its state")
async def with_state(call: Call) -> JSON:
    if call.state is None or call.accepted("confirm") is None:
        return asks({"confirm": form("Please confirm", ok={"type": "boolean"})}, {"asked": "confirm"})
    return text("state-ok" if unseal(call.state) == {"asked": "confirm"} else "state-wrong")


@tool("test_input_required_result_tampered_state", "Refuses a state that was changed")
async def tampered_state(call: Call) -> JSON:
    if call.state is None:
        return asks({"confirm": form("Please confirm", ok={"type": "boolean"})}, {"asked": "tampered"})
    unseal(call.state)
    return text("The state is the one we gave.")


@tool("test_input_required_result_multiple_inputs", "Asks three things at once")
async def three_questions(call: Call) -> JSON:
    given = call.accepted("user_name")
    if given is None or call.state is None or not {"greeting", "client_roots"} <= set(call.answers):
        questions = {
            "user_name": form("What is your name?", name=STRING),
            "greeting": model("Generate a greeting", 50),
            "client_roots": ROOTS,
        }
        return asks(questions, {"asked": "three"})
    unseal(call.state)
    roots = ", ".join(_roots(call.answers["client_roots"]))
    return text(f"{_said(call.answers['greeting'])} {given.get('name')}, your roots are {roots}")


@tool("test_input_required_result_multi_round", "Asks twice, one after the other")
async def two_rounds(call: Call) -> JSON:
    if call.state is None:
        return asks({"step1": form("Step 1: What is your name?", name=STRING)}, {"round": 1})
    state = unseal(call.state)
    if state["round"] == 1:
        name = (call.accepted("step1") or {}).get("name")
        question = form("Step 2: What is your favorite color?", color=STRING)
        return asks({"step2": question}, {"round": 2, "name": name})
    color = (call.accepted("step2") or {}).get("color")
    return text(f"{state['name']} likes {color}")


@tool("test_input_required_result_capabilities", "Asks only what the client can answer")
async def within_capabilities(call: Call) -> JSON:
    meta = (call.ctx.params or {}).get("_meta") or {}
    declared = meta.get("io.modelcontextprotocol/clientCapabilities") or {}
    possible = {
        "elicitation": ("user_name", form("What is your name?", name=STRING)),
        "sampling": ("capital_question", model("What is the capital of France?", 100)),
        "roots": ("client_roots", ROOTS),
    }
    questions = dict(question for capability, question in possible.items() if capability in declared)
    if not questions or call.answers:
        return text("Nothing more to ask.")
    return asks(questions)
