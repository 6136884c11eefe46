"""Spellings: what restricts holds for each of them, and what allows is reached by none but the plain one."""

import pytest

from holdshort.policy.globs import BadPattern
from holdshort.policy.model import Kind
from holdshort.policy.targets import parse_target
from holdshort.policy.uris import UriPattern, may_meet, readings


def pattern(text: str) -> UriPattern:
    found = parse_target(text, Kind.RESOURCE)
    assert isinstance(found, UriPattern)
    return found


SPELLINGS_OF_PASSWD = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "File:///etc/passwd",
    "file:/etc/passwd",
    "file:etc/passwd",
    "file:////etc/passwd",
    "file:///etc//passwd",
    "file:///etc/./passwd",
    "file:///etc/../etc/passwd",
    "file:///../../etc/passwd",
    "file:///srv/../etc/passwd",
    "file:///srv/%2e%2e/etc/passwd",
    "file:///srv/%2E%2e/etc/passwd",
    "file:///srv/.%2e/etc/passwd",
    "file:///srv/%252e%252e/etc/passwd",
    "file:///srv/%25252e%25252e/etc/passwd",
    "file:///srv%2f..%2fetc%2fpasswd",
    "file:///etc%2Fpasswd",
    "file:///%65tc/passwd",
    "file:///etc/%70asswd",
    "file://localhost/etc/passwd",
    "file://LOCALHOST/etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "file:///etc\\passwd",
    "file:\\\\\\etc\\passwd",
    "file:///etc%5cpasswd",
    "file:///etc/passwd/",
    "file:///etc/passwd/.",
    "file:///etc/passwd?x=1",
    "file:///etc/passwd#x",
    "file:///etc/passwd?",
    "file:///etc/passwd%3Fx",
    "file:///etc/passwd%23",
    "file:///etc/passwd%00.png",
    "file:///etc/passwd;x=1",
    "file:///etc/passwd.",
    "file:///etc/passwd%20",
    "file:///etc./passwd",
    "file:///ETC/Passwd",
    "file:///etc/passwd::$DATA",
    " file:///etc/passwd",
    "file:///etc/passwd\n",
    "fi\nle:///etc/pass\twd",
    "/etc/passwd",
    "/srv/../etc/passwd",
]


@pytest.mark.parametrize("uri", SPELLINGS_OF_PASSWD)
@pytest.mark.parametrize("glob", ["files__file:///etc/passwd", "files__file:/etc/passwd", "*__file:///etc/*"])
def test_a_rule_that_restricts_holds_for_every_spelling(glob: str, uri: str) -> None:
    assert pattern(glob).matches_some(readings(uri))


@pytest.mark.parametrize(
    ("glob", "uri"),
    [
        ("w__https://wiki.example/secret*", "HTTPS://Wiki.Example/secret"),
        ("w__https://wiki.example/secret*", "https://wiki.example:443/secret"),
        ("w__https://wiki.example/secret*", "https://wiki.example./secret"),
        ("w__https://wiki.example/secret*", "https://me@wiki.example/secret"),
        ("w__https://wiki.example/secret*", "https://wiki.example/a/../secret"),
        ("w__https://wiki.example/secret*", "https://wiki.example//secret"),
        ("w__https://wiki.example/secret*", "https:\\\\wiki.example\\secret"),
        ("w__https://wiki.example/secret*", "https://wiki%2Eexample/secret"),
        ("w__https://Wiki.example:443/secret", "https://wiki.example/secret?page=2"),
        ("w__https://wiki.example/", "https://wiki.example"),
        ("n__note://secret/*", "note://SECRET/a"),
        ("n__note://Secret/*", "note://secret/a"),
        ("n__note://secret/*", "note://open/../secret/a"),
        ("n__note://secret/*", "note://secret%2fa"),
        ("n__note://caf\u00e9/*", "note://cafe\u0301/x"),
        ("n__note://a%20b/*", "note://a b/x"),
        ("n__memo:secret", "memo:open/../secret"),
        ("n__urn:x:%7Bid%7D", "urn:x:{id}"),
    ],
)
def test_a_rule_that_restricts_holds_for_other_schemes_too(glob: str, uri: str) -> None:
    assert pattern(glob).matches_some(readings(uri))


@pytest.mark.parametrize(
    ("glob", "uri"),
    [
        ("files__file:///etc/passwd", "file:///etc/passwd2"),
        ("files__file:///etc/passwd", "file:///srv/etc/passwd"),
        ("files__file:///etc/*", "file:///etcetera/x"),
        ("files__file:///etc/*", "file://host/etc/x"),
        ("n__note://a/B", "note://a/b"),
        ("n__note://a", "note://a/b"),
        ("w__https://wiki.example/a", "https://wiki.example.evil/a"),
        ("w__https://wiki.example/a", "http://wiki.example/a"),
        ("n__note://{id}", "note://5"),
        ("n__note://[a]", "note://a"),
        ("n__note://a,b", "note://a"),
    ],
)
def test_a_rule_that_restricts_does_not_hold_for_another_resource(glob: str, uri: str) -> None:
    assert not pattern(glob).matches_some(readings(uri))


