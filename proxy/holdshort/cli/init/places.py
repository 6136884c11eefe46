"""Where clients keep the servers of a project and of a user, on each system."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["CLIENTS", "client_files"]

_PROJECT: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-code": (".mcp.json",),
    "cursor": (".cursor/mcp.json",),
    "gemini": (".gemini/settings.json",),
    "vscode": (".vscode/mcp.json",),
    "zed": (".zed/settings.json",),
}
"""Below the project's folder."""
_HOME: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-code": (".claude.json",),
    "codex": (".codex/config.toml",),
    "cursor": (".cursor/mcp.json",),
    "gemini": (".gemini/settings.json",),
    "windsurf": (".codeium/windsurf/mcp_config.json",),
}
"""Below the user's home folder."""
_APPLICATION: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-desktop": ("Claude/claude_desktop_config.json",),
    "vscode": ("Code/User/mcp.json", "Code/User/settings.json"),
    "zed": ("Zed/settings.json", "zed/settings.json"),
}
"""Below the folder where the system's programs keep their settings."""

CLIENTS: Final = tuple(sorted(_PROJECT.keys() | _HOME.keys() | _APPLICATION.keys()))


def client_files(client: str, folder: Path, home: Path, system: str, environ: Mapping[str, str]) -> Sequence[Path]:
    """Return where `client` may keep its servers: the project in `folder` first, then the user's own.

    `system` is as `sys.platform` has it.
    """
    if system == "darwin":
        application = home / "Library" / "Application Support"
    elif system == "win32":
        application = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        application = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    own = home
    if client == "codex" and environ.get("CODEX_HOME"):
        return (Path(environ["CODEX_HOME"]) / "config.toml",)
    found = [
        *(folder / name for name in _PROJECT.get(client, ())),
        *(own / name for name in _HOME.get(client, ())),
        *(application / name for name in _APPLICATION.get(client, ())),
    ]
    if client == "zed" and system == "darwin":
        found.append(home / ".config" / "zed" / "settings.json")
    return tuple(dict.fromkeys(found))
