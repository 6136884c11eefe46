"""A sealed echo is good for one agent, one call, a while; anything else is refused without saying why it failed."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.gate.seal import BrokenSeal, Leg, Sealer, load_seal_key

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEG = Leg("i-1", "bot", "f" * 64, 3, "nonce", NOW + timedelta(minutes=10))
SEALER = Sealer(b"k" * 32)


def opened(text: str, **changes: object) -> Leg:
    asked = {"agent": "bot", "fingerprint": "f" * 64, "now": NOW, **changes}
    return SEALER.open(text, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("leg", [LEG, replace(LEG, token=7), replace(LEG, token=7, upstream_state="theirs\u00e9")])
def test_what_was_sealed_comes_back(leg: Leg) -> None:
    assert opened(SEALER.seal(leg)) == leg


def test_no_two_seals_are_alike_and_none_shows_what_it_holds() -> None:
    first, second = SEALER.seal(LEG), SEALER.seal(LEG)

    assert first != second
    assert b"i-1" not in base64.urlsafe_b64decode(first.removeprefix("hs1."))


@pytest.mark.parametrize(
    "changes", [{"agent": "other"}, {"fingerprint": "e" * 64}, {"now": NOW + timedelta(minutes=10)}]
)
def test_another_agent_another_call_or_too_late_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BrokenSeal):
        opened(SEALER.seal(LEG), **changes)


def test_the_last_moment_still_counts() -> None:
    assert opened(SEALER.seal(LEG), now=NOW + timedelta(minutes=10) - timedelta(microseconds=1)) == LEG


def test_the_seal_of_another_key_is_refused() -> None:
    with pytest.raises(BrokenSeal):
        opened(Sealer(b"x" * 32).seal(LEG))


@given(st.integers(min_value=4), st.integers(min_value=0, max_value=7))
def test_no_bit_can_be_changed(at: int, bit: int) -> None:
    sealed = bytearray(base64.urlsafe_b64decode(SEALER.seal(LEG)[4:]))
    sealed[at % len(sealed)] ^= 1 << bit

    with pytest.raises(BrokenSeal):
        opened("hs1." + base64.urlsafe_b64encode(bytes(sealed)).decode())


@given(st.text(max_size=200))
def test_any_text_is_refused_as_calmly(text: str) -> None:
    with pytest.raises(BrokenSeal):
        opened("hs1." + text)


def test_a_folder_has_one_key_which_only_its_owner_reads(tmp_path: Path) -> None:
    key = load_seal_key(tmp_path)

    assert load_seal_key(tmp_path) == key
    assert (tmp_path / "seal.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["seal.key"]


def test_a_key_of_the_wrong_size_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "seal.key").write_bytes(b"short")

    with pytest.raises(BrokenSeal, match="32-byte"):
        load_seal_key(tmp_path)
