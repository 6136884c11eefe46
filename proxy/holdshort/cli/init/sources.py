"""The servers that a command line names: in a file, in a client's usual places, by a URL, or by a command."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdshort.cli.init.clients import read_source
from holdshort.cli.init.given import filled_in, kept_as_text, rename
from holdshort.cli.init.places import CLIENTS, client_files
from holdshort.cli.init.yaml_text import inert
from holdshort.cli.policy.common import fail_usage
from holdshort.config.servers import check_label
from holdshort.policy.words import unknown
from holdshort.server.naming import label_of

__all__ = ["given_blocks"]


def given_blocks(
    folder: Path,
    source: Path | None,
    client: str | None,
    url: str | None,
    headers: list[str],
    command: list[str] | None,
    name: str | None,
) -> dict[str, dict[str, Any]]:
    """Return the servers that were given, by labels that can be used; what makes no sense is a usage error."""
    if source is not None or client is not None:
        given: dict[str, dict[str, Any]] = {}
        for file in [source] if source is not None else _client_files(client or "", folder):
            read = _read(file, folder, given)
            project = file.resolve().parent
            given |= {label: filled_in(block, _project(project)) for label, block in read.items()}
    elif url is not None:
        block: dict[str, Any] = {"url": url.replace("${", "$${")}
        pairs = [line.partition(":") for line in headers]
        for line, (key, colon, _) in zip(headers, pairs, strict=True):
            if not colon or not key.strip():
                fail_usage(f"--header: expected `NAME: VALUE`, got `{line.split(':')[0][:40]}`")
        if pairs:
            block["headers"] = {key.strip(): value.strip() for key, _, value in pairs}
        given = {name if name is not None else _label_of_url(url): block}
    else:
        if not command:
            fail_usage("there is no command after `--`")
        words = kept_as_text(command)
        block = {"command": words[0]}
        if words[1:]:
            block["args"] = words[1:]
        given = {name if name is not None else label_of(command): block}
    if name is not None and (problem := check_label(name)) is not None:
        fail_usage(f"--name: {problem}")
    blocks: dict[str, dict[str, Any]] = {}
    for label, block in given.items():
        ours = rename(label, block, list(blocks))
        if ours != label:
            print(
                f"note: server `{inert(label)}` is called `{ours}` here: a label is what a tool's name starts with",
                file=sys.stderr,
            )
        blocks[ours] = block
    return blocks


def _read(file: Path, folder: Path, known: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    found = read_source(file, folder)
    for note in found.notes:
        print(f"note: {inert(note)}", file=sys.stderr)
    return {label: block for label, block in found.servers.items() if label not in known}


def _client_files(client: str, folder: Path) -> list[Path]:
    if client not in CLIENTS:
        fail_usage(f"--from-client: {unknown('client', client, CLIENTS)}")
    places = client_files(client, folder, Path.home(), sys.platform, os.environ)
    found = [place for place in places if place.is_file()]
    if not found:
        looked = "".join(f"\n  {place}" for place in places)
        fail_usage(f"--from-client: there is no file of {client}; looked for{looked}")
    for place in found:
        print(f"reading {place}", file=sys.stderr)
    return found


def _project(folder: Path) -> Path:
    """The project that a client's file is about: clients keep theirs in a folder of their own, such as `.vscode`."""
    return folder.parent if folder.name in {".vscode", ".cursor", ".zed", ".gemini", ".codex"} else folder


def _label_of_url(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    parts = [part for part in host.split(".") if part not in {"mcp", "www", "api"}]
    return (parts[0] if parts and not parts[0].isdigit() else "server").replace("_", "-")
