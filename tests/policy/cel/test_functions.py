"""The functions for paths, hosts and networks, against people who write odd ones on purpose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.policy.cel.functions import FUNCTIONS, MAX_PATTERN
from holdshort.policy.cel.hosts import MAX_URL, host, in_cidr, in_domain, is_ip
from holdshort.policy.cel.paths import MAX_PATH, normalize_path, under
from holdshort.policy.cel.patterns import compile_pattern
from holdshort.policy.cel.times import duration_text, parse_duration, parse_timestamp, parse_zone, timestamp_text
from holdshort.policy.cel.values import ConditionFailed


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [
        ("/srv/a", "/srv", True),
        ("/srv", "/srv", True),
        ("/srv/", "/srv", True),
        ("/srv", "/srv/", True),
        ("/srvx", "/srv", False),
        ("/srv/../etc/passwd", "/srv", False),
        ("/srv/a/../../etc", "/srv", False),
        ("/srv/a/../b", "/srv", True),
        ("//srv//a", "/srv", True),
        ("/./srv/./a", "/srv", True),
        ("/../../srv/a", "/srv", True),
        ("/srv/...", "/srv", True),
        ("/srv/..a", "/srv", True),
        ("/etc", "/", True),
        ("/SRV/a", "/srv", False),
        ("src/a", "src", True),
        ("src/../../etc", "src", False),
        ("../src", "src", False),
        ("./src/a", "src", True),
        ("a/b", ".", True),
        ("../b", ".", False),
        ("a/../..", ".", False),
        ("/srv/100%.txt", "/srv", True),
        ("/srv/été", "/srv", True),
    ],
)
def test_a_path_is_under_a_folder_once_its_dots_are_resolved(path: str, folder: str, *, inside: bool) -> None:
    assert under(path, folder) is inside


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/srv/a\0b",
        "/srv/a\nb",
        "/srv\\..\\..\\etc",
        "C:\\srv",
        "C:/srv",
        "file:///srv/a",
        "~/a",
        "~root/a",
        " /etc/passwd",
        "/srv/a ",
        "/srv/%2e%2e/etc",
        "/srv/%2E./etc",
        "/srv/..%2fetc",
        "/srv/%5c..",
        "/srv/%252e%252e/",
        "/srv/%00",
        "/%65tc/passwd",
        "/My%20Files/etc",
        "$HOME/etc",
        "${ROOT}/etc",
        "/srv/\uff0e\uff0e/etc",
        "/srv/\u2024\u2024/etc",
        "/srv\uff0fetc",
        "/srv/\u200b/etc",
        "/srv/\u202eetc",
        "/srv/e\u0301",
        "/srv/\u00a0",
        "/" + "a" * MAX_PATH,
        "etc/passwd",
    ],
)
def test_a_path_that_reads_in_two_ways_is_under_nothing_and_outside_of_nothing(path: str) -> None:
    with pytest.raises(ConditionFailed) as caught:
        under(path, "/srv")

    assert "etc" not in str(caught.value)


def test_a_network_that_is_an_argument_is_not_quoted() -> None:
    for network in ("10.9.8.7/8", "10.9.8.7", "secret", "::ffff:10.9.8.7/100"):
        with pytest.raises(ConditionFailed) as caught:
            in_cidr("10.0.0.1", network)
        assert "9.8" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_path_may_have_as_many_characters_as_linux_takes() -> None:
    assert under("/srv/" + "a" * (MAX_PATH - 5), "/srv")


PARTS = st.lists(st.sampled_from([".", "..", "", "a", "b", "srv"]), max_size=8)


@given(PARTS, st.booleans())
def test_a_path_normalised_twice_is_the_same_and_agrees_with_the_shell(parts: list[str], absolute: bool) -> None:
    import posixpath

    path = ("/" if absolute else "x/") + "/".join(parts)
    once = normalize_path(path)

    assert normalize_path(once) == once
    assert once == "/" + posixpath.normpath(path).lstrip("/") if absolute else once == posixpath.normpath(path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "example.com"),
        ("https://EXAMPLE.com:8443/a?b#c", "example.com"),
        ("https://example.com./x", "example.com"),
        ("http://10.0.0.1/", "10.0.0.1"),
        ("http://[::1]:80/", "::1"),
        ("http://[2001:DB8:0:0::1]/", "2001:db8::1"),
        ("ftp://a.b", "a.b"),
        ("https://example.com/@evil.org", "example.com"),
        ("https://example.com?u=http://evil.org", "example.com"),
        ("https://example.com?u=1/@evil.org", "example.com"),
        ("https://example.com/a\\b", "example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://a_b.example/", "a_b.example"),
    ],
)
def test_a_url_has_a_host(url: str, expected: str) -> None:
    assert host(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "https://",
        "//example.com",
        "javascript:alert(1)",
        "javascript://example.com/%0aalert(1)",
        "FILE://example.com/etc/passwd",
        "view-source://example.com/",
        "https://example.com#@evil.org",
        "https://example.com?@evil.org/",
        "https://example.com?a\\@evil.org",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://example.com\\@evil.org/",
        "https://example.com\\.evil.org",
        "https://exa\tmple.com",
        "https://example.com\n.evil.org",
        " https://example.com",
        "https://example.com ",
        "https://exa mple.com/",
        "https://%65xample.com",
        "https://bücher.example",
        "https://exаmple.com",  # noqa: RUF001 - the letter is Cyrillic on purpose
        "https://example。com",
        "https://example..com",
        "https://.example.com",
        "https://-a.example",
        "https://example.com:99999/",
        "https://example.com:8x/",
        "https://a:b:c/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://example.0x1/",
        "http://[::1/",
        "http://::1/",
        "http://[127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 130 + "example",
        "https://example.com/" + "a" * MAX_URL,
    ],
)
def test_a_url_whose_host_programs_disagree_about_has_none(url: str) -> None:
    with pytest.raises(ConditionFailed):
        host(url)


@pytest.mark.parametrize(
    ("text", "domain", "inside"),
    [
        ("https://example.com/", "example.com", True),
        ("https://a.b.Example.COM/", "example.com", True),
        ("api.example.com", "example.com", True),
        ("api.example.com:8080", "example.com", True),
        ("https://example.com./", "example.com", True),
        ("https://evilexample.com/", "example.com", False),
        ("https://example.com.evil.org/", "example.com", False),
        ("https://example.comm/", "example.com", False),
        ("https://com/", "example.com", False),
        ("http://10.0.0.1/", "example.com", False),
        ("[::1]", "example.com", False),
        ("localhost", "localhost", True),
        ("a.EXAMPLE.com", "Example.com.", True),
    ],
)
def test_a_domain_covers_itself_and_its_subdomains_only(text: str, domain: str, *, inside: bool) -> None:
    assert in_domain(text, domain) is inside


@pytest.mark.parametrize("text", ["user@example.com", "example.com/x", "example.com\\x", "", "exаmple.com", "a b"])  # noqa: RUF001
def test_what_is_no_host_is_in_no_domain_and_outside_of_none(text: str) -> None:
    with pytest.raises(ConditionFailed):
        in_domain(text, "example.com")


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.0.0.1", "10.0.0.0/8", False),
        ("192.0.2.1", "192.0.2.1/32", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:a01:203", "10.0.0.0/8", True),
        ("fd00::1", "fd00::/8", True),
        ("10.0.0.1", "fd00::/8", False),
        ("fd00::1", "10.0.0.0/8", False),
        ("::1", "::1/128", True),
        ("::1", "127.0.0.0/8", False),
        ("2002:a00:1::", "2002::/16", True),
    ],
)
def test_an_address_is_in_a_network(address: str, network: str, *, inside: bool) -> None:
    assert in_cidr(address, network) is inside


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("example.com", "10.0.0.0/8"),
        ("0x0a.0.0.1", "10.0.0.0/8"),
        ("012.0.0.1", "10.0.0.0/8"),
        ("167772161", "10.0.0.0/8"),
        ("10.1", "10.0.0.0/8"),
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("fe80::1%eth0", "10.0.0.0/8"),
        ("64:ff9b::a00:1", "10.0.0.0/8"),
        ("2002:a00:1::", "10.0.0.0/8"),
        ("::10.0.0.1", "10.0.0.0/8"),
        ("", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/8"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.0/255.0.0.0"),
        ("10.0.0.1", "::ffff:10.0.0.0/104"),
        ("10.0.0.1", "10.0.0.0/33"),
    ],
)
def test_an_odd_address_or_network_is_an_error(address: str, network: str) -> None:
    with pytest.raises(ConditionFailed):
        in_cidr(address, network)


def test_asking_whether_a_text_is_an_address_does_not_let_odd_ones_slip_by_as_names() -> None:
    assert (is_ip("10.0.0.1"), is_ip("::1"), is_ip("example.com")) == (True, True, False)
    for odd in ("0177.0.0.1", "0x7f.1", "2130706433", "127.1", "a:b"):
        with pytest.raises(ConditionFailed):
            is_ip(odd)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^a$", "a\n", False),
        ("^a$", "a\0", False),
        ("a.c", "a\0c", True),
        ("(?i)drop", "DROP", True),
        (r"^\pL+$", "été", True),
        ("^.$", "\U0001f600", True),
    ],
)
def test_a_pattern_matches_anywhere_and_sees_the_whole_text(pattern: str, text: str, *, found: bool) -> None:
    assert compile_pattern(pattern).search(text) is found


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{1001}", "[z-a]", r"(\pL{1,20}[0-9]{1,30}){1,2}y"])
def test_a_pattern_that_re2_does_not_take_or_that_is_large_is_refused(pattern: str) -> None:
    with pytest.raises(ConditionFailed):
        compile_pattern(pattern)


def test_a_pattern_has_so_many_characters_at_most() -> None:
    assert compile_pattern("a" * MAX_PATTERN).search("a" * MAX_PATTERN)
    with pytest.raises(ConditionFailed, match="characters"):
        compile_pattern("a" * (MAX_PATTERN + 1))


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00+99:00",
        "0001-01-01T00:00:00+23:00",
        "٢٠٢٦-03-01T12:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ConditionFailed):
        parse_timestamp(text)


def test_moments_and_durations_read_and_write() -> None:
    assert timestamp_text(parse_timestamp("2026-03-01T13:00:00.5+01:00")) == "2026-03-01T12:00:00.500000Z"
    assert duration_text(parse_duration("1h30m")) == "5400s"
    assert duration_text(parse_duration("-1.5s")) == "-1.5s"
    for bad in ("", "1", "1d", "h", "1h-1m", "9" * 12 + "h"):
        with pytest.raises(ConditionFailed):
            parse_duration(bad)
    for zone in ("Nowhere/Atall", "+25:00", "+01:75", "../etc/passwd", "01:00"):
        with pytest.raises(ConditionFailed):
            parse_zone(zone)


def complaint(name: str, text: str) -> str:
    """What a function has to say against `text`; nothing if it takes it."""
    try:
        FUNCTIONS[name].run(text)
    except ConditionFailed as error:
        return str(error)
    return ""


@given(st.text(min_size=4, max_size=40), st.sampled_from(["normalize_path", "host", "is_ip", "timestamp", "double"]))
def test_no_text_makes_a_function_throw_anything_but_a_failure_that_does_not_quote_it(text: str, name: str) -> None:
    assert text not in complaint(name, text)


def test_an_ordinary_space_is_part_of_a_path_in_every_script() -> None:
    assert under("/data/a é/b c", "/data/a é")
    with pytest.raises(ConditionFailed):
        under("/data/a\u00a0é", "/data")
