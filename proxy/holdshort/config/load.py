"""From files to one checked `Config`, or to all their problems at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from holdshort.config.model import Config, ServerConfig
from holdshort.policy import wrap_policy

__all__ = ["load_config", "wrap_config"]


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read `holdshort.yaml` and the policy layers that it names.

    Raises:
        ConfigErrors: with every problem in every file.
    """
    raise NotImplementedError


def wrap_config(
    command: Sequence[str],
    *,
    label: str,
    strict: bool = False,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration of `holdshort wrap -- COMMAND`: one stdio server, and the policy of `wrap_policy`.

    With `path`, policy and everything else come from that file, whose own `mcpServers` only matter for the shorthand
    keys of the server called `label`.

    Raises:
        ConfigErrors: as `load_config`.
    """
    del path, environ
    server = ServerConfig(label, "stdio", command=command[0], args=tuple(command[1:]))
    return Config(path=None, servers=(server,), policy=wrap_policy(strict))
