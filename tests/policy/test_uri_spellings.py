"""Any mix of the ways to spell a path: a ban holds for all of them, and no exception lets one out of its folder."""

import posixpath
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from holdshort.policy.model import Kind
from holdshort.policy.targets import parse_target
from holdshort.policy.uris import UriPattern, readings

names = st.text("abcXYZ019_~é-", min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=4)


@st.composite
def spelt(draw: st.DrawFn, steps: list[str]) -> str:
    """The path of `steps`, in some odd spelling that still means the same to whoever decodes and resolves it."""

    def written(text: str) -> str:
        return "".join(
            char
            if draw(st.booleans())
            else "".join(f"%{byte:02{draw(st.sampled_from('xX'))}}" for byte in char.encode())
            for char in text
        )

    detours = st.sampled_from(["", "./", "//", "x/../", "%2e/", "y/%2E%2e/", "a/b/../.%2e/", "z\\..\\"])
    path = "".join("/" + draw(detours) + written(step) for step in steps)
    for _ in range(draw(st.integers(0, 2))):
        path = path.replace("%", "%25")
    start = draw(st.sampled_from(["file://", "FILE://", "File:", "file://localhost", "file:////", "file://LocalHost/"]))
    return start + path + draw(st.sampled_from(["", "", "?q", "#f", "/"]))


def pattern(text: str) -> UriPattern:
    found = parse_target(text, Kind.RESOURCE)
    assert isinstance(found, UriPattern)
    return found


@given(st.data(), paths)
def test_a_ban_holds_for_every_spelling(data: st.DataObject, steps: list[str]) -> None:
    uri = data.draw(spelt(steps))

    assert pattern(f"files__file:///{'/'.join(steps)}").matches_some(readings(uri)), uri


@given(st.data(), st.lists(names | st.sampled_from(["..", ".", "data"]), min_size=1, max_size=6))
def test_nothing_that_an_exception_lets_through_is_outside_of_its_folder(data: st.DataObject, steps: list[str]) -> None:
    uri = "file:///data/" + data.draw(spelt(steps)).split(":", 1)[1].lstrip("/")
    if not pattern("files__file:///data/*").matches_surely(readings(uri)):
        return
    path = uri.removeprefix("file://").split("?")[0].split("#")[0]
    for _ in range(4):  # what a server that decodes this often opens
        assert posixpath.normpath(path.replace("\\", "/")).lstrip("/").split("/")[0] == "data", uri
        path = unquote(path)


@given(st.text())
def test_any_text_has_readings_and_is_one_of_them(text: str) -> None:
    found = readings(text)

    assert found.raw == text
    assert pattern("x__*").matches_some(found)
