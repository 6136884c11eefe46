"""`holdshort policy packs`: the ready-made policies that a policy file can name."""

import json
from typing import Annotated

import typer

from holdshort.cli.policy.common import AsJson, fail_usage

__all__ = ["packs"]


def packs(
    name: Annotated[str | None, typer.Argument(help="Print this pack, comments and all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the ready-made policies with what each does, or print one to read it before you name it under `packs:`.

    Exit code 0: listed or printed. 2: there is no such pack.

    \b
    Examples:
      holdshort policy packs
      holdshort policy packs filesystem
      holdshort policy packs --json | jq -r '.packs[].name'
    """
    from holdshort.config import pack_names, read_pack
    from holdshort.policy.words import unknown

    if name is not None and name not in pack_names():
        fail_usage(unknown("pack", name, pack_names()))
    told = [read_pack(one) for one in (pack_names() if name is None else [name])]
    if as_json and name is None:
        listed = [{"name": pack.name, "summary": pack.summary, "servers": list(pack.labels)} for pack in told]
        print(json.dumps({"packs": listed}, ensure_ascii=False, indent=2))
    elif as_json:
        (pack,) = told
        answer = {"name": pack.name, "summary": pack.summary, "servers": list(pack.labels), "text": pack.text}
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    elif name is None:
        width = max(len(pack.name) for pack in told)
        for pack in told:
            print(f"{pack.name:{width}}  {pack.summary}")
    else:
        print(told[0].text, end="")
