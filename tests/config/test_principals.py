"""Tokens are worth one name and one kind; the state folder's token is one, however many processes make it."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdshort.config.principals import (
    ApproverToken,
    ApproverTokenUnusable,
    Principal,
    PrincipalKind,
    Principals,
    SharedToken,
    approver_token,
    is_loopback,
)


@dataclass(frozen=True)
class Named:
    name: str
    token: str
    groups: tuple[str, ...] = ()


AGENT = Named("ci-bot", "agent-token-1", ("ci",))
APPROVER = Named("ana", "approver-token-1", ("finance",))


def test_a_token_is_worth_its_owner_and_nobody_else() -> None:
    principals = Principals(agents=[AGENT], approvers=[APPROVER])

    assert principals.authenticate("agent-token-1") == Principal(PrincipalKind.AGENT, "ci-bot", frozenset({"ci"}))
    assert principals.authenticate("approver-token-1") == Principal(
        PrincipalKind.APPROVER, "ana", frozenset({"finance"})
    )
    for wrong in ("", "agent-token-", "agent-token-11", "AGENT-TOKEN-1", "agent-token-1 ", "\ud800"):
        assert principals.authenticate(wrong) is None


def test_an_empty_configured_token_opens_nothing() -> None:
    assert Principals(agents=[Named("x", "")]).authenticate("") is None


def test_one_token_for_two_principals_is_an_error_that_names_both_and_shows_no_token() -> None:
    with pytest.raises(SharedToken) as caught:
        Principals(agents=[AGENT], approvers=[Named("ana", AGENT.token)])

    assert "`ci-bot`" in str(caught.value)
    assert "`ana`" in str(caught.value)
    assert AGENT.token not in str(caught.value)


def test_no_token_is_kept_or_shown() -> None:
    principals = Principals(agents=[AGENT], approvers=[APPROVER])

    assert AGENT.token not in repr(principals)
    assert AGENT.token not in repr(vars(principals))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_callers_are_the_agent_local_when_no_agents_are_configured(host: str) -> None:
    assert Principals(approvers=[APPROVER]).loopback(host, forwarded=False) == Principal(PrincipalKind.AGENT, "local")
    assert Principals(agents=[AGENT]).loopback(host, forwarded=False) is None
    assert Principals(approvers=[APPROVER]).loopback(host, forwarded=True) is None


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "::", "::ffff:10.0.0.1", "localhost", "127.0.0.1.evil", ""]
)
def test_everybody_else_is_nobody(host: str) -> None:
    assert not is_loopback(host)
    assert Principals().loopback(host, forwarded=False) is None
    assert Principals().loopback(None, forwarded=False) is None


def test_the_state_folders_token_is_private_complete_and_reused(tmp_path: Path) -> None:
    first = approver_token(tmp_path)
    again = approver_token(tmp_path)

    assert first.created
    assert again == ApproverToken(first.token, tmp_path / "approver-token", created=False)
    assert len(first.token) >= 43  # 32 random bytes
    assert (tmp_path / "approver-token").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["approver-token"]
    assert first.token not in repr(first)


def test_the_approver_of_the_state_folder_joins_the_configured_principals() -> None:
    principals = Principals(agents=[AGENT]).with_approver("t" * 43)

    assert principals.authenticate("t" * 43) == Principal(PrincipalKind.APPROVER, "approver")
    assert principals.authenticate(AGENT.token) is not None
    assert principals.has_approvers
    assert not Principals(agents=[AGENT]).has_approvers
    with pytest.raises(SharedToken):
        principals.with_approver(AGENT.token)


def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        # A function of the package: a new process cannot import this file by the name it has here.
        made = pool.map(approver_token, [tmp_path] * 24, chunksize=1)

    assert len({one.token for one in made}) == 1
    assert sum(one.created for one in made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["approver-token"]


@pytest.mark.parametrize("spoil", ["loose", "empty", "short", "symlink", "folder", "pipe"])
def test_a_token_file_that_cannot_be_trusted_stops_the_start(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "approver-token"
    match spoil:
        case "loose":
            path.write_text("x" * 43)
            path.chmod(0o644)
        case "empty":
            path.touch(0o600)
        case "short":
            path.touch(0o600)
            path.write_text("short")
        case "symlink":
            (tmp_path / "elsewhere").write_text("x" * 43)
            path.symlink_to(tmp_path / "elsewhere")
        case "folder":
            path.mkdir()
        case _:
            os.mkfifo(path, 0o600)

    with pytest.raises(ApproverTokenUnusable, match="approver-token"):
        approver_token(tmp_path)
