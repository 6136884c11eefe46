"""What is flagged in a definition, and what is left alone."""

from itertools import product

import pytest

from holdshort.policy.lookalikes import Flag, flags_among, flags_in, index_of, look_alike


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("read\u200bme", "hidden", "U+200B"),
        ("\ufeffstart", "hidden", "U+FEFF"),
        ("soft\u00adhyphen", "hidden", "U+00AD"),
        ("tag \U000e0069\U000e0067", "hidden", "U+E0069"),
        ("selector a\ufe01", "hidden", "U+FE01"),
        ("variation \U000e0100", "hidden", "U+E0100"),
        ("filler \u3164", "hidden", "U+3164"),
        ("private \ue000", "hidden", "U+E000"),
        ("line\u2028separator", "hidden", "U+2028"),
        ("evil\u202etxt", "direction", "U+202E"),
        ("isolate\u2066", "direction", "U+2066"),
        ("\x1b[8mhidden", "control", "U+001B"),
        ("back\x08space", "control", "U+0008"),
        ("over\rwritten", "control", "U+000D"),
        ("p\u0430y", "mixed", "U+0430"),
        ("\u0391dmin", "mixed", "U+0391"),
    ],
)
def test_what_cannot_be_seen_or_misleads_is_flagged_where_it_is(text: str, kind: str, code: str) -> None:
    (flag,) = flags_in({"name": "t", "inputSchema": {"properties": {"a": {"description": text}}}})

    assert (flag.kind, flag.where) == (kind, "/inputSchema/properties/a/description")
    assert code in flag.words
    assert flag.words.isascii()
    assert flag.words.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.\n\tIndented\r\nlines",
        "Größe, naïve, Łódź",
        "Читает файл",
        "ファイルを読む",
        "αβγ and latin",
        "a heart \u2764\ufe0f and a family \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "5 µm at 3 °C, “quoted” …",
    ],
)
def test_honest_text_of_any_language_is_left_alone(text: str) -> None:
    assert flags_in({"name": "t", "description": text}) == ()


def test_keys_of_a_schema_and_instructions_are_looked_at_too() -> None:
    (key,) = flags_in({"inputSchema": {"properties": {"pa\u200bth": {"type": "string"}}}})
    (told,) = flags_in("be kind\u202e")

    assert (key.kind, key.where) == ("hidden", "/inputSchema/properties/pa\\u200bth")
    assert (told.kind, told.where) == ("direction", "")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("read_file", "read-file"),
        ("read_file", "Read.File"),
        ("delete_all", "de1ete_all"),
        ("delete_all", "deIete_all"),
        ("modify", "rnodify"),
        ("go", "g0"),
        ("view", "vievv"),
    ],
)
def test_names_that_an_eye_takes_for_each_other_look_alike(one: str, other: str) -> None:
    (flag,) = look_alike(one, None, index_of([other]), among=" of server `b`")

    assert flag == Flag("look-alike", "/name", f"the name looks like `{other}` of server `b`")


@pytest.mark.parametrize(("one", "other"), [("mail", "mall"), ("read", "write"), ("file", "files"), ("a", "a")])
def test_names_that_are_different_enough_or_the_same_do_not(one: str, other: str) -> None:
    assert list(look_alike(one, None, index_of([other]))) == []


def test_a_title_that_reads_like_another_tools_name_is_flagged() -> None:
    others = index_of(["read_file", "wipe"])

    assert list(look_alike("wipe", "Read file", others)) == [
        Flag("look-alike", "/title", "the title reads like the name `read_file`")
    ]
    assert list(look_alike("read_file", "Read file", others)) == []


def test_a_thousand_names_that_all_look_alike_are_not_a_million_flags() -> None:
    names = ["".join(letters) for letters in product("l1", repeat=10)]

    flags = flags_among([("a", name, {"name": name}) for name in names])

    assert all(1 <= len(each) <= 40 for each in flags.values())


@pytest.mark.parametrize(
    "words",
    [
        {"description": "\u200b\u0435" * 2_000_000},
        {"inputSchema": {str(number): "\u200b" for number in range(20_000)}},
        {"inputSchema": {f"\u200b{number}": number for number in range(20_000)}},
    ],
    ids=["long", "many", "keys"],
)
def test_what_is_too_long_to_be_read_to_its_end_is_flagged_as_that(words: dict[str, object]) -> None:
    flags = flags_in(words)

    assert flags[-1].kind == "long"
    assert "hidden" in {flag.kind for flag in flags}
    assert len(flags) <= 101
