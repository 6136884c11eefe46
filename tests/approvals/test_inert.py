"""Text from strangers: all of it is shown, nothing of it acts."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.approvals.inert import Kind, ascii_json, findings, pieces, plain, pretty_json, strings_in
from holdshort.approvals.pages import inert

HIDDEN = {
    "bidi override": ("safe\u202egnp.exe", Kind.BIDI, "U+202E"),
    "isolate": ("a\u2066b", Kind.BIDI, "U+2066"),
    "zero width space": ("rm\u200b -rf", Kind.INVISIBLE, "U+200B"),
    "joiner": ("a\u200db", Kind.INVISIBLE, "U+200D"),
    "byte order mark": ("\ufeffa", Kind.INVISIBLE, "U+FEFF"),
    "tag letters": ("ok\U000e0072\U000e006d", Kind.INVISIBLE, "U+E0072 U+E006D"),
    "variation selector": ("a\U000e0101", Kind.INVISIBLE, "U+E0101"),
    "hangul filler": ("a\u3164", Kind.INVISIBLE, "U+3164"),
    "braille blank": ("a\u2800", Kind.INVISIBLE, "U+2800"),
    "soft hyphen": ("pass\u00adword", Kind.INVISIBLE, "U+00AD"),
    "line separator": ("a\u2028b", Kind.INVISIBLE, "U+2028"),
    "private use": ("\ue000", Kind.INVISIBLE, "U+E000"),
    "terminal colour": ("\x1b[31mred", Kind.CONTROL, "U+001B ESC"),
    "bell": ("\x07", Kind.CONTROL, "U+0007 BEL"),
    "carriage return": ("a\rb", Kind.CONTROL, "U+000D CR"),
    "delete": ("a\x7f", Kind.CONTROL, "U+007F DEL"),
    "c1 control": ("a\x9b", Kind.CONTROL, "U+009B"),
    "no-break space": ("a\u00a0b", Kind.SPACE, "U+00A0"),
    "em space": ("a\u2003b", Kind.SPACE, "U+2003"),
    "cyrillic a in a latin word": ("p\u0430ypal", Kind.ODD, "U+0430"),
    "greek o in a latin word": ("g\u03bfogle", Kind.ODD, "U+03BF"),
    "mathematical letters": ("\U0001d41d\U0001d41e\U0001d425", Kind.ODD, "U+1D41D U+1D41E U+1D425"),
    "fullwidth": ("\uff52\uff4d", Kind.ODD, "U+FF52 U+FF4D"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_cannot_be_seen_is_named(name: str) -> None:
    text, kind, label = HIDDEN[name]

    assert [piece.label for piece in pieces(text) if piece.kind is kind] == [label]
    assert findings([text])[kind] == len("".join(piece.text for piece in pieces(text) if piece.kind is kind))
    assert f">{label}<" in inert(text)
    assert f"<{label}>" in plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines",
        "caf\u00e9",
        "\u0440\u0443\u0441\u0441\u043a\u0438\u0439",
        "\u4e2d\u6587",
        "\U0001f600 \u2764\ufe0f",
        "a b",
        "\u03b1\u03b2\u03b3 and latin",
        '{\n  "a": 1\n}',
    ],
)
def test_ordinary_text_of_any_language_raises_no_warning(text: str) -> None:
    assert findings([text]) == {}
    assert "chip" not in inert(text)


def test_long_empty_stretches_cannot_push_text_out_of_sight() -> None:
    text = "ls" + "\n" * 400 + " " * 5000 + "; rm -rf /"

    assert plain(text) == "ls<400 line breaks and 5,000 spaces>; rm -rf /"
    assert plain("a\tb") == "a<U+0009 TAB>b"
    assert findings(["a\tb", text]) == {}


def test_runs_are_counted_not_repeated() -> None:
    assert plain("a" + "\u200b" * 100_000) == "a<U+200B \u00d7100,000>"


def test_markup_is_text() -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' &amp;"

    assert inert(hostile) == (
        "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&#34;&#39; &amp;amp;"
    )


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_nothing_is_lost_and_nothing_unseen_is_shown(text: str) -> None:
    found = list(pieces(text))

    assert "".join(piece.text for piece in found) == text
    shown = re.sub(r"<[^<>]*>", "", inert(text))
    assert findings([shown]).keys() <= {Kind.ODD}
    assert "<script" not in inert(text).lower()


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_what_is_offered_for_editing_is_the_same_value_with_nothing_hidden(value: object) -> None:
    text = ascii_json(value)

    assert json.loads(text) == value
    assert findings([text]) == {}
    assert json.loads(pretty_json(value)) == value


def test_every_string_of_a_value_is_looked_at_keys_too() -> None:
    assert sorted(strings_in({"a": ["b", {"c": "d"}], "e": 1})) == ["a", "b", "c", "d", "e"]


def test_the_terminal_needs_no_web_framework() -> None:
    heavy = ("starlette", "jinja2", "pydantic")
    code = f"import sys, holdshort.approvals.inert; sys.exit(any(name in sys.modules for name in {heavy}))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