@pytest.mark.parametrize(
    "uri",
    [
        "file:///data/../etc/passwd",
        "file:///data/%2e%2e/etc/passwd",
        "file:///data/%252e%252e/etc/passwd",
        "file:///data/..%2fetc/passwd",
        "file:///data/..\\etc\\passwd",
        "file:///data/x/../../etc/passwd",
        "file:///etc/passwd?file:///data/",
        "file:///etc/passwd#file:///data/",
        "file://data/x",
        "FILE:///data/x",
        "/data/x",
        "file:///data",
        "file:///data/x#/../../etc/passwd",
        "file:///data/x?/../../etc/passwd",
        "file:///data/x%3F/../../etc/passwd",
        "file:///data/../d%61ta/x",
        "file:///data/%25252525252525252525252e",
    ],
)
def test_an_exception_in_a_folder_is_not_reached_by_spelling(uri: str) -> None:
    assert not pattern("files__file:///data/*").matches_surely(readings(uri))


@pytest.mark.parametrize(
    "uri", ["note://open/../secret/a", "note://open/%2e%2e/secret/a", "note://open/x/../../secret"]
)
def test_an_exception_does_not_hold_where_a_server_may_take_the_host_for_a_folder(uri: str) -> None:
    assert not pattern("n__note://open/*").matches_surely(readings(uri))
    assert pattern("n__note://secret*").matches_some(readings(uri))


@pytest.mark.parametrize(
    "uri",
    ["https://docs.example@evil.example/", "https://evil.example/https://docs.example/", "https://docs.example.evil/"],
)
def test_an_exception_for_a_host_is_for_that_host_alone(uri: str) -> None:
    assert not pattern("w__https://docs.example/*").matches_surely(readings(uri))


@pytest.mark.parametrize(
    ("glob", "uri"),
    [
        ("files__file:///data/*", "file:///data/x"),
        ("files__file:///data/*", "file:///data/a%20b"),
        ("files__file:///My%20Files/*", "file:///My%20Files/x"),
        ("files__file:///data/*", "file:///data/x?v=1"),
        ("w__https://Docs.example/*", "https://Docs.example/a?b=c"),
        ("w__https://docs.example/a?key=*", "https://docs.example/a?key=1"),
        ("n__Note://Open/*", "Note://Open/A"),
        ("w__https://docs.example/*", "https://docs.example/?next=https://a.example/b#c"),
        ("w__https://docs.example/a%2Fb/*", "https://docs.example/a%2Fb/c"),
        ("n__urn:a{b}[c],d!e|f;g(h)", "urn:a{b}[c],d!e|f;g(h)"),
        ("n__*", "anything at all"),
        ("*", "file:///etc/passwd"),
    ],
)
def test_an_exception_holds_for_what_it_names(glob: str, uri: str) -> None:
    assert pattern(glob).matches_surely(readings(uri))


def test_what_is_encoded_again_and_again_is_restricted_and_never_allowed() -> None:
    uri = readings("note://open/%" + "25" * 40 + "41")

    assert pattern("n__note://secret").matches_some(uri)
    assert not pattern("n__*").matches_surely(uri)


def test_an_encoded_wildcard_in_a_glob_is_a_character() -> None:
    assert not pattern("n__note://%2A").matches_surely(readings("note://anything"))
    assert not pattern("n__note://%252A").matches_some(readings("note://anything"))


def test_long_and_odd_texts_are_read_in_time_that_grows_no_faster_than_they_do() -> None:
    odd = ["", "\x00" * 9, "\ud800", "%ff%c0%ae", "file:", "file://", "://", "//", "%", "a:b:c"]
    long = ["%25", "../", "a:", ".", " .", ";", "?", "//", "::$a", "%2e%2e%2f"]
    for text in [*odd, *(f"file:///{piece * (65_000 // len(piece))}x" for piece in long), "a" * 4_000_000]:
        found = readings(text)
        assert found.raw == text
        assert found.unclear is (len(text) > 65_536)
        pattern("n__*x*x*x*").matches_some(found)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("note://a/*", "note://*/x", True),
        ("note://a/b", "note://*", True),
        ("note://a/b", "note://*/c", False),
        ("*", "x*", True),
        ("a?c", "abc", True),
        ("a?c", "a*d", False),
        ("", "*", True),
        ("", "a", False),
        ("a*b*c", "*b", False),
        ("a*b*c", "*c*", True),
    ],
)
def test_two_globs_meet_where_some_text_matches_both(one: str, other: str, meet: bool) -> None:
    assert may_meet(one, other) is meet
    assert may_meet(other, one) is meet


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", Kind.RESOURCE, "it is empty"),
        ("file:///etc/*", Kind.RESOURCE, "it names no server; write `*__file:///etc/*`"),
        ("files__", Kind.RESOURCE, "both sides of `__`"),
        ("files__file:///a b", Kind.RESOURCE, "in a URI a blank is `%20`"),
        ("files__a\u200bb", Kind.PROMPT, "white space has no meaning"),
        ("x__" + "a" * 2100, Kind.PROMPT, "at most 2048 are read"),
        ("*__sampling/createMessages", Kind.SERVER_REQUEST, "did you mean `sampling/createMessage`?"),
        ("*__tools/*", Kind.SERVER_REQUEST, "no server may ask that; servers ask `sampling/createMessage`"),
    ],
)
def test_a_glob_without_a_clear_meaning_is_refused(text: str, kind: Kind, message: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_target(text, kind)

    assert message in str(caught.value)
