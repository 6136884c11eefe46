"""An example in a folder of its own, and terminals in which the commands of its README are run as they stand there.

Only three things differ from a person's machine: ports are free ones, an `$ID` or a `$PID` is filled in, and what `npx`
or `npm` would download is there already.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from kit.missing import Missing, require
from kit.ports import free_port
from kit.process import Running, running

__all__ = ["EXAMPLES", "Example", "Terminal", "sh_blocks"]

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCUMENTED_PORTS = re.compile(r"\b741[12]\b")
"""The proxy's, and that of a program beside it."""
ASKED = re.compile(r"interruption (i-[0-9a-f-]+)")


def sh_blocks(text: str) -> list[str]:
    """The blocks of a page that are for a shell, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _commands() -> Path:
    folder = Path(sys.executable).parent
    for name in ("holdshort", "python", "mcp-server-git", "mcp-server-time"):
        if not (folder / name).exists():
            raise Missing(f"no `{name}` beside this Python: `pip install -e '.[dev]'` puts it there")
    return folder


class Example:
    """A copy of one example."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder / name
        self.port = free_port()
        self.app_port = next(port for port in iter(free_port, None) if port != self.port)
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in self.folder.iterdir():
            file.write_text(DOCUMENTED_PORTS.sub(self._port, file.read_text()))
        self.blocks = sh_blocks((self.folder / "README.md").read_text())
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLDSHORT_")}
        self.environ: dict[str, str] = {
            **kept,
            "PATH": os.pathsep.join([str(require(_commands)), os.environ["PATH"]]),
            "HOLDSHORT_STATE_DIR": str(self.folder / "state"),
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def in_front_of(self, folder: Path) -> None:
        """Put a folder of commands at the beginning of the `PATH`."""
        self.environ["PATH"] = os.pathsep.join([str(folder), self.environ["PATH"]])

    async def run(self, block: str, status: int = 0, **environ: str) -> str:
        """Run a block to its end and return what it said; another exit status than `status` is a failure."""
        with anyio.fail_after(40):
            done = await anyio.run_process(
                self._shell(block),
                cwd=self.folder,
                env={**self.environ, **environ},
                check=False,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
            )
        said = done.stdout.decode()
        assert done.returncode == status, said
        return said

    async def at_a_terminal(self, block: str, keys: str, **environ: str) -> str:
        """Run a block where a person sits who types `keys`, and return what they saw."""
        with anyio.fail_after(40):
            status, said = await anyio.to_thread.run_sync(
                self._type, block, keys, {**self.environ, **environ}, abandon_on_cancel=True
            )
        assert status == 0, said
        return said

    @contextmanager
    def started(self, block: str) -> Generator[Running]:
        """A block that runs in a terminal of its own, for as long as the `with` lasts."""
        environ: Mapping[str, str] = {**self.environ, "PYTHONUNBUFFERED": "1"}
        with running(self._shell(block), env=environ, cwd=self.folder) as process:
            yield process

    @contextmanager
    def typing(self, block: str) -> Generator[Terminal]:
        """The same where a person sits, who reads first and then types."""
        terminal = Terminal(self._shell(block), self.environ, self.folder)
        try:
            yield terminal
        finally:
            terminal.close()

    async def asked(self, agent: Running) -> str:
        """The id of the first call that this agent says is waiting."""
        return (await agent.until_said(ASKED.pattern))[1]

    def _port(self, documented: re.Match[str]) -> str:
        return str(self.port if documented[0] == "7411" else self.app_port)

    def _shell(self, block: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", block]

    def _type(self, block: str, keys: str, environ: Mapping[str, str]) -> tuple[int, str]:
        terminal = Terminal(self._shell(block), environ, self.folder)
        try:
            terminal.type(keys)
            terminal.read_to_end()
            return terminal.wait(), terminal.said
        finally:
            terminal.close()


class Terminal:
    """A pseudo-terminal with a program in it."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=folder, start_new_session=True
        )
        os.close(theirs)
        self.said = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_to_end(self) -> None:
        with suppress(OSError):  # how Linux says that the other side is closed
            while found := os.read(self._ours, 65_536):
                self.said += found.decode(errors="replace")

    async def until_said(self, words: str) -> None:
        """Read until `words` are on the screen, and take them as read; an end before that is a failure."""
        with anyio.fail_after(30):
            while words not in self.said:
                await anyio.wait_readable(self._ours)
                try:
                    self.said += os.read(self._ours, 65_536).decode(errors="replace")
                except OSError:  # how Linux says that the other side is closed
                    raise AssertionError(f"ended before it said `{words}`:\n{self.said}") from None
        self.said = self.said.partition(words)[2]

    def wait(self) -> int:
        return self._process.wait(20)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
