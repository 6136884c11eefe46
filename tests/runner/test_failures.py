"""When a request to the model is repeated, and after how long."""

from __future__ import annotations

import pytest

from holdshort.runner.errors import ModelError, PreviousResponseGone
from holdshort.runner.failures import Again, Failure, Patience, retry_after, seconds_to_wait

PATIENCE = Patience(attempts=4, within_s=60, first_s=1, longest_s=8)
NOW = 1_800_000_000.0


def waits(
    again: Again,
    *,
    attempt: int = 1,
    elapsed: float = 0,
    may_repeat: bool = True,
    after: float | None = None,
    chance: float = 0,
) -> float | None:
    """The wait after such a failure."""
    failure = Failure("it failed", again=again, after=after)
    return seconds_to_wait(
        failure, attempt=attempt, elapsed=elapsed, may_repeat=may_repeat, patience=PATIENCE, chance=chance
    )


@pytest.mark.parametrize(
    ("again", "may_repeat", "repeated"),
    [
        (Again.NEVER, True, False),
        (Again.NEVER, False, False),
        (Again.UNANSWERED, True, True),
        (Again.UNANSWERED, False, True),
        (Again.LOST, True, True),
        (Again.LOST, False, False),
    ],
)
def test_what_may_have_happened_is_repeated_only_where_it_may(again: Again, may_repeat: bool, repeated: bool) -> None:
    assert (waits(again, may_repeat=may_repeat) is not None) is repeated


def test_each_wait_is_twice_as_long_up_to_the_longest() -> None:
    patience = Patience(attempts=9, within_s=999, first_s=1, longest_s=8)
    failure = Failure("it failed", again=Again.LOST)
    all_of = [
        seconds_to_wait(failure, attempt=attempt, elapsed=0, may_repeat=True, patience=patience, chance=chance)
        for chance in (0, 0.5)
        for attempt in range(1, 10)
    ]

    assert all_of[:9] == [0.5, 1, 2, 4, 4, 4, 4, 4, None]
    assert all_of[9:] == [0.75, 1.5, 3, 6, 6, 6, 6, 6, None]


def test_the_last_attempt_is_the_last() -> None:
    assert [waits(Again.LOST, attempt=attempt) is None for attempt in (1, 3, 4, 5)] == [False, False, True, True]


def test_no_attempt_begins_after_the_time_is_over() -> None:
    assert waits(Again.LOST, elapsed=59.5) == 0.5
    assert waits(Again.LOST, elapsed=59.6) is None


@pytest.mark.parametrize("chance", [0.0, 0.999])
@pytest.mark.parametrize("after", [0.0, 0.01, 2.0, 50.0])
def test_what_the_service_asks_for_is_waited_in_full_and_little_more(after: float, chance: float) -> None:
    wait = waits(Again.LOST, after=after, chance=chance)

    assert wait is not None
    assert after <= wait <= after + 1


def test_more_than_the_time_there_is_is_not_waited() -> None:
    assert waits(Again.UNANSWERED, after=61) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:09 GMT"}, 9),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0),
        ({"retry-after": "Fri, 15 Jan 99999999 07:59:00 GMT"}, None),
    ],
    ids=repr,
)
def test_the_seconds_to_wait_are_read_in_each_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("failure", "taken"),
    [
        (Failure("", again=Again.UNANSWERED, status=429), False),
        (Failure("", again=Again.LOST, status=500), True),
        (Failure("", again=Again.LOST), True),
        (Failure("", status=400), False),
        (Failure("", status=503), True),
        (Failure("", reason="max_output_tokens"), True),
        (Failure("", reason="unsent"), False),
    ],
)
def test_an_error_says_whether_the_request_may_have_been_taken(failure: Failure, taken: bool) -> None:
    assert failure.error().taken is taken


def test_an_error_says_how_often_it_was_tried_and_keeps_secrets() -> None:
    failure = Failure("no: key-123456 and sk-live_1*23", reason="x", status=429, again=Again.UNANSWERED, after=90)
    error = failure.error(3, ["key-123456"])

    assert str(error) == "no: … and sk-…; it asks to wait 90 s (asked 3 times)"
    assert (type(error), error.reason, error.status, error.state) == (ModelError, "x", 429, None)
    assert type(Failure("", reason="previous_response_not_found").error()) is PreviousResponseGone
