"""Faults on demand: exactly the passage that was asked for, and nothing when nothing was."""

import pytest

from holdshort.store.faults import POINTS, BadFault, InjectedFault, arm, armed, disarm, fault, fault_async


def test_nothing_happens_unless_asked_for() -> None:
    assert not armed()
    for point in POINTS:
        fault(point)


def test_only_the_passage_that_was_asked_for_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    arm("vote.in_tx:2:raise, park.before_commit:1:enospc")

    fault("vote.in_tx")
    with pytest.raises(InjectedFault):
        fault("vote.in_tx")
    fault("vote.in_tx")
    with pytest.raises(OSError, match="No space left"):
        fault("park.before_commit")
    assert armed()
    assert "BREAKS ON PURPOSE" in capsys.readouterr().err


async def test_a_delay_on_the_loop_passes_by() -> None:
    arm("send.half:1:delay=1")

    await fault_async("send.half")
    disarm()

    assert not armed()


@pytest.mark.parametrize(
    "spec", ["nowhere:1:kill", "send.half:0:kill", "send.half:kill", "send.half:1:explode", "send.half:1:delay=soon"]
)
def test_a_fault_that_does_not_exist_is_an_error(spec: str) -> None:
    with pytest.raises(BadFault):
        arm(spec)
