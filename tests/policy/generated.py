"""Policies nobody would write by hand, and questions to them, as plain maps: fast, and the same for the same seed.

Names come from small pools, so that rules meet calls, layers meet layers, and memories meet old acquaintances.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import quote

from policy.oracle_conditions import Tree, written

__all__ = ["PEOPLE", "Maker", "Raw"]

Raw = dict[str, Any]

SERVERS = ("github", "git", "files")
TOOLS = ("delete_repo", "delete", "push", "_x", "a__b", "é")
AGENTS = ("ci-bot", "ana", "local")
GROUPS = ("ci", "staff")
SERVER_GLOBS = ("*", "git*", "*u?", "github", "files", "f*s", "g?t", "git", "**", "*i*")
TOOL_GLOBS = (
    "*",
    "delete*",
    "?elete",
    "push",
    "*_*",
    "_?",
    "a__*",
    "d*e*o",
    "*e",
    "?",
    "delete",
    "a_?b",
    "*__*",
    "**h",
)
AGENT_GLOBS = ("*", "ci*", "ana", "staff", "?i", "*-*", "local", "c?-b*t")
PEOPLE = {
    "ana": frozenset({"finance"}),
    "bob": frozenset({"finance", "ops"}),
    "eve": frozenset[str](),
    "local": frozenset({"ops"}),
}
PROMPTS = ("review", "release_notes", "re", "x")
METHODS = ("sampling/createMessage", "elicitation/create", "roots/list")
PROMPT_GLOBS = ("*", "re*", "*e*", "review", "?", "??")
METHOD_GLOBS = ("*", "sampling/*", "*/create*", "roots/list", "*list")
STARTS = ("file://", "note://host", "https://host")
STEPS = ("data", "etc", "open", "b.txt", "x")
URI_GLOBS = (
    "*",
    "file:///*",
    "file:///data/*",
    "file:///data/open/*",
    "*/etc/*",
    "file:///etc/?",
    "note://host/*",
    "note://host/data/*",
    "note://host/data/open",
    "note://*",
    "https://host/*",
    "https://host/open/*",
    "https://host/data",
    "*open*",
    "?*//*/x",
    "*.txt",
)
VALUES: tuple[Any, ...] = (5, 100, 100.0, 100.5, 101, -1, 2**62, 2**63, "100", True, False, None, [], {"k": 1})
TEXTS = ("/data/a", "/etc", "é", "a", "", "abc", "data")
TIMES = (
    datetime(2026, 3, 1, 12, tzinfo=UTC),
    datetime(2026, 3, 1, 22, 30, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
)
KINDS = ("tool",) * 7 + ("resource", "resource", "prompt", "server_request")
FLAGS = ("read_only", "destructive", "idempotent", "open_world", "pinned")
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
DECISIONS = ("approve", "edit", "reject", "respond")


class Maker:
    """Makes policies and questions, one after the other, from a seed.

    With `opaque`, some conditions are no CEL but an answer, or a failure, by themselves.
    """

    def __init__(self, seed: int | str, compiles: Callable[[Tree, str], bool], *, opaque: bool = True) -> None:
        self.random = Random(seed)
        self._compiles = compiles
        self._opaque = opaque

    def some(self, chance: float) -> bool:
        return self.random.random() < chance

    def many(self, pool: tuple[Any, ...], least: int, most: int) -> list[Any]:
        return [self.random.choice(pool) for _ in range(self.random.randint(least, most))]

    # Policies.

    def policy(self) -> Raw:
        names = iter("abcdef")
        layers = [self.layer(next(names)) for _ in range(self.random.choice((0, 1, 1, 2, 2, 3, 4)))]
        shorthand = [self.shorthand() for _ in range(self.random.choice((0, 0, 0, 1, 2)))]
        seen: set[tuple[str, str]] = set()
        kept = [each for each in shorthand if each[:2] not in seen and not seen.add(each[:2])]  # type: ignore[func-returns-value]
        wait = timedelta(hours=self.random.choice((24, 24, 1)))
        return {"layers": layers, "shorthand": kept, "expires_after": wait}

    def layer(self, name: str) -> Raw:
        # Some layers are about one kind of thing alone, so that its rules meet.
        kind = self.random.choice(KINDS) if self.some(0.3) else None
        rules = [self.rule(f"r{number}", kind) for number in range(self.random.choice((0, 1, 2, 3, 4, 5, 6)))]
        layer: Raw = {"name": name, "rules": rules}
        if self.some(0.4):
            layer["default"] = self.random.choice(("allow", "ask", "deny"))
        if self.some(0.3):
            layer["pins"] = self.random.choice(("off", "off", "first_use", "first_use", "strict"))
        return layer

    def rule(self, rule_id: str, kind: str | None = None) -> Raw:
        rule: Raw = {"id": rule_id}
        kind = kind or self.random.choice(KINDS)
        if kind == "tool":
            rule["action"] = self.random.choice(("allow", "allow", "ask", "ask", "ask", "deny", "hide"))
            if self.some(0.75):
                rule["tools"] = [self.tool_glob() for _ in range(self.random.randint(1, 2))]
        else:
            rule["action"] = self.random.choice(("allow", "allow", "deny", "hide"))
            key, globs = {
                "resource": ("resources", URI_GLOBS),
                "prompt": ("prompts", PROMPT_GLOBS),
                "server_request": ("server_requests", METHOD_GLOBS),
            }[kind]
            rule[key] = [
                "*" if self.some(0.1) else f"{self.random.choice(SERVER_GLOBS)}__{self.random.choice(globs)}"
                for _ in range(self.random.randint(1, 2))
            ]
        if self.some(0.3):
            rule["agents"] = self.many(AGENT_GLOBS, 1, 2)
        if self.some(0.5):
            rule["when"] = self.condition(kind)
        if rule["action"] == "ask":
            self.add_terms(rule)
        return rule

    def tool_glob(self) -> str:
        server, tool = self.random.choice(SERVER_GLOBS), self.random.choice(TOOL_GLOBS)
        return self.random.choice((f"{server}__{tool}",) * 6 + ("*", f"mcp__{server}__{tool}", f"mcp__{server}"))

    def add_terms(self, rule: Raw) -> None:
        if self.some(0.3):
            rule["approvers"] = sorted(set(self.many(("ana", "bob", "finance", "ops"), 1, 2)))
        if self.some(0.3):
            rule["required_approvals"] = self.random.randint(1, 3)
        if self.some(0.3):
            rule["expires_after"] = timedelta(minutes=self.random.choice((1, 30, 60, 600, 2880)))
        if self.some(0.2):
            rule["decisions"] = sorted(set(self.many(DECISIONS, 1, 4)))
        if self.some(0.4):
            rule["execute"] = self.random.choice(("claimed", "on_decision", "on_decision"))
        if self.some(0.3):
            rule["grants"] = self.some(0.6)

    def shorthand(self) -> tuple[str, str, Any]:
        server = self.random.choice(SERVERS)
        key = self.random.choice(("require_approval", "require_approval", "tool_filter", "allowed_tools"))
        if key == "allowed_tools":
            return server, key, self.many(TOOLS, 0, 4)
        if key == "tool_filter":
            names = ("allowed_tool_names", "blocked_tool_names")
            return server, key, {name: self.many(TOOLS, 0, 4) for name in names if self.some(0.6)}
        words: tuple[Any, ...] = ("always", "never", True, False)
        shape = self.random.randrange(3)
        if shape == 0:
            return server, key, self.random.choice(words)
        tools = list(TOOLS)
        self.random.shuffle(tools)
        if shape == 1:
            return server, key, {tool: self.random.choice(words) for tool in tools[:2]}
        return server, key, {"always": {"tool_names": tools[:2]}, "never": {"tool_names": tools[2:4]}}

    # Conditions.

    def condition(self, kind: str) -> Tree:
        if self._opaque and self.some(0.3):
            answer: Any = self.random.choice((True, False, "error", "text", "panic", "argument"))
            return ("says", answer, answer != "argument" and self.some(0.4))
        while True:
            tree = self.tree(kind, self.random.choice((1, 1, 2, 3)))
            if self._compiles(tree, kind):
                return tree

    def tree(self, kind: str, depth: int) -> Tree:
        if depth == 0 or self.some(0.2):
            return self.plain(kind)
        shape = self.random.choice(("and", "or", "and", "or", "not", "if", "plain"))
        if shape == "plain":
            return self.plain(kind)
        parts = {"not": 1, "if": 3}.get(shape, 2)
        return (shape, *(self.tree(kind, depth - 1) for _ in range(parts)))

    def plain(self, kind: str) -> Tree:
        """A part that is true or false by itself."""
        pick = self.random.choice
        shapes: list[Callable[[], Tree]] = [
            lambda: ("compare", pick(("==", "!=")), ("of", "caller", "agent"), ("is", pick(AGENTS))),
            lambda: ("in", ("is", pick(GROUPS)), ("of", "caller", "groups")),
            lambda: ("compare", pick(("==", "<", ">=")), ("of", "caller", "client"), ("is", pick(("cli", "app")))),
            lambda: ("compare", pick(("<", ">=")), ("hour",), ("is", pick((12, 20)))),
            lambda: ("compare", pick(("<", "<=", ">", ">=")), ("now",), ("time", "2026-12-31T23:59:59Z")),
            lambda: ("is", self.some(0.5)),
        ]
        if kind == "tool":
            shapes += [lambda: ("of", "tool", pick(FLAGS))] * 3
            shapes += [
                lambda: ("compare", "==", ("of", "tool", "title"), ("is", pick((None, "T")))),
                lambda: ("text", pick(("startsWith", "contains")), ("of", "tool", "name"), ("is", pick(("de", "_")))),
            ]
        if kind in ("tool", "prompt"):
            shapes += [self.of_arguments] * 8
        if kind not in ("tool", "prompt"):
            variable, name = {"resource": ("resource", "uri"), "server_request": ("request", "method")}[kind]
            shapes += [lambda: ("text", "contains", ("of", variable, name), ("is", pick(("data", "create"))))] * 2
        return pick(shapes)()

    def of_arguments(self) -> Tree:
        pick = self.random.choice
        amount: Tree = ("args", "amount")
        name: Tree = pick((("args", "path"), ("args", "path"), ("args", "deep", "k"), amount))
        return pick(
            (
                ("compare", pick(("<", "<=", ">", ">=", "==", "!=")), amount, ("is", pick((100, 100.5, 5, -1)))),
                ("compare", pick(("==", "!=")), name, ("is", pick((*TEXTS, *VALUES[:4], True, None)))),
                ("compare", ">", ("add", amount, ("is", pick((1, 2**62)))), ("is", 101)),
                ("has", pick(("amount", "path", "deep", "tags"))),
                ("has", "deep", "k"),
                ("in", name, ("list", ("is", "/data/a"), ("is", 100), ("is", "é"))),
                ("in", ("is", "k"), pick((("args", "deep"), ("args", "tags")))),
                ("text", pick(("startsWith", "endsWith", "contains")), ("args", "path"), ("is", pick(TEXTS))),
                ("text", "matches", ("args", "path"), ("is", pick(("^/data", "a$", "^.$")))),
                ("compare", pick(("<", "==", ">")), ("size", pick((name, ("args", "tags")))), ("is", pick((1, 2)))),
                (pick(("any", "every")), ("args", "tags"), ("compare", pick(("==", "<")), ("item",), ("is", "b"))),
                (pick(("any", "every")), ("args", "tags"), ("text", "contains", ("item",), ("is", "a"))),
                ("args", "flag"),
            )
        )

    # Questions.

    def arguments(self) -> Raw:
        found: Raw = {}
        if self.some(0.7):
            found["amount"] = self.random.choice(VALUES)
        if self.some(0.6):
            found["path"] = self.random.choice((*TEXTS, 5))
        if self.some(0.3):
            found["deep"] = self.random.choice(({}, {"k": "a"}, {"k": 100}, "a"))
        if self.some(0.4):
            found["tags"] = self.random.choice(([], ["a"], ["a", "b"], ["b", 1], "ab", ["k"]))
        if self.some(0.4):
            found["flag"] = self.random.choice((True, False, "true"))
        if self.some(0.4):
            found["answer"] = self.random.choice((True, False, "error"))
        return found

    def caller(self) -> Raw:
        return {
            "agent": self.random.choice(AGENTS),
            "groups": sorted(set(self.many(GROUPS, 0, 2))),
            "client": self.random.choice((None, "app", "cli")),
            "client_version": self.random.choice((None, "1")),
            "now": self.random.choice(TIMES),
        }

    def call(self) -> Raw:
        definition: Raw = {"title": self.random.choice((None, "", "T"))} if self.some(0.3) else {}
        if self.some(0.7):
            hints: Raw = {
                hint: self.random.choice((True, False, True, False, "true", 1)) for hint in HINTS if self.some(0.5)
            }
            if self.some(0.2):
                hints["title"] = self.random.choice(("T", 5))
            definition["annotations"] = hints if self.some(0.95) else self.random.choice(("yes", None, []))
        return {
            "server": self.random.choice(SERVERS),
            "tool": self.random.choice(TOOLS),
            "definition": definition,
            "digest": self.random.choice("dde"),
            "trusted": self.some(0.8),
            "pinned": self.some(0.8),
            "args": self.arguments(),
            **self.caller(),
        }

    def other(self) -> Raw:
        kind = self.random.choice(("resource", "resource", "prompt", "server_request"))
        asked: Raw = {"kind": kind, "server": self.random.choice(SERVERS), "args": {}, **self.caller()}
        if kind == "resource":
            asked |= self.uri()
        elif kind == "prompt":
            asked |= {"name": self.random.choice(PROMPTS), "args": self.arguments()}
        else:
            asked["name"] = self.random.choice(METHODS)
        return asked

    def uri(self) -> Raw:
        """A URI in some spelling, with what it means: `meant` with its query, `plainly` without."""
        start = self.random.choice(STARTS)
        steps = self.many(STEPS, 1, 3)
        plainly = f"{start}/{'/'.join(steps)}"
        if self.some(0.5):
            return {"name": plainly, "meant": plainly, "plainly": plainly}
        query = "?q=1" if self.some(0.2) else ""
        path = "".join(f"/{self.detour()}{self.spelt(step)}" for step in steps)
        if self.some(0.15):
            path = path.replace("%", "%25")
        begin = {
            "file://": ("file://", "FILE://", "file:", "file://localhost", "file:////"),
            "https://host": ("https://host", "HTTPS://HOST", "https://host:443", "https://ana@host"),
            "note://host": ("note://host", "NOTE://host", "note://HOST"),
        }[start]
        begun = self.random.choice(begin)
        if begun == "file:":
            path = f"/{path.lstrip('/')}"  # after two slashes comes a host
        name = begun + path + query + ("#f" if self.some(0.1) else "")
        return {"name": name, "meant": plainly + query, "plainly": plainly}

    def detour(self) -> str:
        return self.random.choice(("", "", "", "./", "/", "x/../", "%2e/", "y/%2E%2e/", "a/b/../.%2e/"))

    def spelt(self, step: str) -> str:
        return "".join(f"%{ord(char):02x}" if self.some(0.15) else quote(char) for char in step)

    # Grants.

    def grant(self, grant_id: str, near: Raw) -> Raw:
        """A grant that is, but for a difference or two, about the call `near`."""
        named: Raw = {}
        for name, value in near["args"].items():
            named[name] = self.random.choice(
                ({"any": True}, {"in": [value]}, {"in": [value]}, {"in": ["other", value]})
            )
        if self.some(0.1):
            named["more"] = {"any": True}
        if named and self.some(0.1):
            del named[self.random.choice(sorted(named))]
        if self.some(0.1):
            named["amount"] = {"in": [self.random.choice((100, 100.0, True, 5, "100"))]}
        grant: Raw = {
            "id": grant_id,
            "arguments": named,
            "when": self.condition("tool") if self.some(0.2) else None,
            "made_by": sorted(set(self.many(("ana", "bob", "ana", "bob", "eve", "local", "gone"), 1, 3))),
            "acts_for": self.random.choice((None, None, None, "ana")),
            "uses": self.random.choice((0, 0, 0, 1, 2)),
            "max_uses": self.random.choice((1, 2, 3)),
            "expires_at": near["now"] + timedelta(seconds=self.random.choice((3600, 3600, 1, 0, -1))),
            "revoked": self.some(0.05),
            "erased": self.some(0.05),
        }
        if grant["when"] is not None and grant["when"][0] == "says":
            grant["when"] = None
        for key, pool in (("agent", AGENTS), ("server", SERVERS), ("tool", TOOLS), ("digest", tuple("de"))):
            grant[key] = self.random.choice(pool) if self.some(0.05) else near[key]
        return grant


def shown(raw: Any) -> str:
    """Return a question or a policy as a person can read it."""
    if isinstance(raw, dict):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in raw.items()) + "}"
    if isinstance(raw, tuple) and raw and raw[0] != "says" and isinstance(raw[0], str) and len(raw) > 1:
        try:
            return written(raw)
        except (AssertionError, IndexError, TypeError, ValueError):
            return repr(raw)
    if isinstance(raw, list):
        return "[" + ", ".join(map(shown, raw)) + "]"
    return repr(raw)
