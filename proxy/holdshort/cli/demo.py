"""`holdshort demo`: one read that runs and one commit that waits, on a real server over a scratch repository."""

import logging
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from holdshort.errors import HoldshortError

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult

    from holdshort.server.serve import Serving

__all__ = ["demo_command"]

_COLUMNS: Final = 110

_CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
mcpServers:
  git: {{command: {python}, args: [-m, mcp_server_git, --repository, {repository}]}}
hold: {{default: 15m}}
policy: [policy.yaml]
"""

_POLICY = """\
# Reading the repository runs at once; whatever changes it waits for a person.
version: 1
default: ask
rules:
  - id: reads
    tools: [git__git_status, git__git_log, git__git_show, "git__git_diff*", git__git_branch]
    action: allow
  - id: no-reset
    tools: git__git_reset
    action: deny
  - id: commits
    tools: git__git_commit
    action: ask
    expires_after: 15m
"""


class DemoNotPossible(HoldshortError):
    """Raised when the demo lacks something on this machine."""

    code = "demo"


def demo_command(
    yes: Annotated[bool, typer.Option("--yes", help="Approve by itself, for a machine without a person.")] = False,
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
) -> None:
    """Show the whole story on a scratch repository, behind the official git server and a small policy.

    An agent reads the status (runs) and commits (waits). Approve in the browser, or with the printed command.

    Examples:

        holdshort demo

        holdshort demo --yes
    """
    from holdshort.cli.running import run_async

    with _scratch(port) as folder:
        code: list[int] = []

        async def run() -> None:
            code.append(await _story(folder, yes=yes))

        run_async(run)
    raise typer.Exit(code[0])


async def _story(folder: Path, *, yes: bool) -> int:
    import os

    import anyio

    from holdshort.config import load_config
    from holdshort.server.logs import make_log
    from holdshort.server.serve import Serving, serve

    config = load_config(folder / "holdshort.yaml", os.environ)
    log = make_log(level=logging.ERROR)
    # The agent is told by its own calls what went wrong; its library need not say it again.
    logging.getLogger("mcp").setLevel(logging.ERROR)
    ready = anyio.Event()
    found: list[Serving] = []
    code = 1

    def on_ready(serving: Serving) -> None:
        found.append(serving)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve(config, folder / "state", log, say=_say, on_ready=on_ready), name="serve")
        with anyio.fail_after(30):
            await ready.wait()
        code = await _agent(found[0], folder, yes=yes)
        tasks.cancel_scope.cancel()
    return code


async def _agent(serving: "Serving", folder: Path, *, yes: bool) -> int:
    """What an agent sees, printed."""
    from mcp import Client

    repository = str(folder / "repository")
    async with Client(f"{serving.base_url}/mcp/git", mode="legacy") as client:
        _title("An agent reads: allowed by policy, so it runs")
        status = await client.call_tool("git_status", {"repo_path": repository})
        _say(_indent(_text(status)))
        if status.is_error:
            return 1

        _title("The agent commits: policy says to ask, so nothing is sent and the call is parked")
        commit = {"repo_path": repository, "message": "Add a greeting"}
        now_please: Any = {"holdshort/park": "now"}
        parked = await client.call_tool("git_commit", commit, meta=now_please)
        record: dict[str, Any] = (parked.meta or {}).get("holdshort/interruption", {})
        _say(_indent(_text(parked)))
        if not record:
            return 1
        _say(f"\n    commits in the repository: {_commits(folder)}")

        _title("Waiting for a person")
        _say(f"    in a browser:   {serving.login_link}")
        _say(f"    review page:    {record['review_url']}")
        _say(f"    in a terminal:  {_own_command()} approvals approve {record['id']} --state-dir {folder / 'state'}")
        result = await _repeat(client, commit, record, folder, serving, yes=yes)
        outcome = (result.meta or {}).get("holdshort/interruption", {})
        if outcome.get("state") == "pending":
            _title("Stopped before anybody decided: nothing was committed")
            return 1

        _title("The agent repeats the same call and gets the outcome")
        _say(_indent(_text(result)))
        _say(f"\n    commits in the repository: {_commits(folder)}")
        ran = outcome.get("state") == "executed" and not result.is_error
        _title("One read ran, one commit was parked, approved, and ran once" if ran else "The commit did not run")
        return 0 if ran else 1


async def _repeat(
    client: "Client", commit: dict[str, str], record: dict[str, Any], folder: Path, serving: "Serving", *, yes: bool
) -> "CallToolResult":
    import anyio

    result: list[CallToolResult] = []

    async def call() -> None:
        # Held by the proxy until somebody decides, at most until the interruption expires.
        result.append(await client.call_tool("git_commit", commit, read_timeout_seconds=None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        if yes:
            _say("    --yes was given: approving by itself")
            tasks.start_soon(_approve, record, folder, serving)
    return result[0]


async def _approve(record: dict[str, Any], folder: Path, serving: "Serving") -> None:
    """Decide as an approver does: at the approval endpoint, with an approver's token and the fingerprint shown."""
    import httpx2

    token = (folder / "state" / "approver-token").read_text().strip()
    async with httpx2.AsyncClient(base_url=serving.review_url, trust_env=False, timeout=10) as http:
        answer = await http.post(
            f"/v1/interruptions/{record['id']}/decision",
            json={"decision": "approve", "fingerprint": record["fingerprint"]},
            headers={"authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()


@contextmanager
def _scratch(port: int) -> Generator[Path]:
    """Yield a folder with everything the demo needs. It is gone afterwards, whenever the person interrupts."""
    with _interrupts_held():
        scratch = tempfile.TemporaryDirectory(prefix="holdshort-demo-", ignore_cleanup_errors=True)
    # From here on the folder has a finalizer: an interrupt on the next line removes it too.
    with scratch as name:
        with _interrupts_held():
            _prepare(Path(name), port)
        yield Path(name)


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Let the body end before an interrupt is raised: nobody would remove a folder that is half made."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _prepare(folder: Path, port: int) -> None:
    """Make the repository, with a change ready to be committed, and the two files a user would write."""
    import importlib.util
    import json

    if importlib.util.find_spec("mcp_server_git") is None:
        raise DemoNotPossible("the demo needs the official git server; install it with `pip install 'holdshort[demo]'`")
    repository = folder / "repository"
    repository.mkdir()
    _git(repository, "init", "--quiet")
    _git(repository, "config", "user.name", "Demo Agent")
    _git(repository, "config", "user.email", "agent@demo.invalid")
    _git(repository, "config", "commit.gpgsign", "false")
    # Else git tidies up in the background, while the folder is being removed.
    _git(repository, "config", "maintenance.auto", "false")
    _git(repository, "config", "gc.auto", "0")
    (repository / "README").write_text("a scratch repository\n")
    _git(repository, "add", "README")
    _git(repository, "commit", "--quiet", "--message", "Begin")
    (repository / "greeting.txt").write_text("hello\n")
    _git(repository, "add", "greeting.txt")
    quoted = {"python": json.dumps(sys.executable), "repository": json.dumps(str(repository))}
    (folder / "holdshort.yaml").write_text(_CONFIG.format(port=port, **quoted))
    (folder / "policy.yaml").write_text(_POLICY)
    (folder / "state").mkdir(mode=0o700)


def _git(repository: Path, *words: str) -> str:
    try:
        # In a session of its own: Ctrl-C is for the demo, which waits for git to end.
        done = subprocess.run(  # noqa: S603
            ["git", *words],  # noqa: S607
            cwd=repository,
            check=True,
            capture_output=True,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DemoNotPossible("the demo needs `git`; install it and try again") from None
    except subprocess.CalledProcessError as error:
        raise DemoNotPossible(f"`git {words[0]}` failed: {error.stderr.strip()}") from None
    return done.stdout


def _commits(folder: Path) -> int:
    return int(_git(folder / "repository", "rev-list", "--count", "HEAD"))


def _own_command() -> str:
    """What a person types in another terminal to run this same installation."""
    called = Path(sys.argv[0])
    if called.name != "holdshort":
        return f"{shlex.quote(sys.executable)} -m holdshort"
    found = shutil.which("holdshort")
    return "holdshort" if found and called.samefile(found) else shlex.quote(str(called.absolute()))


def _text(result: "CallToolResult") -> str:
    return "\n".join(getattr(block, "text", "") for block in result.content)


def _indent(text: str) -> str:
    lines = [part for line in text.splitlines() for part in _fold(line) or [""]]
    return "\n".join(f"    {line}" for line in lines)


def _fold(line: str) -> list[str]:
    # Never inside a word: the link and the id must stay whole.
    return textwrap.wrap(
        line, _COLUMNS, expand_tabs=False, replace_whitespace=False, break_long_words=False, break_on_hyphens=False
    )


def _title(text: str) -> None:
    _say(f"\n== {text}")


def _say(line: str) -> None:
    print(line, flush=True)
