"""Who is measured: every row opens the same kind of target, in its own process, in front of the same upstream."""

import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bench import holdshort_rows
from bench.children import environment, free_port
from bench.lanes import Lane, Opened, Place, Row, over_http, over_stdio
from bench.load_http import HttpTarget

__all__ = ["rows"]

_HERE = Path(__file__).resolve().parent
_FASTMCP = "fastmcp==4.1.6"
_INSTALL_SECONDS = 180.0


def rows(only: frozenset[str]) -> list[Row]:
    """Return the rows whose first word is in `only` (empty: all), in the order of the table."""
    every = [
        Row("direct", _direct),
        Row("nginx", _nginx, frozenset({Lane.HTTP_HTTP}), None if shutil.which("nginx") else "nginx is not installed"),
        *holdshort_rows.rows(),
        Row("sdk proxy", _sdk),
    ]
    if not only or "fastmcp" in only:
        python, absent = _fastmcp_python()
        every += [
            Row("fastmcp one client", _fastmcp(python, "--one-client"), absent=absent),
            Row("fastmcp default", _fastmcp(python), absent=absent),
        ]
    return [row for row in every if not only or row.name.split()[0] in only]


@asynccontextmanager
async def _direct(place: Place) -> AsyncGenerator[Opened]:
    """The upstream itself; for HTTP → stdio the upstream over HTTP, since nothing else can be called there."""
    if place.lane is Lane.STDIO_STDIO:
        async with over_stdio(list(place.upstream_command), place.folder / "direct.log", proxy=False) as opened:
            yield opened
        return
    target = await HttpTarget.open(place.upstream_url)
    try:
        yield Opened(target)
    finally:
        await target.aclose()


@asynccontextmanager
async def _nginx(place: Place) -> AsyncGenerator[Opened]:
    """A bare reverse proxy: one worker, kept-alive on both sides, no buffering, no log."""
    port = free_port()
    folder = place.folder / "nginx"
    folder.mkdir()
    upstream = place.upstream_url.removeprefix("http://").removesuffix("/mcp")
    config = folder / "nginx.conf"
    config.write_text(
        f"""
        daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; keepalive_requests 100000000; client_max_body_size 8m;
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream echo {{ server {upstream}; keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port} backlog=1024;
            location / {{
              proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;
            }}
          }}
        }}
        """
    )
    command = ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
    async with over_http(command, port, folder / "output.log") as opened:
        yield opened


@asynccontextmanager
async def _sdk(place: Place) -> AsyncGenerator[Opened]:
    async with _script([sys.executable, str(_HERE / "sdk_proxy.py")], place, "sdk") as opened:
        yield opened


def _fastmcp(python: str, *extra: str) -> Callable[[Place], AbstractAsyncContextManager[Opened]]:
    def opener(place: Place) -> AbstractAsyncContextManager[Opened]:
        return _script([python, str(_HERE / "fastmcp_proxy.py"), *extra], place, f"fastmcp{len(extra)}")

    return opener


@asynccontextmanager
async def _script(command: list[str], place: Place, name: str) -> AsyncGenerator[Opened]:
    """Run a proxy script that takes `--http PORT | --stdio` and `--url URL | --command CMD…`."""
    log = place.folder / f"{name}.log"
    back = ["--url", place.upstream_url] if place.lane is Lane.HTTP_HTTP else ["--command", *place.upstream_command]
    if place.lane is Lane.STDIO_STDIO:
        async with over_stdio([*command, "--stdio", *back], log) as opened:
            yield opened
        return
    port = free_port()
    async with over_http([*command, "--http", str(port), *back], port, log) as opened:
        yield opened


def _fastmcp_python() -> tuple[str, str | None]:
    """Return the interpreter of FastMCP's own virtual environment, made once, and why there is none."""
    folder = _HERE.parents[1] / ".cache" / "bench" / _FASTMCP.replace("==", "-")
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return str(python), None
    uv = shutil.which("uv", path=environment()["PATH"])
    if uv is None:
        return str(python), "uv is not there to install it"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Its floor for certifi may be newer than what an index serves; any version serves a loopback measurement.
    override = folder.with_suffix(".override.txt")
    override.write_text("certifi\n")
    make = [uv, "venv", "-q", "--clear", "-p", sys.executable, str(folder)]
    fill = [uv, "pip", "install", "-q", "--python", str(python), "--override", str(override), _FASTMCP]
    for command in (make, fill):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return str(python), f"{_FASTMCP} took too long to install"
        if done.returncode != 0:
            return str(python), f"{_FASTMCP} does not install: {done.stderr.strip()[-200:]}"
    (folder / "complete").touch()
    return str(python), None
