"""`require_approval`, `tool_filter` and `allowed_tools` in every shape of the OpenAI Agents SDK, and its errors."""

from typing import Any

import pytest

from holdshort.policy import Layer, compile_policy
from holdshort.policy.shorthand import SHORTHAND_KEYS, Misfit, shorthand_layer
from policy.samples import call

TOOLS = ["search", "delete"]


def verdicts(key: str, value: Any) -> list[str]:
    """What the key alone says about `search` and `delete`; `-` where it abstains."""
    layer, misfits = shorthand_layer("tickets", key, value)
    assert misfits == ()
    told: list[str] = []
    for tool in TOOLS:
        verdict = compile_policy([layer] if layer else []).decide(call(f"tickets__{tool}"))
        told.append("-" if verdict.because[0].layer == "default" else verdict.action.value)
    elsewhere = compile_policy([layer] if layer else []).decide(call("files__search"))
    assert elsewhere.because[0].layer == "default", "a shorthand key spoke about another server"
    return told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["-", "-"]),
        ("always", ["ask", "ask"]),
        ("never", ["allow", "allow"]),
        (True, ["ask", "ask"]),
        (False, ["allow", "allow"]),
        ({}, ["-", "-"]),
        ({"delete": "always"}, ["-", "ask"]),
        ({"search": "never"}, ["allow", "-"]),
        ({"search": False, "delete": True}, ["allow", "ask"]),
        ({"search": "never", "delete": True}, ["allow", "ask"]),
        ({"always": {"tool_names": ["delete"]}}, ["-", "ask"]),
        ({"never": {"tool_names": ["search"]}}, ["allow", "-"]),
        ({"always": {"tool_names": ["delete"]}, "never": {"tool_names": ["search"]}}, ["allow", "ask"]),
        ({"always": {}, "never": {"tool_names": ["search"]}}, ["allow", "-"]),
        ({"always": {"tool_names": []}}, ["-", "-"]),
        ({"always": "never", "search": "always"}, ["ask", "-"]),  # here `always` is the name of a tool
    ],
)
def test_require_approval_means_what_it_means_in_the_sdk_but_abstains_on_other_tools(
    value: Any, expected: list[str]
) -> None:
    assert verdicts("require_approval", value) == expected


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ("alway", (), "unknown value `alway`; did you mean `always`?"),
        ("", (), "unknown value ``; expected"),
        (1, (), "expected `always`, `never`, `true` or `false`, got a number"),
        (["delete"], (), "expected `always`, `never`, `true` or `false`, got a list"),
        ({"delete": "ask"}, ("delete",), "unknown value `ask`"),
        ({"delete": None}, ("delete",), "got nothing"),
        ({"delete": 1}, ("delete",), "got a number"),
        ({"always": {}}, ("always",), "a list of tools is written `always: {tool_names: [...]}`"),
        ({"always": ["delete"]}, ("always",), "got a list"),
        ({"always": {"tool_names": "delete"}}, ("always", "tool_names"), "expected a list of tool names, got a string"),
        ({"always": {"tool_names": None}}, ("always", "tool_names"), "expected a list of tool names, got nothing"),
        ({"always": {"tool_names": [1]}}, ("always", "tool_names", 0), "expected a tool's name, got a number"),
        (
            {"always": {"tool_names": []}, "never": True},
            ("never",),
            "expected `{tool_names: [...]}`, got true or false",
        ),
        ({"always": {"tool_names": []}, "nevr": {}}, ("nevr",), "unknown key `nevr`; did you mean `never`?"),
        ({"always": {"tool_names": [], "read_only": True}}, ("always", "read_only"), "unknown key `read_only`"),
        (
            {"always": {"tool_names": ["a", "b"]}, "never": {"tool_names": ["b"]}},
            ("never", "tool_names", 0),
            "tool `b` is in both `always` and `never`",
        ),
        ({"delete_*": "always"}, ("delete_*",), "looks like a glob; this key takes exact names"),
    ],
)
def test_require_approval_refuses_what_the_sdk_refuses(value: Any, path: tuple[Any, ...], message: str) -> None:
    layer, misfits = shorthand_layer("tickets", "require_approval", value)

    assert layer is None
    assert [misfit.path for misfit in misfits] == [path]
    assert message in misfits[0].message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tool_filter", None, ["-", "-"]),
        ("tool_filter", {}, ["-", "-"]),
        ("tool_filter", {"allowed_tool_names": ["search"]}, ["-", "hide"]),
        ("tool_filter", {"blocked_tool_names": ["search"]}, ["hide", "-"]),
        ("tool_filter", {"allowed_tool_names": ["search"], "blocked_tool_names": ["search"]}, ["hide", "hide"]),
        ("tool_filter", {"allowed_tool_names": []}, ["hide", "hide"]),
        ("tool_filter", {"blocked_tool_names": []}, ["-", "-"]),
        ("allowed_tools", None, ["-", "-"]),
        ("allowed_tools", ["search"], ["-", "hide"]),
        ("allowed_tools", [], ["hide", "hide"]),
    ],
)
def test_filters_hide_what_is_not_allowed_and_then_what_is_blocked(key: str, value: Any, expected: list[str]) -> None:
    assert verdicts(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value", "path", "message"),
    [
        ("tool_filter", ["a"], (), "expected a map with `allowed_tool_names` or `blocked_tool_names`, got a list"),
        ("tool_filter", {"blocked": ["a"]}, ("blocked",), "unknown key `blocked`"),
        ("tool_filter", {"blocked_tool_names": "a"}, ("blocked_tool_names",), "expected a list of tool names"),
        ("tool_filter", {"blocked_tool_names": ["a*"]}, ("blocked_tool_names", 0), "looks like a glob"),
        ("tool_filter", {"blocked_tool_names": [""]}, ("blocked_tool_names", 0), "a tool's name is empty"),
        ("allowed_tools", {"tool_names": ["a"]}, (), "expected a list of tool names, got a map"),
        ("allowed_tools", "a", (), "expected a list of tool names, got a string"),
    ],
)
def test_filters_that_would_protect_nothing_are_refused(
    key: str, value: Any, path: tuple[Any, ...], message: str
) -> None:
    layer, misfits = shorthand_layer("tickets", key, value)

    assert layer is None
    assert [misfit.path for misfit in misfits] == [path]
    assert message in misfits[0].message


def test_a_shorthand_layer_is_named_after_its_key() -> None:
    made = [
        shorthand_layer("tickets", key, value)[0] for key, value in zip(SHORTHAND_KEYS, (True, {}, []), strict=True)
    ]

    assert [layer.name for layer in made if isinstance(layer, Layer)] == [
        "mcpServers.tickets.require_approval",
        "mcpServers.tickets.tool_filter",
        "mcpServers.tickets.allowed_tools",
    ]


def test_all_misfits_of_a_value_are_told_at_once() -> None:
    _, misfits = shorthand_layer("tickets", "require_approval", {"a": "alway", "b": 1, "c": "never"})

    assert [misfit.path for misfit in misfits] == [("a",), ("b",)]
    assert all(isinstance(misfit, Misfit) for misfit in misfits)
