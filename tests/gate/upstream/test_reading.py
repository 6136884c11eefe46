"""A large message is read in a time that others can wait, and one that is made to cost more is refused."""

import contextlib
import gc
import json
import time
from typing import Any

import pytest

from holdshort.gate.upstream.reading import MOST_CONTAINERS, read_message
from holdshort.wire import Limits, MessageTooLarge

LIMITS = Limits(max_bytes=16 * 1024 * 1024, max_string_bytes=16 * 1024 * 1024)


def answer(content: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"x": content}}, separators=(",", ":")).encode()


def test_so_many_arrays_are_read_and_one_more_is_refused() -> None:
    # The message itself, its result and the list around them are three.
    assert read_message(answer([[]] * (MOST_CONTAINERS - 3)), LIMITS).value["id"] == 1
    with pytest.raises(MessageTooLarge, match="objects and arrays"):
        read_message(answer([[]] * (MOST_CONTAINERS - 2)), LIMITS)


def test_json_as_text_costs_nothing_and_passes() -> None:
    text = json.dumps([{"a": ["\\"]}] * MOST_CONTAINERS)

    assert read_message(answer(text), LIMITS).value["result"]["x"] == text


@pytest.mark.parametrize(
    "content",
    [[[]] * 5_000_000, [[[[[[[[[]]]]]]]]] * 800_000, [{"id": 1, "tags": ["a"]}] * 240_000, '"\\' * 3_000_000],
    ids=["arrays", "deep", "objects", "escapes"],
)
def test_no_message_takes_long(content: Any) -> None:
    raw = answer(content)
    started = time.process_time()
    with contextlib.suppress(MessageTooLarge):
        read_message(raw, LIMITS)

    assert time.process_time() - started < 0.6
    assert gc.isenabled()
