"""From text to tree, by the grammar of the CEL specification, and within bounds that keep every later step cheap.

Not read: message construction, optional syntax, names with a leading dot. What is refused is refused at its offset.
"""

from typing import Final, cast

from holdshort.policy.cel.bounds import MAX_ITEMS, MAX_LOOPS, MAX_NESTING, measure
from holdshort.policy.cel.syntax import (
    MACROS,
    Binary,
    BinaryOperator,
    Call,
    Conditional,
    Constant,
    ConstantType,
    Has,
    Identifier,
    Index,
    ListOf,
    Macro,
    MacroName,
    MapOf,
    Node,
    Select,
    Unary,
)
from holdshort.policy.cel.tokens import INT_MAX, RESERVED, BadCondition, Token, tokenize

__all__ = ["parse"]

_LEVELS: Final = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_INSTEAD: Final = {"and": "&&", "or": "||", "not": "!", "if": "? :", "else": "? :"}


def parse(text: str) -> Node:
    """Return the tree of `text`.

    Raises:
        BadCondition: it is no CEL expression, uses what is not supported, or is too big.
    """
    tree = _Parser(tokenize(text)).whole()
    measure(tree)
    return tree


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._nesting = 0
        self._bound: list[str] = []

    def whole(self) -> Node:
        if self._next.kind == "end":
            raise BadCondition("the condition is empty", 0)
        node = self._expression()
        if self._at < len(self._tokens) - 1:
            raise self._unexpected("an operator, or the end")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _sees(self, *operators: str) -> bool:
        token = self._next
        return token.kind == "operator" and token.text in operators

    def _expect(self, operator: str, opened: Token | None = None) -> Token:
        if self._sees(operator):
            return self._take()
        if opened is not None and self._next.kind == "end":
            raise BadCondition(f"this `{opened.text}` is never closed", opened.offset)
        raise self._unexpected(f"`{operator}`")

    def _unexpected(self, expected: str) -> BadCondition:
        token = self._next
        if token.kind == "end":
            return BadCondition(f"the condition ends here; expected {expected}", token.offset)
        hint = f"; CEL writes it `{_INSTEAD[token.text]}`" if token.text in _INSTEAD else ""
        return BadCondition(f"unexpected `{token.text[:40]}`; expected {expected}{hint}", token.offset)

    def _open(self, token: Token) -> Token:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise BadCondition(f"more than {MAX_NESTING} brackets inside one another", token.offset)
        return token

    def _close(self, closing: str, opened: Token) -> None:
        self._expect(closing, opened)
        self._nesting -= 1

    def _expression(self) -> Node:
        test = self._binary(0)
        if not self._sees("?"):
            return test
        mark = self._open(self._take())
        if self._sees("."):
            raise BadCondition("optional fields are not supported; use `has(...)`", mark.offset)
        then = self._binary(0)
        self._expect(":")
        otherwise = self._expression()
        self._nesting -= 1
        return Conditional(test, then, otherwise, mark.offset)

    def _binary(self, level: int) -> Node:
        # Precedence climbing: one call for each level that is really there, so that nesting costs few Python frames.
        left = self._unary()
        return self._binary_rest(left, level)

    def _binary_rest(self, left: Node, level: int) -> Node:
        while True:
            found = self._level(level)
            if found is None:
                return left
            token = self._take()
            right = self._unary()
            while True:
                tighter = self._level(found + 1)
                if tighter is None:
                    break
                right = self._binary_rest(right, tighter)
            left = Binary(cast("BinaryOperator", token.text), left, right, token.offset)

    def _level(self, least: int) -> int | None:
        token = self._next
        if token.kind != "operator" and token.text != "in":
            return None
        return next((at for at in range(least, len(_LEVELS)) if token.text in _LEVELS[at]), None)

    def _unary(self) -> Node:
        signs: list[Token] = []
        while self._sees("!", "-"):
            if signs and self._next.text != signs[0].text:
                raise BadCondition("`!` and `-` cannot follow one another; use brackets", self._next.offset)
            signs.append(self._take())
        if signs and signs[-1].text == "-" and self._next.kind in {"int", "double"}:
            minus, token = signs.pop(), self._take()
            value = -cast("int | float", token.value)
            node = self._members(Constant(cast("ConstantType", token.kind), value, minus.offset))
        else:
            node = self._members(self._primary())
        for sign in reversed(signs):
            node = Unary("!" if sign.text == "!" else "-", node, sign.offset)
        return node

    def _members(self, node: Node) -> Node:
        while True:
            if self._sees("."):
                self._take()
                if self._sees("?"):
                    raise BadCondition("optional fields are not supported; use `has(...)`", self._next.offset)
                name = self._take_field()
                node = self._method(node, name) if self._sees("(") else Select(node, name.text, name.offset)
            elif self._sees("["):
                bracket = self._open(self._take())
                if self._sees("?"):
                    raise BadCondition("optional indexes are not supported; use `in`", self._next.offset)
                key = self._expression()
                self._close("]", bracket)
                node = Index(node, key, bracket.offset)
            elif self._sees("{"):
                raise BadCondition('messages cannot be made here; a map is `{"key": value}`', self._next.offset)
            else:
                return node

    def _take_field(self) -> Token:
        if self._next.kind != "name" or self._next.text in {"in", "true", "false", "null"}:
            raise self._unexpected("the name of a field")
        return self._take()

    def _method(self, target: Node, name: Token) -> Node:
        opened = self._open(self._take())
        if name.text not in MACROS:
            return Call(name.text, target, self._arguments(opened), name.offset)
        variable = self._variable(name)
        self._expect(",")
        self._bound.append(variable)
        if len(self._bound) > MAX_LOOPS:
            raise BadCondition(f"more than {MAX_LOOPS} macros inside one another", name.offset)
        parts = [self._expression()]
        if name.text == "map" and self._sees(","):
            self._take()
            parts.append(self._expression())
        self._bound.pop()
        self._close(")", opened)
        guard = parts[0] if len(parts) == 2 else None
        return Macro(cast("MacroName", name.text), target, variable, parts[-1], guard, name.offset)

    def _variable(self, macro: Token) -> str:
        token = self._next
        if token.kind != "name" or token.text in RESERVED | {"in", "true", "false", "null"}:
            raise BadCondition(f"`{macro.text}` takes a name for each item, and then a condition on it", token.offset)
        if token.text in self._bound:
            raise BadCondition(f"`{token.text}` is the outer macro's name; choose another", token.offset)
        self._take()
        if not self._sees(","):
            raise BadCondition(f"`{macro.text}` takes a name for each item, and then a condition on it", token.offset)
        return token.text

    def _arguments(self, opened: Token) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._sees(")"):
            found.append(self._expression())
            if not self._sees(","):
                break
            self._take()
            if self._sees(")"):
                raise self._unexpected("another argument")
        self._close(")", opened)
        if len(found) > MAX_ITEMS:
            raise BadCondition(f"more than {MAX_ITEMS} arguments", opened.offset)
        return tuple(found)

    def _primary(self) -> Node:
        token = self._next
        if token.kind in {"int", "uint", "double", "string", "bytes"}:
            self._take()
            if token.kind == "int" and cast("int", token.value) > INT_MAX:
                raise BadCondition(f"`{token.text}` does not fit into 64 bits", token.offset)
            return Constant(cast("ConstantType", token.kind), token.value, token.offset)
        if token.kind == "name":
            return self._named(self._take())
        if self._sees("("):
            opened = self._open(self._take())
            inner = self._expression()
            self._close(")", opened)
            return inner
        if self._sees("["):
            return self._list(self._open(self._take()))
        if self._sees("{"):
            return self._map(self._open(self._take()))
        if self._sees("."):
            raise BadCondition("a name does not start with a dot", token.offset)
        raise self._unexpected("a value")

    def _named(self, token: Token) -> Node:
        if token.text in {"true", "false"}:
            return Constant("bool", token.text == "true", token.offset)
        if token.text == "null":
            return Constant("null", None, token.offset)
        if token.text == "in" or token.text in RESERVED or token.text in {"and", "or", "not"}:
            self._at -= 1
            raise self._unexpected("a value")
        if not self._sees("("):
            return Identifier(token.text, token.offset)
        opened = self._open(self._take())
        arguments = self._arguments(opened)
        if token.text != "has":
            return Call(token.text, None, arguments, token.offset)
        if len(arguments) != 1 or not isinstance(arguments[0], Select):
            raise BadCondition("`has` takes one field, as in `has(args.path)`", token.offset)
        field = arguments[0]
        return Has(field.operand, field.field, field.offset)

    def _list(self, opened: Token) -> Node:
        items: list[Node] = []
        while not self._sees("]"):
            items.append(self._expression())
            if not self._sees(","):
                break
            self._take()
        self._close("]", opened)
        if len(items) > MAX_ITEMS:
            raise BadCondition(f"a list of more than {MAX_ITEMS} items", opened.offset)
        return ListOf(tuple(items), opened.offset)

    def _map(self, opened: Token) -> Node:
        entries: list[tuple[Node, Node]] = []
        seen: set[str] = set()
        while not self._sees("}"):
            key = self._expression()
            if not isinstance(key, Constant) or key.type != "string":
                raise BadCondition("the keys of a map are strings, written out", key.offset)
            if str(key.value) in seen:
                raise BadCondition(f"the key `{str(key.value)[:40]}` is there twice", key.offset)
            seen.add(str(key.value))
            self._expect(":", opened)
            entries.append((key, self._expression()))
            if not self._sees(","):
                break
            self._take()
        self._close("}", opened)
        if len(entries) > MAX_ITEMS:
            raise BadCondition(f"a map of more than {MAX_ITEMS} entries", opened.offset)
        return MapOf(tuple(entries), opened.offset)
