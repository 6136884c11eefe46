"""`holdshort policy replay`: what another policy would have said to the traffic that was recorded."""

import json
import os
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from holdshort.cli.policy.common import AsJson, AssumeEnv, fail_usage, load_policy, print_findings, utc_now

if TYPE_CHECKING:
    from holdshort.cli.policy.traffic import Knowing, Source
    from holdshort.config import Config
    from holdshort.policy import Policy
    from holdshort.policy.replay import Tally

__all__ = ["replay", "tally_of"]

_ROWS_BETWEEN_WORDS: Final = 10_000


def replay(
    log: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LOG]", help="A state folder, or a log that was exported; else the folder that FILE would use."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The policy to ask: a holdshort.yaml, or a single policy file. Required."),
    ] = None,
    with_file: Annotated[
        Path | None,
        typer.Option("--with", metavar="OLDFILE", help="Compare with this policy, not with what came of the calls."),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(metavar="RECORDINGS", help="With an exported log: what `log export --recordings` wrote."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only calls since then: `7d` ago, or 2026-01-05T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only calls until then.")] = None,
    server: Annotated[str | None, typer.Option(metavar="LABEL", help="Only calls to this server.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only calls by this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many groups of each sort, and kinds of call in each.")] = 20,
    changed_only: Annotated[
        bool, typer.Option("--changed-only", help="Leave out calls that nothing can be told about.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Calls that nothing can be told about count as changes.")
    ] = False,
    as_json: AsJson = False,
    assume_env: AssumeEnv = False,
) -> None:
    """Ask a policy about calls that happened, and say which of them would come out otherwise, rule by rule.

    Nothing is sent and nothing runs. Conditions need what the calls were made with: switch that on with `record` in
    holdshort.yaml. What was not recorded is not guessed; where it matters, the call is listed as one that cannot be
    told. The decision log is checked on the way: one that is not as it was written is not replayed.

    Exit code 0: no call changes. 1: some do, or a file has problems. 2: there is no log, or not as it was written.

    \b
    Examples:
      holdshort policy replay --against holdshort.new.yaml
      holdshort policy replay --against team.new.yaml --since 7d --agent ci-bot
      holdshort policy replay log.jsonl --recordings recordings.jsonl --against holdshort.yaml --json
    """
    from holdshort.cli.policy.replay_report import report_json, report_lines
    from holdshort.config import ConfigErrors
    from holdshort.errors import StateError
    from holdshort.store.chain import BrokenLink

    if against is None:
        fail_usage("say which policy to ask: --against FILE")
    first, last = _moment(since, "--since"), _moment(until, "--until")
    try:
        policy, _, config = load_policy(against, assume_env=assume_env)
        old = None if with_file is None else load_policy(with_file, assume_env=assume_env)[0]
    except ConfigErrors as errors:
        print_findings(errors.problems, errors.notes, None, as_json=as_json)
        raise typer.Exit(1) from None
    wanted = _Wanted(first, last, server, agent)
    try:
        with _opened(log, recordings, config) as (source, folder):
            tally = tally_of(source, policy, old, _knowing(config, folder), wanted)
    except BrokenLink as broken:
        fail_usage(f"the decision log is not as it was written: {broken.problem}; nothing is replayed from it")
    except StateError as error:
        fail_usage(str(error))
    if as_json:
        print(json.dumps(report_json(tally, policy, old), ensure_ascii=False, indent=2))
    else:
        names = set() if config is None else {each.label for each in config.servers}
        explain = (
            "" if folder is None else f"holdshort policy explain --from-log {{}} --config {shlex.quote(str(against))}"
        )
        if log is not None and explain:
            explain += f" --state-dir {shlex.quote(str(log))}"
        if assume_env and explain:
            explain += " --assume-env"
        said = report_lines(tally, policy, old, limit=limit, changed_only=changed_only, servers=names, explain=explain)
        for line in said:
            print(line)
    if len(tally) or (strict and tally.untold):
        raise typer.Exit(1)


class _Wanted:
    """Which calls are asked for."""

    def __init__(self, first: datetime | None, last: datetime | None, server: str | None, agent: str | None) -> None:
        self._first = first
        self._last = last
        self._server = server
        self._agent = agent

    def has(self, call: Any) -> bool:
        return (
            (self._server is None or call.server == self._server)
            and (self._agent is None or call.agent == self._agent)
            and (self._first is None or call.at >= self._first)
            and (self._last is None or call.at <= self._last)
        )


def tally_of(
    source: "Source", policy: "Policy", old: "Policy | None", known: "Knowing", wanted: "_Wanted | None" = None
) -> "Tally":
    """Ask `policy` about every call of `source`, and compare with what came of it, or with what `old` says.

    Raises:
        BrokenLink: a row, or a recording, is not as it was written.
    """
    from holdshort.cli.policy.traffic import recorded
    from holdshort.policy import Action
    from holdshort.policy.partly import judge
    from holdshort.policy.replay import A_GRANT, Tally, Then, then_of

    tally = Tally()
    with _progress(source.total) as tell:
        for number, row in enumerate(source.rows, start=1):
            if number % _ROWS_BETWEEN_WORDS == 0:
                tell(number)
            call = recorded(row, known)
            if call is None or (wanted is not None and not wanted.has(call)):
                continue
            tally.see(call.server, call.agent, call.at)
            if call.asked is None:
                tally.unasked += 1
                continue
            then: Then | None = call.then
            if old is not None:
                told_then = then_of(judge(old, call.asked))
                granted = call.then.because == (A_GRANT,) and told_then is not None
                then = call.then if granted and told_then and told_then.action is Action.ASK else told_then
            tally.add(call.sequence, call.asked, then, judge(policy, call.asked))
    return tally


@contextmanager
def _opened(
    log: Path | None, recordings: Path | None, config: "Config | None"
) -> "Generator[tuple[Source, Path | None]]":
    """Open the log; what is no log ends the command."""
    from holdshort.cli.policy.traffic import open_export, open_folder
    from holdshort.store.folder import DATABASE, choose_folder

    if log is not None and log.is_file() and log.suffix != ".db":
        try:
            with open_export(log, recordings) as source:
                yield source, None
        except OSError as error:
            fail_usage(f"`{error.filename}` cannot be read: {(error.strerror or type(error).__name__).lower()}")
        except (ValueError, KeyError, TypeError) as error:
            fail_usage(f"`{log}` is no exported log, or `{recordings}` no exported recordings: {error}")
        return
    if recordings is not None:
        fail_usage("--recordings goes with an exported log; a state folder has its own")
    folder = choose_folder(log or (config.state_dir if config is not None else None), os.environ)
    if not (folder / DATABASE).is_file():
        fail_usage(f"there is no decision log in `{folder}`; name the state folder, or an exported log")
    with open_folder(folder / DATABASE) as source:
        yield source, folder


def _knowing(config: "Config | None", folder: Path | None) -> "Knowing":
    from holdshort.cli.policy.knowledge import find_out
    from holdshort.cli.policy.traffic import Knowing
    from holdshort.config import LOCAL_AGENT

    if config is None:
        return Knowing({}, {LOCAL_AGENT: frozenset()})
    groups = {agent.name: agent.groups for agent in config.agents} or {LOCAL_AGENT: frozenset()}
    untrusted = frozenset(server.label for server in config.servers if not server.trust_annotations)
    tools = {} if folder is None else find_out(config, live=False, state_dir=folder).tools
    return Knowing(tools, groups, untrusted)


@contextmanager
def _progress(total: int | None) -> "Generator[Any]":
    """Say on a terminal how far it is; nothing anywhere else."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    of = "" if total is None else f" of {total:,}"
    try:
        yield lambda number: print(f"\r{number:,}{of} rows", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _moment(text: str | None, option: str) -> datetime | None:
    from holdshort.config.units import parse_seconds

    if text is None:
        return None
    seconds = parse_seconds(text, bare=False)
    now: datetime = utc_now()
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None:
        fail_usage(f"{option}: `{text[:40]}` is no time; write `7d` for a week ago, or 2026-01-05T12:00:00Z")
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
