"""Lines are split in linear time, capped, and a bounded number of them is handled per turn."""

import time

import anyio
import anyio.lowlevel
import pytest

from holdshort.gate.upstream.lines import Intake, LineReader, Overlong


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_how_the_bytes_arrive(size: int) -> None:
    stream = b"one\n\nthree\r\n" + b"x" * 50 + b"\nlast"
    reader = LineReader(100)
    lines = [line for at in range(0, len(stream), size) for line in reader.feed(stream[at : at + size])]

    assert [*lines, reader.end()] == [b"one", b"", b"three\r", b"x" * 50, b"last"]


@pytest.mark.parametrize("size", [1, 7, 11, 1000])
def test_a_line_over_the_limit_is_reported_with_its_ends_and_the_next_one_is_fine(size: int) -> None:
    stream = b"a" * 5 + b"b" * 5 + b"c" + b"\nnext\n"
    reader = LineReader(10)
    lines = [line for at in range(0, len(stream), size) for line in reader.feed(stream[at : at + size])]

    assert lines == [Overlong(b"aaaaabbbbbc", b"aaaaabbbbbc", 11), b"next"]


def test_a_line_of_exactly_the_limit_is_read() -> None:
    reader = LineReader(10)

    assert reader.feed(b"0123456789\n") == [b"0123456789"]
    assert reader.feed(b"01234") == []
    assert reader.feed(b"56789\n") == [b"0123456789"]


def test_a_long_line_takes_linear_time_and_bounded_memory() -> None:
    reader = LineReader(16 * 1024 * 1024)
    chunk = b"x" * 65536
    started = time.process_time()
    for _ in range(1600):
        assert reader.feed(chunk) == []
    (line,) = reader.feed(b"\n")

    assert isinstance(line, Overlong)
    assert line.size == 1600 * 65536
    assert time.process_time() - started < 1.0


async def test_a_flood_is_handled_in_turns_and_the_reading_waits_meanwhile() -> None:
    handled: list[bytes | Overlong] = []
    reading: list[str] = []

    def handle(line: bytes | Overlong) -> bool:
        handled.append(line)
        return True

    intake = Intake(handle, pause=lambda: reading.append("pause"), resume=lambda: reading.append("resume"))
    intake.push([b"%d" % number for number in range(1000)])

    assert 0 < len(handled) < 1000
    assert reading == ["pause"]
    with anyio.fail_after(5):
        while len(handled) < 1000:
            await anyio.lowlevel.checkpoint()
    assert handled == [b"%d" % number for number in range(1000)]
    assert reading == ["pause", "resume"]


async def test_useless_lines_are_handled_slowly() -> None:
    handled = 0

    def handle(line: bytes | Overlong) -> bool:
        nonlocal handled
        handled += 1
        return False

    intake = Intake(handle, pause=lambda: None, resume=lambda: None)
    intake.push([b"garbage"] * 1000)
    for _ in range(50):
        await anyio.lowlevel.checkpoint()

    assert handled < 500
    intake.close()


async def test_nothing_is_handled_while_held() -> None:
    handled: list[bytes | Overlong] = []
    reading: list[str] = []

    def handle(line: bytes | Overlong) -> bool:
        handled.append(line)
        if line == b"2":
            intake.hold()
        return True

    intake = Intake(handle, pause=lambda: reading.append("pause"), resume=lambda: reading.append("resume"))
    intake.push([b"1", b"2", b"3"])
    intake.push([b"4"])

    assert handled == [b"1", b"2"]
    assert reading == ["pause"]
    intake.release()
    with anyio.fail_after(5):
        while len(handled) < 4:
            await anyio.lowlevel.checkpoint()
    assert handled == [b"1", b"2", b"3", b"4"]
    assert reading == ["pause", "resume"]
