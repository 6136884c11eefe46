"""Globs match server and tool apart; what has no clear meaning is refused with what to write instead."""

import pytest

from holdshort.policy import BadPattern, ToolPattern, parse_name_pattern, parse_tool_pattern


def matches(pattern: str, server: str, tool: str) -> bool:
    parsed = parse_tool_pattern(pattern)
    return parsed.matches_server(server) and parsed.matches_tool(tool)


@pytest.mark.parametrize(
    ("pattern", "server", "tool"),
    [
        ("*", "github", "delete_repo"),
        ("*", "a", "x__y"),
        ("github__delete_repo", "github", "delete_repo"),
        ("github__*", "github", "delete_repo"),
        ("github__delete_*", "github", "delete_"),
        ("*__purge", "files", "purge"),
        ("git*__p?rge", "gitlab", "purge"),
        ("mcp__github__delete_repo", "github", "delete_repo"),
        ("mcp__github__*", "github", "x"),
        ("mcp__github", "github", "anything"),
        ("github__a__b", "github", "a__b"),
        ("github___hidden", "github", "_hidden"),
        ("*__*a*b*c*", "s", "xxaxxbxxc"),
        ("*__a.b", "s", "a.b"),
        ("*__*", "s", "line\nbreak"),
        ("**__**", "s", "t"),
        ("*__ab*ba", "s", "abba"),
    ],
)
def test_a_glob_matches(pattern: str, server: str, tool: str) -> None:
    assert matches(pattern, server, tool)


@pytest.mark.parametrize(
    ("pattern", "server", "tool"),
    [
        ("github__*", "github2", "x"),
        ("git__*", "github", "x"),
        ("*__purge", "files", "purge_all"),
        ("*__purge", "files__x", "y__purge"),
        ("*hub__delete*", "git", "hub__delete_repo"),  # no glob reaches across the border of a server
        ("*__delete", "github", "Delete"),
        ("*__a.b", "s", "axb"),
        ("*__a?", "s", "a"),
        ("*__ab*ba", "s", "aba"),
        ("mcp__github", "mcp", "github"),
    ],
)
def test_a_glob_does_not_match(pattern: str, server: str, tool: str) -> None:
    assert not matches(pattern, server, tool)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "it is empty; `*` alone matches everything"),
        ("purge", "it names no server; write `*__purge` for that tool on every server, or `purge__*`"),
        ("github_*", "write `*__github_*` for that tool on every server, or `github__*` for every tool"),
        ("__purge", "both sides of `__` need a name or a `*`"),
        ("github__", "both sides of `__` need a name or a `*`"),
        ("mcp__", "both sides of `__` need a name or a `*`"),
        ("github__[ab]", "`[` has no meaning here; globs know `*` and `?`, and a list may hold several"),
        ("github__{a,b}", "`{` has no meaning here"),
        ("github__a|b", "`|` has no meaning here"),
        ("!github__a", "`!` has no meaning here"),
        ("github__a, github__b", "`,` has no meaning here"),
        ("github__a b", "white space has no meaning here"),
        ("x__" + "a" * 300, "it has 303 characters; at most 256 are read"),
    ],
)
def test_a_glob_without_a_clear_meaning_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_tool_pattern(pattern)

    assert reason in str(caught.value)


def test_a_plain_pattern_takes_stars_as_they_are() -> None:
    literal = ToolPattern("github", "a*", literal=True)

    assert literal.matches_tool("a*")
    assert not literal.matches_tool("ab")


def test_names_are_matched_by_globs_of_their_own() -> None:
    assert parse_name_pattern("ci-*").matches("ci-bot")
    assert not parse_name_pattern("ci-*").matches("xci-bot")
    with pytest.raises(BadPattern):
        parse_name_pattern("")


def test_a_glob_of_many_stars_comes_to_an_end_on_a_hostile_name() -> None:
    """With backtracking it would not, within the timeout of a test."""
    pattern = parse_tool_pattern("x__" + "*a" * 100 + "*b")

    assert not pattern.matches_tool("a" * 20_000)
