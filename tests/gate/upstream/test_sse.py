"""Events are read as the HTML standard says, however the bytes arrive, and never more than the cap is kept."""

import time

import pytest

from holdshort.gate.upstream.sse import Event, EventParser, EventTooLarge


def events(stream: bytes, size: int = 10_000) -> list[Event]:
    parser = EventParser(1000)
    return [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_events_do_not_depend_on_line_ends_or_on_how_the_bytes_arrive(end: bytes, size: int) -> None:
    lines = [
        b"\xef\xbb\xbf: a comment",
        b"data: one",
        b"",
        b"event:two",
        b"data:2a",
        b"data: 2b",
        b"id: 7",
        b"",
        b"data",
        b"",
    ]
    lines += [b"data:   kept", b"unknown: x", b"nocolon", b"", b""]

    assert events(end.join(lines) + end, size) == [
        Event("message", b"one"),
        Event("two", b"2a\n2b"),
        Event("message", b"  kept"),
    ]


def test_an_event_without_its_end_is_none() -> None:
    assert events(b"data: one\n\ndata: half") == [Event("message", b"one")]
    assert events(b"data: one\n\ndata: half\n") == [Event("message", b"one")]


def test_the_last_id_is_that_of_the_last_complete_event_even_without_data() -> None:
    parser = EventParser(1000)
    parser.feed(b"id: 1\ndata: x\n\nid: 2\ndata: \n\nid: 3\ndata: x\n")

    assert parser.last_id == "2"


@pytest.mark.parametrize(
    ("line", "wanted"), [(b"500", 500), (b"0", 0), (b"-1", None), (b"x", None), (b"99999999", 60_000)]
)
def test_retry_is_a_bounded_number_of_milliseconds(line: bytes, wanted: int | None) -> None:
    parser = EventParser(1000)
    parser.feed(b"retry: " + line + b"\n\n")

    assert parser.retry_ms == wanted


def test_an_id_with_a_nul_is_ignored() -> None:
    parser = EventParser(1000)
    parser.feed(b"id: 1\n\nid: 2\0\n\n")

    assert parser.last_id == "1"


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 100 + b"\n", b"x" * 100, b"data: x\n", b"data\n"])
def test_an_event_over_the_limit_is_refused_whatever_it_is_made_of(chunk: bytes) -> None:
    parser = EventParser(10_000)

    def feed_all() -> None:
        for _ in range(12_000):
            parser.feed(chunk)

    with pytest.raises(EventTooLarge):
        feed_all()


def test_many_small_events_are_no_large_one() -> None:
    parser = EventParser(100)

    assert sum(len(parser.feed(b"data: 0123456789\n\n")) for _ in range(10_000)) == 10_000


def test_a_long_event_takes_linear_time() -> None:
    parser = EventParser(64 * 1024 * 1024)
    started = time.process_time()
    parser.feed(b"data: ")
    for _ in range(600):
        parser.feed(b"x" * 65536)

    assert len(parser.feed(b"\n\n")[0].data) == 600 * 65536
    assert time.process_time() - started < 1.0
